//! The section that says what was lost: damage without a good copy that an operator has accepted. It names
//! every loss of the journal, from its first day on; the newest section counts.
//!
//! ```text
//! loss   losses u32, 0 u32, then each:
//!        first sequence u64, last sequence u64, topics u32, topics that are not told u32,
//!        then for each topic: topic u128, first offset u64, next offset u64
//! ```

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

/// Appends the whole section. What is beyond the bounds is counted and not told, the oldest first.
pub fn write_losses(losses: &[Loss], out: &mut Vec<u8>) {
    let skipped = losses.len().saturating_sub(LOSSES_MAX);
    let losses = &losses[skipped..];
    out.put_u32(losses.len() as u32);
    out.put_u32(0);
    let all: usize = losses.iter().map(|loss| loss.topics.len()).sum();
    let mut beyond = all.saturating_sub(LOST_RANGES_MAX);
    for loss in losses {
        let untold = beyond.min(loss.topics.len());
        beyond -= untold;
        out.put_u64(loss.first.get());
        out.put_u64(loss.last.get());
        out.put_u32((loss.topics.len() - untold) as u32);
        out.put_u32(loss.untold.saturating_add(untold as u32));
        for range in &loss.topics[untold..] {
            out.put_u128(range.topic.0);
            out.put_u64(range.first.0);
            out.put_u64(range.next.0);
        }
    }
}

pub fn read_losses(contents: &[u8]) -> Result<Vec<Loss>, Defect> {
    let mut from = Reader::new(contents);
    let mut read = || {
        let count = from.u32()? as usize;
        from.u32()?;
        if LOSSES_MAX < count || from.rest().len() < count * LOSS_BYTES {
            return None;
        }
        let losses: Option<Vec<Loss>> = (0..count).map(|_| read_loss(&mut from)).collect();
        losses.filter(|_| from.rest().is_empty())
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

/// The first offset from `offset` on that is not among the lost.
pub fn after_losses(losses: &[Loss], topic: TopicId, offset: Offset) -> Offset {
    let mut next = offset;
    let ranges = || losses.iter().flat_map(|loss| &loss.topics);
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
pub fn covers(losses: &[Loss], first: Sequence, last: Sequence) -> bool {
    let mut all = losses.iter();
    all.any(|loss| loss.first <= first && last <= loss.last)
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

    fn example() -> Vec<Loss> {
        let loss = |first, last, topics| Loss {
            first: Sequence::new(first).unwrap(),
            last: Sequence::new(last).unwrap(),
            topics,
            untold: 3,
        };
        vec![
            loss(4, 4, vec![]),
            loss(7, 9, vec![range(1, 5, 9), range(2, 0, 3)]),
            loss(11, 12, vec![range(1, 9, 11)]),
        ]
    }

    #[test]
    fn what_goes_in_comes_out_as_it_is_drawn() {
        let mut out = Vec::new();
        write_losses(&example(), &mut out);
        assert_eq!(out.len(), 8 + 3 * LOSS_BYTES + 3 * RANGE_BYTES);
        assert_eq!(read_losses(&out), Ok(example()));
        let u64_at = |at: usize| u64::from_le_bytes(out[at..at + 8].try_into().unwrap());
        assert_eq!((u64_at(0), u64_at(8), u64_at(16)), (3, 4, 4));
        assert_eq!((u64_at(48), u64_at(56), u64_at(72)), (2 | 3 << 32, 1, 5));
        for end in 0..out.len() {
            assert!(read_losses(&out[..end]).is_err());
        }
    }

    #[test]
    fn lost_offsets_are_passed_over_also_when_they_adjoin() {
        let after = |topic, offset| after_losses(&example(), TopicId(topic), Offset(offset)).0;
        assert_eq!((after(1, 4), after(1, 5), after(1, 11)), (4, 11, 11));
        assert_eq!((after(2, 0), after(3, 0)), (3, 0));
    }

    #[test]
    fn what_has_no_room_is_counted() {
        let mut many = example();
        many[1].topics = (0..LOST_RANGES_MAX as u128)
            .map(|topic| range(topic, 0, 1))
            .collect();
        let mut out = Vec::new();
        write_losses(&many, &mut out);
        let read = read_losses(&out).unwrap();
        assert_eq!(read[1].topics.len(), LOST_RANGES_MAX - 1);
        assert_eq!(read[1].untold, 4);
        assert_eq!(read[2], many[2]);
    }

    #[test]
    fn any_bytes_are_only_a_claim() {
        bolero::check!()
            .with_iterations(5_000)
            .for_each(|contents: &[u8]| {
                if let Ok(losses) = read_losses(contents) {
                    let mut out = Vec::new();
                    write_losses(&losses, &mut out);
                    assert_eq!(read_losses(&out), Ok(losses));
                }
            });
    }
}
