//! What the thread of transactions has said: cursors to record, dead letters to keep.

use super::super::letters::append;
use super::Exactly;
use super::mail::{Command, Committed, Letter, Word};
use crate::shard::clock::Clock as _;
use crate::unit::{Micros, Ticket, TopicIndex};
use std::collections::BTreeSet;

/// The cursor is recorded at most so often.
const RECORD_US: u64 = 200_000;
/// Letters that are written before other tasks may go first.
const LETTERS_AT_ONCE: usize = 64;

impl Exactly {
    /// Takes what the thread has said; why nothing more is forwarded, if it said so.
    pub(super) fn take_words(&self) -> Result<(), String> {
        while let Ok(word) = self.words.try_recv() {
            match word {
                Word::Ready(ready) => self.state.borrow_mut().ready = Some(ready),
                Word::Committed(committed) => self.take_committed(&committed),
                Word::Letters(letters) => {
                    let mut state = self.state.borrow_mut();
                    state.letters_wanted = true;
                    state
                        .letters
                        .extend(letters.into_iter().map(|(source, lengths)| Letter {
                            source: source.into(),
                            lengths: lengths.into(),
                        }));
                }
                Word::Statistics(text) => self.core.work.borrow_mut().probe.kafka = Some(text),
                Word::Stopped(why) => return Err(why),
                Word::Ended => self.alone.set(true),
            }
        }
        Ok(())
    }

    fn take_committed(&self, committed: &Committed) {
        let now = self.core.clock.now();
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        for (_, load, events) in state.under_way.drain(..committed.parcels) {
            state.bytes -= load.bytes;
            state.events -= events;
        }
        // What the log counts as dropped only it knows.
        let dropped = state.cursor.totals.dropped;
        state.cursor = committed.cursor;
        state.cursor.totals.dropped = dropped;
        state.passed.events += committed.load.events;
        state.passed.bytes += committed.load.bytes;
        state.repeated += committed.repeated;
        state.whole += committed.whole;
        state.rate.note(now, committed.delivered);
        state.bytes_rate.note(now, committed.load.bytes);
        state.dirty = true;
    }

    /// A topic has its time to be there once more.
    pub(in crate::shard::forward) fn renew(&self, topic: TopicIndex) {
        self.state.borrow_mut().renewed.insert(topic);
    }

    /// Goes before the frames that have events of these topics.
    pub(super) fn tell_renewed(&self, renewed: &mut BTreeSet<TopicIndex>) {
        if !renewed.is_empty() {
            let all = std::mem::take(renewed);
            let sent = self.commands.try_send(Command::Renew(all));
            debug_assert!(sent.is_ok() || self.alone.get(), "room is kept for it");
        }
    }

    /// Has the cursor recorded now and then, and tells the thread when its letters are durable.
    pub(super) fn settle(&self) {
        let now = self.core.clock.now();
        let durable = self.journal.durable();
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        while state
            .staged
            .front()
            .is_some_and(|(ticket, _)| Some(*ticket) <= durable)
        {
            state.staged.pop_front();
        }
        let all = state.letters.is_empty() && state.staged.is_empty();
        if state.letters_wanted && all {
            // There is room for it, for there is one at a time.
            state.letters_wanted = self.commands.try_send(Command::LettersDurable).is_err();
        }
        if let Some(recording) = &state.recording
            && recording.given().is_some()
        {
            state.recording = None;
        }
        let due = RECORD_US <= now.since(state.recorded_at);
        // The log's cursor goes forward only; Kafka's may have gone back.
        let is_news = self
            .journal
            .forwarded()
            .is_none_or(|known| known.upto <= state.cursor.upto);
        if state.dirty && due && is_news && state.recording.is_none() {
            state.dirty = false;
            let dropped = self.journal.dropped();
            state.cursor.totals.dropped += dropped - state.dropped;
            state.dropped = dropped;
            state.recorded_at = now;
            state.recording = Some(self.journal.note_forwarded(state.cursor));
        }
    }

    /// Records the cursor a last time, and waits until that is durable.
    pub(super) async fn record_last(&self) {
        let before = self.state.borrow().recording.clone();
        if let Some(receipt) = before {
            receipt.wait().await;
        }
        self.state.borrow_mut().recorded_at = Micros(0);
        self.settle();
        let last = self.state.borrow().recording.clone();
        if let Some(receipt) = last {
            receipt.wait().await;
        }
    }

    /// Appends letters to the journal; `false` when there is none, or no room for one just now.
    pub(super) fn write_letters(&self) -> bool {
        let topic = self.core.table.borrow().find(&self.settings.letters);
        let Some(topic) = topic.filter(|topic| self.journal.knows(*topic)) else {
            return false;
        };
        let mut worked = false;
        for _ in 0..LETTERS_AT_ONCE {
            let letter = self.state.borrow_mut().letters.pop_front();
            let Some(letter) = letter else { break };
            let at = (self.id, &self.journal);
            let ticket = append(&self.core, at, topic, (&letter.source, &letter.lengths));
            let mut state = self.state.borrow_mut();
            let Some(ticket) = ticket else {
                state.letters.push_front(letter);
                break;
            };
            state.staged.push_back((ticket, letter));
            worked = true;
        }
        worked
    }

    /// Commits up to this ticket were discarded: dead letters in them are written again.
    pub(in crate::shard) fn discarded(&self, upto: Ticket) {
        self.retrier.discarded(upto);
        let durable = self.journal.durable();
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let lost = |(ticket, _): &(Ticket, Letter)| durable < Some(*ticket) && *ticket <= upto;
        let (lost, kept): (Vec<_>, Vec<_>) = state.staged.drain(..).partition(lost);
        state.staged.extend(kept);
        for (_, letter) in lost.into_iter().rev() {
            state.letters.push_front(letter);
        }
    }
}
