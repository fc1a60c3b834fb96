//! A backlog that grew while the brokers were away, and how fast it drains while events come in.
//!
//! Each round of each target has a server of its own: what one has left would drain while another is measured.

use std::{error::Error, io, time::Duration};

use thiserror::Error;

use super::{
    LoadFlags, Show,
    broker::BrokerError,
    file::{self, Away, Step, Target},
    stage::Server,
};
use crate::{
    host,
    load::{self, Beside, Course, Failed},
    outcome::{Conclusion, Drain, Happened, Outcome, rate},
    wire::ask,
};

const BACKLOG: &str = "ringtail_spool_backlog_events";
const DELIVERED: &str = "ringtail_spool_delivered_total";
/// Events each second, for one second: the brokers have the topic then, and the server knows it.
const FIRST_RATE: &str = "1000";
/// What is measured of the live load before and behind the sampled time.
const MARGIN: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(200);
/// A backlog that does not get smaller for so many pauses will not.
const IDLE_TRIES: u32 = 600;

#[derive(Debug, Error)]
enum DrainError {
    #[error("{name} tells no metrics: a drain is of a server that the scenario starts")]
    NoMetrics { name: String },
    #[error("the backlog does not drain: {left} events are left")]
    Stuck { left: u64 },
    #[error("the metrics of {admin} could not be read: {source}")]
    Metrics { admin: String, source: io::Error },
}

impl Show<'_> {
    pub(super) fn drains(&mut self, step: &Step, asked: file::Drain) -> Result<(), Box<dyn Error>> {
        let targets = &self.scenario.target;
        let mut ratios = vec![Vec::new(); targets.len()];
        for round in 1..=self.scenario.rounds {
            for (target, ratios) in targets.iter().zip(&mut ratios) {
                ratios.push(self.drain_once(step, asked, target, round)?);
            }
        }
        for (target, ratios) in targets.iter().zip(ratios) {
            let figure = format!("{}: events delivered for each that comes in", target.name);
            self.conclude(step, Conclusion::new(&step.name, figure, ratios));
        }
        Ok(())
    }

    fn drain_once(
        &mut self,
        step: &Step,
        asked: file::Drain,
        target: &Target,
        round: u32,
    ) -> Result<f64, Box<dyn Error>> {
        let server = Server::start(target, &step.env, &self.places)?;
        let Some(admin) = server.admin.clone() else {
            let name = server.name.clone();
            return Err(DrainError::NoMetrics { name }.into());
        };
        let first = [("seconds", "1"), ("warmup", "0"), ("rate", FIRST_RATE)];
        self.alone(step, &server, round, &first, &mut Looker::default())?;
        println!("{}: the brokers are away, the backlog grows", server.name);
        self.all_leave(asked.away);
        let fill = [("seconds", &*asked.fill.to_string()), ("warmup", "1")];
        let most = self.alone(step, &server, round, &fill, &mut Looker::default());
        self.all_come_back(asked.away)?;
        println!("{}: the backlog drains", server.name);
        let most = most?.events_per_second;
        let mut looker = Looker {
            admin,
            process: server.process(),
            ..Looker::default()
        };
        let live = (most * asked.live).max(1.0);
        let mut outcome = self.live(step, &server, round, live, &mut looker)?;
        let drain = looker.drain(most, &outcome);
        print!("{drain}");
        outcome.drain = Some(drain);
        self.outcomes.push(outcome);
        Ok(drain.ratio)
    }

    /// Events come in at this rate; the looker's time lies within the measured time.
    fn live(
        &mut self,
        step: &Step,
        server: &Server,
        round: u32,
        events_per_second: f64,
        looker: &mut Looker,
    ) -> Result<Outcome, Box<dyn Error>> {
        let flags = self.load_flags(step, &[(&server.name, server)], &[])?;
        let seconds = flags.arguments.seconds();
        looker.lasts = seconds;
        let whole = (seconds + 2 * MARGIN).as_secs().to_string();
        let rate = format!("{events_per_second:.0}");
        let with = [("seconds", &*whole), ("warmup", "1"), ("rate", &rate)];
        self.alone(step, server, round, &with, looker)
    }

    /// The step's load with these flags over its own.
    fn alone(
        &mut self,
        step: &Step,
        server: &Server,
        round: u32,
        with: &[(&str, &str)],
        looker: &mut Looker,
    ) -> Result<Outcome, Box<dyn Error>> {
        let flags: LoadFlags = self.load_flags(step, &[(&server.name, server)], with)?;
        let (verdict, outcome) = load::measure_beside(&flags.arguments, round, looker)?;
        self.verdict = self.verdict.worse(verdict);
        Ok(outcome)
    }

    fn all_leave(&mut self, away: Away) {
        for broker in self.brokers.iter_mut().flat_map(|brokers| &mut brokers.all) {
            broker.leave(away);
        }
    }

    /// All serve again.
    fn all_come_back(&mut self, away: Away) -> Result<(), BrokerError> {
        let Some(brokers) = &mut self.brokers else {
            return Ok(());
        };
        for broker in &mut brokers.all {
            broker.come_back(away)?;
        }
        brokers.wait_until_all_serve()
    }
}

/// Reads the server's metrics at the beginning and at the end of a part of the measured time.
#[derive(Default)]
struct Looker {
    /// Without one nothing is looked at.
    admin: String,
    process: Option<u32>,
    lasts: Duration,
    seconds: f64,
    delivered: u64,
    left: u64,
    used: Duration,
}

impl Looker {
    fn used(&self) -> Duration {
        self.process.and_then(host::process_cpu).unwrap_or_default()
    }

    fn drain(&self, most: f64, outcome: &Outcome) -> Drain {
        let delivered = rate(self.delivered as f64, self.seconds);
        Drain {
            most_events_per_second: most,
            sampled_seconds: self.seconds,
            delivered_events_per_second: delivered,
            ratio: rate(delivered, outcome.events_per_second),
            server_cores: rate(self.used.as_secs_f64(), self.seconds),
            left_events: self.left,
        }
    }
}

impl Beside for Looker {
    fn during(&mut self, course: &Course) -> Result<Option<Happened>, Failed> {
        if self.admin.is_empty() {
            return Ok(None);
        }
        course.wait_until(MARGIN);
        let (before, used, began) = (number(&self.admin, DELIVERED)?, self.used(), course.now());
        course.wait_until(began + self.lasts);
        self.delivered = number(&self.admin, DELIVERED)?.saturating_sub(before);
        self.seconds = course.now().saturating_sub(began).as_secs_f64();
        self.used = self.used().saturating_sub(used);
        self.left = number(&self.admin, BACKLOG)?;
        Ok(None)
    }

    fn after(&mut self) -> Result<(), Failed> {
        Ok(())
    }
}

/// Waits until a server has nothing left to forward; one that forwards nothing has nothing.
pub(super) fn wait_until_drained(admin: &str) -> Result<(), Failed> {
    let mut least = u64::MAX;
    let mut idle = 0;
    loop {
        let left = number(admin, BACKLOG)?;
        if left == 0 {
            return Ok(());
        }
        idle = if left < least { 0 } else { idle + 1 };
        least = least.min(left);
        if idle == IDLE_TRIES {
            return Err(DrainError::Stuck { left }.into());
        }
        host::pause(PAUSE);
    }
}

/// A metric of a server, over all its labels; 0 when there is none of this name.
fn number(admin: &str, name: &str) -> Result<u64, Failed> {
    let asked = ask::get(admin, "/metrics");
    let (_, page) = asked.map_err(|source| DrainError::Metrics {
        admin: admin.to_owned(),
        source,
    })?;
    Ok(sum(&String::from_utf8_lossy(&page), name))
}

fn sum(page: &str, name: &str) -> u64 {
    let values = page.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let is_whole_name = rest.starts_with('{') || rest.starts_with(' ');
        let value = rest.rsplit(' ').next()?;
        is_whole_name.then(|| value.parse::<f64>().unwrap_or(0.0))
    });
    values.sum::<f64>() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_labels_and_over_no_other() {
        let page = "# TYPE a_total counter\na_total{shard=\"0\"} 3\na_total{shard=\"1\"} 4\na_total_more 9\nb 5\n";
        assert_eq!(sum(page, "a_total"), 7);
        assert_eq!(sum(page, "b"), 5);
        assert_eq!(sum(page, "c"), 0);
    }
}
