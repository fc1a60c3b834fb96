//! One type for each meaning of a number.

use std::num::NonZeroU64;

/// Microseconds since the Unix epoch, from the shard's clock; never decreasing on one shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Micros(pub u64);

impl Micros {
    pub fn millis(self) -> i64 {
        (self.0 / 1_000) as i64
    }

    pub fn seconds(self) -> i64 {
        (self.0 / 1_000_000) as i64
    }

    /// Microseconds since `earlier`; 0 when `earlier` is later.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A topic's name for ever: random, and never used again for another topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub u128);

/// A topic's row in the topic table of this run of the program. Rows are never reused or moved
/// while the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicIndex(pub u32);

/// A record's place in its partition, from 0, as Kafka counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offset(pub u64);

/// The number of a journal in its store. A spread topic's partition has the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JournalId(pub u32);

/// The number of a shard in this run of the program, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u32);

/// One more at each start of a journal, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch(pub u64);

/// One use of one segment file; no other use of any file of the journal has the same number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Life(pub u64);

/// The 1-based place of a commit (a frame) in one journal, without gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sequence(NonZeroU64);

impl Sequence {
    pub const FIRST: Self = Self(NonZeroU64::MIN);

    /// `None` for 0, which no commit has.
    pub fn new(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }

    pub fn get(self) -> u64 {
        self.0.get()
    }

    pub fn next(self) -> Self {
        let next = self.0.checked_add(1);
        Self(next.expect("no journal lives to hold 2^64 commits"))
    }
}

/// The place in line of a journal's commit, as those who wait for it know it: counted from 1 in each
/// run of the program, for the commits that carry requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

impl Ticket {
    /// Before every commit.
    pub const NONE: Self = Self(0);

    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    pub fn before(self) -> Self {
        Self(self.0 - 1)
    }
}

const _: () = assert!(size_of::<Option<Sequence>>() == size_of::<u64>());
