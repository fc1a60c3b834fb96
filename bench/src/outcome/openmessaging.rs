//! The fields of the OpenMessaging Benchmark's results that mean something here.
//!
//! Latencies of publishing are milliseconds, delays of publishing microseconds, rates events each
//! second: its units, not ours. A latency is that of a batch, which is answered as a whole.
//! Source: `TestResult.java` of github.com/openmessaging/benchmark.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

const MILLISECOND: f64 = 1_000.0;
const MICROSECOND: f64 = 1.0;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OpenMessaging {
    pub(crate) workload: String,
    pub(crate) driver: String,
    pub(crate) message_size: u64,
    pub(crate) topics: u32,
    pub(crate) producers_per_topic: u32,
    /// One for each interval, as all lists here.
    pub(crate) publish_rate: Vec<f64>,
    pub(crate) publish_error_rate: Vec<f64>,
    pub(crate) publish_latency_avg: Vec<f64>,
    pub(crate) publish_latency50pct: Vec<f64>,
    pub(crate) publish_latency75pct: Vec<f64>,
    pub(crate) publish_latency95pct: Vec<f64>,
    pub(crate) publish_latency99pct: Vec<f64>,
    pub(crate) publish_latency999pct: Vec<f64>,
    pub(crate) publish_latency9999pct: Vec<f64>,
    pub(crate) publish_latency_max: Vec<f64>,
    #[serde(flatten)]
    pub(crate) latency: PublishLatency,
    #[serde(flatten)]
    pub(crate) delay: PublishDelay,
    /// Percentile and milliseconds.
    pub(crate) aggregated_publish_latency_quantiles: BTreeMap<String, f64>,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct PublishLatency {
    #[serde(rename = "aggregatedPublishLatencyAvg")]
    avg: f64,
    #[serde(rename = "aggregatedPublishLatency50pct")]
    p50: f64,
    #[serde(rename = "aggregatedPublishLatency75pct")]
    p75: f64,
    #[serde(rename = "aggregatedPublishLatency95pct")]
    p95: f64,
    #[serde(rename = "aggregatedPublishLatency99pct")]
    p99: f64,
    #[serde(rename = "aggregatedPublishLatency999pct")]
    p999: f64,
    #[serde(rename = "aggregatedPublishLatency9999pct")]
    p9999: f64,
    #[serde(rename = "aggregatedPublishLatencyMax")]
    max: f64,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct PublishDelay {
    #[serde(rename = "aggregatedPublishDelayLatencyAvg")]
    avg: f64,
    #[serde(rename = "aggregatedPublishDelayLatency50pct")]
    p50: f64,
    #[serde(rename = "aggregatedPublishDelayLatency75pct")]
    p75: f64,
    #[serde(rename = "aggregatedPublishDelayLatency95pct")]
    p95: f64,
    #[serde(rename = "aggregatedPublishDelayLatency99pct")]
    p99: f64,
    #[serde(rename = "aggregatedPublishDelayLatency999pct")]
    p999: f64,
    #[serde(rename = "aggregatedPublishDelayLatency9999pct")]
    p9999: f64,
    #[serde(rename = "aggregatedPublishDelayLatencyMax")]
    max: f64,
}

/// The quantiles that are told of everything.
#[derive(Clone, Copy, Debug)]
struct Latencies {
    avg: f64,
    p50: f64,
    p75: f64,
    p95: f64,
    p99: f64,
    p999: f64,
    p9999: f64,
    max: f64,
}

impl Latencies {
    fn of(micros: &Histogram<u64>, unit: f64) -> Self {
        let at = |quantile| micros.value_at_quantile(quantile) as f64 / unit;
        Self {
            avg: micros.mean() / unit,
            p50: at(0.5),
            p75: at(0.75),
            p95: at(0.95),
            p99: at(0.99),
            p999: at(0.999),
            p9999: at(0.9999),
            max: micros.max() as f64 / unit,
        }
    }
}

impl OpenMessaging {
    /// Adds one interval: events acknowledged and refused each second, and latencies.
    pub(crate) fn add_interval(&mut self, events: f64, refused: f64, micros: &Histogram<u64>) {
        let latencies = Latencies::of(micros, MILLISECOND);
        self.publish_rate.push(events);
        self.publish_error_rate.push(refused);
        self.publish_latency_avg.push(latencies.avg);
        self.publish_latency50pct.push(latencies.p50);
        self.publish_latency75pct.push(latencies.p75);
        self.publish_latency95pct.push(latencies.p95);
        self.publish_latency99pct.push(latencies.p99);
        self.publish_latency999pct.push(latencies.p999);
        self.publish_latency9999pct.push(latencies.p9999);
        self.publish_latency_max.push(latencies.max);
    }

    /// Sets what is told of the whole run.
    pub(crate) fn aggregate(&mut self, latency_us: &Histogram<u64>, delay_us: &Histogram<u64>) {
        let all = Latencies::of(latency_us, MILLISECOND);
        self.latency = PublishLatency {
            avg: all.avg,
            p50: all.p50,
            p75: all.p75,
            p95: all.p95,
            p99: all.p99,
            p999: all.p999,
            p9999: all.p9999,
            max: all.max,
        };
        let all = Latencies::of(delay_us, MICROSECOND);
        self.delay = PublishDelay {
            avg: all.avg,
            p50: all.p50,
            p75: all.p75,
            p95: all.p95,
            p99: all.p99,
            p999: all.p999,
            p9999: all.p9999,
            max: all.max,
        };
        // As many points between a percentile and the next half of the way to 100, as the format wants.
        for step in latency_us.iter_quantiles(5) {
            let percentile = format!("{}", step.quantile_iterated_to() * 100.0);
            let value = step.value_iterated_to() as f64 / MILLISECOND;
            self.aggregated_publish_latency_quantiles
                .insert(percentile, value);
        }
    }

    /// Percentiles and milliseconds, ascending.
    pub(crate) fn quantiles(&self) -> Vec<(f64, f64)> {
        let all = self.aggregated_publish_latency_quantiles.iter();
        let read = |(text, value): (&String, &f64)| Some((text.parse().ok()?, *value));
        let mut all: Vec<(f64, f64)> = all.filter_map(read).collect();
        all.sort_by(|one, two| one.0.total_cmp(&two.0));
        all
    }
}
