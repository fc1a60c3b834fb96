//! What waits in the log for Kafka, by journal; nothing where nothing is forwarded.

use super::text::{Family, Page};
use crate::shard::probe::Snapshot;
use crate::spool::Backlog;

/// One family with what it shows of a journal.
type Row = (&'static str, Family, &'static str, fn(&Backlog) -> u64);

const ROWS: [Row; 15] = [
    (
        "ringtail_spool_backlog_events",
        Family::Gauge,
        "Events in the log that Kafka does not have yet.",
        |one| one.events,
    ),
    (
        "ringtail_spool_backlog_bytes",
        Family::Gauge,
        "What they take of the log.",
        |one| one.bytes,
    ),
    (
        "ringtail_spool_backlog_seconds",
        Family::Gauge,
        "Age of the oldest of them.",
        |one| one.oldest_us / 1_000_000,
    ),
    (
        "ringtail_spool_drain_events_per_second",
        Family::Gauge,
        "Events that Kafka took in a second, over the last few.",
        |one| one.events_per_second,
    ),
    (
        "ringtail_spool_drain_bytes_per_second",
        Family::Gauge,
        "Bytes of the log that were settled in a second, over the last few.",
        |one| one.bytes_per_second,
    ),
    (
        "ringtail_spool_in_flight_events",
        Family::Gauge,
        "Events that were sent and are not reported.",
        |one| one.in_flight,
    ),
    (
        "ringtail_spool_delivered_total",
        Family::Counter,
        "Events that Kafka took, since the journal's first day.",
        |one| one.totals.delivered,
    ),
    (
        "ringtail_spool_whole_total",
        Family::Counter,
        "Events that Kafka took in batches as they lie in the log, since the start.",
        |one| one.whole,
    ),
    (
        "ringtail_spool_dead_letters_total",
        Family::Counter,
        "Events that Kafka will never take: they are in the topic of dead letters.",
        |one| one.totals.letters,
    ),
    (
        "ringtail_spool_letters_kept",
        Family::Gauge,
        "Records in the topic of dead letters.",
        |one| one.letters,
    ),
    (
        "ringtail_spool_retried_total",
        Family::Counter,
        "Dead letters that were sent again (ringtail spool retry), since the start.",
        |one| one.retried,
    ),
    (
        "ringtail_spool_skipped_total",
        Family::Counter,
        "Events of topics that were deleted before their turn came.",
        |one| one.totals.skipped,
    ),
    (
        "ringtail_spool_dropped_total",
        Family::Counter,
        "Acknowledged events that went before their turn came, because the store was full (spool.overflow).",
        |one| one.totals.dropped,
    ),
    (
        "ringtail_spool_repeated_total",
        Family::Counter,
        "Events that came back and were sent again, since the start.",
        |one| one.repeated,
    ),
    (
        "ringtail_spool_stopped",
        Family::Gauge,
        "1 when a journal is no longer forwarded: /readyz says why.",
        |one| u64::from(one.fault.is_some()),
    ),
];

pub(super) fn write(page: &mut Page, shards: &[Box<Snapshot>]) {
    let all = || shards.iter().flat_map(|shard| &shard.spool);
    if all().next().is_none() {
        return;
    }
    for (name, family, help, read) in ROWS {
        page.head(name, family, help);
        for one in all() {
            let journal = one.journal.0.to_string();
            page.sample(name, &[("journal", &journal)], read(one));
        }
    }
}
