//! Going through a segment that was rewritten without what was dead in it.

use super::super::disk::Disk as _;
use super::super::format::Defect;
use super::super::format::footer::{FOOTER_BYTES, Footer};
use super::super::format::section::Frame;
use super::super::format::segment::{HEADER_BYTES, Kind, SegmentHeader};
use super::super::walk::Window;
use super::chain::{Chain, Cursor, End, Next, Segment, Visitor};
use super::plain::block_on;
use super::{Error, tell};
use std::ops::ControlFlow;

impl Chain {
    /// Tells one rewritten segment; gives the number of the one to go on with.
    pub(super) fn walk_sorted(
        &self,
        at: usize,
        segment: &Segment,
        cursor: &mut Cursor,
        visitor: &mut impl Visitor,
    ) -> Result<ControlFlow<(), Option<usize>>, Error> {
        let mut position = HEADER_BYTES as u64;
        let footer = self.footer(segment)?;
        let told = match footer {
            Ok(footer) => self.tell_sorted(segment, &footer, &mut position, cursor, visitor)?,
            Err(defect) => {
                position = segment.bytes.saturating_sub(FOOTER_BYTES as u64);
                ControlFlow::Continue(Some(defect))
            }
        };
        let ControlFlow::Continue(broken) = told else {
            return Ok(ControlFlow::Break(()));
        };
        if let Some(defect) = broken {
            if let Some(newer) = self.rewritten(segment)? {
                visitor.rewritten();
                return self.walk_sorted(at, &newer, cursor, visitor);
            }
            if self.was_recycled(segment)? {
                visitor.recycled();
            } else {
                visitor.damage(segment, position, tell(defect))?;
            }
        }
        if let (Ok(footer), false) = (footer, broken.is_some()) {
            cursor.last = Some(footer.last);
            cursor.expected = footer.last.next();
            cursor.chain = footer.chain_out;
            let next = match self.what_follows(at, cursor) {
                Next::Segment(next) => Some(next),
                Next::End => None,
                Next::Broken => return self.break_off(at, segment, cursor, visitor),
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
        Ok(ControlFlow::Continue(self.later(at, cursor)))
    }

    /// What should follow the segment is not there.
    fn break_off(
        &self,
        at: usize,
        segment: &Segment,
        cursor: &Cursor,
        visitor: &mut impl Visitor,
    ) -> Result<ControlFlow<(), Option<usize>>, Error> {
        let later = self.later(at, cursor);
        if later.is_some() || self.end.is_some() {
            let what = "what follows this segment is missing".to_owned();
            visitor.damage(segment, segment.bytes, what)?;
        }
        Ok(ControlFlow::Continue(later))
    }

    /// Tells its frames; gives what is wrong with the first that is not whole.
    fn tell_sorted(
        &self,
        segment: &Segment,
        footer: &Footer,
        position: &mut u64,
        cursor: &mut Cursor,
        visitor: &mut impl Visitor,
    ) -> Result<ControlFlow<(), Option<Defect>>, Error> {
        let mut window = Window::new(&self.disk, &segment.file, segment.bytes);
        let mut chain = segment.opening.chain_in;
        while *position < footer.end {
            let bytes = block_on(window.frame(*position));
            let bytes = bytes.map_err(|error| self.read_error(&segment.name, error))?;
            let frame = match Frame::check(bytes) {
                Ok(frame) => frame,
                Err(defect) => return Ok(ControlFlow::Continue(Some(defect))),
            };
            let header = &frame.header;
            let follows = self.belongs(header, segment.life)
                && header.position == *position
                && header.sequence == footer.last
                && header.chain == chain
                && cursor.epoch <= header.epoch;
            if !follows {
                let defect = Defect::Misplaced("frame");
                return Ok(ControlFlow::Continue(Some(defect)));
            }
            chain = frame.chain_value;
            cursor.epoch = header.epoch;
            if visitor.frame(segment, *position, &frame)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            *position += frame.header.padded_bytes() as u64;
        }
        Ok(ControlFlow::Continue(None))
    }

    fn footer(&self, segment: &Segment) -> Result<Result<Footer, Defect>, Error> {
        let Some(at) = segment.bytes.checked_sub(FOOTER_BYTES as u64) else {
            return Ok(Err(Defect::Absent("segment footer")));
        };
        let block = block_on(self.disk.read(&segment.file, at, FOOTER_BYTES));
        let block = block.map_err(|error| self.read_error(&segment.name, error))?;
        let footer = Footer::decode(&block);
        Ok(footer.and_then(|footer| {
            let fits = footer.life == segment.life && segment.opening.first <= footer.last;
            fits.then_some(footer)
                .ok_or(Defect::Misplaced("segment footer"))
        }))
    }

    /// The rewritten form that has taken a segment's place since its header was read.
    pub(super) fn rewritten(&self, segment: &Segment) -> Result<Option<Segment>, Error> {
        if !self.running {
            return Ok(None);
        }
        let block = block_on(self.disk.read(&segment.file, 0, HEADER_BYTES));
        let block = block.map_err(|error| self.read_error(&segment.name, error))?;
        let header = SegmentHeader::decode(&block).ok();
        let header = header.filter(|header| {
            header.kind == Kind::Sorted
                && header.life != segment.life
                && header.opening == Some(segment.opening)
        });
        Ok(header.map(|header| Segment {
            life: header.life,
            kind: header.kind,
            bytes: header.segment_bytes,
            ..segment.clone()
        }))
    }
}
