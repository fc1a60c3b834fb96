//! Frames that were read and are not wholly settled, event by event.
//!
//! Always:  a frame leaves when all of its events are settled and every frame before it has left.
//! Full:    [`Window::has_room`] says when no more should be taken.

use crate::limit::{BATCH_EVENTS_MAX, SPOOL_EVENTS_MAX};
use crate::log::journal::{Followed, Spot};
use crate::unit::{Micros, TopicIndex};
use std::collections::VecDeque;

/// Parts are known to librdkafka by so many bits of their number.
pub const PART_BITS: u32 = 28;
const PART_MASK: u64 = (1 << PART_BITS) - 1;

/// Where an event stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Sent,
    /// Sent, with nothing else of its topic under way: a fault is its own.
    Alone,
    /// It waits to be sent again.
    Parked,
    /// It becomes a dead letter.
    Dead,
    Settled,
}

/// Some events of one record batch of a frame, in order.
#[derive(Debug)]
struct Part {
    frame: u64,
    topic: TopicIndex,
    /// The batch in its frame, and the first record of it that is here.
    batch: u32,
    first: u32,
    places: Box<[Place]>,
}

#[derive(Debug)]
struct Held {
    followed: Followed,
    /// The number of its first part, and how many it has.
    first_part: u64,
    parts: u32,
    missing: u64,
    parked: u64,
}

/// An event that waits to be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parked {
    pub spot: Spot,
    pub part: u32,
    pub event: u16,
    pub topic: TopicIndex,
    /// The batch in its frame, and the record in the batch.
    pub batch: u32,
    pub record: u32,
}

/// What is under way from one journal.
#[derive(Debug, Default)]
pub struct Window {
    frames: VecDeque<Held>,
    /// The number of the first of `frames`.
    first_frame: u64,
    parts: VecDeque<Part>,
    /// The number of the first of `parts`.
    first_part: u64,
    bytes: u64,
    events: u64,
}

impl Window {
    /// Whether another frame may be taken when so many bytes may be held.
    pub fn has_room(&self, bytes_max: u64) -> bool {
        self.frames.is_empty() || (self.bytes < bytes_max && self.events < SPOOL_EVENTS_MAX)
    }

    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// When the oldest frame was written; `None` when there is none.
    pub fn oldest(&self) -> Option<Micros> {
        self.frames.front().map(|held| held.followed.time)
    }

    /// Takes a frame, whose parts follow.
    pub fn push(&mut self, followed: Followed) {
        self.bytes += followed.load.bytes;
        self.frames.push_back(Held {
            followed,
            first_part: self.first_part + self.parts.len() as u64,
            parts: 0,
            missing: 0,
            parked: 0,
        });
    }

    /// Takes up to [`BATCH_EVENTS_MAX`] records of a batch of the last frame; gives the part's number. They count
    /// as sent.
    pub fn push_part(&mut self, topic: TopicIndex, batch: u32, first: u32, records: u32) -> u32 {
        assert!(records as usize <= BATCH_EVENTS_MAX);
        let number = self.first_part + self.parts.len() as u64;
        let frame = self.first_frame + self.frames.len() as u64 - 1;
        let held = self
            .frames
            .back_mut()
            .expect("a frame was pushed before its parts");
        held.parts += 1;
        held.missing += u64::from(records);
        self.events += u64::from(records);
        self.parts.push_back(Part {
            frame,
            topic,
            batch,
            first,
            places: vec![Place::Sent; records as usize].into(),
        });
        (number & PART_MASK) as u32
    }

    fn index(&self, part: u32) -> Option<usize> {
        let at = (u64::from(part).wrapping_sub(self.first_part) & PART_MASK) as usize;
        (at < self.parts.len()).then_some(at)
    }

    /// Where an event stands; `None` when there is none of this number.
    pub fn place(&self, part: u32, event: u16) -> Option<Place> {
        let part = &self.parts[self.index(part)?];
        part.places.get(usize::from(event)).copied()
    }

    /// Moves an event to another place; `false` when it is settled already, or there is none.
    pub fn set(&mut self, part: u32, event: u16, place: Place) -> bool {
        let Some(at) = self.index(part) else {
            return false;
        };
        let part = &mut self.parts[at];
        let held = &mut self.frames[(part.frame - self.first_frame) as usize];
        let Some(now) = part.places.get_mut(usize::from(event)) else {
            return false;
        };
        if *now == Place::Settled {
            return false;
        }
        held.parked -= u64::from(*now == Place::Parked);
        held.parked += u64::from(place == Place::Parked);
        held.missing -= u64::from(place == Place::Settled);
        *now = place;
        true
    }

    /// Settles all events of so many parts from this one on; gives how many were not settled before.
    pub fn settle_parts(&mut self, first: u32, count: u32) -> u64 {
        let mut settled = 0;
        for (part, events) in self.parts_from(first, count) {
            for event in 0..events {
                settled += u64::from(self.set(part, event, Place::Settled));
            }
        }
        settled
    }

    /// The numbers of so many parts from this one on, each with how many events it has.
    pub fn parts_from(&self, first: u32, count: u32) -> Vec<(u32, u16)> {
        let numbers = (0..count).map(|step| first.wrapping_add(step) & PART_MASK as u32);
        let found = numbers.filter_map(|number| {
            let part = &self.parts[self.index(number)?];
            Some((number, part.places.len() as u16))
        });
        found.collect()
    }

    /// Takes out the first frame if all of its events are settled.
    pub fn pop_settled(&mut self) -> Option<Followed> {
        if 0 < self.frames.front()?.missing {
            return None;
        }
        let held = self.frames.pop_front()?;
        self.first_frame += 1;
        for _ in 0..held.parts {
            let part = self
                .parts
                .pop_front()
                .expect("a frame's parts are here with it");
            self.events -= part.places.len() as u64;
        }
        self.first_part += u64::from(held.parts);
        self.bytes -= held.followed.load.bytes;
        Some(held.followed)
    }

    /// The events of a topic that wait to be sent again, in order, `max` at most.
    pub fn parked(&self, topic: TopicIndex, max: usize) -> Vec<Parked> {
        let mut found = Vec::new();
        for held in self.frames.iter().filter(|held| 0 < held.parked) {
            let first = (held.first_part - self.first_part) as usize;
            let parts = self.parts.iter().enumerate().skip(first);
            for (at, part) in parts.take(held.parts as usize) {
                if part.topic != topic {
                    continue;
                }
                let number = ((self.first_part + at as u64) & PART_MASK) as u32;
                for (event, place) in (0..).zip(&part.places) {
                    if *place != Place::Parked {
                        continue;
                    }
                    if found.len() == max {
                        return found;
                    }
                    found.push(Parked {
                        spot: held.followed.spot,
                        part: number,
                        event: event as u16,
                        topic,
                        batch: part.batch,
                        record: part.first + event,
                    });
                }
            }
        }
        found
    }

    /// Where an event lies.
    pub fn find(&self, part: u32, event: u16) -> Option<Parked> {
        let found = &self.parts[self.index(part)?];
        let held = &self.frames[(found.frame - self.first_frame) as usize];
        Some(Parked {
            spot: held.followed.spot,
            part,
            event,
            topic: found.topic,
            batch: found.batch,
            record: found.first + u32::from(event),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::journal::Load;
    use crate::unit::{Epoch, Sequence};

    fn followed(sequence: u64) -> Followed {
        Followed {
            spot: Spot::example(Sequence::new(sequence).unwrap()),
            epoch: Epoch(1),
            chain: sequence,
            time: Micros(sequence),
            load: Load {
                events: 0,
                bytes: 4096,
            },
        }
    }

    fn popped(window: &mut Window) -> Vec<u64> {
        let mut all = Vec::new();
        while let Some(followed) = window.pop_settled() {
            all.push(followed.chain);
        }
        all
    }

    #[test]
    fn frames_leave_in_their_order_and_only_when_all_of_them_is_settled() {
        let mut window = Window::default();
        let mut parts = Vec::new();
        for sequence in 1..=3 {
            window.push(followed(sequence));
            parts.push(window.push_part(TopicIndex(0), 0, 0, 2));
            parts.push(window.push_part(TopicIndex(1), 1, 0, 1));
        }
        window.push(followed(4));
        for part in &parts[2..] {
            for event in 0..2 {
                window.set(*part, event, Place::Settled);
            }
        }
        assert_eq!(popped(&mut window), [0; 0]);
        assert!(window.set(parts[0], 1, Place::Settled));
        assert!(!window.set(parts[0], 1, Place::Settled), "once only");
        assert!(window.set(parts[1], 0, Place::Settled));
        assert_eq!(popped(&mut window), [0; 0]);
        assert!(window.set(parts[0], 0, Place::Settled));
        // One without events leaves with those before it.
        assert_eq!(popped(&mut window), [1, 2, 3, 4]);
        assert!(window.is_empty() && window.bytes == 0 && window.events == 0);
        assert!(!window.set(parts[0], 0, Place::Settled), "it has left");
    }

    #[test]
    fn what_is_parked_comes_in_order_by_topic_and_holds_its_frame() {
        let mut window = Window::default();
        let mut parts = Vec::new();
        for sequence in 1..=2 {
            window.push(followed(sequence));
            parts.push(window.push_part(TopicIndex(7), 3, 10, 3));
            parts.push(window.push_part(TopicIndex(8), 4, 0, 1));
        }
        for (part, event) in [(parts[2], 0), (parts[0], 2), (parts[0], 1), (parts[1], 0)] {
            assert!(window.set(part, event, Place::Parked));
        }
        let found = window.parked(TopicIndex(7), 10);
        let places: Vec<_> = found
            .iter()
            .map(|one| (one.part, one.event, one.record))
            .collect();
        assert_eq!(
            places,
            [(parts[0], 1, 11), (parts[0], 2, 12), (parts[2], 0, 10)]
        );
        assert_eq!(window.parked(TopicIndex(7), 1).len(), 1);
        assert_eq!(found[0].batch, 3);
        assert_eq!(window.find(parts[0], 1), Some(found[0]));
        window.set(parts[0], 1, Place::Sent);
        window.set(parts[0], 1, Place::Settled);
        assert_eq!(window.parked(TopicIndex(7), 10).len(), 2);
        assert_eq!(window.place(parts[0], 2), Some(Place::Parked));
        assert_eq!(window.place(parts[0], 3), None);
    }

    #[test]
    fn numbers_of_parts_may_come_round() {
        let mut window = Window {
            first_part: (1 << PART_BITS) - 1,
            ..Window::default()
        };
        window.push(followed(1));
        let last = window.push_part(TopicIndex(0), 0, 0, 1);
        let first = window.push_part(TopicIndex(0), 1, 0, 1);
        assert_eq!((last, first), ((1 << PART_BITS) - 1, 0));
        assert!(window.set(first, 0, Place::Settled));
        assert!(window.set(last, 0, Place::Settled));
        assert_eq!(popped(&mut window), [1]);
    }

    #[test]
    fn a_window_is_full_by_bytes_but_takes_one_frame_always() {
        let mut window = Window::default();
        assert!(window.has_room(1));
        window.push(followed(1));
        assert!(!window.has_room(4096) && window.has_room(4097));
    }
}
