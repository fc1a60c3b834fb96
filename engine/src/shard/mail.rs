//! What the control core and a shard say to each other, through bounded mailboxes.

use super::probe::Snapshot;
use super::volumes;
use crate::log::report::VolumeReport;
use crate::route::table::Table;
use crate::spool::retry::{Retried, Retry};
use crate::unit::{JournalId, Offset, ShardId, TopicId, TopicIndex};
use std::sync::Arc;

/// From the control core to a shard.
#[derive(Debug)]
pub enum Order {
    /// Every shard has its journals open: bind the listener and serve.
    Serve,
    /// The topic table as it is from now on.
    Topics(Arc<Table>),
    /// The topics for these types could not be made just now; requests that wait for them fail.
    TopicsRefused {
        kinds: Vec<Box<str>>,
        reason: Arc<str>,
    },
    /// The Kafka cluster cannot be reached (`Some`, why), or can.
    Cluster { fault: Option<Arc<str>> },
    /// Answer with [`Report::Snapshot`].
    Snapshot { ticket: u64 },
    /// Answer with [`Report::Places`]: the topics' first and next offsets on this shard's journals.
    Places { ticket: u64 },
    /// Answer with [`Report::Volumes`].
    Volumes { ticket: u64 },
    /// Answer with [`Report::Records`].
    Read {
        ticket: u64,
        journal: JournalId,
        topic: TopicIndex,
        offset: Offset,
        records_max: u32,
    },
    /// This volume was out of service and is fit for use again: fill it and take it in.
    Returned(volumes::Place),
    /// These topics were deleted, and are out of the table. Answer with [`Report::Changed`], without places, when
    /// that is durable in every journal.
    Forget { ticket: u64, topics: Vec<TopicId> },
    /// Let a topic's records go that are below the offset or older than the time (ms since 1970), in one
    /// partition or in all. Answer with [`Report::Changed`] when that is durable.
    Truncate {
        ticket: u64,
        topic: TopicIndex,
        journal: Option<JournalId>,
        offset: Offset,
        before_ms: Option<i64>,
    },
    /// Send dead letters again, or count them. Answer with [`Report::Retried`].
    Retry { ticket: u64, retry: Arc<Retry> },
    /// Stop accepting, answer what is in hand, close connections, seal, report `Drained`, end.
    Drain,
}

/// From a shard to the control core.
#[derive(Debug)]
pub enum Report {
    /// The shard's journals are recovered.
    Opened {
        shard: ShardId,
        journals: Vec<JournalId>,
    },
    /// The listener is bound.
    Serving {
        shard: ShardId,
    },
    /// Event types that no topic is known for; their names are legal. Answered with [`Order::Topics`], whose
    /// table has a topic for each or is closed, or with [`Order::TopicsRefused`].
    WantTopics {
        shard: ShardId,
        kinds: Vec<Box<str>>,
    },
    Snapshot {
        ticket: u64,
        snapshot: Box<Snapshot>,
    },
    Places {
        ticket: u64,
        places: Vec<Place>,
    },
    /// How each of the shard's journals sees each volume.
    Volumes {
        ticket: u64,
        reports: Vec<VolumeReport>,
    },
    Records {
        ticket: u64,
        records: Result<Vec<Record>, String>,
    },
    /// What became of [`Order::Forget`] or [`Order::Truncate`]: the partitions that were changed.
    Changed {
        ticket: u64,
        places: Result<Vec<Place>, String>,
    },
    Retried {
        ticket: u64,
        retried: Retried,
    },
    /// New events cannot be made durable (`Some`, why) or can again (`None`).
    Writable {
        shard: ShardId,
        fault: Option<String>,
    },
    /// The shard has ended in order.
    Drained {
        shard: ShardId,
    },
    /// The shard could not start or go on.
    Failed {
        shard: ShardId,
        reason: String,
    },
}

/// Where one partition begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub topic: TopicIndex,
    pub journal: JournalId,
    /// The oldest record that can be read.
    pub first: Offset,
    /// What the next durable record will get.
    pub next: Offset,
    /// Bytes that records which are gone still take, as of the latest look at the segments.
    pub dead_bytes: u64,
}

/// One record as it is read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub offset: Offset,
    pub timestamp_ms: i64,
    pub value: Vec<u8>,
}
