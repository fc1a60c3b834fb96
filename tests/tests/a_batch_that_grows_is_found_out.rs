//! `perf/instructions.sh` fails when a batch takes over 5 % more instructions than the baseline says, and the
//! baseline is changed with a reason only. callgrind and the program are played, so that the count is known.

use ringtail_tests::program::{self, Finished};
use ringtail_tests::scratch::Scratch;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What each shape has in the baseline of these tests.
const BEFORE: u64 = 10_000;

fn script(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).expect("the scratch folder takes files");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it is ours");
}

struct Stage {
    scratch: Scratch,
    baseline: PathBuf,
}

impl Stage {
    fn new(name: &str) -> Self {
        let scratch = Scratch::new(name);
        let baseline = scratch.join("baseline.txt");
        let shapes = [
            "1x200 1",
            "1x200 16",
            "10x200 1",
            "10x200 16",
            "50x256 1",
            "50x256 16",
        ];
        let rows: Vec<_> = shapes.map(|shape| format!("{shape} {BEFORE}\n")).into();
        let head = "# What it is.\n# rustc x, valgrind y\n# 2001-02-03: the first reason\n";
        fs::write(&baseline, format!("{head}{}", rows.concat())).expect("it can be written");
        script(&scratch.join("program"), "echo batches 4");
        Self { scratch, baseline }
    }

    /// Runs the script where callgrind counts so many instructions for a batch.
    fn count(&self, instructions: u64, words: &[&str]) -> Finished {
        let all = instructions * 4;
        let counts = format!(
            "[ \"$1\" = --version ] && echo valgrind-0 && exit\necho batches 4\necho \"==1== Collected : {all}\" >&2"
        );
        script(&self.scratch.join("valgrind"), &counts);
        let mut command = Command::new(program::repository().join("perf/instructions.sh"));
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .args(words)
            .env("PATH", format!("{}:{path}", self.scratch.path().display()))
            .env("PROGRAM", self.scratch.join("program"))
            .env("BASELINE", &self.baseline);
        program::run(command, self.scratch.path(), 60)
    }

    fn recorded(&self) -> String {
        fs::read_to_string(&self.baseline).expect("it is there")
    }
}

#[test]
fn five_percent_more_pass_and_six_do_not() {
    let stage = Stage::new("instructions-grow");
    for (instructions, code) in [
        (9_000, 0),
        (10_000, 0),
        (10_500, 0),
        (10_501, 1),
        (10_600, 1),
    ] {
        let finished = stage.count(instructions, &[]);
        assert_eq!(finished.code, Some(code), "{instructions}: {finished:?}");
        assert_eq!(finished.stdout.contains("MORE"), code == 1, "{finished:?}");
    }
    assert!(stage.recorded().contains(&format!("50x256 16 {BEFORE}")));
}

#[test]
fn a_shape_that_was_never_recorded_fails() {
    let stage = Stage::new("instructions-new");
    let without = stage.recorded().replace("10x200 1 ", "10x200 2 ");
    fs::write(&stage.baseline, without).expect("it can be written");
    let finished = stage.count(BEFORE, &[]);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stdout.contains("not recorded"), "{finished:?}");
}

#[test]
fn the_baseline_is_changed_with_a_reason_only_and_keeps_the_old_ones() {
    let stage = Stage::new("instructions-record");
    let before = stage.recorded();
    assert_eq!(stage.count(20_000, &["--record"]).code, Some(2));
    assert_eq!(stage.count(20_000, &["--record", ""]).code, Some(2));
    assert_eq!(stage.recorded(), before);
    let finished = stage.count(20_000, &["--record", "batches bear a name"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let recorded = stage.recorded();
    assert!(
        recorded.contains("# 2001-02-03: the first reason\n"),
        "{recorded}"
    );
    assert!(recorded.contains(": batches bear a name\n"), "{recorded}");
    assert_eq!(stage.count(20_000, &[]).code, Some(0));
}
