//! Events that Kafka will never take are kept in the log with the reason, and their neighbours go on.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ringtail_tests::client::{Client, Heard};
use ringtail_tests::delivery::topic;
use ringtail_tests::kafka::Cluster;
use ringtail_tests::metrics;
use ringtail_tests::scratch::Scratch;
use ringtail_tests::server::{Server, Setup};
use ringtail_tests::wait;

const LETTERS: &str = "/topics/ringtail-dead-letters/partitions/0/records";

fn number(server: &Server, name: &str) -> u64 {
    metrics::sum(&metrics::page(server), name, |_| true) as u64
}

/// The letters: their heads, and the events in them.
fn letters(server: &Server) -> Vec<(serde_json::Value, Vec<u8>)> {
    let text = server.ask(LETTERS).text();
    let letter = |line: &str| {
        let record: serde_json::Value = serde_json::from_str(line).expect("a line is JSON");
        let value = record["value_base64"].as_str().expect("it has a value");
        let value = BASE64_STANDARD.decode(value).expect("it is base64");
        let end = value.iter().position(|byte| *byte == b'\n');
        let (head, event) = value.split_at(end.expect("a letter has a head"));
        let head = serde_json::from_slice(head).expect("the head is JSON");
        (head, event[1..].to_vec())
    };
    text.lines().map(letter).collect()
}

#[test]
fn each_is_kept_with_its_reason() {
    let scratch = Scratch::new("spool-letters");
    let cluster = Cluster::start(&scratch, 1);
    cluster.create(&topic("good"), 1, &[1]);
    let setup = Setup::new(&scratch)
        .set("PUBLISHER_TYPE", "spool")
        .set(
            "PUBLISHER_KAFKA_CLIENT_BOOTSTRAP_SERVERS",
            cluster.bootstrap(),
        )
        .set("PUBLISHER_KAFKA_CLIENT_MESSAGE_MAX_BYTES", 2_000)
        .set(
            "PUBLISHER_KAFKA_CLIENT_TOPIC_METADATA_PROPAGATION_MAX_MS",
            1_000,
        )
        .set("RINGTAIL_SPOOL_TOPIC_WAIT_MS", 1_000);
    let server = setup.start();
    let mut client = Client::connect(server.port, "device");
    let large = vec![7; 5_000];
    let requests: [(&str, Vec<Vec<u8>>); 3] = [
        (
            "good",
            vec![b"first".to_vec(), large.clone(), b"second".to_vec()],
        ),
        ("absent", vec![b"a".to_vec(), b"b".to_vec()]),
        ("good", vec![b"third".to_vec()]),
    ];
    for (guid, (kind, events)) in requests.iter().enumerate() {
        assert!(client.send(&guid.to_string(), kind, events));
        let Heard::Answer(answer) = client.hear() else {
            panic!("the connection ended")
        };
        assert!(answer.is_success(), "{}", answer.reason);
    }
    wait::until("everything to have its place", 240, || {
        let waits = number(&server, "ringtail_spool_backlog_events");
        let letters = number(&server, "ringtail_spool_dead_letters_total");
        (waits == 0 && letters == 3).then_some(())
    });
    let mut letters = letters(&server);
    letters.sort_by_key(|(head, _)| (head["topic"].to_string(), head["offset"].as_u64()));
    let told: Vec<_> = letters
        .iter()
        .map(|(head, event)| {
            let topic = head["topic"].as_str().expect("it has a topic");
            (topic, head["offset"].as_u64(), event.clone())
        })
        .collect();
    let (absent, good) = (topic("absent"), topic("good"));
    let wanted = [
        (absent.as_str(), Some(0), b"a".to_vec()),
        (absent.as_str(), Some(1), b"b".to_vec()),
        (good.as_str(), Some(1), large),
    ];
    assert_eq!(told, wanted);
    for (head, reason) in [(0, "Unknown topic"), (2, "size too large")] {
        let said = letters[head].0["reason"].to_string();
        assert!(said.contains(reason), "{said}");
    }
    server.stop();
    let values = cluster.consume(&[&topic("good")]);
    let values: Vec<_> = values.iter().map(|record| &record.value[..]).collect();
    assert_eq!(values, [&b"first"[..], b"second", b"third"]);
    // They are no events to be forwarded, and not forgotten by a start.
    let server = setup.start();
    assert_eq!(number(&server, "ringtail_spool_dead_letters_total"), 3);
    wait::until("nothing to wait", 60, || {
        (number(&server, "ringtail_spool_backlog_events") == 0).then_some(())
    });
    server.stop();
}
