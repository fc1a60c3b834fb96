//! A dead letter: an event that Kafka will never take, kept in a topic of the log with the reason.
//!
//! Layout:  one line of JSON, a line feed, then the event's bytes as they were. An event that has no room in one
//!          record is cut into several, which stand one after the other in one commit.

use crate::limit::EVENT_BYTES_MAX;
use crate::unit::{JournalId, Offset};
use serde::{Deserialize, Serialize};

/// Bytes of one part: the line before it fits beside.
const PART_BYTES_MAX: usize = EVENT_BYTES_MAX - HEAD_BYTES_MAX;
const HEAD_BYTES_MAX: usize = 4096;
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
    /// From 1.
    pub part: u32,
    pub parts: u32,
}

/// An event with why it was not taken.
#[derive(Clone, Copy, Debug)]
pub struct Dead<'a> {
    pub topic: &'a str,
    pub journal: JournalId,
    pub offset: Offset,
    pub received_ms: i64,
    pub reason: &'a str,
    pub value: &'a [u8],
}

/// The records of a letter end to end, each with its length.
pub fn write(dead: &Dead<'_>) -> (Vec<u8>, Vec<u32>) {
    let mut parts: Vec<&[u8]> = dead.value.chunks(PART_BYTES_MAX).collect();
    if parts.is_empty() {
        parts.push(&[]);
    }
    let (mut bytes, mut lengths) = (Vec::new(), Vec::new());
    for (part, value) in (1..).zip(&parts) {
        let start = bytes.len();
        let head = Head {
            topic: dead.topic.to_owned(),
            journal: dead.journal.0,
            offset: dead.offset.0,
            received_ms: dead.received_ms,
            reason: dead.reason.chars().take(REASON_LETTERS_MAX).collect(),
            part,
            parts: parts.len() as u32,
        };
        let line = serde_json::to_vec(&head).expect("these fields have no way to fail");
        debug_assert!(line.len() < HEAD_BYTES_MAX);
        bytes.extend_from_slice(&line);
        bytes.push(b'\n');
        bytes.extend_from_slice(value);
        lengths.push((bytes.len() - start) as u32);
    }
    (bytes, lengths)
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
    fn what_is_no_letter_is_not_read_as_one() {
        for other in [&b""[..], b"plain", b"{}\n", b"{\"topic\":1}\nx"] {
            assert_eq!(read(other), None);
        }
    }
}
