//! With a pattern that is the type alone, a client names its topics. Those that are not for events it cannot name:
//! a forged dead letter would be sent again as if it had been refused.

use ringtail_tests::client::{Client, Heard};
use ringtail_tests::kafka::quiet_ports;
use ringtail_tests::scratch::Scratch;
use ringtail_tests::server::{Server, Setup};

fn start(scratch: &Scratch, publisher: &str, pattern: &str) -> Server {
    // Nobody is there: that is no matter of clients'.
    let [[nobody, _]] = quiet_ports(1)[..] else {
        panic!("one broker has two ports")
    };
    let brokers = format!("127.0.0.1:{nobody}");
    Setup::new(scratch)
        .set("PUBLISHER_TYPE", publisher)
        .set("PUBLISHER_KAFKA_CLIENT_BOOTSTRAP_SERVERS", brokers)
        .set("EVENT_DISTRIBUTION_PUBLISHER_PATTERN", pattern)
        .start()
}

/// Why the request was refused.
fn refusal(client: &mut Client, kind: &str) -> String {
    assert!(client.send("forged", kind, &[b"{}\nx".to_vec()]));
    match client.hear() {
        Heard::Answer(answer) => {
            assert!(!answer.is_success(), "{kind} was taken");
            answer.reason
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn whatever_the_type_makes_of_the_pattern() {
    for (publisher, pattern, kind) in [
        ("spool", "%s", "ringtail-dead-letters"),
        ("spool", "ringtail-%s", "dead-letters"),
        ("journal", "%s", "ringtail-dead-letters"),
        ("spool", "%s", "__consumer_offsets"),
    ] {
        let scratch = Scratch::new("reserved");
        let server = start(&scratch, publisher, pattern);
        let mut client = Client::connect(server.port, "device");
        let why = refusal(&mut client, kind);
        println!("{publisher}, {pattern}: {why}");
        let topic = pattern.replace("%s", kind);
        assert!(
            why.contains(&format!("event 0: topic {topic} is not for clients")),
            "{why}"
        );
        // Others go on.
        assert!(client.send("fair", "click", &[b"fair".to_vec()]));
        assert!(matches!(client.hear(), Heard::Answer(answer) if answer.is_success()));
        server.stop();
    }
}
