//! Reading records back: from memory at the tail, by direct reads of what the indexes name below it.
//!
//! Always:  only what lies between the low watermark and the durable mark is handed out, and only after
//!          its checksum was found right. A reader never blocks the writer: what readers have on its way from
//!          the disk is bounded for all of them together, and what they read in a second while frames are
//!          committed; they let other tasks go first now and then.
//! Full:    what is kept of frames, indexes and bytes read ahead has a bound each (`limit`).

mod hole;
mod locate;
mod share;
mod shelf;
mod stretch;

use super::super::disk::Disk;
use super::super::format::batch::Batch;
use super::super::format::footer::{Index, Place};
use super::super::planted::{self, Planted};
use super::super::wake::yield_now;
use super::super::walk::read_whole;
use super::Journal;
use crate::limit::{
    AHEAD_BYTES_KEPT, BLOCK_BYTES, INDEX_BYTES_KEPT, PLACES_AT_ONCE, READERS_KNOWN,
    START_BYTES_KEPT,
};
use crate::unit::{Life, Micros, Offset, Sequence, TopicId, TopicIndex};
pub(super) use locate::SealedIndex;
use share::Share;
pub use share::Sleep;
use shelf::Shelf;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use stretch::Stretch;

/// Other tasks go first when a reader has taken this much.
const YIELD_BYTES: usize = 32 << 10;

/// One record, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRecord {
    pub offset: Offset,
    pub timestamp_ms: i64,
    pub value: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Ask again from `low` on.
    #[error("the records before offset {} are gone", low.0)]
    Gone { low: Offset },
    /// Ask again from `next` on: what was before it is lost, and recorded as such.
    #[error("the records before offset {} are lost", next.0)]
    Lost { next: Offset },
    #[error("could not read the journal: {0}")]
    Disk(#[from] io::Error),
    /// Nothing damaged is served.
    #[error("the record batch at offset {} is damaged on disk", .0.0)]
    Damaged(Offset),
}

/// Where a batch lies: its file, and what is expected there.
pub(super) struct Source<F> {
    file: Rc<F>,
    pub(super) life: Life,
    pub(super) place: Place,
}

/// Batches of one topic in one segment, in order; the first holds the offset that was asked for.
pub(super) struct Run<F> {
    topic: TopicIndex,
    file: Rc<F>,
    life: Life,
    places: Vec<Place>,
}

impl<F> Run<F> {
    /// The batch that holds the offset that was asked for.
    pub(super) fn first(self) -> Option<Source<F>> {
        let place = self.places.first().copied()?;
        Some(Source {
            file: self.file,
            life: self.life,
            place,
        })
    }
}

/// A topic's places in one sealed segment.
#[derive(Clone)]
struct Rows {
    life: Life,
    /// The segment's first sequence.
    first: Sequence,
    places: Rc<Vec<Place>>,
}

/// What readers of one journal leave for the next one.
pub(super) struct Reading<D: Disk> {
    indexes: Shelf<Life, Rc<Index>>,
    /// By topic and the first offset of the rows.
    rows: Shelf<(TopicId, Offset), Rows>,
    /// By topic and the segment's first sequence: the first offset that can lie there.
    starts: Shelf<(TopicId, Sequence), Offset>,
    stretches: Shelf<(Life, u64), Rc<D::Buffer>>,
    /// Where readers have ended.
    ends: VecDeque<(TopicIndex, Offset)>,
    /// When the last frame was given to the disk.
    written: Option<Micros>,
    share: Share,
}

impl<D: Disk> Reading<D> {
    pub(super) fn new() -> Self {
        Self {
            indexes: Shelf::new(INDEX_BYTES_KEPT),
            rows: Shelf::new(INDEX_BYTES_KEPT),
            starts: Shelf::new(START_BYTES_KEPT),
            stretches: Shelf::new(AHEAD_BYTES_KEPT),
            ends: VecDeque::new(),
            written: None,
            share: Share::default(),
        }
    }

    /// Keeps the index of a segment that is being sealed, unless it would take the place of most others.
    pub(super) fn keep_index(&mut self, life: Life, bytes: &[u8]) {
        if bytes.len() <= INDEX_BYTES_KEPT / 4
            && let Ok(index) = Index::check(bytes.to_vec())
        {
            self.indexes.put(life, Rc::new(index), bytes.len());
        }
    }

    /// Whether somebody has ended where this reader begins.
    fn goes_on(&mut self, topic: TopicIndex, offset: Offset) -> bool {
        let known = self.ends.iter().position(|end| *end == (topic, offset));
        known.is_some_and(|at| self.ends.remove(at).is_some())
    }

    fn note_end(&mut self, topic: TopicIndex, offset: Offset) {
        if self.ends.len() == READERS_KNOWN {
            self.ends.pop_front();
        }
        self.ends.push_back((topic, offset));
    }
}

/// What one read hands out.
struct Page {
    records: Vec<ReadRecord>,
    records_max: usize,
    bytes: usize,
    bytes_max: usize,
    /// The offset that comes next.
    next: Offset,
}

impl Page {
    fn has_room(&self) -> bool {
        self.records.len() < self.records_max && self.bytes < self.bytes_max
    }

    /// Takes what there is room for of a batch that holds the next offset.
    fn take(&mut self, batch: &Batch<'_>) {
        let next = self.next;
        for record in batch.records().filter(|record| next <= record.offset) {
            if !self.has_room() {
                break;
            }
            self.bytes += record.value.len();
            self.next = Offset(record.offset.0 + 1);
            self.records.push(ReadRecord {
                offset: record.offset,
                timestamp_ms: record.timestamp_ms,
                value: record.value.to_vec(),
            });
        }
    }
}

impl<D: Disk> Journal<D> {
    /// Up to `records_max` records of `topic` from `offset` on, in order, of about `bytes_max` in all; none
    /// at the end of the topic.
    pub async fn read(
        &self,
        topic: TopicIndex,
        offset: Offset,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<ReadRecord>, ReadError> {
        let mut page = Page {
            records: Vec::new(),
            records_max,
            bytes: 0,
            bytes_max,
            next: offset,
        };
        let goes_on = self.inner.borrow_mut().reading.goes_on(topic, offset);
        while page.has_room() {
            let extent = self.extent(topic);
            if page.next < extent.low {
                return Err(ReadError::Gone { low: extent.low });
            }
            if extent.next <= page.next {
                self.want_tail();
                break;
            }
            let after = self.after_losses(topic, page.next);
            if after != page.next {
                if page.records.is_empty() {
                    return Err(ReadError::Lost { next: after });
                }
                break;
            }
            let swaps = self.swaps();
            let found = match self.find(topic, page.next).await? {
                Some(run) => self.read_run(&run, &mut page, goes_on).await?,
                None => false,
            };
            // Its segment may have gone to another use while it was read, or have been rewritten.
            let went = || self.swaps() != swaps || page.next < self.extent(topic).low;
            if found || went() {
                continue;
            }
            let behind = self.behind_hole(topic, page.next).await?;
            match behind {
                _ if went() => {}
                None => return Err(ReadError::Damaged(page.next)),
                Some(next) if page.records.is_empty() => return Err(ReadError::Lost { next }),
                Some(_) => break,
            }
        }
        self.inner.borrow_mut().reading.note_end(topic, page.next);
        Ok(page.records)
    }

    /// The first offset from `offset` on that is not among the lost.
    pub(super) fn after_losses(&self, topic: TopicIndex, offset: Offset) -> Offset {
        let inner = self.inner.borrow();
        inner.losses.after(inner.topics.id(topic), offset)
    }

    /// Whoever has read to the end wants to read on from memory.
    fn want_tail(&self) {
        let mut inner = self.inner.borrow_mut();
        let now = (inner.clock)();
        inner.tail.want(now);
    }

    /// Reads batches of a run while they follow on each other and there is room; `false` when the next one
    /// is not what the index says, or its segment has gone to another use.
    async fn read_run(
        &self,
        run: &Run<D::File>,
        page: &mut Page,
        goes_on: bool,
    ) -> Result<bool, ReadError> {
        let mut held: Vec<Stretch<D>> = Vec::new();
        let mut yielded_at = page.bytes;
        // One reader at a time works, so that a commit waits behind one of them and not behind all.
        let mut turn = None;
        for (at, place) in run.places.iter().enumerate() {
            let follows = place.base_offset <= page.next && page.next < place.next();
            let is_lost = self.after_losses(run.topic, page.next) != page.next;
            if !page.has_room() || !follows || page.next < self.extent(run.topic).low || is_lost {
                break;
            }
            if turn.is_none() {
                turn = Some(self.bells.turn.enter(1).await);
            }
            let kept = self.take_kept(run.life, place, page);
            if !kept && !stretch::covers(&held, place) {
                drop(turn.take());
                let plan = stretch::plan(&run.places[at..], page, goes_on, self.width());
                held = self.read_stretches(run, plan).await;
                turn = Some(self.bells.turn.enter(1).await);
            }
            if !kept && !stretch::take(&held, place, page) {
                drop(turn.take());
                if !self.read_alone(run, place, page).await? {
                    return Ok(false);
                }
            }
            if YIELD_BYTES <= page.bytes - yielded_at {
                yielded_at = page.bytes;
                drop(turn.take());
                yield_now().await;
            }
        }
        // A batch that was handed out in part is wanted again.
        let rest = run.places.iter().find(|place| page.next < place.next());
        if let Some(place) = rest {
            self.keep_ahead(run.life, held, place);
        }
        Ok(true)
    }

    /// Takes a batch that is in memory.
    fn take_kept(&self, life: Life, place: &Place, page: &mut Page) -> bool {
        let inner = &mut *self.inner.borrow_mut();
        let recent = inner.tail.batch(life, place);
        if let Some(batch) = recent.and_then(|bytes| expected(bytes, place)) {
            page.take(&batch);
            return true;
        }
        let start = stretch::blocks(place).start;
        let Some(((of, start), bytes)) = inner.reading.stretches.at_or_before(&(life, start))
        else {
            return false;
        };
        let stretch: Stretch<D> = Stretch { start, bytes };
        let batch = stretch.batch(place).filter(|_| of == life);
        batch.inspect(|batch| page.take(batch)).is_some()
    }

    /// Takes a batch that did not come with its neighbours as it should.
    async fn read_alone(
        &self,
        run: &Run<D::File>,
        place: &Place,
        page: &mut Page,
    ) -> io::Result<bool> {
        let source = Source {
            file: run.file.clone(),
            life: run.life,
            place: *place,
        };
        let Some(bytes) = self.fetch(&source).await? else {
            return Ok(false);
        };
        let batch = expected(&bytes, place);
        Ok(batch.inspect(|batch| page.take(batch)).is_some())
    }

    /// Whether the use of a file that this life names goes on.
    pub(super) fn holds(&self, life: Life) -> bool {
        let inner = self.inner.borrow();
        let mut open = inner.closing.iter().chain(&inner.open);
        inner.sealed.iter().any(|sealed| sealed.life == life) || open.any(|open| open.life == life)
    }

    /// The bytes of a batch, from the first copy that is right; `None` when none is, or its segment has gone to
    /// another use while it was read.
    pub(super) async fn fetch(&self, source: &Source<D::File>) -> io::Result<Option<Vec<u8>>> {
        let disk = self.inner.borrow().disk.clone();
        let place = &source.place;
        let start = place.position / BLOCK_BYTES * BLOCK_BYTES;
        let end = (place.position + u64::from(place.bytes)).next_multiple_of(BLOCK_BYTES);
        let length = (end - start) as usize;
        let read = read_whole(&disk, &source.file, start, length).await;
        if !self.holds(source.life) {
            return Ok(None);
        }
        let batch = read.as_ref().ok();
        let batch = batch.and_then(|read| batch_in(start, read.as_ref(), place));
        if let Some(batch) = batch {
            return Ok(Some(batch.to_vec()));
        }
        for copy in 0..disk.copies() {
            let other = disk.read_copy(copy, &source.file, start, length).await;
            if !self.holds(source.life) {
                return Ok(None);
            }
            let other = other.as_ref().ok();
            if let Some(batch) = other.and_then(|other| batch_in(start, other.as_ref(), place)) {
                self.inner.borrow_mut().scrubbing.suspect(source.life);
                return Ok(Some(batch.to_vec()));
            }
        }
        read.map(|_| None)
    }
}

/// The batch at `place` in `bytes`, which begin at `start`; `None` when it is not what it should be.
fn batch_in<'a>(start: u64, bytes: &'a [u8], place: &Place) -> Option<&'a [u8]> {
    let skip = (place.position - start) as usize;
    let bytes = bytes.get(skip..skip + place.bytes as usize)?;
    expected(bytes, place).map(|_| bytes)
}

/// The batch, if it is whole and the one that the index names.
fn expected<'a>(bytes: &'a [u8], place: &Place) -> Option<Batch<'a>> {
    let batch = Batch::check(bytes).ok()?;
    let header = batch.header();
    let is_it = header.base_offset == place.base_offset && header.records == place.records;
    is_it.then_some(batch)
}

/// From the place that holds `offset` on, as many as are looked at at once; none when there is none.
fn places_from(places: &[Place], offset: Offset) -> Option<Vec<Place>> {
    let after = if planted::is(Planted::IndexOffByOne) {
        places.partition_point(|place| place.base_offset < offset)
    } else {
        places.partition_point(|place| place.base_offset <= offset)
    };
    let first = after.checked_sub(1)?;
    let holds = offset < places.get(first)?.next();
    holds.then(|| {
        places[first..]
            .iter()
            .take(PLACES_AT_ONCE)
            .copied()
            .collect()
    })
}
