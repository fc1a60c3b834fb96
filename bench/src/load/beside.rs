//! What somebody else does while a load is on: has a broker go away, or looks at the server's metrics.
//!
//! Core: the thread that began the load, which has nothing else to do meanwhile. A process that it starts lives as long as
//! this program: to the kernel the parent of a process is a thread.

use std::{
    error::Error,
    sync::mpsc::Receiver,
    time::{Duration, Instant},
};

use super::tally::{Interval, histogram};
use crate::{
    host,
    outcome::{Happened, Latency, Phase, Phases, rate},
};

pub(crate) type Failed = Box<dyn Error + Send + Sync>;

/// Somebody who is there while a load is on.
pub(crate) trait Beside {
    /// From the load's beginning on; what happened tells three parts of the measured time apart.
    fn during(&mut self, course: &Course) -> Result<Option<Happened>, Failed>;

    /// Behind the load, before anything is read back.
    fn after(&mut self) -> Result<(), Failed>;
}

/// Nobody.
pub(super) struct Nobody;

impl Beside for Nobody {
    fn during(&mut self, _: &Course) -> Result<Option<Happened>, Failed> {
        Ok(None)
    }

    fn after(&mut self) -> Result<(), Failed> {
        Ok(())
    }
}

/// How far a load is.
pub(crate) struct Course {
    /// When the measured time begins.
    from: Instant,
    /// Nothing comes of it but its end, with the load's.
    over: Receiver<()>,
}

impl Course {
    pub(super) fn new(from: Instant, over: Receiver<()>) -> Self {
        Self { from, over }
    }

    /// Waits until so much of the measured time is over; comes back sooner when the load is.
    pub(crate) fn wait_until(&self, time: Duration) {
        let wait = (self.from + time).saturating_duration_since(host::now());
        // Nothing is ever sent: time is up, or the load is over.
        let _why = self.over.recv_timeout(wait);
    }

    /// How much of the measured time is over.
    pub(crate) fn now(&self) -> Duration {
        host::now().saturating_duration_since(self.from)
    }
}

/// How far into a second something may end that leaves it to what comes behind, in seconds: nothing ends on the dot.
const ON_THE_DOT: f64 = 0.1;

/// The parts of the measured time before, while and after something happened. A second in which it began or ended
/// belongs to "during".
pub(super) fn phases(
    happened: Happened,
    intervals: &[Interval],
    each: Duration,
    measured: Duration,
) -> Phases {
    let length = each.as_secs_f64();
    let whole = (measured.as_secs_f64() / length).ceil() as usize;
    let intervals = &intervals[..whole.min(intervals.len())];
    let end = intervals.len();
    let begins = ((happened.began_seconds / length).floor() as usize).min(end);
    let ended = happened.ended_seconds - ON_THE_DOT;
    let ends = ((ended / length).ceil() as usize).clamp(begins, end);
    let phase = |from: usize, until: usize| {
        let mut latencies = histogram();
        for interval in &intervals[from..until] {
            latencies
                .add(interval.histogram())
                .expect("all histograms have the same bounds");
        }
        let batches = intervals[from..until]
            .iter()
            .map(|one| one.batches)
            .sum::<u64>();
        let seconds = (until - from) as f64 * length;
        Phase {
            seconds,
            batches_per_second: rate(batches as f64, seconds),
            latency_us: Latency::of(&latencies),
        }
    };
    Phases {
        happened,
        before: phase(0, begins),
        during: phase(begins, ends),
        after: phase(ends, end),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// So many batches in each second, and nothing known of their latencies.
    fn seconds(batches: &[u64]) -> Vec<Interval> {
        let interval = |batches: &u64| {
            let mut interval = Interval::default();
            interval.batches = *batches;
            interval
        };
        batches.iter().map(interval).collect()
    }

    fn lengths(began: f64, ended: f64, intervals: &[Interval]) -> [u64; 3] {
        let happened = Happened {
            what: "killed".to_owned(),
            whom: "broker-1".to_owned(),
            began_seconds: began,
            ended_seconds: ended,
        };
        let measured = SECOND * 6;
        let phases = phases(happened, intervals, SECOND, measured);
        [phases.before, phases.during, phases.after].map(|phase| phase.seconds as u64)
    }

    #[test]
    fn the_seconds_in_which_it_began_and_ended_belong_to_it() {
        let six = seconds(&[1, 2, 3, 4, 5, 6]);
        assert_eq!(lengths(2.0, 4.002, &six), [2, 2, 2]);
        assert_eq!(lengths(2.5, 3.5, &six), [2, 2, 2]);
        assert_eq!(lengths(1.9, 4.3, &six), [1, 4, 1]);
    }

    #[test]
    fn what_happens_behind_the_end_takes_nothing_of_what_was_measured() {
        // Answers that came behind the measured time are no part of it.
        let seven = seconds(&[1, 1, 1, 1, 1, 1, 9]);
        assert_eq!(lengths(2.0, 9.0, &seven), [2, 4, 0]);
        assert_eq!(lengths(8.0, 9.0, &seven), [6, 0, 0]);
        assert_eq!(lengths(0.0, 1.0, &seconds(&[])), [0, 0, 0]);
    }
}
