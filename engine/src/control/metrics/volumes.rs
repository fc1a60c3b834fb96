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
    Metric {
        name: "ringtail_volume_segments_scrubbed_total",
        family: Family::Counter,
        help: "Log files of a volume that were read again and checked.",
        read: |row| row.segments_scrubbed as f64,
    },
    Metric {
        name: "ringtail_volume_frames_repaired_total",
        family: Family::Counter,
        help: "Damaged commits of a volume that were restored from another copy.",
        read: |row| row.frames_repaired as f64,
    },
    Metric {
        name: "ringtail_volume_frames_unrepaired",
        family: Family::Gauge,
        help: "Damaged commits of a volume of which no whole copy was found.",
        read: |row| row.frames_unrepaired as f64,
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
    for metric in METRICS {
        page.head(metric.name, metric.family, metric.help);
        for row in &seen.volumes {
            let labels = [("volume", row.folder.as_str())];
            page.sample(metric.name, &labels, (metric.read)(row));
        }
    }
}
