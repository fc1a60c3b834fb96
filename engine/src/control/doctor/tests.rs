use super::host::Host;
use super::*;
use crate::control::config::{Configuration, Layers};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder that looks like a host.
struct Ward(PathBuf);

impl Ward {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        // Several tests look at one name at the same time.
        static WARDS: AtomicU32 = AtomicU32::new(0);
        let number = WARDS.fetch_add(1, Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!(
            "ringtail-doctor-{name}-{}-{number}",
            std::process::id()
        ));
        let ward = Self(root);
        for (path, text) in files {
            let path = ward.0.join(path.trim_start_matches('/'));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        ward
    }
}

impl Drop for Ward {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn settings(sets: &[&str]) -> Settings {
    let layers = Layers {
        sets: sets.iter().map(|&set| set.to_owned()).collect(),
        ..Layers::default()
    };
    Configuration::resolve(layers).unwrap().settings().unwrap()
}

/// What the check of this name finds on a host of these files with four CPUs, shards on 0 to 2.
fn found(name: &str, files: &[(&str, &str)], sets: &[&str]) -> Finding {
    let settings = settings(sets);
    let ward = Ward::new(name, files);
    let patient = Patient {
        host: Host::at(&ward.0),
        settings: &settings,
        plan: place::plan(&place::Shards::Auto, None, &[0, 1, 2, 3]),
    };
    let check = CHECKS.iter().find(|check| check.name == name).unwrap();
    (check.look)(&patient)
}

const ONLINE: (&str, &str) = ("/sys/devices/system/cpu/online", "0-3\n");

#[test]
fn a_choice_is_read_by_what_is_chosen() {
    let file = "/sys/kernel/mm/transparent_hugepage/enabled";
    let bad = found("huge-pages", &[(file, "[always] madvise never\n")], &[]);
    assert_eq!(bad.verdict, Verdict::Slow);
    let good = found("huge-pages", &[(file, "always [madvise] never\n")], &[]);
    assert_eq!(good, Finding::fine("madvise"));
}

#[test]
fn what_is_not_there_is_not_held_against_a_host() {
    for name in ["governor", "interrupts", "packet-steering", "clock-source"] {
        assert_eq!(
            found(name, &[ONLINE], &[]).verdict,
            Verdict::Unknown,
            "{name}"
        );
    }
}

#[test]
fn a_slow_clock_an_idle_governor_and_a_short_queue_are_found() {
    let clock = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    assert_eq!(
        found("clock-source", &[(clock, "hpet\n")], &[]).verdict,
        Verdict::Slow
    );
    let governor = "/sys/devices/system/cpu/cpu1/cpufreq/scaling_governor";
    let saving = found("governor", &[(governor, "powersave\n")], &[]);
    assert_eq!(
        (saving.verdict, saving.found.as_str()),
        (Verdict::Slow, "powersave")
    );
    let queue = found(
        "accept-queue",
        &[("/proc/sys/net/core/somaxconn", "128\n")],
        &[],
    );
    assert!(queue.wanted.contains("net.core.somaxconn"));
}

#[test]
fn cores_are_isolated_when_every_shard_s_is() {
    let isolated = |list: &str| {
        let file = ("/sys/devices/system/cpu/isolated", list);
        found("isolated-cores", &[ONLINE, file], &[])
    };
    assert_eq!(isolated("0-2\n").verdict, Verdict::Fine);
    assert!(
        isolated("1\n")
            .wanted
            .contains("isolcpus=managed_irq,domain,0-2")
    );
}

#[test]
fn an_interrupt_that_may_come_anywhere_is_a_stray_and_a_pinned_one_is_not() {
    let of = |list| {
        found(
            "interrupts",
            &[ONLINE, ("/proc/irq/9/smp_affinity_list", list)],
            &[],
        )
    };
    assert_eq!(of("0-3\n").verdict, Verdict::Slow);
    assert_eq!(of("3\n").verdict, Verdict::Fine);
    assert_eq!(of("1\n").verdict, Verdict::Fine);
}

#[test]
fn few_receive_queues_want_steering() {
    let of = |cpus| {
        let queue = ("/sys/class/net/eth7/queues/rx-0/rps_cpus", cpus);
        found(
            "packet-steering",
            &[("/sys/class/net/eth7/device/x", ""), queue],
            &[],
        )
    };
    assert_eq!(of("0\n").verdict, Verdict::Slow);
    assert_eq!(of("7\n").verdict, Verdict::Fine);
}

#[test]
fn a_log_that_is_never_flushed_is_wrong() {
    let finding = found("write-cache", &[], &["log.flush=never"]);
    assert_eq!(finding.verdict, Verdict::Wrong);
    assert!(finding.wanted.contains("write-through"));
}

#[test]
fn a_volume_in_memory_is_wrong_even_when_it_is_allowed() {
    let is_memory = rustix::fs::statfs("/dev/shm").is_ok_and(|stat| stat.f_type == 0x0102_1994);
    if !is_memory {
        return;
    }
    let sets = ["log.volumes=/dev/shm/none", "log.allow_any_filesystem=true"];
    let finding = found("file-system", &[], &sets);
    assert_eq!(finding.verdict, Verdict::Wrong);
    assert!(finding.found.contains("tmpfs"), "{finding:?}");
}

#[test]
fn every_check_has_its_own_name_and_a_reason() {
    let mut seen: Vec<_> = CHECKS.iter().map(|check| check.name).collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), CHECKS.len());
    assert!(CHECKS.iter().all(|check| !check.why.is_empty()));
}
