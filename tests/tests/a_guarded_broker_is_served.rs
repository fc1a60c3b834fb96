//! Brokers that ask who comes: TLS, SASL/PLAIN, and both. Who has the right papers delivers as ever; who has not is
//! told by the log and by `/readyz`, and stays alive.

use ringtail_tests::client::{Client, Heard};
use ringtail_tests::delivery::topic;
use ringtail_tests::guard::{DOORS, Guard};
use ringtail_tests::kafka::Cluster;
use ringtail_tests::scratch::Scratch;
use ringtail_tests::server::Setup;
use ringtail_tests::wait;

#[test]
fn tls_and_passwords_are_given_and_wrong_ones_are_told() {
    let scratch = Scratch::new("kafka-guard");
    let guard = Guard::new(&scratch);
    let cluster = Cluster::start_with(&scratch, 1, &guard.doors);
    cluster.create(&topic("one"), 1, &[1]);
    for door in DOORS {
        deliver(&guard.setup(&scratch, door), door);
    }
    let records = cluster.consume(&[&topic("one")]);
    let values: Vec<_> = records.iter().map(|record| &record.value[..]).collect();
    assert_eq!(values, DOORS.map(str::as_bytes));

    let wrong = guard.setup(&scratch, "SASL_SSL");
    let name = "PUBLISHER_KAFKA_CLIENT_SASL_PASSWORD";
    refused(&wrong.set(name, "guessed"), "Authentication failed");
    // Its certificate is nobody's whom this host knows.
    let stranger = guard.setup(&scratch, "SSL");
    let name = "PUBLISHER_KAFKA_CLIENT_SSL_CA_LOCATION";
    refused(&stranger.set(name, "probe"), "certificate verify failed");
}

fn deliver(setup: &Setup, door: &str) {
    let server = setup.start();
    let mut client = Client::connect(server.port, "guest");
    client.be_patient(120);
    assert!(client.send(door, "one", &[door.as_bytes().to_vec()]));
    match client.hear() {
        Heard::Answer(answer) => assert!(answer.is_success(), "{door}: {}", answer.reason),
        other => panic!("{door}: {other:?}"),
    }
    assert!(!server.said().contains("s3cret"), "it told the password");
    server.stop();
}

fn refused(setup: &Setup, words: &str) {
    let server = setup.start_unready();
    wait::until(words, 120, || server.said().contains(words).then_some(()));
    assert_eq!(server.ask("/readyz").status, 503);
}
