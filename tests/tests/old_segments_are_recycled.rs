//! Retention by bytes: the store stops growing, first offsets move up, and what is still listed
//! can be read and is exact.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ringtail_tests::client::{Client, Heard, payload};
use ringtail_tests::journal;
use ringtail_tests::metrics;
use ringtail_tests::scratch::Scratch;
use ringtail_tests::server::{Server, Setup};

const SEGMENT_BYTES: u64 = 32 << 20;
const RETENTION_BYTES: u64 = 8 * SEGMENT_BYTES;
/// Segments of the bound that hold no old events: two prepared, one reserved, the open one, and
/// the one that is on its way out.
const OTHER_SEGMENTS: u64 = 5;
const EVENTS: usize = 40;
const EVENT_BYTES: usize = 10_000;
/// Twice what may stay.
const REQUESTS: usize = 2 * RETENTION_BYTES as usize / (EVENTS * EVENT_BYTES);
const OUTSTANDING: usize = 8;
const TOPIC: &str = "clickstream-old-log";

fn send_all(server: &Server, mut look: impl FnMut()) {
    let mut client = Client::connect(server.port, "device");
    let mut sent = 0;
    for answered in 0..REQUESTS {
        while sent < REQUESTS.min(answered + OUTSTANDING) {
            let events: Vec<_> = (0..EVENTS)
                .map(|index| event((sent * EVENTS + index) as u64))
                .collect();
            assert!(client.send("", "old", &events));
            sent += 1;
        }
        let heard = client.hear();
        assert!(
            matches!(&heard, Heard::Answer(answer) if answer.is_success()),
            "{heard:?}"
        );
        if answered % 50 == 0 {
            look();
        }
    }
}

/// The event with this offset: one connection, one journal, one topic.
fn event(offset: u64) -> Vec<u8> {
    payload(0, offset as usize, 0, EVENT_BYTES)
}

/// First and next offset of the only partition.
fn places(server: &Server) -> (u64, u64) {
    let topics = server.ask("/topics").json();
    let partition = topics
        .as_array()
        .or_else(|| topics["topics"].as_array())
        .and_then(|topics| topics.iter().find(|topic| topic["name"] == TOPIC))
        .and_then(|topic| topic["partitions"].get(0))
        .unwrap_or_else(|| panic!("{TOPIC} is not listed: {topics}"));
    let number = |key: &str| {
        partition[key]
            .as_u64()
            .unwrap_or_else(|| panic!("no {key}: {topics}"))
    };
    (number("first"), number("next"))
}

fn assert_readable(server: &Server, first: u64, next: u64) {
    for offset in [first, first + 1, u64::midpoint(first, next), next - 1] {
        let path = format!("/topics/{TOPIC}/partitions/0/records?offset={offset}&limit=1");
        let row = server.ask(&path).json();
        assert_eq!(row["offset"], offset, "{row}");
        let value = row["value_base64"].as_str().expect("a record has a value");
        let value = BASE64_STANDARD.decode(value).expect("it is base64");
        assert!(
            value == event(offset),
            "record {offset} is not what was sent"
        );
    }
}

#[test]
fn the_store_stays_in_its_bounds_and_keeps_the_newest() {
    let scratch = Scratch::new("recycled");
    let store = scratch.join("store");
    let setup = Setup::new(&scratch).set("RINGTAIL_LOG_RETENTION_BYTES", RETENTION_BYTES);
    let server = setup.start();
    send_all(&server, || {
        let bytes = journal::bytes_on_disk(&store.join("journal-0"));
        assert!(bytes <= RETENTION_BYTES, "the journal takes {bytes} bytes");
        // The catalogue has two segments of its own; superblocks are small.
        let bytes = journal::bytes_on_disk(&store);
        let bound = RETENTION_BYTES + 3 * SEGMENT_BYTES;
        assert!(bytes < bound, "the store takes {bytes} bytes");
    });

    let (first, next) = places(&server);
    assert_eq!(next, (REQUESTS * EVENTS) as u64);
    assert!(first > 0, "nothing was retired");
    // What retention may keep is kept.
    let kept = (next - first) * EVENT_BYTES as u64;
    let wanted = RETENTION_BYTES - OTHER_SEGMENTS * SEGMENT_BYTES;
    assert!(
        kept >= wanted,
        "only {kept} bytes were kept, {wanted} may stay"
    );
    assert_readable(&server, first, next);
    let recycled = metrics::sum(
        &metrics::page(&server),
        "ringtail_segments_recycled_total",
        |_| true,
    );
    assert!(recycled > 0.0, "segments were not used again");
    server.stop();

    journal::verify(&store);
    let mut offset = first;
    journal::cat(&store, |row| {
        assert_eq!((row.topic.as_str(), row.offset), (TOPIC, offset));
        assert!(
            row.value() == event(offset),
            "record {offset} is not what was sent"
        );
        offset += 1;
    });
    assert_eq!(offset, next);

    // And a start from recycled files knows where it was.
    let server = setup.start();
    assert_eq!(places(&server), (first, next));
    server.stop();
}
