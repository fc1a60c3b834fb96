//! Bringing one frame to memory, whole: from the newest frames, from what was read before, or from the first copy
//! that is right.

use super::super::super::disk::Disk;
use super::super::super::format::Defect;
use super::super::super::format::frame::FrameHeader;
use super::super::super::format::section::Frame;
use super::super::super::walk::read_whole;
use super::{FollowError, Follower, Target};
use crate::limit::{BLOCK_BYTES, READ_AHEAD_BYTES};
use crate::unit::Life;
use std::io;

/// What was read of a segment.
pub(super) struct Piece<B> {
    life: Life,
    start: u64,
    bytes: B,
}

impl<B: AsRef<[u8]>> Piece<B> {
    /// The bytes from `position` on: at least a block of them.
    fn from(&self, life: Life, position: u64) -> Option<&[u8]> {
        let skip = usize::try_from(position.checked_sub(self.start)?).ok()?;
        let rest = self.bytes.as_ref().get(skip..)?;
        (self.life == life && BLOCK_BYTES as usize <= rest.len()).then_some(rest)
    }
}

impl<D: Disk> Follower<D> {
    /// Brings the frame at `position` to `self.frame`, whole, from memory or from the first copy that is right.
    pub(super) async fn load(
        &mut self,
        target: &Target<D::File>,
        position: u64,
    ) -> Result<Result<FrameHeader, Defect>, FollowError> {
        {
            let inner = self.journal.inner.borrow();
            if let Some(bytes) = inner.tail.frame(target.life, position) {
                self.frame.clear();
                self.frame.extend_from_slice(bytes);
            } else if let Some(ahead) = &self.ahead
                && let Some(bytes) = ahead.from(target.life, position)
            {
                copy_frame(bytes, &mut self.frame);
            } else {
                self.frame.clear();
            }
        }
        if let Ok(header) = whole(&self.frame, target.life, position) {
            return Ok(Ok(header));
        }
        self.load_from_disk(target, position).await
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

    /// Reads from the first copy that can be read, or from this one; a frame that is larger than the piece whole.
    async fn read_piece(
        &mut self,
        target: &Target<D::File>,
        position: u64,
        bytes: usize,
        copy: Option<usize>,
    ) -> io::Result<()> {
        let journal = self.journal.clone();
        let disk = journal.inner.borrow().disk.clone();
        let mut wanted = bytes;
        for _ in 0..2 {
            let _pass = journal.bells.readers.enter(wanted).await;
            let bytes = match copy {
                None => read_whole(&disk, &target.file, position, wanted).await?,
                Some(copy) => disk.read_copy(copy, &target.file, position, wanted).await?,
            };
            self.read += bytes.as_ref().len() as u64;
            copy_frame(bytes.as_ref(), &mut self.frame);
            let header = FrameHeader::decode(&self.frame).ok();
            let needs = header.map_or(0, |(header, _)| header.padded_bytes());
            self.ahead = Some(Piece {
                life: target.life,
                start: position,
                bytes,
            });
            if needs <= wanted {
                break;
            }
            wanted = needs;
        }
        Ok(())
    }
}

/// Copies the frame that begins here, or as much of it as there is.
fn copy_frame(bytes: &[u8], into: &mut Vec<u8>) {
    let header = FrameHeader::decode(bytes).ok();
    let length = header.map_or(BLOCK_BYTES as usize, |(header, _)| header.padded_bytes());
    into.clear();
    into.extend_from_slice(&bytes[..length.min(bytes.len())]);
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
