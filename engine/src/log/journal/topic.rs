//! What a journal knows of each topic: how far its offsets have come, staged and durable.
//!
//! Layout:  what of it is alive is in [`life`].
//! Always:  durable_low <= low <= durable_next <= next. Of a deleted topic everything durable is below low.

mod life;

use super::super::format::footer::Place;
use super::super::format::section::CheckpointRow;
use super::super::retention::{Keep, Rules};
use super::ledger::Ledger;
use crate::unit::{Life, Offset, Sequence, TopicId, TopicIndex};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// What recovery found of one topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    pub low: Offset,
    pub next: Offset,
    pub newest_ms: i64,
}

#[derive(Debug)]
struct Topic {
    id: TopicId,
    name: Arc<str>,
    low: Offset,
    /// What is shown: the frame that says so is durable.
    durable_low: Offset,
    next: Offset,
    durable_next: Offset,
    newest_ms: i64,
    /// The latest batch in the open frame.
    open: Option<OpenIn>,
    /// The segment life in which this journal has defined the topic's name.
    defined: Option<Life>,
    keep: Keep,
    /// Kept while `keep` bounds the bytes.
    ledger: Ledger,
    deleted: bool,
    /// Bytes below the low watermark that still take space, as of the last look at all segments.
    dead_bytes: u64,
}

/// Where a topic's records go in the frame of this number.
#[derive(Clone, Copy, Debug)]
struct OpenIn {
    frame: u64,
    batch: u32,
    /// The offset of the topic's first record in that frame.
    first: Offset,
}

/// The topics of one journal, by their row in the topic table.
#[derive(Debug, Default)]
pub(super) struct Topics {
    rows: Vec<Topic>,
    by_id: HashMap<TopicId, TopicIndex>,
    /// What recovery found of topics that no table has named yet.
    /// Ordered, for their order reaches the disk.
    recovered: BTreeMap<TopicId, Extent>,
    /// Deleted topics of which segments may still hold something. No frame from the sequence on does; `None`
    /// while frames that do may still come.
    pub(super) buried: BTreeMap<TopicId, Option<Sequence>>,
    /// Counts the times that space became dead, but for age: a look at the segments is due.
    pub(super) cuts: u64,
    rules: Rules,
    /// Counts the frames, so that open batches of older frames are seen as closed.
    frame: u64,
    life: Life,
}

impl Topics {
    pub(super) fn new(
        recovered: HashMap<TopicId, Extent>,
        buried: BTreeMap<TopicId, Option<Sequence>>,
        rules: Rules,
    ) -> Self {
        Self {
            recovered: recovered.into_iter().collect(),
            buried,
            rules,
            ..Self::default()
        }
    }

    /// Takes the topics of the table; those known already come first, in the same order.
    pub(super) fn learn(&mut self, table: impl Iterator<Item = (TopicId, Arc<str>)>) {
        let known = self.rows.len();
        self.learn_more(table.skip(known));
    }

    /// Takes topics that are new.
    pub(super) fn learn_more(&mut self, topics: impl Iterator<Item = (TopicId, Arc<str>)>) {
        for (id, name) in topics {
            let extent = self.recovered.remove(&id).unwrap_or_default();
            self.by_id.insert(id, TopicIndex(self.rows.len() as u32));
            self.rows.push(Topic {
                id,
                keep: self.rules.of(&name),
                name,
                low: extent.low,
                durable_low: extent.low,
                next: extent.next,
                durable_next: extent.next,
                newest_ms: extent.newest_ms,
                open: None,
                defined: None,
                ledger: Ledger::default(),
                deleted: self.buried.contains_key(&id),
                dead_bytes: 0,
            });
        }
    }

    /// Topics that have never had a record here, as far as is known, begin at `floor`: before it, offsets may
    /// have been in use that are lost.
    pub(super) fn begin_at(&mut self, floor: Offset) {
        for row in self.rows.iter_mut().filter(|row| row.next == Offset(0)) {
            (row.low, row.durable_low) = (floor, floor);
            (row.next, row.durable_next) = (floor, floor);
        }
    }

    /// Topics that the journal has events of and no table names: the catalogue has lost them.
    pub(super) fn unnamed(&self) -> impl Iterator<Item = TopicId> + '_ {
        self.recovered.keys().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    fn row(&self, topic: TopicIndex) -> &Topic {
        &self.rows[topic.0 as usize]
    }

    fn row_mut(&mut self, topic: TopicIndex) -> &mut Topic {
        &mut self.rows[topic.0 as usize]
    }

    pub(super) fn knows(&self, topic: TopicIndex) -> bool {
        (topic.0 as usize) < self.rows.len()
    }

    pub(super) fn find(&self, id: TopicId) -> Option<TopicIndex> {
        self.by_id.get(&id).copied()
    }

    pub(super) fn id(&self, topic: TopicIndex) -> TopicId {
        self.row(topic).id
    }

    pub(super) fn name(&self, topic: TopicIndex) -> &str {
        &self.row(topic).name
    }

    /// What the next staged record of the topic will get.
    pub(super) fn next(&self, topic: TopicIndex) -> Offset {
        self.row(topic).next
    }

    /// Below it everything goes, durably or soon.
    pub(super) fn low(&self, topic: TopicIndex) -> Offset {
        self.row(topic).low
    }

    pub(super) fn durable(&self, topic: TopicIndex) -> Extent {
        let row = self.row(topic);
        Extent {
            low: if row.deleted {
                row.low
            } else {
                row.durable_low
            },
            next: row.durable_next,
            newest_ms: row.newest_ms,
        }
    }

    pub(super) fn take_offsets(&mut self, topic: TopicIndex, records: u64, now_ms: i64) {
        let row = self.row_mut(topic);
        row.next.0 += records;
        row.newest_ms = row.newest_ms.max(now_ms);
    }

    /// The batch at `place`, and everything before it, is durable.
    pub(super) fn settle(&mut self, topic: TopicIndex, place: &Place) {
        let (row, next) = (self.row_mut(topic), place.next());
        assert!(row.durable_next <= next);
        assert!(next <= row.next);
        row.durable_next = next;
        if row.deleted {
            row.low = next;
        } else if let Some(bound) = row.keep.bytes {
            row.ledger.note(next, u64::from(place.bytes), bound);
        }
    }

    /// Everything below `low` goes; what a checkpoint says of the topic then. `low` comes from a disk, so it
    /// is only a claim.
    pub(super) fn raise_low(&mut self, id: TopicId, low: Offset) -> Option<CheckpointRow> {
        let extent = if let Some(topic) = self.find(id) {
            let row = self.row_mut(topic);
            row.low = row.low.max(low.min(row.durable_next));
            row.ledger.cut(row.low);
            self.committed(topic)?
        } else {
            let extent = self.recovered.get_mut(&id)?;
            extent.low = extent.low.max(low.min(extent.next));
            *extent
        };
        Some(CheckpointRow {
            topic: id,
            low: extent.low,
            next: extent.next,
            newest_ms: extent.newest_ms,
        })
    }

    /// A checkpoint that says that everything below `low` goes is durable.
    pub(super) fn show_low(&mut self, id: TopicId, low: Offset) {
        if let Some(topic) = self.find(id) {
            let row = self.row_mut(topic);
            row.durable_low = row.durable_low.max(low.min(row.low));
        }
    }

    /// Takes back offsets that were staged and will never be committed.
    pub(super) fn give_back(&mut self, topic: TopicIndex, next: Offset) {
        let row = self.row_mut(topic);
        assert!(row.durable_next <= next);
        assert!(next <= row.next);
        row.next = next;
    }

    fn open_in(&self, topic: TopicIndex) -> Option<OpenIn> {
        self.row(topic).open.filter(|open| open.frame == self.frame)
    }

    pub(super) fn open_batch(&self, topic: TopicIndex) -> Option<usize> {
        self.open_in(topic).map(|open| open.batch as usize)
    }

    pub(super) fn set_open_batch(&mut self, topic: TopicIndex, batch: usize) {
        let first = self
            .open_in(topic)
            .map_or(self.next(topic), |open| open.first);
        let open = OpenIn {
            frame: self.frame,
            batch: batch as u32,
            first,
        };
        self.row_mut(topic).open = Some(open);
    }

    /// The open frame has closed; its batches are closed with it.
    pub(super) fn next_frame(&mut self) {
        self.frame += 1;
    }

    pub(super) fn is_defined(&self, topic: TopicIndex) -> bool {
        self.row(topic).defined == Some(self.life)
    }

    /// Notes that the segment in use defines the topic; `true` when it did not before.
    pub(super) fn define(&mut self, topic: TopicIndex) -> bool {
        let life = self.life;
        self.row_mut(topic).defined.replace(life) != Some(life)
    }

    /// Another segment is in use, which defines nothing yet.
    pub(super) fn enter_segment(&mut self, life: Life) {
        self.life = life;
    }

    pub(super) fn indices(&self) -> impl Iterator<Item = TopicIndex> + use<> {
        (0..self.rows.len() as u32).map(TopicIndex)
    }

    /// The topic as the frames that are closed leave it; `None` when they hold no record of it.
    pub(super) fn committed(&self, topic: TopicIndex) -> Option<Extent> {
        let row = self.row(topic);
        let next = self.open_in(topic).map_or(row.next, |open| open.first);
        let extent = Extent {
            low: row.low,
            next,
            newest_ms: row.newest_ms,
        };
        (next != Offset(0) && !row.deleted).then_some(extent)
    }

    /// Recovered topics that no table names: their offsets must not be forgotten.
    pub(super) fn unnamed_rows(&self) -> impl Iterator<Item = CheckpointRow> + '_ {
        self.recovered.iter().map(|(topic, extent)| CheckpointRow {
            topic: *topic,
            low: extent.low,
            next: extent.next,
            newest_ms: extent.newest_ms,
        })
    }

    /// Notes what the segment in use defines already.
    pub(super) fn define_all(&mut self, defined: &[TopicId]) {
        let defined: HashSet<_> = defined.iter().collect();
        let life = self.life;
        for topic in &mut self.rows {
            if defined.contains(&topic.id) {
                topic.defined = Some(life);
            }
        }
    }
}
