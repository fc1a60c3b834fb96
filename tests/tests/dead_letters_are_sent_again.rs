//! `ringtail spool retry`: dead letters leave for Kafka once there is a place for them, byte for byte and once each,
//! with the keys and headers that they would have had; what Kafka still does not take is a letter again.

use ringtail_tests::client::{Client, Heard};
use ringtail_tests::delivery::topic;
use ringtail_tests::kafka::{Cluster, Record};
use ringtail_tests::metrics;
use ringtail_tests::program;
use ringtail_tests::scratch::Scratch;
use ringtail_tests::server::{Server, Setup};
use ringtail_tests::wait;
use rustix::time::{ClockId, clock_gettime};

/// As large as an event may be: a letter has no room for it in one record.
const LARGE: usize = 999_700;

fn setup(scratch: &Scratch, cluster: &Cluster) -> Setup {
    let brokers = cluster.bootstrap();
    Setup::new(scratch)
        .set("PUBLISHER_TYPE", "spool")
        .set("PUBLISHER_KAFKA_CLIENT_BOOTSTRAP_SERVERS", brokers)
        .set(
            "PUBLISHER_KAFKA_CLIENT_TOPIC_METADATA_PROPAGATION_MAX_MS",
            1_000,
        )
        .set("PUBLISHER_KAFKA_CLIENT_MESSAGE_MAX_BYTES", 2_000_000)
        .set("RINGTAIL_SPOOL_TOPIC_WAIT_MS", 5_000)
        .set("RINGTAIL_MAX_MESSAGE_BYTES", "4MiB")
        .set("RINGTAIL_KAFKA_KEY", "conn_id")
        .set("RINGTAIL_KAFKA_HEADERS", "event_type,received,req_guid")
}

fn number(server: &Server, name: &str) -> u64 {
    metrics::sum(&metrics::page(server), name, |_| true) as u64
}

/// Waits until so many letters were written since the first day, and nothing waits for Kafka.
fn wait_for_letters(server: &Server, letters: u64) {
    wait::until("dead letters", 240, || {
        let waits = number(server, "ringtail_spool_backlog_events");
        let written = number(server, "ringtail_spool_dead_letters_total");
        (waits == 0 && written == letters).then_some(())
    });
}

fn retry(scratch: &Scratch, server: &Server, words: &[&str]) -> String {
    let mut command = program::clean(&program::built("ringtail"));
    let admin = format!("127.0.0.1:{}", server.admin);
    command
        .args(["spool", "retry", "--admin", &admin])
        .args(words);
    let finished = program::run(command, scratch.path(), 180);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    finished.stdout
}

fn send(client: &mut Client, guid: &str, kind: &str, events: &[Vec<u8>]) {
    assert!(client.send(guid, kind, events));
    match client.hear() {
        Heard::Answer(answer) => assert!(answer.is_success(), "{}", answer.reason),
        other => panic!("{other:?}"),
    }
}

fn header<'a>(record: &'a Record, name: &str) -> &'a [u8] {
    let found = record.headers.iter().find(|(known, _)| known == name);
    found.map_or(&[], |(_, value)| value)
}

/// What was sent to the topic that comes late.
fn late() -> Vec<Vec<u8>> {
    let mut events: Vec<_> = (0..300).map(|n: u32| format!("\n{n}\0").into()).collect();
    events[7] = Vec::new();
    events[8] = (0..LARGE).map(|at| (at % 251) as u8).collect();
    events
}

fn check_delivered(records: &[Record], before_ms: i64) {
    let values: Vec<_> = records.iter().map(|record| record.value.clone()).collect();
    assert!(
        values == late(),
        "{} records are not what was sent",
        values.len()
    );
    for record in records {
        assert_eq!(record.key.as_deref(), Some(&b"device"[..]));
        assert_eq!(header(record, "event_type"), b"late");
        assert_eq!(header(record, "req_guid"), b"of-late");
        let received = std::str::from_utf8(header(record, "received")).expect("it is a number");
        let received: i64 = received.parse().expect("it is a number");
        assert!(
            received <= before_ms,
            "{received} is when it was sent again"
        );
    }
}

fn counting_changes_nothing(scratch: &Scratch, server: &Server) {
    let said = retry(scratch, server, &["--dry-run"]);
    assert!(
        said.starts_with("302 events would be sent again\n"),
        "{said}"
    );
    assert!(
        said.contains(&format!("  {}: 300\n", topic("late"))),
        "{said}"
    );
    assert_eq!(number(server, "ringtail_spool_letters_kept"), 303);
}

fn all_came_once(cluster: &Cluster) {
    let records = cluster.consume(&[&topic("late"), &topic("never")]);
    assert_eq!(records.len(), 302);
    let rest: Vec<_> = records
        .iter()
        .filter(|one| one.topic == topic("never"))
        .collect();
    assert_eq!(
        rest.iter().map(|one| &one.value[..]).collect::<Vec<_>>(),
        [b"a", b"b"]
    );
    assert!(
        rest.iter()
            .all(|one| header(one, "req_guid") == b"of-never")
    );
}

#[test]
fn once_each_when_their_topic_is_there() {
    let scratch = Scratch::new("spool-retry");
    let cluster = Cluster::start(&scratch, 1);
    let setup = setup(&scratch, &cluster);
    let server = setup.start();
    let mut client = Client::connect(server.port, "device");
    client.be_patient(120);
    send(&mut client, "of-late", "late", &late());
    send(
        &mut client,
        "of-never",
        "never",
        &[b"a".to_vec(), b"b".to_vec()],
    );
    wait_for_letters(&server, 302);
    let now = clock_gettime(ClockId::Realtime);
    let before_ms = now.tv_sec * 1_000 + now.tv_nsec / 1_000_000;
    // The large one takes two records.
    assert_eq!(number(&server, "ringtail_spool_letters_kept"), 303);
    let page = server.ask("/readyz").text();
    assert!(
        page.contains("303 dead letters (ringtail spool retry"),
        "{page}"
    );

    counting_changes_nothing(&scratch, &server);
    // Too early: they are letters once more, and those of the other topic have not moved to Kafka or gone.
    let only_late = ["--topic", &topic("late")];
    let said = retry(&scratch, &server, &only_late);
    assert!(said.starts_with("300 events were sent again\n"), "{said}");
    assert!(said.contains("2 letters of other topics stay\n"), "{said}");
    wait_for_letters(&server, 602);
    assert_eq!(number(&server, "ringtail_spool_letters_kept"), 303);

    cluster.create(&topic("late"), 1, &[1]);
    retry(&scratch, &server, &only_late);
    wait::until("what was late to be there", 240, || {
        (number(&server, "ringtail_spool_delivered_total") == 300).then_some(())
    });
    check_delivered(&cluster.consume(&[&topic("late")]), before_ms);
    assert_eq!(number(&server, "ringtail_spool_letters_kept"), 2);
    assert_eq!(number(&server, "ringtail_spool_retried_total"), 600);

    // Nothing is left to be sent of it, also after another start.
    server.stop();
    let server = setup.start();
    let said = retry(&scratch, &server, &only_late);
    assert!(said.starts_with("0 events were sent again\n"), "{said}");
    cluster.create(&topic("never"), 1, &[1]);
    let said = retry(&scratch, &server, &[]);
    assert!(said.starts_with("2 events were sent again\n"), "{said}");
    wait::until("all to be there", 240, || {
        (number(&server, "ringtail_spool_delivered_total") == 302).then_some(())
    });
    server.stop();
    all_came_once(&cluster);
}

/// A letter is not retired before its event is durable: killed again and again in the middle of sending letters
/// again, the engine loses none.
#[test]
fn none_is_lost_when_the_engine_is_killed_meanwhile() {
    let scratch = Scratch::new("spool-retry-kill");
    let cluster = Cluster::start(&scratch, 1);
    let setup = setup(&scratch, &cluster);
    let mut server = setup.start();
    let mut client = Client::connect(server.port, "device");
    client.be_patient(120);
    let events: Vec<Vec<u8>> = (0..1_000)
        .map(|n: u32| format!("event {n}").into())
        .collect();
    for guid in 0..3_u8 {
        let named = events
            .iter()
            .map(|event| [&event[..], b" of ", &[b'0' + guid]].concat());
        let named: Vec<Vec<u8>> = named.collect();
        send(&mut client, &guid.to_string(), "late", &named);
    }
    wait_for_letters(&server, 3_000);
    cluster.create(&topic("late"), 1, &[1]);
    for round in 0..5 {
        let admin = format!("127.0.0.1:{}", server.admin);
        let mut command = program::clean(&program::built("ringtail"));
        command.args(["spool", "retry", "--admin", &admin]);
        command
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        let mut child = command.spawn().expect("the program was found");
        wait::some_milliseconds(round * 40);
        server.kill();
        child.wait().expect("our own child can be waited for");
        server = setup.start();
    }
    retry(&scratch, &server, &[]);
    wait::until("nothing to wait", 240, || {
        let waits = number(&server, "ringtail_spool_backlog_events");
        let kept = number(&server, "ringtail_spool_letters_kept");
        (waits == 0 && kept == 0).then_some(())
    });
    server.stop();
    let records = cluster.consume(&[&topic("late")]);
    let values: std::collections::BTreeSet<_> = records.iter().map(|one| &one.value).collect();
    println!("{} records of 3000 letters", records.len());
    assert_eq!(values.len(), 3_000);
}
