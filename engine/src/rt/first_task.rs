//! Keeps an executor from sleeping before its first task.
//!
//! The accident that [`beat`](super::beat) tells of can also meet the very first task, when no timer is set yet
//! that would end the sleep. Only a signal can: it interrupts the wait, and the runtime looks again.
//!
//! Core:    a thread of its own, from the start of an executor to its first task.

use crossbeam::channel::{RecvTimeoutError, bounded};
use glommio::LocalExecutor;
use nix::sys::pthread::{pthread_kill, pthread_self};
use nix::sys::signal::Signal;
use signal_hook::consts::SIGURG;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Once};
use std::time::Duration;

/// A first task that has not run by then is looked for.
const PATIENCE: Duration = Duration::from_millis(20);

/// Runs `body` on `executor`, on the thread that made it.
pub(super) fn run<T>(executor: &LocalExecutor, body: impl Future<Output = T>) -> T {
    hear_the_signal();
    let (begun, told) = bounded::<()>(0);
    let runner = pthread_self();
    let wake = move || {
        while told.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            // The runner waits for this thread before it ends, so it is there.
            let _there = pthread_kill(runner, Signal::SIGURG);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(wake);
        executor.run(async move {
            drop(begun);
            body.await
        })
    })
}

/// A signal that is ignored does not interrupt. This one otherwise means nothing: it is for urgent data on
/// sockets that ask for it.
fn hear_the_signal() {
    static HEARD: Once = Once::new();
    HEARD.call_once(|| {
        let flag = Arc::new(AtomicBool::new(false));
        // Refused only for signals that nobody may handle.
        let _heard = signal_hook::flag::register(SIGURG, flag);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use glommio::{LocalExecutorBuilder, Placement, PoolPlacement};
    use std::sync::mpsc;

    /// Short enough to be over before the first task in many rounds, long enough not to be in all.
    const PREEMPT_AFTER: Duration = Duration::from_micros(10);

    #[test]
    fn every_executor_comes_to_its_first_task() {
        let (tell, told) = mpsc::channel();
        let begin_many = move || {
            for _ in 0..10 {
                let executor = LocalExecutorBuilder::new(Placement::Unbound)
                    .blocking_thread_pool_placement(PoolPlacement::Unbound(1))
                    .io_memory(64 << 10)
                    .preempt_timer(PREEMPT_AFTER)
                    .make()
                    .unwrap();
                tell.send(run(&executor, async { 7 })).unwrap();
            }
        };
        // Not joined: a thread that sleeps for ever would keep the test from failing.
        let beginner = std::thread::spawn(begin_many);
        for nth in 0..10 {
            let begun = told.recv_timeout(Duration::from_secs(60));
            assert_eq!(begun, Ok(7), "executor {nth} sleeps on its first task");
        }
        beginner.join().unwrap();
    }
}
