//! Reading frames from a segment file in large steps.

use super::disk::Disk;
use super::format::frame::{FrameHeader, HEADER_BYTES};
use crate::limit::{BLOCK_BYTES, FRAME_BYTES_MAX};
use futures_util::{StreamExt as _, stream};
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

/// The first header between `from` and the end of the file, on any block border, that `wanted` accepts.
pub async fn find_frames<D: Disk>(
    disk: &D,
    file: &D::File,
    from: u64,
    file_bytes: u64,
    wanted: impl Fn(&FrameHeader) -> bool,
) -> io::Result<Option<FrameHeader>> {
    let steps = (from..file_bytes).step_by(SCAN_BYTES as usize);
    let reads = steps.map(|position| async move {
        let step = SCAN_BYTES.min(file_bytes - position) as usize;
        let buffer = read_whole(disk, file, position, step).await?;
        Ok::<_, io::Error>((position, step, buffer))
    });
    let mut reads = stream::iter(reads).buffered(SCANS_AT_ONCE);
    while let Some(read) = reads.next().await {
        let (position, step, buffer) = read?;
        let bytes = &buffer.as_ref()[..step];
        for (index, block) in bytes.chunks(BLOCK_BYTES as usize).enumerate() {
            if block.len() < HEADER_BYTES {
                continue;
            }
            let at = position + index as u64 * BLOCK_BYTES;
            if let Ok((header, _)) = FrameHeader::decode(block)
                && header.position == at
                && wanted(&header)
            {
                return Ok(Some(header));
            }
        }
    }
    Ok(None)
}
