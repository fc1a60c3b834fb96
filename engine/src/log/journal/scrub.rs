//! Reads every sealed segment on every volume, and repairs what is damaged from another copy.
//!
//! Always:  a repair writes the very bytes that the chain asks for at that place, while no other call of the
//!          journal is under way on that volume, and only while the segment is still in use.
//! Core:    the journal's shard, at the pace that is asked for.
//! Cancel:  a scrub that is dropped has repaired what it has repaired.

mod diary;

use super::super::disk::Disk;
use super::super::format::loss::Toll;
use super::super::mirror::{Mirror, MirrorFile};
use super::super::planted::{self, Planted};
use super::super::walk::read_whole;
use super::examine::{At, Copy, Expected};
use super::{Inner, Journal};
use crate::unit::Life;
pub use diary::Decay;
use diary::Diary;
use futures_util::future::LocalBoxFuture;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

/// Called with a number of bytes that were read or written in the background; resolves when more may be.
pub type Pace = Rc<dyn Fn(u64) -> LocalBoxFuture<'static, ()>>;

/// Bytes between two calls of the pace.
const PACE_BYTES: u64 = 1 << 20;
/// Segments that a reader has found damaged and that wait for their repair.
const SUSPECTS_MAX: usize = 64;

/// What scrubs have done and found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// Scrubs that have come to their end.
    pub passes: u64,
    /// Of every copy.
    pub bytes: u64,
    /// Pieces that were replaced: frames, headers, footers.
    pub repaired: u64,
    /// Pieces of which no copy is good, in the scrub that is under way or was the last. What was accepted as lost
    /// does not count.
    pub lost: u64,
}

/// What is being examined, and what came of it.
pub(super) struct Tally {
    pub(super) bytes: u64,
    pub(super) repaired: u64,
    pub(super) lost: u64,
    toll: Toll,
}

#[derive(Debug, Default)]
pub(super) struct Scrubbing {
    scrubbed: Scrubbed,
    suspects: VecDeque<Life>,
    diary: Diary,
}

impl Scrubbing {
    /// Notes that a copy of this segment was found damaged.
    pub(super) fn suspect(&mut self, life: Life) {
        if !self.suspects.contains(&life) && self.suspects.len() < SUSPECTS_MAX {
            self.suspects.push_back(life);
        }
    }
}

impl<D: Disk> Inner<D> {
    /// What the sealed segment of this life must be, and its file; `None` when it is none, or not yet.
    pub(super) fn expected(&self, life: Life) -> Option<(Expected, Rc<D::File>)> {
        let at = self.sealed.iter().position(|sealed| sealed.life == life)?;
        let sealed = &self.sealed[at];
        let next = self.sealed.get(at + 1).map(|next| next.opening);
        let next = next.or(self.closing.front().map(|next| next.opening));
        let next = next.or(self.open.as_ref().map(|next| next.opening))?;
        let expected = Expected {
            store: self.settings.store,
            journal: self.settings.journal,
            kind: sealed.kind,
            file_bytes: sealed.file_bytes,
            life,
            opening: sealed.opening,
            next,
        };
        (!sealed.being_sealed).then(|| (expected, sealed.file.clone()))
    }
}

impl<D: Disk> Journal<D> {
    /// What scrubs have done and found so far.
    pub fn scrubbed(&self) -> Scrubbed {
        self.inner.borrow().scrubbing.scrubbed
    }

    /// Segments that readers have found damaged and that wait for [`Journal::repair_suspects`].
    pub fn suspects(&self) -> usize {
        self.inner.borrow().scrubbing.suspects.len()
    }
}

impl<D: Disk> Journal<Mirror<D>> {
    /// The volumes as one disk.
    pub fn mirror(&self) -> Mirror<D> {
        self.inner.borrow().disk.clone()
    }

    /// Reads every segment that is sealed now, on every volume in service.
    pub async fn scrub(&self, pace: &Pace) -> Scrubbed {
        self.inner.borrow_mut().scrubbing.scrubbed.lost = 0;
        let lives: Vec<Life> = {
            let inner = self.inner.borrow();
            inner.sealed.iter().map(|sealed| sealed.life).collect()
        };
        for life in lives {
            self.repair_suspects(pace).await;
            self.scrub_segment(life, pace).await;
        }
        let mut inner = self.inner.borrow_mut();
        inner.scrubbing.scrubbed.passes += 1;
        inner.scrubbing.scrubbed
    }

    /// Repairs the segments that readers have found damaged. One that is not sealed yet waits until it is.
    pub async fn repair_suspects(&self, pace: &Pace) {
        let suspects = std::mem::take(&mut self.inner.borrow_mut().scrubbing.suspects);
        for life in suspects {
            self.scrub_segment(life, pace).await;
            let mut inner = self.inner.borrow_mut();
            let mut writing = inner.closing.iter().chain(&inner.open);
            let waits = writing.any(|segment| segment.life == life);
            let sealing = inner
                .sealed
                .iter()
                .any(|sealed| sealed.life == life && sealed.being_sealed);
            if waits || sealing {
                inner.scrubbing.suspect(life);
            }
        }
    }

    async fn scrub_segment(&self, life: Life, pace: &Pace) {
        let mirror = self.mirror();
        for volume in mirror.members() {
            mirror.caught_up(volume).await;
            let Some((expected, file)) = self.inner.borrow().expected(life) else {
                return;
            };
            let mut copies = copies_of(&mirror, &file);
            let Some(at) = copies.iter().position(|copy| copy.volume == volume) else {
                continue;
            };
            let copy = copies.remove(at);
            let tally = self.examine(&expected, &copy, &copies, pace, true).await;
            let mut inner = self.inner.borrow_mut();
            let scrubbed = &mut inner.scrubbing.scrubbed;
            scrubbed.bytes += tally.bytes;
            scrubbed.repaired += tally.repaired;
            scrubbed.lost += tally.lost;
            let repaired = 0 < tally.repaired;
            for sealed in inner
                .sealed
                .iter_mut()
                .filter(|sealed| sealed.life == life && repaired)
            {
                sealed.unfit = false;
            }
        }
    }

    /// Looks at all of `copy`, and repairs it from `others`. `serving` says that the journal uses it.
    pub(super) async fn examine(
        &self,
        expected: &Expected,
        copy: &Copy<D>,
        others: &[Copy<D>],
        pace: &Pace,
        serving: bool,
    ) -> Tally {
        let mut tally = Tally {
            bytes: 0,
            repaired: 0,
            lost: 0,
            toll: Toll::default(),
        };
        let mut window = copy.window(expected);
        let mut at = At::start(expected);
        let mut unpaced = 0;
        while !at.is_end() {
            let before = at.position();
            // A place that cannot be read is as bad as one that reads wrong; writing may heal it.
            if let Ok(Some(next)) = copy.look(&mut window, expected, &at).await {
                at = next;
            } else if self.is_sealed(expected.life) {
                let place = (at, serving);
                at = self.mend(expected, copy, others, place, &mut tally).await;
            } else {
                break;
            }
            let bytes = at.position().saturating_sub(before);
            tally.bytes += bytes;
            unpaced += bytes;
            if PACE_BYTES <= unpaced {
                pace(std::mem::take(&mut unpaced)).await;
            }
        }
        pace(unpaced).await;
        tally
    }

    fn is_sealed(&self, life: Life) -> bool {
        self.inner.borrow().expected(life).is_some()
    }

    /// Replaces the piece at `at` by that of another copy; gives the place to go on from.
    async fn mend(
        &self,
        expected: &Expected,
        copy: &Copy<D>,
        others: &[Copy<D>],
        (at, serving): (At, bool),
        tally: &mut Tally,
    ) -> At {
        for other in others {
            let Ok(Some(piece)) = other.fetch(expected, &at).await else {
                continue;
            };
            let written = if planted::is(Planted::RepairFromTheBadCopy) {
                spread(copy, other, piece.position, piece.bytes.len()).await
            } else if serving {
                self.repair(expected, copy, piece.position, &piece.bytes)
                    .await
            } else {
                overwrite(copy, piece.position, &piece.bytes)
                    .await
                    .map(|()| true)
            };
            match written {
                Ok(true) => {
                    tally.repaired += 1;
                    self.note_decay(expected.life, copy.volume, piece.position, serving);
                }
                Ok(false) => {}
                Err(_) => tally.lost += 1,
            }
            return piece.next;
        }
        let next = copy.skip(expected, &at).await;
        let is_accepted = at.missing(expected, &next).is_some_and(|(first, last)| {
            let losses = self.losses();
            losses.explain(&mut tally.toll, first, last)
        });
        // The bytes of a segment that has gone to another use are none that were lost.
        if self.is_sealed(expected.life) && !is_accepted {
            tally.lost += 1;
            if serving {
                self.note_loss(expected.life, copy.volume, at.position());
            }
        }
        next
    }

    /// Writes over a damaged piece, if the segment is still in use. A volume that cannot write it is fenced.
    async fn repair(
        &self,
        expected: &Expected,
        copy: &Copy<D>,
        position: u64,
        bytes: &[u8],
    ) -> io::Result<bool> {
        let mirror = self.mirror();
        let hold = mirror.hold(copy.volume).await;
        if !self.is_sealed(expected.life) || !mirror.members().contains(&copy.volume) {
            return Ok(false);
        }
        let written = overwrite(copy, position, bytes).await;
        drop(hold);
        if let Err(error) = &written {
            mirror.fence(copy.volume, &format!("it could not be repaired: {error}"));
        }
        written.map(|()| true)
    }
}

/// What a repair in the wrong direction would do.
async fn spread<D: Disk>(
    bad: &Copy<D>,
    good: &Copy<D>,
    position: u64,
    length: usize,
) -> io::Result<bool> {
    let bytes = read_whole(&bad.disk, &bad.file, position, length).await?;
    overwrite(good, position, &bytes.as_ref()[..length]).await?;
    Ok(true)
}

/// The copies of a file on all volumes in service.
pub(super) fn copies_of<D: Disk>(mirror: &Mirror<D>, file: &MirrorFile<D>) -> Vec<Copy<D>> {
    let volumes = mirror.members().into_iter();
    let copy = |volume| {
        Some(Copy {
            volume,
            disk: mirror.member_disk(volume)?,
            file: file.on(volume)?,
        })
    };
    volumes.filter_map(copy).collect()
}

async fn overwrite<D: Disk>(copy: &Copy<D>, position: u64, bytes: &[u8]) -> io::Result<()> {
    let mut buffer = copy.disk.buffer(bytes.len());
    buffer.as_mut()[..bytes.len()].copy_from_slice(bytes);
    let frozen = copy.disk.freeze(buffer, bytes.len());
    copy.disk.write(&copy.file, position, frozen).await?;
    copy.disk.flush(&copy.file).await
}
