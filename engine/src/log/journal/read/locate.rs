//! Which segment holds an offset of a topic, and where in it.
//!
//! Each segment opens with a checkpoint of every topic's next offset, so the segments are in order of every
//! topic's offsets at once: the one that holds an offset is the last whose checkpoint is not above it. It is
//! found by halves, reading a dozen opening frames in a store of thousands of segments; nothing of them has to
//! be in memory. A sequential reader asks the next segment first. When a checkpoint cannot be read, the indexes
//! of all segments are asked, newest first.

use super::super::super::disk::Disk;
use super::super::super::format::footer::{self, Footer, Index, IndexTopic, PLACE_BYTES, Place};
use super::super::super::format::frame::FrameHeader;
use super::super::super::format::section::Frame;
use super::super::super::format::segment::{HEADER_BYTES, Kind};
use super::super::super::planted::{self, Planted};
use super::super::super::walk::Window;
use super::super::Journal;
use super::super::segment::{SealedSegment, read_footer, read_index, read_places};
use super::{Rows, Run, places_from};
use crate::limit::{BLOCK_BYTES, READ_BYTES_MAX};
use crate::unit::{Life, Offset, Sequence, TopicId, TopicIndex};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

/// What a segment's checkpoint says of a topic.
enum Start {
    /// Offsets from here on are in this segment or a later one; those below are in an earlier one.
    At(Offset),
    /// The segment has gone to another use, and those before it too.
    Gone,
    Unknown,
}

/// What a sealed segment holds.
pub(in super::super) struct SealedIndex {
    pub(in super::super) topics: Vec<IndexTopic>,
    /// Nothing was damaged on the way, so all that the segment holds is here.
    pub(in super::super) is_whole: bool,
}

/// A sealed segment, to be read.
struct Sealed<D: Disk> {
    disk: D,
    file: Rc<D::File>,
    life: Life,
    first: Sequence,
    /// The first sequence of the next segment.
    end: Option<u64>,
    segment_bytes: u64,
    kind: Kind,
}

impl<D: Disk> Sealed<D> {
    /// Its footer, if that leads on to the next segment.
    async fn footer(&self) -> io::Result<Option<Footer>> {
        let footer = read_footer(&self.disk, &self.file, self.life, self.segment_bytes).await?;
        let leads_on = |footer: &Footer| {
            self.end == Some(footer.last.get() + 1) || planted::is(Planted::BelieveAnOldFooter)
        };
        Ok(footer.filter(leads_on))
    }
}

impl<D: Disk> Journal<D> {
    /// Where the batch lies that holds `offset`, which is in the readable range, and those behind it.
    pub(in super::super) async fn find(
        &self,
        topic: TopicIndex,
        offset: Offset,
    ) -> io::Result<Option<Run<D::File>>> {
        if let Some(run) = self.find_in_memory(topic, offset) {
            return Ok(Some(run));
        }
        if let Some(life) = self.following(topic, offset)
            && let Some(run) = self.find_in(life, topic, offset).await?
        {
            return Ok(Some(run));
        }
        if let Some(life) = self.bisect(topic, offset).await {
            return self.find_in(life, topic, offset).await;
        }
        for life in self.lives().into_iter().rev() {
            if let Some(run) = self.find_in(life, topic, offset).await? {
                return Ok(Some(run));
            }
        }
        Ok(None)
    }

    fn find_in_memory(&self, topic: TopicIndex, offset: Offset) -> Option<Run<D::File>> {
        let inner = &mut *self.inner.borrow_mut();
        let id = inner.topics.id(topic);
        let run = |file: &Rc<D::File>, life, places| Run {
            topic,
            file: file.clone(),
            life,
            places,
        };
        for open in inner.closing.iter().chain(&inner.open) {
            let places = open.index.get(&id);
            if let Some(places) = places.and_then(|places| places_from(places, offset)) {
                return Some(run(&open.file, open.life, places));
            }
        }
        let ((of, _), rows) = inner.reading.rows.at_or_before(&(id, offset))?;
        let places = places_from(&rows.places, offset).filter(|_| of == id)?;
        let sealed = inner
            .sealed
            .iter()
            .find(|sealed| sealed.life == rows.life)?;
        Some(run(&sealed.file, sealed.life, places))
    }

    /// The segment behind the one that is known to hold what comes just before `offset`.
    fn following(&self, topic: TopicIndex, offset: Offset) -> Option<Life> {
        let inner = &mut *self.inner.borrow_mut();
        let id = inner.topics.id(topic);
        let ((of, _), rows) = inner.reading.rows.at_or_before(&(id, offset))?;
        let is_before = |sealed: &SealedSegment<_>| sealed.opening.first <= rows.first;
        let next = inner.sealed.partition_point(is_before);
        let ends_here = rows.places.last().map(Place::next) == Some(offset);
        let next = inner.sealed.get(next).filter(|_| of == id && ends_here)?;
        Some(next.life)
    }

    pub(super) fn lives(&self) -> Vec<Life> {
        let inner = self.inner.borrow();
        inner.sealed.iter().map(|sealed| sealed.life).collect()
    }

    /// The sealed segment that holds `offset` if any does; `None` when that cannot be told.
    pub(super) async fn bisect(&self, topic: TopicIndex, offset: Offset) -> Option<Life> {
        let lives = self.lives();
        // Every segment up to `low` begins at or below the offset, every one from `high` on above it.
        let (mut low, mut high) = (0, lives.len());
        while 1 < high - low {
            let middle = low + (high - low) / 2;
            match self.start_of(lives[middle], topic).await {
                Start::At(start) if offset < start => high = middle,
                Start::At(_) | Start::Gone => low = middle,
                Start::Unknown => return None,
            }
        }
        lives.get(low).copied()
    }

    async fn start_of(&self, life: Life, topic: TopicIndex) -> Start {
        let (disk, file, first, id, segment_bytes, kind) = {
            let inner = &mut *self.inner.borrow_mut();
            let id = inner.topics.id(topic);
            let Some(sealed) = inner.sealed.iter().find(|sealed| sealed.life == life) else {
                return Start::Gone;
            };
            let first = sealed.opening.first;
            if let Some(start) = inner.reading.starts.get(&(id, first)) {
                return Start::At(start);
            }
            let (segment_bytes, kind) = (sealed.file_bytes, sealed.kind);
            (
                inner.disk.clone(),
                sealed.file.clone(),
                first,
                id,
                segment_bytes,
                kind,
            )
        };
        let _pass = self.pass(READ_BYTES_MAX as usize).await;
        let mut window = Window::with_step(&disk, &file, segment_bytes, READ_BYTES_MAX);
        let Ok(bytes) = window.frame(HEADER_BYTES as u64).await else {
            return Start::Unknown;
        };
        if !self.holds(life) {
            return Start::Gone;
        }
        let Some(start) = start_in(bytes, (life, kind), first, id) else {
            return Start::Unknown;
        };
        let starts = &mut self.inner.borrow_mut().reading.starts;
        starts.put((id, first), start, 0);
        Start::At(start)
    }

    /// Looks for the offset in one sealed segment; `None` too when it is gone.
    async fn find_in(
        &self,
        life: Life,
        topic: TopicIndex,
        offset: Offset,
    ) -> io::Result<Option<Run<D::File>>> {
        let Some(sealed) = self.sealed(life) else {
            return Ok(None);
        };
        let id = self.inner.borrow().topics.id(topic);
        let alone = self.places_alone(&sealed, id).await?;
        let holds = |places: &Vec<Place>| places_from(places, offset).is_some();
        let rows = match alone.filter(holds) {
            Some(rows) => rows,
            None => self.index_of(&sealed, true).await?.0.places(id),
        };
        if !self.holds(life) {
            return Ok(None);
        }
        let places = places_from(&rows, offset);
        if let Some(place) = rows.first() {
            let (key, bytes) = ((id, place.base_offset), rows.len() * PLACE_BYTES);
            let rows = Rows {
                life,
                first: sealed.first,
                places: Rc::new(rows),
            };
            self.inner.borrow_mut().reading.rows.put(key, rows, bytes);
        }
        Ok(places.map(|places| Run {
            topic,
            file: sealed.file,
            life,
            places,
        }))
    }

    fn sealed(&self, life: Life) -> Option<Sealed<D>> {
        let inner = self.inner.borrow();
        let at = inner.sealed.iter().position(|sealed| sealed.life == life)?;
        let sealed = &inner.sealed[at];
        let after = inner.sealed.get(at + 1).map(|next| next.opening.first);
        let after = after.or(inner.closing.front().map(|next| next.opening.first));
        let after = after.or(inner.open.as_ref().map(|next| next.opening.first));
        Some(Sealed {
            disk: inner.disk.clone(),
            file: sealed.file.clone(),
            life,
            first: sealed.opening.first,
            end: after.map(Sequence::get),
            segment_bytes: sealed.file_bytes,
            kind: sealed.kind,
        })
    }

    /// One topic's places, when the index is neither in memory nor so small that all of it may as well be.
    async fn places_alone(
        &self,
        sealed: &Sealed<D>,
        topic: TopicId,
    ) -> io::Result<Option<Vec<Place>>> {
        if let Some(index) = self.kept_index(sealed.life) {
            return Ok(Some(index.places(topic)));
        }
        let _pass = self.pass(READ_BYTES_MAX as usize).await;
        let (disk, file, size) = (&sealed.disk, &sealed.file, sealed.segment_bytes);
        match sealed.footer().await? {
            Some(footer) if READ_BYTES_MAX < footer.index_bytes => {
                read_places(disk, file, &footer, size, topic).await
            }
            _ => Ok(None),
        }
    }

    fn kept_index(&self, life: Life) -> Option<Rc<Index>> {
        let inner = &mut *self.inner.borrow_mut();
        let sealed = inner.sealed.iter().find(|sealed| sealed.life == life);
        let own = sealed.and_then(|sealed| sealed.index.clone());
        own.or_else(|| inner.reading.indexes.get(&life))
    }

    /// The index of the sealed segment of this life; `None` when it is gone. It does not take the
    /// place of what readers want.
    pub(in super::super) async fn sealed_index(
        &self,
        life: Life,
    ) -> io::Result<Option<SealedIndex>> {
        let Some(sealed) = self.sealed(life) else {
            return Ok(None);
        };
        let (index, is_whole) = self.index_of(&sealed, false).await?;
        Ok(self.holds(life).then(|| SealedIndex {
            topics: index.topics(),
            is_whole,
        }))
    }

    /// One topic's places in the sealed segment of this life, if any.
    pub(in super::super) async fn places_in(
        &self,
        life: Life,
        topic: TopicId,
    ) -> io::Result<Vec<Place>> {
        let Some(sealed) = self.sealed(life) else {
            return Ok(Vec::new());
        };
        match self.places_alone(&sealed, topic).await? {
            Some(places) => Ok(places),
            None => Ok(self.index_of(&sealed, true).await?.0.places(topic)),
        }
    }

    /// The index of a sealed segment, and whether it is all of it.
    async fn index_of(&self, sealed: &Sealed<D>, keep: bool) -> io::Result<(Rc<Index>, bool)> {
        if let Some(index) = self.kept_index(sealed.life) {
            return Ok((index, true));
        }
        let _pass = self.pass(READ_BYTES_MAX as usize).await;
        let (disk, file, size) = (&sealed.disk, &sealed.file, sealed.segment_bytes);
        let index = match sealed.footer().await? {
            Some(footer) => read_index(disk, file, &footer, size).await?,
            None => None,
        };
        let (index, is_whole) = match index {
            Some(index) => (index, true),
            None => rebuild_index(sealed).await?,
        };
        let index = Rc::new(index);
        if !is_whole {
            // Another volume may have the rest of it.
            self.inner.borrow_mut().scrubbing.suspect(sealed.life);
        }
        if keep && is_whole && self.holds(sealed.life) {
            let indexes = &mut self.inner.borrow_mut().reading.indexes;
            indexes.put(sealed.life, index.clone(), index.len());
        }
        Ok((index, is_whole))
    }
}

/// What the opening frame in `bytes` says of a topic: its next offset when the segment began.
fn start_in(
    bytes: &[u8],
    (life, kind): (Life, Kind),
    first: Sequence,
    topic: TopicId,
) -> Option<Offset> {
    let frame = Frame::check(bytes).ok()?;
    let header = &frame.header;
    let (whole, rows) = frame.checkpoint().ok()?;
    let is_first = match kind {
        Kind::Journal => header.sequence == first,
        // Its frames carry the last sequence of the segment.
        Kind::Sorted => first <= header.sequence,
    };
    if !whole || header.life != life || !is_first {
        return None;
    }
    let row = rows.iter().find(|row| row.topic == topic);
    Some(row.map_or(Offset(0), |row| row.next))
}

/// Walks a sealed segment that has no footer, up to the frame before `end`; and whether it came so far.
async fn rebuild_index<D: Disk>(sealed: &Sealed<D>) -> io::Result<(Index, bool)> {
    let mut topics: BTreeMap<TopicId, Vec<Place>> = BTreeMap::new();
    let mut window = Window::new(&sealed.disk, &sealed.file, sealed.segment_bytes);
    let (mut position, mut next) = (HEADER_BYTES as u64, None);
    let is_here = |frame: &Frame<'_>, position| {
        frame.header.life == sealed.life && frame.header.position == position
    };
    loop {
        let other;
        let mut frame = Frame::check(window.frame(position).await?).ok();
        if !frame.as_ref().is_some_and(|frame| is_here(frame, position)) {
            other = frame_of_a_copy(sealed, position).await;
            frame = other.as_deref().and_then(|bytes| Frame::check(bytes).ok());
        }
        let Some(frame) = frame.filter(|frame| is_here(frame, position)) else {
            break;
        };
        let header = &frame.header;
        if sealed.end.is_some_and(|end| end <= header.sequence.get()) {
            break;
        }
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
        next = Some(header.sequence.get() + 1);
    }
    // The frames of a rewritten segment do not say how many there are.
    let is_whole = sealed.kind == Kind::Journal && next == sealed.end;
    let topics: Vec<_> = topics
        .into_iter()
        .map(|(topic, places)| IndexTopic { topic, places })
        .collect();
    let mut bytes = Vec::new();
    footer::write_index(&topics, &mut bytes);
    let index = Index::check(bytes).expect("an index of ours has the shape of one");
    Ok((index, is_whole))
}

/// The whole frame at `position` from any copy that has it.
async fn frame_of_a_copy<D: Disk>(sealed: &Sealed<D>, position: u64) -> Option<Vec<u8>> {
    let (disk, file) = (&sealed.disk, &sealed.file);
    for copy in 0..disk.copies() {
        let head = disk.read_copy(copy, file, position, BLOCK_BYTES as usize);
        let Ok(head) = head.await else { continue };
        let Ok((header, _)) = FrameHeader::decode(head.as_ref()) else {
            continue;
        };
        if header.life != sealed.life || header.position != position {
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
