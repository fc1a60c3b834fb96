//! What the records say was sent and answered, and which of it was found.
//!
//! Always: a batch is known from the moment it was about to be sent; batches of a connection are
//! numbered from 1 without a gap.

use std::collections::HashMap;

use thiserror::Error;

use super::{Account, FAULTS_TOLD_MAX, shelf::ShelfId};
use crate::{
    payload::Label,
    record::{Line, Order, RunLine},
};

/// A line speaks of a run or a batch that no line before it opened; the record is not whole.
#[derive(Debug, Error)]
#[error("a line stands before the line it follows from: {line:?}")]
pub(crate) struct UnopenedRun {
    line: Line,
}

/// What one stored event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    Sound,
    /// Of no run of the records.
    Foreign,
    /// Of a run of the records, and never sent.
    Invented,
    Altered,
    Misrouted,
    Duplicated,
    OutOfOrder,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Answered {
    #[default]
    No,
    Acknowledged,
    Refused,
}

#[derive(Debug, Default)]
struct Connection {
    /// One for each batch, the first first.
    answers: Vec<Answered>,
    /// One bit for each event of each batch, set when it was found.
    found: Vec<u64>,
    /// Of a run of calls: when each batch was sent and answered, the first batch first.
    calls: Vec<Call>,
    /// Lines of the record that were of this connection.
    lines: u64,
    last: HashMap<ShelfId, Last>,
}

/// In lines of the record.
#[derive(Clone, Copy, Debug)]
struct Call {
    sent: u64,
    answered: u64,
}

/// What was found on a shelf so far.
#[derive(Clone, Copy, Debug)]
struct Last {
    /// Batch and index of the event found last.
    event: (u64, u32),
    /// The latest batch of all that were found.
    batch: u64,
}

#[derive(Debug)]
struct Run {
    line: RunLine,
    connections: HashMap<u32, Connection>,
    /// The topic of each type, once seen.
    topics: HashMap<u32, u32>,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    runs: HashMap<u64, Run>,
}

impl Ledger {
    /// Takes one line of a record in; `open` is the run that the record's lines speak of.
    pub(super) fn note(&mut self, open: &mut Option<u64>, line: Line) -> Result<(), UnopenedRun> {
        if let Line::Run(run) = line {
            *open = Some(run.run);
            self.runs.entry(run.run).or_insert_with(|| Run::new(run));
            return Ok(());
        }
        let run = open.and_then(|number| self.runs.get_mut(&number));
        run.and_then(|run| run.note(&line))
            .ok_or(UnopenedRun { line })
    }

    /// Says what a stored event is, and marks it as found.
    pub(super) fn find(&mut self, shelf: ShelfId, event: &[u8]) -> Finding {
        let label = Label::read(event);
        let known = label.and_then(|label| Some((label, self.runs.get_mut(&label.run)?)));
        match known {
            Some((label, run)) => run.find(shelf, label, event),
            None => Finding::Foreign,
        }
    }

    /// Counts batches once the whole log was read.
    pub(super) fn settle(&self, account: &mut Account, faults: &mut Vec<String>) {
        account.runs = self.runs.len();
        for run in self.runs.values() {
            for (number, connection) in &run.connections {
                for batch in 1..=connection.answers.len() as u64 {
                    let fault = connection.settle(batch, run.line.events, account);
                    if let Some(fault) = fault.filter(|_| faults.len() < FAULTS_TOLD_MAX) {
                        let run = run.line.run;
                        faults.push(format!(
                            "run {run:016x} connection {number} batch {batch}: {fault}"
                        ));
                    }
                }
            }
        }
    }
}

impl Run {
    fn new(line: RunLine) -> Self {
        Self {
            line,
            connections: HashMap::new(),
            topics: HashMap::new(),
        }
    }

    fn note(&mut self, line: &Line) -> Option<()> {
        match *line {
            Line::Run(_) => None,
            Line::Sent { connection, batch } => {
                let connection = self.connections.entry(connection).or_default();
                connection.send(batch, &self.line)
            }
            Line::Acknowledged { connection, batch } => {
                self.answer(connection, batch, Answered::Acknowledged)
            }
            Line::Refused { connection, batch } => {
                self.answer(connection, batch, Answered::Refused)
            }
        }
    }

    fn answer(&mut self, connection: u32, batch: u64, answered: Answered) -> Option<()> {
        let connection = self.connections.get_mut(&connection)?;
        connection.answer(batch as usize - 1, answered)
    }

    fn find(&mut self, shelf: ShelfId, label: Label, event: &[u8]) -> Finding {
        let line = &self.line;
        let Some(connection) = self.connections.get_mut(&label.connection) else {
            return Finding::Invented;
        };
        if !connection.knows(label.batch) || line.events <= label.index {
            return Finding::Invented;
        }
        if !label.made(event, line.mix.bytes_of(label)) {
            return Finding::Altered;
        }
        if !connection.mark(label, line.events) {
            return Finding::Duplicated;
        }
        let kind = line.mix.type_of(label);
        if *self.topics.entry(kind).or_insert(shelf.topic) != shelf.topic {
            return Finding::Misrouted;
        }
        if connection.follows(shelf, label, line.order) {
            Finding::Sound
        } else {
            Finding::OutOfOrder
        }
    }
}

impl Connection {
    fn send(&mut self, batch: u64, line: &RunLine) -> Option<()> {
        if batch != self.answers.len() as u64 + 1 {
            return None;
        }
        self.lines += 1;
        self.answers.push(Answered::No);
        if line.order == Order::OfCalls {
            self.calls.push(Call {
                sent: self.lines,
                answered: u64::MAX,
            });
        }
        let bits = self.answers.len() * line.events as usize;
        self.found.resize(bits.div_ceil(64), 0);
        Some(())
    }

    fn answer(&mut self, index: usize, answered: Answered) -> Option<()> {
        self.lines += 1;
        *self.answers.get_mut(index)? = answered;
        if let Some(call) = self.calls.get_mut(index) {
            call.answered = self.lines;
        }
        Some(())
    }

    fn knows(&self, batch: u64) -> bool {
        (1..=self.answers.len() as u64).contains(&batch)
    }

    /// `false` when the event was found before.
    fn mark(&mut self, label: Label, events: u32) -> bool {
        let (word, bit) = place(label.batch, label.index, events);
        let is_new = self.found[word] & bit == 0;
        self.found[word] |= bit;
        is_new
    }

    /// Whether the event stands on its shelf where it may.
    fn follows(&mut self, shelf: ShelfId, label: Label, order: Order) -> bool {
        let here = (label.batch, label.index);
        let Some(last) = self.last.get(&shelf).copied() else {
            let batch = label.batch;
            self.last.insert(shelf, Last { event: here, batch });
            return true;
        };
        let batch = last.batch.max(label.batch);
        self.last.insert(shelf, Last { event: here, batch });
        match order {
            Order::OfSending => last.event < here,
            Order::OfCalls => {
                let is_after_its_own = last.event.0 != label.batch || last.event < here;
                is_after_its_own && !self.is_overdue(label.batch, batch)
            }
        }
    }

    /// Whether a call was answered before one was sent that stands before it.
    fn is_overdue(&self, call: u64, before: u64) -> bool {
        let [call, before] = [call, before].map(|batch| self.calls[batch as usize - 1]);
        call.answered < before.sent
    }

    /// Counts one batch; says what is wrong with it.
    fn settle(&self, batch: u64, events: u32, account: &mut Account) -> Option<String> {
        let is_found = |index: &u32| {
            let (word, bit) = place(batch, *index, events);
            self.found[word] & bit != 0
        };
        let found = (0..events).filter(is_found).count() as u32;
        let answered = self.answers[batch as usize - 1];
        let is_whole = found == events;
        account.sent += 1;
        account.acknowledged += u64::from(answered == Answered::Acknowledged);
        account.refused += u64::from(answered == Answered::Refused);
        account.stored += u64::from(is_whole);
        if answered == Answered::Acknowledged && !is_whole {
            account.missing += 1;
            return Some(format!(
                "acknowledged, and {found} of {events} events are there"
            ));
        }
        if found != 0 && !is_whole {
            account.torn += 1;
            return Some(format!("torn: {found} of {events} events are there"));
        }
        None
    }
}

/// Where an event's bit is.
fn place(batch: u64, index: u32, events: u32) -> (usize, u64) {
    let bit = (batch as usize - 1) * events as usize + index as usize;
    (bit / 64, 1 << (bit % 64))
}
