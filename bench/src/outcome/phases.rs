//! What happened to somebody while a load was on, and what clients felt of it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Latency;

/// Something that happened under a load. Seconds count from the beginning of the measured time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Happened {
    /// `killed` or `paused`.
    pub(crate) what: String,
    /// `broker-1`, or in a control `neighbour`.
    pub(crate) whom: String,
    pub(crate) began_seconds: f64,
    /// When it was started again or went on; it may have served a little later.
    pub(crate) ended_seconds: f64,
}

/// The parts of the measured time, by the second in which an answer came.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Phases {
    #[serde(flatten)]
    pub(crate) happened: Happened,
    pub(crate) before: Phase,
    pub(crate) during: Phase,
    pub(crate) after: Phase,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Phase {
    pub(crate) seconds: f64,
    /// Acknowledged.
    pub(crate) batches_per_second: f64,
    pub(crate) latency_us: Latency,
}

impl Phases {
    fn all(&self) -> [(&'static str, &Phase); 3] {
        [
            ("before", &self.before),
            ("during", &self.during),
            ("after", &self.after),
        ]
    }
}

impl fmt::Display for Happened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} from second {:.1} to {:.1}",
            self.whom, self.what, self.began_seconds, self.ended_seconds
        )
    }
}

impl fmt::Display for Phases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  happened {}", self.happened)?;
        for (name, phase) in self.all() {
            writeln!(
                f,
                "  {name:<8} {:.0} s, {:.0} batches/s, {}",
                phase.seconds, phase.batches_per_second, phase.latency_us
            )?;
        }
        Ok(())
    }
}

/// How fast a backlog drained while the load was on. Source: the server's own metrics.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Drain {
    /// What a closed loop came to before, while the backlog grew.
    pub(crate) most_events_per_second: f64,
    pub(crate) sampled_seconds: f64,
    /// Taken by Kafka in that time.
    pub(crate) delivered_events_per_second: f64,
    /// That over what came in.
    pub(crate) ratio: f64,
    /// Of one core, from 0 to 1, by the server's process in that time.
    pub(crate) server_cores: f64,
    /// The backlog at the end of that time.
    pub(crate) left_events: u64,
}

impl Drain {
    /// Whether less was left than comes in within a second: then the figures say what came in, not what could be delivered.
    pub(crate) fn came_to_its_end(&self) -> bool {
        self.left_events as f64 * self.ratio < self.delivered_events_per_second
    }
}

impl fmt::Display for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "  drain    {:.0} events/s delivered over {:.1} s, {:.2} for each that came in; most that came in before: {:.0}; \
             server {:.0} % of a core; {} events left",
            self.delivered_events_per_second,
            self.sampled_seconds,
            self.ratio,
            self.most_events_per_second,
            self.server_cores * 100.0,
            self.left_events
        )?;
        if self.came_to_its_end() {
            writeln!(
                f,
                "  WARNING  the backlog came to its end, so this says little: fill for longer"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_that_left_hardly_anything_came_to_its_end() {
        let drain = |left_events| Drain {
            most_events_per_second: 400.0,
            sampled_seconds: 8.0,
            delivered_events_per_second: 300.0,
            ratio: 3.0,
            server_cores: 0.5,
            left_events,
        };
        // A hundred come in each second.
        assert!(drain(0).came_to_its_end() && drain(99).came_to_its_end());
        assert!(!drain(101).came_to_its_end());
        assert!(drain(0).to_string().contains("WARNING"));
    }
}
