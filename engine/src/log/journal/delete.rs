//! Deleting and truncating. What is deleted vanishes at once for who reads; what is truncated when that is
//! durable: a crash never brings back what a reader was told to be gone. Both are durable when the call returns.
//!
//! A deleted topic's id goes into a tombstone, which every later segment opens with until no segment can
//! hold anything of the topic. Frames behind the tombstone may still carry batches of it that were staged
//! before: they are passed over by whoever meets them.

use super::super::disk::Disk;
use super::super::format::batch::Batch;
use super::super::format::footer::Place;
use super::super::format::frame::SectionKind;
use super::super::format::section::{self, Tombstone};
use super::super::planted::{self, Planted};
use super::super::wake::Receipt;
use super::read::Run;
use super::{AppendError, Extent, Inner, Journal, ReadError, STOPPED, SystemFrame};
use crate::limit::TOMBSTONES_MAX;
use crate::unit::{Offset, TopicId, TopicIndex};
use std::rc::Rc;
use std::sync::Arc;

/// Why a topic was not truncated.
#[derive(Debug, thiserror::Error)]
pub enum TruncateError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{0}")]
    Refused(Arc<str>),
}

impl<D: Disk> Journal<D> {
    /// Lets topics vanish for good. Returns when that is durable; nothing of them is shown from the call on.
    /// Topics that the journal does not know are deleted all the same: they stay so.
    pub async fn delete(&self, topics: &[TopicId]) -> Result<(), AppendError> {
        if let Some(reason) = self.inner.borrow().keeping.shortage.clone() {
            return Err(AppendError::Refused(reason));
        }
        let receipt = self.bury(topics)?;
        self.durably(&receipt).await.map_err(AppendError::Refused)
    }

    /// As [`Journal::delete`], without waiting.
    pub fn bury(&self, topics: &[TopicId]) -> Result<Rc<Receipt>, AppendError> {
        let mut inner = self.inner.borrow_mut();
        let refused = |reason| Err(AppendError::Refused(reason));
        if let Some(reason) = inner.refusal_to_change() {
            return refused(reason);
        }
        if TOMBSTONES_MAX < inner.topics.buried.len() + topics.len() {
            return refused(TOO_MANY.into());
        }
        let row = |topic: &TopicId| Tombstone {
            topic: *topic,
            clean_from: None,
        };
        let rows: Vec<_> = topics.iter().map(row).collect();
        for topic in topics {
            inner.topics.bury(*topic);
        }
        let mut contents = Vec::new();
        section::write_tombstones(&rows, &mut contents);
        let receipt = inner.stage_system(SectionKind::TOMBSTONES, contents);
        drop(inner);
        self.bells.commit.ring();
        Ok(receipt)
    }

    /// Deleted topics that the journal remembers.
    pub fn buried(&self) -> Vec<TopicId> {
        self.inner.borrow().topics.buried.keys().copied().collect()
    }

    /// Forgets tombstones: nobody holds anything of these topics any more.
    pub fn release(&self, topics: &[TopicId]) {
        let buried = &mut self.inner.borrow_mut().topics.buried;
        buried.retain(|topic, _| !topics.contains(topic));
    }

    /// Lets the records of `topic` below `offset` go, and those that were received before `before_ms`
    /// (milliseconds since 1970). Returns the topic's readable range when that is durable.
    pub async fn truncate(
        &self,
        topic: TopicIndex,
        offset: Offset,
        before_ms: Option<i64>,
    ) -> Result<Extent, TruncateError> {
        let extent = self.extent(topic);
        let mut low = offset.min(extent.next);
        if let Some(before_ms) = before_ms
            && extent.low < extent.next
        {
            low = low.max(self.offset_at(topic, before_ms).await?);
        }
        let (receipt, low) = {
            let mut inner = self.inner.borrow_mut();
            let shortage = inner.keeping.shortage.clone();
            if let Some(reason) = inner.refusal_to_change().or(shortage) {
                return Err(TruncateError::Refused(reason));
            }
            let id = inner.topics.id(topic);
            let before = inner.topics.low(topic);
            inner.topics.cuts += u64::from(before < low);
            // Where it begins already, what says so may still be on its way, but before this frame.
            let rows = (before < low).then_some((id, low));
            let receipt = inner.stage_low_watermarks(rows.as_slice());
            (receipt, inner.topics.low(topic))
        };
        self.bells.commit.ring();
        if !planted::is(Planted::TruncateEarly) {
            let durable = self.durably(&receipt).await;
            durable.map_err(TruncateError::Refused)?;
        }
        // What was meant, although it may begin later by now.
        Ok(Extent {
            low,
            ..self.extent(topic)
        })
    }

    /// Waits for a frame of the log's own; the error is why it will never be durable.
    async fn durably(&self, receipt: &Receipt) -> Result<(), Arc<str>> {
        if receipt.wait().await {
            return Ok(());
        }
        Err(self.fault().unwrap_or_else(|| STOPPED.into()))
    }

    /// The first offset of the topic whose record was received at `before_ms` or later; its end if none was.
    async fn offset_at(&self, topic: TopicIndex, before_ms: i64) -> Result<Offset, ReadError> {
        let mut passed = Offset(0);
        loop {
            let (extent, swaps) = (self.extent(topic), self.swaps());
            let after = self.place_before(topic, before_ms).await?;
            if self.swaps() != swaps {
                // A segment that was rewritten meanwhile may have been passed over.
                continue;
            }
            let at = after
                .map_or(extent.low, |place| place.next())
                .max(extent.low.max(passed));
            let at = self.after_losses(topic, at);
            if extent.next <= at {
                return Ok(extent.next);
            }
            // The batch that the time falls into is kept from its first record on that is not older.
            let found = self.find(topic, at).await?;
            let Some(source) = found.and_then(Run::first) else {
                let went = || at < self.extent(topic).low || self.swaps() != swaps;
                if went() {
                    continue;
                }
                match self.behind_hole(topic, at).await? {
                    _ if went() => {}
                    Some(next) => passed = next,
                    None => return Err(ReadError::Damaged(at)),
                }
                continue;
            };
            let next = source.place.next();
            let Some(bytes) = self.fetch(&source).await? else {
                if at < self.extent(topic).low || !self.holds(source.life) {
                    continue;
                }
                return Err(ReadError::Damaged(at));
            };
            let batch = Batch::check(&bytes).map_err(|_| ReadError::Damaged(at))?;
            let young = batch.records().find(|one| before_ms <= one.timestamp_ms);
            return Ok(young.map_or(next, |record| record.offset).max(at));
        }
    }

    /// The last batch of the topic whose records are all older than `before_ms`. Goes back from the newest
    /// segment to the first that holds one, for times never go back within a journal.
    async fn place_before(
        &self,
        topic: TopicIndex,
        before_ms: i64,
    ) -> Result<Option<Place>, ReadError> {
        let last = |places: &[Place]| {
            let older = places.partition_point(|place| place.newest_ms < before_ms);
            older.checked_sub(1).and_then(|at| places.get(at)).copied()
        };
        let (id, lives) = {
            let inner = self.inner.borrow();
            let id = inner.topics.id(topic);
            for open in inner.open.iter().chain(inner.closing.iter().rev()) {
                let place = open.index.get(&id).and_then(|places| last(places));
                if place.is_some() {
                    return Ok(place);
                }
            }
            let lives = inner.sealed.iter().rev().map(|sealed| sealed.life);
            (id, lives.collect::<Vec<_>>())
        };
        for life in lives {
            let place = last(&self.places_in(life, id).await?);
            if place.is_some() {
                return Ok(place);
            }
        }
        Ok(None)
    }
}

impl<D: Disk> Inner<D> {
    /// Why nothing can be changed. A full disk is no reason: this is how room is made.
    pub(super) fn refusal_to_change(&self) -> Option<Arc<str>> {
        let stopped = || self.stopping.then(|| STOPPED.into());
        self.fault.clone().or_else(stopped)
    }

    /// Puts a section of the log's own in line to be committed.
    pub(super) fn stage_system(&mut self, kind: SectionKind, contents: Vec<u8>) -> Rc<Receipt> {
        let receipt = Rc::new(Receipt::default());
        self.system.push_back(SystemFrame {
            sections: vec![(kind, contents)],
            receipt: Some(receipt.clone()),
            ..SystemFrame::default()
        });
        receipt
    }
}

const TOO_MANY: &str =
    "too many deleted topics still take space in the log: try again when it has come back";
