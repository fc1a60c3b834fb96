//! Reading frames from a segment file in large steps.

use super::disk::Disk;
use super::format::frame::{FrameHeader, HEADER_BYTES};
use crate::limit::{BLOCK_BYTES, FRAME_BYTES_MAX};
use futures_util::stream::{self, LocalBoxStream, StreamExt as _};
use std::io;

/// What is read at once of a file that is read as a whole.
const STEP_BYTES: u64 = 4 << 20;
/// What is read at once where every block is looked at, and how many such reads are on their way.
const SCAN_BYTES: u64 = 1 << 20;
const SCANS_AT_ONCE: usize = 8;

/// Reads what must be there. A short answer is never taken for the end of what was written: each copy is asked
/// once more, and then it is an error.
pub async fn read_whole<D: Disk>(
    disk: &D,
    file: &D::File,
    position: u64,
    bytes: usize,
) -> io::Result<D::Buffer> {
    let buffer = disk.read(file, position, bytes).await?;
    if bytes <= buffer.as_ref().len() {
        return Ok(buffer);
    }
    for copy in 0..disk.copies() {
        let again = disk.read_copy(copy, file, position, bytes).await;
        if let Ok(buffer) = again
            && bytes <= buffer.as_ref().len()
        {
            return Ok(buffer);
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

/// A stretch of one segment file in memory, moved forward frame by frame.
pub struct Window<'a, D: Disk> {
    disk: &'a D,
    file: &'a D::File,
    file_bytes: u64,
    /// Read at once; a larger frame is read on its own.
    step: u64,
    start: u64,
    bytes: Option<D::Buffer>,
}

impl<'a, D: Disk> Window<'a, D> {
    pub fn new(disk: &'a D, file: &'a D::File, file_bytes: u64) -> Self {
        Self::with_step(disk, file, file_bytes, STEP_BYTES)
    }

    /// For who wants a frame or two, and not all of them.
    pub fn with_step(disk: &'a D, file: &'a D::File, file_bytes: u64, step: u64) -> Self {
        Self {
            disk,
            file,
            file_bytes,
            step,
            start: 0,
            bytes: None,
        }
    }

    /// The bytes from `position` on: a whole frame if one begins there, else at least one block, or none at
    /// the end of the file.
    pub async fn frame(&mut self, position: u64) -> io::Result<&[u8]> {
        self.ensure(position, BLOCK_BYTES).await?;
        let claim = FrameHeader::decode(self.from(position)).ok();
        if let Some((header, _)) = claim {
            self.ensure(position, header.padded_bytes() as u64).await?;
        }
        Ok(self.from(position))
    }

    /// So many bytes from `position` on, fewer only at the end of the file. At most a frame's.
    pub async fn bytes(&mut self, position: u64, length: usize) -> io::Result<&[u8]> {
        self.ensure(position, length as u64).await?;
        let bytes = self.from(position);
        Ok(&bytes[..length.min(bytes.len())])
    }

    fn from(&self, position: u64) -> &[u8] {
        let bytes = self.bytes.as_ref().map_or(&[][..], |bytes| bytes.as_ref());
        usize::try_from(position - self.start)
            .ok()
            .and_then(|skip| bytes.get(skip..))
            .unwrap_or(&[])
    }

    async fn ensure(&mut self, position: u64, length: u64) -> io::Result<()> {
        debug_assert!(length <= FRAME_BYTES_MAX as u64);
        let held = self
            .bytes
            .as_ref()
            .map_or(0, |bytes| bytes.as_ref().len() as u64);
        let end = (position + length).min(self.file_bytes);
        if self.start <= position && end <= self.start + held {
            return Ok(());
        }
        let wanted = length
            .max(self.step)
            .min(self.file_bytes.saturating_sub(position));
        self.start = position;
        self.bytes = None;
        if 0 < wanted {
            let read = read_whole(self.disk, self.file, position, wanted as usize).await?;
            self.bytes = Some(read);
        }
        Ok(())
    }
}

/// The frame headers of a file, on any block border, one after the other: however many there are, each byte is
/// read once.
pub struct Scan<'a, D: Disk> {
    reads: LocalBoxStream<'a, io::Result<Piece<D::Buffer>>>,
    piece: Option<Piece<D::Buffer>>,
    /// Where to go on.
    from: u64,
}

/// Bytes of a file.
struct Piece<B> {
    position: u64,
    bytes: usize,
    buffer: B,
}

impl<'a, D: Disk> Scan<'a, D> {
    /// Looks between `from` and the end of the file.
    pub fn new(disk: &'a D, file: &'a D::File, from: u64, file_bytes: u64) -> Self {
        let steps = (from..file_bytes).step_by(SCAN_BYTES as usize);
        let reads = steps.map(move |position| async move {
            let bytes = SCAN_BYTES.min(file_bytes - position) as usize;
            let buffer = read_whole(disk, file, position, bytes).await?;
            Ok(Piece {
                position,
                bytes,
                buffer,
            })
        });
        Self {
            reads: stream::iter(reads).buffered(SCANS_AT_ONCE).boxed_local(),
            piece: None,
            from,
        }
    }

    /// The next header that `wanted` accepts.
    pub async fn next(
        &mut self,
        wanted: impl Fn(&FrameHeader) -> bool,
    ) -> io::Result<Option<FrameHeader>> {
        loop {
            if let Some(header) = self.next_here(&wanted) {
                return Ok(Some(header));
            }
            match self.reads.next().await {
                Some(piece) => self.piece = Some(piece?),
                None => return Ok(None),
            }
        }
    }

    /// As `next`, in what is read already.
    fn next_here(&mut self, wanted: impl Fn(&FrameHeader) -> bool) -> Option<FrameHeader> {
        let piece = self.piece.as_ref()?;
        let bytes = &piece.buffer.as_ref()[..piece.bytes];
        while let Some(block) = bytes.get((self.from - piece.position) as usize..) {
            if block.len() < HEADER_BYTES {
                break;
            }
            let at = self.from;
            self.from += BLOCK_BYTES;
            if let Ok((header, _)) = FrameHeader::decode(block)
                && header.position == at
                && wanted(&header)
            {
                return Some(header);
            }
        }
        None
    }
}

/// The first header between `from` and the end of the file, on any block border, that `wanted` accepts.
pub async fn find_frames<D: Disk>(
    disk: &D,
    file: &D::File,
    from: u64,
    file_bytes: u64,
    wanted: impl Fn(&FrameHeader) -> bool,
) -> io::Result<Option<FrameHeader>> {
    Scan::new(disk, file, from, file_bytes).next(wanted).await
}
