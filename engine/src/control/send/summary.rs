//! What the answers came to.

use ringtail_proto::{SendEventResponse, Status};
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// Different reasons that are kept apart; the rest is counted together.
const REASONS_MAX: usize = 10;

#[derive(Debug)]
pub(crate) struct Summary {
    pub(super) started: Instant,
    pub(super) took: Duration,
    batches: u64,
    events: u64,
    batches_refused: u64,
    /// Batches by code and reason.
    refusals: BTreeMap<String, u64>,
}

impl Summary {
    pub(super) fn new(started: Instant) -> Self {
        Self {
            started,
            took: Duration::ZERO,
            batches: 0,
            events: 0,
            batches_refused: 0,
            refusals: BTreeMap::new(),
        }
    }

    pub(super) fn count(&mut self, answer: &SendEventResponse, events: usize) {
        if answer.status() == Status::Success {
            self.batches += 1;
            self.events += events as u64;
            return;
        }
        self.batches_refused += 1;
        let reason = format!("{}: {}", answer.code().as_str_name(), answer.reason);
        let known = self.refusals.len() < REASONS_MAX || self.refusals.contains_key(&reason);
        let reason = if known {
            reason
        } else {
            "other reasons".into()
        };
        *self.refusals.entry(reason).or_default() += 1;
    }

    /// Whether every batch was accepted.
    pub(crate) fn is_clean(&self) -> bool {
        self.batches_refused == 0
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.took.as_secs_f64();
        let rate = self.events as f64 / seconds.max(1e-9);
        writeln!(
            f,
            "{} events in {} batches acknowledged in {seconds:.2} s ({rate:.0} events/s)",
            self.events, self.batches
        )?;
        writeln!(f, "{} batches refused", self.batches_refused)?;
        for (reason, times) in &self.refusals {
            writeln!(f, "  {times} × {}", one_line(reason))?;
        }
        Ok(())
    }
}

/// The server's words, without what could move a terminal's cursor.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}
