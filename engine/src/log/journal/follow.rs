//! Reading a journal frame by frame behind its cursor, for who forwards it.
//!
//! Always:  a frame is handed out when it is durable, whole by every checksum, and chained to the one before it.
//!          What is not in memory is read through the gate that all readers share, in pieces of a bounded size.
//! Cancel:  dropping `next` loses nothing; call it again.
//! Full:    two pieces and one frame are held.

mod load;

use super::super::disk::Disk;
use super::super::format::Defect;
use super::super::format::footer::Footer;
use super::super::format::forwarded::Forwarded;
use super::super::format::frame::FrameHeader;
use super::super::format::section::Frame;
use super::super::format::segment::{HEADER_BYTES, Kind};
use super::super::walk::find_frames;
use super::forward::Load;
use super::segment::read_footer;
use super::{Inner, Journal};
use crate::limit::BLOCK_BYTES;
use crate::unit::{Epoch, Life, Micros, Sequence};
use load::{Coming, Piece};
use std::io;
use std::rc::Rc;

/// Why the frames behind the cursor cannot be had. The text names what an operator needs to know.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The log is not the one that the cursor was written for.
    #[error("the cursor ({cursor}) and the log do not agree: {log}")]
    Disagrees { cursor: Forwarded, log: String },
    /// Ask again: what was between is gone.
    #[error("frames {} to {} are gone", .from.get(), .to.get() - 1)]
    Gone { from: Sequence, to: Sequence },
    #[error("{file} is damaged at byte {position}: frame {} is not whole: {defect}", .sequence.get())]
    Damaged {
        file: String,
        position: u64,
        sequence: Sequence,
        defect: Defect,
    },
    #[error("could not read {file}: {source}")]
    Disk { file: String, source: io::Error },
}

/// Where a frame lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spot {
    life: Life,
    position: u64,
    pub sequence: Sequence,
}

#[cfg(test)]
impl Spot {
    /// A place that no journal has.
    pub(crate) fn example(sequence: Sequence) -> Self {
        Self {
            life: Life(0),
            position: 0,
            sequence,
        }
    }

    pub(super) fn life(&self) -> Life {
        self.life
    }
}

/// What a frame says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Followed {
    pub spot: Spot,
    pub epoch: Epoch,
    /// Its chain value.
    pub chain: u64,
    pub time: Micros,
    pub load: Load,
}

/// A segment that holds what is wanted.
struct Target<F> {
    name: String,
    file: Rc<F>,
    life: Life,
    kind: Kind,
    /// What may be read of it.
    end: u64,
}

/// Reads one journal's frames in order. There is one for each journal at most.
pub struct Follower<D: Disk> {
    journal: Journal<D>,
    /// Where it began.
    cursor: Forwarded,
    next: Sequence,
    /// What the next frame must say of the one before it; `None` behind a loss.
    chain: Option<u64>,
    /// Where the next frame lies, if it is in the same segment as the one before.
    at: Option<(Life, u64)>,
    ahead: Option<Piece<D::Buffer>>,
    coming: Option<Coming<D::Buffer>>,
    frame: Vec<u8>,
    /// Bytes that came from the disk and were not told of.
    read: u64,
    /// What lies before the cursor in the segment where it began.
    passed: Load,
}

impl<D: Disk> Journal<D> {
    /// Begins behind this cursor.
    pub fn follow(&self, cursor: Forwarded) -> Result<Follower<D>, FollowError> {
        let inner = self.inner.borrow();
        let last = inner.next_sequence.get() - 1;
        if last < cursor.next().get() - 1 {
            let log = format!("the log ends with frame {last}");
            return Err(FollowError::Disagrees { cursor, log });
        }
        Ok(Follower {
            journal: self.clone(),
            next: cursor.next(),
            chain: cursor.upto.map(|_| cursor.chain),
            cursor,
            at: None,
            ahead: None,
            coming: None,
            frame: Vec::new(),
            read: 0,
            passed: Load::default(),
        })
    }
}

impl<D: Disk> Inner<D> {
    /// How many segments end before this frame.
    fn segments_before(&self, sequence: Sequence) -> usize {
        let sealed = self.sealed.iter().map(|sealed| sealed.opening.first);
        let young = self.closing.iter().chain(&self.open);
        let firsts = sealed.chain(young.map(|open| open.opening.first));
        let begun = firsts.take_while(|first| *first <= sequence).count();
        begun.saturating_sub(1)
    }

    /// The segment that holds this frame; the oldest one's first frame when that comes later.
    fn segment_of(&self, sequence: Sequence) -> Result<Target<D::File>, Option<Sequence>> {
        let mut young = self.closing.iter().chain(&self.open).rev();
        if let Some(open) = young.find(|open| open.opening.first <= sequence) {
            return Ok(Target {
                name: open.name.clone(),
                file: open.file.clone(),
                life: open.life,
                kind: Kind::Journal,
                end: open.position,
            });
        }
        let after = self
            .sealed
            .partition_point(|sealed| sealed.opening.first <= sequence);
        let Some(sealed) = after.checked_sub(1).and_then(|at| self.sealed.get(at)) else {
            let oldest = self.sealed.front().map(|oldest| oldest.opening.first);
            let young = || self.closing.iter().chain(&self.open).next();
            return Err(oldest.or_else(|| young().map(|open| open.opening.first)));
        };
        Ok(Target {
            name: sealed.name.clone(),
            file: sealed.file.clone(),
            life: sealed.life,
            kind: sealed.kind,
            end: sealed.file_bytes,
        })
    }

    /// Where the segment behind the one of this life begins.
    fn next_segment(&self, life: Life) -> Option<Sequence> {
        let sealed = self.sealed.iter().map(|one| (one.life, one.opening));
        let young = self.closing.iter().chain(&self.open);
        let mut all = sealed.chain(young.map(|one| (one.life, one.opening)));
        all.find(|(of, _)| *of == life)?;
        all.next().map(|(_, opening)| opening.first)
    }
}

impl<D: Disk> Follower<D> {
    /// The frame whose turn is next.
    pub fn next_sequence(&self) -> Sequence {
        self.next
    }

    /// Bytes that were read from the disk since this was asked last.
    pub fn take_read(&mut self) -> u64 {
        std::mem::take(&mut self.read)
    }

    /// The frame that was handed out last.
    pub fn frame(&self) -> Result<Frame<'_>, Defect> {
        Frame::check_but_payload(&self.frame)
    }

    /// Gives the frame that was handed out last away, as its bytes.
    pub fn take_frame(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.frame)
    }

    /// Goes on with the next frame, if one is durable: [`Follower::frame`] is that frame then. `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Followed>, FollowError> {
        loop {
            let Some(target) = self.target()? else {
                return Ok(None);
            };
            let position = self.position_in(target.life);
            let found = self.load(&target, position).await?;
            if !self.journal.holds(target.life) {
                self.ahead = None;
                continue;
            }
            match found {
                Ok(header) => {
                    if let Some(followed) = self.take(&target, position, &header)? {
                        return Ok(Some(followed));
                    }
                }
                Err(defect) => self.pass_loss(&target, position, defect).await?,
            }
        }
    }

    /// The segment of the next frame; `None` when that is not durable yet.
    fn target(&mut self) -> Result<Option<Target<D::File>>, FollowError> {
        let mut inner = self.journal.inner.borrow_mut();
        if inner.durable < Some(self.next) {
            let now = (inner.clock)();
            inner.tail.want(now);
            return Ok(None);
        }
        match inner.segment_of(self.next) {
            Ok(target) if target.kind == Kind::Journal => Ok(Some(target)),
            Ok(target) => {
                let (cursor, name) = (self.cursor, target.name);
                let log = format!(
                    "{name} was rewritten without what was dead in it before it was forwarded, while the store was \
                     not in spool mode"
                );
                Err(FollowError::Disagrees { cursor, log })
            }
            Err(first) => {
                let (from, to) = (self.next, first.unwrap_or(self.next.next()));
                inner.forwarding.reads_at = None;
                drop(inner);
                self.go_on_at(to);
                Err(FollowError::Gone { from, to })
            }
        }
    }

    fn go_on_at(&mut self, next: Sequence) {
        self.next = next;
        self.chain = None;
        self.at = None;
    }

    /// Takes a whole frame; `None` when it lies before the one that is wanted.
    fn take(
        &mut self,
        target: &Target<D::File>,
        position: u64,
        header: &FrameHeader,
    ) -> Result<Option<Followed>, FollowError> {
        let frame = self.frame();
        let damaged = |defect| FollowError::Damaged {
            file: target.name.clone(),
            position,
            sequence: self.next,
            defect,
        };
        let frame = frame.map_err(damaged)?;
        let rows = frame.batches().map_err(damaged)?;
        let load = Load {
            events: rows.iter().map(|(row, _)| u64::from(row.records)).sum(),
            bytes: header.padded_bytes() as u64,
        };
        let chain = frame.chain_value;
        if header.sequence < self.next {
            if Some(header.sequence) == self.cursor.upto && chain != self.cursor.chain {
                return Err(self.disagrees(header, chain));
            }
            self.passed.events += load.events;
            self.passed.bytes += load.bytes;
            self.at = Some((target.life, position + load.bytes));
            return Ok(None);
        }
        if header.sequence != self.next {
            return Err(damaged(Defect::Misplaced("frame")));
        }
        if self.chain.is_some_and(|chain| chain != header.chain) {
            return Err(self.disagrees(header, header.chain));
        }
        let spot = Spot {
            life: target.life,
            position,
            sequence: header.sequence,
        };
        let behind = (target.life, position + load.bytes);
        self.at = Some(behind);
        self.journal.inner.borrow_mut().forwarding.reads_at = Some(behind);
        self.next = header.sequence.next();
        self.chain = Some(chain);
        Ok(Some(Followed {
            spot,
            epoch: header.epoch,
            chain,
            time: header.time,
            load,
        }))
    }

    fn disagrees(&self, header: &FrameHeader, chain: u64) -> FollowError {
        let (epoch, frame) = (header.epoch.0, header.sequence.get());
        let store = header.store.0;
        FollowError::Disagrees {
            cursor: self.cursor,
            log: format!(
                "there, store {store:032x}, epoch {epoch}, frame {frame} stands on chain {chain:016x}"
            ),
        }
    }

    /// Goes on behind a damaged place: at the next frame when what is damaged lies before the one that is wanted,
    /// and behind frames that are recorded as lost.
    async fn pass_loss(
        &mut self,
        target: &Target<D::File>,
        position: u64,
        defect: Defect,
    ) -> Result<(), FollowError> {
        let (life, next) = (target.life, self.next);
        let (row, ahead, disk) = {
            let inner = self.journal.inner.borrow();
            let row = inner.losses.row_of(next);
            let row = row.map(|row| (row.last.next(), row.is_exact()));
            (row, inner.next_segment(life), inner.disk.clone())
        };
        let wanted = |header: &FrameHeader| {
            let is_wanted = match row {
                None => true,
                Some((behind, true)) => header.sequence == behind,
                // Between the ends of a row that stands for several losses there are whole frames.
                Some((behind, false)) => header.sequence <= behind,
            };
            header.life == life && (header.sequence <= next || is_wanted)
        };
        let from = position + BLOCK_BYTES;
        let found = find_frames(&disk, &target.file, from, target.end, wanted).await;
        let found = found.map_err(|source| FollowError::Disk {
            file: target.name.clone(),
            source,
        })?;
        let at = found.as_ref().map(|header| (life, header.position));
        let found = found.map(|header| header.sequence);
        if found.is_some_and(|found| found <= next) {
            self.at = at;
            return Ok(());
        }
        let Some((behind, is_exact)) = row else {
            return Err(FollowError::Damaged {
                file: target.name.clone(),
                position,
                sequence: next,
                defect,
            });
        };
        let elsewhere = ahead.filter(|ahead| !is_exact && *ahead < behind);
        self.go_on_at(found.or(elsewhere).unwrap_or(behind));
        self.at = at;
        Ok(())
    }

    /// Brings a frame that was handed out before once more, for [`Follower::frame`].
    pub async fn again(&mut self, spot: &Spot) -> Result<(), FollowError> {
        let target = self.journal.inner.borrow().segment_of(spot.sequence);
        let gone = FollowError::Gone {
            from: spot.sequence,
            to: spot.sequence.next(),
        };
        let Ok(target) = target else {
            return Err(gone);
        };
        if target.life != spot.life {
            return Err(gone);
        }
        let loaded = self.load(&target, spot.position).await?;
        if !self.journal.holds(spot.life) {
            return Err(gone);
        }
        let damaged = |defect| FollowError::Damaged {
            file: target.name.clone(),
            position: spot.position,
            sequence: spot.sequence,
            defect,
        };
        loaded.map(drop).map_err(damaged)
    }

    /// Reads up to the cursor, so that [`Follower::passed`] is known. What is wrong there [`Follower::next`] tells.
    /// To be called before the first frame is taken.
    pub async fn reach(&mut self) {
        loop {
            let target = {
                let inner = self.journal.inner.borrow();
                let is_there = Some(self.next) <= inner.durable;
                inner.segment_of(self.next).ok().filter(|_| is_there)
            };
            let Some(target) = target.filter(|target| target.kind == Kind::Journal) else {
                return;
            };
            let position = self.position_in(target.life);
            let Ok(Ok(header)) = self.load(&target, position).await else {
                return;
            };
            let is_before = header.sequence < self.next && self.journal.holds(target.life);
            if !is_before || self.take(&target, position, &header).is_err() {
                return;
            }
        }
    }

    /// Where to look for the next frame in a segment of this life.
    fn position_in(&self, life: Life) -> u64 {
        match self.at {
            Some((at, position)) if at == life => position,
            _ => HEADER_BYTES as u64,
        }
    }

    /// What the segments hold from the cursor's on, as their footers tell it; [`Follower::passed`] of that lies
    /// before the cursor. To be called before the first frame is taken.
    pub async fn measure(&self) -> io::Result<Load> {
        let (disk, sealed, mut sum) = {
            let inner = self.journal.inner.borrow();
            if inner.durable < Some(self.next) {
                return Ok(Load::default());
            }
            let from = inner.segments_before(self.next);
            let sealed = inner.sealed.iter().skip(from);
            let sealed = sealed.filter(|sealed| sealed.kind == Kind::Journal);
            let segment = |sealed: &super::SealedSegment<D::File>| {
                (sealed.file.clone(), sealed.life, sealed.file_bytes)
            };
            let sealed: Vec<_> = sealed.map(segment).collect();
            let mut sum = Load::default();
            let young = inner.closing.iter().chain(&inner.open);
            for open in young.skip(from.saturating_sub(inner.sealed.len())) {
                sum.events += open.records;
                sum.bytes += open.position - HEADER_BYTES as u64;
            }
            (inner.disk.clone(), sealed, sum)
        };
        for (file, life, bytes) in sealed {
            let footer: Option<Footer> = read_footer(&disk, &file, life, bytes).await?;
            if let Some(footer) = footer {
                sum.events += footer.records;
                sum.bytes += footer.end.saturating_sub(HEADER_BYTES as u64);
            }
        }
        Ok(sum)
    }

    /// What of [`Follower::measure`] lies before the cursor: known when it was reached.
    pub fn passed(&self) -> Load {
        self.passed
    }
}
