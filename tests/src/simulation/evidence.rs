//! What the bytes on a disk prove: which damage a start can tell from the tear of a crash.
//!
//! Damage to the very last frames looks like a tear, and nobody could tell. So the simulation lets damage stand
//! only where a frame behind it says that what was damaged had been durable, and mends the rest.

use super::front::is_let_go;
use ringtail::limit::BLOCK_BYTES;
use ringtail::log::format::frame::{FrameHeader, HEADER_BYTES};
use ringtail::log::format::segment::SegmentHeader;
use ringtail::log::simulated::SimulatedDisk;
use ringtail::unit::{JournalId, Sequence};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A frame header that was found on a disk.
pub struct Seen {
    pub path: String,
    pub header: FrameHeader,
}

impl Seen {
    fn covers(&self, path: &str, position: u64) -> bool {
        let start = self.header.position;
        let end = start + self.header.padded_bytes() as u64;
        self.path == path && (position == 0 || (start..end).contains(&position))
    }

    /// Whether any of its bytes differ on the two disks. What lies between its sections and behind the last one
    /// belongs to nobody: no checksum covers it, and nobody reads it.
    fn differs(&self, one: &SimulatedDisk, other: &SimulatedDisk) -> bool {
        let contents = |disk: &SimulatedDisk| {
            let contents = disk.contents(&self.path).unwrap_or_default();
            contents
                .get(self.header.position as usize..)?
                .get(..self.header.bytes())
                .map(<[u8]>::to_vec)
        };
        let (Some(one), Some(other)) = (contents(one), contents(other)) else {
            return true;
        };
        let sections = self.header.sections.iter();
        let sections = sections.filter_map(|section| Some(self.header.place(section.kind)?.1));
        std::iter::once(0..HEADER_BYTES)
            .chain(sections)
            .any(|range| one[range.clone()] != other[range])
    }

    /// Whether it says that `other` had been durable.
    fn proves(&self, other: &Self) -> bool {
        self.header.journal == other.header.journal
            && other.header.sequence < self.header.sequence
            && Some(other.header.sequence) <= self.header.durable_upto
            && other.header.epoch <= self.header.epoch
    }
}

pub fn is_segment(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|end| end == "seg")
}

/// Every frame header of the life that its segment has.
pub fn frames(disk: &SimulatedDisk) -> Vec<Seen> {
    let mut seen = Vec::new();
    for path in disk.paths() {
        let Some(bytes) = disk.contents(&path).filter(|_| is_segment(&path)) else {
            continue;
        };
        let block = BLOCK_BYTES as usize;
        let life = bytes.get(..block).map(SegmentHeader::decode);
        let life = life.and_then(Result::ok).map(|header| header.life);
        for (index, block) in bytes.chunks(block).enumerate() {
            if let Ok((header, _)) = FrameHeader::decode(block)
                && header.position == index as u64 * BLOCK_BYTES
                && life.is_none_or(|life| life == header.life)
            {
                let path = path.clone();
                seen.push(Seen { path, header });
            }
        }
    }
    seen
}

/// The volume that alone goes on where all others end, in some journal.
pub fn ahead(disks: &[SimulatedDisk]) -> Option<usize> {
    if disks.len() == 1 {
        return None;
    }
    let mut ends: BTreeMap<JournalId, Vec<u64>> = BTreeMap::new();
    let all: Vec<Vec<Seen>> = disks.iter().map(frames).collect();
    for header in all.iter().flatten().map(|seen| &seen.header) {
        let durable = header.durable_upto.map_or(0, Sequence::get);
        let ends = ends.entry(header.journal).or_default();
        ends.resize(disks.len(), 0);
        for end in ends {
            *end = durable.max(*end);
        }
    }
    for (journal, ends) in &mut ends {
        for (end, frames) in ends.iter_mut().zip(&all) {
            let mine = frames.iter().filter(|seen| seen.header.journal == *journal);
            let there: BTreeSet<u64> = mine.map(|seen| seen.header.sequence.get()).collect();
            while there.contains(&(*end + 1)) {
                *end += 1;
            }
        }
    }
    let first = |ends: &Vec<u64>| {
        let most = *ends.iter().max()?;
        let mut furthest = (0..ends.len()).filter(|volume| ends[*volume] == most);
        let alone = furthest.next()?;
        furthest.next().is_none().then_some(alone)
    };
    ends.values().find_map(first)
}

/// Whether a frame of `right` is hit by the damage at `places` of `disk`: in what it says, or in the header of its
/// segment.
fn is_hit(
    frame: &Seen,
    places: &[(String, u64)],
    right: &SimulatedDisk,
    disk: &SimulatedDisk,
) -> bool {
    let mut places = places.iter();
    places.any(|(path, position)| {
        frame.covers(path, *position) && (*position == 0 || frame.differs(right, disk))
    })
}

/// Whether any of the damage on `disk` lies in a frame, or in the header of a segment that has frames. A file that
/// lacks its header, of a segment whose records were all let go of, is as good as taken out of use.
pub fn hits_frames(disk: &SimulatedDisk) -> bool {
    let mut damaged = disk.damaged();
    if damaged.is_empty() {
        return false;
    }
    let right = disk.copy();
    right.undo_damage();
    let headers = damaged.iter().filter(|(_, position)| *position == 0);
    let let_go: BTreeSet<String> = headers
        .filter(|(path, _)| is_segment(path) && is_let_go(&right, path))
        .map(|(path, _)| path.clone())
        .collect();
    damaged.retain(|(path, _)| !let_go.contains(path));
    let mut frames = frames(&right).into_iter();
    frames.any(|frame| is_hit(&frame, &damaged, &right, disk))
}

/// Whether a start can tell all of the damage on `disk` from a tear.
pub fn is_proven(disk: &SimulatedDisk) -> bool {
    let right = disk.copy();
    right.undo_damage();
    let (all, left) = (frames(&right), frames(disk));
    let damaged = disk.damaged();
    let hit_itself = |frame: &Seen| {
        let mut places = damaged.iter();
        places.any(|(path, position)| 0 < *position && frame.covers(path, *position))
    };
    let proofs: Vec<&Seen> = left.iter().filter(|frame| !hit_itself(frame)).collect();
    let is_hit = |frame: &&Seen| is_hit(frame, &damaged, &right, disk);
    let mut victims = all.iter().filter(is_hit);
    victims.all(|victim| proofs.iter().any(|proof| proof.proves(victim)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::run::{Options, run_and_keep};

    #[test]
    fn a_bit_that_belongs_to_nobody_is_no_damage_and_any_other_is() {
        let disk = run_and_keep(1, Options::default())
            .expect("a sound seed")
            .disks[0]
            .clone();
        disk.undo_damage();
        let (mut padding, mut said) = (0, 0);
        for frame in frames(&disk).into_iter().take(60) {
            let ends = frame.header.sections.iter().filter_map(|section| {
                let (_, place) = frame.header.place(section.kind)?;
                (!place.is_empty()).then_some(place.end)
            });
            for end in ends.chain([HEADER_BYTES]) {
                for at in [end - 1, end] {
                    let bit = (frame.header.position + at as u64) * 8;
                    assert!(disk.flip(&frame.path, bit));
                    let hit = hits_frames(&disk);
                    disk.undo_damage();
                    assert!(hit || at == end, "{} byte {at}", frame.path);
                    padding += u32::from(!hit);
                    said += u32::from(hit);
                }
            }
        }
        assert!(0 < padding && 0 < said, "{padding} {said}");
    }
}
