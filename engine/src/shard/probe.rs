//! A shard's counters and histograms: plain numbers, copied when asked, never locked.

use super::census::{BORDERS_MS, Census, Counted, GroupIndex, Tally};
use crate::log::journal::Tidied;
use crate::net::{Cut, Note, Refused, Unwelcome};
use crate::spool::Backlog;
use crate::unit::ShardId;
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
    /// Batches with events that Kafka did not take.
    pub batches_failed_kafka: u64,
    pub unknown_content_type: u64,
    pub refused_too_large: u64,
    pub refused_no_room: u64,
    pub refused_broken_http: u64,
    pub refused_not_served: u64,
    pub refused_calls: u64,
    pub read_errors: u64,
    pub protocol_errors: u64,
    pub events_accepted: u64,
    pub events_accepted_bytes: u64,
    pub events_durable: u64,
    pub events_durable_bytes: u64,
    pub events_delivered: u64,
    pub events_undelivered: u64,
    pub events_lost_after_receipt: u64,
    pub received_bytes: u64,
    pub commits: u64,
    pub committed_bytes: u64,
    pub connections_opened: u64,
    pub connections_failed: u64,
    /// Closed in favour of newer ones of the same name.
    pub connections_replaced: u64,
    /// Ended because a deadline had passed.
    pub cut_no_pong: u64,
    pub cut_superseded: u64,
    pub cut_slow_readers: u64,
    pub cut_slow_messages: u64,
    pub cut_slow_heads: u64,
    pub cut_slow_bodies: u64,
    pub connections_current: u64,
    pub in_flight_bytes: u64,
    pub reads_paused: u64,
    pub segments: u64,
    pub segments_recycled: u64,
    pub store_bytes: u64,
    /// Of sealed record batches that nobody can read any more.
    pub dead_bytes: u64,
    pub tidied: Tidied,
    /// Batches taken though nobody could say whether they were there before.
    pub dedupe_unasked: u64,
}

impl Counters {
    /// Adds what one journal has done to give space back.
    pub(super) fn note_tidied(&mut self, dead_bytes: u64, tidied: Tidied) {
        self.dead_bytes += dead_bytes;
        self.tidied.repacked += tidied.repacked;
        self.tidied.read_bytes += tidied.read_bytes;
        self.tidied.written_bytes += tidied.written_bytes;
        self.tidied.unfit += tidied.unfit;
    }
}

impl Counters {
    pub(super) fn cut_mut(&mut self, cut: Cut) -> &mut u64 {
        match cut {
            Cut::NoPong => &mut self.cut_no_pong,
            Cut::Superseded => &mut self.cut_superseded,
            Cut::SlowReader => &mut self.cut_slow_readers,
            Cut::SlowMessage => &mut self.cut_slow_messages,
            Cut::SlowHead => &mut self.cut_slow_heads,
            Cut::SlowBody => &mut self.cut_slow_bodies,
        }
    }

    pub(super) fn refuse(&mut self, why: Refused) {
        let counter = match why {
            Refused::TooLarge => &mut self.refused_too_large,
            Refused::NoRoom => &mut self.refused_no_room,
            Refused::BrokenHttp => &mut self.refused_broken_http,
            Refused::NotServed => &mut self.refused_not_served,
            Refused::Call => &mut self.refused_calls,
        };
        *counter += 1;
    }
}

/// A copy of everything a shard measures.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub shard: ShardId,
    pub cpu: Option<usize>,
    pub counters: Counters,
    /// By group and topic.
    pub counted: Counted,
    /// From the receipt of a batch to its answer.
    pub event_rtt_ms: Tally,
    /// The same, for each event of the batch.
    pub worker_ms: Tally,
    /// From the submission of a frame to its being durable.
    pub flush_ms: Tally,
    /// From the submission of a frame to its being durable.
    pub flush_us: Histogram<u64>,
    /// Bytes of each commit.
    pub commit_bytes: Histogram<u64>,
    /// From the receipt of a request to its being durable.
    pub durable_us: Histogram<u64>,
    /// What librdkafka said last of itself, as JSON.
    pub kafka: Option<Box<str>>,
    /// What the shard forwards, by journal.
    pub spool: Vec<Backlog>,
}

/// Everything a shard measures, as it measures it.
pub(super) struct Probe {
    pub(super) counters: Counters,
    pub(super) census: Census,
    event_rtt_ms: Tally,
    worker_ms: Tally,
    flush_ms: Tally,
    flush_us: Histogram<u64>,
    pub(super) commit_bytes: Histogram<u64>,
    durable_us: Histogram<u64>,
    pub(super) kafka: Option<Box<str>>,
}

/// Two significant digits, up to an hour of microseconds or 64 GiB: about 20 KiB each.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 1 << 36, 2).expect("these bounds are good")
}

impl Probe {
    pub(super) fn new(labels_max: usize) -> Self {
        Self {
            counters: Counters::default(),
            census: Census::new(labels_max),
            event_rtt_ms: Tally::new(&BORDERS_MS),
            worker_ms: Tally::new(&BORDERS_MS),
            flush_ms: Tally::new(&BORDERS_MS),
            flush_us: histogram(),
            commit_bytes: histogram(),
            durable_us: histogram(),
            kafka: None,
        }
    }

    /// A batch of so many events is safe, this long after its receipt, and after the moment when its
    /// client says that it was sent.
    pub(super) fn count_safe(
        &mut self,
        group: GroupIndex,
        events: u64,
        since_received_us: u64,
        since_sent_ms: Option<u64>,
    ) {
        self.durable_us.saturating_record(since_received_us);
        let waited_ms = since_received_us / 1_000;
        self.event_rtt_ms.record(waited_ms);
        if events == 0 {
            return;
        }
        self.worker_ms.record(waited_ms / events);
        let counts = self.census.counts(group);
        counts.server_ms.record(waited_ms / events);
        if let Some(since_sent_ms) = since_sent_ms {
            counts.event_ms.record(since_sent_ms / events);
        }
    }

    pub(super) fn count_flush(&mut self, flush_us: u64) {
        self.flush_us.saturating_record(flush_us);
        self.flush_ms.record(flush_us / 1_000);
    }

    pub(super) fn snapshot(&self, shard: ShardId, cpu: Option<usize>) -> Snapshot {
        Snapshot {
            shard,
            cpu,
            counters: self.counters,
            counted: self.census.copy(),
            event_rtt_ms: self.event_rtt_ms.clone(),
            worker_ms: self.worker_ms.clone(),
            flush_ms: self.flush_ms.clone(),
            flush_us: self.flush_us.clone(),
            commit_bytes: self.commit_bytes.clone(),
            durable_us: self.durable_us.clone(),
            kafka: self.kafka.clone(),
            spool: Vec::new(),
        }
    }
}

impl Probe {
    /// Counts what a door tells of a connection of this group.
    pub(super) fn note(&mut self, group: &str, note: Note) {
        // The one that comes with every read needs no group.
        if let Note::BytesReceived(bytes) = note {
            self.counters.received_bytes += bytes;
            return;
        }
        if let Note::Refused(why) = note {
            self.counters.refuse(why);
            return;
        }
        let group = self.census.group(group);
        let (counters, group) = (&mut self.counters, self.census.counts(group));
        match note {
            Note::Connected => {
                counters.connections_opened += 1;
                counters.connections_current += 1;
                group.connections_opened += 1;
                group.connections_current += 1;
            }
            Note::Disconnected { lived_us } => {
                counters.connections_current -= 1;
                group.connections_current = group.connections_current.saturating_sub(1);
                group.session_ms.record(lived_us / 1_000);
            }
            Note::UpgradeFailed => {
                counters.connections_failed += 1;
                group.connections_failed += 1;
            }
            Note::TurnedAway(Unwelcome::Duplicate) => {
                counters.connections_failed += 1;
                group.connections_duplicate += 1;
            }
            Note::TurnedAway(Unwelcome::Full) => {
                counters.connections_failed += 1;
                group.connections_over_limit += 1;
            }
            Note::Replaced => counters.connections_replaced += 1,
            Note::Cut(cut) => *counters.cut_mut(cut) += 1,
            Note::PingFailed => group.ping_failures += 1,
            Note::PongFailed => group.pong_failures += 1,
            Note::ProtocolError { .. } => {
                counters.protocol_errors += 1;
                group.protocol_errors += 1;
            }
            Note::ReadError => {
                counters.read_errors += 1;
                group.read_errors += 1;
            }
            Note::UnknownContentType => {
                counters.unknown_content_type += 1;
                group.unknown_content_type += 1;
            }
            Note::BytesReceived(_) | Note::Refused(_) => {}
        }
    }
}
