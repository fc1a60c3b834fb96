//! What waits in the log for Kafka, and what became of it.
//!
//! | file     | is                                                                        |
//! |----------|---------------------------------------------------------------------------|
//! | `window` | frames that were read and not wholly delivered, event by event            |
//! | `letter` | dead letters: events that Kafka will never take, with the reason          |
//! | `exactly` | what forwarding in transactions has to decide                             |
//! | `retry`  | dead letters that are sent again                                          |
//!
//! Always:  the cursor passes a frame when each of its events was delivered, is a durable dead letter, or went
//!          with its topic; never before the frames that come before it.
//! Core:    plain values of one shard.
//! Full:    a window bounds the bytes and the events of what it holds.

pub mod exactly;
pub mod letter;
pub mod retry;
pub mod window;

use crate::kafka;
use crate::log::format::forwarded::Totals;
use crate::log::journal::Overflow;
use crate::unit::JournalId;
use std::sync::Arc;
use std::time::Duration;

/// Who comes first on a shard that has too much to do. Never which event of a topic comes first: one cursor reads each
/// journal from its oldest event to its newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// New events; what waits for Kafka has [`Settings::share`].
    LiveFirst,
    /// What waits for Kafka; new events have [`Settings::share`].
    OldestFirst,
}

impl Order {
    /// Steps of `nice` by which threads that forward yield to a shard on the same CPU: a fifth of the weight each, so
    /// that what is left of it is about `share` percent of both.
    pub fn steps(self, share: u32) -> i32 {
        let share = f64::from(share.clamp(1, 50));
        match self {
            Self::LiveFirst => ((100.0 - share) / share).log(1.25).round().min(19.0) as i32,
            Self::OldestFirst => 0,
        }
    }
}

/// Who writes events, at least once or in transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// Batches of the log as they are; librdkafka where something forbids that, or Kafka refuses one.
    Auto,
    /// Always librdkafka, record by record.
    Librdkafka,
}

/// What a forwarder needs from the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    pub kafka: kafka::Settings,
    pub overflow: Overflow,
    /// Bytes of frames that one journal's forwarder has under way.
    pub in_flight_bytes: u64,
    pub writer: Writer,
    pub order: Order,
    /// Part of the shard's time, in percent, for who comes second.
    pub share: u32,
    /// What the forwarders of all journals together read from the disk.
    pub read_bytes_per_second: u64,
    /// The log's topic of dead letters. It is not forwarded.
    pub letters: Box<str>,
    /// How long events wait for a topic that Kafka does not know, or does not let us write to, before they become
    /// dead letters.
    pub topic_wait: Duration,
    /// `None`: events may come to Kafka more than once after a crash.
    pub exactly: Option<exactly::Settings>,
}

/// How much of a journal waits, and what became of the rest.
#[derive(Clone, Debug)]
pub struct Backlog {
    pub journal: JournalId,
    pub events: u64,
    /// As they lie in the log.
    pub bytes: u64,
    /// Since the oldest of what waits was written, in microseconds; 0 when nothing waits.
    pub oldest_us: u64,
    /// Delivered in a second, over the last few.
    pub events_per_second: u64,
    /// Bytes of the log that were settled in a second, over the last few.
    pub bytes_per_second: u64,
    /// Records in the topic of dead letters now.
    pub letters: u64,
    /// Dead letters that were sent again, since the start.
    pub retried: u64,
    /// Since the journal's first day.
    pub totals: Totals,
    /// Sent once more, since the start.
    pub repeated: u64,
    /// Events that were delivered in batches as they lie in the log, since the start.
    pub whole: u64,
    /// Sent, and not reported.
    pub in_flight: u64,
    /// Why nothing is forwarded any more.
    pub fault: Option<Arc<str>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_yield_to_live_events_as_much_as_their_share_says() {
        let steps = [50, 25, 10, 1].map(|share| Order::LiveFirst.steps(share));
        assert_eq!(steps, [0, 5, 10, 19]);
        assert_eq!(Order::OldestFirst.steps(25), 0);
    }
}
