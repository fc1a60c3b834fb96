//! What of a topic is still alive: low watermarks, bounds, deletion.

use super::super::super::format::footer::Place;
use super::super::super::format::section::Tombstone;
use super::super::super::retention::Keep;
use super::Topics;
use crate::limit::TOMBSTONES_MAX;
use crate::unit::{Offset, Sequence, TopicId, TopicIndex};
use std::collections::BTreeMap;

impl Topics {
    /// The low watermark of a topic; `None` when nothing of it is alive.
    pub(in super::super) fn low_of(&self, id: TopicId) -> Option<Offset> {
        if let Some(topic) = self.find(id) {
            let row = self.row(topic);
            return (!row.deleted).then_some(row.low);
        }
        self.recovered.get(&id).map(|extent| extent.low)
    }

    /// What is kept of a topic; of one that no table names, everything.
    pub(in super::super) fn keep_of(&self, id: TopicId) -> Keep {
        self.find(id)
            .map_or(Keep::default(), |topic| self.row(topic).keep)
    }

    pub(in super::super) fn is_deleted(&self, topic: TopicIndex) -> bool {
        self.row(topic).deleted
    }

    /// Lets a topic vanish. What is staged of it goes on its way, unseen.
    pub(in super::super) fn bury(&mut self, id: TopicId) {
        self.recovered.remove(&id);
        if let Some(topic) = self.find(id) {
            let row = self.row_mut(topic);
            row.deleted = true;
            row.low = row.durable_next;
            row.ledger.cut(Offset(u64::MAX));
        }
        self.buried.entry(id).or_insert(None);
        self.cuts += 1;
    }

    /// Notes which deleted topics no frame from `next` on can hold anything of.
    pub(in super::super) fn close_graves(&mut self, next: Sequence) {
        let open: Vec<TopicId> = (self.buried.iter())
            .filter(|(_, clean_from)| clean_from.is_none())
            .map(|(id, _)| *id)
            .collect();
        for id in open {
            let staged = self.find(id).and_then(|topic| self.open_in(topic));
            if staged.is_none() {
                self.buried.insert(id, Some(next));
            }
        }
    }

    /// While so many deleted topics are remembered that the next deletions may be refused: segments are to say
    /// nothing of the older half of them, which are those that no frame from this sequence on holds anything of.
    pub(in super::super) fn crowd(&self) -> Option<Sequence> {
        if self.buried.len() <= TOMBSTONES_MAX / 2 {
            return None;
        }
        let mut closed: Vec<Sequence> = self.buried.values().flatten().copied().collect();
        let middle = closed.len().checked_sub(1)? / 2;
        Some(*closed.select_nth_unstable(middle).1)
    }

    pub(in super::super) fn tombstones(&self) -> Vec<Tombstone> {
        let row = |(topic, clean_from): (&TopicId, &Option<Sequence>)| Tombstone {
            topic: *topic,
            clean_from: *clean_from,
        };
        self.buried.iter().map(row).collect()
    }

    /// Counts a batch that was there at the start, in a segment that is not sealed.
    pub(in super::super) fn note_found(&mut self, id: TopicId, place: &Place) {
        if let Some(topic) = self.find(id) {
            let row = self.row_mut(topic);
            if let Some(bound) = row.keep.bytes
                && row.low < place.next()
            {
                row.ledger.note(place.next(), u64::from(place.bytes), bound);
            }
        }
    }

    /// Counts a batch that was there at the start, in a sealed segment; to be called in their order.
    pub(in super::super) fn note_before(&mut self, id: TopicId, place: &Place) {
        if let Some(topic) = self.find(id) {
            let row = self.row_mut(topic);
            if let Some(bound) = row.keep.bytes
                && row.low < place.next()
            {
                row.ledger
                    .note_before(place.next(), u64::from(place.bytes), bound);
            }
        }
    }

    /// Topics that hold more bytes than they may, each with the offset below which it should go.
    pub(in super::super) fn over_bytes(&mut self) -> Vec<(TopicId, Offset)> {
        let mut over = Vec::new();
        for row in self.rows.iter_mut().filter(|row| !row.deleted) {
            let low = row.keep.bytes.and_then(|bound| row.ledger.let_go(bound));
            over.extend(low.map(|low| (row.id, low)));
        }
        over
    }

    /// Notes what takes space and is dead, by topic.
    pub(in super::super) fn set_dead(&mut self, dead: &BTreeMap<TopicId, u64>) {
        for row in &mut self.rows {
            row.dead_bytes = dead.get(&row.id).copied().unwrap_or(0);
        }
    }

    pub(in super::super) fn dead_bytes(&self, topic: TopicIndex) -> u64 {
        self.row(topic).dead_bytes
    }
}
