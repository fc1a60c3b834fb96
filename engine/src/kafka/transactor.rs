//! A producer of transactions, in one of its two kinds.
//!
//! Always:  each record or batch that was taken is heard of once. Commit and abort are decided when everything was heard
//!          of.
//! Core:    a thread of its own, which may wait.

use super::direct::transacted;
use super::native::{Fault, Setback};
use super::transactional::{self, Heard};
use super::writer::Record;
use std::sync::Arc;
use std::time::Duration;

pub enum Transactor {
    /// librdkafka, record by record.
    Records(Box<transactional::Producer>),
    /// The log's record batches as they are. It has no keys and no headers.
    Batches(Box<transacted::Producer>),
}

fn milliseconds(wait_ms: i32) -> Duration {
    Duration::from_millis(wait_ms.unsigned_abs().into())
}

impl Transactor {
    /// Ends what an earlier producer of this id left open, and keeps it out from here on.
    pub fn init(&mut self, wait_ms: i32) -> Result<(), Setback> {
        match self {
            Self::Records(producer) => producer.init(wait_ms),
            Self::Batches(producer) => producer.init(milliseconds(wait_ms)),
        }
    }

    pub fn begin(&mut self) -> Result<(), Setback> {
        match self {
            Self::Records(producer) => producer.begin(),
            Self::Batches(producer) => producer.begin(),
        }
    }

    /// Commits what was sent since [`Transactor::begin`]; all of it must have been heard of.
    pub fn commit(&mut self, wait_ms: i32) -> Result<(), Setback> {
        match self {
            Self::Records(producer) => producer.commit(wait_ms),
            Self::Batches(producer) => producer.commit(milliseconds(wait_ms)),
        }
    }

    /// Gives up what was sent since [`Transactor::begin`]; all of it must have been heard of.
    pub fn abort(&mut self, wait_ms: i32) -> Result<(), Setback> {
        match self {
            Self::Records(producer) => producer.abort(wait_ms),
            Self::Batches(producer) => producer.abort(milliseconds(wait_ms)),
        }
    }

    /// What has not been sent yet comes back with a fault.
    pub fn purge(&mut self) {
        match self {
            Self::Records(producer) => producer.purge(),
            Self::Batches(producer) => producer.purge(),
        }
    }

    /// Why this producer can do no more.
    pub fn over(&self) -> Option<&str> {
        match self {
            Self::Records(producer) => producer.over(),
            Self::Batches(producer) => producer.over(),
        }
    }

    /// A broker does not understand this kind of producer.
    pub fn is_unfit(&self) -> bool {
        match self {
            Self::Records(_) => false,
            Self::Batches(producer) => producer.is_unfit(),
        }
    }

    pub fn outstanding(&self) -> u64 {
        match self {
            Self::Records(producer) => producer.outstanding(),
            Self::Batches(producer) => producer.outstanding(),
        }
    }

    /// Whether [`Transactor::send_whole`] may be called.
    pub fn takes_whole(&self) -> bool {
        matches!(self, Self::Batches(_))
    }

    /// Takes a batch of so many records.
    ///
    /// # Panics
    /// When this kind takes none.
    pub fn send_whole(&mut self, topic: &Arc<str>, batch: &[u8], records: u32, mark: u64) {
        let Self::Batches(producer) = self else {
            unreachable!("it was asked before")
        };
        producer.send_whole(topic, batch, records, mark);
    }

    /// Takes one record, or says why not. Never waits.
    pub fn send(&mut self, topic: &Arc<str>, record: &Record<'_>, mark: u64) -> Result<(), Fault> {
        match self {
            Self::Records(producer) => producer.send(topic, record, mark),
            Self::Batches(producer) => {
                debug_assert!(record.key.is_empty() && record.headers.is_empty());
                producer.send(topic, record.value, record.timestamp_ms, mark);
                Ok(())
            }
        }
    }

    /// Takes a record of which the newest counts, as [`transactional::Producer::newest`] will find it.
    pub fn send_newest(
        &mut self,
        topic: &Arc<str>,
        record: (&[u8], &[u8]),
        timestamp_ms: i64,
        mark: u64,
    ) -> Result<(), Fault> {
        match self {
            Self::Records(producer) => producer.send_newest(topic, record, mark),
            Self::Batches(producer) => {
                producer.send_newest(topic, record, timestamp_ms, mark);
                Ok(())
            }
        }
    }

    /// What there is to say, waited for as long as this; `None` when that is nothing.
    pub fn hear(&mut self, wait_ms: i32) -> Option<Heard> {
        match self {
            Self::Records(producer) => producer.hear(wait_ms),
            Self::Batches(producer) => {
                let transacted::Told { mark, fault } = producer.hear(milliseconds(wait_ms))?;
                Some(Heard::Delivery { mark, fault })
            }
        }
    }
}
