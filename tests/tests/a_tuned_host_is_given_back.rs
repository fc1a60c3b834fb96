//! `perf/tune.sh` and `ringtail doctor` look at the same things, and what the one changes it gives
//! back exactly.

use ringtail_tests::program::{self, Finished};
use ringtail_tests::scratch::Scratch;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

fn tune(scratch: &Scratch, words: &[&str]) -> Finished {
    let script = program::repository().join("perf/tune.sh");
    let mut command = program::clean(&script);
    command.args(words).env("ROOT", scratch.join("host"));
    program::run(command, scratch.path(), 60)
}

fn doctor(scratch: &Scratch, words: &[&str]) -> Finished {
    let mut command = program::clean(&program::built("ringtail"));
    command
        .arg("doctor")
        .args(words)
        .current_dir(scratch.path());
    program::run(command, scratch.path(), 30)
}

/// A host of four CPUs on which nothing is as it should be.
const HOST: &[(&str, &str)] = &[
    ("proc/sys/kernel/io_uring_disabled", "2"),
    ("proc/sys/net/core/somaxconn", "128"),
    ("proc/sys/vm/swappiness", "60"),
    (
        "proc/swaps",
        "Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2",
    ),
    ("proc/irq/9/smp_affinity_list", "0-3"),
    ("proc/irq/10/smp_affinity_list", "3"),
    ("sys/devices/system/cpu/online", "0-3"),
    ("sys/devices/system/cpu/isolated", ""),
    (
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
        "powersave",
    ),
    (
        "sys/devices/system/cpu/cpu3/cpufreq/scaling_governor",
        "schedutil",
    ),
    ("sys/devices/virtual/workqueue/cpumask", "f"),
    (
        "sys/devices/system/clocksource/clocksource0/current_clocksource",
        "hpet",
    ),
    (
        "sys/devices/system/clocksource/clocksource0/available_clocksource",
        "tsc hpet acpi_pm",
    ),
    ("sys/kernel/mm/transparent_hugepage/enabled", "always"),
    ("sys/class/net/eth7/device/vendor", "x"),
    ("sys/class/net/eth7/queues/rx-0/rps_cpus", "0"),
    ("sys/class/net/eth7/queues/tx-0/xps_cpus", "f"),
    ("etc/security/limits.d/other.conf", "* - nproc 100"),
];

fn host(scratch: &Scratch) {
    for (path, text) in HOST {
        let path = scratch.join("host").join(path);
        let folder = path.parent().expect("it lies in a folder");
        fs::create_dir_all(folder).expect("the scratch folder takes folders");
        fs::write(path, format!("{text}\n")).expect("the scratch folder takes files");
    }
}

/// Every file below `folder` with what is in it.
fn contents(folder: &Path) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            all.extend(contents(&path));
        } else {
            let text = fs::read_to_string(&path).expect("the files are text");
            all.insert(path.to_string_lossy().into_owned(), text);
        }
    }
    all
}

fn value(scratch: &Scratch, path: &str) -> String {
    let text = fs::read_to_string(scratch.join("host").join(path));
    text.unwrap_or_default().trim().to_owned()
}

#[test]
fn both_have_the_same_checks() {
    let scratch = Scratch::new("same-checks");
    let (script, program) = (tune(&scratch, &["--list"]), doctor(&scratch, &["--list"]));
    assert_eq!(script.code, Some(0), "{script:?}");
    assert!(script.stdout.lines().count() > 10, "{script:?}");
    assert_eq!(script.stdout, program.stdout);
    let readme = program::repository().join("perf/README.md");
    let readme = fs::read_to_string(readme).expect("it is there");
    for name in script.stdout.lines() {
        assert!(
            readme.contains(&format!("| `{name}` |")),
            "perf/README.md lacks {name}"
        );
    }
}

#[test]
fn what_was_changed_is_given_back_exactly() {
    let scratch = Scratch::new("tuned");
    host(&scratch);
    let before = contents(&scratch.join("host"));
    let checked = tune(&scratch, &["--check"]);
    assert_eq!(
        checked.code,
        Some(1),
        "rings are forbidden there: {checked:?}"
    );
    assert_eq!(
        contents(&scratch.join("host")),
        before,
        "--check changed something"
    );

    let applied = tune(&scratch, &["--apply"]);
    assert_eq!(applied.code, Some(0), "{applied:?}");
    for (path, wanted) in [
        ("proc/sys/kernel/io_uring_disabled", "0"),
        ("proc/sys/net/core/somaxconn", "4096"),
        ("proc/sys/vm/swappiness", "1"),
        ("proc/irq/9/smp_affinity_list", "3"),
        (
            "sys/devices/system/cpu/cpu3/cpufreq/scaling_governor",
            "performance",
        ),
        ("sys/devices/virtual/workqueue/cpumask", "8"),
        (
            "sys/devices/system/clocksource/clocksource0/current_clocksource",
            "tsc",
        ),
        ("sys/kernel/mm/transparent_hugepage/enabled", "madvise"),
        ("sys/class/net/eth7/queues/rx-0/rps_cpus", "7"),
    ] {
        assert_eq!(value(&scratch, path), wanted, "{path}: {applied:?}");
    }
    // A second time there is nothing to do, and what was found first is not forgotten.
    let again = tune(&scratch, &["--apply"]);
    assert_eq!(again.code, Some(0), "{again:?}");
    let tuned = tune(&scratch, &["--check", "--only", "rings,interrupts,swap"]);
    assert!(!tuned.stdout.contains("wanted:"), "{tuned:?}");

    let undone = tune(&scratch, &["--undo"]);
    assert_eq!(undone.code, Some(0), "{undone:?}");
    assert_eq!(contents(&scratch.join("host")), before);
}

#[test]
fn what_cannot_be_given_back_is_kept_and_told() {
    let scratch = Scratch::new("not-given-back");
    host(&scratch);
    let only = ["--apply", "--only", "accept-queue,swap"];
    assert_eq!(tune(&scratch, &only).code, Some(0));
    let gone = scratch.join("host").join("proc/sys/vm");
    fs::remove_dir_all(&gone).expect("it was made above");
    let undone = tune(&scratch, &["--undo"]);
    assert_eq!(undone.code, Some(1), "{undone:?}");
    assert!(undone.stderr.contains("swappiness"), "{undone:?}");
    assert_eq!(value(&scratch, "proc/sys/net/core/somaxconn"), "128");
    fs::create_dir_all(&gone).expect("the scratch folder takes folders");
    assert_eq!(tune(&scratch, &["--undo"]).code, Some(0));
    assert_eq!(value(&scratch, "proc/sys/vm/swappiness"), "60");
}

#[test]
fn doctor_fails_when_something_costs_safety() {
    let scratch = Scratch::new("doctor");
    let unsafe_log = doctor(&scratch, &["--set", "log.flush=never"]);
    assert_eq!(unsafe_log.code, Some(1), "{unsafe_log:?}");
    let wrong = unsafe_log
        .stdout
        .lines()
        .find(|line| line.starts_with("wrong"));
    assert!(
        wrong.is_some_and(|line| line.contains("write-cache")),
        "{unsafe_log:?}"
    );
    assert!(
        unsafe_log
            .stdout
            .contains("wanted: log.flush = write-through")
    );
    let bad = doctor(&scratch, &["--set", "log.flush=sometimes"]);
    assert_eq!(bad.code, Some(2), "{bad:?}");
    // Nothing was made on the way.
    assert!(!scratch.join("ringtail-data").exists());
}
