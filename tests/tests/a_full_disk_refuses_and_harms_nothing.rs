//! A full disk: events are refused with a reason, `/readyz` says no, and what was acknowledged
//! stays.

use ringtail_tests::client::{Client, Heard, payload, request_json};
use ringtail_tests::device::OwnDisk;
use ringtail_tests::http::Http;
use ringtail_tests::journal;
use ringtail_tests::program;
use ringtail_tests::scratch::Scratch;
use ringtail_tests::server::{Server, Setup, free_ports};
use ringtail_tests::wait;

/// Room for a handful of the smallest segments.
const DISK_BYTES: u64 = 288 << 20;
const EVENT_BYTES: usize = 20_000;
const EVENTS: usize = 30;
/// More than the disk holds.
const REQUESTS_MAX: usize = 2 * DISK_BYTES as usize / (EVENTS * EVENT_BYTES);

/// Sends until the engine refuses; gives how many requests it accepted.
fn fill(server: &Server) -> usize {
    let mut http = Http::connect(server.port).expect("the engine accepts");
    for request in 0..REQUESTS_MAX {
        let events: Vec<_> = (0..EVENTS)
            .map(|index| payload(0, request, index, EVENT_BYTES))
            .collect();
        let body = request_json(&request.to_string(), "full", &events);
        let answer = http.post_events(&body).expect("the engine answers");
        if answer.status == 200 {
            continue;
        }
        assert_eq!(answer.status, 500, "{}", answer.text());
        let said = answer.json();
        assert_eq!(
            (&said["status"], &said["code"]),
            (&2.into(), &3.into()),
            "{said}"
        );
        let reason = said["reason"].as_str().unwrap_or_default();
        assert!(!reason.is_empty(), "a refusal without its reason: {said}");
        assert_eq!(said["data"]["req_guid"], request.to_string());
        return request;
    }
    panic!("{DISK_BYTES} bytes took more than they can hold");
}

/// The store holds the accepted requests and, at most, whole ones that were refused after them.
fn assert_all_there(stored: Vec<Vec<u8>>, accepted: usize) {
    let mut expected = (0..)
        .flat_map(|request| (0..EVENTS).map(move |index| payload(0, request, index, EVENT_BYTES)));
    assert!(
        stored.len() >= accepted * EVENTS,
        "acknowledged events are missing"
    );
    assert!(
        stored.len().is_multiple_of(EVENTS),
        "half a request is stored"
    );
    for value in stored {
        assert!(
            Some(value) == expected.next(),
            "an event is not what was sent"
        );
    }
}

/// Requests that one connection keeps outstanding while the disk fills.
const OUTSTANDING: usize = 128;
/// Their events are small, so that many requests wait for one commit.
const ROW_EVENT_BYTES: usize = 2_000;
/// Refusals after which the disk is surely full.
const REFUSALS: usize = 3 * OUTSTANDING;

#[test]
fn refusals_keep_the_order_of_requests() {
    let scratch = Scratch::new("full-row");
    let disk = OwnDisk::new(&scratch, DISK_BYTES).expect("root, or sudo, and loop devices");
    let store = disk.path().join("store");
    let server = Setup::new(&scratch).volume(&store).start();
    let mut client = Client::connect(server.port, "device");
    let (mut sent, mut heard, mut refused) = (0, 0, 0);
    while refused < REFUSALS {
        assert!(
            heard < REQUESTS_MAX * EVENT_BYTES / ROW_EVENT_BYTES,
            "the disk does not fill"
        );
        while sent < heard + OUTSTANDING {
            let events: Vec<_> = (0..EVENTS)
                .map(|index| payload(0, sent, index, ROW_EVENT_BYTES))
                .collect();
            assert!(client.send(&sent.to_string(), "row", &events));
            sent += 1;
        }
        match client.hear() {
            Heard::Answer(answer) => {
                assert_eq!(answer.guid(), heard.to_string(), "answers out of order");
                refused += usize::from(!answer.is_success());
            }
            Heard::Closed(code) => panic!("closed with {code:?}"),
            Heard::Gone(why) => panic!("the connection ended: {why}"),
            Heard::Binary(_) => panic!("the connection was not let in"),
        }
        heard += 1;
    }
    server.kill();
    journal::verify(&store);
}

/// A call that cannot be made safe is answered, with the refusal and the guid in the answer: the driver, which
/// keeps a record, takes nothing else for an answer to its call.
#[test]
fn a_grpc_call_is_refused_in_its_answer_and_not_by_a_status() {
    let scratch = Scratch::new("full-grpc");
    let disk = OwnDisk::new(&scratch, DISK_BYTES).expect("root, or sudo, and loop devices");
    let store = disk.path().join("store");
    let [grpc, _] = free_ports();
    let setup = Setup::new(&scratch).volume(&store);
    let server = setup.set("SERVER_GRPC_PORT", grpc).start();
    fill(&server);
    let json = scratch.join("result.json");
    for scheme in ["grpc", "grpc-stream"] {
        let words = format!(
            "load --url {scheme}://127.0.0.1:{grpc} --connections 1 --window 1 --events {EVENTS} --bytes {EVENT_BYTES} \
             --warmup 0 --seconds 60 --batches 4 --record {} --json {}",
            scratch.join(scheme).display(),
            json.display()
        );
        let mut command = program::clean(&program::built("ringtail-bench"));
        command.args(words.split_whitespace());
        let finished = program::run(command, scratch.path(), 120);
        assert_eq!(finished.code, Some(1), "{finished:?}");
        let text = std::fs::read_to_string(&json).expect("the driver wrote it");
        let result: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        let totals = &result["totals"];
        // INTERNAL_ERROR is 3; a status of gRPC's own would stand above 100.
        assert_eq!(
            totals["refused_by_code"],
            serde_json::json!({"3": 4}),
            "{totals}"
        );
        assert_eq!(totals["lost_connections"], 0, "{totals}");
        let reason = totals["first_reason"].as_str().unwrap_or_default();
        assert!(!reason.is_empty(), "a refusal without its reason");
    }
    server.kill();
    journal::verify(&store);
}

#[test]
fn what_was_acknowledged_outlives_a_full_disk() {
    let scratch = Scratch::new("full-disk");
    let disk = OwnDisk::new(&scratch, DISK_BYTES).unwrap_or_else(|reason| {
        panic!(
            "a disk to fill could not be made (it takes root, or sudo, and loop devices): {reason}"
        )
    });
    let store = disk.path().join("store");
    let setup = Setup::new(&scratch).volume(&store);
    let server = setup.start();

    let accepted = fill(&server);
    assert!(accepted > 0, "the engine accepted nothing");
    wait::until("/readyz to say no", 10, || {
        let ready = server.ask("/readyz");
        (ready.status == 503).then_some(())
    });
    assert_eq!(
        server.ask("/healthz").status,
        200,
        "it is alive all the same"
    );
    let path = "/topics/clickstream-full-log/partitions/0/records?offset=0&limit=1";
    assert_eq!(server.ask(path).status, 200, "what is there can be read");
    server.kill();

    journal::verify(&store);
    let stored = journal::values(&store).into_values().flatten().collect();
    assert_all_there(stored, accepted);

    // With retention the same store has room again.
    let server = setup.set("RINGTAIL_LOG_RETENTION_BYTES", 128 << 20).start();
    let mut http = Http::connect(server.port).expect("the engine accepts");
    wait::until("room after retention", 30, || {
        let answer = http
            .post_events(&request_json("", "later", &[b"more".to_vec()]))
            .ok()?;
        (answer.status == 200).then_some(())
    });
    server.stop();
    journal::verify(&store);
}
