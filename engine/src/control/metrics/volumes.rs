//! The store's volumes as metrics.

use super::super::volumes::{Overview, Row};
use super::text::{Family, Page};

/// One metric with a sample for each volume.
struct Metric {
    name: &'static str,
    family: Family,
    help: &'static str,
    read: fn(&Row) -> f64,
}

static METRICS: &[Metric] = &[
    Metric {
        name: "ringtail_volume_state",
        family: Family::Gauge,
        help: "How a volume stands: 0 in service, 1 rebuilding, 2 fenced, 3 absent.",
        read: |row| f64::from(row.rank()),
    },
    Metric {
        name: "ringtail_volume_rebuilt_ratio",
        family: Family::Gauge,
        help: "How much of a volume's copy is there: 1 in service, 0 while it is out.",
        read: |row| row.rebuilt.unwrap_or(f64::from(u8::from(row.rank() == 0))),
    },
];

pub(super) fn write(page: &mut Page, seen: &Overview) {
    let name = "ringtail_copies";
    page.head(
        name,
        Family::Gauge,
        "Volumes that a new event is written to.",
    );
    page.sample(name, &[], seen.copies);
    let scrubbed = [
        (
            "ringtail_scrubbed_bytes_total",
            Family::Counter,
            "Bytes of older log files that were read again and checked, of all copies.",
            seen.scrubbed_bytes,
        ),
        (
            "ringtail_pieces_repaired_total",
            Family::Counter,
            "Damaged pieces of log files that were restored from another copy.",
            seen.pieces_repaired,
        ),
        (
            "ringtail_pieces_lost",
            Family::Gauge,
            "Damaged pieces of log files of which no whole copy was found.",
            seen.pieces_lost,
        ),
        (
            "ringtail_losses_accepted_total",
            Family::Counter,
            "Stretches of the log that were lost for good and accepted by operators, since the store was made.",
            seen.losses_accepted,
        ),
        (
            "ringtail_offsets_lost_total",
            Family::Counter,
            "Offsets in them that may have been in use, of all topics.",
            seen.offsets_lost,
        ),
    ];
    for (name, family, help, value) in scrubbed {
        page.head(name, family, help);
        page.sample(name, &[], value);
    }
    for metric in METRICS {
        page.head(metric.name, metric.family, metric.help);
        for row in &seen.volumes {
            let labels = [("volume", row.folder.as_str())];
            page.sample(metric.name, &labels, (metric.read)(row));
        }
    }
}
