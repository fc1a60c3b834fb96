//! Topics are deleted, truncated and bounded while the program runs: what goes is gone at once and for
//! good, what stays is exact, and the space comes back.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ringtail_tests::client::{Client, Heard, payload};
use ringtail_tests::http::{Http, Response};
use ringtail_tests::journal;
use ringtail_tests::metrics;
use ringtail_tests::scratch::Scratch;
use ringtail_tests::server::{Server, Setup};
use ringtail_tests::wait;

const SEGMENT_BYTES: u64 = 32 << 20;
/// Five segments of events that will be deleted, each request with one that stays.
const REQUESTS: usize = 5 * 32 * 1_000 / 400;
const BULK_EVENTS: usize = 40;
const BULK_BYTES: usize = 10_000;
const BULK: &str = "clickstream-bulk-log";
const KEPT: &str = "clickstream-kept-log";

fn send(client: &mut Client, kind: &str, events: &[Vec<u8>]) {
    assert!(client.send("", kind, events));
    let heard = client.hear();
    assert!(
        matches!(&heard, Heard::Answer(answer) if answer.is_success()),
        "{heard:?}"
    );
}

fn kept(offset: usize) -> Vec<u8> {
    payload(1, offset, 0, 100)
}

/// First and next offset of the topic's only partition; `None` when it is not listed.
fn place(server: &Server, topic: &str) -> Option<(u64, u64)> {
    let topics = server.ask("/topics").json();
    let topics = topics.as_array().expect("a list");
    let row = topics.iter().find(|row| row["name"] == topic)?;
    let number = |key: &str| row["partitions"][0][key].as_u64();
    Some((number("first").unwrap_or(0), number("next").unwrap_or(0)))
}

fn change(server: &Server, method: &str, topic: &str, body: &str) -> Response {
    let mut http = Http::connect(server.admin).expect("the admin port is open");
    let path = format!("/topics/{topic}");
    let answer = http.send(method, &path, &[], body.as_bytes());
    answer.expect("the admin port answers")
}

fn assert_kept(server: &Server, first: usize, next: usize) {
    for offset in [first, usize::midpoint(first, next), next - 1] {
        let path = format!("/topics/{KEPT}/partitions/0/records?offset={offset}&limit=1");
        let row = server.ask(&path).json();
        assert_eq!(row["offset"], offset, "{row}");
        let value = row["value_base64"].as_str().expect("a record has a value");
        let value = BASE64_STANDARD.decode(value).expect("it is base64");
        assert!(
            value == kept(offset),
            "record {offset} is not what was sent"
        );
    }
}

#[test]
fn what_is_deleted_is_gone_and_its_space_comes_back() {
    let scratch = Scratch::new("deleted");
    let store = scratch.join("store");
    let setup = Setup::new(&scratch).set("RINGTAIL_LOG_REPACK_RATE", "4GiB");
    let server = setup.start();
    let mut client = Client::connect(server.port, "device");
    for request in 0..REQUESTS {
        let bulk: Vec<_> = (0..BULK_EVENTS)
            .map(|index| payload(0, request, index, BULK_BYTES))
            .collect();
        send(&mut client, "bulk", &bulk);
        send(&mut client, "kept", &[kept(request)]);
    }
    let folder = store.join("journal-0");
    let before = journal::bytes_on_disk(&folder);
    assert!(5 * SEGMENT_BYTES <= before, "only {before} bytes");

    assert_eq!(change(&server, "DELETE", BULK, "").status, 204);
    assert_eq!(place(&server, BULK), None);
    let read = server.ask(&format!("/topics/{BULK}/partitions/0/records"));
    assert_eq!(read.status, 404);
    assert_eq!(change(&server, "DELETE", BULK, "").status, 404);
    // A type that is routed again makes a new topic.
    send(&mut client, "bulk", &[payload(9, 9, 9, 10)]);
    assert_eq!(place(&server, BULK), Some((0, 1)));

    wait::until("the space of the deleted topic", 120, || {
        let bytes = journal::bytes_on_disk(&folder);
        (bytes + 3 * SEGMENT_BYTES <= before).then_some(())
    });
    let repacked = metrics::sum(
        &metrics::page(&server),
        "ringtail_segments_repacked_total",
        |_| true,
    );
    assert!(3.0 <= repacked, "{repacked} segments were rewritten");
    assert_kept(&server, 0, REQUESTS);

    let answer = change(&server, "PATCH", KEPT, r#"{"truncate": 10}"#);
    assert_eq!(
        (answer.status, &answer.json()["minOffset"]),
        (200, &10.into())
    );
    assert_eq!(place(&server, KEPT), Some((10, REQUESTS as u64)));
    server.kill();

    journal::verify(&store);
    let values = journal::values(&store);
    let stayed: Vec<_> = (10..REQUESTS).map(kept).collect();
    assert!(
        values[&(KEPT.to_owned(), 0)] == stayed,
        "what stays is exact"
    );
    assert_eq!(values[&(BULK.to_owned(), 0)], [payload(9, 9, 9, 10)]);

    let server = setup.start();
    assert_eq!(place(&server, KEPT), Some((10, REQUESTS as u64)));
    assert_eq!(place(&server, BULK), Some((0, 1)));
    assert_kept(&server, 10, REQUESTS);
    server.stop();
    journal::verify(&store);
}

#[test]
fn a_topic_with_an_age_lets_go_of_what_is_older() {
    let scratch = Scratch::new("aged");
    let rules = "clickstream-short-*:retention_age=1s";
    let server = Setup::new(&scratch)
        .set("RINGTAIL_LOG_TOPICS", rules)
        .start();
    let mut client = Client::connect(server.port, "device");
    for request in 0..5 {
        send(&mut client, "short", &[payload(0, request, 0, 100)]);
        send(&mut client, "kept", &[kept(request)]);
    }
    wait::until("records that are too old to go", 60, || {
        let place = place(&server, "clickstream-short-log");
        (place == Some((5, 5))).then_some(())
    });
    assert_eq!(place(&server, KEPT), Some((0, 5)));
    // Offsets go on where they were.
    send(&mut client, "short", &[payload(0, 5, 0, 100)]);
    let (_, next) = place(&server, "clickstream-short-log").expect("it is there");
    assert_eq!(next, 6);
    server.stop();
}

/// Events of each topic in `topics_of_two_patterns_keep_two_amounts`.
const BOUNDED: usize = 1_200;
const BOUNDED_BYTES: usize = 10_000;

fn bounded(topic: usize, number: usize) -> Vec<u8> {
    payload(topic, number, 0, BOUNDED_BYTES)
}

#[test]
fn topics_of_two_patterns_keep_two_amounts() {
    let scratch = Scratch::new("patterns");
    let rules = "clickstream-few-*:retention_bytes=1MiB;clickstream-some-*:retention_bytes=4MiB";
    let setup = Setup::new(&scratch).set("RINGTAIL_LOG_TOPICS", rules);
    let server = setup.start();
    let mut client = Client::connect(server.port, "device");
    for at in (0..BOUNDED).step_by(20) {
        for (topic, kind) in ["few", "some", "kept"].into_iter().enumerate() {
            let events: Vec<_> = (at..at + 20).map(|number| bounded(topic, number)).collect();
            send(&mut client, kind, &events);
        }
    }
    let next = BOUNDED as u64;
    let topics = ["few", "some", "kept"].map(|kind| format!("clickstream-{kind}-log"));
    // A bound is kept at least, and little more: a batch of 20 events, and a sixteenth of it.
    let amounts = [1u64 << 20, 4 << 20];
    let lows = [0, 1].map(|at| {
        let bound = amounts[at];
        wait::until("the bound of a topic", 120, || {
            let (first, end) = place(&server, &topics[at])?;
            assert_eq!(end, next);
            let kept = (next - first) * BOUNDED_BYTES as u64;
            // Framing counts, too.
            assert!(
                bound <= kept + kept / 50,
                "{} keeps only {kept}",
                topics[at]
            );
            (kept <= bound + bound / 16 + 20 * BOUNDED_BYTES as u64).then_some(first)
        })
    });
    assert!(lows[1] < lows[0], "{lows:?}");
    assert_eq!(place(&server, &topics[2]), Some((0, next)));
    server.kill();

    // What was let go of does not come back, and what is kept is exact.
    let server = setup.start();
    for (topic, low) in [(0, lows[0]), (1, lows[1]), (2, 0)] {
        let (first, end) = place(&server, &topics[topic]).expect("it is listed");
        assert!(low <= first && end == next, "{first} to {end}");
        let read = |offset: u64| {
            let name = &topics[topic];
            server.ask(&format!(
                "/topics/{name}/partitions/0/records?offset={offset}&limit=1"
            ))
        };
        let row = read(first).json();
        assert_eq!(row["offset"], first, "{row}");
        let value = row["value_base64"].as_str().expect("a record has a value");
        let value = BASE64_STANDARD.decode(value).expect("it is base64");
        assert!(value == bounded(topic, first as usize));
        if 0 < first {
            let gone = read(first - 1);
            assert_ne!(gone.status, 200, "{}", gone.text());
        }
    }
    server.stop();
    journal::verify(&scratch.join("store"));
}
