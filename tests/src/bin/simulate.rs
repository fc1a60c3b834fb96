//! Runs the simulation for long, or one seed again.

use ringtail_tests::simulation::corpus;
use ringtail_tests::simulation::run::{Options, run_and_keep};
use ringtail_tests::simulation::sabotage::BUGS;
use ringtail_tests::simulation::{simulate, simulate_many};
use std::process::ExitCode;
use std::time::Instant;

const HELP: &str = "\
simulate --seeds N [--from S]      runs N seeds, from S (1) on, on every core
simulate --seed S [--verbose]      runs one seed again; prints its counts and digest
         [--crashes] [--ops]       tells each start and crash; each operation
         [--bug NAME]              with a bug (some only without --release); its names: --bugs
simulate --corpus S                writes what fuzzers begin with, from seed S";

fn text<'a>(arguments: &'a [String], name: &str) -> Option<&'a str> {
    let at = arguments.iter().position(|argument| argument == name)?;
    arguments.get(at + 1).map(String::as_str)
}

fn number(arguments: &[String], name: &str) -> Option<u64> {
    text(arguments, name)?.parse().ok()
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long it takes is told, and nothing depends on it"
)]
fn now() -> Instant {
    Instant::now()
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let verbose = has("--verbose");
    let options = Options {
        crashes: verbose || has("--crashes"),
        operations: has("--ops"),
        ..Options::default()
    };
    if has("--bugs") {
        for (name, ..) in BUGS {
            println!("{name}");
        }
        return ExitCode::SUCCESS;
    }
    let bug = text(&arguments, "--bug").map(|name| {
        let bug = BUGS.iter().find(|bug| bug.0 == name);
        bug.expect("a name that --bugs tells")
    });
    let options = Options {
        bug: bug.and_then(|bug| bug.1),
        planted: bug.and_then(|bug| bug.2),
        ..options
    };
    if let Some(seed) = number(&arguments, "--corpus") {
        let run = run_and_keep(seed, options).expect("a sound seed");
        corpus::write(&run.disks).expect("the sources can be written to");
        return ExitCode::SUCCESS;
    }
    if let Some(seed) = number(&arguments, "--seed") {
        return match simulate(seed, options) {
            Ok(report) => {
                println!("{report}{:016x}", report.digest);
                ExitCode::SUCCESS
            }
            Err(broken) => {
                println!("BROKEN with --seed {seed}: {}", broken.promise);
                ExitCode::FAILURE
            }
        };
    }
    let Some(seeds) = number(&arguments, "--seeds") else {
        println!("{HELP}");
        return ExitCode::FAILURE;
    };
    let from = number(&arguments, "--from").unwrap_or(1);
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    std::panic::set_hook(Box::new(|_| {}));
    let began = now();
    let (report, broken) = simulate_many(from..from + seeds, threads, options);
    // Panics are told with their seed.
    println!("{report}{:.1} s", began.elapsed().as_secs_f64());
    for broken in &broken {
        println!("BROKEN with --seed {}: {}", broken.seed, broken.promise);
    }
    if broken.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
