//! The metrics page: copies of the shards' numbers as Prometheus text.
//!
//! Raccoon's names come first, summed over shards, for the dashboards that know them; then ours,
//! by shard. Raccoon's go out by StatsD too.

mod raccoon;
mod rows;
mod spool;
pub(crate) mod statsd;
mod text;
mod volumes;

use super::volumes::Overview;
use crate::route::Table;
use crate::shard::probe::Snapshot;
use hdrhistogram::Histogram;
use rows::{OURS, Row};
use text::{Buckets, Family, Page};

/// What the control core itself knows.
#[derive(Clone, Debug)]
pub(crate) struct Vitals {
    /// Whether `/readyz` says yes.
    pub(crate) ready: bool,
    /// What is known of the volumes; `None` while shards start.
    pub(crate) volumes: Option<Overview>,
    /// Brokers and topics of the Kafka cluster, when there is one.
    pub(crate) cluster: Option<(u32, usize)>,
    /// Shards that were started; those without a snapshot did not answer in time.
    pub(crate) shards: usize,
    /// Connections to the admin port that were too many.
    pub(crate) admin_turned_away: u64,
}

/// From 50 µs to 10 s, recorded in µs, shown in seconds.
const TIMES: Buckets = Buckets {
    borders: &[
        50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
        1_000_000, 2_500_000, 10_000_000,
    ],
    units: 1e6,
};

const SIZES: Buckets = Buckets {
    borders: &[
        4 << 10,
        16 << 10,
        64 << 10,
        128 << 10,
        256 << 10,
        512 << 10,
        1 << 20,
        2 << 20,
        4 << 20,
        8 << 20,
        16 << 20,
    ],
    units: 1.0,
};

/// The whole page. `snapshots` are in the order of shards.
pub(crate) fn page(snapshots: &[Box<Snapshot>], table: &Table, vitals: &Vitals) -> String {
    let mut page = Page::default();
    about(&mut page, snapshots, table, vitals);
    for metric in raccoon::metrics(snapshots, table) {
        page.head(metric.name, metric.family, metric.help);
        for sample in &metric.samples {
            page.measure(metric.name, &sample.labels, &sample.value);
        }
    }
    if let Some(seen) = &vitals.volumes {
        volumes::write(&mut page, seen);
    }
    spool::write(&mut page, snapshots);
    for family in OURS {
        page.head(family.name, family.family, family.help);
        for shard in snapshots {
            for row in family.samples {
                by_shard(&mut page, family.name, row, shard);
            }
        }
    }
    histograms(&mut page, snapshots);
    page.finish()
}

fn about(page: &mut Page, snapshots: &[Box<Snapshot>], table: &Table, vitals: &Vitals) {
    let name = "ringtail_build_info";
    page.head(name, Family::Gauge, "Always 1; the label says what runs.");
    page.sample(name, &[("version", env!("CARGO_PKG_VERSION"))], 1);
    let name = "ringtail_ready";
    page.head(
        name,
        Family::Gauge,
        "1 when an event sent now would be acknowledged.",
    );
    page.sample(name, &[], u8::from(vitals.ready));
    let name = "ringtail_topics";
    page.head(name, Family::Gauge, "Topics that exist.");
    page.sample(name, &[], table.living());
    if let Some((brokers, topics)) = vitals.cluster {
        let name = "ringtail_kafka_brokers";
        page.head(name, Family::Gauge, "Brokers of the Kafka cluster.");
        page.sample(name, &[], brokers);
        let name = "ringtail_kafka_topics";
        page.head(name, Family::Gauge, "Topics of the Kafka cluster.");
        page.sample(name, &[], topics);
    }
    let name = "ringtail_shards";
    page.head(name, Family::Gauge, "Shards that were started.");
    page.sample(name, &[], vitals.shards);
    let name = "ringtail_admin_connections_refused_total";
    page.head(
        name,
        Family::Counter,
        "Connections to this port that were too many at once.",
    );
    page.sample(name, &[], vitals.admin_turned_away);
    let name = "ringtail_shard_info";
    page.head(
        name,
        Family::Gauge,
        "1 for each shard that answered in time; the label is its CPU.",
    );
    for snapshot in snapshots {
        let shard = snapshot.shard.0.to_string();
        let cpu = snapshot.cpu.map_or("any".into(), |cpu| cpu.to_string());
        page.sample(name, &[("shard", &shard), ("cpu", &cpu)], 1);
    }
}

fn by_shard(page: &mut Page, name: &str, row: &Row, snapshot: &Snapshot) {
    let shard = snapshot.shard.0.to_string();
    let mut labels = vec![("shard", shard.as_str())];
    labels.extend(row.labels);
    page.sample(name, &labels, (row.read)(&snapshot.counters));
}

fn histograms(page: &mut Page, snapshots: &[Box<Snapshot>]) {
    type Read = fn(&Snapshot) -> &Histogram<u64>;
    let families: [(&str, &str, Read, Buckets); 3] = [
        (
            "ringtail_flush_seconds",
            "From the submission of a commit to its being on stable storage.",
            |shard| &shard.flush_us,
            TIMES,
        ),
        (
            "ringtail_receive_to_durable_seconds",
            "From the receipt of a batch to its being on stable storage.",
            |shard| &shard.durable_us,
            TIMES,
        ),
        (
            "ringtail_commit_bytes",
            "Bytes of each commit.",
            |shard| &shard.commit_bytes,
            SIZES,
        ),
    ];
    for (name, help, read, buckets) in families {
        page.head(name, Family::Histogram, help);
        for snapshot in snapshots {
            let shard = snapshot.shard.0.to_string();
            page.histogram(name, &[("shard", &shard)], &[read(snapshot)], buckets);
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
