//! A dead letter: an event that Kafka will never take, kept in a topic of the log with the reason.
//!
//! Layout:  one line of JSON, a line feed, then the event's bytes as they were. An event that has no room in one
//!          record is cut into several, which stand one after the other in one commit.

use crate::limit::EVENT_BYTES_MAX;
use crate::unit::{JournalId, Offset};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

/// What a client may say of itself is cut to 64 KiB each by the log, which is 86 KiB here.
const HEAD_BYTES_MAX: usize = 400 << 10;
/// Longer texts of a client are written as base64, whose length is known beforehand.
const PLAIN_BYTES_MAX: usize = 1024;
/// Letters of a reason that are kept.
const REASON_LETTERS_MAX: usize = 256;

/// What the line says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    pub topic: String,
    /// Where the event lies in the log, for as long as it does.
    pub journal: u32,
    pub offset: u64,
    /// When it was received, in milliseconds since 1970.
    pub received_ms: i64,
    pub reason: String,
    /// What Kafka's keys and headers are made of, as far as the log kept it.
    #[serde(flatten)]
    pub sender: Sender,
    /// From 1.
    pub part: u32,
    pub parts: u32,
}

/// Who sent an event, and as what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    #[serde(default, skip_serializing_if = "Said::is_empty")]
    pub conn_id: Said,
    #[serde(default, skip_serializing_if = "Said::is_empty")]
    pub conn_group: Said,
    #[serde(default, skip_serializing_if = "Said::is_empty")]
    pub req_guid: Said,
    /// `None`: the topic says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_type: Option<Said>,
}

/// What a client says: a text where that is one and short, else base64.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Said {
    Text(String),
    Bytes { base64: String },
}

impl Default for Said {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

impl Said {
    pub fn new(bytes: &[u8]) -> Self {
        let plain = bytes.len() <= PLAIN_BYTES_MAX && !bytes.iter().any(u8::is_ascii_control);
        match str::from_utf8(bytes) {
            Ok(text) if plain => Self::Text(text.to_owned()),
            _ => Self::Bytes {
                base64: BASE64_STANDARD.encode(bytes),
            },
        }
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::Text(text) if text.is_empty())
    }

    /// The bytes as they were; none when they were changed to what they cannot be.
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Text(text) => text.clone().into_bytes(),
            Self::Bytes { base64 } => BASE64_STANDARD.decode(base64).unwrap_or_default(),
        }
    }
}

/// An event with why it was not taken.
#[derive(Clone, Debug)]
pub struct Dead<'a> {
    pub topic: &'a str,
    pub journal: JournalId,
    pub offset: Offset,
    pub received_ms: i64,
    pub reason: &'a str,
    pub sender: Sender,
    pub value: &'a [u8],
}

/// The records of a letter end to end, each with its length.
pub fn write(dead: &Dead<'_>) -> (Vec<u8>, Vec<u32>) {
    let mut head = Head {
        topic: dead.topic.to_owned(),
        journal: dead.journal.0,
        offset: dead.offset.0,
        received_ms: dead.received_ms,
        reason: dead.reason.chars().take(REASON_LETTERS_MAX).collect(),
        sender: dead.sender.clone(),
        part: u32::MAX,
        parts: u32::MAX,
    };
    // No line is longer than this one.
    let head_bytes = line(&head).len();
    debug_assert!(head_bytes < HEAD_BYTES_MAX);
    let mut parts: Vec<&[u8]> = dead.value.chunks(EVENT_BYTES_MAX - head_bytes).collect();
    if parts.is_empty() {
        parts.push(&[]);
    }
    head.parts = parts.len() as u32;
    let (mut bytes, mut lengths) = (Vec::new(), Vec::new());
    for (part, value) in (1..).zip(&parts) {
        let start = bytes.len();
        head.part = part;
        bytes.extend_from_slice(&line(&head));
        bytes.extend_from_slice(value);
        lengths.push((bytes.len() - start) as u32);
    }
    (bytes, lengths)
}

fn line(head: &Head) -> Vec<u8> {
    let mut line = serde_json::to_vec(head).expect("these fields have no way to fail");
    line.push(b'\n');
    line
}

/// What a record says, and the bytes of the event that it holds; `None` when it is no letter.
pub fn read(record: &[u8]) -> Option<(Head, &[u8])> {
    let end = record
        .iter()
        .take(HEAD_BYTES_MAX)
        .position(|byte| *byte == b'\n')?;
    let head = serde_json::from_slice(&record[..end]).ok()?;
    Some((head, &record[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dead(value: &[u8]) -> Dead<'_> {
        Dead {
            topic: "click-log",
            journal: JournalId(3),
            offset: Offset(9),
            received_ms: 1_700_000_000_000,
            reason: "Broker: \"too\" large\n",
            sender: Sender::default(),
            value,
        }
    }

    #[test]
    fn a_letter_says_why_and_holds_the_event_as_it_was() {
        for value in [&b""[..], b"\n{}\n", &[0xff; 1000]] {
            let (bytes, lengths) = write(&dead(value));
            assert_eq!(lengths, [bytes.len() as u32]);
            let (head, kept) = read(&bytes).unwrap();
            assert_eq!(
                (head.topic.as_str(), head.journal, head.offset),
                ("click-log", 3, 9)
            );
            assert_eq!(head.reason, "Broker: \"too\" large\n");
            assert_eq!((head.part, head.parts, kept), (1, 1, value));
        }
    }

    #[test]
    fn the_largest_event_is_cut_so_that_each_part_fits_a_record() {
        let value: Vec<u8> = (0..EVENT_BYTES_MAX).map(|at| (at % 251) as u8).collect();
        let (bytes, lengths) = write(&dead(&value));
        assert_eq!(lengths.len(), 2);
        assert!(
            lengths
                .iter()
                .all(|length| *length as usize <= EVENT_BYTES_MAX)
        );
        let (first, second) = bytes.split_at(lengths[0] as usize);
        let whole = [read(first).unwrap().1, read(second).unwrap().1].concat();
        assert!(whole == value);
        assert_eq!(read(second).unwrap().0.part, 2);
    }

    #[test]
    fn what_the_sender_said_comes_back_as_it_was_however_long_or_strange() {
        let long = vec![b'x'; usize::from(u16::MAX)];
        for said in [&b"phone-1"[..], b"", b"\xff\n\0", b"a\nb", &long] {
            let sender = Sender {
                conn_id: Said::new(said),
                conn_group: Said::new(said),
                req_guid: Said::new(said),
                event_type: Some(Said::new(said)),
            };
            let value = vec![7; EVENT_BYTES_MAX];
            let (bytes, lengths) = write(&Dead {
                sender: sender.clone(),
                ..dead(&value)
            });
            let mut rest = &bytes[..];
            let mut whole = Vec::new();
            for length in lengths {
                assert!(length as usize <= EVENT_BYTES_MAX);
                let (record, behind) = rest.split_at(length as usize);
                let (head, part) = read(record).unwrap();
                assert_eq!(head.sender, sender);
                assert_eq!(head.sender.conn_id.bytes(), said);
                whole.extend_from_slice(part);
                rest = behind;
            }
            assert!(whole == value);
        }
    }

    #[test]
    fn a_letter_without_a_sender_is_read() {
        let line = br#"{"topic":"t","journal":0,"offset":1,"received_ms":2,"reason":"r","part":1,"parts":1}"#;
        let record = [&line[..], b"\nvalue"].concat();
        let (head, value) = read(&record).unwrap();
        assert_eq!((head.sender, value), (Sender::default(), &b"value"[..]));
    }

    #[test]
    fn what_is_no_letter_is_not_read_as_one() {
        for other in [&b""[..], b"plain", b"{}\n", b"{\"topic\":1}\nx"] {
            assert_eq!(read(other), None);
        }
    }
}
