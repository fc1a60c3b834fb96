//! Where a journal ends after a crash, and what it holds. Never guesses, and never cuts off a frame that
//! was acknowledged.
//!
//! 1. Every segment's header is read; those in use stand in a row by their first sequence.
//! 2. The newest segment whose opening frame is whole says how far its writer had come
//!    (`durable_upto`); the walk begins in the segment that holds the frame after that.
//! 3. The walk goes from frame to frame along the chain, through as many segments as it reaches, to the
//!    first sequence N that is not whole.
//! 4. Behind N, block by block, it looks for frames of the same store, journal and life, of the last epoch
//!    or a later one, that say that N had been durable. One of them is proof of damage: start-up stops.
//!    Without proof N was never acknowledged, and the journal ends before it.

mod absorb;
mod front;
mod headers;
mod salvage;
mod sorted;

pub(super) use front::lacks_front;
pub(super) use salvage::frames_are_sorted;
pub use salvage::{Salvage, Wound, salvage};

use super::disk::Disk;
use super::format::footer::{Footer, Place};
use super::format::forwarded::Forwarded;
use super::format::frame::FrameHeader;
use super::format::loss::Losses;
use super::format::section::{Frame, Membership};
use super::format::segment::{HEADER_BYTES, Kind, Opening};
use super::format::{Defect, StoreId};
use super::journal::{Extent, read_footer};
use super::planted::{self, Planted};
use super::walk::{Window, find_frames};
use crate::limit::FILES_AT_ONCE;
use crate::unit::{Epoch, JournalId, Life, Offset, Sequence, TopicId};
use futures_util::{StreamExt as _, stream};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::rc::Rc;

/// Why a journal cannot be recovered. The text names what an operator needs to know.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    #[error("could not {deed}: {source}")]
    Disk { deed: String, source: io::Error },
    /// An acknowledged frame is not whole, and there is no other copy.
    #[error(
        "{file} is damaged at byte {position}: frame {sequence} of journal {journal} had been durable \
         (frame {proof} says so) and is not whole now: {defect}"
    )]
    Damaged {
        file: String,
        position: u64,
        journal: u32,
        sequence: u64,
        proof: u64,
        defect: Defect,
        /// Of the segment.
        life: Life,
        /// What the frame must say of the one before it.
        chain: u64,
    },
    #[error(
        "segments are missing: {file} begins with frame {found}, the one before ends with {end}"
    )]
    Gap { file: String, found: u64, end: u64 },
    #[error("{file} is damaged: {defect}, and its frames are still needed")]
    Header { file: String, defect: Defect },
    #[error("{file} cannot be read by this program: {defect}")]
    Unknown { file: String, defect: Defect },
    #[error("{file} is {found} bytes long and should be {wanted}")]
    Size {
        file: String,
        found: u64,
        wanted: u64,
    },
}

/// Which journal to recover.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    pub store: StoreId,
    pub journal: JournalId,
    pub segment_bytes: u64,
}

/// A segment file as it was found.
pub struct Found<F> {
    pub name: String,
    pub file: Rc<F>,
    pub life: Life,
    /// `None` when it is not in use.
    pub opening: Option<Opening>,
    pub kind: Kind,
    /// Of the file.
    pub bytes: u64,
}

/// A segment that was walked from its start.
pub struct Walked<F> {
    pub segment: Found<F>,
    pub opening: Opening,
    /// After its last whole frame.
    pub end: u64,
    pub last: Option<Sequence>,
    pub chain_out: u64,
    pub records: u64,
    pub places: Vec<(TopicId, Place)>,
    pub defined: Vec<TopicId>,
    /// Where its last frames begin, those of which no later frame here says that they are durable.
    pub unproven: Vec<(Sequence, u64)>,
}

impl<F> Walked<F> {
    fn enter(segment: Found<F>, opening: Opening) -> Self {
        Self {
            opening,
            end: HEADER_BYTES as u64,
            last: None,
            chain_out: opening.chain_in,
            records: 0,
            places: Vec::new(),
            defined: Vec::new(),
            unproven: Vec::new(),
            segment,
        }
    }
}

/// A journal as it is after recovery.
pub struct Recovered<F> {
    /// The epoch of the last frame; 0 when there is none.
    pub epoch: Epoch,
    pub last: Option<Sequence>,
    pub chain: u64,
    /// Not walked: they lie before the walk. Oldest first.
    pub sealed: Vec<Found<F>>,
    /// Oldest first; the last one is where writing goes on.
    pub walked: Vec<Walked<F>>,
    /// Files that hold nothing that counts.
    pub spare: Vec<Found<F>>,
    pub extents: HashMap<TopicId, Extent>,
    pub names: HashMap<TopicId, String>,
    /// Topics that were deleted, each with the sequence from which on no frame holds anything of it.
    pub deleted: BTreeMap<TopicId, Option<Sequence>>,
    pub membership: Option<Membership>,
    /// How far it was forwarded, if ever.
    pub forwarded: Option<Forwarded>,
    /// Everything that was ever lost and recorded, and what is to be recorded by the next frame.
    pub losses: Losses,
    /// Where topics begin that have no extent: below it, offsets may have been in use that are lost.
    pub floor: Offset,
    /// The last segment that was walked has a damaged place: nothing may be written behind it.
    pub closed: bool,
    pub life_max: Life,
    pub file_max: Option<u32>,
}

fn during<T>(result: io::Result<T>, deed: impl FnOnce() -> String) -> Result<T, RecoverError> {
    result.map_err(|source| RecoverError::Disk {
        deed: deed(),
        source,
    })
}

/// Recovers the journal in `folder`; changes nothing on the disk.
pub async fn recover<D: Disk>(
    disk: &D,
    folder: &str,
    identity: Identity,
) -> Result<Recovered<D::File>, RecoverError> {
    let refused = match recover_from(disk, folder, identity, Sequence::FIRST).await {
        Ok(found) => return Ok(found),
        Err(refused) => refused,
    };
    let without_front = front::recover_behind(disk, folder, identity, &refused).await?;
    without_front.ok_or(refused)
}

/// As [`recover`]; segments that begin before `front` are taken for retired.
async fn recover_from<D: Disk>(
    disk: &D,
    folder: &str,
    identity: Identity,
    front: Sequence,
) -> Result<Recovered<D::File>, RecoverError> {
    let (mut recovery, headless) = Recovery::read_headers(disk, folder, identity).await?;
    recovery.leave_out(front);
    let walked = recovery.walk().await;
    // A bad header may be why the walk did not reach its end, so it is named first.
    for (segment, defect) in headless {
        recovery.judge_headless(segment, defect).await?;
    }
    recovery.judge_waiting(walked.is_err()).await?;
    walked?;
    Ok(recovery.found)
}

struct Recovery<'a, D: Disk> {
    disk: &'a D,
    identity: Identity,
    /// In use, oldest first; the walk takes them from here.
    in_use: Vec<Found<D::File>>,
    /// Where the walk stands.
    at: Option<At<D::File>>,
    found: Recovered<D::File>,
}

/// The end of what was walked.
struct At<F> {
    name: String,
    file: Rc<F>,
    life: Life,
    position: u64,
    bytes: u64,
}

impl<F> At<F> {
    fn new(segment: &Found<F>, position: u64) -> Self {
        Self {
            name: segment.name.clone(),
            file: segment.file.clone(),
            life: segment.life,
            position,
            bytes: segment.bytes,
        }
    }
}

impl<D: Disk> Recovery<'_, D> {
    async fn walk(&mut self) -> Result<(), RecoverError> {
        let Some(start) = self.choose_start().await? else {
            let unused = std::mem::take(&mut self.in_use);
            self.found.spare.extend(unused);
            return Ok(());
        };
        let mut rest = self.in_use.split_off(start);
        self.found.sealed = std::mem::take(&mut self.in_use);
        let opening = rest.first().and_then(|segment| segment.opening);
        let opening = opening.expect("a segment in use has an opening");
        self.found.chain = opening.chain_in;
        let mut expected = opening.first;
        loop {
            let segment = rest.remove(0);
            let defect = match segment.kind {
                Kind::Journal => self.walk_segment(segment, &mut expected).await?,
                Kind::Sorted => self.pass_sorted(segment, &mut expected).await?,
            };
            let next = rest.first().and_then(|segment| segment.opening);
            match next {
                Some(next) if next.first == expected && next.chain_in == self.found.chain => {}
                _ => {
                    let proof = self.look_ahead(expected, defect, &rest).await;
                    if proof.is_err() {
                        self.look_for_gap(expected, &rest).await?;
                    }
                    proof?;
                    break;
                }
            }
        }
        self.drop_empty_tail();
        self.found.spare.extend(rest);
        Ok(())
    }

    /// The segment in which to begin: the one that holds the first frame that may not be whole.
    async fn choose_start(&self) -> Result<Option<usize>, RecoverError> {
        for (index, segment) in self.in_use.iter().enumerate().rev() {
            let Some(opening) = segment.opening.filter(|_| segment.kind == Kind::Journal) else {
                continue;
            };
            let mut window = Window::new(self.disk, &segment.file, segment.bytes);
            let bytes = window.frame(HEADER_BYTES as u64).await;
            let bytes = during(bytes, || format!("read {}", segment.name))?;
            let Ok(frame) = Frame::check(bytes) else {
                continue;
            };
            if !self.belongs(&frame.header, segment.life, HEADER_BYTES as u64)
                || frame.header.sequence != opening.first
            {
                continue;
            }
            let durable = frame.header.durable_upto.unwrap_or(Sequence::FIRST);
            // The frame after the mark may be this one, which is whole; else the walk must begin before the
            // mark, or it could end before its first frame and know nothing of the journal.
            if durable.next() == opening.first {
                return Ok(Some(self.first_unsealed(index).await?));
            }
            let holds = |earlier: &Found<D::File>| {
                earlier
                    .opening
                    .is_some_and(|opening| opening.first <= durable)
            };
            let start = self.in_use[..=index].iter().rposition(holds).unwrap_or(0);
            return Ok(Some(self.first_unsealed(start).await?));
        }
        // No opening frame is whole: nothing was ever acknowledged, or the first segment is damaged.
        Ok(if self.in_use.is_empty() {
            None
        } else {
            Some(0)
        })
    }

    /// The first segment before `start` whose footer does not lead on to the next: a crash came before it, or
    /// it is damaged, or the next is missing. Walking it tells which, and has it sealed. `start` if none.
    async fn first_unsealed(&self, start: usize) -> Result<usize, RecoverError> {
        let pairs = self.in_use[..=start].windows(2);
        let ends = pairs.map(|pair| async move {
            let (segment, next) = (&pair[0], pair[1].opening);
            let footer = read_footer(self.disk, &segment.file, segment.life, segment.bytes).await;
            let footer = during(footer, || format!("read {}", segment.name))?;
            let leads_on = |footer: Footer| Opening {
                first: footer.last.next(),
                chain_in: footer.chain_out,
            };
            let believed = footer.is_some() && planted::is(Planted::BelieveAnOldFooter);
            Ok(believed || footer.map(leads_on) == next)
        });
        let mut ends = stream::iter(ends).buffered(FILES_AT_ONCE).enumerate();
        while let Some((index, leads_on)) = ends.next().await {
            if !leads_on? {
                return Ok(index);
            }
        }
        Ok(start)
    }

    fn belongs(&self, header: &FrameHeader, life: Life, position: u64) -> bool {
        (header.store, header.journal) == self.whose()
            && header.life == life
            && header.position == position
    }

    fn follows(&self, header: &FrameHeader) -> bool {
        let follows = header.chain == self.found.chain && self.found.epoch <= header.epoch;
        follows || planted::is(Planted::IgnoreTheChain)
    }

    /// Walks one segment to its last whole frame; says what is wrong with the next.
    async fn walk_segment(
        &mut self,
        segment: Found<D::File>,
        expected: &mut Sequence,
    ) -> Result<Defect, RecoverError> {
        let opening = segment.opening.expect("a segment in use has an opening");
        let mut walked = Walked::enter(segment, opening);
        let file = walked.segment.file.clone();
        let mut window = Window::new(self.disk, &file, walked.segment.bytes);
        let defect = loop {
            let name = &walked.segment.name;
            let bytes = during(window.frame(walked.end).await, || format!("read {name}"))?;
            let frame = match Frame::check(bytes) {
                Ok(frame) => frame,
                Err(defect) => break known(name, defect)?,
            };
            let header = &frame.header;
            if !self.belongs(header, walked.segment.life, walked.end)
                || header.sequence != *expected
                || !self.follows(header)
            {
                break Defect::Misplaced("frame");
            }
            match absorb::absorb(&mut self.found, &frame, &mut walked, |_, _| true) {
                Ok(()) => {}
                Err(defect) => break known(&walked.segment.name, defect)?,
            }
            *expected = frame.header.sequence.next();
        };
        self.at = Some(At::new(&walked.segment, walked.end));
        self.found.walked.push(walked);
        Ok(defect)
    }

    /// Frames that had been durable are not there: because of a missing segment, when the last one's footer says
    /// that it is whole, and the next one begins later?
    async fn look_for_gap(
        &self,
        expected: Sequence,
        rest: &[Found<D::File>],
    ) -> Result<(), RecoverError> {
        let (Some(last), Some(next)) = (&self.at, rest.first()) else {
            return Ok(());
        };
        let footer = read_footer(self.disk, &last.file, last.life, last.bytes).await;
        let footer = during(footer, || format!("read {}", last.name))?;
        let whole = footer.is_some_and(|footer| footer.last.next() == expected);
        match next.opening {
            Some(opening) if whole && expected < opening.first => Err(RecoverError::Gap {
                file: next.name.clone(),
                found: opening.first.get(),
                end: expected.get() - 1,
            }),
            _ => Ok(()),
        }
    }

    /// Looks behind the end for proof that the frame `missing` had been durable.
    async fn look_ahead(
        &self,
        missing: Sequence,
        defect: Defect,
        rest: &[Found<D::File>],
    ) -> Result<(), RecoverError> {
        let Some(last) = &self.at else {
            return Ok(());
        };
        if planted::is(Planted::CutOffSilently) {
            return Ok(());
        }
        let proof = self.find_proof(missing, last, rest).await?;
        proof.map_or(Ok(()), |proof| {
            Err(RecoverError::Damaged {
                file: last.name.clone(),
                position: last.position,
                journal: self.identity.journal.0,
                sequence: missing.get(),
                proof: proof.sequence.get(),
                defect,
                life: last.life,
                chain: self.found.chain,
            })
        })
    }

    /// A frame behind this place of a segment, or in another one, that says that `missing` had been durable.
    async fn find_proof(
        &self,
        missing: Sequence,
        last: &At<D::File>,
        rest: &[Found<D::File>],
    ) -> Result<Option<FrameHeader>, RecoverError> {
        let others = rest.iter().chain(&self.found.spare);
        let others = others.filter(|segment| Life(0) < segment.life);
        let others = others.map(|other| At::new(other, HEADER_BYTES as u64));
        let behind = At {
            name: last.name.clone(),
            file: last.file.clone(),
            ..*last
        };
        for segment in std::iter::once(behind).chain(others) {
            let proves = |header: &FrameHeader| {
                self.belongs(header, segment.life, header.position)
                    && self.found.epoch <= header.epoch
                    && missing < header.sequence
                    && Some(missing) <= header.durable_upto
            };
            let (from, size) = (segment.position, segment.bytes);
            let proof = find_frames(self.disk, &segment.file, from, size, proves).await;
            let proof = during(proof, || format!("read {}", segment.name))?;
            if proof.is_some() {
                return Ok(proof);
            }
        }
        Ok(None)
    }

    /// A segment that was entered and holds no whole frame is not in use.
    fn drop_empty_tail(&mut self) {
        if self
            .found
            .walked
            .last()
            .is_some_and(|walked| walked.last.is_none())
            && let Some(walked) = self.found.walked.pop()
        {
            self.found.spare.push(walked.segment);
        }
    }
}

/// Stops for what another program can read: it is no damage.
fn known(file: &str, defect: Defect) -> Result<Defect, RecoverError> {
    if defect.is_unknown() {
        let file = file.to_owned();
        return Err(RecoverError::Unknown { file, defect });
    }
    Ok(defect)
}

/// The number of a segment file by its name, `0000002a.seg`.
pub fn segment_number(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".seg")?;
    let sound = digits.len() == 8 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    sound
        .then(|| u32::from_str_radix(digits, 16).ok())
        .flatten()
}

/// The name of a segment file by its number.
pub fn segment_name(number: u32) -> String {
    format!("{number:08x}.seg")
}
