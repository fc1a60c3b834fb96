//! Reading records back: the index says where their batches lie, direct reads fetch them.
//!
//! Always:  only what lies between the low watermark and the durable mark is handed out, and only after
//!          its checksum was found right. A reader never blocks the writer.

use super::super::disk::Disk;
use super::super::format::batch::Batch;
use super::super::format::footer::{IndexTopic, Place};
use super::super::format::frame::FrameHeader;
use super::super::format::loss;
use super::super::format::section::Frame;
use super::super::format::segment::HEADER_BYTES;
use super::super::planted::{self, Planted};
use super::super::walk::{Window, read_whole};
use super::segment::read_index;
use super::{Journal, Settings};
use crate::limit::BLOCK_BYTES;
use crate::unit::{Life, Offset, Sequence, TopicId, TopicIndex};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

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
struct Source<F> {
    file: Rc<F>,
    life: Life,
    place: Place,
}

/// A sealed segment and where the batches of its topics lie.
pub(super) struct Indexed<F> {
    pub(super) file: Rc<F>,
    pub(super) index: Rc<Vec<IndexTopic>>,
    /// Nothing was damaged on the way.
    pub(super) whole: bool,
}

impl<F> Indexed<F> {
    fn new(file: Rc<F>, index: Rc<Vec<IndexTopic>>, whole: bool) -> Self {
        Self { file, index, whole }
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
        let (mut records, mut bytes, mut next) = (Vec::new(), 0, offset);
        while records.len() < records_max && bytes < bytes_max {
            let extent = self.extent(topic);
            if next < extent.low {
                return Err(ReadError::Gone { low: extent.low });
            }
            if extent.next <= next {
                break;
            }
            let source = match self.find(topic, next).await? {
                Some(source) => source,
                None if self.after_losses(topic, next) != next => {
                    if records.is_empty() {
                        let next = self.after_losses(topic, next);
                        return Err(ReadError::Lost { next });
                    }
                    break;
                }
                // Its segment may have been retired while the others' indexes were read.
                None if next < self.extent(topic).low => continue,
                None => return Err(ReadError::Damaged(next)),
            };
            let batch = match self.fetch(&source).await? {
                Some(batch) => batch,
                // Its segment may have gone to another use while it was read.
                None if next < self.extent(topic).low => continue,
                None => return Err(ReadError::Damaged(next)),
            };
            let Ok(checked) = Batch::check(batch.as_slice()) else {
                return Err(ReadError::Damaged(next));
            };
            for record in checked.records().filter(|record| next <= record.offset) {
                if records_max <= records.len() || bytes_max <= bytes {
                    break;
                }
                bytes += record.value.len();
                let (offset, timestamp_ms) = (record.offset, record.timestamp_ms);
                records.push(ReadRecord {
                    offset,
                    timestamp_ms,
                    value: record.value.to_vec(),
                });
            }
            next = source.place.next();
        }
        Ok(records)
    }

    /// The first offset from `offset` on that is not among the lost.
    fn after_losses(&self, topic: TopicIndex, offset: Offset) -> Offset {
        let inner = self.inner.borrow();
        loss::after_losses(&inner.losses, inner.topics.id(topic), offset)
    }

    /// Where the batch lies that holds `offset`, which is in the readable range.
    async fn find(
        &self,
        topic: TopicIndex,
        offset: Offset,
    ) -> Result<Option<Source<D::File>>, ReadError> {
        let id = {
            let inner = self.inner.borrow();
            let id = inner.topics.id(topic);
            for open in inner.closing.iter().chain(&inner.open) {
                let place = open
                    .index
                    .get(&id)
                    .and_then(|places| place_of(places, offset));
                if let Some(place) = place {
                    return Ok(Some(Source {
                        file: open.file.clone(),
                        life: open.life,
                        place,
                    }));
                }
            }
            id
        };
        let lives: Vec<Life> = self
            .inner
            .borrow()
            .sealed
            .iter()
            .map(|sealed| sealed.life)
            .collect();
        for life in lives.into_iter().rev() {
            let Some(Indexed { file, index, .. }) = self.sealed_index(life).await? else {
                continue;
            };
            let topic = index.binary_search_by_key(&id, |topic| topic.topic);
            let Some(topic) = topic.ok().map(|row| &index[row]) else {
                continue;
            };
            if let Some(place) = place_of(&topic.places, offset) {
                return Ok(Some(Source { file, life, place }));
            }
        }
        Ok(None)
    }

    /// The sealed segment of this life with its index; `None` when it is gone.
    pub(super) async fn sealed_index(&self, life: Life) -> io::Result<Option<Indexed<D::File>>> {
        let (disk, file, settings, held, last) = {
            let inner = self.inner.borrow();
            let Some(at) = inner.sealed.iter().position(|sealed| sealed.life == life) else {
                return Ok(None);
            };
            let sealed = &inner.sealed[at];
            let after = inner.sealed.get(at + 1).map(|next| next.opening.first);
            let after = after.or(inner.closing.front().map(|next| next.opening.first));
            let after = after.or(inner.open.as_ref().map(|next| next.opening.first));
            let last = after.map(Sequence::get);
            let held = sealed.index.clone();
            (
                inner.disk.clone(),
                sealed.file.clone(),
                inner.settings.clone(),
                held,
                last,
            )
        };
        if let Some(index) = held {
            return Ok(Some(Indexed::new(file, index, true)));
        }
        let index = match read_index(&disk, &file, life, settings.segment_bytes).await? {
            Some((footer, index))
                if last == Some(footer.last.get() + 1)
                    || planted::is(Planted::BelieveAnOldFooter) =>
            {
                index
            }
            _ => {
                let (index, whole) = rebuild_index(&disk, &file, life, &settings, last).await?;
                if !whole {
                    // Something is damaged that may be repaired later.
                    return Ok(Some(Indexed::new(file, Rc::new(index), false)));
                }
                index
            }
        };
        let index = Rc::new(index);
        self.keep_index(life, &index);
        Ok(Some(Indexed::new(file, index, true)))
    }

    /// Keeps an index for the next reader; forgets the others beyond a bound.
    fn keep_index(&self, life: Life, index: &Rc<Vec<IndexTopic>>) {
        let mut inner = self.inner.borrow_mut();
        let held = inner
            .sealed
            .iter()
            .filter(|sealed| sealed.index.is_some())
            .count();
        if INDEXES_KEPT <= held
            && let Some(other) = inner
                .sealed
                .iter_mut()
                .find(|sealed| sealed.index.is_some())
        {
            other.index = None;
        }
        if let Some(sealed) = inner.sealed.iter_mut().find(|sealed| sealed.life == life) {
            sealed.index = Some(index.clone());
        }
    }

    /// Whether the use of a file that this life names goes on.
    fn holds(&self, life: Life) -> bool {
        let inner = self.inner.borrow();
        let mut open = inner.closing.iter().chain(&inner.open);
        inner.sealed.iter().any(|sealed| sealed.life == life) || open.any(|open| open.life == life)
    }

    /// The bytes of a batch, from the first copy that is right; `None` when none is, or its segment has gone to
    /// another use while it was read.
    async fn fetch(&self, source: &Source<D::File>) -> io::Result<Option<Vec<u8>>> {
        let disk = self.inner.borrow().disk.clone();
        let place = &source.place;
        let start = place.position / BLOCK_BYTES * BLOCK_BYTES;
        let end = (place.position + u64::from(place.bytes)).next_multiple_of(BLOCK_BYTES);
        let read = read_whole(&disk, &source.file, start, (end - start) as usize).await;
        let batch = read
            .as_ref()
            .ok()
            .and_then(|read| place.batch_in(start, read.as_ref()));
        if !self.holds(source.life) {
            return Ok(None);
        }
        if let Some(batch) = batch {
            return Ok(Some(batch.to_vec()));
        }
        for copy in 0..disk.copies() {
            let length = (end - start) as usize;
            let other = disk.read_copy(copy, &source.file, start, length).await;
            if !self.holds(source.life) {
                return Ok(None);
            }
            let other = other.as_ref().ok();
            if let Some(batch) = other.and_then(|other| place.batch_in(start, other.as_ref())) {
                self.inner.borrow_mut().scrubbing.suspect(source.life);
                return Ok(Some(batch.to_vec()));
            }
        }
        read.map(|_| None)
    }
}

/// Indexes of sealed segments that are kept in memory.
const INDEXES_KEPT: usize = 32;

impl Place {
    /// The batch at this place in `bytes`, which begin at `start`; `None` when it is not what it should be.
    fn batch_in<'a>(&self, start: u64, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let skip = (self.position - start) as usize;
        let bytes = bytes.get(skip..skip + self.bytes as usize)?;
        let batch = Batch::check(bytes).ok()?;
        let header = batch.header();
        let same = header.base_offset == self.base_offset && header.records == self.records;
        same.then_some(bytes)
    }
}

fn place_of(places: &[Place], offset: Offset) -> Option<Place> {
    let after = if planted::is(Planted::IndexOffByOne) {
        places.partition_point(|place| place.base_offset < offset)
    } else {
        places.partition_point(|place| place.base_offset <= offset)
    };
    let place = places.get(after.checked_sub(1)?)?;
    (offset < place.next()).then_some(*place)
}

/// Walks a sealed segment that has no footer, up to the frame before `end`; whether it came so far.
async fn rebuild_index<D: Disk>(
    disk: &D,
    file: &D::File,
    life: Life,
    settings: &Settings,
    end: Option<u64>,
) -> io::Result<(Vec<IndexTopic>, bool)> {
    let mut topics: BTreeMap<TopicId, Vec<Place>> = BTreeMap::new();
    let mut window = Window::new(disk, file, settings.segment_bytes);
    let mut position = HEADER_BYTES as u64;
    let mut next = None;
    let is_here = |frame: &Frame<'_>, position| {
        frame.header.life == life && frame.header.position == position
    };
    while next.is_none() || next != end {
        let other;
        let mut frame = Frame::check(window.frame(position).await?).ok();
        if !frame.as_ref().is_some_and(|frame| is_here(frame, position)) {
            other = frame_of_a_copy(disk, file, life, position).await;
            frame = other.as_deref().and_then(|bytes| Frame::check(bytes).ok());
        }
        let Some(frame) = frame.filter(|frame| is_here(frame, position)) else {
            break;
        };
        let header = &frame.header;
        if end.is_some_and(|end| end <= header.sequence.get()) {
            break;
        }
        next = Some(header.sequence.get() + 1);
        let mut at = position + frame.payload_at() as u64;
        for (row, bytes) in frame.batches().unwrap_or_default() {
            topics.entry(row.topic).or_default().push(Place {
                base_offset: row.base_offset,
                position: at,
                newest_ms: row.newest_ms,
                bytes: row.bytes,
                records: row.records,
            });
            at += bytes.len() as u64;
        }
        position += header.padded_bytes() as u64;
    }
    let index = topics.into_iter();
    let index = index.map(|(topic, places)| IndexTopic { topic, places });
    Ok((index.collect(), next == end))
}

/// The whole frame at `position` from any copy that has it.
async fn frame_of_a_copy<D: Disk>(
    disk: &D,
    file: &D::File,
    life: Life,
    position: u64,
) -> Option<Vec<u8>> {
    for copy in 0..disk.copies() {
        let head = disk.read_copy(copy, file, position, BLOCK_BYTES as usize);
        let Ok(head) = head.await else { continue };
        let Ok((header, _)) = FrameHeader::decode(head.as_ref()) else {
            continue;
        };
        if header.life != life || header.position != position {
            continue;
        }
        let whole = disk.read_copy(copy, file, position, header.padded_bytes());
        if let Ok(whole) = whole.await
            && Frame::check(whole.as_ref()).is_ok()
        {
            return Some(whole.as_ref().to_vec());
        }
    }
    None
}
