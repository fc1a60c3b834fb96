//! How far the journal's frames have been forwarded, as the chain records it, and what must stay because of it.
//!
//! Always:  the cursor only goes forward. What it has not passed is neither retired nor rewritten, unless the
//!          operator chose to drop the oldest; a watermark that follows the cursor in line is durable only
//!          after it.
//! Full:    when what is not forwarded takes all that the store may, nothing new is taken in, with that reason.

use super::super::disk::Disk;
use super::super::format::footer::IndexTopic;
use super::super::format::forwarded::{Forwarded, Totals};
use super::super::format::frame::SectionKind;
use super::super::wake::Receipt;
use super::{AppendError, Inner, Journal, Request};
use crate::unit::{Life, Micros, Sequence, Ticket, TopicId, TopicIndex};
use std::rc::Rc;
use std::sync::Arc;

/// What gives way when what is not forwarded takes all that the store may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// New events are refused, with that reason.
    Refuse,
    /// The oldest events go, and are counted.
    DropOldest,
}

/// Events and bytes of frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    pub events: u64,
    /// As they lie in the log.
    pub bytes: u64,
}

/// What a journal knows of its forwarder.
#[derive(Debug, Default)]
pub(super) struct Forwarding {
    /// The newest cursor, staged or recovered.
    pub(super) cursor: Option<Forwarded>,
    /// Where the follower reads next.
    pub(super) reads_at: Option<(Life, u64)>,
    /// What became durable since the start.
    pub(super) came: Load,
    /// Events that went before the follower read them, since the start.
    pub(super) dropped: u64,
    /// The open frame may take the reserve.
    pub(super) urgent: bool,
}

impl<D: Disk> Journal<D> {
    /// How far the journal was forwarded; from here on, where that was never done. To be called before the first
    /// event is taken in: then no event can be durable without it.
    pub fn begin_to_forward(&self) -> Forwarded {
        let mut inner = self.inner.borrow_mut();
        if let Some(cursor) = inner.forwarding.cursor {
            return cursor;
        }
        let last = inner.next_sequence.get() - 1;
        let cursor = Forwarded {
            store: inner.settings.store,
            identity: inner.settings.store,
            transacted: false,
            epoch: inner.epoch,
            upto: Sequence::new(last),
            chain: inner.chain,
            totals: Totals::default(),
        };
        inner.stage_cursor(cursor);
        drop(inner);
        self.bells.commit.ring();
        cursor
    }

    /// The newest cursor, recorded or about to be; `None` when the journal was never forwarded.
    pub fn forwarded(&self) -> Option<Forwarded> {
        self.inner.borrow().forwarding.cursor
    }

    /// Everything up to this cursor was delivered. The receipt says when that is recorded durably.
    pub fn note_forwarded(&self, cursor: Forwarded) -> Rc<Receipt> {
        let receipt = self.inner.borrow_mut().stage_cursor(cursor);
        self.bells.commit.ring();
        // What was kept for the forwarder may go now.
        self.bells.prepare.ring();
        receipt
    }

    /// As [`Journal::append`], for events without which the cursor cannot go on: they may take the reserve of a
    /// store that is full.
    pub fn append_reserved(
        &self,
        now: Micros,
        request: &Request<'_>,
    ) -> Result<Ticket, AppendError> {
        let mut inner = self.inner.borrow_mut();
        let inner = &mut *inner;
        if let Some(reason) = inner.refusal_to_change() {
            return Err(AppendError::Refused(reason));
        }
        let ticket = self.stage(inner, now, request)?;
        inner.forwarding.urgent = true;
        Ok(ticket)
    }

    /// The row and the name of a topic that is there.
    pub fn topic(&self, id: TopicId) -> Option<(TopicIndex, Arc<str>)> {
        let inner = self.inner.borrow();
        let topic = inner.topics.find(id)?;
        let lives = !inner.topics.is_deleted(topic);
        lives.then(|| (topic, inner.topics.name(topic).into()))
    }

    /// Whether a topic is there, and was not deleted.
    pub fn has_topic(&self, topic: TopicIndex) -> bool {
        let inner = self.inner.borrow();
        inner.topics.knows(topic) && !inner.topics.is_deleted(topic)
    }

    /// What became durable since the journal was started.
    pub fn came(&self) -> Load {
        self.inner.borrow().forwarding.came
    }

    /// Events that went before they were forwarded, since the journal was started.
    pub fn dropped(&self) -> u64 {
        self.inner.borrow().forwarding.dropped
    }

    /// The newest frame that is durable.
    pub fn last_durable(&self) -> Option<Sequence> {
        self.inner.borrow().durable
    }

    /// Counts what goes with the oldest segment though it was not forwarded.
    pub(super) async fn count_dropped(&self) {
        let oldest = {
            let inner = self.inner.borrow();
            let held = inner.oldest_waits() && !inner.holds_back();
            inner
                .sealed
                .front()
                .map(|oldest| oldest.life)
                .filter(|_| held)
        };
        let Some(life) = oldest else { return };
        let Ok(Some(index)) = self.sealed_index(life).await else {
            return;
        };
        let mut inner = self.inner.borrow_mut();
        let events = inner.forwarding.unread(life, &index.topics);
        inner.forwarding.dropped += events;
    }
}

impl Forwarding {
    pub(super) fn new(recovered: Option<Forwarded>) -> Self {
        Self {
            cursor: recovered,
            ..Self::default()
        }
    }

    /// How many events of this segment, the oldest one, the follower has not read.
    fn unread(&self, life: Life, index: &[IndexTopic]) -> u64 {
        let from = match self.reads_at {
            Some((at, position)) if at == life => position,
            _ => 0,
        };
        let places = index.iter().flat_map(|topic| &topic.places);
        let unread = places.filter(|place| from <= place.position);
        unread.map(|place| u64::from(place.records)).sum()
    }
}

impl<D: Disk> Inner<D> {
    fn stage_cursor(&mut self, cursor: Forwarded) -> Rc<Receipt> {
        debug_assert!(
            self.forwarding
                .cursor
                .is_none_or(|before| before.upto <= cursor.upto)
        );
        self.forwarding.cursor = Some(cursor);
        let mut contents = Vec::new();
        cursor.write(&mut contents);
        self.stage_system(SectionKind::CURSOR, contents)
    }

    /// What a segment's opening frame repeats, so that recovery need not look further back.
    pub(super) fn cursor_section(&self) -> Option<(SectionKind, Vec<u8>)> {
        let mut contents = Vec::new();
        self.forwarding.cursor?.write(&mut contents);
        Some((SectionKind::CURSOR, contents))
    }

    /// Whether a sealed segment holds what is not forwarded yet, in a journal that is forwarded.
    pub(super) fn waits(&self, at: usize) -> bool {
        if self.settings.keeping.spool.is_none() {
            return false;
        }
        let next = self.forwarding.cursor.map(|cursor| cursor.next());
        next.is_none() || next < self.opening_after(at).map(|after| after.first)
    }

    pub(super) fn oldest_waits(&self) -> bool {
        !self.sealed.is_empty() && self.waits(0)
    }

    /// Whether what is not forwarded stays whatever happens.
    pub(super) fn holds_back(&self) -> bool {
        self.settings.keeping.spool == Some(Overflow::Refuse)
    }

    /// Whether the oldest segment may not go because of the forwarder.
    pub(super) fn oldest_is_kept(&self) -> bool {
        self.oldest_waits() && self.holds_back()
    }

    /// On a full disk what is forwarded may go, whatever else is kept.
    pub(super) fn may_make_room(&self) -> bool {
        let forwards = self.settings.keeping.spool.is_some();
        forwards && self.full.is_some() && !self.sealed.is_empty() && !self.waits(0)
    }

    /// Says that the store holds as much as it may, and waits for the forwarder.
    pub(super) fn note_held_back(&mut self) {
        if self.full.is_none() {
            let journal = self.settings.journal.0;
            let reason: Arc<str> = format!(
                "the spool is full: journal {journal} holds all that log.retention_bytes allows, and waits for \
                 Kafka to take it"
            )
            .into();
            self.full = Some(reason);
        }
    }
}
