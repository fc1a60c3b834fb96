//! The closed-loop driver: a fixed number of connections, each with a fixed number of batches
//! outstanding; a batch is sent when an answer makes room for it.
//!
//! A closed loop measures what a server can carry. It does not measure what clients would feel that
//! do not wait for each other: a slow server slows this driver down.
//! Core: connections are opened on the first thread; each worker then owns its share.

mod connection;
mod report;
mod supply;
mod tally;
mod worker;

use std::{
    io,
    path::PathBuf,
    sync::{
        atomic::AtomicBool,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use thiserror::Error;

use self::{
    connection::{BUFFER_BYTES, Connection, Desk},
    report::{Printer, Report},
    tally::{Live, Span, Tally},
    worker::{Rules, Worker},
};
use crate::{
    Verdict, host,
    message::Shape,
    payload::LABEL_BYTES,
    record::Recorder,
    websocket::{ConnectError, Target},
};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where the server takes events.
    #[arg(long, default_value = "ws://127.0.0.1:8080/api/v1/events")]
    url: String,
    /// Connections, over all threads.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    connections: u32,
    /// Batches outstanding on each connection.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    window: u32,
    /// Events in each batch.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=65_536))]
    events: u32,
    /// Payload of each event, in bytes.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    bytes: u32,
    /// Event types; event i of a batch has type i modulo this.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    types: u32,
    /// Types are named after this, with a dash and a number.
    #[arg(long, default_value = "bench")]
    type_prefix: String,
    /// Measured time.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Time under load before the measuring starts, in seconds.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    warmup: u64,
    /// End after this many batches on each connection, if that comes before the time is up.
    #[arg(long, default_value_t = u64::MAX, hide_default_value = true)]
    batches: u64,
    /// Driver threads.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,
    /// Cores for the threads, in turn; without it the threads run where the system puts them.
    #[arg(long, value_delimiter = ',')]
    cpu: Vec<usize>,
    /// The header that tells the server who is connecting.
    #[arg(long, default_value = "X-User-ID")]
    id_header: String,
    /// Number of the run, in every event and every identity; random when not given.
    #[arg(long)]
    run: Option<u64>,
    /// Append an account of every batch to this file, for `check`.
    #[arg(long)]
    record: Option<PathBuf>,
    /// Write the result to this file, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Debug, Error)]
enum LoadError {
    #[error("with --record an event needs at least {LABEL_BYTES} bytes (--bytes)")]
    TooSmall,
    #[error("could not {deed}: {source}")]
    Io {
        deed: &'static str,
        source: io::Error,
    },
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

fn during(deed: &'static str) -> impl Fn(io::Error) -> LoadError {
    move |source| LoadError::Io { deed, source }
}

pub(crate) fn run(arguments: &Arguments) -> Result<Verdict, Box<dyn std::error::Error>> {
    match drive(arguments) {
        Ok(report) => {
            print!("{report}");
            if let Some(path) = &arguments.json {
                std::fs::write(path, serde_json::to_vec_pretty(&report)?)?;
            }
            Ok(report.verdict())
        }
        Err(LoadError::Connect(error @ ConnectError::Socket { .. }))
            if arguments.record.is_some() =>
        {
            eprintln!("ringtail-bench: {error}");
            Ok(Verdict::ServerGone)
        }
        Err(error) => Err(error.into()),
    }
}

fn drive(arguments: &Arguments) -> Result<Report, LoadError> {
    if arguments.record.is_some() && (arguments.bytes as usize) < LABEL_BYTES {
        return Err(LoadError::TooSmall);
    }
    let shape = shape(arguments);
    if let Some(mut recorder) = recorder(arguments)? {
        recorder.run(&shape);
        recorder.flush().map_err(during("write the record"))?;
    }
    host::allow_open_files(u64::from(arguments.connections) + 64)
        .map_err(during("open that many sockets"))?;
    let shares = connect_all(arguments, &shape)?;
    let rules = rules(arguments);
    let tally = work(arguments, &shape, &rules, shares)?;
    let ended = host::now().min(rules.span.until);
    let measured = ended.saturating_duration_since(rules.span.from);
    Ok(Report::new(arguments, &shape, tally, measured))
}

fn shape(arguments: &Arguments) -> Shape {
    let prefix = &arguments.type_prefix;
    Shape {
        run: arguments.run.unwrap_or_else(host::run_number),
        events: arguments.events,
        event_bytes: arguments.bytes as usize,
        types: (0..arguments.types)
            .map(|number| format!("{prefix}-{number}"))
            .collect(),
        sent_time: host::unix_time().as_secs(),
    }
}

fn rules(arguments: &Arguments) -> Rules {
    let from = host::now() + Duration::from_secs(arguments.warmup);
    let until = from + Duration::from_secs(arguments.seconds);
    Rules {
        window: arguments.window as usize,
        batches_max: arguments.batches,
        span: Span { from, until },
        end_on_loss: arguments.record.is_some(),
        live: Live::default(),
        gone: AtomicBool::new(false),
    }
}

fn recorder(arguments: &Arguments) -> Result<Option<Recorder>, LoadError> {
    let open = |path| Recorder::open(path).map_err(during("open the record"));
    arguments.record.as_deref().map(open).transpose()
}

/// Opens every connection; gives each thread its share.
fn connect_all(arguments: &Arguments, shape: &Shape) -> Result<Vec<Vec<Connection>>, LoadError> {
    let target = Target::parse(&arguments.url)?;
    let threads = usize::from(arguments.threads);
    let mut shares: Vec<Vec<Connection>> = (0..threads).map(|_| Vec::new()).collect();
    for number in 0..arguments.connections {
        let identity = format!("bench-{:016x}-{number}", shape.run);
        let (socket, carry) = target.connect((&arguments.id_header, &identity), None)?;
        let supply = if arguments.record.is_some() {
            Connection::staged()
        } else {
            Connection::repeated(number, shape)
        };
        shares[number as usize % threads].push(Connection::new(number, socket, carry, supply));
    }
    Ok(shares)
}

/// Runs the workers and prints a line each second until the last one ends.
fn work(
    arguments: &Arguments,
    shape: &Shape,
    rules: &Rules,
    shares: Vec<Vec<Connection>>,
) -> Result<Tally, LoadError> {
    let mut recorders = Vec::new();
    for _ in &shares {
        recorders.push(recorder(arguments)?);
    }
    let (done, all_done) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let mut workers = Vec::new();
        for (index, (share, recorder)) in shares.into_iter().zip(recorders).enumerate() {
            let (done, cpu) = (done.clone(), pick(&arguments.cpu, index));
            workers.push(scope.spawn(move || {
                let _ends_with_the_thread = done;
                work_one(cpu, rules, desk(shape, recorder, rules.span), share)
            }));
        }
        drop(done);
        let mut printer = Printer::new(arguments, host::now());
        while all_done.recv_timeout(printer.until_next(host::now()))
            == Err(RecvTimeoutError::Timeout)
        {
            printer.tick(&rules.live, host::now());
        }
        let mut total = Tally::new(rules.span);
        for worker in workers {
            total.merge(worker.join().expect("a worker does not panic")?);
        }
        Ok(total)
    })
}

fn pick(cpus: &[usize], index: usize) -> Option<usize> {
    cpus.get(index % cpus.len().max(1)).copied()
}

fn desk(shape: &Shape, recorder: Option<Recorder>, span: Span) -> Desk<'_> {
    Desk {
        shape,
        recorder,
        tally: Tally::new(span),
        buffer: vec![0; BUFFER_BYTES].into(),
        scratch: Vec::new(),
        now: host::now(),
    }
}

fn work_one(
    cpu: Option<usize>,
    rules: &Rules,
    desk: Desk<'_>,
    share: Vec<Connection>,
) -> Result<Tally, LoadError> {
    if let Some(cpu) = cpu {
        host::pin(cpu).map_err(during("bind a thread to its core"))?;
    }
    Worker::new(rules, desk, share)
        .and_then(Worker::run)
        .map_err(during("drive the connections"))
}
