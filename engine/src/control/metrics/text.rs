//! Prometheus' text format, version 0.0.4: families, samples, histograms, escapes.

use super::raccoon::Measure;
use hdrhistogram::Histogram;
use std::fmt::{Display, Write};

/// What a family of samples is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Counter,
    Gauge,
    Histogram,
}

/// Borders of a histogram's buckets, in the unit that was recorded, and how many of these make one
/// of the unit that the name states.
#[derive(Clone, Copy, Debug)]
pub(super) struct Buckets {
    pub(super) borders: &'static [u64],
    pub(super) units: f64,
}

/// A name and a value. Names are ours; values may be anybody's.
pub(super) type Label<'a> = (&'static str, &'a str);

/// A page that is being written. Samples of one family must follow its head.
#[derive(Debug, Default)]
pub(super) struct Page {
    text: String,
}

impl Page {
    pub(super) fn head(&mut self, name: &str, family: Family, help: &str) {
        let family = match family {
            Family::Counter => "counter",
            Family::Gauge => "gauge",
            Family::Histogram => "histogram",
        };
        self.put(format_args!(
            "# HELP {name} {help}\n# TYPE {name} {family}\n"
        ));
    }

    pub(super) fn sample(&mut self, name: &str, labels: &[Label<'_>], value: impl Display) {
        self.text.push_str(name);
        self.labels(labels, None);
        self.put(format_args!(" {value}\n"));
    }

    /// All of `parts` as one histogram. Values are as exact as the recorded ones: three digits.
    pub(super) fn histogram(
        &mut self,
        name: &str,
        labels: &[Label<'_>],
        parts: &[&Histogram<u64>],
        buckets: Buckets,
    ) {
        let counted = count(parts, buckets.borders);
        let mut below = 0;
        for (border, within) in buckets.borders.iter().zip(&counted.within) {
            below += within;
            let border = (*border as f64 / buckets.units).to_string();
            self.bucket(name, labels, &border, below);
        }
        self.bucket(name, labels, "+Inf", counted.all);
        let sum = counted.sum / buckets.units;
        self.sample(&format!("{name}_sum"), labels, sum);
        self.sample(&format!("{name}_count"), labels, counted.all);
    }

    /// One of Raccoon's samples, with whatever it holds.
    pub(super) fn measure(
        &mut self,
        name: &str,
        labels: &[(&'static str, String)],
        value: &Measure,
    ) {
        let labels: Vec<Label<'_>> = labels
            .iter()
            .map(|(name, value)| (*name, &**value))
            .collect();
        match value {
            Measure::Count(count) => self.sample(name, &labels, count),
            Measure::Level(level) => self.sample(name, &labels, level),
            Measure::Spread(tally) => {
                let mut below = 0;
                for (border, within) in tally.borders.iter().zip(tally.counts) {
                    below += within;
                    self.bucket(name, &labels, &border.to_string(), below);
                }
                self.bucket(name, &labels, "+Inf", tally.count());
                let sum: u64 = tally.sums.iter().sum();
                self.sample(&format!("{name}_sum"), &labels, sum);
                self.sample(&format!("{name}_count"), &labels, tally.count());
            }
        }
    }

    pub(super) fn finish(self) -> String {
        self.text
    }

    fn bucket(&mut self, name: &str, labels: &[Label<'_>], border: &str, count: u64) {
        self.put(format_args!("{name}_bucket"));
        self.labels(labels, Some(border));
        self.put(format_args!(" {count}\n"));
    }

    fn labels(&mut self, labels: &[Label<'_>], border: Option<&str>) {
        let border = border.map(|border| ("le", border));
        let mut open = '{';
        for (name, value) in labels.iter().copied().chain(border) {
            self.text.push(open);
            self.put(format_args!("{name}=\""));
            self.escaped(value);
            self.text.push('"');
            open = ',';
        }
        if open == ',' {
            self.text.push('}');
        }
    }

    fn escaped(&mut self, value: &str) {
        for letter in value.chars() {
            match letter {
                '\\' => self.text.push_str("\\\\"),
                '"' => self.text.push_str("\\\""),
                '\n' => self.text.push_str("\\n"),
                other => self.text.push(other),
            }
        }
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        self.text.write_fmt(text).expect("text grows as needed");
    }
}

struct Counted {
    /// Values between each border and the one before it.
    within: Vec<u64>,
    all: u64,
    sum: f64,
}

fn count(parts: &[&Histogram<u64>], borders: &[u64]) -> Counted {
    let mut counted = Counted {
        within: vec![0; borders.len()],
        all: 0,
        sum: 0.0,
    };
    for part in parts {
        for step in part.iter_recorded() {
            let (value, times) = (step.value_iterated_to(), step.count_at_value());
            // Recorded values are known by the range they fall into; its low end keeps a value
            // that lies on a border within that border.
            let low = part.lowest_equivalent(value);
            let bucket = borders.partition_point(|border| *border < low);
            if let Some(within) = counted.within.get_mut(bucket) {
                *within += times;
            }
            counted.all += times;
            counted.sum += part.median_equivalent(value) as f64 * times as f64;
        }
    }
    counted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_are_escaped() {
        let mut page = Page::default();
        page.head("x_total", Family::Counter, "Things.");
        page.sample("x_total", &[("kind", "a\"b\\c\nd")], 7);
        page.sample("x_total", &[], 8);
        assert_eq!(
            page.finish(),
            "# HELP x_total Things.\n# TYPE x_total counter\n\
             x_total{kind=\"a\\\"b\\\\c\\nd\"} 7\nx_total 8\n"
        );
    }

    #[test]
    fn histograms_add_up_and_are_cumulative() {
        let mut one = Histogram::<u64>::new(3).unwrap();
        let mut other = Histogram::<u64>::new(3).unwrap();
        one.record_n(100, 2).unwrap();
        one.record(101).unwrap();
        other.record(5_000_000).unwrap();
        let mut page = Page::default();
        let buckets = Buckets {
            borders: &[100, 1_000],
            units: 1e6,
        };
        page.histogram("t_seconds", &[("shard", "0")], &[&one, &other], buckets);
        let text = page.finish();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[..3],
            [
                "t_seconds_bucket{shard=\"0\",le=\"0.0001\"} 2",
                "t_seconds_bucket{shard=\"0\",le=\"0.001\"} 3",
                "t_seconds_bucket{shard=\"0\",le=\"+Inf\"} 4",
            ]
        );
        let sum: f64 = lines[3].rsplit_once(' ').unwrap().1.parse().unwrap();
        assert!((sum - 5.000_301).abs() < 0.01, "{sum}");
        assert_eq!(lines[4], "t_seconds_count{shard=\"0\"} 4");
    }

    #[test]
    fn a_value_on_a_border_lies_within_it() {
        let mut part = Histogram::<u64>::new(3).unwrap();
        part.record(250_000).unwrap();
        assert_eq!(count(&[&part], &[250_000, 500_000]).within, [1, 0]);
    }
}
