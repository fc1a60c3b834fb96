//! A thread that runs tasks, pinned or not, with rings of its own.
//!
//! Core:    one executor is one thread (`shard-0`) and one helper (`shard-0-aux`) for the calls
//!          that the kernel only offers blocking: rename, unlink, listing a folder.
//! Always:  a panic on an executor's thread ends the process: a shard is never lost in silence.
//!          An executor with a task to run does not sleep for longer than some
//!          milliseconds (see [`first_task`] and [`beat`]).
//! Cancel:  dropping a [`Task`] cancels it at its next await; [`Task::detach`] lets it run.

use super::sockets::Sockets;
use super::{Error, beat, first_task, host, io_error};
use crossbeam::channel::{RecvError, bounded};
use glommio::{Latency, Shares, TaskQueueHandle};
use glommio::{LocalExecutor, LocalExecutorBuilder, Placement, PoolPlacement};
use std::ffi::CString;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

/// Requests that one ring takes at once.
const RING_DEPTH: usize = 512;
/// How long tasks may run before I/O is looked at again. The runtime's own default is 100 ms.
const PREEMPT_AFTER: Duration = Duration::from_millis(1);
/// What tasks outside of lanes weigh together; the runtime takes no more.
const SHARES: u32 = 1_000;

/// How one executor is to be started.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The thread's name; the kernel keeps 15 bytes of it.
    pub name: String,
    /// The CPU it is pinned to; `None` leaves it to the scheduler.
    pub cpu: Option<usize>,
    /// Where the helper may run; empty means wherever the process may.
    pub helper_cpus: Vec<usize>,
    /// Memory for direct I/O that is registered with the rings, in bytes. More can be used, but
    /// it comes from the allocator and costs more.
    pub io_memory_bytes: usize,
}

impl Plan {
    /// A data shard: 64 MiB for its journal's frames in flight.
    pub fn shard(index: u32, cpu: Option<usize>) -> Self {
        Self {
            name: format!("shard-{index}"),
            cpu,
            helper_cpus: Vec::new(),
            io_memory_bytes: 64 << 20,
        }
    }

    /// The control core: 16 MiB.
    pub fn control(cpu: Option<usize>) -> Self {
        Self {
            name: "control".to_owned(),
            cpu,
            helper_cpus: Vec::new(),
            io_memory_bytes: 16 << 20,
        }
    }

    /// For programs and tests that do one small thing: 1 MiB, anywhere.
    pub fn small(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            cpu: None,
            helper_cpus: Vec::new(),
            io_memory_bytes: 1 << 20,
        }
    }
}

/// A started executor.
#[derive(Debug)]
#[must_use = "a process that ends does not wait for its executors"]
pub struct Handle<T> {
    thread: JoinHandle<T>,
}

impl<T> Handle<T> {
    /// Waits, blocking, until the executor's body has ended.
    pub fn join(self) -> T {
        let ended = self.thread.join();
        ended.expect("a panic on an executor's thread ends the process")
    }

    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }
}

/// Starts an executor on a thread of its own and runs `body` on it. Returns when the executor
/// stands, or with the reason why it cannot; blocks the calling thread for some milliseconds.
pub fn start<F, Fut, T>(plan: Plan, body: F) -> Result<Handle<T>, Error>
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = T> + 'static,
    T: Send + 'static,
{
    let name = plan.name.clone();
    let (tell, told) = bounded(1);
    let run = move || {
        let alarm = Alarm(plan.name.clone());
        let made = make(&plan);
        let (executor, sockets) = match made {
            Ok(made) => made,
            Err(error) => {
                let _starter_waits = tell.send(Err(error));
                return None;
            }
        };
        let _starter_waits = tell.send(Ok(()));
        let result = first_task::run(&executor, async move {
            let _until_the_end = (spawn_local(beat::look_again()), sockets.watch());
            settle_helper(&plan).await;
            body().await
        });
        drop(alarm);
        Some(result)
    };
    let thread = std::thread::Builder::new()
        .name(name.clone())
        .spawn(move || run().expect("who starts an executor that failed never joins it"));
    let thread = thread.map_err(|source| Error::Thread {
        name: name.clone(),
        source,
    })?;
    match told.recv() {
        Ok(Ok(())) => Ok(Handle { thread }),
        Ok(Err(error)) => Err(error),
        Err(RecvError) => Err(Error::Thread {
            name,
            source: io::Error::other("it ended before it had begun"),
        }),
    }
}

/// Runs `body` on an executor on the calling thread, for programs that do one thing and end.
pub fn block_on<Fut: Future>(plan: &Plan, body: Fut) -> Result<Fut::Output, Error> {
    let (executor, sockets) = make(plan)?;
    Ok(first_task::run(&executor, async move {
        let _until_the_end = (spawn_local(beat::look_again()), sockets.watch());
        settle_helper(plan).await;
        body.await
    }))
}

/// Pins the calling thread and makes its executor, and what its sockets will stand in.
fn make(plan: &Plan) -> Result<(LocalExecutor, Rc<Sockets>), Error> {
    let allowed = host::allowed_cpus();
    for cpu in plan.cpu.iter().chain(&plan.helper_cpus) {
        if !allowed.contains(cpu) {
            let (cpu, allowed) = (*cpu, allowed.to_vec());
            return Err(Error::CpuNotAllowed { cpu, allowed });
        }
    }
    let failed = |source| Error::Thread {
        name: plan.name.clone(),
        source,
    };
    // Before the rings are made, so that their memory is near this CPU. A thread without a CPU of
    // its own is freed from the place of the thread that started it.
    let own = plan.cpu.as_ref().map_or(allowed, std::slice::from_ref);
    host::confine_to(own).map_err(failed)?;
    let made = LocalExecutorBuilder::new(Placement::Unbound)
        .blocking_thread_pool_placement(PoolPlacement::Unbound(1))
        .name(&plan.name)
        .ring_depth(RING_DEPTH)
        .io_memory(plan.io_memory_bytes)
        .preempt_timer(PREEMPT_AFTER)
        .record_io_latencies(false)
        .make();
    let executor = made.map_err(io_error).map_err(failed)?;
    Ok((executor, Sockets::open().map_err(failed)?))
}

/// Names the helper thread and moves it off the CPU that it inherited. The runtime offers neither,
/// so the helper does it to itself.
async fn settle_helper(plan: &Plan) {
    let cpus = match &plan.helper_cpus[..] {
        [] => host::allowed_cpus().to_vec(),
        cpus => cpus.to_vec(),
    };
    let name = CString::new(format!("{}-aux", plan.name)).unwrap_or_default();
    blocking(move || {
        // Both are conveniences: without them the helper works as well, only elsewhere.
        let _unnamed = rustix::thread::set_name(&name);
        let _unmoved = host::confine_to(&cpus);
    })
    .await;
}

/// Ends the process when its thread unwinds.
pub(super) struct Alarm(pub(super) String);

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "ringtail: the thread {} panicked (above); ending the process",
                self.0
            );
            std::process::abort();
        }
    }
}

/// A task of this executor. Dropping it cancels the task.
#[derive(Debug)]
#[must_use = "a dropped task is cancelled: detach it or keep it"]
pub struct Task<T>(glommio::Task<T>);

impl<T: 'static> Task<T> {
    /// Lets the task run to its end, unobserved.
    pub fn detach(self) {
        drop(self.0.detach());
    }

    /// Cancels the task and waits until it is gone. `Some` when it had ended before.
    pub async fn cancel(self) -> Option<T> {
        self.0.cancel().await
    }
}

impl<T> Future for Task<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        Pin::new(&mut self.0).poll(context)
    }
}

/// Starts a task on the executor of the calling thread. It runs at once, inside this call, up to
/// its first wait: hold no borrow that it needs.
///
/// # Panics
/// When the thread runs no executor.
pub fn spawn_local<T: 'static>(future: impl Future<Output = T> + 'static) -> Task<T> {
    Task(glommio::spawn_local(future))
}

/// A bounded share of an executor's time.
#[derive(Clone, Copy, Debug)]
pub struct Lane(TaskQueueHandle);

impl Lane {
    /// Makes a lane on the executor of the calling thread: while its tasks and those outside of lanes always have
    /// something to do, its own have `percent` (1 to 50) of the time. Whoever has nothing to do leaves the time to
    /// the others.
    ///
    /// # Panics
    /// When the thread runs no executor.
    pub fn new(name: &str, percent: u32) -> Self {
        let percent = percent.clamp(1, 50);
        let shares = Shares::Static((SHARES * percent / (100 - percent)) as usize);
        let queue = glommio::executor().create_task_queue(shares, Latency::NotImportant, name);
        Self(queue)
    }

    /// Starts a task in this lane. What it starts with [`spawn_local`] is in the lane as well.
    ///
    /// # Panics
    /// When the lane is another executor's.
    pub fn spawn<T: 'static>(self, future: impl Future<Output = T> + 'static) -> Task<T> {
        let task = glommio::spawn_local_into(future, self.0);
        Task(task.expect("lanes live as long as their executor"))
    }
}

/// Lets other tasks and I/O have their turn if this one has run for long. For every loop that can
/// stay ready.
pub async fn yield_if_needed() {
    glommio::yield_if_needed().await;
}

/// Runs `call` on the executor's helper thread. `call` must not panic.
pub async fn blocking<R: Send + 'static>(call: impl FnOnce() -> R + Send + 'static) -> R {
    glommio::executor().spawn_blocking(call).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn names_and_cpus() -> Vec<(String, String)> {
        let threads = std::fs::read_dir("/proc/self/task").unwrap();
        let one = |folder: std::path::PathBuf| {
            let status = std::fs::read_to_string(folder.join("status")).ok()?;
            let field = |key: &str| {
                let line = status.lines().find(|line| line.starts_with(key));
                line.and_then(|line| line.split_whitespace().last())
                    .map(str::to_owned)
            };
            Some((field("Name:")?, field("Cpus_allowed_list:")?))
        };
        threads
            .filter_map(|thread| one(thread.ok()?.path()))
            .collect()
    }

    #[test]
    fn the_thread_is_pinned_and_named_and_so_is_its_helper() {
        let allowed = host::allowed_cpus();
        let cpu = allowed[allowed.len() - 1];
        let plan = Plan {
            cpu: Some(cpu),
            helper_cpus: vec![allowed[0]],
            ..Plan::small("pinned-7")
        };
        let seen = start(plan, || async { names_and_cpus() }).unwrap().join();
        assert!(seen.contains(&("pinned-7".into(), cpu.to_string())));
        assert!(seen.contains(&("pinned-7-aux".into(), allowed[0].to_string())));
    }

    #[test]
    fn an_executor_started_from_a_pinned_one_is_not_confined_with_it() {
        let outer = Plan {
            cpu: Some(host::allowed_cpus()[0]),
            ..Plan::small("outer")
        };
        let body = || async {
            let inner = start(Plan::small("inner"), || async { names_and_cpus() });
            inner.unwrap().join()
        };
        let seen = start(outer, body).unwrap().join();
        let find = |name: &str| seen.iter().find(|row| row.0 == name).unwrap().1.clone();
        assert_eq!(find("inner"), find("inner-aux"));
        let all = host::allowed_cpus();
        assert_eq!(all.len() == 1, find("inner") == find("outer"));
    }

    #[test]
    fn a_cpu_outside_the_process_mask_is_refused() {
        let plan = Plan {
            cpu: Some(1023),
            ..Plan::small("nowhere")
        };
        let refused = start(plan, || async {}).unwrap_err();
        assert!(matches!(refused, Error::CpuNotAllowed { cpu: 1023, .. }));
    }

    #[test]
    fn a_dropped_task_is_cancelled_and_a_detached_one_runs() {
        let body = async {
            let (tell, told) = std::sync::mpsc::channel();
            let later = |text| {
                let tell = tell.clone();
                async move {
                    glommio::executor().yield_task_queue_now().await;
                    tell.send(text).unwrap();
                }
            };
            drop(spawn_local(later("dropped")));
            spawn_local(later("detached")).detach();
            spawn_local(later("awaited")).await;
            told.try_iter().collect::<Vec<_>>()
        };
        let seen = block_on(&Plan::small("tasks"), body).unwrap();
        assert_eq!(seen, ["detached", "awaited"]);
    }

    #[test]
    fn a_lane_has_its_share_and_no_more_while_others_have_something_to_do() {
        use std::cell::Cell;
        use std::rc::Rc;
        async fn work(mine: Rc<Cell<u64>>, all: Rc<Cell<u64>>) {
            while all.get() < 2_000_000 {
                std::hint::black_box((0..100).sum::<u64>());
                mine.set(mine.get() + 1);
                all.set(all.get() + 1);
                yield_if_needed().await;
            }
        }
        let (inside, nested, outside) = block_on(&Plan::small("lanes"), async {
            let all = Rc::default();
            let counts: [Rc<Cell<u64>>; 3] = Default::default();
            let lane = Lane::new("lane", 20);
            let (one, two) = (work(counts[0].clone(), Rc::clone(&all)), Rc::clone(&all));
            let nested = counts[1].clone();
            let inside = lane.spawn(async move {
                let child = spawn_local(work(nested, two));
                one.await;
                child.await;
            });
            work(counts[2].clone(), all).await;
            inside.await;
            (counts[0].get(), counts[1].get(), counts[2].get())
        })
        .unwrap();
        assert!(0 < inside && 0 < nested, "{inside}, {nested}");
        // A fifth is promised, and a busy host blurs it; without a lane the two had two thirds.
        assert!(
            inside + nested < outside,
            "{inside} and {nested} beside {outside}"
        );
    }

    #[test]
    fn a_panic_on_an_executor_ends_the_process() {
        if std::env::var_os("RINGTAIL_TEST_PANIC").is_some() {
            let body = || async {
                spawn_local(async { panic!("as the test wants") }).await;
            };
            start(Plan::small("doomed"), body).unwrap().join();
            return;
        }
        let name = "rt::executor::tests::a_panic_on_an_executor_ends_the_process";
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env("RINGTAIL_TEST_PANIC", "1")
            .output()
            .unwrap();
        assert!(!child.status.success());
        let text = String::from_utf8_lossy(&child.stderr);
        assert!(text.contains("the thread doomed panicked"), "{text}");
    }
}
