//! Outages under load, with the full account at their end: a broker that stands still, a topic that is deleted, and a
//! broker that is away until the log may hold no more.
//!
//! `RINGTAIL_TEST_PAUSE_SECONDS=60` has the broker stand still for longer than the usual 12 seconds.

use ringtail_tests::client::{Client, Heard};
use ringtail_tests::delivery::{Fate, Load, Sent, account, topic};
use ringtail_tests::kafka::{Cluster, Record};
use ringtail_tests::metrics;
use ringtail_tests::program;
use ringtail_tests::scratch::Scratch;
use ringtail_tests::server::{Server, Setup};
use ringtail_tests::wait;

/// Large events fill the log soon; ten of them are a request.
const EVENT_BYTES: usize = 48_000;
const EVENTS: u32 = 10;
/// The least that a log of the smallest segments may hold.
const STORE_BYTES: u64 = 128 << 20;

fn setup(scratch: &Scratch, cluster: &Cluster, publisher: &str) -> Setup {
    let brokers = cluster.bootstrap();
    Setup::new(scratch)
        .set("PUBLISHER_TYPE", publisher)
        .set("PUBLISHER_KAFKA_CLIENT_BOOTSTRAP_SERVERS", brokers)
}

fn number(server: &Server, name: &str) -> u64 {
    metrics::sum(&metrics::page(server), name, |_| true) as u64
}

fn wait_until_drained(server: &Server) {
    wait::until("Kafka to have everything", 280, || {
        (number(server, "ringtail_spool_backlog_events") == 0).then_some(())
    });
}

fn wait_for_answers(load: &Load, more: u64) {
    let before = load.answered();
    wait::until("answers", 280, || {
        (load.answered() >= before + more).then_some(())
    });
}

fn pause_ms() -> u64 {
    let given = std::env::var("RINGTAIL_TEST_PAUSE_SECONDS").ok();
    let seconds: u64 = given.map_or(12, |text| text.parse().expect("it is a number of seconds"));
    seconds * 1_000
}

fn assert_nothing_failed(sent: &[Sent]) {
    let failed = sent.iter().find(|one| matches!(one.fate, Fate::Failed(_)));
    assert!(failed.is_none(), "a client saw an error: {failed:?}");
}

#[test]
fn a_broker_that_stands_still_costs_nothing_acknowledged() {
    for publisher in ["kafka", "spool"] {
        let scratch = Scratch::new("outage-pause");
        let cluster = Cluster::start(&scratch, 1);
        cluster.create(&topic("one"), 1, &[1]);
        cluster.create(&topic("many"), 3, &[1]);
        let server = setup(&scratch, &cluster, publisher)
            .set("RINGTAIL_SHARDS", 2)
            .start();
        let load = Load::start_slowly(server.port, 0..4, &["one", "many"], 10);
        wait_for_answers(&load, 100);
        cluster.pause(1);
        if publisher == "spool" {
            wait_for_answers(&load, 200);
        }
        wait::some_milliseconds(pause_ms());
        cluster.resume(1);
        wait_for_answers(&load, 200);
        let sent = load.finish();
        if publisher == "spool" {
            wait_until_drained(&server);
        }
        server.stop();
        assert_nothing_failed(&sent);
        let found = account(&sent, &cluster.consume(&[&topic("one"), &topic("many")]));
        println!(
            "{publisher}, a broker that stood still for {} ms: {found}",
            pause_ms()
        );
        // Nobody was killed: what was sent again is known to the broker.
        assert_eq!((found.acknowledged, found.duplicates), (found.sent, 0));
    }
}

/// Events of a topic that goes are dead letters, and come to the one that is made in its place; all others go on.
#[test]
fn a_topic_that_is_deleted_under_load_loses_no_event_of_a_spool() {
    let scratch = Scratch::new("outage-deleted");
    let cluster = Cluster::start(&scratch, 1);
    cluster.create(&topic("kept"), 1, &[1]);
    cluster.create(&topic("doomed"), 1, &[1]);
    let server = setup(&scratch, &cluster, "spool")
        .set("RINGTAIL_SPOOL_TOPIC_WAIT_MS", 2_000)
        .set("RINGTAIL_KAFKA_KEY", "conn_id")
        .start();
    let load = Load::start_slowly(server.port, 0..4, &["kept", "doomed"], 10);
    wait_for_answers(&load, 200);
    // Read before it goes: Kafka keeps nothing of a topic that was deleted.
    cluster.delete(&topic("doomed"));
    wait::until("dead letters", 280, || {
        (100 < number(&server, "ringtail_spool_dead_letters_total")).then_some(())
    });
    wait_for_answers(&load, 200);
    let (kept, doomed): (Vec<_>, Vec<_>) = load
        .finish()
        .into_iter()
        .partition(|one| one.kind == "kept");
    wait_until_drained(&server);
    assert_nothing_failed(&kept);
    assert_nothing_failed(&doomed);
    let delivered = number(&server, "ringtail_spool_delivered_total");
    let letters = number(&server, "ringtail_spool_dead_letters_total");
    println!(
        "{} and {} requests: {delivered} delivered, {letters} letters",
        kept.len(),
        doomed.len()
    );
    assert_eq!(delivered + letters, 5 * (kept.len() + doomed.len()) as u64);

    cluster.create(&topic("doomed"), 1, &[1]);
    let mut retry = program::clean(&program::built("ringtail"));
    let admin = format!("127.0.0.1:{}", server.admin);
    retry.args(["spool", "retry", "--admin", &admin]);
    let finished = program::run(retry, scratch.path(), 180);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    wait::until("the letters to be delivered", 280, || {
        (number(&server, "ringtail_spool_delivered_total") == delivered + letters).then_some(())
    });
    server.stop();
    let found = account(&kept, &cluster.consume(&[&topic("kept")]));
    println!("beside a deleted topic: {found}");
    assert_eq!((found.acknowledged, found.duplicates), (found.sent, 0));
    let records = cluster.consume(&[&topic("doomed")]);
    assert_eq!(records.len() as u64, letters);
    assert_eq!(distinct(&records), records.len(), "a letter came twice");
}

fn distinct(records: &[Record]) -> usize {
    let values = records.iter().map(|record| &record.value);
    values.collect::<std::collections::BTreeSet<_>>().len()
}

/// Sends large events, numbered from `next` on, until so many requests were sent or one is refused with the words of a
/// full spool; gives the numbers that were acknowledged.
fn fill(client: &mut Client, next: &mut u32, requests: u32) -> (Vec<u32>, bool) {
    let mut taken = Vec::new();
    for _ in 0..requests {
        let numbers = *next..*next + EVENTS;
        *next += EVENTS;
        let event = |number: u32| {
            let mut event = vec![b'.'; EVENT_BYTES];
            event[..4].copy_from_slice(&number.to_be_bytes());
            event
        };
        let events: Vec<_> = numbers.clone().map(event).collect();
        assert!(client.send(&numbers.start.to_string(), "large", &events));
        match client.hear() {
            Heard::Answer(answer) if answer.is_success() => taken.extend(numbers),
            Heard::Answer(answer) => {
                assert!(
                    answer.reason.contains("the spool is full"),
                    "{}",
                    answer.reason
                );
                return (taken, true);
            }
            other => panic!("{other:?}"),
        }
    }
    (taken, false)
}

fn numbers_of(records: &[Record]) -> Vec<u32> {
    let number = |record: &Record| {
        let bytes = record.value[..4].try_into().expect("four bytes are four");
        u32::from_be_bytes(bytes)
    };
    records.iter().map(number).collect()
}

fn small_store(scratch: &Scratch, cluster: &Cluster, overflow: &str) -> Server {
    let setup = setup(scratch, cluster, "spool")
        .set("RINGTAIL_LOG_RETENTION_BYTES", STORE_BYTES)
        .set("RINGTAIL_SPOOL_OVERFLOW", overflow);
    setup.start()
}

#[test]
fn a_full_spool_refuses_keeps_what_it_has_and_goes_on_when_the_broker_is_back() {
    let scratch = Scratch::new("outage-full");
    let mut cluster = Cluster::start(&scratch, 1);
    cluster.create(&topic("large"), 1, &[1]);
    cluster.kill(1);
    let server = small_store(&scratch, &cluster, "refuse");
    let mut client = Client::connect(server.port, "device");
    client.be_patient(120);
    let mut next = 0;
    let (mut taken, full) = fill(&mut client, &mut next, 1_000);
    assert!(
        full,
        "{} events of {EVENT_BYTES} bytes were taken",
        taken.len()
    );
    wait::until("the engine to say that it is full", 60, || {
        let page = server.ask("/readyz");
        (page.status == 503 && page.text().contains("the spool is full")).then_some(())
    });
    cluster.start_again(1);
    wait::until("the engine to take events again", 280, || {
        (server.ask("/readyz").status == 200).then_some(())
    });
    let (more, full) = fill(&mut client, &mut next, 5);
    assert!(!full && more.len() == 50);
    taken.extend(more);
    wait_until_drained(&server);
    assert_eq!(number(&server, "ringtail_spool_dropped_total"), 0);
    server.stop();
    let found = numbers_of(&cluster.consume(&[&topic("large")]));
    println!(
        "{} of {next} events were taken, and delivered: {}",
        taken.len(),
        found.len()
    );
    assert!(
        found == taken,
        "what was acknowledged is there, in order, once"
    );
}

#[test]
fn a_full_spool_that_may_drop_the_oldest_counts_what_it_drops() {
    let scratch = Scratch::new("outage-drops");
    let mut cluster = Cluster::start(&scratch, 1);
    cluster.create(&topic("large"), 1, &[1]);
    cluster.kill(1);
    let server = small_store(&scratch, &cluster, "drop-oldest");
    let mut client = Client::connect(server.port, "device");
    client.be_patient(120);
    let mut next = 0;
    // Half as much again as the store may hold.
    let requests = (STORE_BYTES * 3 / 2) as usize / (EVENT_BYTES * EVENTS as usize);
    let (taken, full) = fill(&mut client, &mut next, requests as u32);
    assert!(!full);
    wait::until("events to be dropped", 60, || {
        (0 < number(&server, "ringtail_spool_dropped_total")).then_some(())
    });
    cluster.start_again(1);
    wait_until_drained(&server);
    let dropped = number(&server, "ringtail_spool_dropped_total") as usize;
    let said = server.said();
    server.stop();
    assert!(said.contains("went before they were forwarded"), "{said}");
    let found = numbers_of(&cluster.consume(&[&topic("large")]));
    println!(
        "{} events were taken: {} delivered, {dropped} dropped",
        taken.len(),
        found.len()
    );
    assert_eq!(found.len() + dropped, taken.len());
    assert!(
        found.is_sorted_by(|one, other| one < other),
        "in order, once"
    );
    assert_eq!(found.last(), taken.last());
    // Whole log files go, so at least one is kept that is not the one being written.
    let kept = found.len() * EVENT_BYTES;
    assert!(STORE_BYTES as usize / 5 < kept, "{kept} bytes were kept");
}
