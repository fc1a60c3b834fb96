//! The JSON form of a request, as Go's `encoding/json` reads the generated structs.
//!
//! Values stream from serde_json into the batch's arena; there is no tree in between. Where Go is
//! kinder than serde_json (half a surrogate pair in an escape), the message is mended and read again.
//! A byte array may not hold `null` here, and an event may not be `null`: Go stores a zero for the
//! one and Raccoon dies of the other.

use std::fmt;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Batch, EventSpan, Refusal, SentTime, Span};
use crate::limit::BATCH_EVENTS_MAX;

/// Padded, but with any bits behind the last byte: Go does not look at them.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

pub(super) fn decode(message: &[u8], batch: &mut Batch) -> Result<(), Refusal> {
    let read = match read(message, batch) {
        Ok(()) => Ok(()),
        Err(first) => match mend_surrogates(message) {
            Some(mended) => self::read(&mended, batch),
            None => Err(first),
        },
    };
    read.map_err(|reason| {
        batch.clear();
        Refusal::new(&reason, "")
    })
}

fn read(message: &[u8], batch: &mut Batch) -> Result<(), String> {
    batch.clear();
    batch.in_arena = true;
    if u32::try_from(message.len()).is_err() {
        return Err("the request is longer than 4 GiB".to_owned());
    }
    let Ok(text) = simdutf8::basic::from_utf8(message) else {
        return Err("the request is not UTF-8".to_owned());
    };
    let mut json = serde_json::Deserializer::from_str(text);
    let read = RequestSeed(batch).deserialize(&mut json);
    read.and_then(|()| json.end())
        .map_err(|error| error.to_string())
}

/// A copy of `message` in which each `\u` escape of half a surrogate pair is `\ufffd`; `None` when
/// there is none. A backslash stands only inside of strings, or the message is not JSON anyway.
fn mend_surrogates(message: &[u8]) -> Option<Vec<u8>> {
    let mut mended = None;
    let mut at = 0;
    while let Some(rest) = message.get(at..).filter(|rest| !rest.is_empty()) {
        let next = rest.get(6..).and_then(escaped);
        at += match escaped(rest) {
            Some(0xd800..=0xdbff) if matches!(next, Some(0xdc00..=0xdfff)) => 12,
            Some(0xd800..=0xdfff) => {
                let copy = mended.get_or_insert_with(|| message.to_vec());
                copy[at..at + 6].copy_from_slice(b"\\ufffd");
                6
            }
            Some(_) => 6,
            None if rest[0] == b'\\' => 2,
            None => 1,
        };
    }
    mended
}

/// The number of a `\u` escape at the start of `bytes`.
fn escaped(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.strip_prefix(b"\\u")?.first_chunk::<4>()?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Every name that a request knows, in any of its objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Guid,
    SentTime,
    Events,
    Payload,
    Kind,
    Seconds,
    Nanos,
    Unknown,
}

const NAMES: [(&str, Name); 10] = [
    ("event_bytes", Name::Payload),
    ("type", Name::Kind),
    ("eventBytes", Name::Payload),
    ("req_guid", Name::Guid),
    ("sent_time", Name::SentTime),
    ("events", Name::Events),
    ("reqGuid", Name::Guid),
    ("sentTime", Name::SentTime),
    ("seconds", Name::Seconds),
    ("nanos", Name::Nanos),
];

struct NameSeed;

impl<'de> DeserializeSeed<'de> for NameSeed {
    type Value = Name;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Name, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for NameSeed {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Name, E> {
        let known = NAMES
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(text));
        Ok(known.map_or(Name::Unknown, |(_, name)| *name))
    }
}

struct RequestSeed<'b>(&'b mut Batch);

impl<'de> DeserializeSeed<'de> for RequestSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for RequestSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a request as an object")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let batch = self.0;
        while let Some(name) = map.next_key_seed(NameSeed)? {
            match name {
                Name::Guid => {
                    let guid = map.next_value_seed(TextSeed(&mut batch.arena))?;
                    batch.guid = guid.unwrap_or(batch.guid);
                }
                Name::SentTime => batch.sent_time = map.next_value_seed(TimeSeed)?,
                Name::Events => map.next_value_seed(EventsSeed(batch))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

struct EventsSeed<'b>(&'b mut Batch);

impl<'de> DeserializeSeed<'de> for EventsSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        self.0.events.clear();
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for EventsSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("events as an array")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Batch { arena, events, .. } = self.0;
        while let Some(event) = seq.next_element_seed(EventSeed(arena))? {
            if events.len() == BATCH_EVENTS_MAX {
                return Err(A::Error::custom("too many events"));
            }
            events.push(event);
        }
        Ok(())
    }
}

struct EventSeed<'b>(&'b mut Vec<u8>);

impl<'de> DeserializeSeed<'de> for EventSeed<'_> {
    type Value = EventSpan;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<EventSpan, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for EventSeed<'_> {
    type Value = EventSpan;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event as an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<EventSpan, A::Error> {
        let mut event = EventSpan::default();
        while let Some(name) = map.next_key_seed(NameSeed)? {
            match name {
                Name::Payload => event.payload = map.next_value_seed(PayloadSeed(self.0))?,
                Name::Kind => {
                    let kind = map.next_value_seed(TextSeed(self.0))?;
                    event.kind = kind.unwrap_or(event.kind);
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(event)
    }
}

/// A string, unescaped into the arena. `None` for `null`, which leaves what was there.
struct TextSeed<'b>(&'b mut Vec<u8>);

impl<'de> DeserializeSeed<'de> for TextSeed<'_> {
    type Value = Option<Span>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Option<Span>, D::Error> {
        json.deserialize_any(self)
    }
}

impl Visitor<'_> for TextSeed<'_> {
    type Value = Option<Span>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_unit<E: Error>(self) -> Result<Option<Span>, E> {
        Ok(None)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Option<Span>, E> {
        let start = self.0.len();
        self.0.extend_from_slice(text.as_bytes());
        Ok(Some(span_from(start, self.0)))
    }
}

/// Bytes, as base64 or as an array of numbers; empty for `null`.
struct PayloadSeed<'b>(&'b mut Vec<u8>);

impl<'de> DeserializeSeed<'de> for PayloadSeed<'_> {
    type Value = Span;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Span, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for PayloadSeed<'_> {
    type Value = Span;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes as base64 or as an array of numbers")
    }

    fn visit_unit<E: Error>(self) -> Result<Span, E> {
        Ok(Span::default())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Span, E> {
        let start = self.0.len();
        let decoded = decode_base64(text, self.0);
        decoded.map_err(|error| E::custom(format_args!("event_bytes: {error}")))?;
        Ok(span_from(start, self.0))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Span, A::Error> {
        let start = self.0.len();
        while let Some(byte) = seq.next_element::<u8>()? {
            self.0.push(byte);
        }
        Ok(span_from(start, self.0))
    }
}

/// A time as an object or as RFC 3339; `None` for `null`.
struct TimeSeed;

impl<'de> DeserializeSeed<'de> for TimeSeed {
    type Value = Option<SentTime>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Option<SentTime>, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for TimeSeed {
    type Value = Option<SentTime>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time as seconds and nanos, or in RFC 3339")
    }

    fn visit_unit<E: Error>(self) -> Result<Option<SentTime>, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<SentTime>, A::Error> {
        let mut time = SentTime::default();
        while let Some(name) = map.next_key_seed(NameSeed)? {
            match name {
                Name::Seconds => time.seconds = map.next_value::<Option<_>>()?.unwrap_or_default(),
                Name::Nanos => time.nanos = map.next_value::<Option<_>>()?.unwrap_or_default(),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Some(time))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Option<SentTime>, E> {
        let time = parse_rfc3339(text);
        time.map(Some)
            .ok_or_else(|| E::custom("sent_time is not RFC 3339"))
    }
}

fn span_from(start: usize, arena: &[u8]) -> Span {
    // The arena holds no more bytes than the message, whose length fits 32 bits.
    Span {
        start: start as u32,
        bytes: (arena.len() - start) as u32,
    }
}

/// Appends what `text` stands for. Line breaks in it are passed over, as Go does.
fn decode_base64(text: &str, arena: &mut Vec<u8>) -> Result<(), base64::DecodeError> {
    let start = arena.len();
    let Err(error) = BASE64.decode_vec(text, arena) else {
        return Ok(());
    };
    arena.truncate(start);
    let is_break = |byte: &u8| matches!(byte, b'\r' | b'\n');
    if !text.as_bytes().iter().any(is_break) {
        return Err(error);
    }
    // Rare: the text without breaks is put into the arena, decoded behind itself, and moved down.
    arena.extend(text.bytes().filter(|byte| !is_break(byte)));
    let whole = arena.len();
    let estimate = base64::decoded_len_estimate(whole - start);
    arena.resize(whole + estimate, 0);
    let (text, out) = arena.split_at_mut(whole);
    let decoded = BASE64.decode_slice_unchecked(&text[start..], out)?;
    arena.copy_within(whole..whole + decoded, start);
    arena.truncate(start + decoded);
    Ok(())
}

/// `2006-01-02T15:04:05.999999999+07:00` and its shorter forms. The shape is checked here, because
/// the parser of the well-known types takes much more than RFC 3339.
fn parse_rfc3339(text: &str) -> Option<SentTime> {
    const SHAPE: &[u8; 19] = b"0000-00-00T00:00:00";
    let (head, tail) = text.as_bytes().split_first_chunk::<19>()?;
    let shaped = head.iter().zip(SHAPE).all(|(byte, wanted)| match wanted {
        b'0' => byte.is_ascii_digit(),
        _ => byte.eq_ignore_ascii_case(wanted),
    });
    let zone = match tail {
        [b'.', b'0'..=b'9', rest @ ..] => {
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit());
            &rest[digits.count()..]
        }
        zone => zone,
    };
    let zoned = match zone {
        [b'Z' | b'z'] => true,
        [b'+' | b'-', a, b, b':', c, d] => [a, b, c, d].iter().all(|byte| byte.is_ascii_digit()),
        _ => false,
    };
    if !(shaped && zoned) {
        return None;
    }
    let time: ringtail_proto::Timestamp = text.parse().ok()?;
    Some(SentTime {
        seconds: time.seconds,
        nanos: time.nanos,
    })
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
