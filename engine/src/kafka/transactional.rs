//! A producer whose records count when their transaction does.
//!
//! Always:  each record that was taken is heard of once. Commit and abort are decided when everything was heard of.
//! Core:    a thread of its own: what is asked of the cluster is waited for, and several of librdkafka's calls may
//!          be under way for as long as they were told.
//! Cancel:  dropping the producer leaves its transaction open; the next one of the same id ends it.

use super::native::{Client, Fault, Read, Reading, Report, Setback, Told, Topic};
use super::properties::{self, Property};
use super::writer::{Record, produce, say};
use super::{Error, Metadata};
use std::collections::HashMap;
use std::sync::Arc;

/// Where a key's records are: one partition, so that nobody can move them by giving a topic more of them.
const PARTITION: i32 = 0;
/// librdkafka's word for a transaction that cannot be committed any more.
const FAILED: &str = "Current transaction failed";
/// Only what is compacted, and nothing else, keeps the newest record of each key for ever.
const POLICY: &str = "cleanup.policy";
const COMPACT: &str = "compact";
/// What a topic is that keeps the newest record of each key. Its segments are small and closed soon, for only closed
/// ones are compacted, and all of it is read at a start.
const NEWEST_OF_EACH_KEY: [(&std::ffi::CStr, &std::ffi::CStr); 3] = [
    (c"cleanup.policy", c"compact"),
    (c"segment.bytes", c"4194304"),
    (c"segment.ms", c"3600000"),
];

/// One producer of transactions.
pub struct Producer {
    client: Client,
    topics: HashMap<Arc<str>, Topic>,
    /// Taken and not heard of.
    outstanding: u64,
    report: Option<Report>,
    /// librdkafka will do no more with this client; why.
    over: Option<String>,
}

/// What librdkafka has said.
#[derive(Debug)]
pub enum Heard {
    Delivery { mark: u64, fault: Option<Fault> },
    Statistics(Box<str>),
}

/// The newest record of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newest {
    pub offset: i64,
    pub value: Vec<u8>,
}

impl Producer {
    /// Starts a producer and its threads, on the CPUs of the calling thread. Nothing is asked yet.
    pub fn open(properties: &[Property], id: &str) -> Result<Self, Error> {
        let conf = properties::conf_of_transactions(properties, id)?;
        Ok(Self {
            client: Client::start(conf, None).map_err(Error::Start)?,
            topics: HashMap::new(),
            outstanding: 0,
            report: None,
            over: None,
        })
    }

    /// Ends what an earlier producer of this id left open, and keeps it out from here on.
    pub fn init(&self, wait_ms: i32) -> Result<(), Setback> {
        self.client.init_transactions(wait_ms)
    }

    pub fn begin(&self) -> Result<(), Setback> {
        self.still_there()?;
        self.client.begin_transaction()
    }

    /// Commits what was sent since [`Producer::begin`]; all of it must have been heard of.
    pub fn commit(&self, wait_ms: i32) -> Result<(), Setback> {
        debug_assert!(self.outstanding == 0);
        self.client.commit_transaction(wait_ms)
    }

    /// Gives up what was sent since [`Producer::begin`]; all of it must have been heard of.
    pub fn abort(&self, wait_ms: i32) -> Result<(), Setback> {
        debug_assert!(self.outstanding == 0);
        self.client.abort_transaction(wait_ms)
    }

    /// What has not been sent yet comes back with a fault.
    pub fn purge(&self) {
        self.client.purge_queue();
    }

    fn still_there(&self) -> Result<(), Setback> {
        let over = self.over.clone();
        over.map_or(Ok(()), |why| Err(Setback::Over(why)))
    }

    /// Why this producer can do no more.
    pub fn over(&self) -> Option<&str> {
        self.over.as_deref()
    }

    /// Takes one record, or says why not. Never waits.
    pub fn send(&mut self, topic: &Arc<str>, record: &Record<'_>, mark: u64) -> Result<(), Fault> {
        produce(self.topic(topic)?, record, mark)?;
        self.outstanding += 1;
        Ok(())
    }

    /// Takes a record of which the newest counts, as [`Producer::newest`] will find it.
    pub fn send_newest(
        &mut self,
        topic: &Arc<str>,
        (key, value): (&[u8], &[u8]),
        mark: u64,
    ) -> Result<(), Fault> {
        self.topic(topic)?.produce_to(PARTITION, key, value, mark)?;
        self.outstanding += 1;
        Ok(())
    }

    fn topic(&mut self, name: &Arc<str>) -> Result<&Topic, Fault> {
        if !self.topics.contains_key(name) {
            let topic = self.client.topic(name)?;
            self.topics.insert(name.clone(), topic);
        }
        Ok(&self.topics[name])
    }

    /// Records that were taken and not heard of.
    pub fn outstanding(&self) -> u64 {
        self.outstanding
    }

    /// What librdkafka has to say, waited for as long as this; `None` when that is nothing.
    pub fn hear(&mut self, wait_ms: i32) -> Option<Heard> {
        let mut wait_ms = wait_ms;
        loop {
            if let Some(delivery) = self.report.as_mut().and_then(Report::next_delivery) {
                self.outstanding = self.outstanding.saturating_sub(1);
                let (mark, fault) = (delivery.mark, delivery.fault);
                return Some(Heard::Delivery { mark, fault });
            }
            self.report = None;
            let report = self.client.wait_for_next(wait_ms)?;
            match report.told() {
                Told::Deliveries => self.report = Some(report),
                Told::Statistics(text) => return Some(Heard::Statistics(text)),
                Told::Trouble { text, is_fatal } => {
                    if is_fatal {
                        self.over = Some(text);
                        self.client.purge();
                    } else {
                        tracing::debug!("kafka: {text}");
                    }
                }
                // Each transaction that is given up is told by who gives it up, with the reason.
                Told::Line { text, .. } if text.contains(FAILED) => {
                    tracing::debug!("kafka: {text}");
                }
                Told::Line { grave, text } => say(grave, &text),
                Told::Nothing => {}
            }
            wait_ms = 0;
        }
    }

    /// Makes a topic that keeps the newest record of each key, unless it is there; then it gives what is wrong with
    /// that one. `replicas` below 1 are those of the cluster's default.
    pub fn prepare(
        &self,
        name: &str,
        replicas: i32,
        wait_ms: i32,
    ) -> Result<Option<String>, String> {
        let seen: Result<Metadata, Fault> = self.client.metadata(wait_ms);
        let seen = seen.map_err(|fault| fault.text().to_owned())?;
        if seen.topics.iter().any(|(known, _)| **known == *name) {
            return Ok(self.doubt(name, wait_ms));
        }
        let replicas = if replicas < 1 { -1 } else { replicas };
        let (shape, settings) = ((1, replicas), &NEWEST_OF_EACH_KEY);
        let refused = self.client.create_with(&[name], shape, settings, wait_ms)?;
        match refused.into_iter().next() {
            None => {
                tracing::info!("new topic {name} in Kafka");
                Ok(None)
            }
            Some((_, why)) => Err(format!("the topic {name} could not be made: {why}")),
        }
    }

    /// Why the newest record of a key may go from this topic. Who may not ask is not kept from sending.
    fn doubt(&self, name: &str, wait_ms: i32) -> Option<String> {
        match self.client.setting_of_topic(name, POLICY, wait_ms) {
            Ok(policy) if policy.as_deref() == Some(COMPACT) => None,
            Ok(policy) => {
                let policy = policy.unwrap_or_default();
                Some(format!(
                    "Kafka's topic {name} has {POLICY}={policy}, by which a cursor goes after some time; what the log's \
                     own has not passed then comes twice: give it {POLICY}={COMPACT}"
                ))
            }
            Err(why) => Some(format!(
                "whether Kafka's topic {name} has {POLICY}={COMPACT}, as it needs to, could not be asked: {why}"
            )),
        }
    }

    /// The newest record of a key that was committed, when everything was read that is there now. What a transaction
    /// of somebody else holds back is waited for, for as long as `goes_on` says so.
    pub fn newest(
        properties: &[Property],
        (topic, key): (&str, &[u8]),
        wait_ms: i32,
        mut goes_on: impl FnMut() -> bool,
    ) -> Result<Option<Newest>, String> {
        let text = |fault: Fault| fault.text().to_owned();
        // The end of what is committed may lie before a record that is: somebody else's transaction is open.
        let everything = reader(properties, "read_uncommitted")?;
        let marks = everything.watermarks(topic, PARTITION, wait_ms);
        let (low, high) = marks.map_err(text)?;
        if high <= low {
            return Ok(None);
        }
        let reader = reader(properties, "read_committed")?;
        let reading = Reading::start(&reader, topic, PARTITION).map_err(text)?;
        let mut newest = None;
        while goes_on() {
            let next = match reading.next(wait_ms).map_err(text)? {
                None => continue,
                Some(Read::End { next }) => next,
                Some(Read::Record {
                    offset,
                    key: found,
                    value,
                }) => {
                    if found == key {
                        newest = value.map(|value| Newest { offset, value });
                    }
                    offset + 1
                }
            };
            if high <= next {
                return Ok(newest);
            }
        }
        Err(format!("{topic} could not be read to its end in time"))
    }
}

fn reader(properties: &[Property], level: &str) -> Result<Client, String> {
    let conf = properties::conf_of_reader(properties, level).map_err(|error| error.to_string())?;
    Client::start_reader(conf)
}
