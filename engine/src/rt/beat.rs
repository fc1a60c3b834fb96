//! Keeps an executor from sleeping with tasks to run.
//!
//! The runtime sets its preemption timer, then runs tasks until it fires. When the kernel takes the
//! thread off its CPU between the two, so that the timer has fired before the first task, the
//! runtime believes that there was nothing to run and goes to sleep. The next event, whatever it
//! is, wakes it; without one it sleeps for ever. On a CPU with much other work this happens at up to
//! every fourth wake-up. So there always is a next event soon, and behind it another one.
//!
//! Always:  `RUNGS` timers lie ahead after each beat. One is not enough: when it has fired, its task
//!          is one more task that the executor may sleep on. All of them must meet the same
//!          accident in a row.
//! Core:    one task on every executor.

use glommio::timer::Timer;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// How long an executor sleeps at most while there is something to do now and then.
///
/// Shorter is not free: each beat makes and cancels timers of the runtime's.
pub(super) const BUSY: Duration = Duration::from_millis(5);
/// And when there was nothing to do for `QUIET_BEATS`, which is a fifth of a second.
const IDLE: Duration = Duration::from_millis(50);
const QUIET_BEATS: u32 = 40;
const RUNGS: usize = 32;

/// The beat of the executor that it is started on.
pub(super) async fn look_again() {
    let (mut quiet, mut pace) = (0, BUSY);
    let mut ladder = VecDeque::with_capacity(RUNGS);
    loop {
        poll_fn(|context| poll_ladder(&mut ladder, pace, context)).await;
        // Counted since the last beat, and this task is one of them.
        let others = glommio::executor().executor_stats().tasks_executed() > 1;
        quiet = if others {
            0
        } else {
            u32::min(quiet + 1, QUIET_BEATS)
        };
        let wanted = if quiet < QUIET_BEATS { BUSY } else { IDLE };
        if wanted != pace {
            pace = wanted;
            ladder.clear();
        }
    }
}

/// Fills the ladder up, and is ready when its first timers have fired.
fn poll_ladder(
    ladder: &mut VecDeque<Timer>,
    pace: Duration,
    context: &mut Context<'_>,
) -> Poll<()> {
    let before = ladder.len();
    while let Some(first) = ladder.front_mut()
        && Pin::new(first).poll(context).is_ready()
    {
        ladder.pop_front();
    }
    if ladder.len() < before {
        return Poll::Ready(());
    }
    while ladder.len() < RUNGS {
        let mut timer = Timer::new(pace * (ladder.len() as u32 + 1));
        // It is far ahead; polling makes the executor know it.
        let _not_yet = Pin::new(&mut timer).poll(context);
        ladder.push_back(timer);
    }
    Poll::Pending
}

#[cfg(test)]
mod tests {
    use super::super::executor::{Plan, block_on, spawn_local};
    use super::super::host;
    use super::super::stream::{Listener, Stream};
    use super::super::timer::timeout;
    use super::*;
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicBool, Ordering};

    async fn many_rounds() {
        let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = listener.local_address().unwrap();
        let mut near = Stream::connect(address).await.unwrap();
        let mut far = listener.accept().await.unwrap();
        let echo = spawn_local(async move {
            let mut byte = [0];
            while far.receive(&mut byte).await.unwrap() == 1 {
                far.send_all(&byte).await.unwrap();
            }
        });
        for _ in 0..1_000 {
            near.send_all(&[7]).await.unwrap();
            assert_eq!(near.receive(&mut [0]).await.unwrap(), 1);
        }
        drop(near);
        echo.await;
    }

    #[test]
    fn no_wake_up_is_lost_on_a_cpu_with_other_work() {
        let cpu = host::allowed_cpus()[0];
        let plan = Plan {
            cpu: Some(cpu),
            ..Plan::small("crowded")
        };
        let done = AtomicBool::new(false);
        let spin = || {
            host::confine_to(&[cpu]).unwrap();
            while !done.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        };
        let ended = std::thread::scope(|scope| {
            scope.spawn(spin);
            scope.spawn(spin);
            scope.spawn(spin);
            let rounds = || block_on(&plan, timeout(Duration::from_secs(30), many_rounds()));
            let ended = scope.spawn(rounds);
            let ended = ended.join();
            done.store(true, Ordering::Relaxed);
            ended.unwrap().unwrap()
        });
        assert_eq!(ended, Some(()), "the executor sleeps with tasks to run");
    }
}
