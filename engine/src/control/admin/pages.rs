//! Health, metrics, and the list of topics.

use super::{Reply, json, reply};
use crate::control::fleet::{Fleet, Unanswered};
use crate::control::metrics::{self, Vitals};
use crate::control::volumes::overview;
use crate::log::Copies;
use crate::log::report::VolumeReport;
use crate::route::Table;
use crate::shard::mail::Place;
use crate::shard::probe::Snapshot;
use crate::unit::{JournalId, TopicIndex};
use http::StatusCode;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;

const TEXT: &str = "text/plain; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The process lives and answers.
pub(super) fn health() -> Reply {
    reply(StatusCode::OK, TEXT, "ok\n")
}

/// Would an event sent now be acknowledged?
/// And, where there are rules for several volumes, how many copies would it get?
pub(super) async fn readiness(fleet: &Fleet, rules: Option<Copies>, spools: bool) -> Reply {
    let copies = match rules {
        Some(rules) => copies(fleet, rules).await,
        None => String::new(),
    };
    match fleet.unready() {
        None if spools => {
            let backlog = fleet.snapshots().await.map(|shards| backlog(&shards));
            let backlog = backlog.unwrap_or_default();
            reply(StatusCode::OK, TEXT, format!("ready\n{copies}{backlog}"))
        }
        None => reply(StatusCode::OK, TEXT, format!("ready\n{copies}")),
        Some(why) => {
            let text = format!("{why}\n{copies}");
            reply(StatusCode::SERVICE_UNAVAILABLE, TEXT, text)
        }
    }
}

/// The line about copies; empty while a shard does not answer.
async fn copies(fleet: &Fleet, rules: Copies) -> String {
    let reports = fleet.volumes().await.unwrap_or_default();
    let seen = overview(&reports, rules.volumes_min, rules.durable_volumes);
    seen.copies_line().unwrap_or_default()
}

/// What waits for Kafka, a line for each journal.
fn backlog(shards: &[Box<Snapshot>]) -> String {
    let mut text = String::new();
    for one in shards.iter().flat_map(|shard| &shard.spool) {
        let (journal, events, bytes) = (one.journal.0, one.events, one.bytes);
        let (seconds, rate) = (one.oldest_us / 1_000_000, one.events_per_second);
        let byte_rate = one.bytes_per_second;
        let _never_fails = writeln!(
            text,
            "spool: journal {journal}: {events} events, {bytes} bytes, {seconds} s behind, \
             {rate} events/s, {byte_rate} bytes/s"
        );
        if 0 < one.letters {
            let letters = one.letters;
            let _never_fails = writeln!(
                text,
                "spool: journal {journal}: {letters} dead letters (ringtail spool retry sends them again)"
            );
        }
        if let Some(fault) = &one.fault {
            let _never_fails = writeln!(text, "spool: {fault}");
        }
    }
    text
}

/// Also while shards start or one hangs: the page then says so by what is missing.
/// `turned_away` connections have found this port full.
pub(super) async fn metrics(fleet: &Fleet, copies: Copies, turned_away: u64) -> Reply {
    let snapshots = match fleet.snapshots().await {
        Ok(snapshots) => snapshots,
        Err(Unanswered::Absent) => Vec::new(),
        Err(why) => return why.into(),
    };
    let reports = fleet.volumes().await.ok();
    let seen =
        |reports: Vec<VolumeReport>| overview(&reports, copies.volumes_min, copies.durable_volumes);
    let vitals = Vitals {
        cluster: fleet.cluster(),
        volumes: reports.map(seen),
        ready: fleet.unready().is_none(),
        shards: fleet.len(),
        admin_turned_away: turned_away,
    };
    let page = metrics::page(&snapshots, &fleet.table(), &vitals);
    reply(StatusCode::OK, PROMETHEUS, page)
}

/// Which copies there are, and what the loss of each would mean.
pub(super) async fn volumes(fleet: &Fleet, copies: Copies) -> Reply {
    match fleet.volumes().await {
        Ok(reports) => {
            let seen = overview(&reports, copies.volumes_min, copies.durable_volumes);
            json(StatusCode::OK, &json!(seen))
        }
        Err(why) => why.into(),
    }
}

pub(super) async fn topics(fleet: &Fleet) -> Reply {
    match fleet.places().await {
        Ok(places) => json(StatusCode::OK, &list(&fleet.table(), &places)),
        Err(why) => why.into(),
    }
}

/// One partition of a topic.
pub(super) fn partition(place: &Place) -> Value {
    json!({
        "partition": place.journal.0,
        "first": place.first.0,
        "next": place.next.0,
        "dead_bytes": place.dead_bytes,
    })
}

/// Each topic with its partitions, in the order of the table.
fn list(table: &Table, places: &BTreeMap<(TopicIndex, JournalId), Place>) -> Value {
    let rows = (0_u32..).map(TopicIndex).zip(table.topics());
    let rows = rows.filter(|(row, _)| !table.is_deleted(*row));
    let topics = rows.map(|(row, topic)| {
        let own = places.range((row, JournalId(0))..=(row, JournalId(u32::MAX)));
        let partitions: Vec<Value> = own.map(|(_, place)| partition(place)).collect();
        json!({ "name": &*topic.name, "partitions": partitions })
    });
    topics.collect()
}
