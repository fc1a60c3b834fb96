//! `ringtail log verify --repair`: what decayed on one volume, or on two in turn, is whole again on each, and a
//! store that is running, or of which a volume is missing, is left as it is.

use ringtail_tests::account::Account;
use ringtail_tests::client::{draw, seed};
use ringtail_tests::decay::{flip, segments};
use ringtail_tests::journal;
use ringtail_tests::program;
use ringtail_tests::scratch::Scratch;
use ringtail_tests::server::Setup;
use std::path::PathBuf;

const LOAD_MS_MAX: u64 = 300;
const REPAIR_SECONDS: u32 = 120;

/// Exit code, what was printed, and what was complained of.
fn repair(volumes: &[PathBuf]) -> (bool, serde_json::Value, String) {
    let list: Vec<_> = volumes
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let mut command = program::clean(&program::built("ringtail"));
    command.args(["log", "verify", "--repair", "--volumes", &list.join(",")]);
    let folder = volumes[0].parent().expect("it lies in the scratch folder");
    let finished = program::run(command, folder, REPAIR_SECONDS);
    let report = serde_json::from_str(&finished.stdout).unwrap_or_default();
    (finished.code == Some(0), report, finished.stderr)
}

#[test]
fn what_one_volume_has_whole_all_have_whole_afterwards() {
    let scratch = Scratch::new("repair");
    let volumes = ["v1", "v2", "v3"].map(|name| scratch.join(name));
    let list = volumes.each_ref().map(|path| path.display().to_string());
    let setup = Setup::new(&scratch)
        .set("RINGTAIL_LOG_VOLUMES", list.join(","))
        .set("RINGTAIL_LOG_SEGMENT_BYTES", "32MiB")
        .set("RINGTAIL_SHARDS", 2);
    let account = Account::new(&scratch);
    let mut random = seed();
    let load_ms = draw(&mut random) % LOAD_MS_MAX;
    account.load_and_kill(&setup, load_ms, |_| {});

    let server = setup.start();
    let (done, _, said) = repair(&volumes);
    assert!(
        !done && said.contains("in use by another process"),
        "{said}"
    );
    server.stop();
    let (done, _, said) = repair(&volumes[..1]);
    assert!(!done && said.contains("--without"), "{said}");

    let (done, report, said) = repair(&volumes);
    assert!(
        done && report["repaired"] == 0,
        "nothing is amiss: {report} {said}"
    );
    for hurt in [&volumes[..1], &volumes[1..], &volumes[..2]] {
        for volume in hurt {
            for file in segments(volume) {
                flip(&file, &mut random);
            }
        }
        let (done, report, said) = repair(&volumes);
        assert!(done, "{report} {said}");
        let repairs = report["repairs"].as_array().expect("it is a list");
        let repaired = report["repaired"].as_u64().expect("it is a number");
        assert!(0 < repaired + repairs.len() as u64, "{report}");
        assert_eq!(report["damaged"], 0, "{report}");
        for volume in &volumes {
            journal::verify(volume);
            account.assert_kept_by(volume);
        }
    }
}
