//! Records leave for Kafka, and librdkafka tells what became of each.
//!
//! | file         | is                                                                            |
//! |--------------|-------------------------------------------------------------------------------|
//! | `native`     | librdkafka behind a small safe interface                                      |
//! | `properties` | what an operator may set, what we set, and who wins                           |
//! | `writer`     | a shard's producer: records in, one report for each out                       |
//! | `cluster`    | the control core's view: which topics there are, whether brokers can be reached |
//! | `direct`     | the log's batches sent as they are, without librdkafka                        |
//! | `transactional` | a producer of transactions, for a thread that may wait                   |
//! | `transactor` | that one, or `direct`'s of whole batches                                      |
//! | `statistics` | librdkafka's statistics, read                                                 |
//!
//! Always:  each record that was taken is reported exactly once, delivered or with librdkafka's words for why not.
//!          Records of one topic's partition keep the order in which they were given.
//! Core:    a [`Writer`](writer::Writer) lives on one shard. librdkafka has threads of its own, on other CPUs where
//!          there are any; the shard is woken through a socketpair.
//! Cancel:  dropping a writer gives up what it holds: settle first.
//! Full:    nothing here refuses a record for lack of room; the shard's budget is the bound, and
//!          [`Writer::waiting`](writer::Writer::waiting) says what each topic holds of it.

pub mod cluster;
pub mod direct;
mod native;
pub mod properties;
pub mod statistics;
pub mod transactional;
pub mod transactor;
pub mod writer;

pub use native::{Fault, Metadata, Setback};
pub use properties::Property;

use std::time::Duration;

/// What the writers need from the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// As the operator set them.
    pub properties: Vec<Property>,
    pub key: Key,
    /// Each once.
    pub headers: Vec<Header>,
    /// How long the end waits for what was sent, after the connections have had their time.
    pub flush_wait: Duration,
    /// Topics that do not exist are made so: partitions and replicas, -1 for the cluster's defaults.
    pub create: Option<(i32, i32)>,
}

/// What a record's key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    None,
    ConnId,
    ConnGroup,
    ReqGuid,
}

/// What a record's headers tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    EventType,
    ConnGroup,
    /// Milliseconds since 1970, in decimal.
    Received,
    ReqGuid,
}

impl Header {
    /// How many there are.
    pub const KINDS: usize = 4;
}

/// Why there is no producer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Change the property.
    #[error("publisher.kafka.client.{name}: {reason}")]
    Property { name: Box<str>, reason: String },
    /// The properties do not go together, or a file that one of them names cannot be read.
    #[error("librdkafka does not start: {0}")]
    Start(String),
    #[error("no way to be woken: {0}")]
    Bell(#[from] std::io::Error),
}
