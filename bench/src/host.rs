//! What this machine is, and the limits and clocks of this process.
//!
//! The one place of the driver that reads clocks.

use std::{
    collections::BTreeMap,
    fs, io,
    num::NonZeroU64,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
    time::{ClockId, clock_gettime},
};
use serde::{Deserialize, Serialize};

/// The unit of times in `/proc`. The kernel keeps it for programs whatever its own is (`USER_HZ`).
const TICKS_PER_SECOND: u64 = 100;

/// Where a result was measured: without it the figures say nothing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Host {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    /// Where this process may run, such as `0-1`.
    pub(crate) cpu_list: String,
    pub(crate) memory_kib: u64,
    pub(crate) kernel: String,
    /// The commit of the checkout that the driver was started in.
    pub(crate) commit: String,
    pub(crate) command: String,
    pub(crate) unix_seconds: u64,
}

impl Host {
    pub(crate) fn here() -> Self {
        let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let models = || cpus.lines().filter(|line| line.starts_with("model name"));
        let model = models().next().and_then(|line| line.split_once(": "));
        let uname = rustix::system::uname();
        Self {
            cpu: model.map_or("unknown", |(_, name)| name).to_owned(),
            cores: models().count(),
            cpu_list: field("/proc/self/status", "Cpus_allowed_list:").unwrap_or_default(),
            memory_kib: field("/proc/meminfo", "MemTotal:")
                .and_then(|text| text.split(' ').next()?.parse().ok())
                .unwrap_or(0),
            kernel: uname.release().to_string_lossy().into_owned(),
            commit: commit(),
            command: std::env::args().collect::<Vec<_>>().join(" "),
            unix_seconds: unix_time().as_secs(),
        }
    }
}

/// What stands behind a word at the head of a line.
fn field(path: &str, word: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let mut lines = text.lines();
    let found = lines.find_map(|line| line.strip_prefix(word))?;
    Some(found.trim().to_owned())
}

/// Memory that a process has in use, in KiB; `None` when there is no such process.
pub(crate) fn resident_kib(process: u32) -> Option<u64> {
    let text = field(&format!("/proc/{process}/status"), "VmRSS:")?;
    text.split(' ').next()?.parse().ok()
}

fn commit() -> String {
    let git = Command::new("git")
        .args(["describe", "--always", "--dirty"])
        .output();
    match git {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => "unknown".to_owned(),
    }
}

#[expect(clippy::disallowed_methods, reason = "the driver's one clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "the driver's one calendar")]
pub(crate) fn unix_time() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// A number that no other run is likely to have.
pub(crate) fn run_number() -> u64 {
    let time = unix_time().as_nanos() as u64;
    time.rotate_left(20) ^ u64::from(std::process::id())
}

/// Processor time of the calling thread, user and system.
pub(crate) fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// How long the calling thread has waited for a core although it could have run; `None` when the
/// kernel does not count it.
pub(crate) fn thread_waited() -> Option<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}

/// Binds the calling thread to one core.
pub(crate) fn pin(cpu: usize) -> io::Result<()> {
    if CpuSet::MAX_CPU <= cpu {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(sched_setaffinity(None, &set)?)
}

/// Lets the calling thread's timers be exact; the kernel may else be 50 microseconds late by intent.
pub(crate) fn want_exact_timers() {
    // Where it is refused timers are as they were.
    let _refused = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
}

/// Waits while somebody else gets something done. Never while anything is measured.
#[expect(clippy::disallowed_methods, reason = "nothing is measured meanwhile")]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Runs `work` while the calling thread is confined to `cpus`; what it starts inherits that. Without
/// any, nothing is confined.
pub(crate) fn confined<T>(cpus: &[usize], work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    if cpus.is_empty() {
        return work();
    }
    let before = sched_getaffinity(None)?;
    let mut set = CpuSet::new();
    for cpu in cpus.iter().filter(|cpu| **cpu < CpuSet::MAX_CPU) {
        set.set(*cpu);
    }
    sched_setaffinity(None, &set)?;
    let done = work();
    sched_setaffinity(None, &before)?;
    done
}

/// The server's program: the one beside this program, else the one that the shell would find.
pub(crate) fn ringtail_program() -> PathBuf {
    let own = std::env::current_exe().ok();
    let beside = own.and_then(|own| Some(own.parent()?.join("ringtail")));
    let beside = beside.filter(|path| path.is_file());
    beside.unwrap_or_else(|| PathBuf::from("ringtail"))
}

/// Processor time of a process so far, user and system; `None` when there is no such process.
pub(crate) fn process_cpu(process: u32) -> Option<Duration> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    name_and_cpu(&text).map(|(_, cpu)| cpu)
}

/// The same of each of its threads, those of one name together. Threads that have ended are left out.
pub(crate) fn threads_cpu(process: u32) -> BTreeMap<String, Duration> {
    let mut threads = BTreeMap::new();
    let tasks = fs::read_dir(format!("/proc/{process}/task"));
    for task in tasks.into_iter().flatten().flatten() {
        let text = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        if let Some((name, cpu)) = name_and_cpu(&text) {
            // The kernel's workers for a thread are named after its number, which says nothing.
            let name = if name.starts_with("iou-") {
                "io_uring"
            } else {
                name
            };
            *threads.entry(name.to_owned()).or_default() += cpu;
        }
    }
    threads
}

/// Of a line of `/proc/*/stat`.
fn name_and_cpu(text: &str) -> Option<(&str, Duration)> {
    // The name stands in brackets and may hold blanks; the times are the 14th and 15th field.
    let (head, behind_name) = text.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    let mut fields = behind_name.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let all = ticks()? + ticks()?;
    Some((name, Duration::from_millis(all * 1_000 / TICKS_PER_SECOND)))
}

/// Raises the limit of open files as far as this process may.
pub(crate) fn allow_as_many_open_files_as_possible() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    // Where it is refused, connections beyond the limit are.
    let _refused = setrlimit(Resource::Nofile, raised);
}

/// Raises the limit of open files to `files`, if it is lower.
pub(crate) fn allow_open_files(files: u64) -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| files <= current) {
        return Ok(());
    }
    let maximum = limit.maximum.map(|maximum| maximum.max(files));
    let raised = Rlimit {
        current: Some(files),
        maximum,
    };
    setrlimit(Resource::Nofile, raised).map_err(|error| {
        let text = format!("{files} open files are not allowed here (ulimit -n): {error}");
        io::Error::new(error.kind(), text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_blanks_and_brackets() {
        let line = "7 (rdk:b) 1) S 1 7 7 0 -1 64 0 0 0 0 150 50 0 0 20 0";
        let two_seconds = Duration::from_secs(2);
        assert_eq!(name_and_cpu(line), Some(("rdk:b) 1", two_seconds)));
        assert_eq!(name_and_cpu("7 (a"), None);
    }

    #[test]
    fn this_process_has_a_thread() {
        assert!(!threads_cpu(std::process::id()).is_empty());
        assert!(threads_cpu(u32::MAX).is_empty());
    }
}
