//! The newest frames in memory, for readers that keep up with the writer.
//!
//! Layout:  frames lie end to end in one ring, each whole; one that does not fit before the end begins at 0.
//! Always:  the ring is as large as its bound or not there. It holds frames that are not durable yet, too:
//!          whoever asks has a place from an index, and those name durable batches only.
//! Full:    the oldest frames go.

use super::super::format::footer::Place;
use crate::unit::{Life, Micros};
use std::collections::{BTreeMap, VecDeque};

/// Frames are kept for this long after a reader has last come to the end of a topic. The buffers they
/// were written from are larger than they are, so keeping costs a copy, which nobody pays for nothing.
const WANTED_US: u64 = 10_000_000;

#[derive(Debug)]
pub(super) struct Tail {
    bytes_max: usize,
    ring: Vec<u8>,
    /// Where the next frame goes.
    end: usize,
    /// By where they lie on the disk: the stretch of the ring.
    frames: BTreeMap<(Life, u64), (usize, usize)>,
    /// Oldest first.
    order: VecDeque<(Life, u64)>,
    wanted_until: Micros,
}

impl Tail {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            ring: Vec::new(),
            end: 0,
            frames: BTreeMap::new(),
            order: VecDeque::new(),
            wanted_until: Micros(0),
        }
    }

    /// A reader has come to the end of a topic and will want what comes next.
    pub(super) fn want(&mut self, now: Micros) {
        self.wanted_until = Micros(now.0.saturating_add(WANTED_US));
    }

    /// Keeps a frame that goes to `position` of the segment of this life, if there are readers for it.
    pub(super) fn keep(&mut self, now: Micros, life: Life, position: u64, frame: &[u8]) {
        if self.wanted_until < now {
            return self.forget();
        }
        if self.bytes_max < frame.len() {
            return;
        }
        if self.ring.is_empty() {
            self.ring = vec![0; self.bytes_max];
        }
        let start = self.make_room(frame.len());
        self.ring[start..][..frame.len()].copy_from_slice(frame);
        self.frames.insert((life, position), (start, frame.len()));
        self.order.push_back((life, position));
        self.end = start + frame.len();
    }

    /// Where `bytes` can go; the frames that lay there are gone.
    fn make_room(&mut self, bytes: usize) -> usize {
        let wraps = self.ring.len() < self.end + bytes;
        let start = if wraps { 0 } else { self.end };
        while let Some(oldest) = self.order.front() {
            let (at, length) = self.frames.get(oldest).copied().unwrap_or_default();
            let behind = wraps && self.end <= at;
            let below = at < start + bytes && start < at + length;
            if !behind && !below {
                break;
            }
            self.frames.remove(oldest);
            self.order.pop_front();
        }
        start
    }

    fn forget(&mut self) {
        if !self.ring.is_empty() {
            *self = Self::new(self.bytes_max);
        }
    }

    /// The frame at this place, if it is here.
    pub(super) fn frame(&self, life: Life, position: u64) -> Option<&[u8]> {
        let (start, bytes) = self.frames.get(&(life, position))?;
        Some(&self.ring[*start..][..*bytes])
    }

    /// The bytes of a record batch, if its frame is here.
    pub(super) fn batch(&self, life: Life, place: &Place) -> Option<&[u8]> {
        let before = self.frames.range(..=(life, place.position)).next_back();
        let (&(kept, position), &(start, bytes)) = before?;
        let frame = &self.ring[start..][..bytes];
        let skip = usize::try_from(place.position.checked_sub(position)?).ok()?;
        let batch = frame.get(skip..)?.get(..place.bytes as usize);
        batch.filter(|_| kept == life)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::Offset;

    fn place(position: u64, bytes: u32) -> Place {
        Place {
            base_offset: Offset(0),
            position,
            newest_ms: 0,
            bytes,
            records: 1,
        }
    }

    #[test]
    fn the_newest_frames_are_there_and_nothing_else_is_taken_for_them() {
        let mut tail = Tail::new(1_000);
        tail.want(Micros(1));
        let mut position = 0;
        let mut written = Vec::new();
        for number in 0..200u64 {
            let bytes = 50 + (number * 37 % 300);
            let (life, frame) = (Life(1 + number / 20), vec![number as u8; bytes as usize]);
            tail.keep(Micros(2), life, position, &frame);
            written.push((life, position, frame));
            position += bytes;
            let mut kept = 0;
            for (life, position, frame) in &written {
                let found = tail.batch(*life, &place(*position, frame.len() as u32));
                assert!(found.is_none_or(|found| found == frame.as_slice()));
                kept += found.map_or(0, <[u8]>::len);
            }
            assert!(kept <= 1_000 && bytes <= kept as u64);
        }
        let (life, position, frame) = written.last().unwrap();
        let middle = tail.batch(*life, &place(position + 10, 5)).unwrap();
        assert_eq!(middle, &frame[10..15]);
        assert_eq!(tail.batch(*life, &place(position + 10, 5_000)), None);
        assert_eq!(tail.batch(Life(99), &place(*position, 5)), None);
        // Younger segments begin at the front again.
        assert_eq!(tail.batch(Life(99), &place(0, 5)), None);
    }

    #[test]
    fn nothing_is_kept_for_nobody() {
        let mut tail = Tail::new(1_000);
        tail.keep(Micros(5), Life(1), 0, &[1; 10]);
        assert!(tail.batch(Life(1), &place(0, 10)).is_none());
        tail.want(Micros(5));
        tail.keep(Micros(5), Life(1), 0, &[1; 10]);
        assert!(tail.batch(Life(1), &place(0, 10)).is_some());
        tail.keep(Micros(6 + WANTED_US), Life(1), 10, &[1; 10]);
        assert!(tail.batch(Life(1), &place(0, 10)).is_none());
        assert!(tail.ring.is_empty());
    }
}
