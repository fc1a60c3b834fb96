//! What is acknowledged by a spool comes to Kafka: through a broker that is killed, one that is away from the
//! beginning, and an engine that is killed while it forwards. Clients see no error meanwhile.

use ringtail_tests::client::Client;
use ringtail_tests::delivery::{Fate, Load, Sent, account, topic};
use ringtail_tests::kafka::{Cluster, Doors};
use ringtail_tests::older::Older;
use ringtail_tests::scratch::Scratch;
use ringtail_tests::server::{Server, Setup};
use ringtail_tests::spool::{
    self, number, retry, send, values, wait_for_answers, wait_for_letters, wait_until_drained,
};
use ringtail_tests::wait;

const TOPICS: [&str; 2] = ["one", "many"];
const PAUSE_MS: u64 = 10;

fn two_shards(scratch: &Scratch, cluster: &Cluster) -> Setup {
    spool::setup(scratch, cluster).set("RINGTAIL_SHARDS", 2)
}

fn make_topics(cluster: &Cluster) {
    cluster.create(&topic("one"), 1, &[1]);
    cluster.create(&topic("many"), 3, &[1]);
}

fn load(server: &Server, connections: std::ops::Range<usize>) -> Load {
    Load::start_slowly(server.port, connections, &TOPICS, PAUSE_MS)
}

/// The account of events that clients saw no error of.
fn check(cluster: &Cluster, sent: &[Sent]) {
    let records = cluster.consume(&[&topic("one"), &topic("many")]);
    let found = account(sent, &records);
    println!("{found}");
    let failed = sent.iter().find(|one| matches!(one.fate, Fate::Failed(_)));
    assert!(failed.is_none(), "a client saw an error: {failed:?}");
    assert!(0 < found.acknowledged);
}

#[test]
fn brokers_may_be_away_and_be_killed() {
    let scratch = Scratch::new("spool-broker");
    let mut cluster = Cluster::start(&scratch, 1);
    make_topics(&cluster);
    cluster.kill(1);
    let server = two_shards(&scratch, &cluster).start();
    let mut sent = {
        let load = load(&server, 0..4);
        wait_for_answers(&load, 200);
        load.finish()
    };
    let waiting = number(&server, "ringtail_spool_backlog_events");
    let page = server.ask("/readyz").text();
    println!("while nobody is there: {waiting} events wait; {page}");
    assert_eq!(waiting, 5 * sent.len() as u64);
    assert!(page.starts_with("ready\nspool: journal 0: "), "{page}");
    cluster.start_again(1);
    wait_until_drained(&server);
    for round in 1..=2 {
        let load = load(&server, 4 * round..4 * round + 4);
        wait_for_answers(&load, 200);
        cluster.kill(1);
        // As quick as with a broker: nobody waits for one.
        wait_for_answers(&load, 200);
        cluster.start_again(1);
        wait_for_answers(&load, 100);
        sent.extend(load.finish());
    }
    wait_until_drained(&server);
    let said = server.said();
    // Whole batches, from the first outage to the last: nothing was left to librdkafka.
    let whole = number(&server, "ringtail_spool_whole_total");
    assert_eq!(whole, number(&server, "ringtail_spool_delivered_total"));
    server.stop();
    assert!(said.contains("the Kafka cluster answers"), "{said}");
    sent.extend(a_start_knows_what_waits(&scratch, &mut cluster));
    check(&cluster, &sent);
}

/// Whoever starts while nobody is there counts what waits, and nothing of what was delivered before.
fn a_start_knows_what_waits(scratch: &Scratch, cluster: &mut Cluster) -> Vec<Sent> {
    let setup = two_shards(scratch, cluster);
    let exactly = setup.clone().set("RINGTAIL_SPOOL_DELIVERY", "exactly-once");
    cluster.kill(1);
    let server = setup.start();
    let sent = {
        let load = load(&server, 20..24);
        wait_for_answers(&load, 100);
        load.finish()
    };
    server.stop();
    let waiting = 5 * sent.len() as u64;
    for setup in [exactly, setup.clone()] {
        let server = setup.start();
        wait::until("what waits to be counted", 60, || {
            (number(&server, "ringtail_spool_backlog_events") == waiting).then_some(())
        });
        server.stop();
    }
    cluster.start_again(1);
    let server = setup.start();
    wait_until_drained(&server);
    server.stop();
    sent
}

/// Kills the engine so often, twice together with the broker, and once while that stands still.
fn kill_engine(scratch: &Scratch, rounds: usize, change: impl Fn(Setup) -> Setup) {
    let mut cluster = Cluster::start(scratch, 1);
    make_topics(&cluster);
    let setup = change(two_shards(scratch, &cluster));
    let mut sent = Vec::new();
    for round in 0..rounds {
        let server = setup.start();
        let load = load(&server, 4 * round..4 * round + 4);
        wait_for_answers(&load, 100);
        match round {
            // What waits is more than what the forwarder has under way.
            1 => cluster.pause(1),
            2 => cluster.resume(1),
            // Both at once.
            3 | 7 => cluster.kill(1),
            _ => {}
        }
        // The later rounds are killed sooner, in the middle of what the start before left behind.
        wait_for_answers(&load, if round < 5 { 100 } else { 30 });
        server.kill();
        if round == 3 || round == 7 {
            cluster.start_again(1);
        }
        sent.extend(load.finish());
    }
    let server = setup.start();
    wait_until_drained(&server);
    server.stop();
    check(&cluster, &sent);
    // An orderly end has left nothing to be sent again.
    let before = cluster.consume(&[&topic("one"), &topic("many")]).len();
    let server = setup.start();
    wait_until_drained(&server);
    assert_eq!(number(&server, "ringtail_spool_in_flight_events"), 0);
    server.stop();
    let after = cluster.consume(&[&topic("one"), &topic("many")]).len();
    assert_eq!(after, before);
}

/// A batch that is sent again comes to the partition that it came to before, so all stays in order.
#[test]
fn the_engine_may_be_killed_while_it_forwards_whole_batches() {
    let scratch = Scratch::new("spool-engine");
    kill_engine(&scratch, 10, |setup| setup);
}

/// Without a key, what librdkafka sends again may come to another partition than before.
#[test]
fn the_engine_may_be_killed_while_it_forwards_records() {
    let scratch = Scratch::new("spool-records");
    let with_keys = |setup: Setup| setup.set("RINGTAIL_KAFKA_KEY", "conn_id");
    kill_engine(&scratch, 5, with_keys);
}

#[test]
fn what_kafka_never_takes_is_kept_and_the_rest_of_its_batch_comes() {
    let scratch = Scratch::new("spool-letters");
    let doors = Doors {
        lines: "message.max.bytes=3000".to_owned(),
        ..Doors::default()
    };
    let cluster = Cluster::start_with(&scratch, 1, &doors);
    cluster.create(&topic("one"), 1, &[1]);
    let setup = spool::setup(&scratch, &cluster)
        .set("RINGTAIL_SHARDS", 1)
        .set("RINGTAIL_SPOOL_TOPIC_WAIT_MS", 5_000);
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
    let kept = server.ask("/topics/ringtail-dead-letters/partitions/0/records");
    assert_eq!(kept.text().lines().count(), 4);
    let mut expected = vec![&b"first"[..], b"second", b"third", b"fourth"];
    assert_eq!(values(&cluster, "one"), expected);

    // What comes later of a topic that was given up holds up nobody.
    send(&mut client, "4", "absent", &[b"c".to_vec()]);
    send(&mut client, "5", "one", &[b"fifth".to_vec()]);
    expected.push(b"fifth");
    wait_for_letters(&server, 5, 5);
    assert_eq!(values(&cluster, "one"), expected);

    // What has a place by now comes; the rest are letters once more.
    cluster.create(&topic("absent"), 1, &[1]);
    let said = retry(&scratch, &server);
    assert!(said.starts_with("5 events were sent again\n"), "{said}");
    wait_for_letters(&server, 7, 2);
    server.stop();
    assert_eq!(values(&cluster, "absent"), [b"a", b"b", b"c"]);
    assert_eq!(values(&cluster, "one"), expected);
    assert!(!cluster.topics().contains_key("ringtail-dead-letters"));
}

/// `truths`: so many connections hear what the broker really understands.
fn an_older_cluster_gets_records(name: &str, truths: usize) {
    let scratch = Scratch::new(name);
    let older = Older::bind();
    let doors = Doors {
        lines: format!(
            "advertised.listeners=PLAINTEXT://127.0.0.1:{}",
            older.port()
        ),
        ..Doors::default()
    };
    let way = format!("127.0.0.1:{}", older.port());
    let cluster = Cluster::start_with(&scratch, 1, &doors);
    older.lead_to(cluster.port(1), truths);
    make_topics(&cluster);
    let setup = spool::setup(&scratch, &cluster);
    let server = setup
        .set("PUBLISHER_KAFKA_CLIENT_BOOTSTRAP_SERVERS", way)
        .start();
    let load = load(&server, 0..4);
    wait_for_answers(&load, 200);
    let sent = load.finish();
    wait_until_drained(&server);
    assert_eq!(number(&server, "ringtail_spool_whole_total"), 0);
    let said = server.said();
    server.stop();
    assert!(said.contains("events go through librdkafka"), "{said}");
    check(&cluster, &sent);
}

#[test]
fn a_cluster_that_does_not_know_whole_batches_gets_records() {
    an_older_cluster_gets_records("spool-older", 0);
}

#[test]
fn a_broker_that_does_not_know_whole_batches_gets_records() {
    // Who leads what is heard on a connection of its own, and that is the first.
    an_older_cluster_gets_records("spool-older-broker", 1);
}
