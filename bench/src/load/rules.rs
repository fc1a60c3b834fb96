//! What all workers of one run keep to.

use std::{
    sync::atomic::AtomicBool,
    time::{Duration, Instant},
};

use super::{
    arguments::{Arguments, Arrivals, Rate},
    tally::{Live, Span},
};
use crate::{host, wire::Protocol};

/// Batches outstanding on one connection where nothing else bounds them.
const OUTSTANDING_MAX: usize = 65_536;
const WINDOW: u32 = 16;

/// When batches are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loop {
    /// When an answer makes room in the window.
    Closed,
    /// When the socket takes more.
    Max,
    /// At their moments, whatever the server does.
    Open { late_us: u64 },
}

/// Connections that break off together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Storm {
    pub(super) every: Duration,
    pub(super) percent: u8,
}

#[derive(Debug)]
pub(super) struct Rules {
    pub(super) kind: Loop,
    /// Batches outstanding on one connection.
    pub(super) window: usize,
    /// For each connection.
    pub(super) batches_max: u64,
    pub(super) think: Option<Duration>,
    /// Of an open loop, for all workers together.
    pub(super) batches_per_second: Option<f64>,
    pub(super) arrivals: Arrivals,
    pub(super) begins: Instant,
    pub(super) span: Span,
    /// Over how much time the connections are opened.
    pub(super) ramp_up: Duration,
    pub(super) storm: Option<Storm>,
    /// Whether a lost connection ends the run: it does when the run is recorded.
    pub(super) end_on_loss: bool,
    pub(super) connections: u32,
    pub(super) workers: usize,
    pub(super) live: Live,
    /// Some worker lost a connection.
    pub(super) gone: AtomicBool,
}

impl Rules {
    /// The rules of a run that begins now.
    pub(super) fn new(arguments: &Arguments, protocol: Protocol) -> Self {
        let (pace, crowd) = (&arguments.pace, &arguments.crowd);
        let begins = host::now();
        let from = begins + Duration::from_secs(pace.warmup.max(crowd.ramp_up));
        let until = from + Duration::from_secs(pace.seconds);
        let (kind, rate) = match pace.rate {
            None => (Loop::Closed, None),
            Some(Rate::Max) => (Loop::Max, None),
            Some(Rate::EventsPerSecond(events)) => {
                let late_us = pace.late_us;
                let batches = events / f64::from(arguments.content.events.max(1));
                (Loop::Open { late_us }, Some(batches))
            }
        };
        let think = Duration::from_micros(pace.think_us);
        let storm = crowd.storm_every.map(|seconds| Storm {
            every: Duration::from_secs(seconds),
            percent: crowd.storm_percent,
        });
        Self {
            kind,
            window: window(arguments, kind, protocol),
            batches_max: pace.batches,
            think: (kind == Loop::Closed && !think.is_zero()).then_some(think),
            batches_per_second: rate,
            arrivals: pace.arrivals,
            begins,
            span: Span { from, until },
            ramp_up: Duration::from_secs(crowd.ramp_up),
            storm,
            end_on_loss: arguments.is_recorded(),
            connections: crowd.connections,
            // A thread without connections is not started.
            workers: usize::from(pace.threads).min(crowd.connections as usize),
            live: Live::default(),
            gone: AtomicBool::new(false),
        }
    }
}

fn window(arguments: &Arguments, kind: Loop, protocol: Protocol) -> usize {
    if !protocol.takes_many_at_once() {
        return 1;
    }
    match kind {
        Loop::Closed => arguments.pace.window.unwrap_or(WINDOW) as usize,
        Loop::Max | Loop::Open { .. } => OUTSTANDING_MAX,
    }
}
