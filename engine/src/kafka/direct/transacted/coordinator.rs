//! Who keeps the transactions of an id: a number for its producer, partitions that join, and the end.
//!
//! Always:  a question whose answer did not come is asked again: each of them, asked twice of one epoch, does once. What
//!          became of a transaction is never guessed: where the coordinator does not say it, the producer is over.

use super::super::link::Ended;
use super::super::wire::transaction::{
    add_partitions, end_transaction, find_coordinator, init_producer_id, read_added,
    read_coordinator, read_ended, read_producer_id,
};
use super::super::wire::{Garbled, Reading};
use super::link::Link;
use super::{PAUSE, PAUSE_LAST, Producer, Stage};
use crate::kafka::native::{Fault, Setback};
use crate::rt::timer::Moment;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Kafka's error code for partitions that were not tried because of others.
const OPERATION_NOT_ATTEMPTED: i16 = 55;
/// And for what is not there, or not known here yet.
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;

/// What Kafka's word for a step means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// The coordinator is there, and not ready.
    Later,
    /// It is somewhere else, or nowhere yet.
    Elsewhere,
    /// The transaction cannot be committed.
    Abort,
    /// This producer can do no more.
    Over,
}

/// Kafka's error codes: <https://kafka.apache.org/protocol.html#protocol_error_codes>.
fn meaning(code: i16) -> Meaning {
    match code {
        // It loads; it still ends the transaction before.
        14 | 51 => Meaning::Later,
        // A wait that was too long; a coordinator that is away, or another.
        7 | 8 | 13 | 15 | 16 => Meaning::Elsewhere,
        120 => Meaning::Abort,
        _ => Meaning::Over,
    }
}

fn text(code: i16) -> String {
    Fault::of_broker(code).text().to_owned()
}

impl Producer {
    /// What is to be done after this word of the coordinator's.
    fn after(&mut self, code: i16) -> Setback {
        match meaning(code) {
            Meaning::Later => Setback::Again(text(code)),
            Meaning::Elsewhere => {
                self.coordinator = None;
                Setback::Again(text(code))
            }
            Meaning::Abort => Setback::Abort(text(code)),
            Meaning::Over => Setback::Over(text(code)),
        }
    }

    /// Takes a number, or the epoch behind the one that is known.
    pub(super) fn take_number(&mut self, known: Option<(i64, i16)>) -> Result<(), Setback> {
        let timeout_ms = i32::try_from(self.timeout.as_millis()).unwrap_or(i32::MAX);
        let id = self.id.clone();
        let answer = self.ask_coordinator(
            |out, number| init_producer_id(out, number, (&id, timeout_ms), known),
            read_producer_id,
        );
        match answer? {
            Ok(producer) => {
                self.number = Some(producer);
                for topic in self.topics.values_mut() {
                    topic.renumber();
                }
                Ok(())
            }
            Err(code) => Err(self.after(code)),
        }
    }

    /// Ends the transaction, if anything may be part of it.
    pub(super) fn end(&mut self, commit: bool) -> Result<(), Setback> {
        let Some(producer) = self.number.filter(|_| self.stage == Stage::Open) else {
            return Ok(());
        };
        let id = self.id.clone();
        let code = self.ask_coordinator(
            |out, number| end_transaction(out, number, (&id, producer), commit),
            read_ended,
        )?;
        if code != 0 {
            return Err(self.after(code));
        }
        self.stage = if commit { Stage::Empty } else { Stage::GivenUp };
        self.added.clear();
        self.add_pause = PAUSE;
        Ok(())
    }

    /// Has partitions that wait for it join the transaction; their batches may leave then.
    pub(super) fn join(&mut self) {
        let now = Moment::now();
        let Some(producer) = self.number.filter(|_| self.add_at <= now) else {
            return;
        };
        let mut wanted: BTreeMap<Arc<str>, Vec<i32>> = BTreeMap::new();
        for (name, topic) in &self.topics {
            for number in topic.waiting() {
                if !self.added.contains(&(Arc::clone(name), number)) {
                    wanted.entry(Arc::clone(name)).or_default().push(number);
                }
            }
        }
        if wanted.is_empty() {
            return;
        }
        // The answer may be lost.
        self.stage = Stage::Open;
        let id = self.id.clone();
        let mut codes = Vec::new();
        let answer = self.ask_coordinator(
            |out, number| {
                let wanted = wanted.iter();
                let topics = wanted.map(|(name, numbers)| (&**name, &numbers[..]));
                add_partitions(out, number, (&id, producer), topics);
            },
            |reading| {
                read_added(reading, |name, partition, code| {
                    codes.push((Arc::from(name), partition, code));
                })
            },
        );
        match answer {
            Ok(()) => {
                let mut all = true;
                for (name, partition, code) in codes {
                    all &= self.take_added(name, partition, code);
                }
                if all {
                    self.add_pause = PAUSE;
                } else {
                    self.pause_join();
                }
            }
            Err(Setback::Over(why)) => self.end_for(why),
            Err(_) => self.pause_join(),
        }
    }

    fn pause_join(&mut self) {
        self.add_at = Moment::now().after(self.add_pause);
        self.add_pause = (2 * self.add_pause).min(PAUSE_LAST);
    }

    /// `false` when it is to be added once more, a little later.
    fn take_added(&mut self, name: Arc<str>, partition: i32, code: i16) -> bool {
        let fault = Fault::of_broker(code);
        match code {
            0 => {
                self.added.insert((name, partition));
            }
            OPERATION_NOT_ATTEMPTED => return false,
            // The coordinator may not know it yet: whether it is there is asked.
            UNKNOWN_TOPIC_OR_PARTITION => {
                self.asks = true;
                return false;
            }
            _ if fault.is_of_the_topic() => {
                if let Some(topic) = self.topics.get_mut(&name) {
                    topic.recall(fault);
                }
            }
            code => match self.after(code) {
                Setback::Again(_) => return false,
                Setback::Abort(_) => self.recall_all(code),
                Setback::Over(why) => self.end_for(why),
            },
        }
        true
    }

    fn ask_coordinator<T>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>, i32),
        read: impl FnOnce(Reading<'_>) -> Result<T, Garbled>,
    ) -> Result<T, Setback> {
        let mut link = match self.coordinator.take() {
            Some(link) => link,
            None => self.find_coordinator()?,
        };
        let read = link
            .ask(write)
            .and_then(|answer| read(answer).map_err(Ended::from));
        match read {
            Ok(read) => {
                self.coordinator = Some(link);
                Ok(read)
            }
            Err(ended) => Err(self.after_end(&ended)),
        }
    }

    fn find_coordinator(&mut self) -> Result<Link, Setback> {
        let id = self.id.clone();
        let answer = self.ask_anybody(
            |out, number| find_coordinator(out, number, &id),
            read_coordinator,
        );
        match answer? {
            Ok((host, port)) => {
                let opened = Link::open(&host, port);
                opened.map_err(|ended| self.after_end(&ended))
            }
            Err(code) => Err(self.after(code)),
        }
    }

    /// A connection came to its end.
    pub(super) fn after_end(&mut self, ended: &Ended) -> Setback {
        match ended {
            Ended::Foreign => self.retire(),
            other => Setback::Again(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_passes_is_asked_again() {
        for code in [14, 51] {
            assert_eq!(meaning(code), Meaning::Later);
        }
        for code in [15, 16] {
            assert_eq!(meaning(code), Meaning::Elsewhere);
        }
        // Fenced in both words, a state that forbids it, a mapping that is gone, a timeout and a right that are not given.
        for code in [47, 90, 48, 49, 50, 53] {
            assert_eq!(meaning(code), Meaning::Over);
        }
    }
}
