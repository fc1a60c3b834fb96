//! What is acknowledged is in Kafka: byte for byte, in its topic, in its connection's order, with the key and the
//! headers that the operator wants; and what is not in Kafka is told event by event, with librdkafka's words. It holds
//! when the engine is killed and when a topic is deleted under load. Two foreign clients read it back.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ringtail_tests::client::Client;
use ringtail_tests::client::Heard;
use ringtail_tests::delivery::{Fate, Load, account, topic};
use ringtail_tests::http::Http;
use ringtail_tests::kafka::{Cluster, Record};
use ringtail_tests::program;
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
    let kinds = ["one", "many", "keyed", "crash", "kept", "doomed", "twice"];
    for (kind, partitions) in kinds.into_iter().zip([1, 4, 4, 2, 2, 1, 1]) {
        cluster.create(&topic(kind), partitions, &[1]);
    }
    plain_records_have_neither_key_nor_headers(&scratch, &cluster);
    keys_keep_a_device_in_one_partition(&scratch, &cluster);
    what_is_missing_is_told_event_by_event(&scratch, &cluster);
    missing_topics_are_made_when_that_is_wanted(&scratch, &cluster);
    what_was_acknowledged_outlives_the_engine(&scratch, &cluster);
    a_topic_deleted_under_load_harms_no_other(&scratch, &cluster);
    a_batch_is_known_again_only_when_it_was_delivered(&scratch, &cluster);
    the_bench_finds_what_it_sent(&scratch, &cluster);
}

/// What `kcat` reads is what Python's client reads, but for the headers, which it does not tell byte by byte.
fn kcat_agrees(cluster: &Cluster, records: &[Record]) {
    let topics: BTreeSet<&str> = records.iter().map(|record| &*record.topic).collect();
    for topic in topics {
        let mut of_kcat = cluster.kcat(topic);
        let here = records.iter().filter(|record| record.topic == topic);
        let mut others: Vec<Record> = here.cloned().collect();
        for record in &mut others {
            record.headers.clear();
        }
        let place = |record: &Record| (record.partition, record.offset);
        of_kcat.sort_by_key(place);
        others.sort_by_key(place);
        assert!(of_kcat == others, "kcat reads {topic} otherwise");
    }
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
    // Topics and records are not the engine's to delete.
    let mut http = Http::connect(server.admin).expect("the admin port accepts");
    for method in ["DELETE", "PATCH"] {
        let path = format!("/topics/{}", topic("one"));
        let answer = http.send(method, &path, &[], b"{}");
        assert_eq!(answer.expect("it answers").status, 409);
    }
    // Nothing was written to a disk.
    assert!(!scratch.join("store").exists());
    server.stop();
    let records = cluster.consume(&[&topic("one"), &topic("many")]);
    let found = account(&sent, &records);
    println!("{found}");
    assert_eq!((found.acknowledged, found.duplicates), (found.sent, 0));
    assert_eq!(found.delivered, found.sent);
    kcat_agrees(cluster, &records);
    let bare = |record: &Record| record.key.is_none() && record.headers.is_empty();
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
    kcat_agrees(cluster, &records);
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

fn the_bench_finds_what_it_sent(scratch: &Scratch, cluster: &Cluster) {
    let kind = "bench-0";
    cluster.create(&topic(kind), 3, &[1]);
    let server = setup(scratch, cluster).start();
    let bench = |words: &str| {
        let mut command = program::clean(&program::built("ringtail-bench"));
        let from = format!("{words} --kafka {} --kafka-topics", cluster.bootstrap());
        command.args(from.split_whitespace());
        command
    };
    let record = scratch.join("bench-record").display().to_string();
    let load = format!(
        "load --url ws://127.0.0.1:{}/api/v1/events --connections 4 --events 5 --bytes 90 --warmup 0 \
         --seconds 60 --batches 50 --verify --record {record}",
        server.port
    );
    let mut whole = bench(&load);
    whole.arg(topic(kind));
    let whole = program::run(whole, scratch.path(), 120);
    assert_eq!(whole.code, Some(0), "{whole:?}");
    let account = "200 batches sent, 200 acknowledged, 200 stored, 0 missing, 0 torn";
    assert!(whole.stdout.contains(account), "{whole:?}");
    // Where the events are not, it says so.
    let mut elsewhere = bench(&format!("verify --record {record} --among-others"));
    elsewhere.arg(topic("one"));
    let elsewhere = program::run(elsewhere, scratch.path(), 120);
    assert_eq!(elsewhere.code, Some(1), "{elsewhere:?}");
    assert!(
        elsewhere.stdout.contains(r#""missing":200"#),
        "{elsewhere:?}"
    );
    server.stop();
}

fn what_was_acknowledged_outlives_the_engine(scratch: &Scratch, cluster: &Cluster) {
    let setup = setup(scratch, cluster).set("RINGTAIL_SHARDS", 2);
    let mut sent = Vec::new();
    for round in 0..10 {
        let server = setup.start();
        let load = Load::start(server.port, 20 + 4 * round..24 + 4 * round, &["crash"]);
        wait::until("answers", 120, || (load.answered() > 300).then_some(()));
        server.kill();
        sent.extend(load.finish());
    }
    let records = cluster.consume(&[&topic("crash")]);
    let found = account(&sent, &records);
    println!("killed ten times: {found}");
    // Nobody sends again here, and what was in hand may be delivered or not.
    assert_eq!((found.failed, found.duplicates), (0, 0));
    assert!(found.acknowledged <= found.delivered && found.delivered <= found.sent);
    assert!(found.acknowledged < found.sent, "no kill came under load");
}

fn a_topic_deleted_under_load_harms_no_other(scratch: &Scratch, cluster: &Cluster) {
    let server = setup(scratch, cluster).start();
    let load = load(&server, 40..44, &["kept", "doomed"]);
    cluster.delete(&topic("doomed"));
    wait::until("refusals", 120, || (load.failed() > 100).then_some(()));
    let before = load.answered() - load.failed();
    wait::until("answers beside them", 120, || {
        (load.answered() - load.failed() > before + 200).then_some(())
    });
    let (kept, doomed): (Vec<_>, Vec<_>) = load
        .finish()
        .into_iter()
        .partition(|one| one.kind == "kept");
    assert_eq!(server.ask("/readyz").status, 200);
    server.stop();
    let found = account(&kept, &cluster.consume(&[&topic("kept")]));
    println!("beside a deleted topic: {found}");
    assert_eq!((found.failed, found.duplicates), (0, 0));
    assert_eq!(found.acknowledged, found.sent);
    for one in doomed {
        if let Fate::Failed(reason) = one.fate {
            let name = topic("doomed");
            assert!(reason.contains(&name), "{reason}");
            // What it held loses its partition first; then the topic is missed.
            let words = ["Unknown partition", "Unknown topic"];
            assert!(words.iter().any(|words| reason.contains(words)), "{reason}");
        }
    }
}

fn a_batch_is_known_again_only_when_it_was_delivered(scratch: &Scratch, cluster: &Cluster) {
    let server = setup(scratch, cluster)
        .set("RINGTAIL_SHARDS", 2)
        .set("RINGTAIL_DEDUPE_WINDOW_MS", 600_000)
        .start();
    let mut client = Client::connect(server.port, "forgetful");
    let mut answer = |guid: &str, kind: &str| {
        assert!(client.send(guid, kind, &[guid.as_bytes().to_vec()]));
        match client.hear() {
            Heard::Answer(answer) => answer.is_success(),
            other => panic!("{other:?}"),
        }
    };
    // What fails is forgotten each time, and taken when its topic is there.
    assert!(!answer("later", "nowhere"));
    assert!(!answer("later", "nowhere"));
    assert!(answer("later", "twice"));
    // What was delivered is known, by whichever connection it comes again.
    assert!(answer("later", "twice"));
    // Several in hand at once: one is sent, and all are answered by what became of it.
    for _ in 0..20 {
        assert!(client.send("crowd", "twice", &[b"crowd".to_vec()]));
    }
    for _ in 0..20 {
        assert!(matches!(client.hear(), Heard::Answer(answer) if answer.is_success()));
    }
    for _ in 0..20 {
        assert!(client.send("lost", "nowhere", &[b"lost".to_vec()]));
    }
    for _ in 0..20 {
        assert!(matches!(client.hear(), Heard::Answer(answer) if !answer.is_success()));
    }
    let page = server.ask("/metrics").text();
    let told = |name: &str| page.lines().any(|line| line.starts_with(name));
    assert!(told("events_duplicate_total"), "{page}");
    server.stop();
    let records = cluster.consume(&[&topic("twice")]);
    let values: Vec<_> = records.iter().map(|record| &record.value[..]).collect();
    assert_eq!(values, [&b"later"[..], b"crowd"]);
}
