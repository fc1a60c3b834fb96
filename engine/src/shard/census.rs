//! What a shard counts by connection group and by event type, for Raccoon's metrics.
//!
//! Always:  numbers only grow, and a label keeps its row for the shard's life.
//! Core:    one shard; copied when asked.
//! Full:    groups and types are clients' words: the first ones, up to a bound, have rows of their own,
//!          the rest shares `other`. What waits for its commit has a bounded number of entries for each
//!          batch, and the shard's budget bounds the batches.

use crate::unit::TopicIndex;
use std::collections::{HashMap, VecDeque};

/// Borders of Raccoon's histograms, in milliseconds.
pub const BORDERS_MS: [u64; 10] = [5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000];
/// The same for sessions.
pub const SESSION_BORDERS_MS: [u64; 5] = [1_000, 10_000, 100_000, 600_000, 3_600_000];
/// The label of everything that has no row of its own.
pub const OTHER: &str = "other";
/// Topics of one batch whose deliveries are told apart; those of further ones count as `other`.
const BATCH_TOPICS_MAX: usize = 64;

/// A histogram of a few buckets, in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    pub borders: &'static [u64],
    /// Values up to each border, and above the last.
    pub counts: [u64; 11],
    /// The sum of the values in each bucket.
    pub sums: [u64; 11],
}

impl Tally {
    pub const fn new(borders: &'static [u64]) -> Self {
        assert!(borders.len() <= 10);
        Self {
            borders,
            counts: [0; 11],
            sums: [0; 11],
        }
    }

    pub fn record(&mut self, value: u64) {
        let bucket = self.borders.partition_point(|border| *border < value);
        self.counts[bucket] += 1;
        self.sums[bucket] = self.sums[bucket].saturating_add(value);
    }

    pub fn add(&mut self, other: &Self) {
        for bucket in 0..self.counts.len() {
            self.counts[bucket] += other.counts[bucket];
            self.sums[bucket] = self.sums[bucket].saturating_add(other.sums[bucket]);
        }
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// Counts of one connection group.
#[derive(Clone, Debug)]
pub struct GroupCounts {
    pub batches_accepted: u64,
    pub batches_undecodable: u64,
    /// Batches for topics that cannot be.
    pub batches_refused: u64,
    /// Batches that were there before.
    pub duplicates: u64,
    pub read_errors: u64,
    pub protocol_errors: u64,
    pub unknown_content_type: u64,
    pub connections_opened: u64,
    /// Requests for a WebSocket that were refused as such.
    pub connections_failed: u64,
    /// WebSockets that were not served because another has their name, or because there are too many.
    pub connections_duplicate: u64,
    pub connections_over_limit: u64,
    pub connections_current: u64,
    pub ping_failures: u64,
    pub session_ms: Tally,
    /// From the client's `sent_time` to the events' being safe, for each event of the batch.
    pub event_ms: Tally,
    /// From receipt to the events' being safe, for each event of the batch.
    pub server_ms: Tally,
}

impl Default for GroupCounts {
    fn default() -> Self {
        Self {
            batches_accepted: 0,
            batches_undecodable: 0,
            batches_refused: 0,
            duplicates: 0,
            read_errors: 0,
            protocol_errors: 0,
            unknown_content_type: 0,
            connections_opened: 0,
            connections_failed: 0,
            connections_duplicate: 0,
            connections_over_limit: 0,
            connections_current: 0,
            ping_failures: 0,
            session_ms: Tally::new(&SESSION_BORDERS_MS),
            event_ms: Tally::new(&BORDERS_MS),
            server_ms: Tally::new(&BORDERS_MS),
        }
    }
}

impl GroupCounts {
    pub fn add(&mut self, other: &Self) {
        self.batches_accepted += other.batches_accepted;
        self.batches_undecodable += other.batches_undecodable;
        self.batches_refused += other.batches_refused;
        self.duplicates += other.duplicates;
        self.read_errors += other.read_errors;
        self.protocol_errors += other.protocol_errors;
        self.unknown_content_type += other.unknown_content_type;
        self.connections_opened += other.connections_opened;
        self.connections_failed += other.connections_failed;
        self.connections_duplicate += other.connections_duplicate;
        self.connections_over_limit += other.connections_over_limit;
        self.connections_current += other.connections_current;
        self.ping_failures += other.ping_failures;
        self.session_ms.add(&other.session_ms);
        self.event_ms.add(&other.event_ms);
        self.server_ms.add(&other.server_ms);
    }
}

/// Counts of one group's events to one topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PairCounts {
    pub events: u64,
    pub bytes: u64,
    pub delivered: u64,
    pub undelivered: u64,
    /// Of these, those whose topic does not exist.
    pub unknown: u64,
}

impl PairCounts {
    pub fn add(&mut self, other: Self) {
        self.events += other.events;
        self.bytes += other.bytes;
        self.delivered += other.delivered;
        self.undelivered += other.undelivered;
        self.unknown += other.unknown;
    }
}

/// A group's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GroupIndex(u16);

/// What became of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Delivered,
    Failed,
    UnknownTopic,
}

/// What a batch left behind that waits for its commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entries(u32);

impl Entries {
    pub(super) const NONE: Self = Self(0);
}

#[derive(Debug)]
struct Delivery {
    group: u16,
    topic: u32,
    events: u64,
}

/// A copy of everything that is counted.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    /// By group: its name and its counts. The first is `other`.
    pub groups: Vec<(Box<str>, GroupCounts)>,
    /// By group (its place in `groups`) and topic; a topic of `None` is `other`.
    pub pairs: Vec<(u16, Option<TopicIndex>, PairCounts)>,
}

/// Everything, as it is counted.
pub(super) struct Census {
    labels_max: usize,
    groups: Vec<(Box<str>, GroupCounts)>,
    by_name: HashMap<Box<str>, u16>,
    /// The group that was asked for last: it is most often the next too.
    last: u16,
    /// By topic, then by group. The row after the last topic is `other`.
    pairs: Vec<Vec<PairCounts>>,
    waiting: VecDeque<Delivery>,
}

impl Census {
    /// At most `labels_max` groups and as many topics have rows of their own.
    pub(super) fn new(labels_max: usize) -> Self {
        assert!(labels_max < usize::from(u16::MAX));
        Self {
            labels_max,
            groups: vec![(OTHER.into(), GroupCounts::default())],
            by_name: HashMap::from([(OTHER.into(), 0)]),
            last: 0,
            pairs: Vec::new(),
            waiting: VecDeque::new(),
        }
    }

    pub(super) fn group(&mut self, name: &str) -> GroupIndex {
        if *self.groups[usize::from(self.last)].0 == *name {
            return GroupIndex(self.last);
        }
        let known = self.by_name.get(name).copied();
        let row = known.unwrap_or_else(|| self.make_group(name));
        self.last = row;
        GroupIndex(row)
    }

    fn make_group(&mut self, name: &str) -> u16 {
        if self.labels_max < self.groups.len() {
            return 0;
        }
        let row = self.groups.len() as u16;
        self.groups.push((name.into(), GroupCounts::default()));
        self.by_name.insert(name.into(), row);
        row
    }

    pub(super) fn counts(&mut self, group: GroupIndex) -> &mut GroupCounts {
        &mut self.groups[usize::from(group.0)].1
    }

    /// Counts what a batch holds: topic, events, bytes, in any order and number.
    pub(super) fn receive(
        &mut self,
        group: GroupIndex,
        runs: impl Iterator<Item = (TopicIndex, u64, u64)>,
    ) -> Entries {
        let start = self.waiting.len();
        let other = self.labels_max as u32;
        for (topic, events, bytes) in runs {
            let topic = topic.0.min(other);
            let pair = self.pair(topic, group.0);
            pair.events += events;
            pair.bytes += bytes;
            let is_full = BATCH_TOPICS_MAX <= self.waiting.len() - start;
            let topic = if is_full { other } else { topic };
            let mut own = self.waiting.range_mut(start..);
            match own.find(|entry| entry.topic == topic) {
                Some(entry) => entry.events += events,
                None => self.waiting.push_back(Delivery {
                    group: group.0,
                    topic,
                    events,
                }),
            }
        }
        Entries((self.waiting.len() - start) as u32)
    }

    /// Counts what a batch holds whose events settle one by one.
    pub(super) fn send(&mut self, group: GroupIndex, topic: TopicIndex, events: u64, bytes: u64) {
        let pair = self.pair(topic.0.min(self.labels_max as u32), group.0);
        pair.events += events;
        pair.bytes += bytes;
    }

    /// One event was delivered, or not.
    pub(super) fn deliver(&mut self, group: GroupIndex, topic: TopicIndex, fate: Fate) {
        let pair = self.pair(topic.0.min(self.labels_max as u32), group.0);
        match fate {
            Fate::Delivered => pair.delivered += 1,
            Fate::Failed => pair.undelivered += 1,
            Fate::UnknownTopic => {
                pair.undelivered += 1;
                pair.unknown += 1;
            }
        }
    }

    /// The oldest batch that waited is safe, or never will be.
    pub(super) fn settle(&mut self, entries: Entries, is_delivered: bool) {
        for _ in 0..entries.0 {
            let entry = self.waiting.pop_front();
            debug_assert!(entry.is_some(), "batches settle in their order");
            if let Some(Delivery {
                group,
                topic,
                events,
            }) = entry
            {
                let pair = self.pair(topic, group);
                if is_delivered {
                    pair.delivered += events;
                } else {
                    pair.undelivered += events;
                }
            }
        }
    }

    fn pair(&mut self, topic: u32, group: u16) -> &mut PairCounts {
        let (topic, group) = (topic as usize, usize::from(group));
        if self.pairs.len() <= topic {
            self.pairs.resize_with(topic + 1, Vec::new);
        }
        let row = &mut self.pairs[topic];
        if row.len() <= group {
            row.resize(group + 1, PairCounts::default());
        }
        &mut row[group]
    }

    pub(super) fn copy(&self) -> Counted {
        let mut pairs = Vec::new();
        for (topic, row) in (0_u32..).zip(&self.pairs) {
            let named = (topic as usize) < self.labels_max;
            let topic = named.then_some(TopicIndex(topic));
            let met = (0_u16..)
                .zip(row)
                .filter(|(_, pair)| **pair != PairCounts::default());
            pairs.extend(met.map(|(group, pair)| (group, topic, *pair)));
        }
        Counted {
            groups: self.groups.clone(),
            pairs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_falls_under_the_first_border_that_is_not_below_it() {
        let mut tally = Tally::new(&BORDERS_MS);
        for value in [0, 5, 6, 5_000, 5_001] {
            tally.record(value);
        }
        assert_eq!(tally.counts, [2, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(tally.sums[10], 5_001);
        assert_eq!(tally.count(), 5);
    }

    #[test]
    fn groups_beyond_the_bound_share_other() {
        let mut census = Census::new(2);
        for name in ["a", "b", "c", "d", "a", "other"] {
            let group = census.group(name);
            census.counts(group).batches_accepted += 1;
        }
        let counted = census.copy();
        let rows = counted.groups.iter();
        let rows: Vec<_> = rows
            .map(|(name, row)| (&**name, row.batches_accepted))
            .collect();
        assert_eq!(rows, [("other", 3), ("a", 2), ("b", 1)]);
    }

    #[test]
    fn batches_are_delivered_in_their_order_and_topics_beyond_the_bound_share_other() {
        let mut census = Census::new(2);
        let (us, them) = (census.group("us"), census.group("them"));
        let topics = |topics: &[u32]| {
            let runs = topics.iter().map(|topic| (TopicIndex(*topic), 1, 10));
            runs.collect::<Vec<_>>().into_iter()
        };
        let first = census.receive(us, topics(&[0, 7, 0, 9]));
        let second = census.receive(them, topics(&[0]));
        assert_eq!((first, second), (Entries(2), Entries(1)));
        census.settle(first, true);
        census.settle(second, false);
        assert!(census.waiting.is_empty());
        let pair = |events, delivered, undelivered| PairCounts {
            events,
            bytes: 10 * events,
            delivered,
            undelivered,
            unknown: 0,
        };
        let zero = Some(TopicIndex(0));
        let wanted = [
            (us.0, zero, pair(2, 2, 0)),
            (them.0, zero, pair(1, 0, 1)),
            (us.0, None, pair(2, 2, 0)),
        ];
        assert_eq!(census.copy().pairs, wanted);
    }

    #[test]
    fn a_batch_of_very_many_topics_leaves_a_bounded_number_of_entries() {
        let mut census = Census::new(200);
        let group = census.group("us");
        let entries = census.receive(group, (0..150).map(|topic| (TopicIndex(topic), 1, 1)));
        assert_eq!(entries, Entries(BATCH_TOPICS_MAX as u32 + 1));
        census.settle(entries, true);
        let counted = census.copy();
        let events: u64 = counted.pairs.iter().map(|(_, _, pair)| pair.events).sum();
        let delivered: u64 = counted
            .pairs
            .iter()
            .map(|(_, _, pair)| pair.delivered)
            .sum();
        assert_eq!((events, delivered), (150, 150));
        let other = counted.pairs.iter().find(|(_, topic, _)| topic.is_none());
        assert_eq!(other.unwrap().2.delivered, 150 - BATCH_TOPICS_MAX as u64);
    }
}
