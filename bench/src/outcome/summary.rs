//! A result in words.

use std::fmt;

use super::{Latency, OpenLoop, Openings, Outcome, ServerUse, Totals};

/// Threads that took less of the whole process are not told.
const THREAD_PART_MIN: f64 = 0.01;

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} round {}: {} connections, {}, {} x {} B, {} types, {:.2} s measured after {} s",
            self.target,
            self.round,
            self.connections,
            self.way(),
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
        writeln!(f, "  latency  {}", self.latency_us)?;
        if let Some(open_loop) = &self.open_loop {
            write!(f, "{open_loop}")?;
        }
        if let Some(openings) = &self.openings {
            write!(f, "{openings}")?;
        }
        if let Some(interruption) = &self.interruption {
            write!(f, "{interruption}")?;
        }
        write!(f, "{}", self.totals)?;
        if let Some(server) = &self.server {
            writeln!(
                f,
                "  server   {:.0} % of a core, {:.3} CPU-seconds per million events, {} KiB resident",
                server.cores * 100.0,
                server.cpu_seconds_per_million_events,
                server.resident_kib
            )?;
            write!(f, "{}", Threads(server))?;
        }
        writeln!(
            f,
            "  driver   {:.0} % of a core, {:.0} % waiting for it",
            self.driver_busy * 100.0,
            self.driver_waited * 100.0
        )?;
        if let Some(doubt) = self.doubt() {
            writeln!(f, "  WARNING  {doubt}")?;
        }
        Ok(())
    }
}

impl Outcome {
    /// How batches were sent, in words.
    pub(crate) fn way(&self) -> String {
        match &self.open_loop {
            Some(open) => format!("open loop of {:.0} events/s", open.asked_events_per_second),
            None if self.mode == "max" => "as much as the sockets take".to_owned(),
            None => format!("closed loop of {} outstanding", self.window),
        }
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            p50,
            p99,
            p999,
            max,
        } = self;
        write!(
            f,
            "p50 {p50} us, p99 {p99} us, p99.9 {p999} us, max {max} us"
        )
    }
}

impl fmt::Display for OpenLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "  asked    {:.0} events/s: {} batches, {} sent more than {} us late, {} not sent",
            self.asked_events_per_second, self.intended, self.late, self.late_us, self.unsent
        )?;
        writeln!(f, "  delay    {}", self.delay_us)?;
        if !self.was_kept() {
            writeln!(
                f,
                "  WARNING  the rate was not kept: the latencies are those of the batches that were sent"
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Openings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "  opened   {} under load, {} broken off with {} batches unanswered, {} retries; {}",
            self.opened, self.broken_off, self.abandoned, self.retries, self.opening_us
        )
    }
}

/// Who took the processor in the server's process; what is hardly anything is left out.
struct Threads<'a>(&'a ServerUse);

impl fmt::Display for Threads<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.0.cpu_seconds_per_million_events;
        let threads = self.0.threads.iter();
        let mut told: Vec<_> = threads
            .filter(|(_, used)| all * THREAD_PART_MIN <= **used)
            .collect();
        if told.len() < 2 {
            return Ok(());
        }
        told.sort_by(|one, two| two.1.total_cmp(one.1));
        let words: Vec<_> = told
            .iter()
            .map(|(name, used)| format!("{name} {used:.3}"))
            .collect();
        writeln!(f, "  threads  {}", words.join(", "))
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
