//! What one worker counted.
//!
//! Always: refusals count from the first second; successes, and so rates and latencies, count only
//! inside the measured window, which leaves out the warm-up and the drain. Of an open loop the latency
//! of every batch counts that was *meant* to be sent inside the window, whenever its answer came.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use crate::{host, message::Answer, outcome::rate};

/// Latencies above a minute count as a minute.
const LATENCY_US_MAX: u64 = 60_000_000;
/// Stretches of time that are told apart; longer runs have longer ones.
const INTERVALS_MAX: u64 = 3_600;

/// A histogram of microseconds, exact to three digits.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(LATENCY_US_MAX, 3).expect("the bounds and the digits are in range")
}

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

impl Span {
    pub(super) fn holds(self, moment: Instant) -> bool {
        self.from <= moment && moment < self.until
    }

    /// How long one interval of the result is.
    pub(super) fn interval(self) -> Duration {
        let seconds = self.until.duration_since(self.from).as_secs();
        Duration::from_secs(seconds.div_ceil(INTERVALS_MAX).max(1))
    }

    fn interval_of(self, moment: Instant) -> usize {
        let since = moment.saturating_duration_since(self.from).as_secs();
        (since / self.interval().as_secs()) as usize
    }
}

/// What was answered in one stretch of the measured time. Latencies are kept as pairs of a value and
/// its count: of thousands of intervals, whole histograms would take gigabytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Interval {
    pub(super) batches: u64,
    pub(super) refused: u64,
    latency_us: Vec<(u64, u64)>,
}

impl Interval {
    fn pack(&mut self, latency_us: &Histogram<u64>) {
        let values = latency_us.iter_recorded();
        let pairs = values.map(|value| (value.value_iterated_to(), value.count_at_value()));
        self.latency_us.extend(pairs);
    }

    pub(super) fn histogram(&self) -> Histogram<u64> {
        let mut all = histogram();
        for (value, count) in &self.latency_us {
            all.saturating_record_n(*value, *count);
        }
        all
    }
}

#[derive(Debug)]
pub(super) struct Tally {
    span: Span,
    /// In microseconds, from the moment a batch was sent, or was meant to be sent, to its answer.
    pub(super) latency_us: Histogram<u64>,
    /// Of an open loop: from the moment a batch was meant to be sent to the moment it was.
    pub(super) delay_us: Histogram<u64>,
    /// From the first step of a connection to its last, of connections opened under load.
    pub(super) opening_us: Histogram<u64>,
    /// Acknowledged inside the measured window: events of them follow from this.
    pub(super) measured: u64,
    pub(super) intervals: Vec<Interval>,
    /// The latencies of the last interval, which is still open.
    open: (usize, Histogram<u64>),
    pub(super) sent: u64,
    /// In the whole run.
    pub(super) acknowledged: u64,
    /// In the whole run, by the answer's code.
    pub(super) refused: BTreeMap<u64, u64>,
    pub(super) first_reason: Option<String>,
    pub(super) unanswered: u64,
    pub(super) lost: Vec<String>,
    pub(super) open_loop: OpenLoop,
    pub(super) storms: Storms,
    /// Processor time over wall time of the worker's thread, inside the window.
    pub(super) busy: f64,
    /// The same of the time for which it could have run and others did.
    pub(super) waited: f64,
    shown: (u64, u64),
}

/// How well an open loop was kept, in batches meant for the measured window.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OpenLoop {
    pub(super) intended: u64,
    /// Sent later than the limit says.
    pub(super) late: u64,
    /// Not sent at all before the window ended.
    pub(super) unsent: u64,
}

/// What became of connections that were broken off on purpose.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Storms {
    pub(super) broken_off: u64,
    /// Batches that were not answered when their connection was broken off.
    pub(super) abandoned: u64,
    pub(super) opened: u64,
    /// Tries that failed and were made again.
    pub(super) retries: u64,
}

impl Tally {
    pub(super) fn new(span: Span) -> Self {
        Self {
            span,
            latency_us: histogram(),
            delay_us: histogram(),
            opening_us: histogram(),
            measured: 0,
            intervals: Vec::new(),
            open: (0, histogram()),
            sent: 0,
            acknowledged: 0,
            refused: BTreeMap::new(),
            first_reason: None,
            unanswered: 0,
            lost: Vec::new(),
            open_loop: OpenLoop::default(),
            storms: Storms::default(),
            busy: 0.0,
            waited: 0.0,
            shown: (0, 0),
        }
    }

    /// A batch of an open loop is sent, `now`.
    pub(super) fn sent_late(&mut self, intended: Instant, now: Instant, late_us: u64) {
        if self.span.holds(intended) {
            let delay = now.saturating_duration_since(intended).as_micros() as u64;
            self.delay_us.saturating_record(delay);
            self.open_loop.late += u64::from(late_us < delay);
        }
    }

    /// A batch was acknowledged; `counts_from` is when it was sent, or meant to be.
    pub(super) fn success(&mut self, counts_from: Instant, now: Instant, is_open_loop: bool) {
        self.acknowledged += 1;
        let in_window = self.span.holds(now);
        self.measured += u64::from(in_window);
        let counts = if is_open_loop {
            self.span.holds(counts_from)
        } else {
            in_window
        };
        if in_window {
            self.interval(now).batches += 1;
        }
        if counts {
            let micros = now.saturating_duration_since(counts_from).as_micros() as u64;
            self.latency_us.saturating_record(micros);
            self.interval(now);
            self.open.1.saturating_record(micros);
        }
    }

    pub(super) fn refusal(&mut self, answer: &Answer<'_>, now: Instant) {
        *self.refused.entry(answer.code).or_default() += 1;
        self.first_reason
            .get_or_insert_with(|| answer.reason.escape_ascii().to_string());
        if self.span.holds(now) {
            self.interval(now).refused += 1;
        }
    }

    /// The interval of a moment, which never lies before an earlier one.
    fn interval(&mut self, now: Instant) -> &mut Interval {
        let index = self.span.interval_of(now);
        if self.open.0 < index {
            self.close_interval();
            self.open.0 = index;
        }
        if self.intervals.len() <= index {
            self.intervals.resize_with(index + 1, Interval::default);
        }
        &mut self.intervals[index]
    }

    fn close_interval(&mut self) {
        if let Some(interval) = self.intervals.get_mut(self.open.0) {
            interval.pack(&self.open.1);
        }
        self.open.1.reset();
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

    /// Nothing more is counted.
    pub(super) fn close(&mut self) {
        self.close_interval();
    }

    /// Adds what another worker counted, which is closed.
    pub(super) fn merge(&mut self, other: Self) {
        let pairs = [
            (&mut self.latency_us, &other.latency_us),
            (&mut self.delay_us, &other.delay_us),
            (&mut self.opening_us, &other.opening_us),
        ];
        for (own, other) in pairs {
            own.add(other)
                .expect("both histograms have the same bounds");
        }
        self.measured += other.measured;
        self.merge_intervals(other.intervals);
        self.sent += other.sent;
        self.acknowledged += other.acknowledged;
        for (code, count) in other.refused {
            *self.refused.entry(code).or_default() += count;
        }
        self.first_reason = self.first_reason.take().or(other.first_reason);
        self.unanswered += other.unanswered;
        self.lost.extend(other.lost);
        self.open_loop.intended += other.open_loop.intended;
        self.open_loop.late += other.open_loop.late;
        self.open_loop.unsent += other.open_loop.unsent;
        self.storms.broken_off += other.storms.broken_off;
        self.storms.abandoned += other.storms.abandoned;
        self.storms.opened += other.storms.opened;
        self.storms.retries += other.storms.retries;
        self.busy = self.busy.max(other.busy);
        self.waited = self.waited.max(other.waited);
    }

    fn merge_intervals(&mut self, others: Vec<Interval>) {
        if self.intervals.len() < others.len() {
            self.intervals.resize_with(others.len(), Interval::default);
        }
        for (own, other) in self.intervals.iter_mut().zip(others) {
            own.batches += other.batches;
            own.refused += other.refused;
            own.latency_us.extend(other.latency_us);
        }
    }
}

/// Where one thread's time goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Busy {
    wall: Instant,
    cpu: Duration,
    waited: Duration,
}

impl Busy {
    /// Of the calling thread.
    pub(super) fn start(wall: Instant) -> Self {
        Self {
            wall,
            cpu: host::thread_cpu(),
            waited: host::thread_waited().unwrap_or_default(),
        }
    }

    /// The parts of the time since the start that the thread was running, and could have been, from 0
    /// to 1.
    pub(super) fn since(self, wall: Instant) -> (f64, f64) {
        let now = Self::start(wall);
        let wall = wall.duration_since(self.wall).as_secs_f64();
        let part = |spent: Duration| rate(spent.as_secs_f64(), wall);
        let cpu = now.cpu.saturating_sub(self.cpu);
        (part(cpu), part(now.waited.saturating_sub(self.waited)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn span() -> Span {
        let start = crate::host::now();
        Span {
            from: start + SECOND,
            until: start + 4 * SECOND,
        }
    }

    #[test]
    fn only_the_measured_window_counts_in_the_rates() {
        let span = span();
        let mut tally = Tally::new(span);
        let sent = span.from.checked_sub(SECOND).unwrap();
        for half in 0..10 {
            tally.success(sent, sent + half * SECOND / 2, false);
        }
        tally.close();
        assert_eq!(
            (tally.acknowledged, tally.measured, tally.latency_us.len()),
            (10, 6, 6)
        );
        let batches: Vec<_> = tally
            .intervals
            .iter()
            .map(|interval| interval.batches)
            .collect();
        assert_eq!(batches, [2, 2, 2]);
        assert_eq!(tally.intervals[2].histogram().len(), 2);
    }

    #[test]
    fn an_open_loop_counts_every_answer_to_what_was_meant_for_the_window() {
        let span = span();
        let mut tally = Tally::new(span);
        let early = span.from.checked_sub(SECOND).unwrap();
        tally.success(early, span.from + SECOND, true);
        tally.success(span.from, span.until + 5 * SECOND, true);
        tally.sent_late(span.from, span.from + SECOND, 1_000);
        tally.sent_late(span.from, span.from, 1_000);
        tally.close();
        // The first was meant for the warm-up, the second was answered after the window.
        assert_eq!((tally.measured, tally.latency_us.len()), (1, 1));
        assert!(
            7_999_000 < tally.latency_us.max(),
            "{}",
            tally.latency_us.max()
        );
        assert_eq!((tally.open_loop.late, tally.delay_us.len()), (1, 2));
    }

    #[test]
    fn merged_tallies_count_what_both_counted() {
        let span = span();
        let (mut one, mut two) = (Tally::new(span), Tally::new(span));
        one.success(span.from, span.from, false);
        two.success(span.from, span.from + 2 * SECOND, false);
        one.close();
        two.close();
        one.merge(two);
        assert_eq!((one.measured, one.intervals.len()), (2, 3));
        let counts = one
            .intervals
            .iter()
            .map(|interval| interval.histogram().len());
        assert_eq!(counts.collect::<Vec<_>>(), [1, 0, 1]);
    }

    #[test]
    fn the_first_reason_is_kept() {
        let span = span();
        let mut tally = Tally::new(span);
        for (code, reason) in [(2, &b"one"[..]), (3, b"two"), (3, b"three")] {
            let answer = Answer {
                status: 2,
                code,
                reason,
                guid: b"",
            };
            tally.refusal(&answer, span.from);
        }
        assert_eq!(tally.refused, BTreeMap::from([(2, 1), (3, 2)]));
        assert_eq!(tally.first_reason.as_deref(), Some("one"));
        assert_eq!(tally.intervals[0].refused, 3);
    }
}
