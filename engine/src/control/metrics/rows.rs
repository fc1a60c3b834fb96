//! Which counter stands under which name.

use super::text::{Family, Label};
use crate::shard::probe::Counters;

/// One metric with all its samples.
pub(super) struct Rows {
    pub(super) name: &'static str,
    pub(super) family: Family,
    pub(super) help: &'static str,
    pub(super) samples: &'static [Row],
}

/// One sample of a metric.
pub(super) struct Row {
    pub(super) labels: &'static [Label<'static>],
    pub(super) read: fn(&Counters) -> u64,
}

/// A metric of one sample without labels of its own.
macro_rules! plain {
    ($family:ident $name:literal $help:literal $read:expr) => {
        Rows {
            name: $name,
            family: Family::$family,
            help: $help,
            samples: &[Row {
                labels: &[],
                read: $read,
            }],
        }
    };
}

/// Ours, by shard.
pub(super) static OURS: &[Rows] = &[
    plain!(Counter "ringtail_received_bytes_total" "Bytes read from sockets."
        |counted| counted.received_bytes),
    plain!(Counter "ringtail_batches_accepted_total" "Batches taken into the log."
        |counted| counted.batches_accepted),
    Rows {
        name: "ringtail_batches_refused_total",
        family: Family::Counter,
        help: "Batches answered with an error: not decodable, not allowed, or not writable.",
        samples: &[
            Row {
                labels: &[("reason", "serde")],
                read: |counted| counted.batches_refused_serde,
            },
            Row {
                labels: &[("reason", "policy")],
                read: |counted| counted.batches_refused_policy,
            },
            Row {
                labels: &[("reason", "log")],
                read: |counted| counted.batches_refused_log,
            },
            Row {
                labels: &[("reason", "kafka")],
                read: |counted| counted.batches_failed_kafka,
            },
        ],
    },
    Rows {
        name: "ringtail_requests_refused_total",
        family: Family::Counter,
        help: "Requests and connections that the doors refused before any batch was read.",
        samples: &[
            Row {
                labels: &[("reason", "too_large")],
                read: |counted| counted.refused_too_large,
            },
            Row {
                labels: &[("reason", "no_room")],
                read: |counted| counted.refused_no_room,
            },
            Row {
                labels: &[("reason", "broken_http")],
                read: |counted| counted.refused_broken_http,
            },
            Row {
                labels: &[("reason", "not_served")],
                read: |counted| counted.refused_not_served,
            },
            Row {
                labels: &[("reason", "call")],
                read: |counted| counted.refused_calls,
            },
        ],
    },
    plain!(Counter "ringtail_events_accepted_total" "Events taken into the log."
        |counted| counted.events_accepted),
    plain!(Counter "ringtail_events_accepted_bytes_total" "Payload bytes taken into the log."
        |counted| counted.events_accepted_bytes),
    plain!(Counter "ringtail_events_durable_total" "Events on stable storage."
        |counted| counted.events_durable),
    plain!(Counter "ringtail_events_durable_bytes_total" "Payload bytes on stable storage."
        |counted| counted.events_durable_bytes),
    plain!(Counter "ringtail_events_delivered_total" "Events that Kafka has."
        |counted| counted.events_delivered),
    plain!(Counter "ringtail_events_undelivered_total" "Events that Kafka did not take."
        |counted| counted.events_undelivered),
    plain!(Counter "ringtail_events_lost_after_receipt_total"
        "Events answered on receipt (EVENT_ACK=0) that never became durable."
        |counted| counted.events_lost_after_receipt),
    plain!(Counter "ringtail_commits_total" "Writes of the journal."
        |counted| counted.commits),
    plain!(Counter "ringtail_committed_bytes_total" "Bytes written to the journal."
        |counted| counted.committed_bytes),
    plain!(Gauge "ringtail_connections_current" "Connections open now."
        |counted| counted.connections_current),
    plain!(Counter "ringtail_connections_replaced_total"
        "WebSockets closed in favour of newer ones of the same id and group."
        |counted| counted.connections_replaced),
    Rows {
        name: "ringtail_connections_cut_total",
        family: Family::Counter,
        help: "Connections ended because a deadline had passed, by which.",
        samples: &[
            Row {
                labels: &[("reason", "no_pong")],
                read: |counted| counted.cut_no_pong,
            },
            Row {
                labels: &[("reason", "superseded")],
                read: |counted| counted.cut_superseded,
            },
            Row {
                labels: &[("reason", "slow_reader")],
                read: |counted| counted.cut_slow_readers,
            },
            Row {
                labels: &[("reason", "slow_message")],
                read: |counted| counted.cut_slow_messages,
            },
            Row {
                labels: &[("reason", "slow_head")],
                read: |counted| counted.cut_slow_heads,
            },
            Row {
                labels: &[("reason", "slow_body")],
                read: |counted| counted.cut_slow_bodies,
            },
        ],
    },
    plain!(Gauge "ringtail_in_flight_bytes" "Bytes of batches accepted and not yet answered."
        |counted| counted.in_flight_bytes),
    plain!(Counter "ringtail_reads_paused_total"
        "Times that reading stopped because too much was in flight."
        |counted| counted.reads_paused),
    plain!(Counter "ringtail_dedupe_unasked_total"
        "Batches taken though the shard that knows of earlier ones did not answer."
        |counted| counted.dedupe_unasked),
    plain!(Gauge "ringtail_segments" "Log files in use."
        |counted| counted.segments),
    plain!(Counter "ringtail_segments_recycled_total" "Log files used again."
        |counted| counted.segments_recycled),
    plain!(Gauge "ringtail_store_bytes" "What the shard's journals take on one volume."
        |counted| counted.store_bytes),
    plain!(Gauge "ringtail_dead_bytes"
        "Bytes of full log files whose records are gone, as of the latest look."
        |counted| counted.dead_bytes),
    plain!(Counter "ringtail_segments_repacked_total" "Log files rewritten without what was dead."
        |counted| counted.tidied.repacked),
    plain!(Counter "ringtail_repack_read_bytes_total" "Bytes read to rewrite log files."
        |counted| counted.tidied.read_bytes),
    plain!(Counter "ringtail_repack_written_bytes_total" "Bytes of rewritten log files."
        |counted| counted.tidied.written_bytes),
    plain!(Counter "ringtail_segments_unfit_total"
        "Log files that could not be read to be rewritten, and stay as they are."
        |counted| counted.tidied.unfit),
];
