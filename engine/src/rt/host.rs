//! What this machine allows, and what to change where it is not enough.
//!
//! Core:    asked once at start, from any thread.

use super::Error;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::io;
use std::sync::OnceLock;

/// Below this the runtime refuses to start.
const LOCKED_BYTES_LEAST: u64 = 512 << 10;
/// Each of an executor's rings registers the same memory, and each is counted.
const RINGS_OF_AN_EXECUTOR: u64 = 3;
/// What an executor locks beside its registered memory.
const RING_BYTES: u64 = 1 << 20;

/// A limit that could not be raised as far as wanted. The program runs, but with less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {limit} limit is {have}, {wanted} is wanted: {advice}")]
pub struct Shortage {
    pub limit: &'static str,
    pub have: u64,
    pub wanted: u64,
    pub advice: &'static str,
}

/// Checks that rings may be set up: container profiles and sysctls forbid it.
pub fn check_rings() -> Result<(), Error> {
    let mut parameters = rustix::io_uring::io_uring_params::default();
    // SAFETY: the parameters are a valid, zeroed struct, and the ring is closed without use.
    let ring = unsafe { rustix::io_uring::io_uring_setup(2, &mut parameters) };
    match ring {
        Ok(_closed_by_drop) => Ok(()),
        Err(error) => Err(Error::RingsRefused {
            source: error.into(),
        }),
    }
}

/// The CPUs that this process was given, in ascending order, as they were when it first asked:
/// a thread that has been pinned meanwhile does not change the answer.
pub fn allowed_cpus() -> &'static [usize] {
    static GIVEN: OnceLock<Vec<usize>> = OnceLock::new();
    GIVEN.get_or_init(cpus_of_this_thread)
}

/// Where the calling thread may run. Empty if the kernel does not say.
pub(super) fn cpus_of_this_thread() -> Vec<usize> {
    let set = sched_getaffinity(None).unwrap_or_default();
    (0..CpuSet::MAX_CPU)
        .filter(|cpu| set.is_set(*cpu))
        .collect()
}

/// Confines the calling thread to `cpus`, of which at least one must exist.
pub(super) fn confine_to(cpus: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for cpu in cpus.iter().filter(|cpu| **cpu < CpuSet::MAX_CPU) {
        set.set(*cpu);
    }
    Ok(sched_setaffinity(None, &set)?)
}

/// Does something on other CPUs: threads that it starts stay there, and the calling thread comes back to its own.
/// Where there is nothing in `cpus`, everything stays as it is.
pub fn on_cpus<T>(cpus: &[usize], act: impl FnOnce() -> T) -> io::Result<T> {
    if cpus.is_empty() {
        return Ok(act());
    }
    let before = sched_getaffinity(None)?;
    confine_to(cpus)?;
    let done = act();
    sched_setaffinity(None, &before)?;
    Ok(done)
}

/// The calling thread, and what it starts from here on, leaves more of a CPU to others that want it: each of 1 to 19
/// steps takes a fifth of its weight. Where that is refused, everything stays as it is.
pub fn yield_by(steps: i32) {
    if 0 < steps {
        let _refused = rustix::process::nice(steps);
    }
}

/// As [`on_cpus`]; threads that it starts yield by so many steps, and the calling one does not.
pub fn on_cpus_beside<T: Send>(
    cpus: &[usize],
    steps: i32,
    act: impl FnOnce() -> T + Send,
) -> io::Result<T> {
    if steps <= 0 {
        return on_cpus(cpus, act);
    }
    // Steps cannot be taken back, so they are another thread's.
    let run = || {
        yield_by(steps);
        on_cpus(cpus, act)
    };
    std::thread::scope(|scope| {
        let done = scope.spawn(run).join();
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Memory that executors with these registered bytes lock, in bytes.
pub fn locked_bytes(io_memory_bytes: impl IntoIterator<Item = usize>) -> u64 {
    let of_one = |bytes| bytes as u64 * RINGS_OF_AN_EXECUTOR + RING_BYTES;
    io_memory_bytes.into_iter().map(of_one).sum()
}

/// Raises the limit of open files to `wanted` as far as allowed. Less than `least` is an error.
pub fn raise_open_files(wanted: u64, least: u64) -> Result<Option<Shortage>, Error> {
    let advice = "raise it with `ulimit -n`, or LimitNOFILE= in the systemd unit";
    raise(Resource::Nofile, "open files", wanted, least, advice)
}

/// Raises the limit of locked memory to `wanted` bytes as far as allowed. With less, buffers
/// are not registered and direct I/O costs more; with too little nothing can start.
pub fn raise_locked_memory(wanted: u64) -> Result<Option<Shortage>, Error> {
    let advice = "raise it with `ulimit -l unlimited`, or LimitMEMLOCK=infinity in the unit, \
                  or `docker run --ulimit memlock=-1`";
    let resource = Resource::Memlock;
    raise(
        resource,
        "locked memory",
        wanted,
        LOCKED_BYTES_LEAST,
        advice,
    )
}

fn raise(
    resource: Resource,
    limit: &'static str,
    wanted: u64,
    least: u64,
    advice: &'static str,
) -> Result<Option<Shortage>, Error> {
    let have = raise_as_far_as_allowed(resource, wanted);
    if have < least {
        return Err(Error::LimitTooLow {
            limit,
            have,
            least,
            advice,
        });
    }
    Ok((have < wanted).then_some(Shortage {
        limit,
        have,
        wanted,
        advice,
    }))
}

/// Returns the limit as it is afterwards; `u64::MAX` when there is none.
fn raise_as_far_as_allowed(resource: Resource, wanted: u64) -> u64 {
    let now = getrlimit(resource);
    if now.current.is_none_or(|current| current >= wanted) {
        return now.current.unwrap_or(u64::MAX);
    }
    // Only the privileged may lift the upper bound; everyone may go up to it.
    let lifted = Rlimit {
        current: Some(wanted),
        maximum: now.maximum.map(|maximum| maximum.max(wanted)),
    };
    let up_to_bound = Rlimit {
        current: now
            .maximum
            .map(|maximum| maximum.min(wanted))
            .or(Some(wanted)),
        maximum: now.maximum,
    };
    let _refused = setrlimit(resource, lifted).or_else(|_| setrlimit(resource, up_to_bound));
    getrlimit(resource).current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_are_allowed_where_the_tests_run() {
        check_rings().unwrap();
    }

    #[test]
    fn the_refusal_names_the_flag_to_add() {
        let source = io::Error::from_raw_os_error(1);
        let text = Error::RingsRefused { source }.to_string();
        assert!(text.contains("--security-opt seccomp=unconfined"));
        assert!(text.contains("kernel.io_uring_disabled"));
    }

    #[test]
    fn a_confined_thread_sees_only_its_cpus() {
        let all = allowed_cpus();
        let last = all[all.len() - 1];
        confine_to(&[last]).unwrap();
        assert_eq!(cpus_of_this_thread(), [last]);
        assert_eq!(allowed_cpus(), all);
    }

    #[test]
    fn threads_started_elsewhere_stay_there_and_the_caller_returns() {
        let all = allowed_cpus();
        let (first, last) = (all[0], all[all.len() - 1]);
        confine_to(&[first]).unwrap();
        let there = on_cpus(&[last], || std::thread::spawn(cpus_of_this_thread).join());
        assert_eq!(there.unwrap().unwrap(), [last]);
        assert_eq!(cpus_of_this_thread(), [first]);
    }

    #[test]
    fn a_limit_that_cannot_be_reached_is_told() {
        assert_eq!(raise_open_files(8, 8).unwrap(), None);
        let shortage = raise_open_files(1 << 60, 8).unwrap().unwrap();
        assert!(shortage.to_string().contains("ulimit -n"));
        assert!(raise_open_files(1 << 60, 1 << 60).is_err());
    }
}
