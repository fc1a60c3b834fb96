//! Dead letters that are to be sent again: what is asked for, the letters in a row of records, and what came of it.

use super::letter::{self, Head};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Topics that are counted by name.
const TOPICS_TOLD_MAX: usize = 256;
const OTHER_TOPICS: &str = "(others)";

/// What an operator asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Only the letters of this topic.
    pub topic: Option<Box<str>>,
    /// Count, and change nothing.
    pub dry_run: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retried {
    /// Events that are in the log once more; with a dry run, those that would be.
    pub sent: u64,
    /// They, by topic.
    pub topics: BTreeMap<String, u64>,
    /// Letters of topics that were not asked for.
    pub kept: u64,
    /// Letters whose topic is no longer in the log, and what is no whole letter.
    pub unsendable: u64,
    /// Records that there was no time for.
    pub left: u64,
    /// Why journals did not come to their end.
    pub faults: Vec<String>,
}

impl Retried {
    pub fn note_sent(&mut self, topic: &str) {
        self.sent += 1;
        let known = self.topics.contains_key(topic) || self.topics.len() < TOPICS_TOLD_MAX;
        let topic = if known { topic } else { OTHER_TOPICS };
        *self.topics.entry(topic.to_owned()).or_default() += 1;
    }

    /// Takes what another journal has to say.
    pub fn add(&mut self, other: Self) {
        for (topic, count) in other.topics {
            *self.topics.entry(topic).or_default() += count;
        }
        self.sent += other.sent;
        self.kept += other.kept;
        self.unsendable += other.unsendable;
        self.left += other.left;
        self.faults.extend(other.faults);
    }
}

/// Records that stay together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    pub records: &'a [Vec<u8>],
    /// The letter that they are, with its event; `None` when they are none.
    pub letter: Option<(Head, Vec<u8>)>,
}

/// The letters in a row of records, and of how many records they are made: the last one may go on behind the row,
/// unless this is the `end`.
pub fn pieces(records: &[Vec<u8>], end: bool) -> (Vec<Piece<'_>>, usize) {
    let (mut pieces, mut at) = (Vec::new(), 0);
    while at < records.len() {
        let rest = &records[at..];
        let head = letter::read(&rest[0]).map(|(head, _)| head);
        let parts = head
            .filter(|head| head.part == 1)
            .map_or(0, |head| head.parts) as usize;
        // Where it alone fills the row, there is no use in waiting for more of it.
        if rest.len() < parts && !end && 0 < at {
            break;
        }
        let letter = rest.get(..parts).and_then(whole);
        let taken = if letter.is_some() { parts } else { 1 };
        pieces.push(Piece {
            records: &rest[..taken],
            letter,
        });
        at += taken;
    }
    (pieces, at)
}

/// The letter that is cut into these parts.
fn whole(parts: &[Vec<u8>]) -> Option<(Head, Vec<u8>)> {
    let (first, _) = letter::read(parts.first()?)?;
    let mut value = Vec::new();
    for (part, record) in (1..).zip(parts) {
        let (head, bytes) = letter::read(record)?;
        let wanted = Head {
            part,
            ..first.clone()
        };
        if head != wanted {
            return None;
        }
        value.extend_from_slice(bytes);
    }
    Some((first, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::EVENT_BYTES_MAX;
    use crate::spool::letter::{Dead, Sender, write};
    use crate::unit::{JournalId, Offset};

    fn letter(offset: u64, value: &[u8]) -> Vec<Vec<u8>> {
        let (bytes, lengths) = write(&Dead {
            topic: "click",
            journal: JournalId(0),
            offset: Offset(offset),
            received_ms: 7,
            reason: "why",
            sender: Sender::default(),
            value,
        });
        let mut rest = &bytes[..];
        let mut record = |length: &u32| {
            let (record, behind) = rest.split_at(*length as usize);
            rest = behind;
            record.to_vec()
        };
        lengths.iter().map(&mut record).collect()
    }

    fn values<'a>(pieces: &'a [Piece<'_>]) -> Vec<Option<&'a [u8]>> {
        let value = |piece: &'a Piece<'_>| piece.letter.as_ref().map(|(_, value)| &value[..]);
        pieces.iter().map(value).collect()
    }

    #[test]
    fn letters_are_put_together_whatever_lies_between_them() {
        let large = vec![3; EVENT_BYTES_MAX];
        let mut cut = letter(2, &large);
        assert_eq!(cut.len(), 2);
        let mut records = letter(1, b"small");
        records.append(&mut cut);
        records.push(b"no letter".to_vec());
        // The second half of one whose first half is gone.
        records.push(letter(3, &large).remove(1));
        records.extend(letter(4, b""));
        let (pieces, taken) = pieces(&records, true);
        assert_eq!(taken, records.len());
        let wanted = [Some(&b"small"[..]), Some(&large), None, None, Some(b"")];
        assert!(values(&pieces) == wanted);
    }

    #[test]
    fn a_letter_that_goes_on_behind_the_row_waits_for_its_rest() {
        let large = vec![3; EVENT_BYTES_MAX];
        let mut records = letter(1, b"small");
        records.push(letter(2, &large).remove(0));
        let (found, taken) = pieces(&records, false);
        assert_eq!((found.len(), taken), (1, 1));
        // At the end there is no rest, and alone it would wait for ever.
        assert_eq!(
            values(&pieces(&records, true).0),
            [Some(&b"small"[..]), None]
        );
        assert_eq!(values(&pieces(&records[1..], false).0), [None]);
    }

    #[test]
    fn topics_are_counted_by_name_up_to_a_bound() {
        let mut retried = Retried::default();
        for topic in 0..=TOPICS_TOLD_MAX {
            retried.note_sent(&topic.to_string());
            retried.note_sent(&topic.to_string());
        }
        assert_eq!(retried.topics.len(), TOPICS_TOLD_MAX + 1);
        assert_eq!(retried.topics[OTHER_TOPICS], 2);
        let mut both = retried.clone();
        both.add(retried);
        assert_eq!((both.sent, both.topics["0"]), (4 * 257, 4));
    }
}
