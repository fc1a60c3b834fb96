//! One core's life: the only room that knows all stages.
//!
//! Layout:  `run` opens the shard's journals, serves the doors, obeys the control core and ends in order;
//!          `intake` takes messages from the doors to the journal or (`deliver`) to Kafka; `answer` brings verdicts back;
//!          `claims` holds with the other shards who is connected.
//! Always:  a request is answered with success only when its commit is durable (or at receipt, when
//!          the operator chose that); answers to one connection leave in the order of its requests. With Kafka,
//!          it is answered when the brokers have every event of it, and answers leave as they come.
//! Core:    one. Nothing here is `Send` but the letters in the mailboxes.
//! Full:    at its budget of bytes in flight the shard takes no message; the doors stop reading.

mod answer;
pub mod background;
pub mod census;
pub mod claims;
pub mod clock;
pub mod dedupe;
mod deliver;
mod destination;
mod forward;
mod intake;
mod look;
pub mod mail;
mod open;
pub mod peers;
pub mod probe;
mod routing;
mod run;
mod settle;
mod tidy;
mod twin;
pub mod volumes;

pub use twin::{Neighbour, neighbourhood};

pub use claims::OnDuplicate;
pub use run::{Start, run};

/// What a shard needs from the configuration beside its rooms' own settings.
#[derive(Clone, Debug)]
pub struct Settings {
    pub net: crate::net::Settings,
    pub route: crate::route::Settings,
    pub log: crate::log::Settings,
    /// Where events go; `None`: to the log.
    pub kafka: Option<crate::kafka::Settings>,
    /// Events that are in the log are forwarded to Kafka.
    pub spool: Option<crate::spool::Settings>,
    pub ack: Acknowledge,
    /// WebSockets that may be open at once, over all shards.
    pub connections_max: u32,
    pub on_duplicate: OnDuplicate,
    /// Bytes of requests accepted and not yet answered.
    pub in_flight_bytes_max: usize,
    /// When the shard drains: over how long its farewells to WebSockets are spread, and how long connections may
    /// take to end after that.
    pub drain_window: std::time::Duration,
    pub drain_grace: std::time::Duration,
    pub allow_any_filesystem: bool,
    /// Groups, and event types, that the metrics tell apart.
    pub labels_max: usize,
    /// `None`: requests are not known again.
    pub dedupe: Option<dedupe::Settings>,
}

/// When a request is answered (`EVENT_ACK`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledge {
    /// 0: when it is decoded and queued.
    Received,
    /// 1: when every event of it is durable.
    Durable,
}
