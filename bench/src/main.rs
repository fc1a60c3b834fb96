//! The program `ringtail-bench`: loads a server, and checks what it kept.
//!
//! | module      | duty                                                              |
//! |-------------|-------------------------------------------------------------------|
//! | `payload`   | what an event of ours holds, written and recognised               |
//! | `mix`       | how large events are, and of which types                          |
//! | `protobuf`  | the little of its encoding that is needed                         |
//! | `message`   | `SendEventRequest` as bytes, `SendEventResponse` read cheaply     |
//! | `wire`      | protocols: WebSocket, REST and gRPC, and where to connect to      |
//! | `record`    | the account of what was sent and answered, kept in a file         |
//! | `load`      | the driver: closed loop, open loop, as much as goes               |
//! | `outcome`   | a result, as JSON and in words                                    |
//! | `check`     | the account of a run against what the server's log holds          |
//! | `compare`   | two sets of results: ratio, spread, whether it is noise           |
//! | `report`    | results as one page with plots                                    |
//! | `null`      | a server that answers and forgets: the floor                      |
//! | `scenario`  | a question in a file: servers, loads, how to read the answer      |
//! | `churn`     | connections that come and go                                      |
//! | `idle`      | many connections that do nothing                                  |
//! | `host`      | what this machine is, and limits and clocks of this process       |
//!
//! Of the engine only `null` knows anything, and only its runtime: the driver works against anything
//! that speaks the protocol.

mod check;
mod churn;
mod compare;
mod host;
mod idle;
mod load;
mod message;
mod mix;
mod null;
mod outcome;
mod payload;
mod protobuf;
mod record;
mod report;
mod scenario;
mod wire;

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
    /// Send batches, measure the answers.
    Load(Box<load::Arguments>),
    /// Compare records of runs with the log's content, read as JSON lines from standard input.
    Check(check::Arguments),
    /// Read a server's log and compare it with records of runs.
    Verify(check::VerifyArguments),
    /// Compare results: ratio, spread, and whether the difference is noise.
    Compare(compare::Arguments),
    /// Make one page with plots of results.
    Report(report::Arguments),
    /// Run a scenario: start its servers, drive its loads, print the answer and how to read it.
    Scenario(scenario::Arguments),
    /// Serve the protocol and forget everything: the floor of what a server can cost.
    Null(null::Arguments),
    /// Open and close connections, as many as go.
    Churn(churn::Arguments),
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

impl Verdict {
    /// The one that says more: a broken promise stands above a server that went away.
    fn worse(self, other: Self) -> Self {
        let weight = |verdict| match verdict {
            Self::Kept => 0,
            Self::ServerGone => 1,
            Self::Broken => 2,
            Self::Failed => 3,
        };
        if weight(self) < weight(other) {
            other
        } else {
            self
        }
    }
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Load(arguments) => load::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Verify(arguments) => check::run_verify(&arguments),
        Command::Compare(arguments) => compare::run(&arguments),
        Command::Report(arguments) => report::run(&arguments),
        Command::Scenario(arguments) => scenario::run(&arguments),
        Command::Null(arguments) => null::run(&arguments),
        Command::Churn(arguments) => churn::run(&arguments),
        Command::Idle(arguments) => idle::run(&arguments),
    };
    let verdict = outcome.unwrap_or_else(|error| {
        eprintln!("ringtail-bench: {error}");
        Verdict::Failed
    });
    ExitCode::from(verdict as u8)
}
