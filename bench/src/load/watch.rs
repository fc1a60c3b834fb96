//! What the server's process uses while it is measured.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::tally::Span;
use crate::{
    host,
    outcome::{ServerUse, rate},
};

/// Processor time so far.
#[derive(Clone, Debug)]
struct Reading {
    at: Instant,
    process: Duration,
    /// By name.
    threads: BTreeMap<String, Duration>,
}

/// Looks at a process at the beginning and the end of the measured window.
#[derive(Debug)]
pub(super) struct Watch {
    process: Option<u32>,
    span: Span,
    from: Option<Reading>,
    until: Option<Reading>,
    resident_kib: u64,
}

impl Watch {
    pub(super) fn new(process: Option<u32>, span: Span) -> Self {
        Self {
            process,
            span,
            from: None,
            until: None,
            resident_kib: 0,
        }
    }

    /// When to look next, if there is anything more to see.
    pub(super) fn next(&self) -> Option<Instant> {
        self.process?;
        match (&self.from, &self.until) {
            (None, _) => Some(self.span.from),
            (_, None) => Some(self.span.until),
            _ => None,
        }
    }

    /// Looks if it is time to.
    pub(super) fn look(&mut self, now: Instant) {
        if self.next().is_none_or(|next| now < next) {
            return;
        }
        let reading = self.process.and_then(|process| {
            Some(Reading {
                at: now,
                process: host::process_cpu(process)?,
                threads: host::threads_cpu(process),
            })
        });
        let is_gone = reading.is_none();
        if self.from.is_none() {
            self.from = reading;
        } else {
            self.until = reading;
            self.resident_kib = self.process.and_then(host::resident_kib).unwrap_or(0);
        }
        if is_gone {
            // It is gone: there is nothing to tell of it.
            self.process = None;
        }
    }

    /// What was used, for `events_per_second` acknowledged in the same time.
    pub(super) fn used(&self, events_per_second: f64) -> Option<ServerUse> {
        let (from, until) = (self.from.as_ref()?, self.until.as_ref()?);
        let wall = until.at.saturating_duration_since(from.at).as_secs_f64();
        let cpu_seconds = until.process.saturating_sub(from.process).as_secs_f64();
        let millions = events_per_second * wall / 1e6;
        let thread = |(name, after): (&String, &Duration)| {
            let before = from.threads.get(name).copied().unwrap_or_default();
            let used = after.saturating_sub(before).as_secs_f64();
            (name.clone(), rate(used, millions))
        };
        Some(ServerUse {
            cpu_seconds,
            cores: rate(cpu_seconds, wall),
            cpu_seconds_per_million_events: rate(cpu_seconds, millions),
            threads: until.threads.iter().map(thread).collect(),
            resident_kib: self.resident_kib,
        })
    }
}
