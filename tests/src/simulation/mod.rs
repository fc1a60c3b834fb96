//! # The whole log on a simulated disk, from one seed
//!
//! A run draws a store, lives with it, lets the power go at any step, starts it again, and compares what is
//! there with an account of its own. The same seed gives the same run, byte for byte.
//!
//! | module     | for                                                            |
//! |------------|----------------------------------------------------------------|
//! | `plan`     | what is drawn once for a run                                   |
//! | `machine`  | the store, started as the program starts it                    |
//! | `run`      | starts and crashes                                             |
//! | `absence`  | volumes that a start is not told of                           |
//! | `life`     | what happens between them, and how it ends                     |
//! | `client`   | what clients and operators ask of a running store              |
//! | `keeping`  | what is let go of: retention, truncated and deleted topics     |
//! | `weather`  | the faults of the disk, for a while                            |
//! | `evidence` | which damage a start can tell from a tear                      |
//! | `front`    | which segments a journal can do without                        |
//! | `model`    | what must be there, may be, and must not be                    |
//! | `check`    | the comparison after each start                                |
//! | `offline`  | what `verify` and `cat` say of the store that a run leaves                     |
//! | `sabotage` | bugs, planted to show that the simulation finds them           |
//! | `corpus`   | what fuzzers of the log's decoders begin with                                   |
//! | `report`   | what happened: operations, faults that fired, ways of recovery |

pub mod absence;
pub mod check;
pub mod client;
pub mod corpus;
pub mod evidence;
pub mod front;
pub mod keeping;
pub mod life;
pub mod machine;
pub mod model;
pub mod offline;
pub mod plan;
pub mod report;
pub mod run;
pub mod sabotage;
pub mod weather;

use report::Report;
use run::{Options, run};
use std::any::Any;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A promise that was broken, and the seed that shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    pub seed: u64,
    pub promise: String,
}

/// Runs one seed. A panic of the log counts as a broken promise.
pub fn simulate(seed: u64, options: Options) -> Result<Report, Broken> {
    let ended = catch_unwind(AssertUnwindSafe(|| run(seed, options)));
    let ended = ended.unwrap_or_else(|panic| Err(format!("panic: {}", said(panic.as_ref()))));
    ended.map_err(|promise| Broken { seed, promise })
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
    text.unwrap_or_else(|| "without a word".to_owned())
}

/// Runs many seeds on as many threads as there are given; gives what happened and what was broken, by seed.
pub fn simulate_many(seeds: Range<u64>, threads: u64, options: Options) -> (Report, Vec<Broken>) {
    let one = |thread: u64| {
        let (mut report, mut broken) = (Report::default(), Vec::new());
        let mine = seeds.clone().filter(|seed| seed % threads == thread);
        for seed in mine {
            match simulate(seed, options) {
                Ok(run) => {
                    report.merge(&run);
                    report.count("seeds");
                }
                Err(why) => broken.push(why),
            }
        }
        (report, broken)
    };
    let (mut report, mut broken) = (Report::default(), Vec::new());
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || one(thread)))
            .collect();
        for thread in all {
            let (part, more) = thread.join().expect("panics are caught for each seed");
            report.merge(&part);
            broken.extend(more);
        }
    });
    broken.sort_by_key(|broken| broken.seed);
    (report, broken)
}
