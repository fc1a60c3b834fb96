//! Raccoon's metrics as StatsD lines over UDP, as Raccoon wrote them: `name,label=value:7|c`.
//!
//! Always:  counters and times go out as what has come since the last time, gauges as they are.
//! Cancel:  dropping the task forgets what was sent; nothing is sent twice for it.
//! Full:    a datagram holds as many whole lines as fit an Ethernet frame; what the kernel does not take
//!          is dropped, as StatsD's clients do. What is remembered is bounded as the labels are.

use super::raccoon::{Measure, Metric};
use crate::control::fleet::Fleet;
use crate::limit::STATSD_DATAGRAM_BYTES_MAX;
use crate::rt::datagram::Datagrams;
use crate::rt::timer::Interval;
use crate::shard::census::Tally;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write;
use std::rc::Rc;
use std::time::Duration;

/// Where to send, and how often.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Host and port.
    pub(crate) address: Box<str>,
    pub(crate) period: Duration,
}

/// Asks the shards and sends what has come.
pub(crate) struct Sender {
    fleet: Rc<Fleet>,
    settings: Settings,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    socket: Option<Datagrams>,
    told: Told,
    has_complained: bool,
}

impl Sender {
    pub(crate) fn new(fleet: Rc<Fleet>, settings: Settings) -> Self {
        Self {
            fleet,
            settings,
            state: RefCell::default(),
        }
    }

    /// Sends again and again, until the task is dropped.
    pub(crate) async fn run(self: Rc<Self>) {
        let mut interval = Interval::new(self.settings.period);
        loop {
            interval.tick().await;
            self.send().await;
        }
    }

    /// Sends what has come since the last time. An address that is not there is tried again each time.
    pub(crate) async fn send(&self) {
        let Ok(snapshots) = self.fleet.snapshots().await else {
            return;
        };
        let has_socket = self.state.borrow().socket.is_some();
        if !has_socket {
            match Datagrams::to(&self.settings.address).await {
                Ok(opened) => self.state.borrow_mut().socket = Some(opened),
                Err(error) => return self.complain(&error),
            }
        }
        let mut state = self.state.borrow_mut();
        let metrics = super::raccoon::metrics(&snapshots, &self.fleet.table());
        let lines = state.told.lines(&metrics);
        for datagram in datagrams(&lines) {
            // The kernel is busy: StatsD is told what it can be told.
            let socket = state.socket.as_ref();
            let _dropped = socket.map(|socket| socket.send(datagram.as_bytes()));
        }
    }

    fn complain(&self, error: &std::io::Error) {
        if !std::mem::replace(&mut self.state.borrow_mut().has_complained, true) {
            let address = &self.settings.address;
            tracing::warn!("metric.statsd.address {address} cannot be reached: {error}");
        }
    }
}

/// What was sent, so that the difference can be.
#[derive(Default)]
struct Told(HashMap<String, Measure>);

impl Told {
    /// What has changed since the last time, a line each.
    fn lines(&mut self, metrics: &[Metric]) -> Vec<String> {
        let mut lines = Vec::new();
        for metric in metrics {
            for sample in &metric.samples {
                let name = tagged(metric.name, &sample.labels);
                write_change(&name, self.0.get(&name), &sample.value, &mut lines);
                self.0.insert(name, sample.value.clone());
            }
        }
        lines
    }
}

fn write_change(name: &str, before: Option<&Measure>, now: &Measure, lines: &mut Vec<String>) {
    match (before, now) {
        (Some(Measure::Count(before)), Measure::Count(now)) => {
            write_count(name, now.saturating_sub(*before), lines);
        }
        (_, Measure::Count(now)) => write_count(name, *now, lines),
        (_, Measure::Level(level)) => lines.push(format!("{name}:{level}|g")),
        (Some(Measure::Spread(before)), Measure::Spread(now)) => {
            write_times(name, before, now, lines);
        }
        (_, Measure::Spread(now)) => write_times(name, &Tally::new(now.borders), now, lines),
    }
}

fn write_count(name: &str, more: u64, lines: &mut Vec<String>) {
    if more > 0 {
        lines.push(format!("{name}:{more}|c"));
    }
}

/// One line for each bucket that grew: the mean of what is new in it, sent as one sample of so many.
fn write_times(name: &str, before: &Tally, now: &Tally, lines: &mut Vec<String>) {
    for bucket in 0..now.counts.len() {
        let more = now.counts[bucket].saturating_sub(before.counts[bucket]);
        if more == 0 {
            continue;
        }
        let sum = now.sums[bucket].saturating_sub(before.sums[bucket]);
        let mean = sum / more;
        if more == 1 {
            lines.push(format!("{name}:{mean}|ms"));
        } else {
            let rate = 1.0 / more as f64;
            lines.push(format!("{name}:{mean}|ms|@{rate}"));
        }
    }
}

/// The name with its labels, as InfluxDB's dialect of StatsD has them.
fn tagged(name: &str, labels: &[(&'static str, String)]) -> String {
    let mut out = name.to_owned();
    for (label, value) in labels {
        let _never_fails = write!(out, ",{label}=");
        // These would end the value, the name or the line.
        let plain = |letter: char| match letter {
            ',' | '=' | ':' | '|' | '@' => '_',
            letter if letter.is_whitespace() || letter.is_control() => '_',
            letter => letter,
        };
        out.extend(value.chars().map(plain));
    }
    out
}

/// Whole lines, as many in each datagram as fit. A line that alone is too long is left out.
fn datagrams(lines: &[String]) -> Vec<String> {
    let mut all = Vec::new();
    let mut open = String::new();
    for line in lines {
        if STATSD_DATAGRAM_BYTES_MAX < line.len() {
            continue;
        }
        if !open.is_empty() && STATSD_DATAGRAM_BYTES_MAX < open.len() + 1 + line.len() {
            all.push(std::mem::take(&mut open));
        }
        if !open.is_empty() {
            open.push('\n');
        }
        open.push_str(line);
    }
    if !open.is_empty() {
        all.push(open);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::raccoon::Sample;
    use super::super::text::Family;
    use super::*;
    use crate::shard::census::BORDERS_MS;

    fn one(value: Measure) -> [Metric; 1] {
        [Metric {
            name: "x_total",
            family: Family::Counter,
            help: "",
            samples: vec![Sample {
                labels: vec![("conn_group", "a:b|c".into()), ("reason", "NA".into())],
                value,
            }],
        }]
    }

    const NAME: &str = "x_total,conn_group=a_b_c,reason=NA";

    #[test]
    fn counters_are_sent_as_what_has_come() {
        let mut told = Told::default();
        assert_eq!(told.lines(&one(Measure::Count(3))), [format!("{NAME}:3|c")]);
        assert!(told.lines(&one(Measure::Count(3))).is_empty());
        assert_eq!(told.lines(&one(Measure::Count(5))), [format!("{NAME}:2|c")]);
    }

    #[test]
    fn gauges_are_sent_as_they_are() {
        let mut told = Told::default();
        for _ in 0..2 {
            let lines = told.lines(&one(Measure::Level(7.0)));
            assert_eq!(lines, [format!("{NAME}:7|g")]);
        }
    }

    #[test]
    fn times_are_sent_by_bucket_with_their_mean_and_their_number() {
        let mut told = Told::default();
        let mut tally = Tally::new(&BORDERS_MS);
        for value in [1, 3, 2, 2, 40] {
            tally.record(value);
        }
        let lines = told.lines(&one(Measure::Spread(tally.clone())));
        let wanted = [format!("{NAME}:2|ms|@0.25"), format!("{NAME}:40|ms")];
        assert_eq!(lines, wanted);
        tally.record(60);
        let lines = told.lines(&one(Measure::Spread(tally)));
        assert_eq!(lines, [format!("{NAME}:60|ms")]);
    }

    #[test]
    fn datagrams_hold_whole_lines_and_no_more_than_fit() {
        let lines: Vec<String> = (0..400)
            .map(|number| format!("line-{number}:1|c"))
            .collect();
        let all = datagrams(&lines);
        assert!(all.len() > 1);
        assert!(all.iter().all(|one| one.len() <= STATSD_DATAGRAM_BYTES_MAX));
        assert_eq!(all.join("\n"), lines.join("\n"));
        assert!(datagrams(&["x".repeat(STATSD_DATAGRAM_BYTES_MAX + 1)]).is_empty());
    }
}
