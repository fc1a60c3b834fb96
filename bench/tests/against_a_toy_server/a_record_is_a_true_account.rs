//! A recorded run, checked against what a toy server kept.

use crate::toy::{Fault, Toy, bench, new_file};
use serde_json::Value;

/// Runs a recorded load against a toy, then the check: exit codes of both, and the account.
fn round(fault: Fault, name: &str) -> (Option<i32>, Option<i32>, Value) {
    let toy = Toy::start(fault);
    let record = new_file(name);
    let words = format!(
        "load --url {} --connections 3 --window 4 --events 5 --bytes 61 --types 2 --warmup 0 \
         --seconds 60 --batches 40 --record {}",
        toy.url,
        record.display()
    );
    let loaded = bench(&words, "");
    let words = format!("check --record {}", record.display());
    let checked = bench(&words, &toy.cat());
    let account = serde_json::from_slice(&checked.stdout).unwrap_or_else(|_| panic!("{checked:?}"));
    (loaded.status.code(), checked.status.code(), account)
}

#[test]
fn a_sound_server_passes() {
    let (loaded, checked, account) = round(Fault::None, "sound");
    assert_eq!((loaded, checked), (Some(0), Some(0)), "{account}");
    assert_eq!(account["sent"], 120);
    assert_eq!(account["acknowledged"], 120);
    assert_eq!(account["stored_events"], 600);
}

#[test]
fn a_server_that_forgets_one_batch_is_found_out() {
    let (loaded, checked, account) = round(Fault::Forget(60), "forgetful");
    assert_eq!((loaded, checked), (Some(0), Some(1)), "{account}");
    assert_eq!(account["missing"], 1);
}

#[test]
fn a_server_that_goes_away_may_keep_less_than_was_sent() {
    let (loaded, checked, account) = round(Fault::Leave(60), "leaving");
    assert_eq!((loaded, checked), (Some(3), Some(0)), "{account}");
    // A connection that is reset may take the last answer with it.
    let acknowledged = account["acknowledged"].as_u64().unwrap();
    assert!((1..=59).contains(&acknowledged), "{account}");
}

#[test]
fn rounds_of_one_record_are_different_runs() {
    let toy = Toy::start(Fault::None);
    let record = new_file("rounds");
    let words = format!(
        "load --url {} --connections 2 --events 3 --warmup 0 --seconds 60 --batches 5 --run 7 \
         --rounds 3 --record {}",
        toy.url,
        record.display()
    );
    assert_eq!(bench(&words, "").status.code(), Some(0));
    let words = format!("check --record {}", record.display());
    let checked = bench(&words, &toy.cat());
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    let account: Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!(
        (&account["runs"], &account["stored"]),
        (&3.into(), &30.into())
    );
}

#[test]
fn a_refused_batch_is_neither_missing_nor_invented() {
    let (loaded, checked, account) = round(Fault::Refuse(10), "refusing");
    assert_eq!((loaded, checked), (Some(1), Some(0)), "{account}");
    assert_eq!(
        (&account["refused"], &account["acknowledged"]),
        (&12.into(), &108.into())
    );
}
