//! The one core that may wait: configuration, start, topics, the admin port, stop.
//!
//! Layout:  `cli` parses, `config` resolves, `boot` checks the host and starts shards, `fleet` is what
//!          is known of them; `catalogue` makes topics (`cluster` where Kafka has them), `admin` and `metrics` tell, `shutdown` ends.
//! Always:  no event is ever seen here. Shards are asked by letters and answer by letters.
//! Core:    the thread of the program; pinned when there is a CPU to spare.
//! Cancel:  a signal interrupts the start as well; a second one ends at once.
//! Full:    questions to shards, admin connections and labels have bounds in `limit`.

mod admin;
mod boot;
mod catalogue;
mod cli;
mod cluster;
mod config;
mod desk;
mod doctor;
mod exit;
mod fleet;
mod house;
mod metrics;
mod place;
mod returning;
mod send;
mod shutdown;
mod topics;
mod volumes;

/// Runs the program with the process's arguments.
pub fn main() -> std::process::ExitCode {
    cli::run(std::env::args_os()).into()
}
