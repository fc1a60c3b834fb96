//! `ringtail doctor`: whether this host gives what the configuration needs, and what to change.
//!
//! Always:  nothing is changed but limits of this process. `perf/tune.sh` has checks of the same names
//!          and changes what can be changed; a test holds the two lists together.

mod disk;
mod host;
mod kernel;
mod processor;
#[cfg(test)]
mod tests;

use super::config::Settings;
use super::exit::Exit;
use super::place::{self, Plan};
use crate::rt::host::allowed_cpus;
use host::Host;
use std::io::{self, Write};

/// One thing that a host has or has not.
struct Check {
    name: &'static str,
    /// What it is good for, in one sentence without its full stop.
    why: &'static str,
    look: fn(&Patient<'_>) -> Finding,
}

const CHECKS: [Check; 16] = [
    Check {
        name: "rings",
        why: "every socket and every write goes through io_uring: without it nothing starts",
        look: kernel::rings,
    },
    Check {
        name: "cpus",
        why: "a shard is one pinned thread: a CPU that is not there, is capped or is shared halves it",
        look: processor::cpus,
    },
    Check {
        name: "governor",
        why: "a core that clocks down while it waits for a flush is slow when the flush ends",
        look: processor::governor,
    },
    Check {
        name: "isolated-cores",
        why: "what else runs on a shard's core stops all of its connections for milliseconds",
        look: processor::isolated_cores,
    },
    Check {
        name: "interrupts",
        why: "each interrupt of another device takes microseconds from a shard",
        look: processor::interrupts,
    },
    Check {
        name: "packet-steering",
        why: "with fewer receive queues than shards one core does the network work of all",
        look: processor::packet_steering,
    },
    Check {
        name: "accept-queue",
        why: "when a fleet reconnects at once, handshakes beyond this queue are dropped",
        look: kernel::accept_queue,
    },
    Check {
        name: "open-files",
        why: "each connection is an open file: at the limit new ones are refused",
        look: kernel::open_files,
    },
    Check {
        name: "locked-memory",
        why: "buffers that are registered with the kernel are not mapped again for each write",
        look: kernel::locked_memory,
    },
    Check {
        name: "huge-pages",
        why: "with always, the kernel merges pages behind a shard's back and stalls it",
        look: kernel::huge_pages,
    },
    Check {
        name: "file-system",
        why: "ext4 and xfs, with barriers, keep what direct I/O wrote and what a flush promised",
        look: disk::file_system,
    },
    Check {
        name: "devices",
        why: "two copies on one device are lost together, and share its bandwidth",
        look: disk::devices,
    },
    Check {
        name: "disk-scheduler",
        why: "a scheduler that sorts requests only delays the few large writes of a log on flash",
        look: disk::scheduler,
    },
    Check {
        name: "write-cache",
        why: "what is not flushed out of a volatile cache is lost with the power, acknowledged or not",
        look: disk::write_cache,
    },
    Check {
        name: "clock-source",
        why: "every batch reads the clock: 20 ns with the processor's own counter, else a microsecond",
        look: processor::clock_source,
    },
    Check {
        name: "swap",
        why: "a shard that waits for a page from the disk stops all of its connections",
        look: kernel::swap,
    },
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Fine,
    /// Costs throughput or latency.
    Slow,
    /// Costs safety, or the engine does not start.
    Wrong,
    /// It cannot be seen here.
    Unknown,
}

/// What a check found; `wanted` says what to change, and is empty when there is nothing to.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    verdict: Verdict,
    found: String,
    wanted: String,
}

impl Finding {
    fn fine(found: impl Into<String>) -> Self {
        Self::new(Verdict::Fine, found, "")
    }

    fn unknown(found: impl Into<String>) -> Self {
        Self::new(Verdict::Unknown, found, "")
    }

    fn slow(found: impl Into<String>, wanted: impl Into<String>) -> Self {
        Self::new(Verdict::Slow, found, wanted)
    }

    fn wrong(found: impl Into<String>, wanted: impl Into<String>) -> Self {
        Self::new(Verdict::Wrong, found, wanted)
    }

    fn new(verdict: Verdict, found: impl Into<String>, wanted: impl Into<String>) -> Self {
        Self {
            verdict,
            found: found.into(),
            wanted: wanted.into(),
        }
    }
}

/// The host and what is to run on it.
struct Patient<'a> {
    host: Host,
    settings: &'a Settings,
    plan: Result<Plan, place::Absent>,
}

impl Patient<'_> {
    /// The CPUs of the shards, each once.
    fn shards(&self) -> Vec<usize> {
        let mut cpus = self.plan.as_ref().map_or_else(
            |_absent| allowed_cpus().to_vec(),
            |plan| plan.shards.clone(),
        );
        cpus.sort_unstable();
        cpus.dedup();
        cpus
    }

    /// Whether the host has a CPU that is no shard's.
    fn has_spare(&self) -> bool {
        let shards = self.shards();
        let online = self.host.list("/sys/devices/system/cpu/online");
        let online = online.unwrap_or_else(|| allowed_cpus().to_vec());
        online.iter().any(|cpu| !shards.contains(cpu))
    }
}

/// Prints what every check finds. Failed when something costs safety.
pub(super) fn run(settings: &Settings) -> Exit {
    let patient = Patient {
        host: Host::here(),
        settings,
        plan: place::plan(&settings.shards, settings.control_cpu, allowed_cpus()),
    };
    let mut text = String::new();
    let mut exit = Exit::Fine;
    for check in &CHECKS {
        let finding = (check.look)(&patient);
        if finding.verdict == Verdict::Wrong {
            exit = Exit::Failed;
        }
        text += &shown(check, &finding);
    }
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => exit,
        Err(error) => Exit::Failed.because(&error),
    }
}

fn shown(check: &Check, finding: &Finding) -> String {
    let verdict = match finding.verdict {
        Verdict::Fine => "fine",
        Verdict::Slow => "slow",
        Verdict::Wrong => "wrong",
        Verdict::Unknown => "unknown",
    };
    let mut text = format!("{verdict:8} {:16} {}\n", check.name, finding.found);
    if !finding.wanted.is_empty() {
        let (wanted, why) = (&finding.wanted, check.why);
        text.push_str("         wanted: ");
        text.push_str(wanted);
        text.push_str("\n         why: ");
        text.push_str(why);
        text.push('\n');
    }
    text
}

/// The names of the checks, a line each.
pub(super) fn names() -> String {
    let names: Vec<_> = CHECKS.iter().map(|check| check.name).collect();
    names.join("\n") + "\n"
}
