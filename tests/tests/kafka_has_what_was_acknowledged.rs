//! What is acknowledged is in Kafka: byte for byte, in its topic, in its connection's order, with the key and the
//! headers that the operator wants; and what is not in Kafka is told event by event, with librdkafka's words.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ringtail_tests::delivery::{Load, account, topic};
use ringtail_tests::http::Http;
use ringtail_tests::kafka::Cluster;
use ringtail_tests::scratch::Scratch;
use ringtail_tests::server::{Server, Setup};
use ringtail_tests::wait;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

fn setup(scratch: &Scratch, cluster: &Cluster) -> Setup {
    Setup::new(scratch)
        .set("PUBLISHER_TYPE", "kafka")
        .set(
            "PUBLISHER_KAFKA_CLIENT_BOOTSTRAP_SERVERS",
            cluster.bootstrap(),
        )
        .set("PUBLISHER_KAFKA_CLIENT_STATISTICS_INTERVAL_MS", 200)
        .set(
            "PUBLISHER_KAFKA_CLIENT_TOPIC_METADATA_PROPAGATION_MAX_MS",
            1_000,
        )
}

fn load(server: &Server, connections: std::ops::Range<usize>, kinds: &[&str]) -> Load {
    let load = Load::start(server.port, connections, kinds);
    wait::until("answers", 120, || (load.answered() > 500).then_some(()));
    load
}

/// Posts one event of each type; the answer as JSON.
fn post(server: &Server, kinds: &[&str]) -> (u16, Value) {
    let event = |kind: &&str| json!({"event_bytes": BASE64_STANDARD.encode(kind), "type": kind});
    let events: Vec<_> = kinds.iter().map(event).collect();
    let body = json!({"req_guid": "mixed", "events": events}).to_string();
    let mut http = Http::connect(server.port).expect("the engine accepts");
    let answer = http.post_events(&body).expect("the engine answers");
    (answer.status, answer.json())
}

#[test]
fn every_event_is_there_as_it_was_sent() {
    let scratch = Scratch::new("kafka-all");
    let cluster = Cluster::start(&scratch, 1);
    for (kind, partitions) in [("one", 1), ("many", 4), ("keyed", 4)] {
        cluster.create(&topic(kind), partitions, &[1]);
    }
    plain_records_have_neither_key_nor_headers(&scratch, &cluster);
    keys_keep_a_device_in_one_partition(&scratch, &cluster);
    what_is_missing_is_told_event_by_event(&scratch, &cluster);
    missing_topics_are_made_when_that_is_wanted(&scratch, &cluster);
}

fn plain_records_have_neither_key_nor_headers(scratch: &Scratch, cluster: &Cluster) {
    let server = setup(scratch, cluster).set("RINGTAIL_SHARDS", 2).start();
    let sent = load(&server, 0..4, &["one", "many"]).finish();
    wait::until("librdkafka's statistics", 60, || {
        let page = server.ask("/metrics").text();
        let told = |name: &str| {
            let mut lines = page.lines().filter(|line| line.starts_with(name));
            lines.any(|line| !line.ends_with(" 0"))
        };
        let names = [
            "kafka_tx_messages_total",
            "kafka_tx_messages_bytes_total",
            "kafka_brokers_tx_total{broker=\"127.0.0.1:",
            "kafka_brokers_tx_bytes_total{broker=\"127.0.0.1:",
            "kafka_messages_delivered_total{topic=\"clickstream-many-log\"",
            "ringtail_kafka_brokers 1",
        ];
        names.into_iter().all(told).then_some(())
    });
    // Nothing was written to a disk.
    assert!(!scratch.join("store").exists());
    server.stop();
    let records = cluster.consume(&[&topic("one"), &topic("many")]);
    let found = account(&sent, &records);
    println!("{found}");
    assert_eq!((found.acknowledged, found.duplicates), (found.sent, 0));
    assert_eq!(found.delivered, found.sent);
    let bare =
        |record: &ringtail_tests::kafka::Record| record.key.is_none() && record.headers.is_empty();
    assert!(records.iter().all(bare));
}

fn keys_keep_a_device_in_one_partition(scratch: &Scratch, cluster: &Cluster) {
    let server = setup(scratch, cluster)
        .set("RINGTAIL_KAFKA_KEY", "conn_id")
        .set("RINGTAIL_KAFKA_HEADERS", "event_type,req_guid,received")
        .start();
    let sent = load(&server, 10..16, &["keyed"]).finish();
    server.stop();
    let records = cluster.consume(&[&topic("keyed")]);
    let found = account(&sent, &records);
    assert_eq!((found.delivered, found.duplicates), (found.sent, 0));
    let mut homes: BTreeMap<Vec<u8>, BTreeSet<i32>> = BTreeMap::new();
    for record in &records {
        let key = record.key.clone().expect("each record has a key");
        homes.entry(key).or_default().insert(record.partition);
        let names: Vec<_> = record.headers.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["event_type", "req_guid", "received"]);
        assert_eq!(record.headers[0].1, b"keyed");
    }
    let devices: Vec<_> = (10..16)
        .map(|one| format!("device-{one}").into_bytes())
        .collect();
    assert!(homes.keys().eq(&devices));
    assert!(homes.values().all(|partitions| partitions.len() == 1));
}

fn what_is_missing_is_told_event_by_event(scratch: &Scratch, cluster: &Cluster) {
    let server = setup(scratch, cluster).start();
    let before = cluster.consume(&[&topic("one")]).len();
    let (status, answer) = post(&server, &["one", "nowhere", "one"]);
    assert_eq!(status, 500, "{answer}");
    let reason = answer["reason"].as_str().unwrap_or_default();
    let why = answer["data"]["event.1"].as_str().unwrap_or_default();
    // By the brokers' word the first time, by librdkafka's own as long as it remembers that.
    let words = ["Broker: Unknown topic or partition", "Local: Unknown topic"];
    let whys = words.map(|words| format!("{words} clickstream-nowhere-log"));
    assert!(whys.iter().any(|known| known == why), "{answer}");
    assert_eq!(reason, format!("cannot publish events: event 1: {why}"));
    assert_eq!(
        answer["data"].as_object().map(serde_json::Map::len),
        Some(2)
    );
    // The others of the request were delivered all the same, and the topic's absence harms nobody.
    assert_eq!(cluster.consume(&[&topic("one")]).len(), before + 2);
    assert_eq!(post(&server, &["one"]).0, 200);
    let page = server.ask("/metrics").text();
    let unknown = "kafka_unknown_topic_failure_total{topic=\"clickstream-nowhere-log\"";
    assert!(page.lines().any(|line| line.starts_with(unknown)), "{page}");
    server.stop();
}

fn missing_topics_are_made_when_that_is_wanted(scratch: &Scratch, cluster: &Cluster) {
    let server = setup(scratch, cluster)
        .set("RINGTAIL_KAFKA_CREATE_TOPICS", true)
        .set("RINGTAIL_KAFKA_CREATE_PARTITIONS", 3)
        .set(
            "PUBLISHER_KAFKA_CLIENT_TOPIC_METADATA_PROPAGATION_MAX_MS",
            30_000,
        )
        .start();
    let (status, answer) = post(&server, &["fresh"]);
    assert_eq!(status, 200, "{answer}");
    server.stop();
    assert_eq!(cluster.topics().get(&topic("fresh")), Some(&3));
    assert_eq!(cluster.consume(&[&topic("fresh")])[0].value, b"fresh");
}
