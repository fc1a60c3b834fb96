//! The section that says what was lost: damage without a good copy that an operator has accepted. It names
//! every loss of the journal, from its first day on; the newest section counts.
//!
//! ```text
//! loss   losses u32, losses that are not told u32, offsets that are not told u64, then for each that is told:
//!        first sequence u64, last sequence u64, topics u32, topics that are not told u32,
//!        then for each topic: topic u128, first offset u64, next offset u64
//! ```
//!
//! Full:    what has no room is counted for ever and not told any more, the oldest first.

use super::Defect;
use super::cursor::{Append, Reader};
use crate::limit::{LOSSES_MAX, LOST_RANGES_MAX};
use crate::unit::{Offset, Sequence, TopicId};

const WHAT: &str = "section of losses";
const LOSS_BYTES: usize = 24;
const RANGE_BYTES: usize = 32;

/// Offsets of one topic that may have been in use and cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostRange {
    pub topic: TopicId,
    pub first: Offset,
    /// After the last.
    pub next: Offset,
}

/// One place of the chain that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The first and the last frame that were not whole.
    pub first: Sequence,
    pub last: Sequence,
    pub topics: Vec<LostRange>,
    /// Topics that lost something, too, and had no room here.
    pub untold: u32,
}

/// Everything that a journal has lost for good.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Oldest first.
    pub told: Vec<Loss>,
    /// How many older ones there were that have no room.
    pub untold: u32,
    /// Offsets that they lost, and topics that have no room in those that are told.
    pub untold_offsets: u64,
}

impl Losses {
    pub fn is_empty(&self) -> bool {
        self.told.is_empty() && self.untold == 0
    }

    /// Stretches of the chain that were given up.
    pub fn places(&self) -> u64 {
        self.told.len() as u64 + u64::from(self.untold)
    }

    /// Offsets in them that may have been in use, of all topics.
    pub fn offsets(&self) -> u64 {
        let told = self.told.iter().flat_map(|loss| &loss.topics);
        told.fold(self.untold_offsets, |sum, range| {
            sum.saturating_add(range.offsets())
        })
    }

    /// The first offset from `offset` on that is not among the lost.
    pub fn after(&self, topic: TopicId, offset: Offset) -> Offset {
        let mut next = offset;
        let ranges = || self.told.iter().flat_map(|loss| &loss.topics);
        let holds = |next: Offset| {
            let mut all = ranges();
            all.find(move |range| range.topic == topic && range.first <= next && next < range.next)
        };
        while let Some(range) = holds(next) {
            next = range.next;
        }
        next
    }

    /// Whether all of these frames are among the lost.
    pub fn cover(&self, first: Sequence, last: Sequence) -> bool {
        let mut all = self.told.iter();
        all.any(|loss| loss.first <= first && last <= loss.last)
    }
}

impl LostRange {
    fn offsets(&self) -> u64 {
        self.next.0.saturating_sub(self.first.0)
    }
}

/// Appends the whole section.
pub fn write_losses(losses: &Losses, out: &mut Vec<u8>) {
    let skipped = losses.told.len().saturating_sub(LOSSES_MAX);
    let told = &losses.told[skipped..];
    let all: usize = told.iter().map(|loss| loss.topics.len()).sum();
    let mut beyond = all.saturating_sub(LOST_RANGES_MAX);
    let offsets_at = out.len() + 8;
    out.put_u32(told.len() as u32);
    out.put_u32(losses.untold.saturating_add(skipped as u32));
    out.put_u64(0);
    let mut offsets_told = 0u64;
    for loss in told {
        let untold = beyond.min(loss.topics.len());
        beyond -= untold;
        out.put_u64(loss.first.get());
        out.put_u64(loss.last.get());
        out.put_u32((loss.topics.len() - untold) as u32);
        out.put_u32(loss.untold.saturating_add(untold as u32));
        for range in &loss.topics[untold..] {
            offsets_told = offsets_told.saturating_add(range.offsets());
            out.put_u128(range.topic.0);
            out.put_u64(range.first.0);
            out.put_u64(range.next.0);
        }
    }
    let untold = losses.offsets() - offsets_told.min(losses.offsets());
    out[offsets_at..offsets_at + 8].copy_from_slice(&untold.to_le_bytes());
}

pub fn read_losses(contents: &[u8]) -> Result<Losses, Defect> {
    let mut from = Reader::new(contents);
    let mut read = || {
        let (count, untold) = (from.u32()? as usize, from.u32()?);
        let untold_offsets = from.u64()?;
        if LOSSES_MAX < count || from.rest().len() < count * LOSS_BYTES {
            return None;
        }
        let told: Option<Vec<Loss>> = (0..count).map(|_| read_loss(&mut from)).collect();
        let losses = Losses {
            told: told?,
            untold,
            untold_offsets,
        };
        from.rest().is_empty().then_some(losses)
    };
    read().ok_or(Defect::Malformed(WHAT))
}

fn read_loss(from: &mut Reader<'_>) -> Option<Loss> {
    let (first, last) = (Sequence::new(from.u64()?)?, Sequence::new(from.u64()?)?);
    let (topics, untold) = (from.u32()? as usize, from.u32()?);
    if last < first || from.rest().len() / RANGE_BYTES < topics {
        return None;
    }
    let range = |_| {
        let range = LostRange {
            topic: TopicId(from.u128()?),
            first: Offset(from.u64()?),
            next: Offset(from.u64()?),
        };
        (range.first <= range.next).then_some(range)
    };
    let topics: Option<Vec<_>> = (0..topics).map(range).collect();
    Some(Loss {
        first,
        last,
        topics: topics?,
        untold,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(topic: u128, first: u64, next: u64) -> LostRange {
        LostRange {
            topic: TopicId(topic),
            first: Offset(first),
            next: Offset(next),
        }
    }

    fn example() -> Losses {
        let loss = |first, last, topics| Loss {
            first: Sequence::new(first).unwrap(),
            last: Sequence::new(last).unwrap(),
            topics,
            untold: 3,
        };
        Losses {
            told: vec![
                loss(4, 4, vec![]),
                loss(7, 9, vec![range(1, 5, 9), range(2, 0, 3)]),
                loss(11, 12, vec![range(1, 9, 11)]),
            ],
            untold: 6,
            untold_offsets: 70,
        }
    }

    #[test]
    fn what_goes_in_comes_out_as_it_is_drawn() {
        let mut out = Vec::new();
        write_losses(&example(), &mut out);
        assert_eq!(out.len(), 16 + 3 * LOSS_BYTES + 3 * RANGE_BYTES);
        assert_eq!(read_losses(&out), Ok(example()));
        let u64_at = |at: usize| u64::from_le_bytes(out[at..at + 8].try_into().unwrap());
        assert_eq!((u64_at(0), u64_at(8)), (3 | 6 << 32, 70));
        assert_eq!((u64_at(16), u64_at(24)), (4, 4));
        assert_eq!((u64_at(56), u64_at(64), u64_at(80)), (2 | 3 << 32, 1, 5));
        for end in 0..out.len() {
            assert!(read_losses(&out[..end]).is_err());
        }
    }

    #[test]
    fn lost_offsets_are_passed_over_also_when_they_adjoin() {
        let after = |topic, offset| example().after(TopicId(topic), Offset(offset)).0;
        assert_eq!((after(1, 4), after(1, 5), after(1, 11)), (4, 11, 11));
        assert_eq!((after(2, 0), after(3, 0)), (3, 0));
    }

    #[test]
    fn what_has_no_room_is_counted() {
        let mut many = example();
        many.told[1].topics = (0..LOST_RANGES_MAX as u128)
            .map(|topic| range(topic, 0, 1))
            .collect();
        let counts = (many.places(), many.offsets());
        let mut out = Vec::new();
        write_losses(&many, &mut out);
        let read = read_losses(&out).unwrap();
        assert_eq!(read.told[1].topics.len(), LOST_RANGES_MAX - 1);
        assert_eq!(read.told[1].untold, 4);
        assert_eq!(read.told[2], many.told[2]);
        assert_eq!((read.places(), read.offsets()), counts);
    }

    #[test]
    fn losses_are_counted_for_ever_however_often_they_are_written() {
        let mut losses = example();
        let (mut places, mut offsets) = (losses.places(), losses.offsets());
        for round in 0..3 {
            for number in 0..LOSSES_MAX as u64 - 100 {
                let first = Sequence::new(100 + round * 10_000 + number).unwrap();
                losses.told.push(Loss {
                    first,
                    last: first,
                    topics: vec![range(1, 0, 2), range(2, 0, 3)],
                    untold: 0,
                });
                (places, offsets) = (places + 1, offsets + 5);
            }
            for _ in 0..2 {
                let mut out = Vec::new();
                write_losses(&losses, &mut out);
                losses = read_losses(&out).unwrap();
                assert_eq!((losses.places(), losses.offsets()), (places, offsets));
            }
            assert!(losses.told.len() <= LOSSES_MAX);
        }
    }

    #[test]
    fn any_bytes_are_only_a_claim() {
        bolero::check!()
            .with_iterations(5_000)
            .for_each(|contents: &[u8]| {
                if let Ok(losses) = read_losses(contents) {
                    let counts = (losses.places(), losses.offsets());
                    let mut out = Vec::new();
                    write_losses(&losses, &mut out);
                    let again = read_losses(&out).unwrap();
                    assert_eq!(again.told, losses.told);
                    assert_eq!((again.places(), again.offsets()), counts);
                }
            });
    }
}
