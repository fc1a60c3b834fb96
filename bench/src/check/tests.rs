//! Each rule broken once, and seen.

use super::*;
use crate::{
    mix::{Mix, Sizes},
    payload::Label,
    record::{Line, Order, RunLine},
};

const RUN: u64 = 0xfeed;
const EVENT_BYTES: usize = 40;

fn run_line() -> RunLine {
    RunLine {
        run: RUN,
        events: 4,
        mix: Mix::new(Sizes::Fixed(EVENT_BYTES as u32), 4, 2, 0.0),
        order: Order::OfSending,
    }
}

/// One stored event: topic, batch, index. Offsets are given in order.
type Row = (&'static str, u64, u32);

/// Two batches acknowledged, a third only sent; events of type 0 and 1 in two topics.
fn ledger() -> Ledger {
    let mut ledger = Ledger::default();
    let connection = 5;
    let mut open = None;
    let mut lines = vec![Line::Run(run_line())];
    lines.extend((1..=3).map(|batch| Line::Sent { connection, batch }));
    lines.extend((1..=2).map(|batch| Line::Acknowledged { connection, batch }));
    for line in lines {
        ledger.note(&mut open, line).unwrap();
    }
    ledger
}

fn two_batches() -> Vec<Row> {
    vec![
        ("even", 1, 0),
        ("even", 1, 2),
        ("odd", 1, 1),
        ("odd", 1, 3),
        ("even", 2, 0),
        ("even", 2, 2),
        ("odd", 2, 1),
        ("odd", 2, 3),
    ]
}

fn event(batch: u64, index: u32) -> Vec<u8> {
    let label = Label {
        run: RUN,
        connection: 5,
        batch,
        index,
    };
    let mut event = Vec::new();
    label.write(EVENT_BYTES, &mut event);
    event
}

fn line(topic: &str, offset: u64, event: &[u8]) -> String {
    let value = STANDARD.encode(event);
    format!(
        "{{\"topic\":\"{topic}\",\"partition\":1,\"offset\":{offset},\
         \"timestamp_ms\":1,\"value_base64\":\"{value}\"}}\n"
    )
}

fn log(rows: &[Row]) -> String {
    let mut next = std::collections::HashMap::new();
    let lines = rows.iter().map(|(topic, batch, index)| {
        let offset = next.entry(*topic).or_insert(0);
        *offset += 1;
        line(topic, *offset - 1, &event(*batch, *index))
    });
    lines.collect()
}

fn check(log: &str) -> (Account, Vec<String>) {
    let mut audit = Audit::of(ledger(), Others::Invented);
    audit.read_lines(log.as_bytes()).unwrap();
    let Findings { account, faults } = audit.settle();
    assert_eq!(account.is_clean(), faults.is_empty());
    (account, faults)
}

/// What a log of two whole batches gives, which each test changes in one place.
fn clean() -> Account {
    Account {
        runs: 1,
        sent: 3,
        acknowledged: 2,
        stored: 2,
        stored_events: 8,
        ..Account::default()
    }
}

#[test]
fn a_log_with_all_that_was_acknowledged_is_clean() {
    assert_eq!(check(&log(&two_batches())).0, clean());
}

#[test]
fn an_unanswered_batch_may_be_there_whole() {
    let mut rows = two_batches();
    rows.extend([("even", 3, 0), ("even", 3, 2), ("odd", 3, 1), ("odd", 3, 3)]);
    let expected = Account {
        stored: 3,
        stored_events: 12,
        ..clean()
    };
    assert_eq!(check(&log(&rows)).0, expected);
}

#[test]
fn a_missing_event_of_an_acknowledged_batch_is_seen() {
    let mut rows = two_batches();
    rows.pop();
    let expected = Account {
        stored: 1,
        stored_events: 7,
        missing: 1,
        ..clean()
    };
    assert_eq!(check(&log(&rows)).0, expected);
}

#[test]
fn an_empty_log_misses_everything_that_was_acknowledged() {
    let expected = Account {
        stored: 0,
        stored_events: 0,
        missing: 2,
        ..clean()
    };
    assert_eq!(check("").0, expected);
}

#[test]
fn a_torn_batch_is_seen() {
    let mut rows = two_batches();
    rows.push(("odd", 3, 1));
    let expected = Account {
        stored_events: 9,
        torn: 1,
        ..clean()
    };
    let (account, faults) = check(&log(&rows));
    assert_eq!(account, expected);
    assert!(faults[0].contains("batch 3: torn: 1 of 4"), "{faults:?}");
}

#[test]
fn a_duplicated_event_is_seen() {
    let mut rows = two_batches();
    rows.push(("odd", 2, 3));
    let expected = Account {
        stored_events: 9,
        duplicated_events: 1,
        ..clean()
    };
    assert_eq!(check(&log(&rows)).0, expected);
}

#[test]
fn batches_out_of_order_are_seen() {
    let mut rows = two_batches();
    rows.swap(1, 4);
    let (account, _) = check(&log(&rows));
    assert_eq!((account.out_of_order_events, account.missing), (1, 0));
}

#[test]
fn events_out_of_order_within_a_batch_are_seen() {
    let mut rows = two_batches();
    rows.swap(2, 3);
    assert_eq!(check(&log(&rows)).0.out_of_order_events, 1);
}

#[test]
fn calls_under_way_together_have_no_order_and_those_after_an_answer_have() {
    let connection = 5;
    let run = RunLine {
        order: Order::OfCalls,
        ..run_line()
    };
    let sent = |batch| Line::Sent { connection, batch };
    let acknowledged = |batch| Line::Acknowledged { connection, batch };
    let together = [sent(1), sent(2), acknowledged(2), acknowledged(1)];
    let one_by_one = [sent(1), acknowledged(1), sent(2), acknowledged(2)];
    let overtaken = [
        ("even", 2, 0),
        ("even", 2, 2),
        ("even", 1, 0),
        ("even", 1, 2),
    ];
    let torn_order = [
        ("even", 2, 0),
        ("even", 2, 2),
        ("even", 1, 2),
        ("even", 1, 0),
    ];
    for (lines, rows, faults) in [
        (&together, &overtaken, 0),
        (&together, &torn_order, 1),
        (&one_by_one, &overtaken, 2),
    ] {
        let mut ledger = Ledger::default();
        let mut open = None;
        for line in std::iter::once(Line::Run(run.clone())).chain(lines.iter().cloned()) {
            ledger.note(&mut open, line).unwrap();
        }
        let mut audit = Audit::of(ledger, Others::Invented);
        audit.read_lines(log(rows).as_bytes()).unwrap();
        let account = audit.settle().account;
        assert_eq!(account.out_of_order_events, faults, "{lines:?} {rows:?}");
    }
}

#[test]
fn invented_events_are_seen() {
    let unsent = event(4, 0);
    let beyond = event(1, 4);
    let foreign = vec![7; EVENT_BYTES];
    let short = vec![7; 3];
    for stranger in [unsent, beyond, foreign, short] {
        let log = log(&two_batches()) + &line("even", 4, &stranger);
        let expected = Account {
            stored_events: 9,
            invented_events: 1,
            ..clean()
        };
        assert_eq!(check(&log).0, expected);
    }
}

#[test]
fn an_altered_event_is_seen_and_its_batch_missed() {
    let mut changed = event(2, 3);
    changed[30] ^= 1;
    let rows = two_batches();
    let log = log(&rows[..7]) + &line("odd", 3, &changed);
    let expected = Account {
        stored: 1,
        missing: 1,
        altered_events: 1,
        ..clean()
    };
    assert_eq!(check(&log).0, expected);
}

#[test]
fn an_event_in_the_topic_of_another_type_is_seen() {
    let mut rows = two_batches();
    rows[7].0 = "even";
    assert_eq!(check(&log(&rows)).0.misrouted_events, 1);
}

#[test]
fn a_gap_and_a_double_in_the_offsets_are_seen() {
    let rows = two_batches();
    let gap = log(&rows[..7]) + &line("odd", 4, &event(2, 3));
    assert_eq!(check(&gap).0.offset_gaps, 1);
    let double = log(&rows[..7]) + &line("odd", 2, &event(2, 3));
    assert_eq!(check(&double).0.offset_doubles, 1);
    let late = line("late", 1, &event(1, 0));
    assert_eq!(check(&late).0.offset_gaps, 1);
}

#[test]
fn a_line_that_is_no_record_stops_the_check() {
    let mut audit = Audit::of(ledger(), Others::Invented);
    let error = audit.read_lines(&b"{}\n"[..]).unwrap_err();
    assert_eq!(error.to_string(), "line 1 of the log cannot be read: {}");
}

#[test]
fn an_answer_to_nothing_makes_a_record_unreadable() {
    let mut ledger = Ledger::default();
    let answer = Line::Acknowledged {
        connection: 1,
        batch: 1,
    };
    assert!(ledger.note(&mut None, answer.clone()).is_err());
    let mut open = None;
    ledger.note(&mut open, Line::Run(run_line())).unwrap();
    assert!(ledger.note(&mut open, answer).is_err());
}

#[test]
fn what_others_wrote_is_left_out_when_they_may_write() {
    let foreign = vec![7; EVENT_BYTES];
    let log = log(&two_batches()) + &line("even", 4, &foreign);
    let mut audit = Audit::of(ledger(), Others::LeftOut);
    audit.read_lines(log.as_bytes()).unwrap();
    let expected = Account {
        stored_events: 9,
        foreign_events: 1,
        ..clean()
    };
    assert_eq!(audit.settle().told(), expected);
}

#[test]
fn what_kafka_may_do_is_counted_and_no_fault() {
    let mut audit = Audit::of(ledger(), Others::Invented);
    audit.account.leave = Leave {
        gaps: true,
        duplicates: true,
    };
    let again = line("odd", 9, &event(2, 3));
    let log = log(&two_batches()) + &again;
    audit.read_lines(log.as_bytes()).unwrap();
    let Findings { account, faults } = audit.settle();
    assert_eq!((account.offset_gaps, account.duplicated_events), (1, 1));
    assert!(account.is_clean() && faults.is_empty());
}
