//! Which plots there are, and what they show of the results.

use super::{
    Series,
    svg::{Axis, Bar, Plot, bars},
};
use crate::{
    compare::{FIGURES, Figure, Sample},
    outcome::Outcome,
};

const MILLISECONDS: &str = "latency of a batch, ms";

/// A list of an outcome's, one value for each interval.
type Row = fn(&Outcome) -> &[f64];

/// Latency by percentile: the whole distribution, its tail spread out.
pub(super) fn latency_by_percentile(series: &[&Series<'_>]) -> String {
    let curves: Vec<Vec<Vec<(f64, f64)>>> = series
        .iter()
        .map(|series| {
            series
                .outcomes
                .iter()
                .map(|outcome| curve(outcome))
                .collect()
        })
        .collect();
    let points = || curves.iter().flatten().flatten();
    let low = points()
        .map(|(_, value)| *value)
        .fold(f64::INFINITY, f64::min);
    let high = points().map(|(_, value)| *value).fold(0.0, f64::max);
    let nines = points().map(|(nines, _)| *nines).fold(1.0, f64::max);
    let mut plot = Plot::new(
        Axis::nines("percentile", nines.ceil() as u32),
        Axis::logarithmic(MILLISECONDS, low, high),
    );
    for (colour, (series, curves)) in series.iter().zip(&curves).enumerate() {
        for (index, curve) in curves.iter().enumerate() {
            plot.line(colour, curve, index != 0);
        }
        plot.name(colour, &series.name);
    }
    plot.draw("Latency by percentile (thin lines are repetitions)")
}

/// Number of nines and milliseconds, from the median's half on, where the count says something.
fn curve(outcome: &Outcome) -> Vec<(f64, f64)> {
    let quantiles = outcome.openmessaging.quantiles();
    let known = quantiles
        .into_iter()
        .filter(|(percent, _)| *percent < 100.0);
    known
        .map(|(percent, value)| (-(1.0 - percent / 100.0).log10(), value))
        .collect()
}

/// Latency over time: the median and the 99th percentile of each interval.
pub(super) fn latency_over_time(series: &[&Series<'_>]) -> String {
    let rows: [(&str, Row); 2] = [
        ("p50", |outcome| &outcome.openmessaging.publish_latency50pct),
        ("p99", |outcome| &outcome.openmessaging.publish_latency99pct),
    ];
    let value = |outcome: &Outcome, row: Row| row(outcome).iter().copied().fold(0.0, f64::max);
    let high = all(series)
        .map(|outcome| value(outcome, rows[1].1))
        .fold(0.0, f64::max);
    let lows = all(series).flat_map(|outcome| (rows[0].1)(outcome).iter().copied());
    let low = lows
        .filter(|value| 0.0 < *value)
        .fold(f64::INFINITY, f64::min);
    let mut plot = Plot::new(
        Axis::linear("seconds of the measured time", longest(series)),
        Axis::logarithmic(MILLISECONDS, low.min(high), high),
    );
    for happened in all(series).filter_map(|outcome| outcome.interruption.as_ref()) {
        let happened = &happened.happened;
        plot.band(happened.began_seconds, happened.ended_seconds);
    }
    for (colour, series) in series.iter().enumerate() {
        for (index, outcome) in series.outcomes.iter().enumerate() {
            for (number, (_, row)) in rows.iter().enumerate() {
                // The median is drawn thinly: it says less.
                plot.line(colour, &over_time(outcome, *row), number == 0 || index != 0);
            }
        }
        plot.name(colour, &series.name);
    }
    plot.draw("Latency over time (p99 thick, median and repetitions thin)")
}

/// Events acknowledged each second, over time.
pub(super) fn throughput_over_time(series: &[&Series<'_>]) -> String {
    let row: Row = |outcome| &outcome.openmessaging.publish_rate;
    let rates = all(series).flat_map(|outcome| row(outcome).iter().copied());
    let mut plot = Plot::new(
        Axis::linear("seconds of the measured time", longest(series)),
        Axis::linear("events/s acknowledged", rates.fold(0.0, f64::max)),
    );
    for (colour, series) in series.iter().enumerate() {
        for (index, outcome) in series.outcomes.iter().enumerate() {
            plot.line(colour, &over_time(outcome, row), index != 0);
        }
        plot.name(colour, &series.name);
    }
    plot.draw("Throughput over time (thin lines are repetitions)")
}

/// The middle of each interval and its value.
fn over_time(outcome: &Outcome, row: Row) -> Vec<(f64, f64)> {
    let length = outcome.interval_seconds as f64;
    let values = row(outcome).iter().enumerate();
    values
        .map(|(index, value)| ((index as f64 + 0.5) * length, *value))
        .collect()
}

fn all<'a>(series: &'a [&'a Series<'a>]) -> impl Iterator<Item = &'a Outcome> {
    series
        .iter()
        .flat_map(|series| series.outcomes.iter().copied())
}

fn longest(series: &[&Series<'_>]) -> f64 {
    let seconds = all(series).map(|outcome| outcome.measured_seconds);
    seconds.fold(1.0, f64::max)
}

/// Bars for each figure, with 95 % intervals where there are repetitions.
pub(super) fn comparisons(series: &[&Series<'_>]) -> String {
    FIGURES
        .iter()
        .map(|figure| comparison(series, *figure))
        .collect()
}

fn comparison(series: &[&Series<'_>], figure: Figure) -> String {
    let bar = |(colour, series): (usize, &&Series<'_>)| {
        let values = || series.outcomes.iter().map(|outcome| (figure.of)(outcome));
        let sample = Sample::new(values());
        let points = if 1 < sample.len() {
            values().collect()
        } else {
            Vec::new()
        };
        Bar {
            colour,
            name: series.name.clone(),
            value: sample.mean(),
            margin: sample.margin(),
            points,
        }
    };
    let better = if figure.more_is_better {
        "more"
    } else {
        "less"
    };
    let title = format!(
        "{}: mean of the repetitions, {better} is better",
        figure.name
    );
    bars(
        &title,
        figure.name,
        &series.iter().enumerate().map(bar).collect::<Vec<_>>(),
    )
}
