//! A producer of transactions that sends the log's record batches as they are.
//!
//! | file          | is                                                                          |
//! |---------------|-----------------------------------------------------------------------------|
//! | `coordinator` | who keeps the transactions: begun, joined by partitions, ended              |
//! | `leaders`     | who leads what, and batches on their way there                              |
//! | `link`        | a connection to one broker                                                  |
//!
//! Always:  a batch leaves when its partition is part of the transaction, and each that was taken is told of once.
//!          Commit and abort are decided when everything was told of. After an abort the producer goes on under the
//!          next epoch, so that no batch of the one before can come late.
//! Core:    a thread of its own: questions are waited for, each for a few seconds at most.
//! Cancel:  dropping the producer leaves its transaction open; the next one of the same id ends it.
//! Full:    what is taken is bounded by who forwards: one transaction's events and bytes.

mod coordinator;
mod leaders;
mod link;

use super::partition::Lot;
use super::topic::Topic;
use super::wire::Broker;
use super::wire::batch::{batch_of_one, mark_transactional};
use super::{Mark, UNSUPPORTED_VERSION};
use crate::kafka::native::{Fault, Setback};
use crate::rt::timer::Moment;
use crate::unit::TopicIndex;
use link::{Link, wait};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Kafka's error code for what took too long.
const REQUEST_TIMED_OUT: i16 = 7;
/// Pauses before a question is asked again: the first, and the longest.
const PAUSE: Duration = Duration::from_millis(4);
const PAUSE_LAST: Duration = Duration::from_millis(250);

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    pub mark: u64,
    pub fault: Option<Fault>,
}

/// Where the transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// There is nothing to end.
    Empty,
    /// Something may have been added to it.
    Open,
    /// It was given up, and the next epoch is wanted.
    GivenUp,
}

/// A partition by its topic.
type Place = (Arc<str>, i32);

/// One producer of transactions.
pub struct Producer {
    bootstrap: Vec<(Box<str>, u16)>,
    id: Box<str>,
    timeout: Duration,
    brokers: BTreeMap<i32, Broker>,
    leaders: BTreeMap<i32, Link>,
    /// No connection to this broker is tried before then.
    not_before: BTreeMap<i32, Moment>,
    coordinator: Option<Link>,
    scout: Option<Link>,
    /// Whom to ask next.
    turn: usize,
    /// Who leads what is to be asked, and not before then.
    asks: bool,
    ask_at: Moment,
    topics: HashMap<Arc<str>, Topic>,
    /// The producer's number and epoch.
    number: Option<(i64, i16)>,
    /// Of the transaction: its number, of which each topic's partition follows; and until when it is of use.
    transaction: u64,
    until: Moment,
    added: BTreeSet<Place>,
    add_at: Moment,
    add_pause: Duration,
    stage: Stage,
    /// Nothing more of it leaves.
    is_purged: bool,
    /// Whose batches were taken, in their order.
    marks: Vec<u64>,
    told: VecDeque<Told>,
    outstanding: u64,
    over: Option<String>,
    is_unfit: bool,
}

impl Producer {
    /// A producer for the cluster of these brokers. Nothing is asked yet.
    pub fn new(bootstrap: Vec<(Box<str>, u16)>, id: &str, timeout: Duration) -> Self {
        let now = Moment::now();
        Self {
            bootstrap,
            id: id.into(),
            timeout,
            brokers: BTreeMap::new(),
            leaders: BTreeMap::new(),
            not_before: BTreeMap::new(),
            coordinator: None,
            scout: None,
            turn: 0,
            asks: false,
            ask_at: now,
            topics: HashMap::new(),
            number: None,
            // Journals that begin together begin with different partitions.
            transaction: now.millis(),
            until: now,
            added: BTreeSet::new(),
            add_at: now,
            add_pause: PAUSE,
            stage: Stage::Empty,
            is_purged: false,
            marks: Vec::new(),
            told: VecDeque::new(),
            outstanding: 0,
            over: None,
            is_unfit: false,
        }
    }

    /// Ends what an earlier producer of this id left open, and keeps it out from here on.
    pub fn init(&mut self, wait: Duration) -> Result<(), Setback> {
        self.patiently(wait, |it| it.take_number(None))
    }

    /// # Panics
    /// When something of the transaction before was not told of.
    pub fn begin(&mut self) -> Result<(), Setback> {
        assert_eq!(self.outstanding, 0);
        self.still_there()?;
        if self.number.is_none() || self.stage != Stage::Empty {
            return Err(Setback::Over("no transaction can begin".to_owned()));
        }
        self.transaction += 1;
        self.until = Moment::now().after(self.timeout);
        self.is_purged = false;
        self.marks.clear();
        Ok(())
    }

    /// Takes a batch of the log.
    pub fn send_whole(&mut self, topic: &Arc<str>, bytes: &[u8], records: u32, mark: u64) {
        let batch = bytes.to_vec();
        self.take((topic, self.transaction), batch, records, mark);
    }

    /// Takes one record, that becomes a batch of its own.
    pub fn send(&mut self, topic: &Arc<str>, value: &[u8], timestamp_ms: i64, mark: u64) {
        let batch = batch_of_one(&[], value, timestamp_ms);
        self.take((topic, self.transaction), batch, 1, mark);
    }

    /// Takes a record of which the newest counts; it comes to the topic's first partition.
    pub fn send_newest(
        &mut self,
        topic: &Arc<str>,
        (key, value): (&[u8], &[u8]),
        timestamp_ms: i64,
        mark: u64,
    ) {
        let batch = batch_of_one(key, value, timestamp_ms);
        self.topics
            .entry(Arc::clone(topic))
            .or_default()
            .use_first();
        self.take((topic, 0), batch, 1, mark);
    }

    fn take(
        &mut self,
        (name, turn): (&Arc<str>, u64),
        mut batch: Vec<u8>,
        records: u32,
        mark: u64,
    ) {
        mark_transactional(&mut batch);
        let mark_of_lot = Mark {
            topic: TopicIndex(0),
            part: u32::try_from(self.marks.len()).expect("a transaction is bounded far below"),
            parts: 1,
            records,
            sequence: turn,
        };
        self.marks.push(mark);
        self.outstanding += 1;
        let topic = self.topics.entry(Arc::clone(name)).or_default();
        topic.take(Lot::new(mark_of_lot, batch));
        self.asks |= topic.is_unknown();
    }

    /// Batches that were taken and not told of.
    pub fn outstanding(&self) -> u64 {
        self.outstanding
    }

    /// Why this producer can do no more.
    pub fn over(&self) -> Option<&str> {
        self.over.as_deref()
    }

    /// A broker does not understand what is said here.
    pub fn is_unfit(&self) -> bool {
        self.is_unfit
    }

    /// Sends what can be sent, and gives what became of a batch, waited for as long as this.
    pub fn hear(&mut self, wait: Duration) -> Option<Told> {
        let until = Moment::now().after(wait);
        loop {
            if let Some(told) = self.told.pop_front() {
                return Some(told);
            }
            let left = until.since(Moment::now());
            self.go_on(left);
            if self.told.is_empty() && left.is_zero() {
                return None;
            }
        }
    }

    /// What has not left comes back with a fault, and so does what is under way when that is over.
    pub fn purge(&mut self) {
        if !self.is_purged {
            self.is_purged = true;
            self.recall_all(REQUEST_TIMED_OUT);
        }
    }

    /// Commits what was sent since [`Producer::begin`]; all of it must have been told of.
    pub fn commit(&mut self, wait: Duration) -> Result<(), Setback> {
        self.patiently(wait, |it| it.end(true))
    }

    /// Gives up what was sent since [`Producer::begin`]; all of it must have been told of.
    pub fn abort(&mut self, wait: Duration) -> Result<(), Setback> {
        self.patiently(wait, |it| {
            it.end(false)?;
            if it.stage == Stage::GivenUp {
                let known = it.number;
                it.take_number(known)?;
                it.stage = Stage::Empty;
            }
            Ok(())
        })
    }

    fn still_there(&self) -> Result<(), Setback> {
        let over = self.over.clone();
        over.map_or(Ok(()), |why| Err(Setback::Over(why)))
    }

    /// Takes a step until it is taken, or cannot be, or took so long.
    fn patiently(
        &mut self,
        wait_max: Duration,
        mut step: impl FnMut(&mut Self) -> Result<(), Setback>,
    ) -> Result<(), Setback> {
        assert_eq!(self.outstanding, 0, "everything was told of before");
        let until = Moment::now().after(wait_max);
        let mut pause = PAUSE;
        loop {
            self.still_there()?;
            let taken = step(self);
            if !matches!(taken, Err(Setback::Again(_))) || until <= Moment::now() {
                return taken;
            }
            // A signal that cuts it short does no harm.
            let _cut_short = wait(&mut [], pause);
            pause = (2 * pause).min(PAUSE_LAST);
        }
    }

    /// Nothing more can be done, and everything comes back.
    fn end_for(&mut self, why: String) {
        self.over.get_or_insert(why);
        self.leaders.clear();
        for topic in self.topics.values_mut() {
            topic.lost_all();
        }
        self.recall_all(REQUEST_TIMED_OUT);
    }

    /// No broker is to be asked again, for this one does not understand.
    fn retire(&mut self) -> Setback {
        self.is_unfit = true;
        let why = Fault::of_broker(UNSUPPORTED_VERSION).text().to_owned();
        self.end_for(why.clone());
        Setback::Over(why)
    }

    fn recall_all(&mut self, code: i16) {
        for topic in self.topics.values_mut() {
            topic.recall(Fault::of_broker(code));
        }
        self.give_back();
    }

    /// Tells of what will not go, of every topic of which nothing is under way any more.
    fn give_back(&mut self) {
        let (marks, told, outstanding) = (&self.marks, &mut self.told, &mut self.outstanding);
        for topic in self.topics.values_mut() {
            topic.give_back(&mut |lot, fault| {
                *outstanding -= 1;
                told.push_back(Told {
                    mark: marks[lot.mark.part as usize],
                    fault: Some(fault),
                });
            });
        }
    }

    fn delivered(&mut self, mark: Mark) {
        self.outstanding -= 1;
        self.told.push_back(Told {
            mark: self.marks[mark.part as usize],
            fault: None,
        });
    }
}
