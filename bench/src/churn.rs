//! Connections that come and go: how many a second does the server open and close?
//!
//! Ordering: connect, upgrade, ping, pong, reset. The pong says that the server has let the connection in:
//! until then it may be asking another shard for it.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use hdrhistogram::Histogram;

use crate::{
    Verdict, host,
    wire::{
        Protocol, Source, Target,
        websocket::{self, read_frame},
    },
};

const PONG_WAIT: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    #[arg(long, default_value = "ws://127.0.0.1:8080/api/v1/events")]
    url: String,
    /// Threads, each with one connection at a time.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    threads: u32,
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// The header that tells the server who is connecting.
    #[arg(long, default_value = "X-User-ID")]
    id_header: String,
}

/// What one thread has seen.
struct Tally {
    /// From the first packet to the pong, in microseconds.
    opening: Histogram<u64>,
    failed: u64,
    failure: Option<String>,
}

type Failure = Box<dyn std::error::Error>;

pub(crate) fn run(arguments: &Arguments) -> Result<Verdict, Failure> {
    let target = Target::parse(&arguments.url)?;
    if target.protocol != Protocol::WebSocket {
        return Err("only WebSockets are let in by name: give a ws:// address".into());
    }
    let stop = AtomicBool::new(false);
    let begun = host::now();
    let tallies = thread::scope(|scope| {
        let one = |number| {
            let (target, stop) = (&target, &stop);
            scope.spawn(move || churn(arguments, target, number, stop))
        };
        let threads: Vec<_> = (0..arguments.threads).map(one).collect();
        host::pause(Duration::from_secs(arguments.seconds));
        stop.store(true, Ordering::Relaxed);
        let ended = threads.into_iter().map(thread::ScopedJoinHandle::join);
        ended.collect::<Result<Vec<_>, _>>()
    });
    let tallies = tallies.map_err(|_| "a thread of the driver panicked")?;
    let seconds = (host::now() - begun).as_secs_f64();
    Ok(tell(&tallies, seconds))
}

fn tell(tallies: &[Tally], seconds: f64) -> Verdict {
    let mut opening = histogram();
    for tally in tallies {
        opening += &tally.opening;
    }
    let failed: u64 = tallies.iter().map(|tally| tally.failed).sum();
    println!(
        "opened and closed {} in {seconds:.1} s: {:.0} each second; until the pong p50 {} p99 {} max {} us; failed {failed}",
        opening.len(),
        opening.len() as f64 / seconds,
        opening.value_at_quantile(0.5),
        opening.value_at_quantile(0.99),
        opening.max(),
    );
    if let Some(why) = tallies.iter().find_map(|tally| tally.failure.as_ref()) {
        println!("the first failure: {why}");
    }
    if failed == 0 {
        Verdict::Kept
    } else {
        Verdict::Broken
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("these bounds are good")
}

fn churn(arguments: &Arguments, target: &Target, number: u32, stop: &AtomicBool) -> Tally {
    let mut source = Source::new(target, 1);
    let run = host::run_number();
    let mut tally = Tally {
        opening: histogram(),
        failed: 0,
        failure: None,
    };
    let mut round = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        let id = format!("churn-{run:016x}-{number}-{}", round % 64);
        let header = [(arguments.id_header.as_str(), id.as_str())];
        round += 1;
        let begun = host::now();
        match open_and_close(&mut source, target, &header) {
            Ok(()) => {
                let micros = (host::now() - begun).as_micros() as u64;
                tally.opening.saturating_record(micros);
            }
            Err(why) => {
                tally.failed += 1;
                tally.failure.get_or_insert_with(|| why.to_string());
            }
        }
    }
    tally
}

fn open_and_close(
    source: &mut Source,
    target: &Target,
    header: &[(&str, &str)],
) -> Result<(), Failure> {
    let (mut socket, mut bytes) = source.connect(target, header)?;
    socket.set_nonblocking(false)?;
    socket.set_read_timeout(Some(PONG_WAIT))?;
    let mut ping = Vec::new();
    websocket::write_frame(websocket::PING, b"in?", &mut ping);
    socket.write_all(&ping)?;
    while !is_let_in(&bytes)? {
        let mut part = [0; 1024];
        let read = socket.read(&mut part)?;
        if read == 0 {
            return Err(std::io::Error::from(ErrorKind::UnexpectedEof).into());
        }
        bytes.extend_from_slice(&part[..read]);
    }
    reset(&socket)
}

/// Whether the pong has come; an error when anything but pings came before it.
fn is_let_in(mut bytes: &[u8]) -> Result<bool, Failure> {
    while let Some(frame) = read_frame(bytes)? {
        match frame.opcode {
            websocket::PONG => return Ok(true),
            websocket::PING => bytes = &bytes[frame.bytes..],
            other => return Err(format!("opcode {other} came instead of the pong").into()),
        }
    }
    Ok(false)
}

/// Closes with a reset, which leaves no port waiting on either side.
fn reset(socket: &TcpStream) -> Result<(), Failure> {
    let socket = socket2::SockRef::from(socket);
    Ok(socket.set_linger(Some(Duration::ZERO))?)
}
