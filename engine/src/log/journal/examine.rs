//! One copy of a sealed segment, looked at from its header to its footer, piece by piece.
//!
//! Always:  a piece is right only if it is what the chain asks for at that place: the same life, position,
//!          sequence and chain value, and every checksum. So a piece that is right may stand in for the one
//!          of any other copy.

use super::super::disk::Disk;
use super::super::format::StoreId;
use super::super::format::checksum;
use super::super::format::footer::{FOOTER_BYTES, Footer};
use super::super::format::frame::FrameHeader;
use super::super::format::section::Frame;
use super::super::format::segment::{HEADER_BYTES, Kind, Opening, SegmentHeader};
use super::super::walk::{Window, find_frames, read_whole};
use super::segment::read_footer;
use crate::limit::BLOCK_BYTES;
use crate::unit::{JournalId, Life, Sequence};
use std::io;
use std::rc::Rc;

/// One segment's file on one volume.
pub(super) struct Copy<D: Disk> {
    pub(super) volume: u32,
    pub(super) disk: D,
    pub(super) file: Rc<D::File>,
}

/// What a sealed segment is, as the journal knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    pub(super) store: StoreId,
    pub(super) journal: JournalId,
    pub(super) kind: Kind,
    /// Of the file.
    pub(super) file_bytes: u64,
    pub(super) life: Life,
    pub(super) opening: Opening,
    /// Of the segment after it.
    pub(super) next: Opening,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Header,
    Frame,
    Footer,
    End,
}

/// A place in a segment, and what is expected there.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    part: Part,
    position: u64,
    sequence: Sequence,
    chain: u64,
}

/// A piece that is right.
pub(super) struct Piece {
    pub(super) position: u64,
    pub(super) bytes: Vec<u8>,
    /// What follows it.
    pub(super) next: At,
}

impl Expected {
    /// The sequence that its first frame carries.
    fn first(&self) -> Sequence {
        match self.kind {
            Kind::Journal => self.opening.first,
            Kind::Sorted => {
                let last = Sequence::new(self.next.first.get() - 1);
                last.unwrap_or(self.opening.first)
            }
        }
    }
}

impl At {
    pub(super) fn start(expected: &Expected) -> Self {
        Self {
            part: Part::Header,
            position: 0,
            sequence: expected.first(),
            chain: expected.opening.chain_in,
        }
    }

    pub(super) fn is_end(&self) -> bool {
        self.part == Part::End
    }

    /// Bytes from the start of the file.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The first and the last frame that are missing when `next` is the next place that can be looked at.
    pub(super) fn missing(&self, expected: &Expected, next: &Self) -> Option<(Sequence, Sequence)> {
        let behind = if next.is_end() {
            expected.next.first
        } else {
            next.sequence
        };
        let last = Sequence::new(behind.get() - 1)?;
        let are_numbered = self.part == Part::Frame && expected.kind == Kind::Journal;
        (are_numbered && self.sequence <= last).then_some((self.sequence, last))
    }

    /// What follows the header at this place, if it is the one that is expected.
    fn after_header(&self, expected: &Expected, block: &[u8]) -> Option<Self> {
        let header = SegmentHeader::decode(block).ok()?;
        let whose = (header.store, header.journal) == (expected.store, expected.journal);
        let form = (header.kind, header.segment_bytes) == (expected.kind, expected.file_bytes);
        let same = form && header.life == expected.life && header.opening == Some(expected.opening);
        (whose && same).then_some(Self {
            part: Part::Frame,
            position: HEADER_BYTES as u64,
            ..*self
        })
    }

    fn after_frame(&self, expected: &Expected, bytes: &[u8]) -> Option<Self> {
        let frame = Frame::check(bytes).ok()?;
        let header = &frame.header;
        let whose = (header.store, header.journal) == (expected.store, expected.journal);
        let here = (header.life, header.position) == (expected.life, self.position);
        let chained = (header.sequence, header.chain) == (self.sequence, self.chain);
        (whose && here && chained).then(|| {
            // Where the frames of a rewritten segment end, its footer says.
            let (sequence, is_last) = match expected.kind {
                Kind::Journal => {
                    let next = header.sequence.next();
                    (next, expected.next.first <= next)
                }
                Kind::Sorted => (header.sequence, false),
            };
            Self {
                part: if is_last { Part::Footer } else { Part::Frame },
                position: self.position + header.padded_bytes() as u64,
                sequence,
                chain: frame.chain_value,
            }
        })
    }

    fn fits_footer(&self, expected: &Expected, footer: &Footer) -> bool {
        footer.last.next() == expected.next.first
            && footer.chain_out == expected.next.chain_in
            && footer.end == self.position
    }
}

impl<D: Disk> Copy<D> {
    pub(super) fn window(&self, expected: &Expected) -> Window<'_, D> {
        Window::new(&self.disk, &self.file, expected.file_bytes)
    }

    /// What follows the piece at `at`; `None` when that is not what it should be.
    pub(super) async fn look(
        &self,
        window: &mut Window<'_, D>,
        expected: &Expected,
        at: &At,
    ) -> io::Result<Option<At>> {
        match at.part {
            Part::Frame => match at.after_frame(expected, window.frame(at.position).await?) {
                None if expected.kind == Kind::Sorted => {
                    let footer = self.fetch_footer(expected, at).await?;
                    Ok(footer.map(|piece| piece.next))
                }
                next => Ok(next),
            },
            _ => Ok(self.fetch(expected, at).await?.map(|piece| piece.next)),
        }
    }

    /// The piece at `at`, if it is right in this copy.
    pub(super) async fn fetch(&self, expected: &Expected, at: &At) -> io::Result<Option<Piece>> {
        match at.part {
            Part::Header => {
                let block = read_whole(&self.disk, &self.file, 0, HEADER_BYTES).await?;
                let bytes = block.as_ref()[..HEADER_BYTES].to_vec();
                let next = at.after_header(expected, &bytes);
                Ok(next.map(|next| Piece {
                    position: 0,
                    bytes,
                    next,
                }))
            }
            Part::Frame => {
                let mut window = self.window(expected);
                let bytes = window.frame(at.position).await?;
                let next = at.after_frame(expected, bytes);
                if next.is_none() && expected.kind == Kind::Sorted {
                    return self.fetch_footer(expected, at).await;
                }
                Ok(next.map(|next| Piece {
                    position: at.position,
                    bytes: bytes[..(next.position - at.position) as usize].to_vec(),
                    next,
                }))
            }
            Part::Footer => self.fetch_footer(expected, at).await,
            Part::End => Ok(None),
        }
    }

    /// Index and footer together.
    async fn fetch_footer(&self, expected: &Expected, at: &At) -> io::Result<Option<Piece>> {
        let size = expected.file_bytes;
        let footer = read_footer(&self.disk, &self.file, expected.life, size).await?;
        let Some(footer) = footer.filter(|footer| at.fits_footer(expected, footer)) else {
            return Ok(None);
        };
        let index_end = size - FOOTER_BYTES as u64;
        let index_start = index_end - footer.index_bytes;
        let position = index_start / BLOCK_BYTES * BLOCK_BYTES;
        if position < at.position {
            return Ok(None);
        }
        let length = (size - position) as usize;
        let bytes = read_whole(&self.disk, &self.file, position, length).await?;
        let bytes = bytes.as_ref()[..length].to_vec();
        let index = &bytes[(index_start - position) as usize..(index_end - position) as usize];
        let right = checksum::crc64(index) == footer.index_checksum;
        Ok(right.then_some(Piece {
            position,
            bytes,
            next: At {
                part: Part::End,
                ..*at
            },
        }))
    }

    /// The next place behind `at` that can be looked at though the piece at `at` is lost.
    pub(super) async fn skip(&self, expected: &Expected, at: &At) -> At {
        let end = At {
            part: Part::End,
            ..*at
        };
        match at.part {
            Part::Footer | Part::End => return end,
            Part::Header => {
                return At {
                    part: Part::Frame,
                    position: HEADER_BYTES as u64,
                    ..*at
                };
            }
            Part::Frame => {}
        }
        let follows = |header: &FrameHeader| {
            let in_order = match expected.kind {
                Kind::Journal => at.sequence < header.sequence,
                Kind::Sorted => at.sequence == header.sequence,
            };
            header.life == expected.life && in_order && header.sequence < expected.next.first
        };
        let (from, size) = (at.position + BLOCK_BYTES, expected.file_bytes);
        match find_frames(&self.disk, &self.file, from, size, follows).await {
            Ok(Some(header)) => At {
                part: Part::Frame,
                position: header.position,
                sequence: header.sequence,
                chain: header.chain,
            },
            _ => end,
        }
    }
}
