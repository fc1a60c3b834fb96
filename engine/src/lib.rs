//! # Ringtail's engine
//!
//! Batches of events arrive on a socket, are written to the log, and are answered when they are
//! safe. One core (a *shard*) owns a batch for its whole life. Where Kafka is the destination, `kafka` stands in
//! the place of `log`; with a spool, what is durable in the log is answered and leaves for `kafka` from there.
//!
//! ```text
//!     net -> frame -> event -> route -> log -> ack -> net
//! ```
//!
//! | room      | takes                     | gives                                   |
//! |-----------|---------------------------|-----------------------------------------|
//! | `rt`      | what the kernel offers    | executors, sockets, files, mailboxes    |
//! | `frame`   | bytes                     | whole messages                          |
//! | `event`   | messages                  | batches of events; answers as bytes     |
//! | `route`   | event types               | topics                                  |
//! | `log`     | routed batches            | places in the journal, durable marks    |
//! | `kafka`   | records                   | what became of each                     |
//! | `spool`   | frames of the log         | what waits for Kafka, event by event    |
//! | `ack`     | durable marks             | who may be answered now, in order       |
//! | `net`     | sockets                   | messages in, answers out                |
//! | `shard`   | all of the above          | one core's life                         |
//! | `control` | configuration, signals    | shards started, watched and stopped     |
//!
//! Each room knows the stage before it and never the one after; `shard` alone strings them together.
//! A test (`tests/`) reads these sources and holds the table of who may import whom.
//!
//! Absent on purpose: below `shard`, nothing spawns a thread, reads the wall clock, touches another
//! core, or parses configuration. Only `rt` names the runtime.

pub mod limit;
pub mod unit;

pub mod ack;
pub mod control;
pub mod event;
pub mod frame;
pub mod kafka;
pub mod log;
pub mod net;
pub mod route;
pub mod rt;
pub mod shard;
pub mod spool;
