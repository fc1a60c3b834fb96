//! The result of a run: what was measured, of what, where, and how it was asked for.
//!
//! The fields of [`OpenMessaging`] have the names and units that the OpenMessaging Benchmark gives
//! them, so that its tools read our files; the others say what it has no name for.

mod conclusion;
mod files;
mod openmessaging;
mod phases;
mod summary;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub(crate) use conclusion::{Conclusion, Figures};
pub(crate) use files::{FileError, read_all, read_conclusions, write, write_all};
pub(crate) use openmessaging::OpenMessaging;
pub(crate) use phases::{Drain, Happened, Phase, Phases};

use crate::{Verdict, host::Host};

/// Above this part of a core the driver itself may be what limits.
pub(crate) const BUSY_MAX: f64 = 0.9;
/// A driver that is kept from running for more than this part of the time measures its own waiting.
pub(crate) const WAITED_MAX: f64 = 0.1;
/// A part of an open loop's batches that may be on their way when the measured time ends.
const UNSENT_MAX: f64 = 0.001;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) host: Host,
    /// The target's name.
    pub(crate) target: String,
    pub(crate) url: String,
    pub(crate) protocol: String,
    /// From 1: which repetition of the target this is.
    pub(crate) round: u32,
    /// `closed`, `max` or `open`.
    pub(crate) mode: String,
    pub(crate) run: u64,
    /// Everything that was asked for, defaults included.
    pub(crate) configuration: serde_json::Value,
    pub(crate) connections: u32,
    pub(crate) window: usize,
    pub(crate) events: u32,
    pub(crate) event_bytes: f64,
    pub(crate) types: u32,
    pub(crate) threads: u16,
    pub(crate) recorded: bool,
    pub(crate) warmup_seconds: u64,
    pub(crate) measured_seconds: f64,
    pub(crate) interval_seconds: u64,
    /// Acknowledged inside the measured window.
    pub(crate) batches: u64,
    pub(crate) batches_per_second: f64,
    pub(crate) events_per_second: f64,
    /// Payload only, in 10^6 bytes.
    pub(crate) megabytes_per_second: f64,
    pub(crate) latency_us: Latency,
    pub(crate) open_loop: Option<OpenLoop>,
    pub(crate) openings: Option<Openings>,
    /// Of the server's process, when it was watched.
    pub(crate) server: Option<ServerUse>,
    /// The busiest driver thread: part of one core, from 0 to 1.
    pub(crate) driver_busy: f64,
    /// The same of the time for which a driver thread could have run and others did.
    #[serde(default)]
    pub(crate) driver_waited: f64,
    /// The driver may have been what limited: the figures are lower bounds.
    pub(crate) driver_limited: bool,
    pub(crate) totals: Totals,
    /// What happened to a broker meanwhile, and what clients felt.
    #[serde(default)]
    pub(crate) interruption: Option<Phases>,
    /// When a backlog drained meanwhile.
    #[serde(default)]
    pub(crate) drain: Option<Drain>,
    /// What the log held, when it was read back.
    pub(crate) account: Option<serde_json::Value>,
    #[serde(flatten)]
    pub(crate) openmessaging: OpenMessaging,
}

/// Microseconds from the moment a batch is sent, or of an open loop was meant to be sent, to the
/// moment its answer is read.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) max: u64,
}

/// What the server's process used inside the measured window.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ServerUse {
    pub(crate) cpu_seconds: f64,
    /// Processor time over wall time.
    pub(crate) cores: f64,
    pub(crate) cpu_seconds_per_million_events: f64,
    /// The same of its threads, by their names.
    #[serde(default)]
    pub(crate) threads: BTreeMap<String, f64>,
    /// At the end.
    pub(crate) resident_kib: u64,
}

/// How well an open loop was kept.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct OpenLoop {
    pub(crate) asked_events_per_second: f64,
    /// Batches that were meant to be sent inside the measured window.
    pub(crate) intended: u64,
    /// A batch counts as late when it was sent later than this after its moment.
    pub(crate) late_us: u64,
    pub(crate) late: u64,
    /// Not sent at all.
    pub(crate) unsent: u64,
    /// From the moment a batch was meant to be sent to the moment it was.
    pub(crate) delay_us: Latency,
}

/// Connections that were opened under load.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Openings {
    pub(crate) broken_off: u64,
    /// Batches that were unanswered when their connection was broken off.
    pub(crate) abandoned: u64,
    pub(crate) opened: u64,
    pub(crate) retries: u64,
    /// From the first try to the opened connection.
    pub(crate) opening_us: Latency,
}

/// Over the whole run, warm-up and drain included.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Totals {
    pub(crate) sent: u64,
    pub(crate) acknowledged: u64,
    pub(crate) refused: u64,
    pub(crate) refused_by_code: BTreeMap<u64, u64>,
    pub(crate) first_reason: Option<String>,
    pub(crate) unanswered: u64,
    pub(crate) lost_connections: usize,
    pub(crate) first_loss: Option<String>,
}

impl Latency {
    pub(crate) fn of(histogram: &hdrhistogram::Histogram<u64>) -> Self {
        Self {
            p50: histogram.value_at_quantile(0.5),
            p99: histogram.value_at_quantile(0.99),
            p999: histogram.value_at_quantile(0.999),
            max: histogram.max(),
        }
    }
}

impl OpenLoop {
    /// Whether about as much was sent as was asked for.
    pub(crate) fn was_kept(&self) -> bool {
        self.unsent as f64 <= self.intended as f64 * UNSENT_MAX
    }
}

impl Outcome {
    /// Why the driver's figures are no more than lower bounds, in words.
    pub(crate) fn doubt(&self) -> Option<&'static str> {
        if BUSY_MAX <= self.driver_busy {
            return Some("the driver itself was the limit: give it more threads and cores");
        }
        let waited = WAITED_MAX <= self.driver_waited;
        waited
            .then_some("others ran on the driver's core: measure again, or give it one of its own")
    }

    pub(crate) fn verdict(&self) -> Verdict {
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

pub(crate) fn rate(count: f64, seconds: f64) -> f64 {
    if seconds <= 0.0 { 0.0 } else { count / seconds }
}
