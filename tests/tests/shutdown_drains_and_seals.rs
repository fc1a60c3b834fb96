//! TERM under load: what was taken is answered, clients are closed with 1001, the log is sealed.

use ringtail_tests::client::{Client, Heard, payload};
use ringtail_tests::journal;
use ringtail_tests::scratch::Scratch;
use ringtail_tests::server::{Server, Setup};
use std::collections::BTreeSet;
use std::sync::mpsc;
use std::thread;

const CONNECTIONS: usize = 8;
/// Requests that each connection keeps outstanding; small, so that nobody's sockets fill up.
const OUTSTANDING: usize = 16;
const EVENTS: usize = 5;
/// Answers that each connection waits for before the signal comes.
const WARM_ANSWERS: usize = 50;

struct Seen {
    answered: usize,
    closed: Option<u16>,
}

/// Sends and reads until the engine closes; tells `warm` when enough was answered.
fn load(port: u16, number: usize, warm: &mpsc::Sender<usize>) -> Seen {
    let mut client = Client::connect(port, &format!("device-{number}"));
    let mut sent = 0;
    let mut answered = 0;
    loop {
        while sent < answered + OUTSTANDING {
            let events: Vec<_> = (0..EVENTS)
                .map(|index| payload(number, sent, index, 200))
                .collect();
            // The engine may have ended its side; its answers and its close are still to be read.
            let _ = client.send(&sent.to_string(), "drained", &events);
            sent += 1;
        }
        match client.hear() {
            Heard::Answer(answer) => {
                assert!(answer.is_success(), "{answer:?}");
                assert_eq!(answer.guid(), answered.to_string(), "answers out of order");
                answered += 1;
            }
            Heard::Closed(closed) => return Seen { answered, closed },
            Heard::Binary(_) => panic!("connection {number} was not let in"),
            Heard::Gone(why) => panic!("connection {number} ended without a close frame: {why}"),
        }
        if answered == WARM_ANSWERS {
            warm.send(number).expect("the test waits for it");
        }
    }
}

fn load_and_terminate(server: &Server) -> Vec<Seen> {
    let (warm, warmed) = mpsc::channel();
    thread::scope(|scope| {
        let start = |number| {
            let (warm, port) = (warm.clone(), server.port);
            scope.spawn(move || load(port, number, &warm))
        };
        let threads: Vec<_> = (0..CONNECTIONS).map(start).collect();
        drop(warm);
        assert_eq!(warmed.iter().take(CONNECTIONS).count(), CONNECTIONS);
        server.terminate();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("it saw no wrong"))
            .collect()
    })
}

#[test]
fn term_under_load_answers_what_was_taken_and_nothing_else() {
    let scratch = Scratch::new("shutdown");
    let server = Setup::new(&scratch).set("RINGTAIL_SHARDS", 2).start();
    let seen = load_and_terminate(&server);
    let said = server.said();
    let status = server.finished();
    assert_eq!(
        status.code(),
        Some(0),
        "after TERM: {status}; it said: {said}"
    );

    let mut answered = BTreeSet::new();
    for (number, seen) in seen.iter().enumerate() {
        assert_eq!(seen.closed, Some(1001), "connection {number}");
        let requests = 0..seen.answered;
        answered.extend(requests.flat_map(|request| {
            (0..EVENTS).map(move |index| payload(number, request, index, 200))
        }));
    }
    journal::verify(&scratch.join("store"));
    let stored = journal::values(&scratch.join("store"));
    let stored: Vec<_> = stored.into_values().flatten().collect();
    assert_eq!(stored.len(), answered.len(), "stored and answered differ");
    assert_eq!(stored.into_iter().collect::<BTreeSet<_>>(), answered);
}

#[test]
fn a_sealed_log_goes_on_where_it_ended() {
    let scratch = Scratch::new("sealed");
    let setup = Setup::new(&scratch);
    for round in 0..3 {
        let server = setup.start();
        let mut client = Client::connect(server.port, "device");
        for request in 0..10 {
            assert!(client.send("", "sealed", &[payload(0, round * 10 + request, 0, 50)]));
            let heard = client.hear();
            assert!(
                matches!(&heard, Heard::Answer(answer) if answer.is_success()),
                "{heard:?}"
            );
        }
        server.stop();
        journal::verify(&scratch.join("store"));
    }
    let stored = journal::values(&scratch.join("store"));
    let stored: Vec<_> = stored.into_values().flatten().collect();
    let expected: Vec<_> = (0..30).map(|request| payload(0, request, 0, 50)).collect();
    assert_eq!(stored, expected);
}

#[test]
fn term_while_segments_are_made_ready_ends_in_order() {
    for round in 0..5 {
        let scratch = Scratch::new("preparing");
        let setup = Setup::new(&scratch).set("RINGTAIL_LOG_SEGMENTS_PREPARED", 12);
        let server = setup.start();
        server.terminate();
        let said_from = scratch.join("server.stderr");
        let status = server.finished();
        let said = std::fs::read_to_string(said_from).expect("the engine's words are kept");
        assert_eq!(status.code(), Some(0), "round {round}: {status}; {said}");
        assert!(!said.contains("panicked"), "round {round}: {said}");
        journal::verify(&scratch.join("store"));
    }
}
