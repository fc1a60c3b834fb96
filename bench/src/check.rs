//! The account of one or more runs against what the log holds.
//!
//! Rules: every acknowledged batch is there, each event byte for byte as it was sent; a batch that
//! was not acknowledged is there whole or not at all; within a partition, a connection's events
//! stand in the order of their sending (those of gRPC's calls: behind what was answered before the
//! call); each type is in one topic; offsets count from 0 without a gap or a double; and nothing is
//! there that was not sent.
//! Whoever reads a store that others wrote to leaves their events out and counts them.
//! Memory: one bit for each event that was sent and a byte for each batch (17 for a gRPC call),
//! whatever the log holds.

mod account;
mod kafka;
mod ledger;
mod shelf;
mod source;

use std::{
    borrow::Cow,
    fs,
    io::{self, BufRead},
    path::PathBuf,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use rdkafka::error::KafkaError;
use serde::Deserialize;
use thiserror::Error;

use self::account::{Account, Leave};
pub(crate) use self::source::ReadBack;
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

/// `check`: the log comes from standard input.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Records that `load --record` wrote: all that were made against this store.
    #[arg(long, required = true, num_args = 1..)]
    record: Vec<PathBuf>,
}

/// `verify`: the log is read here.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct VerifyArguments {
    /// Records that `load --record` wrote against this store.
    #[arg(long, required = true, num_args = 1..)]
    record: Vec<PathBuf>,
    #[command(flatten)]
    read_back: ReadBack,
    /// Leave out what is of no run of these records, instead of calling it invented.
    #[arg(long)]
    among_others: bool,
}

#[derive(Debug, Error)]
pub(crate) enum CheckError {
    #[error("could not read {from}: {source}")]
    Read { from: String, source: io::Error },
    #[error("{path}: {source}")]
    Record { path: String, source: BadLine },
    #[error("{path}: {source}")]
    Unopened { path: String, source: UnopenedRun },
    #[error("line {number} of the log cannot be read: {text}")]
    Log { number: usize, text: String },
    #[error("the payload at offset {offset} of {topic} is no base64")]
    Payload { topic: String, offset: u64 },
    #[error("{program} log cat: {status}")]
    Cat { program: String, status: String },
    #[error("the admin port at {authority} sent what is not expected: {what}")]
    Admin { authority: String, what: String },
    #[error("the brokers at {brokers}: {source}")]
    Kafka { brokers: String, source: KafkaError },
    #[error(
        "the brokers at {brokers} sent nothing of {topic} partition {partition} for {seconds} s"
    )]
    Silent {
        brokers: String,
        topic: String,
        partition: i32,
        seconds: u64,
    },
    #[error(
        "say where the events are: --volumes (the store's folders), --admin (host:port) or \
         --kafka (host:port)"
    )]
    NothingToRead,
}

/// Where an event was found.
#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    topic: &'a str,
    partition: u32,
    offset: u64,
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

/// What events are that belong to no run of the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Others {
    /// Nobody sent them.
    Invented,
    /// Somebody else sent them.
    LeftOut,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Verdict, Box<dyn std::error::Error>> {
    let mut audit = Audit::new(&arguments.record, Others::Invented, Leave::default())?;
    audit.read_lines(io::stdin().lock())?;
    let account = audit.settle().told();
    println!("{}", serde_json::to_string(&account)?);
    Ok(account.verdict())
}

pub(crate) fn run_verify(
    arguments: &VerifyArguments,
) -> Result<Verdict, Box<dyn std::error::Error>> {
    if !arguments.read_back.is_given() {
        return Err(CheckError::NothingToRead.into());
    }
    let others = if arguments.among_others {
        Others::LeftOut
    } else {
        Others::Invented
    };
    let account = audit(&arguments.read_back, &arguments.record, others)?.told();
    println!("{}", serde_json::to_string(&account)?);
    Ok(account.verdict())
}

/// An account, and the first faults in words.
#[derive(Debug)]
pub(crate) struct Findings {
    pub(crate) account: Account,
    faults: Vec<String>,
}

impl Findings {
    /// Tells the faults on standard error; the account is what is left.
    pub(crate) fn told(self) -> Account {
        for fault in &self.faults {
            eprintln!("ringtail-bench: {fault}");
        }
        self.account
    }
}

/// Reads the log and settles the account of the records.
pub(crate) fn audit(
    read_back: &ReadBack,
    records: &[PathBuf],
    others: Others,
) -> Result<Findings, CheckError> {
    let mut audit = Audit::new(records, others, read_back.leave())?;
    read_back.read(&mut audit)?;
    Ok(audit.settle())
}

/// Takes stored events one by one.
#[derive(Debug)]
struct Audit {
    ledger: Ledger,
    shelves: Shelves,
    account: Account,
    others: Others,
    /// The first faults, in words.
    faults: Vec<String>,
}

impl Audit {
    fn new(records: &[PathBuf], others: Others, leave: Leave) -> Result<Self, CheckError> {
        let mut ledger = Ledger::default();
        for path in records {
            read_record(path, &mut ledger)?;
        }
        let mut audit = Self::of(ledger, others);
        audit.account.leave = leave;
        Ok(audit)
    }

    fn of(ledger: Ledger, others: Others) -> Self {
        Self {
            ledger,
            shelves: Shelves::default(),
            account: Account::default(),
            others,
            faults: Vec::new(),
        }
    }

    /// Reads lines of JSON to their end.
    fn read_lines(&mut self, mut log: impl BufRead) -> Result<(), CheckError> {
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
            let stored = serde_json::from_str(&line).map_err(|_| CheckError::Log {
                number,
                text: line.trim_end().to_owned(),
            })?;
            self.take_stored(&stored)?;
        }
        Ok(())
    }

    fn take_stored(&mut self, stored: &Stored<'_>) -> Result<(), CheckError> {
        let event = STANDARD
            .decode(stored.value_base64.as_bytes())
            .map_err(|_| CheckError::Payload {
                topic: stored.topic.to_string(),
                offset: stored.offset,
            })?;
        let place = Place {
            topic: &stored.topic,
            partition: stored.partition,
            offset: stored.offset,
        };
        self.take(place, &event);
        Ok(())
    }

    /// Counts one stored event.
    fn take(&mut self, at: Place<'_>, event: &[u8]) {
        let (shelf, step) = self.shelves.put(at.topic, at.partition, at.offset);
        let account = &mut self.account;
        account.stored_events += 1;
        let step_is_fine = match step {
            shelf::Step::Next => true,
            shelf::Step::Gap => {
                account.offset_gaps += 1;
                account.leave.gaps
            }
            shelf::Step::Double => {
                account.offset_doubles += 1;
                false
            }
        };
        let finding = match self.ledger.find(shelf, event) {
            Finding::Foreign if self.others == Others::Invented => Finding::Invented,
            finding => finding,
        };
        let is_fine = match finding {
            Finding::Sound => true,
            Finding::Foreign => {
                account.foreign_events += 1;
                true
            }
            Finding::Invented => {
                account.invented_events += 1;
                false
            }
            Finding::Altered => {
                account.altered_events += 1;
                false
            }
            Finding::Misrouted => {
                account.misrouted_events += 1;
                false
            }
            Finding::Duplicated => {
                account.duplicated_events += 1;
                account.leave.duplicates
            }
            Finding::OutOfOrder => {
                account.out_of_order_events += 1;
                false
            }
        };
        if !(is_fine && step_is_fine) && self.faults.len() < FAULTS_TOLD_MAX {
            self.faults.push(format!(
                "{} partition {} offset {}: {finding:?}, offset {step:?}",
                at.topic, at.partition, at.offset
            ));
        }
    }

    /// Counts batches.
    fn settle(mut self) -> Findings {
        self.ledger.settle(&mut self.account, &mut self.faults);
        Findings {
            account: self.account,
            faults: self.faults,
        }
    }
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

#[cfg(test)]
mod tests;
