//! Where that is switched on, a batch that is sent again is answered with success and stored once: within a
//! connection, on another connection and shard, and over another protocol. What failed is not remembered.

use ringtail_tests::client::{Answer, Client, Heard, request_json};
use ringtail_tests::http::Http;
use ringtail_tests::journal;
use ringtail_tests::metrics;
use ringtail_tests::scratch::Scratch;
use ringtail_tests::server::{Server, Setup};
use std::collections::BTreeMap;

const BATCHES: usize = 40;

fn answer(client: &mut Client) -> Answer {
    match client.hear() {
        Heard::Answer(answer) => answer,
        other => panic!("{other:?}"),
    }
}

fn payload(number: usize) -> Vec<u8> {
    format!("batch {number}").into_bytes()
}

fn duplicates(server: &Server) -> f64 {
    let page = metrics::page(server);
    metrics::sum(&page, "events_duplicate_total", |_| true)
}

/// How often each payload is stored.
fn stored(scratch: &Scratch) -> BTreeMap<Vec<u8>, usize> {
    journal::verify(&scratch.join("store"));
    let mut counts = BTreeMap::new();
    for value in journal::values(&scratch.join("store"))
        .into_values()
        .flatten()
    {
        *counts.entry(value).or_default() += 1;
    }
    counts
}

fn each_once() -> BTreeMap<Vec<u8>, usize> {
    (0..BATCHES).map(|number| (payload(number), 1)).collect()
}

/// POSTs a batch under an id.
fn post(server: &Server, id: &str, guid: &str, kind: &str, payload: &[u8]) -> u16 {
    let body = request_json(guid, kind, &[payload.to_vec()]);
    let headers = [("Content-Type", "application/json"), ("X-User-ID", id)];
    let mut http = Http::connect(server.port).expect("the engine accepts");
    let sent = http.send("POST", "/api/v1/events", &headers, body.as_bytes());
    sent.expect("the engine answers").status
}

#[test]
fn within_a_connection() {
    let scratch = Scratch::new("twice-in-connection");
    let server = Setup::new(&scratch)
        .set("SERVER_BATCH_DEDUP_IN_CONNECTION_ENABLED", true)
        .start();
    let mut client = Client::connect(server.port, "me");
    // The second comes while the first is in hand.
    for number in 0..BATCHES {
        for _ in 0..2 {
            client.send(&format!("guid {number}"), "twice", &[payload(number)]);
        }
    }
    for number in 0..2 * BATCHES {
        let answer = answer(&mut client);
        assert!(answer.is_success(), "{answer:?}");
        assert_eq!(answer.guid(), format!("guid {}", number / 2));
    }
    // An empty guid is never a duplicate, and a refused batch may be sent again, made good.
    for _ in 0..2 {
        client.send("", "empty", &[b"empty".to_vec()]);
        assert!(answer(&mut client).is_success());
    }
    client.send("again", "no topic / at all", &[b"refused".to_vec()]);
    assert!(!answer(&mut client).is_success());
    client.send("again", "twice", &[b"made good".to_vec()]);
    assert!(answer(&mut client).is_success());
    assert!((duplicates(&server) - BATCHES as f64).abs() < 0.5);
    // Another connection is another matter.
    drop(client);
    let mut other = Client::connect(server.port, "me");
    other.send("guid 0", "other", &[b"other".to_vec()]);
    assert!(answer(&mut other).is_success());
    drop(other);
    server.stop();
    let mut wanted = each_once();
    wanted.insert(b"empty".to_vec(), 2);
    wanted.insert(b"made good".to_vec(), 1);
    wanted.insert(b"other".to_vec(), 1);
    assert_eq!(stored(&scratch), wanted);
}

#[test]
fn across_connections_shards_and_protocols() {
    let scratch = Scratch::new("twice-across");
    let server = Setup::new(&scratch)
        .set("RINGTAIL_SHARDS", 2)
        .set("RINGTAIL_DEDUPE_WINDOW_MS", 600_000)
        .start();
    // Each connection may meet another shard, and each key may be owned by the other.
    for round in 0..6 {
        let mut client = Client::connect(server.port, "me");
        for number in 0..BATCHES {
            client.send(&format!("guid {number}"), "twice", &[payload(number)]);
        }
        if round % 2 == 0 {
            // Gone before its answers: what became of its batches nobody here knows.
            drop(client);
            continue;
        }
        for number in 0..BATCHES {
            let answer = answer(&mut client);
            assert!(answer.is_success(), "{answer:?}");
            assert_eq!(answer.guid(), format!("guid {number}"));
        }
    }
    for number in 0..BATCHES {
        let guid = format!("guid {number}");
        assert_eq!(post(&server, "me", &guid, "twice", &payload(number)), 200);
    }
    assert!(duplicates(&server) >= (3 * BATCHES) as f64);
    // Others may use the same guids, and who has no id is nobody in particular.
    for id in ["you", "", ""] {
        assert_eq!(post(&server, id, "guid 0", "others", b"other"), 200);
    }
    // What was refused may be sent again, wherever it was refused.
    for number in 0..8 {
        let guid = format!("again {number}");
        assert_eq!(post(&server, "me", &guid, "no topic / at all", b"bad"), 400);
        assert_eq!(post(&server, "me", &guid, "good", guid.as_bytes()), 200);
    }
    let page = metrics::page(&server);
    let unasked = metrics::sum(&page, "ringtail_dedupe_unasked_total", |_| true);
    server.stop();
    let mut wanted = each_once();
    wanted.insert(b"other".to_vec(), 3);
    for number in 0..8 {
        wanted.insert(format!("again {number}").into_bytes(), 1);
    }
    let found = stored(&scratch);
    // A host that stood still for seconds may have passed an owner over, and says so.
    if unasked < 0.5 {
        assert_eq!(found, wanted);
    }
    assert!(wanted.keys().all(|value| found.contains_key(value)));
}

#[test]
fn nowhere_unless_it_is_switched_on() {
    let scratch = Scratch::new("twice-off");
    let server = Setup::new(&scratch).start();
    let mut client = Client::connect(server.port, "me");
    for _ in 0..2 {
        client.send("guid", "twice", &[b"twice".to_vec()]);
        assert!(answer(&mut client).is_success());
    }
    assert!(duplicates(&server) < 0.5);
    drop(client);
    server.stop();
    assert_eq!(stored(&scratch), BTreeMap::from([(b"twice".to_vec(), 2)]));
}
