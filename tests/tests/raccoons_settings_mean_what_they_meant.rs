//! Raccoon's variables change what they changed there: topics, headers, acknowledgement, origins, CORS.

use ringtail_tests::client::{Client, Heard, request_json};
use ringtail_tests::http::{Http, Response};
use ringtail_tests::journal;
use ringtail_tests::metrics;
use ringtail_tests::scratch::Scratch;
use ringtail_tests::server::{Server, Setup};
use std::collections::BTreeSet;

const JSON: (&str, &str) = ("Content-Type", "application/json");

fn post(server: &Server, headers: &[(&str, &str)], kind: &str) -> Response {
    let body = request_json("guid", kind, &[kind.as_bytes().to_vec()]);
    let mut http = Http::connect(server.port).expect("the engine accepts");
    let sent = http.send("POST", "/api/v1/events", headers, body.as_bytes());
    sent.expect("the engine answers")
}

/// The topics that hold something, when the server has ended.
fn topics(server: Server, scratch: &Scratch) -> BTreeSet<String> {
    server.stop();
    let values = journal::values(&scratch.join("store"));
    values.into_keys().map(|(topic, _)| topic).collect()
}

#[test]
fn the_pattern_makes_the_topic_of_the_type() {
    let scratch = Scratch::new("settings-pattern");
    let pattern = "EVENT_DISTRIBUTION_PUBLISHER_PATTERN";
    // Only the first place is filled.
    let server = Setup::new(&scratch).set(pattern, "of-%s-x").start();
    for kind in ["one", "other"] {
        assert_eq!(post(&server, &[JSON], kind).status, 200);
    }
    let found = topics(server, &scratch);
    assert_eq!(found, ["of-one-x", "of-other-x"].map(String::from).into());
}

#[test]
fn a_pattern_without_a_place_sends_everything_to_one_topic() {
    let scratch = Scratch::new("settings-one-topic");
    let pattern = "EVENT_DISTRIBUTION_PUBLISHER_PATTERN";
    let server = Setup::new(&scratch).set(pattern, "everything").start();
    for kind in ["one", "other", "no topic / at all"] {
        assert_eq!(post(&server, &[JSON], kind).status, 200, "{kind}");
    }
    let found = topics(server, &scratch);
    assert_eq!(found, ["everything".to_owned()].into());
}

#[test]
fn group_and_id_are_read_from_the_headers_that_are_named() {
    let scratch = Scratch::new("settings-headers");
    let server = Setup::new(&scratch)
        .set("SERVER_WEBSOCKET_CONN_ID_HEADER", "X-Device")
        .set("SERVER_WEBSOCKET_CONN_GROUP_HEADER", "X-Fleet")
        .set("SERVER_WEBSOCKET_CONN_GROUP_DEFAULT", "strays")
        .start();
    for fleet in ["north", "", "north"] {
        let headers = [JSON, ("X-Device", "me"), ("X-Fleet", fleet)];
        assert_eq!(post(&server, &headers, "click").status, 200);
    }
    assert_eq!(post(&server, &[JSON], "click").status, 200);
    let page = metrics::page(&server);
    let batches = |group: &str| {
        metrics::sum(&page, "batches_read_total", |sample| {
            let of_group = sample.label("conn_group") == Some(group);
            of_group && sample.label("status") == Some("success")
        })
    };
    // A group that is empty, or is not named, is the default.
    assert!((batches("north") - 2.0).abs() < 0.5);
    assert!((batches("strays") - 2.0).abs() < 0.5);
    server.stop();
}

#[test]
fn either_acknowledgement_answers_with_success() {
    for ack in [0, 1] {
        let scratch = Scratch::new(&format!("settings-ack-{ack}"));
        let server = Setup::new(&scratch).set("EVENT_ACK", ack).start();
        let mut client = Client::connect(server.port, "me");
        for number in 0..100 {
            client.send(&format!("{number}"), "click", &[vec![number]]);
        }
        for number in 0..100 {
            match client.hear() {
                Heard::Answer(answer) => {
                    assert!(
                        answer.is_success() && answer.reason.is_empty(),
                        "{answer:?}"
                    );
                    assert_eq!(answer.guid(), number.to_string());
                }
                other => panic!("{other:?}"),
            }
        }
        drop(client);
        server.stop();
        // An orderly end loses nothing of either kind.
        let stored: usize = journal::values(&scratch.join("store"))
            .values()
            .map(Vec::len)
            .sum();
        assert_eq!(stored, 100);
    }
}

/// The status of an upgrade from a page of this origin.
fn upgrade(server: &Server, origin: &str) -> u16 {
    let headers = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("X-User-ID", origin),
        ("Origin", origin),
    ];
    let mut http = Http::connect(server.port).expect("the engine accepts");
    let answer = http.send("GET", "/api/v1/events", &headers, b"");
    answer.expect("the engine answers").status
}

#[test]
fn origins_are_checked_unless_that_is_switched_off() {
    for (check, elsewhere) in [("true", 403), ("false", 101)] {
        let scratch = Scratch::new(&format!("settings-origin-{check}"));
        let server = Setup::new(&scratch)
            .set("SERVER_WEBSOCKET_CHECK_ORIGIN", check)
            .start();
        assert_eq!(upgrade(&server, "http://elsewhere.example"), elsewhere);
        assert_eq!(upgrade(&server, "http://localhost"), 101);
        server.stop();
    }
}

#[test]
fn cors_is_off_and_without_origins_it_allows_all() {
    let page = ("Origin", "http://page.example");
    let allowed = "access-control-allow-origin";
    for enabled in [false, true] {
        let scratch = Scratch::new(&format!("settings-cors-{enabled}"));
        let server = Setup::new(&scratch)
            .set("SERVER_CORS_ENABLED", enabled)
            .start();
        let served = post(&server, &[JSON, page], "click");
        assert_eq!(served.status, 200);
        assert_eq!(served.header(allowed).is_some(), enabled, "{served:?}");
        let mut http = Http::connect(server.port).expect("the engine accepts");
        let asks = [page, ("Access-Control-Request-Method", "POST")];
        let preflight = http.send("OPTIONS", "/api/v1/events", &asks, b"");
        let preflight = preflight.expect("the engine answers");
        assert_eq!(preflight.status, if enabled { 200 } else { 405 });
        assert_eq!(preflight.header(allowed).is_some(), enabled);
        server.stop();
    }
}

#[test]
fn compression_of_websockets_is_agreed_on_only_where_it_is_switched_on() {
    for deflate in [false, true] {
        let scratch = Scratch::new(&format!("settings-deflate-{deflate}"));
        let server = Setup::new(&scratch)
            .set("RINGTAIL_WEBSOCKET_DEFLATE", deflate)
            .start();
        let headers = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("Sec-WebSocket-Extensions", "permessage-deflate"),
        ];
        let mut http = Http::connect(server.port).expect("the engine accepts");
        let answer = http.send("GET", "/api/v1/events", &headers, b"");
        let answer = answer.expect("the engine answers");
        let agreed = answer.header("sec-websocket-extensions");
        assert_eq!((answer.status, agreed.is_some()), (101, deflate));
        server.stop();
    }
}
