//! Raccoon's metrics: its names, labels and buckets, summed over shards.
//!
//! Where there is no Kafka the journal stands in its place: an event is delivered when it is on stable storage, and
//! the broker is called `journal`. Where there is, its numbers are librdkafka's own (`statistics.interval.ms`). What has no equal here keeps its name and stays at zero.

use super::text::Family;
use crate::kafka::statistics::{Broker, Statistics};
use crate::route::Table;
use crate::shard::census::{BORDERS_MS, GroupCounts, OTHER, PairCounts, Tally};
use crate::shard::probe::Snapshot;
use crate::unit::TopicIndex;
use std::collections::BTreeMap;

/// One metric with all its samples.
#[derive(Debug)]
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) family: Family,
    pub(super) help: &'static str,
    pub(super) samples: Vec<Sample>,
}

#[derive(Debug)]
pub(super) struct Sample {
    pub(super) labels: Vec<(&'static str, String)>,
    pub(super) value: Measure,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Measure {
    Count(u64),
    Level(f64),
    Spread(Tally),
}

/// Everything that the shards have counted, added up.
struct Sums<'a> {
    groups: BTreeMap<&'a str, GroupCounts>,
    /// By event type, topic and group.
    pairs: BTreeMap<(&'a str, &'a str, &'a str), PairCounts>,
}

/// All of them, in the order of the page.
pub(super) fn metrics(snapshots: &[Box<Snapshot>], table: &Table) -> Vec<Metric> {
    let sums = Sums::add_up(snapshots, table);
    let mut all = vec![batches(&sums)];
    all.extend(events(&sums));
    all.extend(connections(&sums));
    all.extend(failures(&sums));
    all.extend(deliveries(&sums));
    all.extend(publisher(snapshots));
    all.extend(times(snapshots, &sums));
    all
}

impl<'a> Sums<'a> {
    fn add_up(snapshots: &'a [Box<Snapshot>], table: &'a Table) -> Self {
        let mut sums = Self {
            groups: BTreeMap::new(),
            pairs: BTreeMap::new(),
        };
        for snapshot in snapshots {
            let counted = &snapshot.counted;
            for (name, counts) in &counted.groups {
                sums.groups.entry(name).or_default().add(counts);
            }
            for (group, topic, counts) in &counted.pairs {
                let group = counted.groups.get(usize::from(*group));
                let group = group.map_or(OTHER, |(name, _)| name);
                let (kind, topic) = names(table, *topic);
                let key = (kind, topic, group);
                sums.pairs.entry(key).or_default().add(*counts);
            }
        }
        sums
    }

    fn by_group(&self, read: fn(&GroupCounts) -> u64) -> Vec<Sample> {
        let groups = self.groups.iter();
        let sample = |(name, counts): (&&str, &GroupCounts)| Sample {
            labels: vec![("conn_group", (*name).to_owned())],
            value: Measure::Count(read(counts)),
        };
        groups.map(sample).collect()
    }

    fn spread_by_group(&self, read: fn(&GroupCounts) -> &Tally) -> Vec<Sample> {
        let groups = self.groups.iter();
        let sample = |(name, counts): (&&str, &GroupCounts)| Sample {
            labels: vec![("conn_group", (*name).to_owned())],
            value: Measure::Spread(read(counts).clone()),
        };
        groups.map(sample).collect()
    }
}

/// The event type and the topic as labels: the type is what the topic says of it.
fn names(table: &Table, topic: Option<TopicIndex>) -> (&str, &str) {
    let Some(topic) = topic.and_then(|topic| table.topic(topic)) else {
        return (OTHER, OTHER);
    };
    let pattern = table.pattern();
    let kind = pattern.kind_of(&topic.name);
    let kind = kind.filter(|_| pattern.tells_kind());
    (kind.unwrap_or(OTHER), &topic.name)
}

fn metric(name: &'static str, family: Family, help: &'static str, samples: Vec<Sample>) -> Metric {
    Metric {
        name,
        family,
        help,
        samples,
    }
}

fn batches(sums: &Sums<'_>) -> Metric {
    type Read = fn(&GroupCounts) -> u64;
    let rows: [(&str, &str, Read); 6] = [
        ("success", "NA", |counts| counts.batches_accepted),
        ("failed", "serde", |counts| counts.batches_undecodable),
        ("failed", "readerr", |counts| counts.read_errors),
        ("failed", "closeerror", |counts| counts.protocol_errors),
        ("failed", "unknowncontentype", |counts| {
            counts.unknown_content_type
        }),
        ("failed", "unknown", |_| 0),
    ];
    let mut samples = Vec::new();
    for (group, counts) in &sums.groups {
        for (status, reason, read) in rows {
            samples.push(Sample {
                labels: vec![
                    ("status", status.to_owned()),
                    ("reason", reason.to_owned()),
                    ("conn_group", (*group).to_owned()),
                ],
                value: Measure::Count(read(counts)),
            });
        }
    }
    let help = "Batches read, by what became of reading them.";
    metric("batches_read_total", Family::Counter, help, samples)
}

fn events(sums: &Sums<'_>) -> [Metric; 2] {
    let mut by_kind: BTreeMap<(&str, &str), PairCounts> = BTreeMap::new();
    for ((kind, _, group), counts) in &sums.pairs {
        by_kind.entry((group, kind)).or_default().add(*counts);
    }
    let samples = |read: fn(&PairCounts) -> u64| {
        let sample = |((group, kind), counts): (&(&str, &str), &PairCounts)| Sample {
            labels: vec![
                ("conn_group", (*group).to_owned()),
                ("event_type", (*kind).to_owned()),
            ],
            value: Measure::Count(read(counts)),
        };
        by_kind.iter().map(sample).collect()
    };
    [
        metric(
            "events_rx_total",
            Family::Counter,
            "Events received, by their type.",
            samples(|counts| counts.events),
        ),
        metric(
            "events_rx_bytes_total",
            Family::Counter,
            "Bytes of events received, by their type.",
            samples(|counts| counts.bytes),
        ),
    ]
}

fn connections(sums: &Sums<'_>) -> [Metric; 3] {
    type Read = fn(&GroupCounts) -> u64;
    let reasons: [(&str, Read); 3] = [
        ("ugfailure", |counts| counts.connections_failed),
        ("exists", |counts| counts.connections_duplicate),
        ("serverlimit", |counts| counts.connections_over_limit),
    ];
    let of_reason = |(reason, read): (&str, Read)| {
        let mut samples = sums.by_group(read);
        for sample in &mut samples {
            sample.labels.push(("reason", reason.to_owned()));
        }
        samples
    };
    let failures = reasons.into_iter().flat_map(of_reason).collect();
    let mut current = sums.by_group(|counts| counts.connections_current);
    for sample in &mut current {
        if let Measure::Count(count) = sample.value {
            sample.value = Measure::Level(count as f64);
        }
    }
    [
        metric(
            "user_connection_success_total",
            Family::Counter,
            "Connections taken.",
            sums.by_group(|counts| counts.connections_opened),
        ),
        metric(
            "user_connection_failure_total",
            Family::Counter,
            "Connections refused, by reason.",
            failures,
        ),
        metric(
            "connections_count_current",
            Family::Gauge,
            "Connections open now.",
            current,
        ),
    ]
}

/// What goes wrong in Raccoon and has no row of its own here yet.
fn failures(sums: &Sums<'_>) -> [Metric; 4] {
    let mut duplicates = sums.by_group(|counts| counts.duplicates);
    for sample in &mut duplicates {
        sample.labels.push(("reason", "duplicate".to_owned()));
    }
    let close_errors = vec![Sample {
        labels: Vec::new(),
        value: Measure::Count(0),
    }];
    [
        metric(
            "events_duplicate_total",
            Family::Counter,
            "Batches that had been sent before on their connection.",
            duplicates,
        ),
        metric(
            "server_ping_failure_total",
            Family::Counter,
            "Pings that could not be sent.",
            sums.by_group(|counts| counts.ping_failures),
        ),
        metric(
            "server_pong_failure_total",
            Family::Counter,
            "Pongs that could not be sent.",
            sums.by_group(|_| 0),
        ),
        metric(
            "conn_close_err_count",
            Family::Counter,
            "Connections whose close failed.",
            close_errors,
        ),
    ]
}

fn deliveries(sums: &Sums<'_>) -> [Metric; 3] {
    let samples = |read: fn(&PairCounts) -> u64| {
        let sample = |((kind, topic, group), counts): (&(&str, &str, &str), &PairCounts)| Sample {
            labels: vec![
                ("topic", (*topic).to_owned()),
                ("conn_group", (*group).to_owned()),
                ("event_type", (*kind).to_owned()),
            ],
            value: Measure::Count(read(counts)),
        };
        sums.pairs.iter().map(sample).collect()
    };
    let mut unknown = sums.by_group(|counts| counts.batches_refused);
    for sample in &mut unknown {
        let nameless = ["topic", "event_type"].map(|label| (label, OTHER.to_owned()));
        sample.labels.splice(0..0, nameless);
    }
    let nameless = |sample: &Sample| sample.labels[0].1 == OTHER;
    let mut named: Vec<Sample> = samples(|counts| counts.unknown);
    named.retain(|sample| !nameless(sample) && sample.value != Measure::Count(0));
    unknown.extend(named);
    [
        metric(
            "kafka_messages_delivered_total",
            Family::Counter,
            "Events that are safe.",
            samples(|counts| counts.delivered),
        ),
        metric(
            "kafka_messages_undelivered_total",
            Family::Counter,
            "Events that could not be made safe.",
            samples(|counts| counts.undelivered),
        ),
        metric(
            "kafka_unknown_topic_failure_total",
            Family::Counter,
            "Events for topics that Kafka does not have; under `other`, batches with names that cannot be topics.",
            unknown,
        ),
    ]
}

fn publisher(snapshots: &[Box<Snapshot>]) -> [Metric; 5] {
    let mut told = snapshots.iter().filter_map(|shard| shard.kafka.as_deref());
    let Some(first) = told.next() else {
        return of_the_journal(snapshots);
    };
    let mut sum = Statistics::read(first);
    told.for_each(|text| sum.add(&Statistics::read(text)));
    of_kafka(&sum)
}

fn of_kafka(sum: &Statistics) -> [Metric; 5] {
    let total = |name, help, value: u64| {
        let value = Measure::Level(value as f64);
        let labels = Vec::new();
        metric(name, Family::Gauge, help, vec![Sample { labels, value }])
    };
    let by_broker = |name, help, read: fn(&Broker) -> f64| {
        let sample = |(broker, sent): (&String, &Broker)| Sample {
            labels: vec![("broker", broker.clone())],
            value: Measure::Level(read(sent)),
        };
        let samples = sum.brokers.iter().map(sample).collect();
        metric(name, Family::Gauge, help, samples)
    };
    [
        total(
            "kafka_tx_messages_total",
            "Records sent to the brokers.",
            sum.messages,
        ),
        total(
            "kafka_tx_messages_bytes_total",
            "Bytes of records sent to the brokers.",
            sum.message_bytes,
        ),
        by_broker("kafka_brokers_tx_total", "Requests sent.", |sent| {
            sent.requests as f64
        }),
        by_broker("kafka_brokers_tx_bytes_total", "Bytes sent.", |sent| {
            sent.bytes as f64
        }),
        by_broker(
            "kafka_brokers_rtt_average_milliseconds",
            "Mean time of a request, in the last interval.",
            |sent| sent.rtt_ms,
        ),
    ]
}

fn of_the_journal(snapshots: &[Box<Snapshot>]) -> [Metric; 5] {
    let sum = |read: fn(&Snapshot) -> u64| {
        let all = snapshots.iter().map(|snapshot| read(snapshot));
        all.sum::<u64>() as f64
    };
    let gauge = |name, help, broker: bool, value| {
        let label = ("broker", "journal".to_owned());
        let labels = broker.then_some(label).into_iter().collect();
        let value = Measure::Level(value);
        metric(name, Family::Gauge, help, vec![Sample { labels, value }])
    };
    let flushes = sum(|shard| shard.flush_ms.count());
    let flushed_us: f64 = snapshots
        .iter()
        .map(|shard| shard.flush_us.mean() * shard.flush_us.len() as f64)
        .sum();
    let mean_ms = flushed_us / 1_000.0 / flushes.max(1.0);
    let bytes = sum(|shard| shard.counters.committed_bytes);
    [
        gauge(
            "kafka_tx_messages_total",
            "Events written.",
            false,
            sum(|shard| shard.counters.events_durable),
        ),
        gauge(
            "kafka_tx_messages_bytes_total",
            "Bytes written, framing included.",
            false,
            bytes,
        ),
        gauge(
            "kafka_brokers_tx_total",
            "Writes.",
            true,
            sum(|shard| shard.counters.commits),
        ),
        gauge(
            "kafka_brokers_tx_bytes_total",
            "Bytes written.",
            true,
            bytes,
        ),
        gauge(
            "kafka_brokers_rtt_average_milliseconds",
            "Mean time of a write.",
            true,
            mean_ms,
        ),
    ]
}

fn times(snapshots: &[Box<Snapshot>], sums: &Sums<'_>) -> [Metric; 8] {
    let rtt = added(snapshots, |shard| &shard.event_rtt_ms);
    let all = |name, help, tally| {
        let labels = Vec::new();
        let value = Measure::Spread(tally);
        metric(
            name,
            Family::Histogram,
            help,
            vec![Sample { labels, value }],
        )
    };
    let by_worker = |name, help, read: fn(&Snapshot) -> Tally| {
        let sample = |shard: &Snapshot| Sample {
            labels: vec![("worker", format!("worker-{}", shard.shard.0))],
            value: Measure::Spread(read(shard)),
        };
        let samples = snapshots.iter().map(|shard| sample(shard)).collect();
        metric(name, Family::Histogram, help, samples)
    };
    let by_group =
        |name, help, read| metric(name, Family::Histogram, help, sums.spread_by_group(read));
    [
        by_group(
            "user_session_duration_milliseconds",
            "Life of ended connections.",
            |counts| &counts.session_ms,
        ),
        all(
            "ack_event_rtt_ms",
            "From a batch's being safe to its answer: both happen in one turn, so this is always 0.",
            at_once(&rtt),
        ),
        all(
            "event_rtt_ms",
            "From the receipt of a batch to its answer.",
            rtt,
        ),
        all(
            "kafka_producebulk_tt_ms",
            "From the submission of a commit to its being on stable storage.",
            added(snapshots, |shard| &shard.flush_ms),
        ),
        by_worker(
            "batch_idle_in_channel_milliseconds",
            "There is no channel between receipt and processing, so this is always 0.",
            |shard| at_once(&shard.event_rtt_ms),
        ),
        by_group(
            "event_processing_duration_milliseconds",
            "From the client's sending a batch to its being safe, for each of its events.",
            |counts| &counts.event_ms,
        ),
        by_group(
            "server_processing_latency_milliseconds",
            "From the receipt of a batch to its being safe, for each of its events.",
            |counts| &counts.server_ms,
        ),
        by_worker(
            "worker_processing_duration_milliseconds",
            "From the receipt of a batch to its being safe, for each of its events, by shard.",
            |shard| shard.worker_ms.clone(),
        ),
    ]
}

fn added(snapshots: &[Box<Snapshot>], read: fn(&Snapshot) -> &Tally) -> Tally {
    let mut sum = Tally::new(&BORDERS_MS);
    for shard in snapshots {
        sum.add(read(shard));
    }
    sum
}

/// As many values as `like` has, all of them 0.
fn at_once(like: &Tally) -> Tally {
    let mut tally = Tally::new(like.borders);
    tally.counts[0] = like.count();
    tally
}
