//! Going through a journal frame by frame, from its oldest segment to its end.
//!
//! A segment goes on as long as its frames are whole and follow one another; behind it comes the segment
//! that begins with the next sequence and the same chain value. A file with an older beginning that nothing
//! leads to is what a crash left: it is passed over.

use super::super::disk::Disk as _;
use super::super::format::Defect;
use super::super::format::frame::FrameHeader;
use super::super::format::loss::{Losses, Toll};
use super::super::format::section::Frame;
use super::super::format::segment::{HEADER_BYTES, Kind, Opening, SegmentHeader};
use super::super::recover::Identity;
use super::super::walk::{Window, find_frames};
use super::plain::{PlainDisk, PlainFile, block_on};
use super::{Error, tell};
use crate::limit::BLOCK_BYTES;
use crate::unit::{Epoch, Life, Sequence};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::rc::Rc;

/// A segment whose header says that it is in use.
#[derive(Clone)]
pub(super) struct Segment {
    /// Relative to the volume.
    pub(super) name: String,
    pub(super) file: Rc<PlainFile>,
    pub(super) life: Life,
    pub(super) opening: Opening,
    pub(super) kind: Kind,
    /// Of the file, as the header says.
    pub(super) bytes: u64,
}

/// Where the frames of a segment ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) position: u64,
    pub(super) last: Option<Sequence>,
    pub(super) chain_out: u64,
    /// No segment follows.
    pub(super) is_tail: bool,
}

/// What is told on the way.
pub(super) trait Visitor {
    fn enter(&mut self, _segment: &Segment) {}

    /// A whole frame that continues the chain, at `position`.
    fn frame(
        &mut self,
        segment: &Segment,
        position: u64,
        frame: &Frame<'_>,
    ) -> Result<ControlFlow<()>, Error>;

    /// Every frame of the segment was told.
    fn leave(&mut self, _segment: &Segment, _end: End) -> Result<(), Error> {
        Ok(())
    }

    /// The chain is broken at `position`. It goes on at the next frame or segment that can be found.
    fn damage(&mut self, segment: &Segment, position: u64, what: String) -> Result<(), Error>;

    /// As `damage`, but the place is among the losses that are recorded.
    fn lost(&mut self, _segment: &Segment, _position: u64) {}

    /// The segment went to another use while it was read: what it held is gone for good reasons.
    fn recycled(&mut self) {}

    /// The segment was rewritten while it was read: what is alive in it is told from its beginning.
    fn rewritten(&mut self) {}
}

/// A journal's segments, ready to be gone through.
pub(super) struct Chain {
    pub(super) volume: PathBuf,
    pub(super) disk: PlainDisk,
    pub(super) identity: Identity,
    /// By their first sequence.
    pub(super) segments: Vec<Segment>,
    /// What would follow the last frame, by recovery; `None` when recovery failed.
    pub(super) end: Option<Sequence>,
    /// What is recorded as lost.
    pub(super) losses: Losses,
    /// Another process may recycle segments meanwhile.
    pub(super) running: bool,
}

/// What comes after the last frame of a segment.
pub(super) enum Next {
    Segment(usize),
    /// Nothing: here the journal ends.
    End,
    /// What should come is not there.
    Broken,
}

/// What the next frame must be.
#[derive(Clone, Copy)]
pub(super) struct Cursor {
    pub(super) expected: Sequence,
    pub(super) chain: u64,
    pub(super) epoch: Epoch,
    pub(super) last: Option<Sequence>,
    toll: Toll,
}

impl Cursor {
    fn at(opening: Opening, epoch: Epoch) -> Self {
        Self {
            expected: opening.first,
            chain: opening.chain_in,
            epoch,
            last: None,
            toll: Toll::default(),
        }
    }

    fn take(&mut self, frame: &Frame<'_>) {
        self.last = Some(frame.header.sequence);
        self.expected = frame.header.sequence.next();
        self.chain = frame.chain_value;
        self.epoch = frame.header.epoch;
    }
}

impl Chain {
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.volume.join(name)
    }

    pub(super) fn read_error(&self, name: &str, source: std::io::Error) -> Error {
        Error::Read {
            path: self.path(name),
            source,
        }
    }

    /// Tells `visitor` everything from the segment `from` on.
    pub(super) fn walk(&self, from: usize, visitor: &mut impl Visitor) -> Result<(), Error> {
        let Some(first) = self.segments.get(from) else {
            return Ok(());
        };
        let mut cursor = Cursor::at(first.opening, Epoch(0));
        let mut at = from;
        loop {
            let segment = &self.segments[at];
            visitor.enter(segment);
            cursor.last = None;
            let next = match self.walk_segment(at, &mut cursor, visitor)? {
                ControlFlow::Break(()) => return Ok(()),
                ControlFlow::Continue(next) => next,
            };
            let Some(next) = next else { return Ok(()) };
            at = next;
            let opening = self.segments[at].opening;
            if opening.first != cursor.expected || opening.chain_in != cursor.chain {
                let toll = cursor.toll;
                cursor = Cursor::at(opening, cursor.epoch);
                cursor.toll = toll;
            }
        }
    }

    /// Tells one segment; gives the number of the one to go on with.
    fn walk_segment(
        &self,
        at: usize,
        cursor: &mut Cursor,
        visitor: &mut impl Visitor,
    ) -> Result<ControlFlow<(), Option<usize>>, Error> {
        let segment = &self.segments[at];
        if segment.kind == Kind::Sorted {
            return self.walk_sorted(at, segment, cursor, visitor);
        }
        let start = *cursor;
        let mut position = HEADER_BYTES as u64;
        loop {
            let told = self.tell_frames(segment, &mut position, cursor, visitor)?;
            let ControlFlow::Continue(defect) = told else {
                return Ok(ControlFlow::Break(()));
            };
            let follows = self.what_follows(at, cursor);
            if matches!(follows, Next::Broken)
                && let Some(sorted) = self.rewritten(segment)?
            {
                visitor.rewritten();
                *cursor = start;
                return self.walk_sorted(at, &sorted, cursor, visitor);
            }
            let next = match follows {
                Next::Segment(next) => Some(next),
                Next::End => None,
                Next::Broken => match self.mend(at, position, defect, cursor, visitor)? {
                    ControlFlow::Continue(next_frame) => {
                        position = next_frame;
                        continue;
                    }
                    ControlFlow::Break(later) => return Ok(ControlFlow::Continue(later)),
                },
            };
            let end = End {
                position,
                last: cursor.last,
                chain_out: cursor.chain,
                is_tail: next.is_none(),
            };
            visitor.leave(segment, end)?;
            return Ok(ControlFlow::Continue(next));
        }
    }

    /// Tells frames as long as they are whole and follow one another; says what is wrong with the next.
    fn tell_frames(
        &self,
        segment: &Segment,
        position: &mut u64,
        cursor: &mut Cursor,
        visitor: &mut impl Visitor,
    ) -> Result<ControlFlow<(), Defect>, Error> {
        let mut window = Window::new(&self.disk, &segment.file, segment.bytes);
        loop {
            if self.end == Some(cursor.expected) {
                return Ok(ControlFlow::Continue(Defect::Absent("further frame")));
            }
            let bytes = block_on(window.frame(*position));
            let bytes = bytes.map_err(|error| self.read_error(&segment.name, error))?;
            let frame = match self.sound(bytes, segment, *position, cursor) {
                Ok(frame) => frame,
                Err(defect) => return Ok(ControlFlow::Continue(defect)),
            };
            cursor.take(&frame);
            if visitor.frame(segment, *position, &frame)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            *position += frame.header.padded_bytes() as u64;
        }
    }

    /// Tells a broken place, and where to go on: at a frame of the same segment, or else (`Break`) in a later
    /// segment, if there is one.
    fn mend(
        &self,
        at: usize,
        position: u64,
        defect: Defect,
        cursor: &mut Cursor,
        visitor: &mut impl Visitor,
    ) -> Result<ControlFlow<Option<usize>, u64>, Error> {
        let segment = &self.segments[at];
        let later = self.later(at, cursor);
        if self.was_recycled(segment)? {
            visitor.recycled();
            return Ok(ControlFlow::Break(later));
        }
        if let Some(header) = self.resume(segment, position, cursor, later)? {
            if self.is_lost(cursor, header.sequence) {
                visitor.lost(segment, position);
            } else {
                visitor.damage(segment, position, tell(defect))?;
            }
            cursor.expected = header.sequence;
            cursor.chain = header.chain;
            return Ok(ControlFlow::Continue(header.position));
        }
        let next = later.map(|later| self.segments[later].opening.first);
        let next = next.or(self.end);
        if next.is_some_and(|next| self.is_lost(cursor, next)) {
            visitor.lost(segment, position);
        } else if next.is_some() {
            let what = self.what(defect, cursor, later);
            visitor.damage(segment, position, what)?;
        }
        Ok(ControlFlow::Break(later))
    }

    /// Whether the frames from the one that is expected to before `next` are recorded as lost.
    fn is_lost(&self, cursor: &mut Cursor, next: Sequence) -> bool {
        let first = cursor.expected;
        let last = Sequence::new(next.get() - 1).unwrap_or(first).max(first);
        self.losses.explain(&mut cursor.toll, first, last)
    }

    /// The frame that is wanted here, if it is whole.
    fn sound<'f>(
        &self,
        bytes: &'f [u8],
        segment: &Segment,
        position: u64,
        cursor: &Cursor,
    ) -> Result<Frame<'f>, Defect> {
        let frame = Frame::check(bytes)?;
        let header = &frame.header;
        let follows = self.belongs(header, segment.life)
            && header.position == position
            && header.sequence == cursor.expected
            && header.chain == cursor.chain
            && cursor.epoch <= header.epoch;
        if follows {
            Ok(frame)
        } else {
            Err(Defect::Misplaced("frame"))
        }
    }

    pub(super) fn belongs(&self, header: &FrameHeader, life: Life) -> bool {
        header.store == self.identity.store
            && header.journal == self.identity.journal
            && header.life == life
    }

    pub(super) fn what_follows(&self, at: usize, cursor: &Cursor) -> Next {
        if self.end == Some(cursor.expected) {
            return Next::End;
        }
        let follows = |segment: &Segment| {
            segment.opening.first == cursor.expected && segment.opening.chain_in == cursor.chain
        };
        let next = self.segments[at + 1..].iter().position(follows);
        next.map_or(Next::Broken, |next| Next::Segment(at + 1 + next))
    }

    /// The first segment that begins behind what is missing.
    pub(super) fn later(&self, at: usize, cursor: &Cursor) -> Option<usize> {
        let behind = |segment: &Segment| cursor.expected <= segment.opening.first;
        let next = self.segments[at + 1..].iter().position(behind)?;
        Some(at + 1 + next)
    }

    /// The next frame of the segment behind a damaged place. In the last segment of a journal that recovery
    /// refused, only one that proves that what is missing had been durable: else it is a torn tail.
    fn resume(
        &self,
        segment: &Segment,
        position: u64,
        cursor: &Cursor,
        later: Option<usize>,
    ) -> Result<Option<FrameHeader>, Error> {
        let before = later.map(|later| self.segments[later].opening.first);
        let wanted = |header: &FrameHeader| {
            self.belongs(header, segment.life)
                && cursor.expected < header.sequence
                && cursor.epoch <= header.epoch
                && match before {
                    Some(before) => header.sequence < before,
                    None => self.end.is_some() || Some(cursor.expected) <= header.durable_upto,
                }
        };
        let size = segment.bytes;
        let from = position + BLOCK_BYTES;
        let found = block_on(find_frames(&self.disk, &segment.file, from, size, wanted));
        found.map_err(|error| self.read_error(&segment.name, error))
    }

    /// Whether the segment's file went to another use since its header was read.
    pub(super) fn was_recycled(&self, segment: &Segment) -> Result<bool, Error> {
        if !self.running {
            return Ok(false);
        }
        let block = block_on(self.disk.read(&segment.file, 0, HEADER_BYTES));
        let block = block.map_err(|error| self.read_error(&segment.name, error))?;
        Ok(!SegmentHeader::decode(&block).is_ok_and(|header| header.life == segment.life))
    }

    fn what(&self, defect: Defect, cursor: &Cursor, later: Option<usize>) -> String {
        let first = cursor.expected.get();
        let upto = later.map(|later| self.segments[later].opening.first.get() - 1);
        match upto {
            Some(upto) if first <= upto => {
                format!("frames {first} to {upto} are missing: {defect}")
            }
            Some(_) => "the next segment does not continue the chain".to_owned(),
            None => format!("the frames from {first} on are missing: {defect}"),
        }
    }
}
