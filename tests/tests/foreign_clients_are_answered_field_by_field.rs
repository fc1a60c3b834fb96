//! Clients that are not ours (`websockets`, `grpcio`, `protobuf`, `curl`, plain sockets) are answered
//! field by field, over WebSocket, REST and gRPC, in protobuf and JSON; and what they were promised is
//! on disk.
//!
//! The questions are in `tests/python/`; here the engine is started, and afterwards its log is
//! compared with what the foreign clients say was acknowledged.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ringtail_tests::journal;
use ringtail_tests::program;
use ringtail_tests::scratch::Scratch;
use ringtail_tests::server::{Setup, free_ports};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// What the clients wrote down: by topic, the payloads in the order of their answers, as base64.
fn promised(path: &Path) -> BTreeMap<String, Vec<Vec<u8>>> {
    let text = fs::read(path).expect("the clients wrote down what they were promised");
    let promised: BTreeMap<String, Vec<String>> =
        serde_json::from_slice(&text).expect("it is JSON");
    let decode = |text: String| BASE64_STANDARD.decode(text).expect("it is base64");
    let topics = promised.into_iter();
    topics
        .map(|(topic, values)| (topic, values.into_iter().map(decode).collect()))
        .collect()
}

#[test]
fn python_and_curl_agree_with_the_log() {
    let scratch = Scratch::new("foreign");
    let (store, acked) = (scratch.join("store"), scratch.join("promised.json"));
    let [grpc, statsd] = free_ports();
    let server = Setup::new(&scratch)
        .set("SERVER_GRPC_PORT", grpc)
        .set("SERVER_WEBSOCKET_CONN_GROUP_HEADER", "X-Group")
        .set("RINGTAIL_WEBSOCKET_DEFLATE", true)
        .set("METRIC_STATSD_ENABLED", true)
        .set("METRIC_STATSD_ADDRESS", format!(":{statsd}"))
        .set("METRIC_STATSD_FLUSH_PERIOD_MS", 200)
        .set("SERVER_CORS_ENABLED", true)
        .set("SERVER_CORS_ALLOWED_ORIGIN", "http://page.example")
        .start();

    let questions = program::repository().join("tests/python");
    let mut pytest = program::clean(&program::python());
    pytest
        .args([
            "-B",
            "-m",
            "pytest",
            "-q",
            "--color=no",
            "-p",
            "no:cacheprovider",
        ])
        .arg(&questions)
        .current_dir(scratch.path())
        .env("RINGTAIL_PORT", server.port.to_string())
        .env("RINGTAIL_GRPC", grpc.to_string())
        .env("RINGTAIL_STATSD", statsd.to_string())
        .env("RINGTAIL_ADMIN", server.admin.to_string())
        .env("RINGTAIL_PROMISED", &acked)
        .env("RINGTAIL_PROTO", program::repository().join("proto"));
    let finished = program::run(pytest, scratch.path(), 300);
    println!("{}", finished.stdout);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert!(!server.said().contains("panicked"), "{}", server.said());
    server.stop();

    journal::verify(&store);
    let listed = journal::run("topics", &store);
    assert_eq!(listed.code, Some(0), "{listed:?}");
    let promised = promised(&acked);
    assert!(promised.len() > 10, "the clients sent next to nothing");
    let mut stored = BTreeMap::new();
    for ((topic, partition), values) in journal::values(&store) {
        assert_eq!(partition, 0, "one shard has one journal");
        assert!(
            listed.stdout.contains(&topic),
            "{topic} is not in: {}",
            listed.stdout
        );
        stored.insert(topic, values);
    }
    for (topic, values) in &promised {
        assert!(
            stored.get(topic) == Some(values),
            "{topic} differs from what was acknowledged"
        );
    }
    let unasked: Vec<_> = stored
        .keys()
        .filter(|topic| !promised.contains_key(*topic))
        .collect();
    assert!(unasked.is_empty(), "nobody was promised {unasked:?}");
}
