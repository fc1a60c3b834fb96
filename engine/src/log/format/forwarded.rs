//! The section that says how far a journal's frames have been forwarded, and what came of them. The newest counts.
//!
//! ```text
//! cursor  version u32 (2), way u32 (0: no transaction, 1: of a transaction), store u128, epoch u64,
//!         sequence u64 (0: before the first), chain u64, then since the journal's first day, in events:
//!         delivered u64, dead letters u64, skipped u64, dropped u64, then identity u128
//! ```
//!
//! Version 1 ends before the identity, which is the store's then.
//!
//! It names the last frame of which everything was delivered, or is a dead letter, with that frame's chain value:
//! the frame after it must carry that value, or the log is another one than the forwarder knew.

use super::cursor::{Append, Reader};
use super::{Defect, StoreId};
use crate::unit::{Epoch, Sequence};
use std::fmt;

const VERSION: u32 = 2;
/// It knew of no identity beside the store's.
const VERSION_BEFORE: u32 = 1;
const WHAT: &str = "section of the cursor";
pub const BYTES: usize = 96;

/// What became of a journal's events since its first day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub delivered: u64,
    /// Kept as dead letters instead.
    pub letters: u64,
    /// Of topics that were deleted before their turn came.
    pub skipped: u64,
    /// Gone before their turn came, because the disk's bound said so.
    pub dropped: u64,
}

/// How far a journal was forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forwarded {
    pub store: StoreId,
    /// Under which name Kafka knows who forwards: the store's, until an operator gives it another.
    pub identity: StoreId,
    /// Kafka has this cursor too: it was part of the transaction that brought the last of this.
    pub transacted: bool,
    pub epoch: Epoch,
    /// `None`: nothing yet.
    pub upto: Option<Sequence>,
    /// The chain value of that frame; 0 when there is none.
    pub chain: u64,
    pub totals: Totals,
}

impl Forwarded {
    /// The frame whose turn is next.
    pub fn next(&self) -> Sequence {
        self.upto.map_or(Sequence::FIRST, Sequence::next)
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        out.put_u32(VERSION);
        out.put_u32(u32::from(self.transacted));
        out.put_u128(self.store.0);
        out.put_u64(self.epoch.0);
        out.put_u64(self.upto.map_or(0, Sequence::get));
        out.put_u64(self.chain);
        out.put_u64(self.totals.delivered);
        out.put_u64(self.totals.letters);
        out.put_u64(self.totals.skipped);
        out.put_u64(self.totals.dropped);
        out.put_u128(self.identity.0);
    }

    pub fn read(contents: &[u8]) -> Result<Self, Defect> {
        let mut from = Reader::new(contents);
        let mut read = || {
            let (version, way) = (from.u32()?, from.u32()?);
            let store = StoreId(from.u128()?);
            let mut forwarded = Self {
                store,
                identity: store,
                transacted: way == 1,
                epoch: Epoch(from.u64()?),
                upto: Sequence::new(from.u64()?),
                chain: from.u64()?,
                totals: Totals {
                    delivered: from.u64()?,
                    letters: from.u64()?,
                    skipped: from.u64()?,
                    dropped: from.u64()?,
                },
            };
            match version {
                VERSION => forwarded.identity = StoreId(from.u128()?),
                VERSION_BEFORE => {}
                _ => return None,
            }
            from.rest().is_empty().then_some(forwarded)
        };
        read().ok_or(Defect::Malformed(WHAT))
    }
}

/// As an operator is told of it.
impl fmt::Display for Forwarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (epoch, frame) = (self.epoch.0, self.upto.map_or(0, Sequence::get));
        let (store, chain) = (self.store.0, self.chain);
        write!(
            f,
            "store {store:032x}, epoch {epoch}, frame {frame}, chain {chain:016x}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Forwarded {
        Forwarded {
            store: StoreId(0x0102 << 112 | 7),
            identity: StoreId(0x0304 << 112 | 9),
            transacted: true,
            epoch: Epoch(3),
            upto: Sequence::new(12),
            chain: 0xdead_beef,
            totals: Totals {
                delivered: 100,
                letters: 2,
                skipped: 3,
                dropped: 4,
            },
        }
    }

    #[test]
    fn what_goes_in_comes_out_and_nothing_shorter_or_longer_does() {
        let mut out = Vec::new();
        example().write(&mut out);
        assert_eq!(out.len(), BYTES);
        assert_eq!(Forwarded::read(&out), Ok(example()));
        for end in 0..out.len() {
            assert!(Forwarded::read(&out[..end]).is_err());
        }
        out.push(0);
        assert!(Forwarded::read(&out).is_err());
        out.pop();
        out[0] = 3;
        assert!(Forwarded::read(&out).is_err());
    }

    #[test]
    fn the_version_before_has_the_identity_of_its_store() {
        let mut out = Vec::new();
        example().write(&mut out);
        (out[0], out[4]) = (1, 0);
        out.truncate(BYTES - 16);
        let before = Forwarded {
            identity: example().store,
            transacted: false,
            ..example()
        };
        assert_eq!(Forwarded::read(&out), Ok(before));
        out.pop();
        assert!(Forwarded::read(&out).is_err());
    }

    #[test]
    fn fields_lie_where_the_drawing_says() {
        let mut out = Vec::new();
        example().write(&mut out);
        let u64_at = |at: usize| u64::from_le_bytes(out[at..at + 8].try_into().unwrap());
        assert_eq!(
            (u64_at(0), u64_at(8), u64_at(16)),
            (1 << 32 | 2, 7, 0x0102 << 48)
        );
        assert_eq!((u64_at(24), u64_at(32), u64_at(40)), (3, 12, 0xdead_beef));
        assert_eq!((u64_at(48), u64_at(56)), (100, 2));
        assert_eq!((u64_at(64), u64_at(72)), (3, 4));
        assert_eq!((u64_at(80), u64_at(88)), (9, 0x0304 << 48));
    }

    #[test]
    fn the_frame_before_the_first_is_none() {
        let nothing = Forwarded {
            upto: None,
            ..example()
        };
        let mut out = Vec::new();
        nothing.write(&mut out);
        assert_eq!(Forwarded::read(&out).map(|read| read.upto), Ok(None));
        assert_eq!(nothing.next(), Sequence::FIRST);
        assert_eq!(Sequence::new(13), Some(example().next()));
    }
}
