//! `SendEventResponse` as bytes, written straight into a connection's outbox.

use quick_protobuf::sizeofs::sizeof_len;

use crate::frame::Encoding;

/// `raystack.raccoon.v1beta1.Status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Success = 1,
    Error = 2,
}

/// `raystack.raccoon.v1beta1.Code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    Ok = 1,
    BadRequest = 2,
    InternalError = 3,
    MaxConnectionLimitReached = 4,
    MaxUserLimitReached = 5,
}

/// One answer, borrowed from whoever knows its parts.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    pub status: Status,
    pub code: Code,
    /// Unix seconds of the server's clock.
    pub sent_time: i64,
    pub reason: &'a str,
    /// `data.req_guid`; `None` leaves `data` out altogether.
    pub guid: Option<&'a str>,
    /// What `data` says of single events, as `event.3`.
    pub events: &'a [EventFault],
}

/// Why one event of a request cannot be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventFault {
    /// Its place in the request, from 0.
    pub index: u32,
    /// At most [`REASON_BYTES_MAX`](crate::limit::REASON_BYTES_MAX) bytes.
    pub reason: Box<str>,
}

impl EventFault {
    fn key(&self) -> String {
        format!("event.{}", self.index)
    }
}

/// Appends the answer to `out`. Allocates only when `out` must grow.
pub fn encode(encoding: Encoding, answer: &Answer<'_>, out: &mut Vec<u8>) {
    match encoding {
        Encoding::Protobuf => encode_protobuf(answer, out),
        Encoding::Json => encode_json(answer, out).expect("a vector takes every byte"),
    }
}

/// Keys (number and wire type) of `SendEventResponse`, and of an entry of its map.
mod key {
    pub(super) const STATUS: u8 = 1 << 3;
    pub(super) const CODE: u8 = 2 << 3;
    pub(super) const SENT_TIME: u8 = 3 << 3;
    pub(super) const REASON: u8 = 4 << 3 | 2;
    pub(super) const DATA: u8 = 5 << 3 | 2;
    pub(super) const ENTRY_KEY: u8 = 1 << 3 | 2;
    pub(super) const ENTRY_VALUE: u8 = 2 << 3 | 2;
}

/// The key that `data` always has.
const GUID: &str = "req_guid";

/// Nearly every answer is the fixed part, no reason, and a guid: that much is put together on the stack
/// and appended in two pieces, because a vector asks about its room for every piece.
fn encode_protobuf(answer: &Answer<'_>, out: &mut Vec<u8>) {
    let mut head = Head::new();
    head.put(&[key::STATUS, answer.status as u8]);
    head.put(&[key::CODE, answer.code as u8]);
    if answer.sent_time != 0 {
        head.put(&[key::SENT_TIME]);
        head.varint(answer.sent_time as u64);
    }
    if !answer.reason.is_empty() {
        head.put(&[key::REASON]);
        head.varint(answer.reason.len() as u64);
        out.extend_from_slice(head.bytes());
        out.extend_from_slice(answer.reason.as_bytes());
        head = Head::new();
    }
    let Some(guid) = answer.guid else {
        out.extend_from_slice(head.bytes());
        return;
    };
    write_entry(head, GUID, guid, out);
    for fault in answer.events {
        write_entry(Head::new(), &fault.key(), &fault.reason, out);
    }
}

/// What comes before, and one entry of `data`. Both halves are written even when empty, as Go writes
/// them. A name is at most [`NAME_BYTES_MAX`] bytes long.
fn write_entry(mut head: Head, name: &str, value: &str, out: &mut Vec<u8>) {
    let entry_bytes = 2 + sizeof_len(name.len()) + sizeof_len(value.len());
    head.put(&[key::DATA]);
    head.varint(entry_bytes as u64);
    head.put(&[key::ENTRY_KEY, name.len() as u8]);
    head.put(name.as_bytes());
    head.put(&[key::ENTRY_VALUE]);
    head.varint(value.len() as u64);
    out.extend_from_slice(head.bytes());
    out.extend_from_slice(value.as_bytes());
}

/// `event.` and the ten digits of a number of 32 bits.
const NAME_BYTES_MAX: usize = 16;
/// A varint of 64 bits.
const VARINT_BYTES_MAX: usize = 10;
/// Status, code and time; an entry's keys and lengths; its name.
const HEAD_BYTES_MAX: usize = 5 + VARINT_BYTES_MAX + 4 + 2 * VARINT_BYTES_MAX + NAME_BYTES_MAX;

/// The short fields before a text, put together before they are appended as one.
///
/// Always: len <= `HEAD_BYTES_MAX`, which all fields together cannot exceed.
struct Head {
    bytes: [u8; HEAD_BYTES_MAX],
    len: usize,
}

impl Head {
    fn new() -> Self {
        let bytes = [0; HEAD_BYTES_MAX];
        Self { bytes, len: 0 }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.len..][..bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn varint(&mut self, mut value: u64) {
        while 0x80 <= value {
            self.put(&[value as u8 | 0x80]);
            value >>= 7;
        }
        self.put(&[value as u8]);
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

fn encode_json(answer: &Answer<'_>, out: &mut Vec<u8>) -> serde_json::Result<()> {
    out.extend_from_slice(br#"{"status":"#);
    serde_json::to_writer(&mut *out, &(answer.status as i32))?;
    out.extend_from_slice(br#","code":"#);
    serde_json::to_writer(&mut *out, &(answer.code as i32))?;
    if answer.sent_time != 0 {
        out.extend_from_slice(br#","sent_time":"#);
        serde_json::to_writer(&mut *out, &answer.sent_time)?;
    }
    if !answer.reason.is_empty() {
        out.extend_from_slice(br#","reason":"#);
        serde_json::to_writer(&mut *out, answer.reason)?;
    }
    if let Some(guid) = answer.guid {
        out.extend_from_slice(br#","data":{"req_guid":"#);
        serde_json::to_writer(&mut *out, guid)?;
        for fault in answer.events {
            out.push(b',');
            serde_json::to_writer(&mut *out, &fault.key())?;
            out.push(b':');
            serde_json::to_writer(&mut *out, &fault.reason)?;
        }
        out.push(b'}');
    }
    out.push(b'}');
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use prost::Message as _;
    use ringtail_proto::SendEventResponse;

    use super::*;

    const SUCCESS: Answer<'_> = Answer {
        status: Status::Success,
        code: Code::Ok,
        sent_time: 1_700_000_000,
        reason: "",
        guid: Some("g-1"),
        events: &[],
    };

    fn json(answer: &Answer<'_>) -> String {
        let mut out = Vec::new();
        encode(Encoding::Json, answer, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn protobuf(answer: &Answer<'_>) -> SendEventResponse {
        let mut out = Vec::new();
        encode(Encoding::Protobuf, answer, &mut out);
        SendEventResponse::decode(&out[..]).unwrap()
    }

    #[test]
    fn json_is_what_gos_clients_read() {
        assert_eq!(
            json(&SUCCESS),
            r#"{"status":1,"code":1,"sent_time":1700000000,"data":{"req_guid":"g-1"}}"#
        );
        let refused = Answer {
            status: Status::Error,
            code: Code::BadRequest,
            reason: "not \"JSON\"\n",
            guid: Some(""),
            ..SUCCESS
        };
        assert_eq!(
            json(&refused),
            r#"{"status":2,"code":2,"sent_time":1700000000,"reason":"not \"JSON\"\n","data":{"req_guid":""}}"#
        );
        let sent_time = 0;
        let guid = None;
        let bare = Answer {
            sent_time,
            guid,
            ..SUCCESS
        };
        assert_eq!(json(&bare), r#"{"status":1,"code":1}"#);
    }

    #[test]
    fn an_answer_without_a_guid_has_no_data() {
        let guid = None;
        assert!(protobuf(&Answer { guid, ..SUCCESS }).data.is_empty());
        let guid = Some("");
        let data = protobuf(&Answer { guid, ..SUCCESS }).data;
        assert_eq!(data.get("req_guid").map(String::as_str), Some(""));
    }

    #[test]
    fn single_events_are_told_beside_the_guid() {
        let events = [(3, "no \"topic\""), (65_535, "")].map(|(index, reason)| EventFault {
            index,
            reason: reason.into(),
        });
        let answer = Answer {
            events: &events,
            ..SUCCESS
        };
        let told = protobuf(&answer).data;
        let wanted = [
            ("event.3", "no \"topic\""),
            ("event.65535", ""),
            ("req_guid", "g-1"),
        ];
        assert!(told.iter().map(|(k, v)| (&**k, &**v)).eq(wanted));
        assert!(
            json(&answer).ends_with(
                r#""data":{"req_guid":"g-1","event.3":"no \"topic\"","event.65535":""}}"#
            )
        );
        let silent = Answer {
            guid: None,
            ..answer
        };
        assert!(protobuf(&silent).data.is_empty());
    }

    #[test]
    fn an_answer_is_appended_and_nothing_else_is_touched() {
        for encoding in [Encoding::Protobuf, Encoding::Json] {
            let (mut alone, mut behind) = (Vec::new(), b"before".to_vec());
            encode(encoding, &SUCCESS, &mut alone);
            encode(encoding, &SUCCESS, &mut behind);
            assert_eq!(behind, [&b"before"[..], &alone].concat());
        }
    }

    fn any_answer() -> impl Strategy<Value = (Status, Code, i64, String, Option<String>)> {
        let status = prop::sample::select(vec![Status::Success, Status::Error]);
        let code = prop::sample::select(vec![
            Code::Ok,
            Code::BadRequest,
            Code::InternalError,
            Code::MaxConnectionLimitReached,
            Code::MaxUserLimitReached,
        ]);
        let guid = proptest::option::of("\\PC{0,150}");
        (status, code, any::<i64>(), any::<String>(), guid)
    }

    proptest! {
        #[test]
        fn both_forms_say_what_was_answered(
            (status, code, sent_time, reason, guid) in any_answer()
        ) {
            let guid = guid.as_deref();
            let reason = reason.as_str();
            let answer = Answer { status, code, sent_time, reason, guid, events: &[] };
            let told = protobuf(&answer);
            let data = guid.map(|guid| ("req_guid".to_owned(), guid.to_owned()));
            prop_assert_eq!(&told, &SendEventResponse {
                status: status as i32,
                code: code as i32,
                sent_time,
                reason: reason.to_owned(),
                data: BTreeMap::from_iter(data),
            });
            let read: serde_json::Value = serde_json::from_str(&json(&answer)).unwrap();
            prop_assert_eq!(read["status"].as_i64(), Some(i64::from(told.status)));
            prop_assert_eq!(read["code"].as_i64(), Some(i64::from(told.code)));
            prop_assert_eq!(read["sent_time"].as_i64().unwrap_or(0), sent_time);
            prop_assert_eq!(read["reason"].as_str().unwrap_or(""), reason);
            prop_assert_eq!(read["data"]["req_guid"].as_str(), guid);
        }
    }
}
