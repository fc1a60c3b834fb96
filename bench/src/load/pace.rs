//! When the batches of an open loop are meant to be sent.
//!
//! Always: the moments follow from the start, the rate and the seed alone, never from how long
//! anything took; a driver or a server that stalls does not move them.

use std::time::{Duration, Instant};

use super::arguments::Arrivals;
use crate::payload::Noise;

#[derive(Debug)]
pub(super) struct Pace {
    start: Instant,
    arrivals: Arrivals,
    /// Mean distance of two batches, in seconds.
    distance: f64,
    /// Where the next one is, in seconds from the start.
    next: f64,
    noise: Noise,
}

impl Pace {
    /// `batches_per_second` must be above 0.
    pub(super) fn new(
        start: Instant,
        batches_per_second: f64,
        arrivals: Arrivals,
        seed: u64,
    ) -> Self {
        assert!(0.0 < batches_per_second);
        let mut pace = Self {
            start,
            arrivals,
            distance: batches_per_second.recip(),
            next: 0.0,
            noise: Noise(seed),
        };
        // Workers do not send in step.
        pace.next = pace.distance * pace.noise.part();
        pace
    }

    /// The next moment at which a batch is meant to be sent.
    pub(super) fn next(&self) -> Instant {
        self.start + Duration::from_secs_f64(self.next)
    }

    /// Gives the next moment if it has come by `now`.
    pub(super) fn take(&mut self, now: Instant) -> Option<Instant> {
        let moment = self.next();
        if now < moment {
            return None;
        }
        self.next += match self.arrivals {
            Arrivals::Even => self.distance,
            Arrivals::Poisson => -self.distance * (1.0 - self.noise.part()).ln(),
        };
        Some(moment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(arrivals: Arrivals, seconds: u64) -> Vec<f64> {
        let start = crate::host::now();
        let mut pace = Pace::new(start, 1000.0, arrivals, 7);
        let end = start + Duration::from_secs(seconds);
        let moments = std::iter::from_fn(|| pace.take(end));
        let seconds = moments.map(|moment| moment.duration_since(start).as_secs_f64());
        seconds.collect()
    }

    #[test]
    fn even_moments_are_equally_far_apart() {
        let moments = moments(Arrivals::Even, 10);
        assert_eq!(moments.len(), 10_000);
        for pair in moments.windows(2) {
            assert!((pair[1] - pair[0] - 0.001).abs() < 1e-6, "{pair:?}");
        }
    }

    #[test]
    fn random_moments_come_at_the_same_rate_and_bunched() {
        let moments = moments(Arrivals::Poisson, 10);
        assert!(
            (9_500..10_500).contains(&moments.len()),
            "{}",
            moments.len()
        );
        let gaps = moments.windows(2).map(|pair| pair[1] - pair[0]);
        // Of exponential distances, one in e is longer than the mean.
        let long = gaps.filter(|gap| 0.001 < *gap).count();
        assert!((3_400..3_950).contains(&long), "{long}");
    }

    #[test]
    fn nothing_is_due_before_its_moment_and_a_late_taker_misses_nothing() {
        let start = crate::host::now();
        let mut pace = Pace::new(start, 10.0, Arrivals::Even, 1);
        let first = pace.next();
        let before = first.checked_sub(Duration::from_nanos(1)).unwrap();
        assert_eq!(pace.take(before), None);
        assert_eq!(pace.take(start + Duration::from_secs(60)), Some(first));
        let rest = std::iter::from_fn(|| pace.take(start + Duration::from_secs(60)));
        assert_eq!(rest.count(), 599);
    }
}
