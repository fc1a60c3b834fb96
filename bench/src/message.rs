//! `SendEventRequest` as bytes, and what is worth reading of a `SendEventResponse`.
//!
//! Written by hand because a driver must cost less than the server it measures: encoding appends to
//! one buffer, and reading an answer borrows from the receive buffer.

use crate::{
    mix::Mix,
    payload::Label,
    protobuf::{self, VARINT, Value, field_bytes, put_head, put_varint, take_field, varint_bytes},
};

/// The status of an answer that says that all went well.
pub(crate) const STATUS_SUCCESS: u64 = 1;

/// The shape of every request of a run.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) run: u64,
    /// Events in each batch.
    pub(crate) events: u32,
    pub(crate) mix: Mix,
    /// The names of the types, as many as the mix has.
    pub(crate) types: Vec<String>,
    /// Unix seconds, in every request's `sent_time`.
    pub(crate) sent_time: u64,
}

impl Shape {
    /// What `req_guid` says: the run, the connection and the batch.
    pub(crate) fn guid(&self, connection: u32, batch: u64) -> String {
        format!("{:016x}-{connection}-{batch}", self.run)
    }

    /// The batch that a `req_guid` of this run and connection names.
    pub(crate) fn batch_of(&self, connection: u32, guid: &str) -> Option<u64> {
        let batch = guid.rsplit_once('-')?.1.parse().ok()?;
        (guid == self.guid(connection, batch)).then_some(batch)
    }

    /// Appends one whole request to `out`.
    pub(crate) fn encode(&self, connection: u32, batch: u64, out: &mut Vec<u8>) {
        let guid = self.guid(connection, batch);
        put_head(1, guid.len(), out);
        out.extend_from_slice(guid.as_bytes());
        put_head(2, 1 + varint_bytes(self.sent_time), out);
        out.push(protobuf::key(1, VARINT));
        put_varint(self.sent_time, out);
        for index in 0..self.events {
            let label = Label {
                run: self.run,
                connection,
                batch,
                index,
            };
            self.encode_event(label, out);
        }
    }

    fn encode_event(&self, label: Label, out: &mut Vec<u8>) {
        let kind = &self.types[self.mix.type_of(label) as usize];
        let bytes = self.mix.bytes_of(label);
        put_head(3, field_bytes(bytes) + field_bytes(kind.len()), out);
        put_head(1, bytes, out);
        label.write(bytes, out);
        put_head(2, kind.len(), out);
        out.extend_from_slice(kind.as_bytes());
    }
}

/// What a `SendEventResponse` says, borrowed from it. Absent fields are 0 or empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer<'a> {
    pub(crate) status: u64,
    pub(crate) code: u64,
    pub(crate) reason: &'a [u8],
    /// `data.req_guid`.
    pub(crate) guid: &'a [u8],
}

impl<'a> Answer<'a> {
    /// `None` when the bytes are no protobuf message.
    pub(crate) fn read(mut bytes: &'a [u8]) -> Option<Self> {
        let mut answer = Self::default();
        while !bytes.is_empty() {
            match take_field(&mut bytes)? {
                (1, Value::Number(status)) => answer.status = status,
                (2, Value::Number(code)) => answer.code = code,
                (4, Value::Bytes(reason)) => answer.reason = reason,
                (5, Value::Bytes(entry)) => {
                    let (key, value) = read_entry(entry)?;
                    if key == b"req_guid" {
                        answer.guid = value;
                    }
                }
                _ => {}
            }
        }
        Some(answer)
    }
}

/// A map entry's key and value; `None` when it is malformed.
fn read_entry(mut entry: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut key, mut text) = (&b""[..], &b""[..]);
    while !entry.is_empty() {
        match take_field(&mut entry)? {
            (1, Value::Bytes(bytes)) => key = bytes,
            (2, Value::Bytes(bytes)) => text = bytes,
            _ => {}
        }
    }
    Some((key, text))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::mix::Sizes;

    #[derive(Clone, PartialEq, Message)]
    struct Timestamp {
        #[prost(int64, tag = "1")]
        seconds: i64,
        #[prost(int32, tag = "2")]
        nanos: i32,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Event {
        #[prost(bytes = "vec", tag = "1")]
        event_bytes: Vec<u8>,
        #[prost(string, tag = "2")]
        kind: String,
    }

    #[derive(Clone, PartialEq, Message)]
    struct SendEventRequest {
        #[prost(string, tag = "1")]
        req_guid: String,
        #[prost(message, optional, tag = "2")]
        sent_time: Option<Timestamp>,
        #[prost(message, repeated, tag = "3")]
        events: Vec<Event>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct SendEventResponse {
        #[prost(int32, tag = "1")]
        status: i32,
        #[prost(int32, tag = "2")]
        code: i32,
        #[prost(int64, tag = "3")]
        sent_time: i64,
        #[prost(string, tag = "4")]
        reason: String,
        #[prost(map = "string, string", tag = "5")]
        data: HashMap<String, String>,
    }

    fn shape(events: u32, event_bytes: u32, types: u32) -> Shape {
        Shape {
            run: 0xabc,
            events,
            mix: Mix::new(Sizes::Fixed(event_bytes), events, types, 0.0),
            types: (0..types).map(|number| format!("t{number}")).collect(),
            sent_time: 1_700_000_000,
        }
    }

    #[test]
    fn prost_reads_the_request_that_we_write() {
        for (events, event_bytes, types) in [(0, 24, 1), (1, 200, 1), (10, 130, 3), (50, 0, 2)] {
            let shape = shape(events, event_bytes, types);
            let mut bytes = Vec::new();
            shape.encode(4, 77, &mut bytes);
            let request = SendEventRequest::decode(&bytes[..]).unwrap();
            assert_eq!(request.req_guid, "0000000000000abc-4-77");
            assert_eq!(request.sent_time.unwrap().seconds, 1_700_000_000);
            assert_eq!(request.events.len(), events as usize);
            for (index, event) in request.events.iter().enumerate() {
                assert_eq!(event.event_bytes.len(), event_bytes as usize);
                assert_eq!(event.kind, format!("t{}", index % types as usize));
            }
        }
    }

    #[test]
    fn a_guid_names_its_batch_on_its_connection_only() {
        let shape = shape(1, 24, 1);
        let guid = shape.guid(4, 77);
        assert_eq!(shape.batch_of(4, &guid), Some(77));
        assert_eq!(shape.batch_of(5, &guid), None);
        assert_eq!(shape.batch_of(4, "0000000000000abc-4-077"), None);
        assert_eq!(shape.batch_of(4, ""), None);
    }

    #[test]
    fn an_answer_of_prost_is_read_field_by_field() {
        let mut data = HashMap::from([("other".to_owned(), "x".to_owned())]);
        data.insert("req_guid".to_owned(), "g-1".to_owned());
        let answer = SendEventResponse {
            status: 2,
            code: 3,
            sent_time: 1_700_000_000,
            reason: "cannot publish events: disk".to_owned(),
            data,
        };
        let bytes = answer.encode_to_vec();
        let read = Answer::read(&bytes).unwrap();
        assert_eq!((read.status, read.code), (2, 3));
        assert_eq!(read.reason, b"cannot publish events: disk");
        assert_eq!(read.guid, b"g-1");
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_of_answers_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Answer::read(&bytes);
        }
    }
}
