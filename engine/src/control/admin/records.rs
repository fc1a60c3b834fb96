//! Reading records back.

use super::{Reply, json, refuse, reply};
use crate::control::fleet::Fleet;
use crate::limit;
use crate::shard::mail::Record;
use crate::unit::{JournalId, Offset};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::StatusCode;
use serde_json::json;
use std::fmt::Write;

const JSON_LINES: &str = "application/x-ndjson";

/// What a reader asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Query {
    /// `None`: from the first record on.
    offset: Option<u64>,
    limit: u32,
}

/// One JSON object a line. A page may hold fewer records than asked for: it is bounded in bytes too.
pub(super) async fn read(fleet: &Fleet, topic: &str, partition: &str, query: &str) -> Reply {
    let (partition, query) = match (parse_partition(partition), parse_query(query)) {
        (Ok(partition), Ok(query)) => (partition, query),
        (Err(why), _) | (_, Err(why)) => return refuse(StatusCode::BAD_REQUEST, why),
    };
    let Some(index) = fleet.table().find(topic) else {
        return refuse(StatusCode::NOT_FOUND, "there is no such topic");
    };
    let places = match fleet.places().await {
        Ok(places) => places,
        Err(why) => return why.into(),
    };
    if !fleet.has(partition) {
        return refuse(StatusCode::NOT_FOUND, "the topic has no such partition");
    }
    // A journal has no place for a topic that it never had an event of.
    let place = places.get(&(index, partition));
    let (first, next) = place.map_or((Offset(0), Offset(0)), |place| (place.first, place.next));
    let offset = query.offset.map_or(first, Offset);
    if offset < first || next < offset {
        return out_of_range(offset, first, next);
    }
    if offset == next {
        return reply(StatusCode::OK, JSON_LINES, "");
    }
    match fleet.read(partition, index, offset, query.limit).await {
        Ok(Ok(records)) => reply(StatusCode::OK, JSON_LINES, lines(&records)),
        Ok(Err(why)) => refuse(StatusCode::INTERNAL_SERVER_ERROR, why),
        Err(why) => why.into(),
    }
}

fn out_of_range(offset: Offset, first: Offset, next: Offset) -> Reply {
    let (offset, first, next) = (offset.0, first.0, next.0);
    let error = format!("offset {offset} is not within {first} (first) and {next} (next)");
    let body = json!({ "error": error, "first": first, "next": next });
    json(StatusCode::RANGE_NOT_SATISFIABLE, &body)
}

fn parse_partition(text: &str) -> Result<JournalId, String> {
    let number = text.parse().ok().map(JournalId);
    number.ok_or_else(|| "a partition is a whole number".into())
}

fn parse_query(text: &str) -> Result<Query, String> {
    let mut query = Query {
        offset: None,
        limit: limit::ADMIN_RECORDS_DEFAULT,
    };
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match name {
            "offset" => {
                let offset = value.parse();
                query.offset = Some(offset.map_err(|_| "offset is a whole number from 0")?);
            }
            "limit" => {
                let limit: Option<u32> = value.parse().ok();
                let within = limit.filter(|limit| (1..=limit::ADMIN_RECORDS_MAX).contains(limit));
                query.limit = within.ok_or_else(|| {
                    format!("limit is a number from 1 to {}", limit::ADMIN_RECORDS_MAX)
                })?;
            }
            other => {
                let other = other.escape_debug();
                return Err(format!("{other} is not known here: offset and limit are"));
            }
        }
    }
    Ok(query)
}

fn lines(records: &[Record]) -> String {
    let mut out = String::new();
    for record in records {
        let value = BASE64.encode(&record.value);
        let (offset, time) = (record.offset.0, record.timestamp_ms);
        let line = format_args!(
            "{{\"offset\":{offset},\"timestamp_ms\":{time},\"value_base64\":\"{value}\"}}\n"
        );
        out.write_fmt(line).expect("text grows as needed");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_with_their_bounds() {
        let query = |offset, limit| Ok(Query { offset, limit });
        assert_eq!(parse_query(""), query(None, 100));
        assert_eq!(parse_query("offset=7&limit=10000"), query(Some(7), 10_000));
        for bad in [
            "offset=-1",
            "offset=x",
            "limit=0",
            "limit=10001",
            "limit=",
            "ofset=1",
        ] {
            assert!(parse_query(bad).is_err(), "{bad}");
        }
        assert!(parse_partition("4294967296").is_err());
        assert!(parse_partition("-1").is_err());
    }

    #[test]
    fn each_record_is_one_line() {
        let record = |offset, value: &[u8]| Record {
            offset: Offset(offset),
            timestamp_ms: 5,
            value: value.into(),
        };
        assert_eq!(
            lines(&[record(0, b"a\n"), record(1, b"")]),
            "{\"offset\":0,\"timestamp_ms\":5,\"value_base64\":\"YQo=\"}\n\
             {\"offset\":1,\"timestamp_ms\":5,\"value_base64\":\"\"}\n"
        );
    }
}
