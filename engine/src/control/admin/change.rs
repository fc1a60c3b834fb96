//! Deleting and truncating topics, and sending dead letters again.

use super::{Reply, json, pages, refuse, time};
use crate::control::fleet::{Fleet, NotDeleted};
use crate::limit;
use crate::rt::timer;
use crate::spool::retry::Retry;
use crate::unit::{JournalId, Offset};
use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};

/// What a `PATCH` asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Truncation {
    offset: u64,
    before_ms: Option<i64>,
    partition: Option<u32>,
}

/// 204 when the topic is gone, durably.
pub(super) async fn delete(fleet: &Fleet, topic: &str) -> Reply {
    match fleet.delete(topic).await {
        Ok(Ok(())) => json_none(),
        Ok(Err(NotDeleted::Absent)) => absent(),
        Ok(Err(NotDeleted::Failed(why))) => refuse(StatusCode::SERVICE_UNAVAILABLE, why),
        Err(why) => why.into(),
    }
}

/// 200 with the partitions as they are then, 204 when nothing was asked for.
pub(super) async fn truncate(fleet: &Fleet, topic: &str, body: Incoming) -> Reply {
    let body = match whole(body).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let asked = match parse(&body) {
        Ok(asked) => asked,
        Err(why) => return refuse(StatusCode::BAD_REQUEST, why),
    };
    let Some(row) = fleet.table().find(topic) else {
        return absent();
    };
    if asked.offset == 0 && asked.before_ms.is_none() {
        return json_none();
    }
    let partition = asked.partition.map(JournalId);
    if partition.is_some_and(|partition| !fleet.has(partition)) {
        return refuse(StatusCode::NOT_FOUND, "the topic has no such partition");
    }
    let offset = Offset(asked.offset);
    match fleet
        .truncate(row, partition, offset, asked.before_ms)
        .await
    {
        Ok(Ok(places)) => {
            let first = places.iter().map(|place| place.first.0).min();
            let next = places.iter().map(|place| place.next.0).max();
            let partitions: Vec<Value> = places.iter().map(pages::partition).collect();
            let body = json!({
                "minOffset": first.unwrap_or(0),
                "maxOffset": next.unwrap_or(0),
                "partitions": partitions,
            });
            json(StatusCode::OK, &body)
        }
        Ok(Err(why)) => refuse(StatusCode::INTERNAL_SERVER_ERROR, why),
        Err(why) => why.into(),
    }
}

/// Sends dead letters again: 200 with what came of it, 503 when not every journal came to its end.
pub(super) async fn retry(fleet: &Fleet, body: Incoming) -> Reply {
    let body = match whole(body).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let asked = if body.is_empty() {
        Ok(Retry::default())
    } else {
        serde_json::from_slice(&body)
    };
    let asked = match asked {
        Ok(asked) => asked,
        Err(why) => return refuse(StatusCode::BAD_REQUEST, format!("invalid body: {why}")),
    };
    match fleet.retry(asked).await {
        Ok(retried) if retried.faults.is_empty() => json(StatusCode::OK, &json!(retried)),
        Ok(retried) => json(StatusCode::SERVICE_UNAVAILABLE, &json!(retried)),
        Err(why) => why.into(),
    }
}

/// A request's body, or the answer to one that does not come or is too long.
async fn whole(body: Incoming) -> Result<Bytes, Reply> {
    let body = Limited::new(body, limit::ADMIN_BODY_BYTES_MAX).collect();
    match timer::timeout(limit::HTTP_BODY_WAIT, body).await {
        Some(Ok(body)) => Ok(body.to_bytes()),
        Some(Err(why)) => Err(refuse(
            StatusCode::BAD_REQUEST,
            format!("invalid body: {why}"),
        )),
        None => Err(refuse(StatusCode::REQUEST_TIMEOUT, "the body did not come")),
    }
}

fn absent() -> Reply {
    refuse(StatusCode::NOT_FOUND, "there is no such topic")
}

fn json_none() -> Reply {
    let mut reply = Reply::default();
    *reply.status_mut() = StatusCode::NO_CONTENT;
    reply
}

fn parse(body: &[u8]) -> Result<Truncation, String> {
    let body: Value =
        serde_json::from_slice(body).map_err(|why| format!("invalid body: no JSON: {why}"))?;
    let fields = body
        .as_object()
        .ok_or("invalid body: wanted an object with truncate, before or partition")?;
    let mut asked = Truncation::default();
    for (name, value) in fields {
        match name.as_str() {
            "truncate" => asked.offset = value.as_u64().ok_or("truncate is an offset from 0")?,
            "before" => {
                let before = value.as_str().and_then(time::parse);
                asked.before_ms =
                    Some(before.ok_or("before is a time such as 2026-01-31T08:30:00Z")?);
            }
            "partition" => {
                let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
                asked.partition = Some(number.ok_or("partition is a whole number")?);
            }
            other => {
                let other = other.escape_debug();
                return Err(format!(
                    "{other} is not known here: truncate, before and partition are"
                ));
            }
        }
    }
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_read_as_they_are_documented() {
        let read = |text: &str| parse(text.as_bytes());
        assert_eq!(read("{}"), Ok(Truncation::default()));
        let asked = Truncation {
            offset: 7,
            before_ms: Some(1_000),
            partition: Some(2),
        };
        let text = r#"{"truncate": 7, "before": "1970-01-01T00:00:01Z", "partition": 2}"#;
        assert_eq!(read(text), Ok(asked));
        for bad in [
            "",
            "[]",
            r#"{"truncate": -1}"#,
            r#"{"truncate": 1.5}"#,
            r#"{"before": "yesterday"}"#,
            r#"{"befor": 1}"#,
            r#"{"partition": 4294967296}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
