//! Sleep, interval, timeout, on the executor's clock.
//!
//! Core:    a timer stays on the executor that made it.
//! Cancel:  a dropped timer is taken out of the executor's list.

use futures_util::future::{Either, select};
use glommio::timer::Timer;
use rustix::time::{ClockId, clock_gettime};
use std::pin::pin;
use std::time::Duration;

/// A moment on the monotonic clock, in milliseconds: what deadlines are kept by, for it never jumps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    pub const NEVER: Self = Self(u64::MAX);

    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    pub fn now() -> Self {
        let now = clock_gettime(ClockId::Monotonic);
        Self(now.tv_sec as u64 * 1_000 + now.tv_nsec as u64 / 1_000_000)
    }

    pub const fn millis(self) -> u64 {
        self.0
    }

    /// A moment so much later; of a part of a millisecond nothing is kept.
    pub fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time.as_millis() as u64))
    }

    /// From `earlier` to this moment; nothing when it is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Waits for at least `time`.
pub async fn sleep(time: Duration) {
    Timer::new(time).await;
}

/// What `future` gives, or `None` when it takes longer than `time`; then it is dropped.
pub async fn timeout<T>(time: Duration, future: impl Future<Output = T>) -> Option<T> {
    match select(pin!(future), Timer::new(time)).await {
        Either::Left((result, _)) => Some(result),
        Either::Right(_) => None,
    }
}

/// Ticks again and again, `period` after the tick before was taken: a late task does not catch up.
#[derive(Debug)]
pub struct Interval {
    period: Duration,
    timer: Timer,
}

impl Interval {
    /// The first tick comes after one period.
    pub fn new(period: Duration) -> Self {
        Self {
            period,
            timer: Timer::new(period),
        }
    }

    pub async fn tick(&mut self) {
        (&mut self.timer).await;
        self.timer = Timer::new(self.period);
    }
}

#[cfg(test)]
mod tests {
    use super::super::executor::{Plan, block_on};
    use super::*;

    #[test]
    fn a_timeout_ends_what_never_ends() {
        let body = async {
            let late = timeout(Duration::from_millis(1), std::future::pending::<()>());
            let early = timeout(Duration::from_secs(3_600), async { 7 });
            (late.await, early.await)
        };
        let seen = block_on(&Plan::small("timer"), body).unwrap();
        assert_eq!(seen, (None, Some(7)));
    }

    #[test]
    fn an_interval_ticks_again() {
        block_on(&Plan::small("timer"), async {
            let mut interval = Interval::new(Duration::from_millis(1));
            interval.tick().await;
            interval.tick().await;
        })
        .unwrap();
    }
}
