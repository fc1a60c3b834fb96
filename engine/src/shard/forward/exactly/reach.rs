//! Getting hold of a producer, and of how far Kafka knows the journal to be.
//!
//! Always:  first nobody else may commit under this name any more, then the cursor is read, then something is sent.

use super::carrier::{Carrier, Halt, Miss};
use crate::kafka::Setback;
use crate::kafka::direct::transacted;
use crate::kafka::properties::transaction_timeout_ms;
use crate::kafka::transactional::{Newest, Producer};
use crate::kafka::transactor::Transactor;
use crate::log::format::forwarded::Forwarded;
use crate::shard::clock::Clock as _;
use crate::spool::exactly::{cursor, pause};
use std::time::Duration;

/// How long one call waits for the cluster.
const CALL_MS: i32 = 1_000;
/// How long one question about topics may take.
const TOPIC_MS: i32 = 4_000;
/// Beyond the time that the cluster lets a transaction of somebody else be open.
const PATIENCE_MS: u64 = 30_000;

impl Carrier {
    /// Waits for Kafka, for as long as that takes.
    pub(super) fn reach(&mut self) -> Result<(Transactor, Option<Forwarded>), Halt> {
        let (mut failures, mut told) = (0, String::new());
        loop {
            let why = match self.reach_once() {
                Ok(reached) => return Ok(reached),
                Err(Miss::Halt(halt)) => return Err(halt),
                Err(Miss::Again(why) | Miss::Over(why)) => why,
            };
            failures += 1;
            if why != told {
                let (journal, name) = (self.terms.journal.0, &self.name);
                tracing::warn!("journal {journal}: no transactions as {name} yet: {why}");
                told = why;
            }
            self.rest(pause(failures))?;
        }
    }

    fn reach_once(&mut self) -> Result<(Transactor, Option<Forwarded>), Miss> {
        let properties = self.terms.kafka.properties.clone();
        let opened = Producer::open(&properties, &self.name);
        let producer = opened.map_err(|error| Miss::Over(error.to_string()))?;
        let replicas = self.terms.kafka.create.map_or(-1, |(_, replicas)| replicas);
        let prepared = producer.prepare(&self.cursors, replicas, TOPIC_MS);
        let doubt = prepared.map_err(Miss::Over)?;
        if let Some(doubt) = doubt.filter(|doubt| self.doubt.as_ref() != Some(doubt)) {
            tracing::warn!("journal {}: {doubt}", self.terms.journal.0);
            self.doubt = Some(doubt);
        }
        let mut producer = self.transactor(producer);
        let patience_ms = transaction_timeout_ms(&properties) + PATIENCE_MS;
        let until = self.clock.now().0 + patience_ms * 1_000;
        loop {
            while let Some(heard) = producer.hear(0) {
                self.pass_on(heard);
            }
            match producer.init(CALL_MS) {
                Ok(()) => break,
                Err(Setback::Again(_)) if self.clock.now().0 < until => {}
                Err(setback) => {
                    if producer.is_unfit() {
                        let journal = self.terms.journal.0;
                        tracing::info!(
                            "journal {journal}: every event goes through librdkafka, because a broker does not \
                             understand what is said of whole batches"
                        );
                        self.terms.brokers = None;
                    }
                    return Err(Miss::Over(setback.to_string()));
                }
            }
            if self.is_stopping() {
                return Err(Halt::Stopping.into());
            }
        }
        let at = (&*self.cursors, self.name.as_bytes());
        let goes_on = || !self.is_stopping() && self.clock.now().0 < until;
        let newest = Producer::newest(&properties, at, CALL_MS, goes_on);
        let found = self.read_cursor(newest.map_err(Miss::Over)?)?;
        Ok((producer, found))
    }

    /// One of whole batches, where that is allowed; else this one.
    fn transactor(&self, producer: Producer) -> Transactor {
        let Some(brokers) = self.terms.brokers.clone() else {
            return Transactor::Records(Box::new(producer));
        };
        let timeout_ms = transaction_timeout_ms(&self.terms.kafka.properties);
        let timeout = Duration::from_millis(timeout_ms);
        let producer = transacted::Producer::new(brokers, &self.name, timeout);
        Transactor::Batches(Box::new(producer))
    }

    fn read_cursor(&self, newest: Option<Newest>) -> Result<Option<Forwarded>, Halt> {
        let Some(Newest { offset, value }) = newest else {
            return Ok(None);
        };
        let read = cursor::read(&value, self.terms.cursor.identity);
        let cursor = read.map_err(|error| {
            let (topic, name) = (&self.cursors, &self.name);
            Halt::For(format!(
                "Kafka's cursor of {name} (topic {topic}, offset {offset}) cannot be read: {error}"
            ))
        })?;
        Ok(Some(cursor))
    }
}
