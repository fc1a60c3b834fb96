//! What became of each record, and the cursor that follows.

use super::super::clock::Clock as _;
use super::letters::Letter;
use super::{Forwarder, State};
use crate::kafka::Fault;
use crate::kafka::writer::{Settled, Word};
use crate::log::journal::Overflow;
use crate::rt::executor::yield_if_needed;
use crate::rt::wake::Bell;
use crate::spool::window::Place;
use crate::unit::{Micros, Ticket, TopicIndex};
use std::rc::Rc;

/// What librdkafka says is taken in so many words before other tasks have their turn.
const WORDS_AT_ONCE: usize = 512;
/// What came back is sent again not sooner than this.
const AGAIN_US: u64 = 1_000_000;
/// The cursor is recorded at most so often.
const RECORD_US: u64 = 200_000;
/// The rate is that of about so long.
const RATE_US: u64 = 5_000_000;

/// Records of a topic came back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trouble {
    pub(super) not_before: Micros,
    /// They are sent one by one, to learn which of them it is.
    pub(super) alone: bool,
    why: Fault,
}

/// Events, or bytes, in a second, over the last few.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rate {
    since: Micros,
    count: u64,
    before: u64,
}

impl Rate {
    pub(super) fn note(&mut self, now: Micros, count: u64) {
        if RATE_US <= now.since(self.since) {
            self.before = self.of_now(now);
            (self.since, self.count) = (now, 0);
        }
        self.count += count;
    }

    fn of_now(&self, now: Micros) -> u64 {
        self.count * 1_000_000 / now.since(self.since).max(1)
    }

    pub(super) fn per_second(&self, now: Micros) -> u64 {
        match now.since(self.since) {
            age if age < RATE_US / 5 => self.before,
            age if 2 * RATE_US < age => 0,
            _ => self.of_now(now),
        }
    }
}

impl Forwarder {
    /// Hears what librdkafka has to say, for as long as the shard lives.
    pub(in crate::shard) async fn hear(self: Rc<Self>, mut bell: Bell) {
        while bell.rung().await.is_ok() {
            while self.take_words() {
                yield_if_needed().await;
            }
            self.news.wake_all();
        }
    }

    /// Takes up to a bounded number of words; `false` when there are no more for now.
    fn take_words(&self) -> bool {
        let now = self.core.clock.now();
        for _ in 0..WORDS_AT_ONCE {
            match self.writer.next(now) {
                None => return false,
                Some(Word::Statistics(text)) => {
                    self.core.work.borrow_mut().probe.kafka = Some(text);
                }
                Some(Word::Settled(settled)) => self.take_settled(&settled, now),
            }
        }
        true
    }

    fn take_settled(&self, settled: &Settled, now: Micros) {
        let mark = settled.mark;
        let event = (mark.request, mark.event);
        if let Some(fault) = settled.fault {
            return self.take_fault(mark.topic, event, fault, false);
        }
        let mut state = self.state.borrow_mut();
        if state.window.set(event.0, event.1, Place::Settled) {
            state.cursor.totals.delivered += 1;
            state.rate.note(now, 1);
        }
        if !state.unwanted.is_empty() {
            state.unwanted.remove(&mark.topic);
        }
    }

    /// A record came back, or was not taken at all (`at_once`): it waits, or becomes a dead letter.
    pub(super) fn take_fault(
        &self,
        topic: TopicIndex,
        (part, event): (u32, u16),
        fault: Fault,
        at_once: bool,
    ) {
        let now = self.core.clock.now();
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let own = at_once || state.window.place(part, event) == Some(Place::Alone);
        let of_the_record = fault.is_of_the_record();
        let too_long = fault.is_of_the_topic() && {
            let (_, too_long) = state.unwanted.entry(topic).or_insert((now, false));
            *too_long
        };
        if too_long || (own && of_the_record) {
            state.bury((part, event), fault);
            return;
        }
        if !state.window.set(part, event, Place::Parked) {
            return;
        }
        let wait = if of_the_record { 0 } else { AGAIN_US };
        let again = Trouble {
            not_before: Micros(now.0 + wait),
            alone: of_the_record,
            why: fault,
        };
        let is_first = state.troubles.is_empty();
        let trouble = state.troubles.entry(topic).or_insert(again);
        trouble.not_before = trouble.not_before.max(again.not_before);
        trouble.alone |= of_the_record;
        trouble.why = fault;
        if is_first {
            let (journal, name) = (self.id.0, self.core.name_of(topic));
            let why = fault.text();
            tracing::warn!("journal {journal}: topic {name}: {why}; its events are sent again");
        }
    }

    /// Whether a topic was unwanted for too long: what waits for it becomes dead letters.
    pub(super) fn give_up_topic(&self, topic: TopicIndex, now: Micros) -> bool {
        let mut state = self.state.borrow_mut();
        let Some((since, too_long)) = state.unwanted.get_mut(&topic) else {
            return false;
        };
        let wait = self.settings.topic_wait.as_micros() as u64;
        if now.since(*since) < wait {
            return false;
        }
        *too_long = true;
        let Some(trouble) = state.troubles.remove(&topic) else {
            return false;
        };
        let parked = state.window.parked(topic, usize::MAX);
        for one in &parked {
            state.bury((one.part, one.event), trouble.why);
        }
        let (journal, name) = (self.id.0, self.core.name_of(topic));
        let (count, why) = (parked.len(), trouble.why.text());
        let letters = &self.settings.letters;
        tracing::error!(
            "journal {journal}: topic {name}: {why}; {count} events of it, and those to come, go to {letters}"
        );
        true
    }

    /// Commits up to this ticket were discarded: dead letters in them are written again.
    pub(in crate::shard) fn discarded(&self, upto: Ticket) {
        let durable = self.journal.durable();
        self.retrier.discarded(upto);
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let lost = |(ticket, _): &(Ticket, Letter)| durable < Some(*ticket) && *ticket <= upto;
        let (lost, kept): (Vec<_>, Vec<_>) = state.staged.drain(..).partition(lost);
        state.staged.extend(kept);
        for (_, letter) in lost.into_iter().rev() {
            state.letters.push_front(letter);
        }
    }

    /// Moves the cursor past what is settled, and has that recorded now and then.
    pub(super) fn settle(&self) {
        let now = self.core.clock.now();
        let durable = self.journal.durable();
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        while let Some((ticket, letter)) = state.staged.front().copied() {
            if durable < Some(ticket) {
                break;
            }
            state.staged.pop_front();
            if state.window.set(letter.part, letter.event, Place::Settled) {
                state.cursor.totals.letters += 1;
            }
        }
        while let Some(followed) = state.window.pop_settled() {
            state.cursor.epoch = followed.epoch;
            state.cursor.upto = Some(followed.spot.sequence);
            state.cursor.chain = followed.chain;
            state.passed.events += followed.load.events;
            state.passed.bytes += followed.load.bytes;
            state.bytes_rate.note(now, followed.load.bytes);
            // Frames without events, as this very record makes one, are not worth a record.
            state.dirty |= 0 < followed.load.events;
        }
        if let Some(recording) = &state.recording
            && recording.given().is_some()
        {
            state.recording = None;
        }
        let due = RECORD_US <= now.since(state.recorded_at);
        if state.dirty && due && state.recording.is_none() {
            state.dirty = false;
            let dropped = self.journal.dropped();
            state.cursor.totals.dropped += dropped - state.dropped;
            state.dropped = dropped;
            state.recorded_at = now;
            state.recording = Some(self.journal.note_forwarded(state.cursor));
        }
    }
}

impl Forwarder {
    pub(super) fn drops_oldest(&self) -> bool {
        self.settings.overflow == Overflow::DropOldest
    }

    /// The event is gone before it could be sent again.
    pub(super) fn drop_event(&self, part: u32, event: u16) {
        let mut state = self.state.borrow_mut();
        if state.window.set(part, event, Place::Settled) {
            state.cursor.totals.dropped += 1;
        }
    }
}

impl State {
    fn bury(&mut self, (part, event): (u32, u16), why: Fault) {
        let waits = self.window.place(part, event) != Some(Place::Dead);
        if waits && self.window.set(part, event, Place::Dead) {
            self.letters.push_back(Letter { part, event, why });
        }
    }
}
