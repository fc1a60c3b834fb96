//! What a run says: a line each second, a summary, and the same as JSON.

use std::{
    collections::BTreeMap,
    fmt,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{
    Arguments,
    tally::{Live, Tally},
};
use crate::{Verdict, host::Host, message::Shape};

/// Above this part of a core the driver itself may be what limits.
const BUSY_MAX: f64 = 0.9;
const SECOND: Duration = Duration::from_secs(1);

/// Prints the live line.
pub(super) struct Printer {
    events: u64,
    payload_bytes: u64,
    started: Instant,
    last: Instant,
    next: Instant,
    acknowledged: u64,
}

impl Printer {
    pub(super) fn new(arguments: &Arguments, now: Instant) -> Self {
        Self {
            events: arguments.events.into(),
            payload_bytes: u64::from(arguments.events) * u64::from(arguments.bytes),
            started: now,
            last: now,
            next: now + SECOND,
            acknowledged: 0,
        }
    }

    pub(super) fn until_next(&self, now: Instant) -> Duration {
        self.next.saturating_duration_since(now)
    }

    pub(super) fn tick(&mut self, live: &Live, now: Instant) {
        let acknowledged = live.acknowledged.load(Ordering::Relaxed);
        let seconds = now.duration_since(self.last).as_secs_f64();
        let batches = rate(acknowledged - self.acknowledged, seconds);
        println!(
            "{:5.0} s {:9.0} batches/s {:10.0} events/s {:8.1} MB/s {:6} errors",
            now.duration_since(self.started).as_secs_f64(),
            batches,
            batches * self.events as f64,
            batches * self.payload_bytes as f64 / 1e6,
            live.refused.load(Ordering::Relaxed)
        );
        self.acknowledged = acknowledged;
        self.last = now;
        self.next = now + SECOND;
    }
}

fn rate(count: u64, seconds: f64) -> f64 {
    if seconds <= 0.0 {
        0.0
    } else {
        count as f64 / seconds
    }
}

/// The result of a run.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    host: Host,
    url: String,
    run: u64,
    connections: u32,
    window: u32,
    events: u32,
    event_bytes: u32,
    types: u32,
    threads: u16,
    recorded: bool,
    warmup_seconds: u64,
    measured_seconds: f64,
    /// Acknowledged inside the measured window.
    batches: u64,
    batches_per_second: f64,
    events_per_second: f64,
    /// Payload only, in 10^6 bytes.
    megabytes_per_second: f64,
    latency_us: Latency,
    /// The busiest driver thread: part of one core, from 0 to 1.
    driver_busy: f64,
    totals: Totals,
}

/// From the moment a batch is queued for its socket to the moment its answer is read.
#[derive(Debug, Serialize)]
struct Latency {
    p50: u64,
    p99: u64,
    p999: u64,
    max: u64,
}

/// Over the whole run, warm-up and drain included.
#[derive(Debug, Serialize)]
struct Totals {
    sent: u64,
    acknowledged: u64,
    refused: u64,
    refused_by_code: BTreeMap<u64, u64>,
    first_reason: Option<String>,
    unanswered: u64,
    lost_connections: usize,
    first_loss: Option<String>,
}

impl Report {
    pub(super) fn new(
        arguments: &Arguments,
        shape: &Shape,
        tally: Tally,
        measured: Duration,
    ) -> Self {
        let seconds = measured.as_secs_f64();
        let batches = tally.latency_us.len();
        let events = batches * u64::from(shape.events);
        Self {
            host: Host::here(),
            url: arguments.url.clone(),
            run: shape.run,
            connections: arguments.connections,
            window: arguments.window,
            events: arguments.events,
            event_bytes: arguments.bytes,
            types: arguments.types,
            threads: arguments.threads,
            recorded: arguments.record.is_some(),
            warmup_seconds: arguments.warmup,
            measured_seconds: seconds,
            batches,
            batches_per_second: rate(batches, seconds),
            events_per_second: rate(events, seconds),
            megabytes_per_second: rate(events * shape.event_bytes as u64, seconds) / 1e6,
            latency_us: Latency {
                p50: tally.latency_us.value_at_quantile(0.5),
                p99: tally.latency_us.value_at_quantile(0.99),
                p999: tally.latency_us.value_at_quantile(0.999),
                max: tally.latency_us.max(),
            },
            driver_busy: tally.busy,
            totals: Totals::new(tally),
        }
    }

    pub(super) fn verdict(&self) -> Verdict {
        let totals = &self.totals;
        if self.recorded && totals.lost_connections != 0 {
            Verdict::ServerGone
        } else if totals.refused + totals.unanswered != 0 || totals.lost_connections != 0 {
            Verdict::Broken
        } else {
            Verdict::Kept
        }
    }
}

impl Totals {
    fn new(tally: Tally) -> Self {
        Self {
            sent: tally.sent,
            acknowledged: tally.acknowledged,
            refused: tally.refusals(),
            unanswered: tally.unanswered,
            lost_connections: tally.lost.len(),
            first_loss: tally.lost.into_iter().next(),
            refused_by_code: tally.refused,
            first_reason: tally.first_reason,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Latency {
            p50,
            p99,
            p999,
            max,
        } = self.latency_us;
        writeln!(
            f,
            "{} connections x {} outstanding, {} x {} B, {} types, {:.2} s measured after {} s",
            self.connections,
            self.window,
            self.events,
            self.event_bytes,
            self.types,
            self.measured_seconds,
            self.warmup_seconds
        )?;
        writeln!(
            f,
            "  rate     {:.0} batches/s, {:.0} events/s, {:.1} MB/s of payload",
            self.batches_per_second, self.events_per_second, self.megabytes_per_second
        )?;
        writeln!(
            f,
            "  latency  p50 {p50} us, p99 {p99} us, p99.9 {p999} us, max {max} us"
        )?;
        write!(f, "{}", self.totals)?;
        writeln!(f, "  driver   {:.0} % of a core", self.driver_busy * 100.0)?;
        if BUSY_MAX <= self.driver_busy {
            writeln!(
                f,
                "  WARNING  the driver itself was the limit: give it more threads and cores"
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "  batches  {} sent, {} acknowledged, {} refused, {} unanswered",
            self.sent, self.acknowledged, self.refused, self.unanswered
        )?;
        if let Some(reason) = &self.first_reason {
            writeln!(
                f,
                "  refused  by code {:?}, first: {reason}",
                self.refused_by_code
            )?;
        }
        if let Some(loss) = &self.first_loss {
            writeln!(
                f,
                "  lost     {} connections, first: {loss}",
                self.lost_connections
            )?;
        }
        Ok(())
    }
}
