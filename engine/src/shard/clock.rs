//! The shard's clock: the only place on the data path that reads one.

use crate::unit::Micros;
use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Tells the time. The seam for a simulated clock.
pub trait Clock {
    /// Microseconds since 1970, never less than it said before.
    fn now(&self) -> Micros;
}

/// The machine's clock: the wall clock's value at the start, moved on by the monotonic clock, so that a
/// step of the wall clock backwards is not seen.
#[derive(Debug)]
pub struct MachineClock {
    anchor: Cell<(Micros, Instant)>,
}

fn wall() -> Micros {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the seam that may read the clock"
    )]
    let now = SystemTime::now();
    let since = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Micros(since.as_micros() as u64)
}

fn monotonic() -> Instant {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the seam that may read the clock"
    )]
    Instant::now()
}

impl MachineClock {
    pub fn start() -> Self {
        Self {
            anchor: Cell::new((wall(), monotonic())),
        }
    }

    /// Follows the wall clock when it has gone ahead; to be called now and then.
    pub fn follow_wall(&self) {
        let now = monotonic();
        let ours = self.at(now);
        self.anchor.set((ours.max(wall()), now));
    }

    fn at(&self, now: Instant) -> Micros {
        let (wall, anchored) = self.anchor.get();
        Micros(wall.0 + now.duration_since(anchored).as_micros() as u64)
    }
}

impl Clock for MachineClock {
    fn now(&self) -> Micros {
        self.at(monotonic())
    }
}
