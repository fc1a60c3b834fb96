//! Drives one journal without a server, to measure the log alone; `perf/log_ratios.sh` and
//! `perf/readers.sh` set its figures beside fio's.
//!
//! ```text
//! cargo run --release --example drive_log -- --dir DIR write --events 64 --bytes 4096
//! ```
//!
//! `DIR` must not be there yet and is left behind. Each figure is a line of its name and its value.

mod bed;
mod read;
mod write;

use bed::{Bed, Shape};
use clap::{Parser, Subcommand};
use futures_util::FutureExt as _;
use ringtail::limit;
use ringtail::rt::executor::{Plan, block_on};
use ringtail::rt::host;
use ringtail::rt::timer::sleep;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures one journal.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// A folder for the journal.
    #[arg(long)]
    dir: PathBuf,
    /// The CPU to work on.
    #[arg(long)]
    cpu: Option<usize>,
    /// Topics that share the journal, in turn.
    #[arg(long, global = true, default_value_t = 1)]
    topics: u32,
    /// Events in each request.
    #[arg(long, global = true, default_value_t = 10)]
    events: u32,
    /// Payload of each event.
    #[arg(long, global = true, default_value_t = 200)]
    bytes: u32,
    #[arg(long, global = true, default_value_t = limit::FRAME_CLOSE_BYTES_DEFAULT)]
    frame_bytes: usize,
    #[arg(long, global = true, default_value_t = limit::FRAMES_IN_FLIGHT_DEFAULT)]
    frames_in_flight: usize,
    /// Measured time, or that of each phase.
    #[arg(long, global = true, default_value_t = 5.0)]
    seconds: f64,
}

#[derive(Subcommand)]
enum Command {
    /// Write as fast as the journal takes it, on recycled segments.
    Write,
    /// One request outstanding, on recycled segments.
    Commit,
    /// Write this much, then read the first topic from its start to its end.
    Read {
        #[arg(long, default_value_t = 2 << 30)]
        fill: u64,
    },
    /// Write this much, then compare commits beside readers of it with commits alone.
    Readers {
        #[arg(long, default_value_t = 4 << 30)]
        fill: u64,
        #[arg(long, default_value_t = 10)]
        readers: u32,
        #[arg(long, default_value_t = 10)]
        pairs: u32,
        /// Clients that each have one request outstanding.
        #[arg(long, default_value_t = 16)]
        clients: u32,
        /// What a client waits between two requests.
        #[arg(long, default_value_t = 2_000)]
        pause_us: u64,
        /// Bytes that all readers may take in a second beside commits.
        #[arg(long, default_value_t = limit::READ_RATE_DEFAULT)]
        read_rate: u64,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("drive_log: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let plan = Plan::shard(0, arguments.cpu);
    host::raise_locked_memory(host::locked_bytes([plan.io_memory_bytes]))?;
    block_on(&plan, drive(arguments))?
}

async fn drive(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let shape = Shape {
        topics: arguments.topics,
        events: arguments.events,
        bytes: arguments.bytes,
        frame_bytes: arguments.frame_bytes,
        frames_in_flight: arguments.frames_in_flight,
    };
    let recycles = matches!(arguments.command, Command::Write | Command::Commit);
    let bed = Bed::make(&arguments.dir, shape, recycles).await?;
    match &arguments.command {
        Command::Write => write::flat_out(&bed, arguments.seconds).await,
        Command::Commit => write::one_by_one(&bed, arguments.seconds).await,
        Command::Read { fill } => read::consume(&bed, *fill).await?,
        Command::Readers {
            fill,
            readers,
            pairs,
            clients,
            pause_us,
            read_rate,
        } => {
            let pause = Rc::new(|time| sleep(time).boxed_local());
            bed.journal.pace_readers((*read_rate).max(1), pause);
            let phases = read::Phases {
                readers: *readers,
                pairs: *pairs,
                clients: *clients,
                pause_us: *pause_us,
                seconds: arguments.seconds,
            };
            read::beside_readers(&bed, *fill, &phases).await?;
        }
    }
    bed.end().await;
    Ok(())
}
