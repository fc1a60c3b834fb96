//! What is acknowledged by a spool comes to Kafka: through a broker that is killed, one that is away from the
//! beginning, and an engine that is killed while it forwards. Clients see no error meanwhile.

use ringtail_tests::delivery::{Fate, Load, Sent, account, topic};
use ringtail_tests::kafka::Cluster;
use ringtail_tests::metrics;
use ringtail_tests::scratch::Scratch;
use ringtail_tests::server::{Server, Setup};
use ringtail_tests::wait;

const TOPICS: [&str; 2] = ["one", "many"];
const PAUSE_MS: u64 = 10;

fn spool(scratch: &Scratch, cluster: &Cluster) -> Setup {
    Setup::new(scratch)
        .set("RINGTAIL_SHARDS", 2)
        .set("PUBLISHER_TYPE", "spool")
        .set(
            "PUBLISHER_KAFKA_CLIENT_BOOTSTRAP_SERVERS",
            cluster.bootstrap(),
        )
}

fn make_topics(cluster: &Cluster) {
    cluster.create(&topic("one"), 1, &[1]);
    cluster.create(&topic("many"), 3, &[1]);
}

fn load(server: &Server, connections: std::ops::Range<usize>) -> Load {
    Load::start_slowly(server.port, connections, &TOPICS, PAUSE_MS)
}

fn wait_for_answers(load: &Load, more: u64) {
    let before = load.answered();
    wait::until("answers", 240, || {
        (load.answered() >= before + more).then_some(())
    });
}

fn number(server: &Server, name: &str) -> u64 {
    metrics::sum(&metrics::page(server), name, |_| true) as u64
}

fn wait_until_drained(server: &Server) {
    wait::until("Kafka to have everything", 280, || {
        (number(server, "ringtail_spool_backlog_events") == 0).then_some(())
    });
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
    let server = spool(&scratch, &cluster).start();
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
    server.stop();
    assert!(said.contains("the Kafka cluster answers"), "{said}");
    sent.extend(a_start_knows_what_waits(&scratch, &mut cluster));
    check(&cluster, &sent);
}

/// Whoever starts while nobody is there counts what waits, and nothing of what was delivered before.
fn a_start_knows_what_waits(scratch: &Scratch, cluster: &mut Cluster) -> Vec<Sent> {
    let setup = spool(scratch, cluster);
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

#[test]
fn the_engine_may_be_killed_while_it_forwards() {
    let scratch = Scratch::new("spool-engine");
    let mut cluster = Cluster::start(&scratch, 1);
    make_topics(&cluster);
    // Without a key, what is sent again may come to another partition than before.
    let setup = spool(&scratch, &cluster).set("RINGTAIL_KAFKA_KEY", "conn_id");
    let mut sent = Vec::new();
    for round in 0..10 {
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
