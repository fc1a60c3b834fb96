//! The thread of a journal's transactions: what the shard hands over goes to Kafka, some frames at a time, each
//! time with how far the journal came.
//!
//! Layout:  `reach` gets hold of a producer and of Kafka's cursor, `attempt` is one transaction, `records` makes
//!          records of frames.
//! Always:  frames are carried in their order, one transaction after the other. What became of a transaction that
//!          ended in the dark is asked of Kafka's cursor, which was part of it.
//! Core:    a thread beside the shards; every call here may wait.
//! Cancel:  told to stop, it ends what is under way if that goes quickly; else the next producer's start ends it.
//! Full:    a transaction is bounded by events, bytes and time; frames wait in a bounded mailbox.

use super::mail::{Command, Committed, Parcel, Ready, Word};
use crate::kafka::transactional::Heard;
use crate::kafka::transactor::Transactor;
use crate::kafka::{self, Setback};
use crate::limit::{SPOOL_LATE, SPOOL_LATE_TRANSACTION};
use crate::log::format::forwarded::{Forwarded, Totals};
use crate::log::journal::Load;
use crate::rt::wake::Ringer;
use crate::shard::clock::{Clock as _, MachineClock};
use crate::spool::exactly::judge::{At, Judge};
use crate::spool::exactly::{Settings, cursor, pause};
use crate::unit::{JournalId, Micros};
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The thread looks around this often, whatever it waits for.
pub(super) const STEP: Duration = Duration::from_millis(50);

/// What the thread is told at its start.
pub(super) struct Terms {
    pub(super) journal: JournalId,
    /// Before anything: whose cursor it is.
    pub(super) cursor: Forwarded,
    pub(super) kafka: Arc<kafka::Settings>,
    pub(super) exactly: Settings,
    pub(super) topic_wait: Duration,
    /// To whom whole batches may be sent; `None`: every event goes through librdkafka.
    pub(super) brokers: Option<Vec<(Box<str>, u16)>>,
}

/// Its ends of what joins it with the shard.
pub(super) struct Ends {
    pub(super) commands: Receiver<Command>,
    pub(super) words: Sender<Word>,
    pub(super) ringer: Ringer,
    pub(super) stopping: Arc<AtomicBool>,
}

/// Why the thread ends.
pub(super) enum Halt {
    Stopping,
    /// Something that nobody but an operator can set right.
    For(String),
}

/// Why a transaction was not committed.
pub(super) enum Miss {
    /// It was given up, or is to be; the same events may go again.
    Again(String),
    /// The producer can do no more.
    Over(String),
    Halt(Halt),
}

impl From<Halt> for Miss {
    fn from(halt: Halt) -> Self {
        Self::Halt(halt)
    }
}

impl From<Setback> for Miss {
    fn from(setback: Setback) -> Self {
        match setback {
            Setback::Again(why) | Setback::Abort(why) => Self::Again(why),
            Setback::Over(why) => Self::Over(why),
        }
    }
}

/// What one transaction is to bring.
#[derive(Default)]
pub(super) struct Set {
    pub(super) parcels: Vec<Rc<Parcel>>,
    events: u64,
    bytes: u64,
    /// Nothing is added any more.
    pub(super) closed: bool,
    pub(super) since: Micros,
    /// Events of which the shard has a dead letter.
    pub(super) buried: BTreeSet<At>,
    /// Events that the last attempt has sent, and all before it.
    pub(super) sent: u64,
    pub(super) sent_before: u64,
    /// Of what the last attempt has sent, in whole batches.
    pub(super) whole: u64,
}

impl Set {
    pub(super) fn push(&mut self, parcel: Box<Parcel>) {
        self.events += parcel.events;
        self.bytes += parcel.followed.load.bytes;
        self.parcels.push(Rc::from(parcel));
    }

    pub(super) fn is_full(&self, settings: &Settings) -> bool {
        settings.events_max <= self.events || settings.bytes_max <= self.bytes
    }

    /// How long it may still be open: longer than `wait` while it brings what is late.
    pub(super) fn left(&self, now: Micros, wait: Duration) -> Duration {
        let newest = self.parcels.last().map_or(now, |last| last.followed.time);
        let is_late = SPOOL_LATE.as_micros() < u128::from(now.since(newest));
        let wait = if is_late {
            wait.max(SPOOL_LATE_TRANSACTION)
        } else {
            wait
        };
        wait.saturating_sub(Duration::from_micros(now.since(self.since)))
    }

    fn load(&self) -> Load {
        let mut sum = Load::default();
        for parcel in &self.parcels {
            sum.events += parcel.followed.load.events;
            sum.bytes += parcel.followed.load.bytes;
        }
        sum
    }

    /// Where the journal stands when all of it was brought.
    pub(super) fn cursor(&self, before: &Forwarded) -> Forwarded {
        let last = self.parcels.last().expect("a set begins with a parcel");
        let skipped: u64 = self.parcels.iter().map(|parcel| parcel.skipped).sum();
        let totals = before.totals;
        Forwarded {
            transacted: true,
            epoch: last.followed.epoch,
            upto: Some(last.followed.spot.sequence),
            chain: last.followed.chain,
            totals: Totals {
                delivered: totals.delivered + self.sent,
                letters: totals.letters + self.buried.len() as u64,
                skipped: totals.skipped + skipped,
                dropped: totals.dropped,
            },
            ..*before
        }
    }
}

/// The thread's life.
pub(super) struct Carrier {
    pub(super) terms: Terms,
    /// Under which Kafka knows who forwards.
    pub(super) name: String,
    pub(super) cursors: Arc<str>,
    pub(super) clock: MachineClock,
    pub(super) judge: Judge,
    ends: Ends,
    stop_by: Option<Micros>,
    begun: Option<Forwarded>,
    /// What was carried so far.
    pub(super) carried: Forwarded,
    /// What Kafka is known to have.
    known: Option<Forwarded>,
    parcels: VecDeque<Box<Parcel>>,
    /// The shard has dead letters that are not durable yet.
    pub(super) letters_wait: bool,
    /// What was said last about the topic of cursors.
    pub(super) doubt: Option<String>,
}

impl Carrier {
    pub(super) fn new(terms: Terms, ends: Ends) -> Self {
        let topic_wait_us = terms.topic_wait.as_micros() as u64;
        Self {
            name: cursor::name(terms.cursor.identity, terms.journal),
            cursors: Arc::from(&*terms.exactly.cursors),
            clock: MachineClock::start(),
            judge: Judge::new(topic_wait_us),
            ends,
            stop_by: None,
            begun: None,
            carried: terms.cursor,
            known: None,
            parcels: VecDeque::new(),
            letters_wait: false,
            doubt: None,
            terms,
        }
    }

    pub(super) fn run(mut self) {
        if let Err(Halt::For(why)) = self.carry() {
            self.say(Word::Stopped(why));
        }
        self.say(Word::Ended);
    }

    fn carry(&mut self) -> Result<(), Halt> {
        let (mut producer, found) = self.reach()?;
        self.known = found;
        self.say(Word::Ready(Ready { found }));
        self.carried = loop {
            if let Some(begun) = self.begun {
                break begun;
            }
            self.idle(STEP)?;
        };
        loop {
            let mut set = self.first(&mut producer)?;
            self.judge.forget_events();
            let mut failures = 0;
            while !self.bring(&mut producer, &mut set, &mut failures)? {}
            self.settle(&set);
        }
    }

    /// Waits for something to bring.
    fn first(&mut self, producer: &mut Transactor) -> Result<Set, Halt> {
        loop {
            if let Some(parcel) = self.parcels.pop_front() {
                let mut set = Set {
                    since: self.clock.now(),
                    ..Set::default()
                };
                set.push(parcel);
                return Ok(set);
            }
            while let Some(heard) = producer.hear(0) {
                self.pass_on(heard);
            }
            self.idle(STEP)?;
        }
    }

    /// Tries once; whether Kafka has all of it now.
    fn bring(
        &mut self,
        producer: &mut Transactor,
        set: &mut Set,
        failures: &mut u32,
    ) -> Result<bool, Halt> {
        let (why, is_over) = match self.attempt(producer, set) {
            Ok(()) => return Ok(true),
            Err(Miss::Halt(halt)) => return Err(halt),
            Err(Miss::Again(why)) => (why, false),
            Err(Miss::Over(why)) => (why, true),
        };
        let journal = self.terms.journal.0;
        if *failures == 0 {
            tracing::warn!("journal {journal}: a transaction failed: {why}; its events go again");
        }
        *failures += 1;
        set.closed = true;
        // Two engines under one name must not fence each other in step for ever: the pause is before the name is
        // taken, never between that and the attempt, and is not the same for both.
        self.rest(pause(*failures) + self.draw())?;
        if is_over {
            let found;
            (*producer, found) = self.reach()?;
            let brought = set.cursor(&self.carried);
            if found.is_some_and(|found| cursor::agree(&found, &brought)) {
                return Ok(true);
            }
            self.check_nobody_else(found, &why)?;
        }
        Ok(false)
    }

    /// Up to half a second, by chance.
    fn draw(&self) -> Duration {
        Duration::from_micros(self.clock.now().0 % 500_000)
    }

    /// Kafka's cursor is the one that this thread wrote last.
    fn check_nobody_else(&self, found: Option<Forwarded>, why: &str) -> Result<(), Halt> {
        let same = match (&found, &self.known) {
            (Some(found), Some(known)) => cursor::agree(found, known),
            (found, known) => found.is_none() && known.is_none(),
        };
        if same {
            return Ok(());
        }
        let tell = |cursor: &Option<Forwarded>| {
            cursor.map_or_else(|| "none".to_owned(), |cursor| cursor.to_string())
        };
        let (name, found, known) = (&self.name, tell(&found), tell(&self.known));
        Err(Halt::For(format!(
            "Kafka's cursor of {name} is {found}, and {known} was written last ({why}): another engine forwards \
             under this name; end it, or give one of the stores a name of its own with `ringtail spool adopt`"
        )))
    }

    fn settle(&mut self, set: &Set) {
        let cursor = set.cursor(&self.carried);
        self.carried = cursor;
        self.known = Some(cursor);
        self.say(Word::Committed(Committed {
            cursor,
            parcels: set.parcels.len(),
            load: set.load(),
            delivered: set.sent,
            whole: set.whole,
            repeated: set.sent_before,
        }));
    }

    pub(super) fn say(&self, word: Word) {
        // A shard that is gone hears nothing.
        let _gone = self.ends.words.send(word);
        self.ends.ringer.ring();
    }

    /// What is not about a record.
    pub(super) fn pass_on(&self, heard: Heard) {
        if let Heard::Statistics(text) = heard {
            let _full = self.ends.words.try_send(Word::Statistics(text));
            self.ends.ringer.ring();
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.ends.stopping.load(Ordering::Acquire)
    }

    /// Whether what is under way may still go on.
    pub(super) fn check(&mut self) -> Result<(), Halt> {
        if !self.is_stopping() {
            return Ok(());
        }
        let now = self.clock.now();
        let wait = self.terms.kafka.flush_wait.as_micros() as u64;
        let stop_by = *self.stop_by.get_or_insert(Micros(now.0 + wait));
        if now < stop_by {
            Ok(())
        } else {
            Err(Halt::Stopping)
        }
    }

    /// Waits so long while nothing is under way, and takes commands meanwhile.
    pub(super) fn rest(&mut self, time: Duration) -> Result<(), Halt> {
        let until = self.clock.now().0 + time.as_micros() as u64;
        loop {
            let left = until.saturating_sub(self.clock.now().0);
            if left == 0 {
                return Ok(());
            }
            self.idle(Duration::from_micros(left))?;
        }
    }

    /// Waits for one command, and not for long, while nothing is under way.
    fn idle(&mut self, time: Duration) -> Result<(), Halt> {
        if self.is_stopping() {
            return Err(Halt::Stopping);
        }
        self.listen(time.min(STEP)).map(drop)
    }

    /// Takes one command, if one comes in so long.
    pub(super) fn listen(&mut self, time: Duration) -> Result<bool, Halt> {
        match self.ends.commands.recv_timeout(time) {
            Ok(Command::Begin(cursor)) => self.begun = Some(cursor),
            Ok(Command::Parcel(parcel)) => self.parcels.push_back(parcel),
            Ok(Command::LettersDurable) => self.letters_wait = false,
            Ok(Command::Renew(topics)) => topics.iter().for_each(|one| self.judge.renew(*one)),
            Err(RecvTimeoutError::Timeout) => return Ok(false),
            Err(RecvTimeoutError::Disconnected) => return Err(Halt::Stopping),
        }
        Ok(true)
    }

    pub(super) fn next_parcel(&mut self) -> Option<Box<Parcel>> {
        self.parcels.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::journal::{Followed, Spot};
    use crate::unit::{Epoch, Sequence};

    fn parcel_of(time: Micros) -> Parcel {
        let sequence = Sequence::new(1).unwrap();
        Parcel {
            followed: Followed {
                spot: Spot::example(sequence),
                epoch: Epoch(1),
                chain: 0,
                time,
                load: Load::default(),
            },
            frame: Vec::new(),
            lots: Vec::new(),
            events: 1,
            skipped: 0,
        }
    }

    #[test]
    fn only_a_transaction_that_brings_a_backlog_stays_open_for_longer() {
        const MS: u64 = 1_000;
        let begun = Micros(100_000 * MS);
        let mut set = Set {
            since: begun,
            ..Set::default()
        };
        let left = |set: &Set, after_ms| {
            let now = Micros(begun.0 + after_ms * MS);
            set.left(now, Duration::from_millis(100)).as_millis() as u64
        };
        set.push(Box::new(parcel_of(Micros(begun.0 - 60_000 * MS))));
        assert_eq!([left(&set, 0), left(&set, 400)], [1_000, 600]);
        assert_eq!(left(&set, 1_500), 0);
        // The last of the backlog was seen.
        set.push(Box::new(parcel_of(Micros(begun.0 - 100 * MS))));
        assert_eq!([left(&set, 30), left(&set, 400)], [70, 0]);
        // Who wants longer ones has them either way.
        let now = Micros(begun.0 + 30 * MS);
        assert_eq!(set.left(now, Duration::from_secs(9)).as_millis(), 8_970);
        set.push(Box::new(parcel_of(Micros(begun.0 - 60_000 * MS))));
        assert_eq!(set.left(now, Duration::from_secs(9)).as_millis(), 8_970);
    }
}
