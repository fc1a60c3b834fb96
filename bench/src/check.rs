//! The account of one or more runs against what the log holds.
//!
//! Rules: every acknowledged batch is there, each event byte for byte as it was sent; a batch that
//! was not acknowledged is there whole or not at all; within a partition, a connection's events
//! stand in the order of their sending; each type is in one topic; offsets count from 0 without a
//! gap or a double; and nothing is there that was not sent.
//! Memory: one bit for each event that was sent, whatever the log holds.

mod ledger;
mod shelf;

use std::{
    borrow::Cow,
    fs,
    io::{self, BufRead},
    path::PathBuf,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use self::{
    ledger::{Finding, Ledger, UnopenedRun},
    shelf::Shelves,
};
use crate::{
    Verdict,
    record::{self, BadLine},
};

/// Faults told in words; all are counted.
const FAULTS_TOLD_MAX: usize = 10;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Records that `load --record` wrote: all that were made against this store.
    #[arg(long, required = true, num_args = 1..)]
    record: Vec<PathBuf>,
}

#[derive(Debug, Error)]
enum CheckError {
    #[error("could not read {from}: {source}")]
    Read { from: String, source: io::Error },
    #[error("{path}: {source}")]
    Record { path: String, source: BadLine },
    #[error("{path}: {source}")]
    Unopened { path: String, source: UnopenedRun },
    #[error("line {number} of the log cannot be read: {text}")]
    Log { number: usize, text: String },
}

/// One line of `ringtail log cat --format json`.
#[derive(Debug, Deserialize)]
struct Stored<'a> {
    #[serde(borrow)]
    topic: Cow<'a, str>,
    partition: u32,
    offset: u64,
    #[serde(borrow)]
    value_base64: Cow<'a, str>,
}

/// The answer: batches unless the name says events.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Account {
    runs: usize,
    sent: u64,
    acknowledged: u64,
    refused: u64,
    /// Wholly there.
    stored: u64,
    stored_events: u64,
    /// Acknowledged and not wholly there.
    missing: u64,
    /// Not acknowledged, and there in part.
    torn: u64,
    duplicated_events: u64,
    out_of_order_events: u64,
    /// Of no run of the records, or never sent.
    invented_events: u64,
    /// The label is one of ours, the bytes are not what was sent.
    altered_events: u64,
    /// In another topic than the other events of their type.
    misrouted_events: u64,
    offset_gaps: u64,
    offset_doubles: u64,
}

impl Account {
    fn is_clean(&self) -> bool {
        let faults = [
            self.missing,
            self.torn,
            self.duplicated_events,
            self.out_of_order_events,
            self.invented_events,
            self.altered_events,
            self.misrouted_events,
            self.offset_gaps,
            self.offset_doubles,
        ];
        faults.iter().all(|count| *count == 0)
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<Verdict, Box<dyn std::error::Error>> {
    let mut ledger = Ledger::default();
    for path in &arguments.record {
        read_record(path, &mut ledger)?;
    }
    let mut faults = Vec::new();
    let account = compare(ledger, io::stdin().lock(), &mut faults)?;
    for fault in &faults {
        eprintln!("ringtail-bench: {fault}");
    }
    println!("{}", serde_json::to_string(&account)?);
    Ok(if account.is_clean() {
        Verdict::Kept
    } else {
        Verdict::Broken
    })
}

fn read_record(path: &PathBuf, ledger: &mut Ledger) -> Result<(), CheckError> {
    let name = path.display().to_string();
    let text = fs::read(path).map_err(|source| CheckError::Read {
        from: name.clone(),
        source,
    })?;
    let text = String::from_utf8_lossy(&text);
    let mut run = None;
    for line in record::lines(&text) {
        let line = line.map_err(|source| CheckError::Record {
            path: name.clone(),
            source,
        })?;
        ledger
            .note(&mut run, line)
            .map_err(|source| CheckError::Unopened {
                path: name.clone(),
                source,
            })?;
    }
    Ok(())
}

/// Reads the whole log and settles the account; the first faults are told in `faults`.
fn compare(
    mut ledger: Ledger,
    mut log: impl BufRead,
    faults: &mut Vec<String>,
) -> Result<Account, CheckError> {
    let mut shelves = Shelves::default();
    let mut account = Account::default();
    let mut line = String::new();
    for number in 1.. {
        line.clear();
        let read = log
            .read_line(&mut line)
            .map_err(|source| CheckError::Read {
                from: "the log".to_owned(),
                source,
            })?;
        if read == 0 {
            break;
        }
        let unreadable = || CheckError::Log {
            number,
            text: line.trim_end().to_owned(),
        };
        let stored: Stored<'_> = serde_json::from_str(&line).map_err(|_| unreadable())?;
        let event = STANDARD
            .decode(stored.value_base64.as_bytes())
            .map_err(|_| unreadable())?;
        place(
            &stored,
            &event,
            &mut shelves,
            &mut ledger,
            &mut account,
            faults,
        );
    }
    ledger.settle(&mut account, faults);
    Ok(account)
}

/// Counts one stored event.
fn place(
    stored: &Stored<'_>,
    event: &[u8],
    shelves: &mut Shelves,
    ledger: &mut Ledger,
    account: &mut Account,
    faults: &mut Vec<String>,
) {
    account.stored_events += 1;
    let (shelf, place) = shelves.put(&stored.topic, stored.partition, stored.offset);
    match place {
        shelf::Place::Next => {}
        shelf::Place::Gap => account.offset_gaps += 1,
        shelf::Place::Double => account.offset_doubles += 1,
    }
    let finding = ledger.find(shelf, event);
    match finding {
        Finding::Sound => {}
        Finding::Invented => account.invented_events += 1,
        Finding::Altered => account.altered_events += 1,
        Finding::Misrouted => account.misrouted_events += 1,
        Finding::Duplicated => account.duplicated_events += 1,
        Finding::OutOfOrder => account.out_of_order_events += 1,
    }
    if (finding != Finding::Sound || place != shelf::Place::Next) && faults.len() < FAULTS_TOLD_MAX
    {
        faults.push(format!(
            "{} partition {} offset {}: {finding:?}, offset {place:?}",
            stored.topic, stored.partition, stored.offset
        ));
    }
}

#[cfg(test)]
mod tests;
