//! The header of a segment file.
//!
//! | segment header | bytes | |
//! |---|---|---|
//! | 0  | 8  | magic `RTLSEGMT` |
//! | 8  | 8  | CRC-64 of bytes 16..4096 |
//! | 16 | 16 | store |
//! | 32 | 4  | journal |
//! | 36 | 2  | version |
//! | 38 | 2  | kind: 1 journal, 2 sorted |
//! | 40 | 8  | life |
//! | 48 | 8  | first sequence; 0 while the segment is prepared and not in use |
//! | 56 | 8  | size of the file |
//! | 64 | 8  | chain-in: the chain value of the frame before the first |
//! | 72 | 4  | block bytes |
//! | 76 | 4  | zero |
//! | 80 | 24 | feature bits |

use super::cursor::{Reader, Writer};
use super::{Defect, Features, StoreId, VERSION, checksum};
use crate::limit::BLOCK_BYTES;
use crate::unit::{JournalId, Life, Sequence};

const MAGIC: &[u8; 8] = b"RTLSEGMT";
const WHAT: &str = "segment header";
/// A header takes one block.
pub const HEADER_BYTES: usize = BLOCK_BYTES as usize;

/// How a segment's payload lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Frames as they were committed.
    Journal = 1,
    /// The same sequence range, rewritten without what was dead: drawn in [`super`].
    Sorted = 2,
}

/// Where a segment's frames begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    pub first: Sequence,
    pub chain_in: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    pub kind: Kind,
    pub store: StoreId,
    pub journal: JournalId,
    pub life: Life,
    pub segment_bytes: u64,
    /// `None` while the segment waits for its use.
    pub opening: Option<Opening>,
    pub features: Features,
}

impl SegmentHeader {
    /// Writes the header into `block`, which is one block long.
    pub fn encode(&self, block: &mut [u8]) {
        assert_eq!(block.len(), HEADER_BYTES);
        let mut out = Writer::new(block);
        out.bytes(MAGIC);
        out.u64(0);
        out.u128(self.store.0);
        out.u32(self.journal.0);
        out.u16(VERSION);
        out.u16(self.kind as u16);
        out.u64(self.life.0);
        out.u64(self.opening.map_or(0, |opening| opening.first.get()));
        out.u64(self.segment_bytes);
        out.u64(self.opening.map_or(0, |opening| opening.chain_in));
        out.u32(BLOCK_BYTES as u32);
        out.u32(0);
        self.features.write(&mut out);
        out.zero_until(HEADER_BYTES);
        let checksum = checksum::crc64(&block[16..]);
        block[8..16].copy_from_slice(&checksum.to_le_bytes());
    }

    pub fn decode(block: &[u8]) -> Result<Self, Defect> {
        let block = block.get(..HEADER_BYTES).ok_or(Defect::Absent(WHAT))?;
        let mut from = Reader::new(block);
        if from.bytes(8) != Some(MAGIC) {
            return Err(Defect::Absent(WHAT));
        }
        if from.u64() != Some(checksum::crc64(&block[16..])) {
            return Err(Defect::Checksum(WHAT));
        }
        Self::fields(&mut from).ok_or(Defect::Malformed(WHAT))?
    }

    fn fields(from: &mut Reader<'_>) -> Option<Result<Self, Defect>> {
        let store = StoreId(from.u128()?);
        let journal = JournalId(from.u32()?);
        let version = from.u16()?;
        if version != VERSION {
            return Some(Err(Defect::Version(version)));
        }
        let kind = match from.u16()? {
            1 => Kind::Journal,
            2 => Kind::Sorted,
            _ => return None,
        };
        let life = Life(from.u64()?);
        let first = Sequence::new(from.u64()?);
        let segment_bytes = from.u64()?;
        let chain_in = from.u64()?;
        if u64::from(from.u32()?) != BLOCK_BYTES {
            return None;
        }
        from.u32()?;
        let features = Features::read(from)?;
        let opening = first.map(|first| Opening { first, chain_in });
        let header = Self {
            kind,
            store,
            journal,
            life,
            segment_bytes,
            opening,
            features,
        };
        Some(features.check().map(|()| header))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out() {
        let opening = Opening {
            first: Sequence::FIRST.next(),
            chain_in: 0x1122_3344,
        };
        for opening in [None, Some(opening)] {
            let header = SegmentHeader {
                kind: Kind::Journal,
                store: StoreId(5),
                journal: JournalId(3),
                life: Life(9),
                segment_bytes: 1 << 26,
                opening,
                features: Features::default(),
            };
            let mut block = [0xbb; HEADER_BYTES];
            header.encode(&mut block);
            assert_eq!(SegmentHeader::decode(&block), Ok(header));
            for bit in (0..HEADER_BYTES * 8).step_by(41) {
                block[bit / 8] ^= 1 << (bit % 8);
                assert!(SegmentHeader::decode(&block).is_err(), "bit {bit}");
                block[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }

    #[test]
    fn any_bytes_are_only_a_claim() {
        bolero::check!()
            .with_iterations(2_000)
            .for_each(|bytes: &[u8]| {
                let mut block = vec![0; HEADER_BYTES];
                block[..8].copy_from_slice(MAGIC);
                let count = bytes.len().min(HEADER_BYTES - 16);
                block[16..16 + count].copy_from_slice(&bytes[..count]);
                let checksum = checksum::crc64(&block[16..]);
                block[8..16].copy_from_slice(&checksum.to_le_bytes());
                let _ = SegmentHeader::decode(&block);
            });
    }
}
