//! What the bytes on a disk prove: which damage a start can tell from the tear of a crash.
//!
//! Damage to the very last frames looks like a tear, and nobody could tell. So the simulation lets damage stand
//! only where a frame behind it says that what was damaged had been durable, and mends the rest.

use ringtail::limit::BLOCK_BYTES;
use ringtail::log::format::frame::FrameHeader;
use ringtail::log::format::segment::SegmentHeader;
use ringtail::log::simulated::SimulatedDisk;
use std::path::Path;

/// A frame header that was found on a disk.
pub struct Seen {
    pub path: String,
    pub header: FrameHeader,
}

impl Seen {
    pub fn covers(&self, path: &str, position: u64) -> bool {
        let start = self.header.position;
        let end = start + self.header.padded_bytes() as u64;
        self.path == path && (position == 0 || (start..end).contains(&position))
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

/// Whether any of the damage on `disk` lies in a frame, or in the header of a segment that has frames.
pub fn hits_frames(disk: &SimulatedDisk) -> bool {
    let damaged = disk.damaged();
    if damaged.is_empty() {
        return false;
    }
    let right = disk.copy();
    right.undo_damage();
    let hit = |frame: &Seen| {
        let mut places = damaged.iter();
        places.any(|(path, position)| frame.covers(path, *position))
    };
    frames(&right).iter().any(hit)
}

/// Whether a start can tell all of the damage on `disk` from a tear.
pub fn is_proven(disk: &SimulatedDisk) -> bool {
    let right = disk.copy();
    right.undo_damage();
    let (all, left) = (frames(&right), frames(disk));
    let damaged = disk.damaged();
    let hit = |frame: &Seen| {
        let mut places = damaged.iter();
        places.any(|(path, position)| frame.covers(path, *position))
    };
    let hit_itself = |frame: &Seen| {
        let mut places = damaged.iter();
        places.any(|(path, position)| 0 < *position && frame.covers(path, *position))
    };
    let proofs: Vec<&Seen> = left.iter().filter(|frame| !hit_itself(frame)).collect();
    let mut victims = all.iter().filter(|frame| hit(frame));
    victims.all(|victim| proofs.iter().any(|proof| proof.proves(victim)))
}
