//! With transactions, a consumer of what was committed sees every acknowledged event once, in the order of its
//! connection, whoever is killed meanwhile.

use ringtail_tests::client::Client;
use ringtail_tests::delivery::{Fate, Load, Sent, account, topic};
use ringtail_tests::kafka::{Cluster, Doors};
use ringtail_tests::scratch::Scratch;
use ringtail_tests::server::{Server, Setup};
use ringtail_tests::spool::{
    self, number, retry, send, values, wait_for_answers, wait_for_letters, wait_until_drained,
};
use ringtail_tests::wait;
use rustix::time::{ClockId, clock_gettime};

const TOPICS: [&str; 2] = ["one", "many"];
const PAUSE_MS: u64 = 25;

fn exactly_once(scratch: &Scratch, cluster: &Cluster) -> Setup {
    spool::setup(scratch, cluster)
        .set("RINGTAIL_SHARDS", 2)
        .set("RINGTAIL_SPOOL_DELIVERY", "exactly-once")
        // What the other journal's killed producer held open may hold back the reading of a cursor for that long.
        .set("PUBLISHER_KAFKA_CLIENT_TRANSACTION_TIMEOUT_MS", 20_000)
}

/// Record by record: one connection's events of a topic stay in one partition.
fn with_librdkafka(setup: Setup) -> Setup {
    setup
        .set("RINGTAIL_KAFKA_KEY", "conn_id")
        .set("RINGTAIL_KAFKA_HEADERS", "received")
}

fn make_topics(cluster: &Cluster) {
    cluster.create(&topic("one"), 1, &[1]);
    cluster.create(&topic("many"), 3, &[1]);
}

fn load(server: &Server, connections: std::ops::Range<usize>) -> Load {
    Load::start_slowly(server.port, connections, &TOPICS, PAUSE_MS)
}

fn wait_until_some_arrived(server: &Server) {
    let before = number(server, "ringtail_spool_delivered_total");
    wait::until("something to be delivered", 280, || {
        (before < number(server, "ringtail_spool_delivered_total")).then_some(())
    });
}

fn check(cluster: &Cluster, sent: &[Sent]) {
    let records = cluster.consume(&[&topic("one"), &topic("many")]);
    let found = account(sent, &records);
    println!("{found}");
    let failed = sent.iter().find(|one| matches!(one.fate, Fate::Failed(_)));
    assert!(failed.is_none(), "a client saw an error: {failed:?}");
    assert!(0 < found.acknowledged);
    assert_eq!(found.duplicates, 0);
}

/// What was delivered since the start went in whole batches, or none of it.
fn check_way(server: &Server, whole: bool) {
    let went = number(server, "ringtail_spool_whole_total");
    assert_eq!(0 < went, whole, "{went} events went whole");
}

#[test]
fn whoever_is_killed() {
    kill("exactly-kills", true);
}

#[test]
fn whoever_is_killed_while_events_go_one_by_one() {
    kill("exactly-kills-records", false);
}

fn kill(name: &str, whole: bool) {
    let scratch = Scratch::new(name);
    let mut cluster = Cluster::start(&scratch, 1);
    make_topics(&cluster);
    let mut setup = exactly_once(&scratch, &cluster);
    if !whole {
        setup = with_librdkafka(setup);
    }
    let mut sent = Vec::new();
    for round in 0..10 {
        let server = setup.start();
        let load = load(&server, 4 * round..4 * round + 4);
        wait_for_answers(&load, 40);
        wait_until_some_arrived(&server);
        check_way(&server, whole);
        match round {
            // The broker alone, and what waits meanwhile.
            2 => {
                cluster.kill(1);
                wait_for_answers(&load, 40);
                cluster.start_again(1);
                wait_until_some_arrived(&server);
            }
            // Both.
            4 | 8 => cluster.kill(1),
            _ => {}
        }
        wait_for_answers(&load, 40);
        server.kill();
        if round == 4 || round == 8 {
            cluster.start_again(1);
        }
        sent.extend(load.finish());
    }
    let server = setup.start();
    wait_until_drained(&server);
    let delivered = number(&server, "ringtail_spool_delivered_total");
    server.stop();
    check(&cluster, &sent);
    // An orderly end has left nothing to be sent again, and both cursors are the same.
    let server = setup.start();
    wait_until_drained(&server);
    let said = server.said();
    assert_eq!(number(&server, "ringtail_spool_delivered_total"), delivered);
    server.stop();
    assert!(!said.contains("went back"), "{said}");
    // The topic that Ringtail made is the right one.
    assert!(!said.contains("cleanup.policy"), "{said}");
    check(&cluster, &sent);
    assert_eq!(cluster.topics().get("ringtail-spool-cursors"), Some(&1));
}

fn milliseconds() -> i64 {
    let now = clock_gettime(ClockId::Realtime);
    now.tv_sec * 1_000 + now.tv_nsec / 1_000_000
}

#[test]
fn what_kafka_never_takes_is_kept_and_the_rest_comes() {
    give_what_is_never_taken("exactly-letters", true);
}

#[test]
fn what_kafka_never_takes_of_single_events_is_kept_and_the_rest_comes() {
    give_what_is_never_taken("exactly-letters-records", false);
}

fn give_what_is_never_taken(name: &str, whole: bool) {
    let scratch = Scratch::new(name);
    let doors = Doors {
        lines: "message.max.bytes=3000".to_owned(),
        ..Doors::default()
    };
    let cluster = Cluster::start_with(&scratch, 1, &doors);
    cluster.create(&topic("one"), 1, &[1]);
    // As an operator makes it who has not read on.
    cluster.create("ringtail-spool-cursors", 1, &[1]);
    let mut setup = exactly_once(&scratch, &cluster)
        .set("RINGTAIL_SHARDS", 1)
        .set("RINGTAIL_SPOOL_TOPIC_WAIT_MS", 5_000);
    if !whole {
        setup = with_librdkafka(setup);
    }
    let server = setup.start();
    let mut client = Client::connect(server.port, "device");
    let (large, larger) = (vec![7; 5_000], vec![7; 500_000]);
    let requests: [(&str, Vec<Vec<u8>>); 4] = [
        ("one", vec![b"first".to_vec(), large, b"second".to_vec()]),
        ("absent", vec![b"a".to_vec(), b"b".to_vec()]),
        ("one", vec![larger, b"third".to_vec()]),
        ("one", vec![b"fourth".to_vec()]),
    ];
    for (guid, (kind, events)) in requests.iter().enumerate() {
        send(&mut client, &guid.to_string(), kind, events);
    }
    wait_for_letters(&server, 4, 4);
    let said = server.said();
    let warning = "Kafka's topic ringtail-spool-cursors has cleanup.policy=delete";
    assert!(said.contains(warning), "{said}");
    let kept = server.ask("/topics/ringtail-dead-letters/partitions/0/records");
    assert_eq!(kept.text().lines().count(), 4);
    let mut expected = vec![&b"first"[..], b"second", b"third", b"fourth"];
    assert_eq!(values(&cluster, "one"), expected);

    // What comes later of a topic that was given up holds up nobody: no transaction fails for it.
    let failures = |server: &Server| server.said().matches("a transaction failed").count();
    let failed = failures(&server);
    assert!(0 < failed);
    send(&mut client, "4", "absent", &[b"c".to_vec()]);
    send(&mut client, "5", "one", &[b"fifth".to_vec()]);
    expected.push(b"fifth");
    wait_for_letters(&server, 5, 5);
    assert_eq!(values(&cluster, "one"), expected);
    assert_eq!(failures(&server), failed);
    check_way(&server, whole);

    // What has a place by now comes, once; the rest are letters once more.
    cluster.create(&topic("absent"), 1, &[1]);
    let before_ms = milliseconds();
    let said = retry(&scratch, &server);
    assert!(said.starts_with("5 events were sent again\n"), "{said}");
    wait_for_letters(&server, 7, 2);
    server.stop();
    assert_eq!(values(&cluster, "absent"), [b"a", b"b", b"c"]);
    let with_headers = cluster.consume(&[&topic("absent")]);
    for record in with_headers.iter().filter(|_| !whole) {
        let received = std::str::from_utf8(&record.headers[0].1).expect("it is a number");
        let received: i64 = received.parse().expect("it is a number");
        // When it came, not when it was sent again.
        assert!(received <= before_ms, "{received}, {before_ms}");
    }
    assert_eq!(values(&cluster, "one"), expected);
    // The log's topic is no news for Kafka.
    assert!(!cluster.topics().contains_key("ringtail-dead-letters"));
}

#[test]
fn coordinators_may_die_one_after_the_other() {
    let scratch = Scratch::new("exactly-coordinators");
    let doors = Doors {
        lines: "transaction.state.log.replication.factor=3\n\
                transaction.state.log.min.isr=2\n\
                default.replication.factor=3\n\
                min.insync.replicas=1"
            .to_owned(),
        ..Doors::default()
    };
    let mut cluster = Cluster::start_with(&scratch, 3, &doors);
    cluster.create(&topic("one"), 1, &[1]);
    cluster.create(&topic("many"), 3, &[1, 2, 3]);
    let server = exactly_once(&scratch, &cluster).start();
    let mut sent = Vec::new();
    for broker in 1..=3 {
        let load = load(&server, 4 * broker..4 * broker + 4);
        wait_for_answers(&load, 40);
        wait_until_some_arrived(&server);
        cluster.kill(broker);
        wait_for_answers(&load, 80);
        cluster.start_again(broker);
        wait_until_some_arrived(&server);
        sent.extend(load.finish());
    }
    wait_until_drained(&server);
    check_way(&server, true);
    server.stop();
    check(&cluster, &sent);
}
