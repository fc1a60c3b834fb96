//! prost is the oracle.

use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message as _;
use ringtail_proto::{Event, SendEventRequest, Timestamp};

use super::*;
use crate::frame::Encoding;

/// What a batch says, as prost would say it.
fn told(batch: &Batch, message: &[u8]) -> SendEventRequest {
    let source = batch.source(message);
    let text = |span: Span| std::str::from_utf8(span.of(source)).unwrap().to_owned();
    SendEventRequest {
        req_guid: text(batch.guid),
        sent_time: batch.sent_time.map(|time| Timestamp {
            seconds: time.seconds,
            nanos: time.nanos,
        }),
        events: batch
            .events
            .iter()
            .map(|event| Event {
                event_bytes: event.payload.of(source).to_vec(),
                r#type: text(event.kind),
            })
            .collect(),
    }
}

/// Both refuse, or both say the same.
fn agrees_with_prost(message: &[u8]) -> bool {
    let mut batch = Batch::default();
    let ours = batch.decode(Encoding::Protobuf, message);
    match (SendEventRequest::decode(message), ours) {
        (Ok(theirs), Ok(())) => {
            assert_eq!(told(&batch, message), theirs, "{message:02x?}");
            true
        }
        (Err(_), Err(refusal)) => {
            assert!(!refusal.reason.is_empty());
            assert!(batch.events.is_empty());
            false
        }
        (theirs, ours) => panic!("prost says {theirs:?}, we say {ours:?} of {message:02x?}"),
    }
}

fn request() -> impl Strategy<Value = SendEventRequest> {
    let time = proptest::option::of((any::<i64>(), any::<i32>()));
    let event = (vec(any::<u8>(), 0..40), "[a-z]{0,8}|\\PC{0,3}");
    ("[0-9a-f-]{0,36}|\\PC{0,4}", time, vec(event, 0..5)).prop_map(|(guid, time, events)| {
        SendEventRequest {
            req_guid: guid,
            sent_time: time.map(|(seconds, nanos)| Timestamp { seconds, nanos }),
            events: events
                .into_iter()
                .map(|(event_bytes, r#type)| Event {
                    event_bytes,
                    r#type,
                })
                .collect(),
        }
    })
}

/// One change to a message: where (as a part of 2^16), what kind, and with which byte.
type Change = (u16, u8, u8);

fn mutate(message: &mut Vec<u8>, (place, kind, byte): Change) {
    let at = (usize::from(place) * (message.len() + 1)) >> 16;
    match kind % 8 {
        0 => message.truncate(at),
        1 => message.insert(at, byte),
        2 if at < message.len() => drop(message.remove(at)),
        3 if at < message.len() => message[at] ^= 1 << (byte % 8),
        4 if at < message.len() => message[at] = byte,
        // A varint that is long for its value, or too long.
        5 => {
            let long = [vec![0x80; usize::from(byte % 11)], vec![byte & 0x7f]].concat();
            message.splice(at..at, long);
        }
        6 => {
            let copy = message[at..].to_vec();
            message.extend(copy);
        }
        // A small unknown field, of any number and wire type.
        _ => {
            let field = [byte, byte >> 4, byte & 3, byte];
            message.splice(at..at, field);
        }
    }
}

/// A field of any number and wire type, with a content that mostly fits.
fn field() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        (0u32..6, any::<u64>()).prop_map(|(number, value)| {
            let mut out = Vec::new();
            prost::encoding::encode_varint(u64::from(number) << 3, &mut out);
            prost::encoding::encode_varint(value, &mut out);
            out
        }),
        (0u8..6, vec(any::<u8>(), 8)).prop_map(|(number, content)| {
            [vec![number << 3 | wire::FIXED64], content].concat()
        }),
        (0u8..6, vec(any::<u8>(), 4)).prop_map(|(number, content)| {
            [vec![number << 3 | wire::FIXED32], content].concat()
        }),
        (0u8..6, vec(any::<u8>(), 0..9)).prop_map(|(number, content)| delimited(number, &content)),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let several = vec(inner, 0..4).prop_map(|fields| fields.concat());
        prop_oneof![
            (1u8..6, several.clone()).prop_map(|(number, content)| delimited(number, &content)),
            (1u8..6, several).prop_map(|(number, content)| group(number, &content)),
        ]
    })
}

fn delimited(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | wire::BYTES];
    prost::encoding::encode_varint(content.len() as u64, &mut out);
    out.extend_from_slice(content);
    out
}

fn group(number: u8, content: &[u8]) -> Vec<u8> {
    let (start, end) = (
        number << 3 | wire::GROUP_START,
        number << 3 | wire::GROUP_END,
    );
    [vec![start], content.to_vec(), vec![end]].concat()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn what_prost_refuses_is_refused_and_what_both_accept_is_equal(
        request in request(),
        changes in vec(any::<Change>(), 0..4),
    ) {
        let mut message = request.encode_to_vec();
        for change in changes {
            mutate(&mut message, change);
        }
        agrees_with_prost(&message);
    }

    #[test]
    fn any_fields_are_seen_as_prost_sees_them(fields in vec(field(), 0..5)) {
        agrees_with_prost(&fields.concat());
    }
}

/// For long: `cargo bolero test -p ringtail
/// event::protobuf::tests::any_bytes_are_seen_as_prost_sees_them`.
#[test]
fn any_bytes_are_seen_as_prost_sees_them() {
    bolero::check!()
        .with_iterations(30_000)
        .with_max_len(256)
        .for_each(|message| {
            agrees_with_prost(message);
        });
}

#[test]
fn an_empty_message_is_an_empty_request() {
    assert!(agrees_with_prost(b""));
}

#[test]
fn the_last_guid_wins_and_times_merge() {
    let message = [
        delimited(1, b"first"),
        delimited(2, &[0x08, 7]),
        delimited(1, b"last"),
        delimited(2, &[0x10, 9]),
    ];
    let message = message.concat();
    assert!(agrees_with_prost(&message));
    let mut batch = Batch::default();
    batch.decode(Encoding::Protobuf, &message).unwrap();
    assert_eq!(batch.guid.of(&message), b"last");
    let (seconds, nanos) = (7, 9);
    assert_eq!(batch.sent_time, Some(SentTime { seconds, nanos }));
}

#[test]
fn hand_picked_faults_are_refused() {
    let overflow = [vec![0x20], vec![0xff; 9], vec![2]].concat();
    let endless = [vec![0x20], vec![0x80; 10], vec![0]].concat();
    for message in [
        &delimited(1, b"\xff")[..],
        &delimited(3, &delimited(2, b"\xc0\xaf")),
        &[0x0a, 5, b'x'],
        &[0x0a],
        &[0x08, 1],          // req_guid as a number
        &[0x1d, 0, 0, 0, 0], // events as fixed32
        &group(3, b""),      // events as a group
        &[0x00, 0],          // field 0
        &[0x26],             // wire type 6
        &[0x24],             // the end of no group
        &[0x23, 0x2c],       // the end of another group
        &[0x23],             // no end
        &[0x25, 0, 0, 0],    // a torn fixed32
        &delimited(3, &[0x0a, 2, b'x']),
        &delimited(2, &[0x0d, 0, 0, 0, 0]),
        &[0xa0, 0x80, 0x80, 0x80, 0x80, 0x01, 0], // a key over 32 bits
        &overflow,
        &endless,
    ] {
        assert!(!agrees_with_prost(message), "{message:02x?}");
    }
}

#[test]
fn groups_are_passed_over_as_deep_as_prost_goes() {
    let nested = |depth: usize| [vec![0x23; depth], vec![0x24; depth]].concat();
    for (depth, accepted) in [
        (1, true),
        (99, true),
        (100, true),
        (101, false),
        (5_000, false),
    ] {
        assert_eq!(agrees_with_prost(&nested(depth)), accepted, "{depth}");
        let inside = delimited(3, &nested(depth));
        assert_eq!(
            agrees_with_prost(&inside),
            accepted && depth < 100,
            "{depth}"
        );
    }
}

#[test]
fn a_refusal_tells_the_guid_that_was_read_before() {
    let mut batch = Batch::default();
    let message = [delimited(1, b"abc"), vec![0x1a, 9]].concat();
    let refusal = batch.decode(Encoding::Protobuf, &message).unwrap_err();
    assert_eq!(refusal.guid, "abc");
    assert_eq!(refusal.reason, "length beyond the end at byte 7");
    let message = [vec![0x1a, 9], delimited(1, b"abc")].concat();
    assert_eq!(
        batch.decode(Encoding::Protobuf, &message).unwrap_err().guid,
        ""
    );
}

#[test]
fn too_many_events_are_refused_with_that_reason() {
    let mut message = delimited(3, b"").repeat(BATCH_EVENTS_MAX);
    let mut batch = Batch::default();
    batch.decode(Encoding::Protobuf, &message).unwrap();
    assert_eq!(batch.events.len(), BATCH_EVENTS_MAX);
    message.extend(delimited(3, b""));
    let refusal = batch.decode(Encoding::Protobuf, &message).unwrap_err();
    assert!(refusal.reason.starts_with("too many events"), "{refusal}");
}

#[test]
fn a_batch_forgets_the_request_before() {
    let mut batch = Batch::default();
    let message = [
        delimited(1, b"abc"),
        delimited(2, &[8, 1]),
        delimited(3, b""),
    ]
    .concat();
    batch.decode(Encoding::Protobuf, &message).unwrap();
    batch.decode(Encoding::Protobuf, b"").unwrap();
    assert_eq!(told(&batch, b""), SendEventRequest::default());
}
