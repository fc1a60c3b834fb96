//! The topics and partitions that the log showed, and their offsets.

use std::collections::HashMap;

/// A topic and one of its partitions, numbered as they were seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ShelfId {
    pub(super) topic: u32,
    pub(super) partition: u32,
}

/// How an offset follows the one before it on its shelf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Next,
    /// Offsets were left out.
    Gap,
    /// The offset, or a later one, was there before.
    Double,
}

#[derive(Debug, Default)]
pub(super) struct Shelves {
    topics: HashMap<String, u32>,
    next: HashMap<ShelfId, u64>,
}

impl Shelves {
    pub(super) fn put(&mut self, topic: &str, partition: u32, offset: u64) -> (ShelfId, Step) {
        let topic = self.topic(topic);
        let shelf = ShelfId { topic, partition };
        let next = self.next.entry(shelf).or_default();
        let place = match offset.cmp(next) {
            std::cmp::Ordering::Equal => Step::Next,
            std::cmp::Ordering::Greater => Step::Gap,
            std::cmp::Ordering::Less => Step::Double,
        };
        *next = (*next).max(offset.saturating_add(1));
        (shelf, place)
    }

    fn topic(&mut self, name: &str) -> u32 {
        if let Some(number) = self.topics.get(name) {
            return *number;
        }
        let number = self.topics.len() as u32;
        self.topics.insert(name.to_owned(), number);
        number
    }
}
