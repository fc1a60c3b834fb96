//! What one worker counted.
//!
//! Always: refusals count from the first second; successes, and so rates and latencies, count only
//! inside the measured window, which leaves out the warm-up and the drain.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use crate::message::Answer;

/// Latencies above a minute count as a minute.
const LATENCY_US_MAX: u64 = 60_000_000;

/// Counts for the live line: written by one worker each, read by the printer.
#[derive(Debug, Default)]
pub(super) struct Live {
    pub(super) acknowledged: AtomicU64,
    pub(super) refused: AtomicU64,
}

/// When to measure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) from: Instant,
    pub(super) until: Instant,
}

#[derive(Debug)]
pub(super) struct Tally {
    span: Span,
    /// From send to answer, in microseconds, for each batch acknowledged inside the window.
    pub(super) latency_us: Histogram<u64>,
    pub(super) sent: u64,
    /// In the whole run.
    pub(super) acknowledged: u64,
    /// In the whole run, by the answer's code.
    pub(super) refused: BTreeMap<u64, u64>,
    pub(super) first_reason: Option<String>,
    pub(super) unanswered: u64,
    pub(super) lost: Vec<String>,
    /// Processor time over wall time of the worker's thread, inside the window.
    pub(super) busy: f64,
    shown: (u64, u64),
}

impl Tally {
    pub(super) fn new(span: Span) -> Self {
        let latency_us = Histogram::new_with_max(LATENCY_US_MAX, 3);
        Self {
            span,
            latency_us: latency_us.expect("the bounds and the digits are in range"),
            sent: 0,
            acknowledged: 0,
            refused: BTreeMap::new(),
            first_reason: None,
            unanswered: 0,
            lost: Vec::new(),
            busy: 0.0,
            shown: (0, 0),
        }
    }

    pub(super) fn success(&mut self, sent_at: Instant, now: Instant) {
        self.acknowledged += 1;
        if self.span.from <= now && now < self.span.until {
            let micros = now.duration_since(sent_at).as_micros();
            self.latency_us.saturating_record(micros as u64);
        }
    }

    pub(super) fn refusal(&mut self, answer: &Answer<'_>) {
        *self.refused.entry(answer.code).or_default() += 1;
        self.first_reason
            .get_or_insert_with(|| answer.reason.escape_ascii().to_string());
    }

    pub(super) fn refusals(&self) -> u64 {
        self.refused.values().sum()
    }

    /// Hands the counts to the printer.
    pub(super) fn show(&mut self, live: &Live) {
        let counts = (self.acknowledged, self.refusals());
        let (acknowledged, refused) = (counts.0 - self.shown.0, counts.1 - self.shown.1);
        live.acknowledged.fetch_add(acknowledged, Ordering::Relaxed);
        live.refused.fetch_add(refused, Ordering::Relaxed);
        self.shown = counts;
    }

    /// Adds what another worker counted.
    pub(super) fn merge(&mut self, other: Self) {
        let added = self.latency_us.add(other.latency_us);
        added.expect("both histograms have the same bounds");
        self.sent += other.sent;
        self.acknowledged += other.acknowledged;
        for (code, count) in other.refused {
            *self.refused.entry(code).or_default() += count;
        }
        self.first_reason = self.first_reason.take().or(other.first_reason);
        self.unanswered += other.unanswered;
        self.lost.extend(other.lost);
        self.busy = self.busy.max(other.busy);
    }
}

/// Processor time of one thread over a stretch of time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Busy {
    wall: Instant,
    cpu: Duration,
}

impl Busy {
    pub(super) fn start(wall: Instant, cpu: Duration) -> Self {
        Self { wall, cpu }
    }

    /// The part of the time since the start that the thread was running, from 0 to 1.
    pub(super) fn since(self, wall: Instant, cpu: Duration) -> f64 {
        let wall = wall.duration_since(self.wall).as_secs_f64();
        if wall == 0.0 {
            return 0.0;
        }
        cpu.saturating_sub(self.cpu).as_secs_f64() / wall
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_measured_window_counts_in_the_rates() {
        let start = crate::host::now();
        let second = Duration::from_secs(1);
        let span = Span {
            from: start + second,
            until: start + 2 * second,
        };
        let mut tally = Tally::new(span);
        for half in 0..6 {
            tally.success(start, start + half * second / 2);
        }
        assert_eq!((tally.acknowledged, tally.latency_us.len()), (6, 2));
    }

    #[test]
    fn the_first_reason_is_kept() {
        let now = crate::host::now();
        let mut tally = Tally::new(Span {
            from: now,
            until: now,
        });
        for (code, reason) in [(2, &b"one"[..]), (3, b"two"), (3, b"three")] {
            tally.refusal(&Answer {
                status: 2,
                code,
                reason,
                guid: b"",
            });
        }
        assert_eq!(tally.refused, BTreeMap::from([(2, 1), (3, 2)]));
        assert_eq!(tally.first_reason.as_deref(), Some("one"));
    }
}
