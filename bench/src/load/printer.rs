//! What is to be seen while a run goes on: a bar for people, a line each second for files.

use std::{
    io::IsTerminal,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use super::{rules::Rules, tally::Live};
use crate::{message::Shape, outcome::rate};

const SECOND: Duration = Duration::from_secs(1);
const BAR: &str = "{prefix} [{bar:30}] {pos}/{len} s  {msg}";

pub(super) struct Printer {
    events: f64,
    payload_bytes: f64,
    started: Instant,
    last: Instant,
    next: Instant,
    acknowledged: u64,
    /// When somebody is watching.
    bar: Option<ProgressBar>,
}

impl Printer {
    pub(super) fn new(shape: &Shape, rules: &Rules, name: &str, now: Instant) -> Self {
        let seconds = rules.span.until.duration_since(rules.begins).as_secs();
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(BAR).expect("the template is ours");
            let bar = ProgressBar::new(seconds).with_style(style);
            bar.with_prefix(name.to_owned())
        });
        let events = f64::from(shape.events);
        Self {
            events,
            payload_bytes: events * shape.mix.sizes().mean(),
            started: now,
            last: now,
            next: now + SECOND,
            acknowledged: 0,
            bar,
        }
    }

    pub(super) fn until_next(&self, now: Instant) -> Duration {
        self.next.saturating_duration_since(now)
    }

    /// Tells how it goes, once a second.
    pub(super) fn tick_if_due(&mut self, live: &Live, now: Instant) {
        if now < self.next {
            return;
        }
        let acknowledged = live.acknowledged.load(Ordering::Relaxed);
        let seconds = now.duration_since(self.last).as_secs_f64();
        let batches = rate((acknowledged - self.acknowledged) as f64, seconds);
        let line = format!(
            "{batches:9.0} batches/s {:10.0} events/s {:8.1} MB/s {:6} errors",
            batches * self.events,
            batches * self.payload_bytes / 1e6,
            live.refused.load(Ordering::Relaxed)
        );
        let elapsed = now.duration_since(self.started);
        match &self.bar {
            Some(bar) => {
                bar.set_position(elapsed.as_secs());
                bar.set_message(line);
            }
            None => println!("{:5.0} s {line}", elapsed.as_secs_f64()),
        }
        self.acknowledged = acknowledged;
        self.last = now;
        self.next = now + SECOND;
    }

    pub(super) fn end(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
