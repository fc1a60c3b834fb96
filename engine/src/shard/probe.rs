//! A shard's counters and histograms: plain numbers, copied when asked, never locked.

use crate::unit::{ShardId, TopicIndex};
use hdrhistogram::Histogram;

/// Counts since the shard started.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    pub batches_accepted: u64,
    /// Refused because they could not be decoded.
    pub batches_refused_serde: u64,
    /// Refused because of a topic name, a size or a policy.
    pub batches_refused_policy: u64,
    /// Refused because the log could not take them, or lost on a write error.
    pub batches_refused_log: u64,
    pub unknown_content_type: u64,
    pub read_errors: u64,
    pub protocol_errors: u64,
    pub events_accepted: u64,
    pub events_accepted_bytes: u64,
    pub events_durable: u64,
    pub events_durable_bytes: u64,
    pub events_lost_after_receipt: u64,
    pub received_bytes: u64,
    pub commits: u64,
    pub committed_bytes: u64,
    pub connections_opened: u64,
    pub connections_failed: u64,
    pub connections_current: u64,
    pub in_flight_bytes: u64,
    pub reads_paused: u64,
    pub segments: u64,
    pub segments_recycled: u64,
    pub store_bytes: u64,
}

/// Counts of one topic, for labels.
#[derive(Clone, Copy, Debug)]
pub struct TopicCount {
    pub topic: TopicIndex,
    pub events: u64,
    pub bytes: u64,
}

/// A copy of everything a shard measures.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub shard: ShardId,
    pub cpu: Option<usize>,
    pub counters: Counters,
    pub topics: Vec<TopicCount>,
    /// From the submission of a frame to its being durable.
    pub flush_us: Histogram<u64>,
    /// Bytes of each commit.
    pub commit_bytes: Histogram<u64>,
    /// From the receipt of a request to its being durable.
    pub durable_us: Histogram<u64>,
    /// Life of an ended connection.
    pub session_ms: Histogram<u64>,
}

/// Everything a shard measures, as it measures it.
pub(super) struct Probe {
    pub(super) counters: Counters,
    /// By topic: events and bytes.
    topics: Vec<(u64, u64)>,
    pub(super) flush_us: Histogram<u64>,
    pub(super) commit_bytes: Histogram<u64>,
    pub(super) durable_us: Histogram<u64>,
    pub(super) session_ms: Histogram<u64>,
}

/// Two significant digits, up to an hour of microseconds or 64 GiB: about 20 KiB each.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 1 << 36, 2).expect("these bounds are good")
}

impl Probe {
    pub(super) fn new() -> Self {
        Self {
            counters: Counters::default(),
            topics: Vec::new(),
            flush_us: histogram(),
            commit_bytes: histogram(),
            durable_us: histogram(),
            session_ms: histogram(),
        }
    }

    pub(super) fn count_topic(&mut self, topic: TopicIndex, events: u64, bytes: u64) {
        let row = topic.0 as usize;
        if self.topics.len() <= row {
            self.topics.resize(row + 1, (0, 0));
        }
        self.topics[row].0 += events;
        self.topics[row].1 += bytes;
    }

    pub(super) fn snapshot(&self, shard: ShardId, cpu: Option<usize>) -> Snapshot {
        let rows = self
            .topics
            .iter()
            .enumerate()
            .filter(|(_, (events, _))| 0 < *events);
        let topics = rows.map(|(row, (events, bytes))| TopicCount {
            topic: TopicIndex(row as u32),
            events: *events,
            bytes: *bytes,
        });
        Snapshot {
            shard,
            cpu,
            counters: self.counters,
            topics: topics.collect(),
            flush_us: self.flush_us.clone(),
            commit_bytes: self.commit_bytes.clone(),
            durable_us: self.durable_us.clone(),
            session_ms: self.session_ms.clone(),
        }
    }
}
