//! Makes a result of what was counted.

use std::time::Duration;

use super::{
    arguments::{Arguments, Named, Rate},
    beside::phases,
    rules::{Loop, Rules},
    tally::Tally,
    watch::Watch,
};
use crate::{
    host::Host,
    message::Shape,
    outcome::{
        BUSY_MAX, Happened, Latency, OpenLoop, OpenMessaging, Openings, Outcome, Phases, Totals,
        WAITED_MAX, rate,
    },
    wire::Target,
};

/// What a run was.
pub(super) struct Run<'a> {
    pub(super) arguments: &'a Arguments,
    pub(super) named: &'a Named,
    pub(super) target: &'a Target,
    pub(super) round: u32,
    pub(super) shape: &'a Shape,
    pub(super) rules: &'a Rules,
    pub(super) measured: Duration,
    pub(super) watch: &'a Watch,
    /// What somebody did beside it.
    pub(super) happened: Option<Happened>,
}

impl Run<'_> {
    pub(super) fn outcome(&self, tally: Tally) -> Outcome {
        let (arguments, shape) = (self.arguments, self.shape);
        let seconds = self.measured.as_secs_f64();
        let batches = tally.measured as f64;
        let events = batches * f64::from(shape.events);
        let mean = shape.mix.sizes().mean();
        let configuration = serde_json::to_value(arguments);
        Outcome {
            host: Host::here(),
            target: self.named.name.clone(),
            url: self.named.url.clone(),
            protocol: format!("{:?}", self.target.protocol),
            round: self.round,
            mode: self.mode().to_owned(),
            run: shape.run,
            configuration: configuration.expect("arguments are plain values"),
            connections: arguments.crowd.connections,
            window: self.rules.window,
            events: shape.events,
            event_bytes: mean,
            types: shape.mix.types(),
            threads: arguments.pace.threads,
            recorded: arguments.is_recorded(),
            warmup_seconds: arguments.pace.warmup,
            measured_seconds: seconds,
            interval_seconds: self.rules.span.interval().as_secs(),
            batches: tally.measured,
            batches_per_second: rate(batches, seconds),
            events_per_second: rate(events, seconds),
            megabytes_per_second: rate(events * mean, seconds) / 1e6,
            latency_us: Latency::of(&tally.latency_us),
            open_loop: self.open_loop(&tally),
            openings: openings(&tally),
            server: self.watch.used(rate(events, seconds)),
            driver_busy: tally.busy,
            driver_waited: tally.waited,
            driver_limited: BUSY_MAX <= tally.busy || WAITED_MAX <= tally.waited,
            interruption: self.phases(&tally),
            drain: None,
            account: None,
            openmessaging: self.openmessaging(&tally),
            totals: totals(tally),
        }
    }

    fn phases(&self, tally: &Tally) -> Option<Phases> {
        let happened = self.happened.clone()?;
        let each = self.rules.span.interval();
        Some(phases(happened, &tally.intervals, each, self.measured))
    }

    fn mode(&self) -> &'static str {
        match self.rules.kind {
            Loop::Closed => "closed",
            Loop::Max => "max",
            Loop::Open { .. } => "open",
        }
    }

    fn open_loop(&self, tally: &Tally) -> Option<OpenLoop> {
        let Some(Rate::EventsPerSecond(asked)) = self.arguments.pace.rate else {
            return None;
        };
        Some(OpenLoop {
            asked_events_per_second: asked,
            intended: tally.open_loop.intended,
            late_us: self.arguments.pace.late_us,
            late: tally.open_loop.late,
            unsent: tally.open_loop.unsent,
            delay_us: Latency::of(&tally.delay_us),
        })
    }

    fn openmessaging(&self, tally: &Tally) -> OpenMessaging {
        let types = self.shape.mix.types();
        let mut fields = OpenMessaging {
            workload: self.arguments.name.clone(),
            driver: self.named.name.clone(),
            message_size: self.shape.mix.sizes().mean() as u64,
            topics: types,
            producers_per_topic: self.arguments.crowd.connections,
            ..OpenMessaging::default()
        };
        let events = f64::from(self.shape.events);
        let interval = self.rules.span.interval().as_secs_f64();
        let whole = (self.measured.as_secs_f64() / interval).ceil() as usize;
        // Answers that came after the end count for the whole, not for an interval.
        for (index, counted) in tally.intervals.iter().take(whole).enumerate() {
            let seconds = interval.min(self.measured.as_secs_f64() - index as f64 * interval);
            let of = |batches: u64| rate(batches as f64 * events, seconds);
            let latencies = counted.histogram();
            fields.add_interval(of(counted.batches), of(counted.refused), &latencies);
        }
        fields.aggregate(&tally.latency_us, &tally.delay_us);
        fields
    }
}

fn openings(tally: &Tally) -> Option<Openings> {
    let storms = tally.storms;
    (storms.opened + storms.retries + storms.broken_off != 0).then(|| Openings {
        broken_off: storms.broken_off,
        abandoned: storms.abandoned,
        opened: storms.opened,
        retries: storms.retries,
        opening_us: Latency::of(&tally.opening_us),
    })
}

fn totals(tally: Tally) -> Totals {
    Totals {
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
