//! The driver against a toy server: what it counts is what happened.

use crate::toy::{Fault, Toy, bench, new_file};
use serde_json::Value;

const SHAPE: &str = "--connections 4 --window 8 --events 6 --bytes 100 --types 2 --warmup 0 \
                     --seconds 60 --batches 50";

fn load(toy: &Toy, name: &str, more: &str) -> (Option<i32>, Value) {
    let json = new_file(name);
    let words = format!(
        "load --url {} {SHAPE} {more} --json {}",
        toy.url,
        json.display()
    );
    let output = bench(&words, "");
    let text = std::fs::read_to_string(&json).unwrap_or_else(|_| panic!("{output:?}"));
    (output.status.code(), serde_json::from_str(&text).unwrap())
}

#[test]
fn every_batch_is_sent_once_and_counted_once() {
    let toy = Toy::start(Fault::None);
    let (code, result) = load(&toy, "counted", "--threads 2");
    assert_eq!(code, Some(0), "{result}");
    assert_eq!(result["totals"]["sent"], 200);
    assert_eq!(result["totals"]["acknowledged"], 200);
    assert_eq!(result["batches"], 200);
    assert_eq!(toy.cat().lines().count(), 200 * 6);
}

#[test]
fn a_ping_of_the_server_is_answered_between_two_messages() {
    let toy = Toy::start(Fault::None);
    let (code, result) = load(&toy, "pinged", "");
    assert_eq!((code, toy.pongs()), (Some(0), 4), "{result}");
}

#[test]
fn one_error_answer_is_enough_to_fail() {
    let toy = Toy::start(Fault::Refuse(100));
    let (code, result) = load(&toy, "refused", "");
    assert_eq!(code, Some(1), "{result}");
    assert_eq!(result["totals"]["acknowledged"], 198);
    assert_eq!(result["totals"]["refused_by_code"]["3"], 2);
    assert_eq!(
        result["totals"]["first_reason"],
        "cannot publish events: toy"
    );
}

#[test]
fn a_lost_connection_fails_a_run_and_ends_a_recorded_one() {
    let toy = Toy::start(Fault::Leave(30));
    let (code, result) = load(&toy, "lost", "");
    assert_eq!(code, Some(1), "{result}");
    assert_eq!(result["totals"]["lost_connections"], 4);

    let toy = Toy::start(Fault::Leave(30));
    let record = format!("--record {}", new_file("lost-record").display());
    let (code, result) = load(&toy, "lost-recorded", &record);
    assert_eq!(code, Some(3), "{result}");
    // The server answered 29; what it had answered just before it left may be lost with its socket.
    let acknowledged = result["totals"]["acknowledged"].as_u64().unwrap();
    assert!((1..=29).contains(&acknowledged), "{result}");
}

#[test]
fn a_server_that_is_not_there_is_no_result() {
    let output = bench("load --url ws://127.0.0.1:1/api/v1/events", "");
    assert_eq!(output.status.code(), Some(2));
    let record = new_file("nobody");
    let words = format!("load --url ws://127.0.0.1:1/ --record {}", record.display());
    assert_eq!(bench(&words, "").status.code(), Some(3));
}

#[test]
fn idle_connections_are_held_and_asked_for_a_pong() {
    let toy = Toy::start(Fault::None);
    let words = format!("idle --url {} --connections 50 --hold-seconds 0", toy.url);
    let output = bench(&words, "");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, "open 50\nalive 50 lost 0\n");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn an_open_loop_keeps_its_rate_whatever_the_threads() {
    let toy = Toy::start(Fault::None);
    // More threads than connections: the rate is divided among those that have any.
    for threads in [1, 2, 3] {
        let json = new_file("threads");
        let words = format!(
            "load --url {} --connections 2 --threads {threads} --events 1 --rate 300 --warmup 0 \
             --seconds 1 --json {}",
            toy.url,
            json.display()
        );
        let output = bench(&words, "");
        let text = std::fs::read_to_string(&json).unwrap_or_else(|_| panic!("{output:?}"));
        let result: Value = serde_json::from_str(&text).unwrap();
        let intended = result["open_loop"]["intended"].as_u64().unwrap();
        assert!(
            (297..=303).contains(&intended),
            "{threads} threads: {intended}"
        );
    }
}
