//! Three brokers, one of them paused: what it leads waits, everything else is answered meanwhile, on the same
//! connection and on others; and when it goes on, what waited is answered too.

use ringtail_tests::client::{Client, Heard, payload};
use ringtail_tests::delivery::{Load, account, topic};
use ringtail_tests::kafka::Cluster;
use ringtail_tests::scratch::Scratch;
use ringtail_tests::server::Setup;
use ringtail_tests::wait;

const SLOW: &str = "third";

fn answered(client: &mut Client) -> String {
    match client.hear() {
        Heard::Answer(answer) if answer.is_success() => answer.guid().to_owned(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_paused_broker_of_three_stops_nobody_else() {
    let scratch = Scratch::new("kafka-pause");
    let cluster = Cluster::start(&scratch, 3);
    for (kind, broker) in [("first", 1), ("second", 2), (SLOW, 3)] {
        cluster.create(&topic(kind), 2, &[broker]);
    }
    let server = Setup::new(&scratch)
        .set(
            "PUBLISHER_KAFKA_CLIENT_BOOTSTRAP_SERVERS",
            cluster.bootstrap(),
        )
        .start();
    let mut client = Client::connect(server.port, "mixed");
    client.be_patient(240);
    // Everybody is known before one falls asleep.
    for kind in ["first", "second", SLOW] {
        assert!(client.send(kind, kind, &[payload(90, 0, 0, 50)]));
        assert_eq!(answered(&mut client), kind);
    }
    cluster.pause(3);
    for request in 0..20 {
        assert!(client.send("waits", SLOW, &[payload(90, 1, request, 50)]));
    }
    // Answers leave as they come: a hundred pass those that wait.
    for request in 0..100 {
        let kind = ["first", "second"][request % 2];
        assert!(client.send(kind, kind, &[payload(90, 2, request, 50)]));
        assert_eq!(answered(&mut client), kind);
    }
    let load = Load::start(server.port, 0..4, &["first", "second"]);
    wait::until("answers beside the paused broker", 240, || {
        (load.answered() >= 1_000).then_some(())
    });
    let sent = load.finish();
    cluster.resume(3);
    for _ in 0..20 {
        assert_eq!(answered(&mut client), "waits");
    }
    server.stop();
    let mut records = cluster.consume(&[&topic("first"), &topic("second")]);
    records.retain(|record| !record.value.starts_with(b"90/"));
    let found = account(&sent, &records);
    println!("{found}");
    assert_eq!(found.acknowledged, found.sent);
    // The first of them, and the twenty that waited.
    assert_eq!(cluster.consume(&[&topic(SLOW)]).len(), 21);
}
