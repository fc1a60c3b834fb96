//! The program `ringtail-bench`: loads a server, and checks what it kept.
//!
//! | module      | duty                                                              |
//! |-------------|-------------------------------------------------------------------|
//! | `payload`   | what an event of ours holds, written and recognised               |
//! | `message`   | `SendEventRequest` as bytes, `SendEventResponse` read cheaply     |
//! | `websocket` | a client's side of RFC 6455: upgrade, frames, masking             |
//! | `record`    | the account of what was sent and answered, kept in a file         |
//! | `load`      | the closed-loop driver                                            |
//! | `check`     | the account of a run against what the server's log holds          |
//! | `idle`      | many connections that do nothing                                  |
//! | `host`      | what this machine is, and limits and clocks of this process       |
//!
//! Nothing here knows the engine: the driver works against anything that speaks the protocol.

mod check;
mod host;
mod idle;
mod load;
mod message;
mod payload;
mod record;
mod websocket;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(
    name = "ringtail-bench",
    version,
    about = "Loads a server, and checks what it kept"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Send batches over WebSocket in a closed loop and measure the answers.
    Load(load::Arguments),
    /// Compare records of runs with the log's content, read as JSON lines from standard input.
    Check(check::Arguments),
    /// Open many connections, hold them, and see that all of them live.
    Idle(idle::Arguments),
}

/// How a command ended, as a shell sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Everything that was promised was kept.
    Kept = 0,
    /// The server broke a promise: an error answer, a lost connection, an event that is not there.
    Broken = 1,
    /// The command could not run: arguments, files, no server.
    Failed = 2,
    /// Only with `--record`: the server went away, as a crash test wants it to.
    ServerGone = 3,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Load(arguments) => load::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Idle(arguments) => idle::run(&arguments),
    };
    let verdict = outcome.unwrap_or_else(|error| {
        eprintln!("ringtail-bench: {error}");
        Verdict::Failed
    });
    ExitCode::from(verdict as u8)
}
