//! `kill -9` of the broker under load: it starts again, the load goes on, and nothing acknowledged is missing,
//! doubled or out of order; nor is it when both die. A broker that is away from the beginning keeps the engine alive and
//! not ready, and is found when it comes.

use ringtail_tests::client::{Client, Heard};
use ringtail_tests::delivery::{Load, Sent, account, topic};
use ringtail_tests::kafka::Cluster;
use ringtail_tests::scratch::Scratch;
use ringtail_tests::server::Setup;
use ringtail_tests::wait;

fn setup(scratch: &Scratch, cluster: &Cluster) -> Setup {
    let brokers = cluster.bootstrap();
    Setup::new(scratch).set("PUBLISHER_KAFKA_CLIENT_BOOTSTRAP_SERVERS", brokers)
}

#[test]
fn nothing_acknowledged_is_lost_with_the_broker() {
    let scratch = Scratch::new("kafka-kill");
    // A broker that says that it has something has it on disk, for this one has no others to ask.
    let mut cluster = Cluster::start(&scratch, 1);
    cluster.create(&topic("one"), 1, &[1]);
    cluster.create(&topic("many"), 3, &[1]);
    let server = setup(&scratch, &cluster).set("RINGTAIL_SHARDS", 2).start();
    let load = Load::start(server.port, 0..4, &["one", "many"]);
    let answers = |more: u64| {
        let before = load.answered();
        wait::until("answers", 240, || {
            (load.answered() >= before + more).then_some(())
        });
    };
    answers(200);
    cluster.kill(1);
    wait::until("the engine to miss its broker", 120, || {
        (server.ask("/readyz").status == 503).then_some(())
    });
    cluster.start_again(1);
    answers(400);
    wait::until("the engine to see its broker again", 120, || {
        (server.ask("/readyz").status == 200).then_some(())
    });
    let sent = load.finish();
    server.stop();
    let records = cluster.consume(&[&topic("one"), &topic("many")]);
    let found = account(&sent, &records);
    println!("{found}");
    assert_eq!((found.failed, found.duplicates), (0, 0));
    assert_eq!(found.acknowledged, found.sent);
    nor_with_both(&scratch, &mut cluster, sent);
    the_engine_waits_for_its_broker(&scratch, &mut cluster);
}

/// Broker and engine die under load, one right after the other, in either order.
fn nor_with_both(scratch: &Scratch, cluster: &mut Cluster, mut sent: Vec<Sent>) {
    for round in 1..=4 {
        let server = setup(scratch, cluster).set("RINGTAIL_SHARDS", 2).start();
        let load = Load::start(server.port, 4 * round..4 * round + 4, &["one", "many"]);
        wait::until("answers", 240, || (load.answered() > 200).then_some(()));
        if round % 2 == 0 {
            cluster.kill(1);
            server.kill();
        } else {
            server.kill();
            cluster.kill(1);
        }
        cluster.start_again(1);
        sent.extend(load.finish());
    }
    let found = account(&sent, &cluster.consume(&[&topic("one"), &topic("many")]));
    println!("both killed: {found}");
    // Nobody sends again here, and what was in hand may be delivered or not.
    assert_eq!((found.failed, found.duplicates), (0, 0));
    assert!(found.acknowledged <= found.delivered && found.delivered <= found.sent);
    assert!(found.acknowledged < found.sent, "no kill came under load");
}

/// The engine starts while its only broker is away: it says so, refuses with a reason when the time for delivery is
/// over, and goes on by itself when the broker is there.
fn the_engine_waits_for_its_broker(scratch: &Scratch, cluster: &mut Cluster) {
    cluster.kill(1);
    let setup = setup(scratch, cluster);
    let server = setup
        .set("PUBLISHER_KAFKA_CLIENT_MESSAGE_TIMEOUT_MS", 2_000)
        .start_unready();
    let why = wait::until("a word about the cluster", 60, || {
        let answer = server.ask("/readyz");
        let text = answer.text();
        (answer.status == 503 && text.contains("does not answer")).then_some(text)
    });
    println!("{why}");
    let mut client = Client::connect(server.port, "early");
    client.be_patient(120);
    assert!(client.send("early", "one", &[b"early".to_vec()]));
    match client.hear() {
        Heard::Answer(answer) => {
            println!("{}", answer.reason);
            assert!(!answer.is_success());
            let why = format!("Local: Message timed out {}", topic("one"));
            assert!(answer.reason.contains(&why), "{}", answer.reason);
        }
        other => panic!("{other:?}"),
    }
    cluster.start_again(1);
    wait::until("the engine to see its broker", 120, || {
        (server.ask("/readyz").status == 200).then_some(())
    });
    assert!(client.send("late", "one", &[b"late".to_vec()]));
    assert!(matches!(client.hear(), Heard::Answer(answer) if answer.is_success()));
    server.stop();
    let records = cluster.consume(&[&topic("one")]);
    assert!(records.iter().all(|record| record.value != b"early"));
    assert_eq!(
        records.last().map(|record| &record.value[..]),
        Some(&b"late"[..])
    );
}
