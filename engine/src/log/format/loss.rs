//! The section that says what was lost: damage without a good copy that an operator has accepted. It names
//! every loss of the journal, from its first day on; the newest section counts.
//!
//! ```text
//! loss   `LOSS`, form u16 (1), zero u16,
//!        rows u32, losses without a row of their own u32, offsets without a range u64, then for each row:
//!        first sequence u64, last sequence u64, frames u64, topics u32, topics that are not told u32,
//!        then for each topic: topic u128, first offset u64, next offset u64, offsets u64
//! ```
//!
//! A row of fewer frames than lie between its ends, and a range of fewer offsets, stand for several losses: what
//! is lost lies between the ends, and not all of what lies there is lost.
//!
//! Before forms were numbered the section began with the rows, which are too few to be taken for `LOSS`; it is still
//! read. Another form, older or newer, is no damage: whoever meets it stops and names it.
//!
//! Full:    neighbours come together in one row (`room`); what was lost stays within its ends, and counted.

mod room;
#[cfg(test)]
mod tests;

use super::Defect;
use super::cursor::{Append, Reader};
use crate::limit::{LOSSES_MAX, LOST_RANGES_MAX};
use crate::unit::{Offset, Sequence, TopicId};

const WHAT: &str = "section of losses";
const MAGIC: &[u8; 4] = b"LOSS";
const FORM: u16 = 1;
const _: () = assert!(LOSSES_MAX < u32::from_le_bytes(*MAGIC) as usize);
const LOSS_BYTES: usize = 32;
const RANGE_BYTES: usize = 40;

/// Offsets of one topic that may have been in use and cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostRange {
    pub topic: TopicId,
    pub first: Offset,
    /// After the last.
    pub next: Offset,
    /// How many of them; fewer than there are where ranges came together.
    pub lost: u64,
}

/// One place of the chain that was given up, or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The first and the last frame that were not whole.
    pub first: Sequence,
    pub last: Sequence,
    /// How many were not; fewer than there are where places came together.
    pub frames: u64,
    pub topics: Vec<LostRange>,
    /// Topics that lost something, too, and had no room here.
    pub untold: u32,
}

/// Everything that a journal has lost for good.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// By their first sequence, after [`Losses::add`].
    pub told: Vec<Loss>,
    /// How many losses share a row with another, or are gone from the log.
    pub untold: u32,
    /// Offsets lost of which nothing is told but their number.
    pub untold_offsets: u64,
}

/// How many of the frames that a row allows for were found missing by one who goes through the chain.
#[derive(Clone, Copy, Debug, Default)]
pub struct Toll {
    row: Option<Sequence>,
    frames: u64,
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
            sum.saturating_add(range.lost)
        })
    }

    /// The first offset from `offset` on that is not among those that are certainly lost.
    pub fn after(&self, topic: TopicId, offset: Offset) -> Offset {
        self.pass(offset, |range| range.topic == topic && range.is_exact())
    }

    /// The first offset from `offset` on of which the losses say that it is there: before it nothing has to be.
    pub fn beyond(&self, topic: TopicId, offset: Offset) -> Offset {
        if self.told.iter().any(|loss| 0 < loss.untold) {
            return Offset(u64::MAX);
        }
        self.pass(offset, |range| range.topic == topic)
    }

    /// Offsets grow with the chain, so one sweep passes ranges that adjoin, and the next finds nothing more.
    fn pass(&self, offset: Offset, counts: impl Fn(&LostRange) -> bool) -> Offset {
        let mut next = offset;
        loop {
            let before = next;
            for range in self.told.iter().flat_map(|loss| &loss.topics) {
                if range.first <= next && next < range.next && counts(range) {
                    next = range.next;
                }
            }
            if next == before {
                return next;
            }
        }
    }

    /// Whether these frames are among the lost, in one row or in several that adjoin. Asked in the order of the
    /// chain: of a row that stands for several losses, as many as it says are, and the next one is damage.
    pub fn explain(&self, toll: &mut Toll, first: Sequence, last: Sequence) -> bool {
        let mut at = first;
        loop {
            let Some(row) = self.row_of(at) else {
                return false;
            };
            let upto = row.last.min(last);
            if !toll.take(row, span(at, upto)) {
                return false;
            }
            if upto == last {
                return true;
            }
            at = upto.next();
        }
    }

    /// The row that holds this frame, if any.
    pub fn row_of(&self, frame: Sequence) -> Option<&Loss> {
        let holds = |loss: &&Loss| loss.first <= frame && frame <= loss.last;
        // Rather one that says it for certain.
        let mut exact = self.told.iter().filter(|loss| loss.is_exact());
        exact.find(holds).or_else(|| self.told.iter().find(holds))
    }
}

impl Toll {
    /// Counts frames off; whether the row allows for them.
    fn take(&mut self, row: &Loss, frames: u64) -> bool {
        if self.row != Some(row.first) {
            *self = Self {
                row: Some(row.first),
                frames: 0,
            };
        }
        self.frames = self.frames.saturating_add(frames);
        row.is_exact() || self.frames <= row.frames
    }
}

impl Loss {
    /// One place, without its topics.
    pub fn new(first: Sequence, last: Sequence) -> Self {
        Self {
            first,
            last,
            frames: span(first, last),
            topics: Vec::new(),
            untold: 0,
        }
    }

    /// Whether all frames between its ends are lost.
    pub fn is_exact(&self) -> bool {
        self.frames == span(self.first, self.last)
    }
}

impl LostRange {
    /// All offsets from `first` to before `next`.
    pub fn new(topic: TopicId, first: Offset, next: Offset) -> Self {
        Self {
            topic,
            first,
            next,
            lost: next.0.saturating_sub(first.0),
        }
    }

    fn is_exact(&self) -> bool {
        self.lost == self.next.0.saturating_sub(self.first.0)
    }
}

/// How many frames there are from the first to the last.
fn span(first: Sequence, last: Sequence) -> u64 {
    last.get().saturating_sub(first.get()).saturating_add(1)
}

/// Appends the whole section.
///
/// # Panics
/// When there are more rows or ranges than [`Losses::add`] leaves.
pub fn write_losses(losses: &Losses, out: &mut Vec<u8>) {
    let ranges: usize = losses.told.iter().map(|loss| loss.topics.len()).sum();
    assert!(losses.told.len() <= LOSSES_MAX && ranges <= LOST_RANGES_MAX);
    out.extend_from_slice(MAGIC);
    out.put_u16(FORM);
    out.put_u16(0);
    out.put_u32(losses.told.len() as u32);
    out.put_u32(losses.untold);
    out.put_u64(losses.untold_offsets);
    for loss in &losses.told {
        out.put_u64(loss.first.get());
        out.put_u64(loss.last.get());
        out.put_u64(loss.frames);
        out.put_u32(loss.topics.len() as u32);
        out.put_u32(loss.untold);
        for range in &loss.topics {
            out.put_u128(range.topic.0);
            out.put_u64(range.first.0);
            out.put_u64(range.next.0);
            out.put_u64(range.lost);
        }
    }
}

/// # Errors
/// [`Defect::Form`] for one that another program has written.
pub fn read_losses(contents: &[u8]) -> Result<Losses, Defect> {
    let mut from = Reader::new(contents);
    if !contents.starts_with(MAGIC) {
        let unnumbered = Defect::Form {
            what: WHAT,
            form: 0,
        };
        return read_rows(from).ok_or(unnumbered);
    }
    let head = from.bytes(MAGIC.len()).and(from.u16()).zip(from.u16());
    match head {
        Some((FORM, 0)) => read_rows(from).ok_or(Defect::Malformed(WHAT)),
        None | Some((FORM, _)) => Err(Defect::Malformed(WHAT)),
        Some((form, _)) => Err(Defect::Form { what: WHAT, form }),
    }
}

fn read_rows(mut from: Reader<'_>) -> Option<Losses> {
    let (count, untold) = (from.u32()? as usize, from.u32()?);
    let untold_offsets = from.u64()?;
    if LOSSES_MAX < count || from.rest().len() < count * LOSS_BYTES {
        return None;
    }
    let told: Option<Vec<Loss>> = (0..count).map(|_| read_loss(&mut from)).collect();
    let told = told?;
    let ranges: usize = told.iter().map(|loss| loss.topics.len()).sum();
    let losses = Losses {
        told,
        untold,
        untold_offsets,
    };
    (from.rest().is_empty() && ranges <= LOST_RANGES_MAX).then_some(losses)
}

fn read_loss(from: &mut Reader<'_>) -> Option<Loss> {
    let (first, last) = (Sequence::new(from.u64()?)?, Sequence::new(from.u64()?)?);
    let frames = from.u64()?;
    let (topics, untold) = (from.u32()? as usize, from.u32()?);
    let fits = first <= last && (1..=span(first, last)).contains(&frames);
    if !fits || from.rest().len() / RANGE_BYTES < topics {
        return None;
    }
    let range = |_| {
        let range = LostRange {
            topic: TopicId(from.u128()?),
            first: Offset(from.u64()?),
            next: Offset(from.u64()?),
            lost: from.u64()?,
        };
        let fits = range.first <= range.next && range.lost <= range.next.0 - range.first.0;
        fits.then_some(range)
    };
    let topics: Option<Vec<_>> = (0..topics).map(range).collect();
    Some(Loss {
        first,
        last,
        frames,
        topics: topics?,
        untold,
    })
}
