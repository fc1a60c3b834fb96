//! Bringing one frame to memory, whole: from the newest frames, from what was read before, or from the first copy
//! that is right.
//!
//! Always:  while frames are taken from one piece, the next is on its way. At most one is, and the follower never waits for
//!          its turn at the gate while it has a piece there.

use super::super::super::disk::Disk;
use super::super::super::format::Defect;
use super::super::super::format::frame::FrameHeader;
use super::super::super::format::section::Frame;
use super::super::super::walk::read_whole;
use super::super::Journal;
use super::{FollowError, Follower, Target};
use crate::limit::{BLOCK_BYTES, READ_AHEAD_BYTES};
use crate::unit::Life;
use futures_util::FutureExt as _;
use futures_util::future::{LocalBoxFuture, MaybeDone, maybe_done};
use std::future::{pending, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

/// What was read of a segment.
pub(super) struct Piece<B> {
    life: Life,
    start: u64,
    bytes: B,
}

/// A piece that is on its way.
pub(super) struct Coming<B> {
    life: Life,
    start: u64,
    bytes: MaybeDone<LocalBoxFuture<'static, io::Result<B>>>,
}

impl<B: AsRef<[u8]>> Piece<B> {
    fn end(&self) -> u64 {
        self.start + self.bytes.as_ref().len() as u64
    }

    /// The whole blocks from `position` on, if there is one.
    fn from(&self, life: Life, position: u64) -> Option<&[u8]> {
        let skip = usize::try_from(position.checked_sub(self.start)?).ok()?;
        let rest = self.bytes.as_ref().get(skip..)?;
        let whole = rest.len() - rest.len() % BLOCK_BYTES as usize;
        (self.life == life && 0 < whole).then_some(&rest[..whole])
    }
}

impl<D: Disk> Follower<D> {
    /// Brings the frame at `position` to `self.frame`, whole, from memory or from the first copy that is right.
    pub(super) async fn load(
        &mut self,
        target: &Target<D::File>,
        position: u64,
    ) -> Result<Result<FrameHeader, Defect>, FollowError> {
        self.frame.clear();
        if let Some(bytes) = self
            .journal
            .inner
            .borrow()
            .tail
            .frame(target.life, position)
        {
            self.frame.extend_from_slice(bytes);
        }
        if self.frame.is_empty() {
            // What cannot be read here is read once more, from each copy.
            let _unread = self.gather(target, position).await;
        }
        if let Ok(header) = whole(&self.frame, target.life, position) {
            return Ok(Ok(header));
        }
        self.load_from_disk(target, position).await
    }

    /// Puts the frame together from what was read before and from what lies behind that, so that nothing is read
    /// twice, however large frames are.
    async fn gather(&mut self, target: &Target<D::File>, position: u64) -> io::Result<()> {
        loop {
            let missing = needs(&self.frame).saturating_sub(self.frame.len());
            if missing == 0 {
                return Ok(());
            }
            let at = position + self.frame.len() as u64;
            if let Some(rest) = self
                .ahead
                .as_ref()
                .and_then(|ahead| ahead.from(target.life, at))
            {
                self.frame
                    .extend_from_slice(&rest[..missing.min(rest.len())]);
                continue;
            }
            let piece = self.arrived().await;
            let piece = piece.filter(|piece| piece.from(target.life, at).is_some());
            if piece.is_some() {
                self.ahead = piece;
            } else {
                let bytes = READ_AHEAD_BYTES.min(target.end.saturating_sub(at));
                if bytes < BLOCK_BYTES {
                    return Ok(());
                }
                self.read_ahead(target, at, bytes as usize, None).await?;
            }
            self.begin_next(target).await;
        }
    }

    /// Begins to read the piece behind the one that is here, if there is a whole one.
    async fn begin_next(&mut self, target: &Target<D::File>) {
        let Some(start) = self.ahead.as_ref().map(Piece::end) else {
            return;
        };
        if target.end < start + READ_AHEAD_BYTES {
            return;
        }
        let reading = read_through(self.journal.clone(), target.file.clone(), start);
        let mut bytes = maybe_done(reading.boxed_local());
        // Polled once it is on its way, and the disk has it while nobody looks.
        poll_fn(|context| Poll::Ready(bytes.poll_unpin(context).is_ready())).await;
        self.coming = Some(Coming {
            life: target.life,
            start,
            bytes,
        });
    }

    /// Waits for what is on its way; `None` when nothing is, or could be had.
    async fn arrived(&mut self) -> Option<Piece<D::Buffer>> {
        let mut coming = self.coming.take()?;
        (&mut coming.bytes).await;
        let bytes = Pin::new(&mut coming.bytes).take_output()?.ok()?;
        self.read += bytes.as_ref().len() as u64;
        Some(Piece {
            life: coming.life,
            start: coming.start,
            bytes,
        })
    }

    /// Lets what is on its way come in, and other readers have their turn after it. Never resolves: to be waited for beside
    /// something else by who does not call [`Follower::next`] for a while.
    pub async fn keep_reading(&mut self) {
        if let Some(coming) = &mut self.coming {
            (&mut coming.bytes).await;
        }
        pending::<()>().await;
    }

    /// Reads a piece from the first copy that can be read, or from this one.
    async fn read_ahead(
        &mut self,
        target: &Target<D::File>,
        start: u64,
        bytes: usize,
        copy: Option<usize>,
    ) -> io::Result<()> {
        // Whoever has a piece at the gate and waits for another there waits for himself.
        self.arrived().await;
        let journal = self.journal.clone();
        let disk = journal.inner.borrow().disk.clone();
        let _pass = journal.bells.readers.enter(bytes).await;
        let bytes = match copy {
            None => read_whole(&disk, &target.file, start, bytes).await?,
            Some(copy) => disk.read_copy(copy, &target.file, start, bytes).await?,
        };
        self.read += bytes.as_ref().len() as u64;
        self.ahead = Some(Piece {
            life: target.life,
            start,
            bytes,
        });
        Ok(())
    }

    async fn load_from_disk(
        &mut self,
        target: &Target<D::File>,
        position: u64,
    ) -> Result<Result<FrameHeader, Defect>, FollowError> {
        let bytes = READ_AHEAD_BYTES.min(target.end.saturating_sub(position));
        let bytes = (bytes as usize).max(BLOCK_BYTES as usize);
        let mut defect = Defect::Absent("whole frame");
        let mut trouble = None;
        let copies = self.journal.inner.borrow().disk.copies();
        for copy in std::iter::once(None).chain((0..copies).map(Some)) {
            match self.read_piece(target, position, bytes, copy).await {
                Ok(()) => match whole(&self.frame, target.life, position) {
                    Ok(header) => return Ok(Ok(header)),
                    Err(found) => defect = found,
                },
                Err(source) => trouble = Some(source),
            }
        }
        match trouble {
            Some(source) if !matches!(defect, Defect::Checksum(_) | Defect::Malformed(_)) => {
                Err(FollowError::Disk {
                    file: target.name.clone(),
                    source,
                })
            }
            _ => Ok(Err(defect)),
        }
    }

    /// Reads the frame and what lies behind it; a frame that is larger than the piece whole.
    async fn read_piece(
        &mut self,
        target: &Target<D::File>,
        position: u64,
        bytes: usize,
        copy: Option<usize>,
    ) -> io::Result<()> {
        let mut wanted = bytes;
        for _ in 0..2 {
            self.read_ahead(target, position, wanted, copy).await?;
            self.frame.clear();
            if let Some(ahead) = &self.ahead {
                let bytes = ahead.bytes.as_ref();
                let length = needs(bytes).min(bytes.len());
                self.frame.extend_from_slice(&bytes[..length]);
            }
            let needs = needs(&self.frame);
            if needs <= wanted {
                break;
            }
            wanted = needs;
        }
        Ok(())
    }
}

/// Reads a piece from the first copy that can be read, when its turn comes.
async fn read_through<D: Disk>(
    journal: Journal<D>,
    file: Rc<D::File>,
    start: u64,
) -> io::Result<D::Buffer> {
    let bytes = READ_AHEAD_BYTES as usize;
    let disk = journal.inner.borrow().disk.clone();
    let _pass = journal.bells.readers.enter(bytes).await;
    read_whole(&disk, &file, start, bytes).await
}

/// How many bytes the frame that begins here has; of what begins with no frame, a block.
fn needs(bytes: &[u8]) -> usize {
    let header = FrameHeader::decode(bytes).ok();
    header.map_or(BLOCK_BYTES as usize, |(header, _)| header.padded_bytes())
}

/// The header of the frame, when every byte of it is right and it belongs where it was found.
fn whole(bytes: &[u8], life: Life, position: u64) -> Result<FrameHeader, Defect> {
    let frame = Frame::check(bytes)?;
    if frame.header.life == life && frame.header.position == position {
        Ok(frame.header)
    } else {
        Err(Defect::Misplaced("frame"))
    }
}
