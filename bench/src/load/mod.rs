//! The driver: connections that send batches, and a clock on each.
//!
//! A closed loop (a fixed number of batches outstanding on each connection) measures what a server
//! can carry. It does not measure what clients would feel that do not wait for each other: a slow
//! server slows this driver down. An open loop (`--rate`) does: its batches have moments at which they
//! are meant to be sent, latency counts from there, and what could not be sent in time is counted.
//! Core: connections are opened on the first thread; each worker then owns its share.

mod arguments;
mod beside;
mod connection;
mod hlog;
mod identity;
mod opening;
mod pace;
mod printer;
mod result;
mod rules;
mod supply;
mod tally;
mod watch;
mod worker;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use thiserror::Error;

pub(crate) use self::{
    arguments::Arguments,
    beside::{Beside, Course, Failed},
};
use self::{
    arguments::Named,
    beside::Nobody,
    connection::{BUFFER_BYTES, Connection, Desk},
    hlog::Chapter,
    printer::Printer,
    result::Run,
    rules::Rules,
    supply::{Pool, Pooled, Staged, Supply},
    tally::Tally,
    watch::Watch,
    worker::{Seat, Worker},
};
use crate::{
    Verdict, check, compare, host,
    message::Shape,
    outcome::{self, Happened, Outcome},
    payload::LABEL_BYTES,
    record::Recorder,
    wire::{ConnectError, Source, Target},
};

/// How often a running server's folders are read when something is missing.
const LOOKS: u32 = 10;
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

#[derive(Debug, Error)]
enum LoadError {
    #[error("with --record or --verify an event needs at least {LABEL_BYTES} bytes (--bytes)")]
    TooSmall,
    #[error("--verify needs --volumes (the store's folders) or --admin (the admin port's URL)")]
    NothingToRead,
    #[error("--verify reads one store: measure one --target with it")]
    ManyStores,
    #[error("could not {deed}: {source}")]
    Io {
        deed: &'static str,
        source: io::Error,
    },
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("beside the load: {0}")]
    Beside(Failed),
}

fn during(deed: &'static str) -> impl Fn(io::Error) -> LoadError {
    move |source| LoadError::Io { deed, source }
}

pub(crate) fn run(arguments: &Arguments) -> Result<Verdict, Box<dyn std::error::Error>> {
    match measure(arguments) {
        Ok((verdict, _)) => Ok(verdict),
        Err(error) => match error.downcast_ref() {
            Some(LoadError::Connect(error @ ConnectError::Socket { .. }))
                if arguments.is_recorded() =>
            {
                eprintln!("ringtail-bench: {error}");
                Ok(Verdict::ServerGone)
            }
            _ => Err(error),
        },
    }
}

/// Measures every target in every round, A B A B, and says what came out.
pub(crate) fn measure(
    arguments: &Arguments,
) -> Result<(Verdict, Vec<Outcome>), Box<dyn std::error::Error>> {
    admissible(arguments)?;
    let (mut outcomes, mut chapters) = (Vec::new(), Vec::new());
    let mut verdict = Verdict::Kept;
    for round in 1..=arguments.rounds {
        for named in arguments.targets() {
            let measured = measure_target(arguments, &named, round, &mut Nobody)?;
            verdict = verdict.worse(measured.verdict);
            outcomes.push(measured.outcome);
            chapters.push(measured.chapter);
        }
    }
    if let Some(path) = &arguments.output.json {
        outcome::write(path, &outcomes)?;
    }
    if let Some(path) = &arguments.output.hlog {
        hlog::write(path, &chapters).map_err(during("write the HdrHistogram log"))?;
    }
    if 1 < arguments.target.len() {
        compare::print_all(&outcomes);
    }
    Ok((verdict, outcomes))
}

/// Measures the first target once, as this round of it, with somebody beside the load.
pub(crate) fn measure_beside(
    arguments: &Arguments,
    round: u32,
    beside: &mut dyn Beside,
) -> Result<(Verdict, Outcome), Box<dyn std::error::Error>> {
    admissible(arguments)?;
    let named = arguments.targets().swap_remove(0);
    let measured = measure_target(arguments, &named, round, beside)?;
    Ok((measured.verdict, measured.outcome))
}

struct Measured {
    verdict: Verdict,
    outcome: Outcome,
    chapter: Chapter,
}

fn measure_target(
    arguments: &Arguments,
    named: &Named,
    round: u32,
    beside: &mut dyn Beside,
) -> Result<Measured, Box<dyn std::error::Error>> {
    let (mut outcome, chapter) = drive(arguments, named, round, beside)?;
    print!("{outcome}");
    let mut verdict = outcome.verdict();
    beside.after().map_err(LoadError::Beside)?;
    if arguments.output.verify {
        verdict = verdict.worse(verify(arguments, &mut outcome)?);
    }
    Ok(Measured {
        verdict,
        outcome,
        chapter,
    })
}

fn admissible(arguments: &Arguments) -> Result<(), LoadError> {
    let content = &arguments.content;
    if arguments.is_recorded() && (content.bytes.least() as usize) < LABEL_BYTES {
        return Err(LoadError::TooSmall);
    }
    if arguments.output.verify && !arguments.output.read_back.is_given() {
        return Err(LoadError::NothingToRead);
    }
    if arguments.output.verify && 1 < arguments.target.len() {
        return Err(LoadError::ManyStores);
    }
    Ok(())
}

/// Reads the log back and settles the account of a run.
fn verify(
    arguments: &Arguments,
    outcome: &mut Outcome,
) -> Result<Verdict, Box<dyn std::error::Error>> {
    let record = record_path(arguments, outcome.run);
    let audited = read_back(&arguments.output.read_back, &record);
    if arguments.output.record.is_none() {
        // Nobody asked for it, and what it says is in the account.
        let _may_be_gone = std::fs::remove_file(&record);
    }
    let account = audited?.told();
    print!("{account}");
    outcome.account = Some(serde_json::to_value(&account)?);
    Ok(account.verdict())
}

/// Looks again for a while when something is missing: who reads the folders of a running server sees
/// a commit only once the frame behind it says that it is durable, and an idle server takes its time
/// to write that. What is lost stays lost, however often one looks.
fn read_back(
    read_back: &check::ReadBack,
    record: &Path,
) -> Result<check::Findings, check::CheckError> {
    let records = [record.to_path_buf()];
    let look = || check::audit(read_back, &records, check::Others::LeftOut);
    let mut findings = look()?;
    for _ in 1..LOOKS {
        if !findings.account.misses_anything() || read_back.volumes.is_empty() {
            break;
        }
        host::pause(BETWEEN_LOOKS);
        findings = look()?;
    }
    Ok(findings)
}

/// Where the run is recorded: where the operator says, else in the folder for such things.
fn record_path(arguments: &Arguments, run: u64) -> PathBuf {
    let own = || std::env::temp_dir().join(format!("ringtail-bench-{run:016x}.record"));
    arguments.output.record.clone().unwrap_or_else(own)
}

/// Measures one target once.
fn drive(
    arguments: &Arguments,
    named: &Named,
    round: u32,
    beside: &mut dyn Beside,
) -> Result<(Outcome, Chapter), LoadError> {
    let shape = shape(arguments, round);
    let target = Target::parse(&named.url)?;
    let record = arguments
        .is_recorded()
        .then(|| record_path(arguments, shape.run));
    if let Some(path) = &record {
        let mut recorder = Recorder::open(path).map_err(during("open the record"))?;
        recorder.run(&shape, target.protocol.order());
        recorder.flush().map_err(during("write the record"))?;
    }
    host::allow_open_files(u64::from(arguments.crowd.connections) + 64)
        .map_err(during("open that many sockets"))?;
    let mut source = Source::new(&target, arguments.crowd.sources);
    let shares = seat_all(arguments, &shape, &target, &mut source)?;
    let rules = Rules::new(arguments, target.protocol);
    let began = host::unix_time() + rules.span.from.saturating_duration_since(host::now());
    let stage = Stage {
        arguments,
        shape: &shape,
        target: &target,
        rules: &rules,
        record: record.as_deref(),
    };
    let mut watch = Watch::new(arguments.process_of(&named.name), rules.span);
    let name = format!("{} {round}", named.name);
    let (tally, happened) = stage.work(shares, &source, &name, &mut watch, beside)?;
    let ended = host::now().min(rules.span.until);
    let run = Run {
        arguments,
        named,
        target: &target,
        round,
        shape: &shape,
        rules: &rules,
        measured: ended.saturating_duration_since(rules.span.from),
        watch: &watch,
        happened,
    };
    let chapter = Chapter {
        tag: format!("{}-{round}", named.name),
        began,
        interval: rules.span.interval(),
        intervals: tally.intervals.clone(),
    };
    Ok((run.outcome(tally), chapter))
}

fn shape(arguments: &Arguments, round: u32) -> Shape {
    let content = &arguments.content;
    let prefix = &content.type_prefix;
    Shape {
        // Every round is a run of its own: no two events are the same.
        run: content.run.map_or_else(host::run_number, |run| {
            run.wrapping_add(u64::from(round) - 1)
        }),
        events: content.events,
        mix: arguments.mix(),
        types: (0..content.types)
            .map(|number| format!("{prefix}-{number}"))
            .collect(),
        sent_time: host::unix_time().as_secs(),
    }
}

/// Makes every connection and opens them; with a ramp-up only the first, to see that somebody is
/// there. Gives each thread its share.
fn seat_all(
    arguments: &Arguments,
    shape: &Shape,
    target: &Target,
    source: &mut Source,
) -> Result<Vec<Vec<Seat>>, LoadError> {
    let crowd = &arguments.crowd;
    let threads = usize::from(arguments.pace.threads);
    let pool = (!arguments.is_recorded()).then(|| Arc::new(Pool::new(shape, target)));
    let mut shares: Vec<Vec<Seat>> = (0..threads).map(|_| Vec::new()).collect();
    for number in 0..crowd.connections {
        let identity = identity::of(crowd, shape.run, number);
        let lines = worker::pairs(&identity);
        let own = target.protocol.own_part(&lines);
        let supply = match &pool {
            Some(pool) => Supply::Pooled(Pooled::new(Arc::clone(pool), own, number as usize)),
            None => Supply::Staged(Staged::new(own)),
        };
        let mut connection = Connection::new(number, target.protocol, supply);
        if number == 0 || crowd.ramp_up == 0 {
            let (socket, carry) = source.connect(target, &lines)?;
            connection
                .admit(socket, carry, target, &lines)
                .map_err(during("open a connection"))?;
        }
        shares[number as usize % threads].push(Seat {
            connection,
            identity,
        });
    }
    // A thread without connections has nothing to do.
    shares.retain(|share| !share.is_empty());
    Ok(shares)
}

/// What all workers of a run see.
struct Stage<'a> {
    arguments: &'a Arguments,
    shape: &'a Shape,
    target: &'a Target,
    rules: &'a Rules,
    record: Option<&'a Path>,
}

impl Stage<'_> {
    /// Runs the workers and shows how it goes until the last one ends.
    fn work(
        &self,
        shares: Vec<Vec<Seat>>,
        source: &Source,
        name: &str,
        watch: &mut Watch,
        beside: &mut dyn Beside,
    ) -> Result<(Tally, Option<Happened>), LoadError> {
        let (done, all_done) = mpsc::channel::<()>();
        let (load, over) = mpsc::channel::<()>();
        let course = Course::new(self.rules.span.from, over);
        thread::scope(|scope| {
            let mut workers = Vec::new();
            for (index, share) in shares.into_iter().enumerate() {
                let (done, source) = (done.clone(), source.clone());
                workers.push(scope.spawn(move || {
                    let _ends_with_the_thread = done;
                    self.work_one(index, share, source)
                }));
            }
            drop(done);
            scope.spawn(move || {
                let _ends_with_the_load = load;
                self.show_until(&all_done, name, watch);
            });
            let happened = beside.during(&course);
            let mut total = Tally::new(self.rules.span);
            for worker in workers {
                total.merge(worker.join().expect("a worker does not panic")?);
            }
            Ok((total, happened.map_err(LoadError::Beside)?))
        })
    }

    /// Shows how it goes, and looks at the server's process, until all workers have ended.
    fn show_until(&self, all_done: &mpsc::Receiver<()>, name: &str, watch: &mut Watch) {
        let mut printer = Printer::new(self.shape, self.rules, name, host::now());
        loop {
            let now = host::now();
            let next = watch.next();
            let watched = next.map(|next| next.saturating_duration_since(now));
            let wait = watched.into_iter().fold(printer.until_next(now), Ord::min);
            if all_done.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                break;
            }
            let now = host::now();
            watch.look(now);
            printer.tick_if_due(&self.rules.live, now);
        }
        watch.look(host::now());
        printer.end();
    }

    fn work_one(&self, index: usize, share: Vec<Seat>, source: Source) -> Result<Tally, LoadError> {
        let cpus = &self.arguments.pace.cpu;
        if let Some(cpu) = cpus.get(index % cpus.len().max(1)) {
            host::pin(*cpu).map_err(during("bind a thread to its core"))?;
        }
        host::want_exact_timers();
        let open = |path| Recorder::open(path).map_err(during("open the record"));
        let desk = Desk {
            shape: self.shape,
            target: self.target,
            rules: self.rules,
            recorder: self.record.map(open).transpose()?,
            tally: Tally::new(self.rules.span),
            buffer: vec![0; BUFFER_BYTES].into(),
            scratch: Vec::new(),
            now: host::now(),
        };
        Worker::new(desk, share, source, index)
            .and_then(Worker::run)
            .map_err(during("drive the connections"))
    }
}
