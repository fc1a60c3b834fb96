//! The page as a scraper reads it.

use super::*;
use crate::control::volumes::overview;
use crate::log::report::{ScrubCounts, VolumeReport, VolumeState};
use crate::route::{Pattern, Topic};
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
    let topics = (0..topics).map(|topic| TopicCount {
        topic: TopicIndex(topic),
        events,
        bytes: 10 * events,
    });
    Box::new(Snapshot {
        shard: ShardId(shard),
        cpu: Some(shard as usize),
        counters,
        topics: topics.collect(),
        flush_us: histogram(&[70, 200]),
        commit_bytes: histogram(&[4096]),
        durable_us: histogram(&[300]),
        session_ms: histogram(&[]),
    })
}

fn table(pattern: &str, topics: u32) -> Table {
    let topic = |row| Topic {
        id: TopicId(u128::from(row)),
        name: format!("in-kind{row}").into(),
    };
    Table::new(Pattern::parse(pattern).unwrap(), (0..topics).map(topic))
}

const VITALS: Vitals = Vitals {
    ready: true,
    volumes: None,
    shards: 2,
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
    let read = r#"batches_read_total{status="success",reason="NA"}"#;
    assert_eq!(value(&text, read), 7);
    assert_eq!(value(&text, r#"events_rx_total{event_type="kind0"}"#), 7);
    assert_eq!(
        value(&text, r#"events_rx_bytes_total{event_type="kind0"}"#),
        70
    );
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
fn clients_cannot_make_more_labels_than_the_limit() {
    let topics = limit::LABEL_VALUES_MAX as u32 + 50;
    let text = page(&[snapshot(0, 1, topics)], &table("in-%s", topics), &VITALS);
    let labels = text
        .lines()
        .filter(|line| line.starts_with("events_rx_total{"));
    assert_eq!(labels.count(), limit::LABEL_VALUES_MAX + 1);
    assert_eq!(value(&text, r#"events_rx_total{event_type="other"}"#), 50);
}

#[test]
fn a_topic_that_many_types_go_to_has_no_type() {
    let text = page(&[snapshot(0, 2, 1)], &table("in-kind0", 1), &VITALS);
    assert_eq!(value(&text, r#"events_rx_total{event_type="other"}"#), 2);
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
            ready: false,
            ..VITALS
        },
    );
    assert_eq!(value(&text, "ringtail_ready"), 0);
    assert_eq!(value(&text, "ringtail_shards"), 2);
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
    };
    let reason = "slow".to_owned();
    let reports = [
        report(1, VolumeState::InService),
        report(2, VolumeState::Fenced { reason }),
    ];
    let vitals = Vitals {
        volumes: Some(overview(&reports, 1, 0)),
        ..VITALS
    };
    let text = page(&[snapshot(0, 1, 1)], &table("in-%s", 1), &vitals);
    assert_eq!(value(&text, "ringtail_copies"), 1);
    assert_eq!(value(&text, "ringtail_volume_state{volume=\"/v1\"}"), 0);
    assert_eq!(value(&text, "ringtail_volume_state{volume=\"/v2\"}"), 2);
    let repaired = "ringtail_volume_frames_repaired_total{volume=\"/v2\"}";
    assert_eq!(value(&text, repaired), 3);
}
