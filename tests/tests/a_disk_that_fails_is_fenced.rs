//! A disk that fails while the program writes to it: every read, write and flush is answered with `EIO` by the
//! kernel, from below the file system. Among three volumes it is fenced and the others go on; alone, it takes
//! nothing more, and keeps what was acknowledged.

use ringtail_tests::account::Account;
use ringtail_tests::client::{payload, request_json};
use ringtail_tests::device::OwnDisk;
use ringtail_tests::http::Http;
use ringtail_tests::journal;
use ringtail_tests::metrics;
use ringtail_tests::scratch::Scratch;
use ringtail_tests::server::{Server, Setup};
use ringtail_tests::wait;
use serde_json::Value;
use std::path::Path;

/// Room for all that the load writes meanwhile, however long that is: the file takes what is written to it.
const DISK_BYTES: u64 = 6 << 30;
/// What a test writes in all to the disk below, on the slowest machine.
const FREE_BYTES: u64 = 6 << 30;
const LOAD_MS: u64 = 200;
const PATIENCE_SECONDS: u32 = 120;

fn own_disk(scratch: &Scratch) -> OwnDisk {
    let free = rustix::fs::statvfs(scratch.path()).expect("the scratch folder is there");
    let free = free.f_bavail * free.f_frsize;
    assert!(
        FREE_BYTES <= free,
        "{free} bytes are free below {}, and this test wants {FREE_BYTES}: a full disk below would fail, and not the one \
         that is made to",
        scratch.path().display()
    );
    OwnDisk::new(scratch, DISK_BYTES).unwrap_or_else(|reason| {
        panic!(
            "no disk that can be made to fail (it takes root, or sudo, loop devices, and python3; no \
             device-mapper): {reason}"
        )
    })
}

/// The row of one volume in `GET /volumes`, and the whole answer.
fn row(server: &Server, volume: &Path) -> (Value, Value) {
    let seen = server.ask("/volumes").json();
    let rows = seen["volumes"].as_array().expect("a list");
    let own = rows
        .iter()
        .find(|row| row["folder"] == volume.display().to_string());
    (own.expect("it is in the configuration").clone(), seen)
}

fn wait_for_state(server: &Server, volume: &Path, state: &str) -> Value {
    let what = format!("{} to be {state}", volume.display());
    wait::until(&what, PATIENCE_SECONDS, || {
        let (own, _) = row(server, volume);
        (own["state"] == state).then_some(own)
    })
}

fn durable(server: &Server) -> f64 {
    let page = metrics::page(server);
    metrics::sum(&page, "ringtail_events_durable_total", |_| true)
}

/// Two of three go on: events become durable, and every place that tells of it says so.
fn assert_two_go_on(server: &Server, bad: &Path, code: f64) {
    let before = durable(server);
    wait::until("more events on stable storage", PATIENCE_SECONDS, || {
        (before < durable(server)).then_some(())
    });
    let ready = server.ask("/readyz");
    assert_eq!(ready.status, 200, "{}", ready.text());
    let said = ready.text();
    assert!(
        said.contains("2 of 3 volumes") && said.contains(&bad.display().to_string()),
        "{said}"
    );
    let page = metrics::page(server);
    let name = bad.display().to_string();
    let state = metrics::sum(&page, "ringtail_volume_state", |sample| {
        sample.label("volume") == Some(&name)
    });
    assert!((state - code).abs() < 0.1, "{state}");
    let copies = metrics::sum(&page, "ringtail_copies", |_| true);
    assert!((copies - 2.0).abs() < 0.1, "{copies}");
}

#[test]
fn one_of_three_is_fenced_and_filled_again_when_its_disk_is_back() {
    let scratch = Scratch::new("disk-fails");
    let disk = own_disk(&scratch);
    let bad = disk.path().join("v3");
    let volumes = [scratch.join("v1"), scratch.join("v2"), bad.clone()];
    let list = volumes.each_ref().map(|path| path.display().to_string());
    let setup = Setup::new(&scratch)
        .set("RINGTAIL_LOG_VOLUMES", list.join(","))
        .set("RINGTAIL_LOG_REBUILD_BYTES_PER_SECOND", "1GiB")
        .set("RINGTAIL_LOG_RETENTION_BYTES", "4GiB")
        .set("RINGTAIL_SHARDS", 2);
    let account = Account::gentle(&scratch);

    // It fails under load.
    account.load_and_kill(&setup, LOAD_MS, |server| {
        wait_for_state(server, &bad, "in-service");
        disk.fail();
        let own = wait_for_state(server, &bad, "fenced");
        assert!(!own["reason"].is_null(), "fenced without a reason: {own}");
        assert_two_go_on(server, &bad, 2.0);
        let line = format!("the volume {} is fenced", bad.display());
        wait::until("a line in the program's log", PATIENCE_SECONDS, || {
            (server.said().matches(&line).count() == 1).then_some(())
        });
    });
    account.assert_kept_by(&volumes[0]);

    // A start while it still fails.
    account.load_and_kill(&setup, LOAD_MS, |server| {
        wait_for_state(server, &bad, "absent");
        assert_two_go_on(server, &bad, 3.0);
    });
    account.assert_kept_by(&volumes[1]);

    // And one when it is back, as it was when it failed.
    disk.come_back();
    account.load_and_kill(&setup, LOAD_MS, |server| {
        wait_for_state(server, &bad, "in-service");
    });
    for volume in &volumes {
        journal::verify(volume);
        account.assert_kept_by(volume);
    }
}

/// Its folder is then an empty one on the disk below: nothing is founded there, and nothing written.
#[test]
fn a_disk_that_is_not_mounted_is_waited_for_and_its_folder_left_alone() {
    let scratch = Scratch::new("disk-unmounted");
    let disk = own_disk(&scratch);
    let away = disk.path().to_owned();
    let volumes = [scratch.join("v1"), scratch.join("v2"), away.clone()];
    let list = volumes.each_ref().map(|path| path.display().to_string());
    let setup = Setup::new(&scratch)
        .set("RINGTAIL_LOG_VOLUMES", list.join(","))
        .set("RINGTAIL_LOG_REBUILD_BYTES_PER_SECOND", "1GiB")
        .set("RINGTAIL_LOG_RETENTION_BYTES", "4GiB");
    if !is_on_root(&volumes[0]) {
        println!(
            "the scratch folder is not on the root file system: a folder without its disk looks like one with"
        );
        return;
    }
    let account = Account::gentle(&scratch);
    account.load_and_kill(&setup, LOAD_MS, |server| {
        wait_for_state(server, &away, "in-service");
    });
    disk.unmount();
    account.load_and_kill(&setup, LOAD_MS, |server| {
        let own = wait_for_state(server, &away, "absent");
        let reason = own["reason"].as_str().unwrap_or_default();
        assert!(reason.contains("mount that disk"), "{own}");
        assert_two_go_on(server, &away, 3.0);
        let left: Vec<_> = std::fs::read_dir(&away)
            .expect("the folder is there")
            .flatten()
            .map(|entry| entry.file_name())
            .filter(|name| name != "lock")
            .collect();
        assert!(left.is_empty(), "written to the wrong disk: {left:?}");
        // It is mounted while the program runs.
        disk.mount();
        wait_for_state(server, &away, "in-service");
    });
    for volume in &volumes {
        journal::verify(volume);
        account.assert_kept_by(volume);
    }
}

fn is_on_root(folder: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let above = folder.parent().expect("it lies in the scratch folder");
    let device = |path: &Path| std::fs::metadata(path).map(|data| data.dev());
    matches!((device(above), device(Path::new("/"))), (Ok(own), Ok(root)) if own == root)
}

const EVENTS: usize = 5;
const EVENT_BYTES: usize = 3_000;
const REQUESTS: usize = 200;

fn events(request: usize) -> Vec<Vec<u8>> {
    (0..EVENTS)
        .map(|index| payload(0, request, index, EVENT_BYTES))
        .collect()
}

/// Whether it was acknowledged, or else the reason.
fn post(server: &Server, request: usize) -> Result<(), String> {
    let mut http = Http::connect(server.port).expect("the engine accepts");
    let body = request_json(&request.to_string(), "single", &events(request));
    let answer = http.post_events(&body).expect("the engine answers");
    if answer.status == 200 {
        return Ok(());
    }
    assert_eq!(answer.status, 500, "{}", answer.text());
    let said = answer.json();
    assert_eq!(said["data"]["req_guid"], request.to_string());
    Err(said["reason"].as_str().unwrap_or_default().to_owned())
}

/// All of `stored` is what was sent, whole requests in their order, the acknowledged ones first.
fn assert_kept(store: &Path, acknowledged: usize) -> usize {
    let stored: Vec<_> = journal::values(store).into_values().flatten().collect();
    assert!(stored.len() >= acknowledged * EVENTS, "{}", stored.len());
    assert!(
        stored.len().is_multiple_of(EVENTS),
        "half a request is stored"
    );
    for (request, stored) in stored.chunks(EVENTS).enumerate() {
        assert!(
            stored == events(request),
            "request {request} is not as sent"
        );
    }
    stored.len() / EVENTS
}

#[test]
fn the_only_volume_refuses_and_keeps_what_was_acknowledged() {
    let scratch = Scratch::new("only-disk-fails");
    let disk = own_disk(&scratch);
    let store = disk.path().join("store");
    let setup = Setup::new(&scratch).volume(&store);
    let server = setup.start();
    for request in 0..REQUESTS {
        post(&server, request).unwrap_or_else(|reason| panic!("{request}: {reason}"));
    }
    disk.fail();
    for request in REQUESTS..REQUESTS + 3 {
        let reason = post(&server, request).expect_err("nothing can be safe now");
        assert!(!reason.is_empty(), "a refusal without its reason");
    }
    let ready = server.ask("/readyz");
    assert_eq!(ready.status, 503, "{}", ready.text());
    assert!(ready.text().contains("rror"), "{}", ready.text());
    assert_eq!(
        server.ask("/healthz").status,
        200,
        "it is alive all the same"
    );
    let (own, _) = row(&server, &store);
    assert_eq!(own["state"], "fenced", "{own}");

    // The device answers again, and yet nothing is taken before a restart: a flush that failed is final.
    server.kill();
    let refused = setup.refused();
    assert_ne!(refused.code, Some(0), "{refused:?}");
    assert!(
        refused.stderr.contains(&store.display().to_string()),
        "the store is not named: {refused:?}"
    );

    disk.come_back();
    let server = setup.start();
    server.kill();
    journal::verify(&store);
    let kept = assert_kept(&store, REQUESTS);
    let server = setup.start();
    post(&server, kept).unwrap_or_else(|reason| panic!("after the restart: {reason}"));
    server.stop();
    journal::verify(&store);
    assert_eq!(assert_kept(&store, kept + 1), kept + 1);
}
