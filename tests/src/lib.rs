//! # What the promises share
//!
//! Every file in `tests/` beside this folder is named after a promise and keeps it against the
//! running program, from outside. The one exception is `simulation`, which links the engine's log and runs
//! it on a simulated disk.
//!
//! | module    | for                                                              |
//! |-----------|------------------------------------------------------------------|
//! | `simulation` | the whole log on a simulated disk, from one seed              |
//! | `program` | finding what was built, running it with a bound on its time      |
//! | `scratch` | a folder on a real disk that goes when the test passes           |
//! | `account` | load, kill, and what must be there afterwards                    |
//! | `server`  | `ringtail serve` on free ports: started, killed, drained         |
//! | `http`    | requests over a plain socket                                     |
//! | `client`  | a WebSocket client that numbers what it sends                    |
//! | `guard`   | a broker's doors that ask for TLS and passwords                   |
//! | `hostile` | bytes that are nearly right, connections that end badly          |
//! | `kafka`   | real Apache Kafka: one broker or several, killed, paused, read back |
//! | `delivery` | load, and the account of it against what Kafka has             |
//! | `spool`   | what tests of a spool ask it                                      |
//! | `journal` | `ringtail log cat`, `verify`, `topics`                           |
//! | `device`  | a disk of our own, and the kernel's count of its flushes         |
//! | `metrics` | the metrics page, read                                           |
//! | `tidy`    | the sources, read as text                                        |
//! | `wait`    | the only place that sleeps: to look again, never to assert       |

pub mod account;
pub mod client;
pub mod decay;
pub mod delivery;
pub mod device;
pub mod guard;
pub mod hostile;
pub mod http;
pub mod journal;
pub mod kafka;
pub mod metrics;
pub mod older;
pub mod program;
pub mod scratch;
pub mod server;
pub mod simulation;
pub mod spool;
pub mod tidy;
pub mod wait;
