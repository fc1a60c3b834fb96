//! A disk that is far slower than the other: with `log.durable_volumes` no answer waits for it, and it is taken out of
//! service when it lags behind by more than it may.

use ringtail_tests::account::Account;
use ringtail_tests::device::SlowDisk;
use ringtail_tests::journal;
use ringtail_tests::metrics;
use ringtail_tests::scratch::Scratch;
use ringtail_tests::server::{Server, Setup};
use ringtail_tests::wait;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Room for all that the load writes meanwhile, however long that is: the files take what is written to them.
const DISK_BYTES: u64 = 6 << 30;
const LOAD_MS: u64 = 200;
/// About what it takes to send what a volume may lag behind. A shard may wait with the disk in a system call of its
/// own (`engine/FAULTS.md`), so that it takes some of these.
const STILL: Duration = Duration::from_secs(5);
const PATIENCE_SECONDS: u32 = 120;

fn slow_disk(scratch: &Scratch) -> SlowDisk {
    SlowDisk::new(scratch, DISK_BYTES).unwrap_or_else(|reason| {
        panic!("no disk that can be made slow (it takes root, or sudo, and loop devices): {reason}")
    })
}

/// Two volumes, the second on a disk that can be slow; and how the program is started on them.
fn setup(scratch: &Scratch, disk: &SlowDisk) -> (Setup, [PathBuf; 2]) {
    let volumes = [scratch.join("v1"), disk.path().join("v2")];
    let list = volumes.each_ref().map(|path| path.display().to_string());
    let setup = Setup::new(scratch)
        .set("RINGTAIL_LOG_VOLUMES", list.join(","))
        .set("RINGTAIL_LOG_REBUILD_BYTES_PER_SECOND", "1GiB")
        .set("RINGTAIL_LOG_RETENTION_BYTES", "2GiB")
        .set("RINGTAIL_LOG_LAG_BYTES", "16MiB")
        .set("RINGTAIL_SHARDS", 1);
    (setup, volumes)
}

/// The row of one volume in `GET /volumes`; none while a shard waits with the disk.
fn row(server: &Server, volume: &Path) -> Option<Value> {
    let seen = server.ask("/volumes").json();
    let mut rows = seen["volumes"].as_array()?.iter();
    let own = rows.find(|row| row["folder"] == volume.display().to_string());
    Some(own.expect("it is in the configuration").clone())
}

fn wait_for_state(server: &Server, volume: &Path, state: &str) -> Value {
    let what = format!("{} to be {state}", volume.display());
    wait::until(&what, PATIENCE_SECONDS, || {
        row(server, volume).filter(|own| own["state"] == state)
    })
}

fn durable(server: &Server) -> f64 {
    let page = metrics::page(server);
    metrics::sum(&page, "ringtail_events_durable_total", |_| true)
}

/// One of two goes on: events become durable, and every place that tells of it says so.
fn assert_one_goes_on(server: &Server, bad: &Path) {
    let before = durable(server);
    wait::until("more events on stable storage", PATIENCE_SECONDS, || {
        (before < durable(server)).then_some(())
    });
    let name = bad.display().to_string();
    let ready = server.ask("/readyz");
    assert_eq!(ready.status, 200, "{}", ready.text());
    let said = ready.text();
    assert!(
        said.contains("1 of 2 volumes") && said.contains(&name),
        "{said}"
    );
    let page = metrics::page(server);
    let state = metrics::sum(&page, "ringtail_volume_state", |sample| {
        sample.label("volume") == Some(&name)
    });
    assert!((state - 2.0).abs() < 0.1, "{state}");
}

fn assert_kept(account: &Account<'_>, volumes: &[PathBuf]) {
    for volume in volumes {
        journal::verify(volume);
        account.assert_kept_by(volume);
    }
}

/// That it lags is the proof: nothing is left to a volume that every answer waits for.
#[test]
fn with_one_durable_copy_answers_go_on_until_it_lags_too_far() {
    let scratch = Scratch::new("disk-slow");
    let disk = slow_disk(&scratch);
    let (setup, volumes) = setup(&scratch, &disk);
    let setup = setup.set("RINGTAIL_LOG_DURABLE_VOLUMES", 1);
    let bad = &volumes[1];
    let account = Account::gentle(&scratch);
    account.load_and_kill(&setup, LOAD_MS, |server| {
        wait_for_state(server, bad, "in-service");
        // A topic that is new waits for the catalogue, which has each of its steps done on all volumes.
        wait::until("events of all topics", PATIENCE_SECONDS, || {
            (1_000.0 < durable(server)).then_some(())
        });
        let slowed = disk.slow_down(STILL);
        let own = wait_for_state(server, bad, "fenced");
        let reason = own["reason"].as_str().unwrap_or_default();
        assert!(reason.contains("lags behind the others by"), "{own}");
        assert_one_goes_on(server, bad);
        drop(slowed);
    });
    account.assert_kept_by(&volumes[0]);
    account.load_and_kill(&setup, LOAD_MS, |server| {
        wait_for_state(server, bad, "in-service");
    });
    // Either of the two may have been the one that an answer waited for: a start gives the other what it lacks.
    let server = setup.start();
    wait_for_state(&server, bad, "in-service");
    server.stop();
    assert_kept(&account, &volumes);
}
