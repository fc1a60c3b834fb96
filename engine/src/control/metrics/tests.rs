//! The page as a scraper reads it.

use super::*;
use crate::control::volumes::overview;
use crate::log::report::{LossCounts, ScrubCounts, VolumeReport, VolumeState};
use crate::route::{Pattern, Reserved, Topic};
use crate::shard::census::{BORDERS_MS, Counted, GroupCounts, OTHER, PairCounts, Tally};
use crate::shard::probe::Counters;
use crate::unit::JournalId;
use crate::unit::{ShardId, TopicId, TopicIndex};
use std::collections::HashSet;

fn histogram(values: &[u64]) -> Histogram<u64> {
    let mut histogram = Histogram::new(3).unwrap();
    for value in values {
        histogram.record(*value).unwrap();
    }
    histogram
}

pub(in crate::control) fn snapshot(shard: u32, events: u64, topics: u32) -> Box<Snapshot> {
    let counters = Counters {
        batches_accepted: events,
        events_accepted: events,
        ..Counters::default()
    };
    let mut group = GroupCounts {
        batches_accepted: events,
        ..GroupCounts::default()
    };
    group.session_ms.record(2_000);
    let groups = vec![
        (OTHER.into(), GroupCounts::default()),
        ("--default--".into(), group),
    ];
    let counts = PairCounts {
        events,
        bytes: 10 * events,
        delivered: events,
        undelivered: 0,
        unknown: 0,
    };
    let topics = (0..topics).map(|topic| (1, Some(TopicIndex(topic)), counts));
    let mut event_rtt_ms = Tally::new(&BORDERS_MS);
    event_rtt_ms.record(7);
    Box::new(Snapshot {
        shard: ShardId(shard),
        cpu: Some(shard as usize),
        counters,
        counted: Counted {
            groups,
            pairs: topics.chain([(1, None, counts)]).collect(),
        },
        worker_ms: event_rtt_ms.clone(),
        flush_ms: event_rtt_ms.clone(),
        event_rtt_ms,
        flush_us: histogram(&[70, 200]),
        commit_bytes: histogram(&[4096]),
        durable_us: histogram(&[300]),
        kafka: None,
        spool: Vec::new(),
    })
}

fn table(pattern: &str, topics: u32) -> Table {
    let topic = |row| Topic {
        id: TopicId(u128::from(row)),
        name: format!("in-kind{row}").into(),
    };
    let pattern = Pattern::parse(pattern).unwrap();
    Table::new(pattern, Reserved::default(), (0..topics).map(topic))
}

const VITALS: Vitals = Vitals {
    cluster: None,
    ready: true,
    volumes: None,
    shards: 2,
    admin_turned_away: 3,
};

fn value(text: &str, sample: &str) -> u64 {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.expect(sample).parse().unwrap()
}

#[test]
fn raccoons_names_are_sums_and_ours_are_by_shard() {
    let shards = [snapshot(0, 3, 1), snapshot(1, 4, 1)];
    let text = page(&shards, &table("in-%s", 1), &VITALS);
    let group = r#"conn_group="--default--""#;
    let of = |sample: &str| value(&text, &sample.replace("GROUP", group));
    assert_eq!(
        of(r#"batches_read_total{status="success",reason="NA",GROUP}"#),
        7
    );
    assert_eq!(of(r#"events_rx_total{GROUP,event_type="kind0"}"#), 7);
    assert_eq!(of(r#"events_rx_bytes_total{GROUP,event_type="kind0"}"#), 70);
    let delivered = r#"kafka_messages_delivered_total{topic="in-kind0",GROUP,event_type="kind0"}"#;
    assert_eq!(of(delivered), 7);
    assert_eq!(
        of(r#"user_session_duration_milliseconds_bucket{GROUP,le="10000"}"#),
        2
    );
    assert_eq!(of(r#"event_rtt_ms_bucket{le="5"}"#), 0);
    assert_eq!(of(r#"event_rtt_ms_bucket{le="10"}"#), 2);
    assert_eq!(of("event_rtt_ms_sum"), 14);
    let worker = r#"worker_processing_duration_milliseconds_count{worker="worker-1"}"#;
    assert_eq!(of(worker), 1);
    assert_eq!(
        value(&text, r#"ringtail_events_accepted_total{shard="0"}"#),
        3
    );
    assert_eq!(
        value(&text, r#"ringtail_events_accepted_total{shard="1"}"#),
        4
    );
    assert_eq!(value(&text, r#"ringtail_shard_info{shard="1",cpu="1"}"#), 1);
    assert_eq!(
        value(&text, r#"ringtail_flush_seconds_count{shard="0"}"#),
        2
    );
    let flush = r#"ringtail_flush_seconds_bucket{shard="0",le="0.0001"}"#;
    assert_eq!(value(&text, flush), 1);
}

#[test]
fn what_has_no_row_of_its_own_is_other() {
    let of = |text: &str| {
        value(
            text,
            r#"events_rx_total{conn_group="--default--",event_type="other"}"#,
        )
    };
    assert_eq!(
        of(&page(&[snapshot(0, 2, 1)], &table("in-%s", 1), &VITALS)),
        2
    );
    // A topic that many types go to has no type.
    assert_eq!(
        of(&page(&[snapshot(0, 2, 1)], &table("in-kind0", 1), &VITALS)),
        4
    );
}

/// The names and labels that dashboards and alerts are made of.
#[test]
fn every_name_of_raccoons_is_on_the_page_with_its_labels() {
    let text = page(&[snapshot(0, 1, 1)], &table("in-%s", 1), &VITALS);
    for (name, labels) in [
        ("batches_read_total", "status reason conn_group"),
        ("events_rx_total", "conn_group event_type"),
        ("events_rx_bytes_total", "conn_group event_type"),
        ("events_duplicate_total", "conn_group reason"),
        ("user_connection_success_total", "conn_group"),
        ("user_connection_failure_total", "conn_group reason"),
        ("server_ping_failure_total", "conn_group"),
        ("server_pong_failure_total", "conn_group"),
        ("conn_close_err_count", ""),
        (
            "kafka_messages_delivered_total",
            "topic conn_group event_type",
        ),
        (
            "kafka_messages_undelivered_total",
            "topic conn_group event_type",
        ),
        (
            "kafka_unknown_topic_failure_total",
            "topic event_type conn_group",
        ),
        ("connections_count_current", "conn_group"),
        ("kafka_tx_messages_total", ""),
        ("kafka_tx_messages_bytes_total", ""),
        ("kafka_brokers_tx_total", "broker"),
        ("kafka_brokers_tx_bytes_total", "broker"),
        ("kafka_brokers_rtt_average_milliseconds", "broker"),
        ("user_session_duration_milliseconds_count", "conn_group"),
        ("ack_event_rtt_ms_count", ""),
        ("event_rtt_ms_count", ""),
        ("kafka_producebulk_tt_ms_count", ""),
        ("batch_idle_in_channel_milliseconds_count", "worker"),
        ("event_processing_duration_milliseconds_count", "conn_group"),
        ("server_processing_latency_milliseconds_count", "conn_group"),
        ("worker_processing_duration_milliseconds_count", "worker"),
    ] {
        let found = text.lines().find_map(|line| {
            let rest = line.strip_prefix(name)?;
            let labels = rest
                .strip_prefix('{')
                .and_then(|rest| rest.split('}').next());
            (rest.starts_with(['{', ' '])).then_some(labels.unwrap_or_default())
        });
        let pairs = found
            .expect(name)
            .split(',')
            .filter(|pair| !pair.is_empty());
        let names: Vec<&str> = pairs.map(|pair| pair.split('=').next().unwrap()).collect();
        assert_eq!(names.join(" "), labels, "{name}");
    }
}

#[test]
fn every_family_has_one_head_and_stands_together() {
    let text = page(
        &[snapshot(0, 1, 1), snapshot(1, 1, 1)],
        &table("in-%s", 1),
        &VITALS,
    );
    let mut heads = HashSet::new();
    let mut current = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            current = rest.split(' ').next().unwrap();
            assert!(heads.insert(current), "{current} has two heads");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            assert!(rest.starts_with(current));
        } else {
            assert!(line.starts_with(current), "{line} stands under {current}");
        }
    }
    assert!(text.ends_with('\n'));
}

#[test]
fn a_page_without_answers_still_tells_that_it_is_so() {
    let text = page(
        &[],
        &table("in-%s", 0),
        &Vitals {
            cluster: None,
            ready: false,
            ..VITALS
        },
    );
    assert_eq!(value(&text, "ringtail_ready"), 0);
    assert_eq!(value(&text, "ringtail_shards"), 2);
    assert_eq!(value(&text, "ringtail_admin_connections_refused_total"), 3);
    assert!(!text.contains("ringtail_shard_info{"));
}

#[test]
fn volumes_are_told_by_folder() {
    let report = |volume: u32, state| VolumeReport {
        journal: JournalId(0),
        volume: Some(volume),
        folder: format!("/v{volume}"),
        state,
        scrub: ScrubCounts {
            repaired: 3,
            ..ScrubCounts::default()
        },
        losses: LossCounts {
            places: 1,
            offsets: 40,
        },
    };
    let reason = "slow".to_owned();
    let reports = [
        report(1, VolumeState::InService),
        report(2, VolumeState::Fenced { reason }),
    ];
    let vitals = Vitals {
        cluster: None,
        volumes: Some(overview(&reports, 1, 0)),
        ..VITALS
    };
    let text = page(&[snapshot(0, 1, 1)], &table("in-%s", 1), &vitals);
    assert_eq!(value(&text, "ringtail_copies"), 1);
    assert_eq!(value(&text, "ringtail_volume_state{volume=\"/v1\"}"), 0);
    assert_eq!(value(&text, "ringtail_volume_state{volume=\"/v2\"}"), 2);
    assert_eq!(value(&text, "ringtail_pieces_repaired_total"), 3);
    // One journal tells it for each of its volumes; it is one loss.
    assert_eq!(value(&text, "ringtail_losses_accepted_total"), 1);
    assert_eq!(value(&text, "ringtail_offsets_lost_total"), 40);
}
