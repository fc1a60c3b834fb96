//! What a volume is: the first thing read, and never guessed at.
//!
//! | superblock | bytes | |
//! |---|---|---|
//! | 0  | 8  | magic `RTLSUPER` |
//! | 8  | 8  | CRC-64 of bytes 16..4096 |
//! | 16 | 16 | store |
//! | 32 | 2  | version |
//! | 34 | 2  | zero |
//! | 36 | 4  | volume |
//! | 40 | 4  | volumes V: numbers that were given out so far; none is given twice |
//! | 44 | 4  | journals J |
//! | 48 | 8  | segment bytes |
//! | 56 | 8  | generation: one more at each rewriting |
//! | 64 | 24 | feature bits |
//! | 88 | 4  | journals before: how many journals there were when the volume joined the store |
//! | 92 | 4  | zero |
//! | 96 | 8  | mounted: a bit for each of the volumes 0 to 63 that was not on the root file system |
//!
//! Two copies, one block each: the first is written and flushed before the second is touched, so one
//! of them is always whole. The newer generation counts.

use super::cursor::{Reader, Writer};
use super::{Defect, Features, StoreId, VERSION, checksum};
use crate::limit::BLOCK_BYTES;

const MAGIC: &[u8; 8] = b"RTLSUPER";
const WHAT: &str = "superblock";
const BYTES: usize = BLOCK_BYTES as usize;

/// One volume's description of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    pub store: StoreId,
    /// This volume's number in the store, from 0.
    pub volume: u32,
    /// Numbers that were given to volumes of this store so far.
    pub volumes: u32,
    pub journals: u32,
    pub segment_bytes: u64,
    pub generation: u64,
    pub features: Features,
    /// Journals below this number, and the catalogue when it is not 0, were there before the volume: one that
    /// is empty here has not been copied yet. 0 for the volumes that the store was made with.
    pub journals_before: u32,
    /// A bit for each volume, up to number 63, that was not on the root file system when it was opened last: one
    /// that is missing is not replaced by a folder that is.
    pub mounted: u64,
}

impl Superblock {
    /// Writes one copy into `block`, which is one block long.
    pub fn encode(&self, block: &mut [u8]) {
        assert_eq!(block.len(), BYTES);
        let mut out = Writer::new(block);
        out.bytes(MAGIC);
        out.u64(0);
        out.u128(self.store.0);
        out.u16(VERSION);
        out.u16(0);
        out.u32(self.volume);
        out.u32(self.volumes);
        out.u32(self.journals);
        out.u64(self.segment_bytes);
        out.u64(self.generation);
        self.features.write(&mut out);
        out.u32(self.journals_before);
        out.u32(0);
        out.u64(self.mounted);
        out.zero_until(BYTES);
        let checksum = checksum::crc64(&block[16..]);
        block[8..16].copy_from_slice(&checksum.to_le_bytes());
    }

    /// Reads one copy.
    pub fn decode(block: &[u8]) -> Result<Self, Defect> {
        let block = block.get(..BYTES).ok_or(Defect::Absent(WHAT))?;
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
        let version = from.u16()?;
        from.u16()?;
        let mut superblock = Self {
            store,
            volume: from.u32()?,
            volumes: from.u32()?,
            journals: from.u32()?,
            segment_bytes: from.u64()?,
            generation: from.u64()?,
            features: Features::read(from)?,
            journals_before: from.u32()?,
            mounted: 0,
        };
        from.u32()?;
        superblock.mounted = from.u64()?;
        Some(match version {
            VERSION => superblock.features.check().map(|()| superblock),
            other => Err(Defect::Version(other)),
        })
    }

    /// The newer good copy of the two. A copy that this program cannot know stops it, whatever the other says.
    pub fn choose(first: &[u8], second: &[u8]) -> Result<Self, Defect> {
        match (Self::decode(first), Self::decode(second)) {
            (Err(defect @ (Defect::Version(_) | Defect::UnknownFeature { .. })), _)
            | (_, Err(defect @ (Defect::Version(_) | Defect::UnknownFeature { .. }))) => {
                Err(defect)
            }
            (Ok(one), Ok(two)) => Ok(if one.generation < two.generation {
                two
            } else {
                one
            }),
            (Ok(one), Err(_)) => Ok(one),
            (Err(_), Ok(two)) => Ok(two),
            (Err(defect), Err(_)) => Err(defect),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Superblock {
        Superblock {
            store: StoreId(7 << 100),
            volume: 1,
            volumes: 3,
            journals: 2,
            segment_bytes: 1 << 27,
            generation: 4,
            features: Features {
                compatible: 9,
                ..Features::default()
            },
            journals_before: 2,
            mounted: 5,
        }
    }

    #[test]
    fn what_goes_in_comes_out() {
        let mut block = [0xaa; BYTES];
        example().encode(&mut block);
        assert_eq!(Superblock::decode(&block), Ok(example()));
        assert_eq!(&block[40..44], &3u32.to_le_bytes());
        assert_eq!(&block[88..92], &2u32.to_le_bytes());
        assert_eq!(&block[96..104], &5u64.to_le_bytes());
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let mut block = [0; BYTES];
        example().encode(&mut block);
        for bit in (0..BYTES * 8).step_by(37) {
            block[bit / 8] ^= 1 << (bit % 8);
            assert!(Superblock::decode(&block).is_err(), "bit {bit}");
            block[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn the_newer_good_copy_counts() {
        let (mut one, mut two) = ([0; BYTES], [0; BYTES]);
        example().encode(&mut one);
        let newer = Superblock {
            generation: 5,
            ..example()
        };
        newer.encode(&mut two);
        assert_eq!(Superblock::choose(&one, &two), Ok(newer));
        two[100] ^= 1;
        assert_eq!(Superblock::choose(&one, &two), Ok(example()));
        one[100] ^= 1;
        assert_eq!(Superblock::choose(&one, &two), Err(Defect::Checksum(WHAT)));
    }

    #[test]
    fn an_unknown_incompatible_bit_stops() {
        let mut block = [0; BYTES];
        let features = Features {
            incompatible: 1 << 40,
            ..Features::default()
        };
        Superblock {
            features,
            ..example()
        }
        .encode(&mut block);
        let bits = 1 << 40;
        assert_eq!(
            Superblock::decode(&block),
            Err(Defect::UnknownFeature { bits })
        );
    }

    #[test]
    fn any_bytes_are_only_a_claim() {
        bolero::check!()
            .with_iterations(5_000)
            .for_each(|bytes: &[u8]| {
                let _ = Superblock::decode(bytes);
                let _ = Superblock::choose(bytes, bytes);
            });
    }
}
