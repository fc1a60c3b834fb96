//! A question in a file, and its answer.
//!
//! For each step all servers are started on fresh stores, measured in turn (A B A B), and stopped. Brokers are started
//! before the first step and ended behind the last.
//! What came out is printed with the question before it and behind it how to read it, and goes into a
//! file for `report` and `compare`.

mod broker;
mod churn;
mod drain;
mod file;
mod idle;
mod outage;
mod program;
mod stage;

use std::path::{Path, PathBuf};

use clap::Parser as _;
use thiserror::Error;

use self::{
    broker::Brokers,
    file::{Kind, Scenario, Step},
    stage::{Places, Server},
};
use crate::{
    Verdict, host, load,
    outcome::{self, Conclusion, Figures, Outcome},
};

/// Of `--set`: what is no flag of `load`, but of `happens` and `drain`.
const TIMES: [&str; 4] = ["at", "lasts", "fill", "live"];

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A scenario, such as perf/scenarios/batch_size.toml.
    file: PathBuf,
    /// Folder on the disk that is to be measured; stores are made in it and removed.
    #[arg(long, default_value = "/var/tmp")]
    dir: PathBuf,
    /// The server's program; by default the one beside this program.
    #[arg(long)]
    ringtail: Option<PathBuf>,
    /// Write all results to this file, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Brokers that run already, instead of those that the file has started.
    #[arg(long, value_name = "HOST:PORT[,…]")]
    broker: Option<String>,
    /// Only these steps, by the beginning of their names.
    #[arg(long)]
    step: Vec<String>,
    /// A flag of `load` for all steps, over the file's, such as --set seconds=2; and of steps in which a broker goes away
    /// at, lasts, fill or live.
    #[arg(long, value_name = "FLAG=VALUE")]
    set: Vec<String>,
    /// Repetitions, instead of the file's.
    #[arg(long)]
    rounds: Option<u32>,
}

#[derive(Debug, Error)]
enum ScenarioError {
    #[error("--set takes FLAG=VALUE, not {given}")]
    Set { given: String },
    #[error("--set {given}: {key} is a number")]
    Number { given: String, key: &'static str },
    #[error("step {step}: {what}")]
    Sense { step: String, what: String },
    #[error("step {step} wants a rate of step {of}, which was not run")]
    NoRate { step: String, of: String },
}

/// The flags of `load`, as a program of their own.
#[derive(clap::Parser)]
struct LoadFlags {
    #[command(flatten)]
    arguments: load::Arguments,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Verdict, Box<dyn std::error::Error>> {
    let mut scenario = file::read(&arguments.file)?;
    scenario.rounds = arguments.rounds.unwrap_or(scenario.rounds);
    if let Some(address) = &arguments.broker {
        let topics = scenario.broker.take().map(|broker| broker.topics);
        scenario.broker = Some(file::Broker {
            topics: topics.unwrap_or_default(),
            ..file::Broker::at(address)
        });
    }
    let steps = steps(&scenario, arguments)?;
    println!("{}\n", scenario.question.trim());
    let brokers = brokers(&scenario, &steps, arguments)?;
    let places = Places {
        ringtail: arguments
            .ringtail
            .clone()
            .unwrap_or_else(host::ringtail_program),
        folder: arguments.dir.clone(),
        broker: brokers.as_ref().map(|brokers| brokers.address.clone()),
    };
    let mut show = Show {
        scenario: &scenario,
        arguments,
        places,
        brokers,
        outcomes: Vec::new(),
        figures: Vec::new(),
        conclusions: Vec::new(),
        verdict: Verdict::Kept,
    };
    for step in &steps {
        println!("== {}", step.name);
        show.play(step)?;
    }
    if let Some(path) = &arguments.json {
        outcome::write_all(path, &show.outcomes, &show.figures, &show.conclusions)?;
    }
    println!("\n{}", scenario.reading.trim());
    Ok(show.verdict)
}

/// The steps that are wanted, with what `--set` says over what the file says.
fn steps(scenario: &Scenario, arguments: &Arguments) -> Result<Vec<Step>, ScenarioError> {
    let mut steps = Vec::new();
    for mut step in scenario.step.iter().flat_map(Step::spread) {
        let wanted = &arguments.step;
        if !wanted.is_empty() && !wanted.iter().any(|head| step.name.starts_with(head)) {
            continue;
        }
        for given in &arguments.set {
            let (flag, value) = setting(given)?;
            set_time(&mut step, &flag, value).map_err(|key| ScenarioError::Number {
                given: given.clone(),
                key,
            })?;
        }
        scenario
            .has_what_it_needs(&step)
            .map_err(|what| ScenarioError::Sense {
                step: step.name.clone(),
                what,
            })?;
        steps.push(step);
    }
    Ok(steps)
}

/// Sets a time of a step in which a broker goes away, and what its measured time is held against.
fn set_time(step: &mut Step, flag: &str, value: &str) -> Result<(), &'static str> {
    let seconds = |key| value.parse::<u64>().map_err(|_| key);
    match (flag, &mut step.happens, &mut step.drain) {
        ("--at", Some(happens), _) => happens.at = seconds("at")?,
        ("--lasts", Some(happens), _) => happens.lasts = seconds("lasts")?,
        ("--fill", _, Some(drain)) => drain.fill = seconds("fill")?,
        ("--live", _, Some(drain)) => drain.live = value.parse().map_err(|_| "live")?,
        ("--seconds", Some(_), _) => {
            let seconds = i64::try_from(seconds("seconds")?).map_err(|_| "seconds")?;
            step.load.insert("seconds".into(), seconds.into());
        }
        _ => {}
    }
    Ok(())
}

/// Starts the brokers, where there are any; with one more where something happens to it in controls.
fn brokers(
    scenario: &Scenario,
    steps: &[Step],
    arguments: &Arguments,
) -> Result<Option<Brokers>, broker::BrokerError> {
    let base = arguments.file.parent().unwrap_or(Path::new(""));
    let with_neighbour = steps.iter().any(|step| step.happens.is_some());
    let start = |asked| Brokers::start(asked, base, &arguments.dir, with_neighbour);
    scenario.broker.as_ref().map(start).transpose()
}

/// A scenario under way.
struct Show<'a> {
    scenario: &'a Scenario,
    arguments: &'a Arguments,
    places: Places,
    brokers: Option<Brokers>,
    outcomes: Vec<Outcome>,
    figures: Vec<Figures>,
    conclusions: Vec<Conclusion>,
    verdict: Verdict,
}

impl Show<'_> {
    fn play(&mut self, step: &Step) -> Result<(), Box<dyn std::error::Error>> {
        if let Some(happens) = step.happens {
            return self.outages(step, happens);
        }
        if let Some(drain) = step.drain {
            return self.drains(step, drain);
        }
        if let Some(figure) = &step.figure {
            return self.programs(step, figure);
        }
        let mut servers = Vec::new();
        for target in &self.scenario.target {
            servers.push(Server::start(target, &step.env, &self.places)?);
        }
        match step.kind {
            Kind::Load | Kind::Program => self.load(step, &servers),
            Kind::Idle => {
                // The shared flags are those of `load`, which are not those of `idle`.
                let flags = self.own_flags(step)?;
                for server in &servers {
                    self.verdict = self.verdict.worse(idle::hold(server, &flags)?);
                }
                Ok(())
            }
            Kind::Churn => {
                let flags = self.own_flags(step)?;
                for _ in 0..self.scenario.rounds {
                    for server in &servers {
                        self.verdict = self.verdict.worse(churn::come_and_go(server, &flags)?);
                    }
                }
                Ok(())
            }
        }
    }

    /// Says what a step came to, and keeps it.
    fn conclude(&mut self, step: &Step, conclusion: Conclusion) {
        let conclusion = Conclusion {
            at_least: step.at_least,
            at_most: step.at_most,
            ..conclusion
        };
        println!("{conclusion}");
        self.conclusions.push(conclusion);
    }

    /// The flags of a step that is no load; of `--set` only what the step has itself.
    fn own_flags(&self, step: &Step) -> Result<Vec<String>, ScenarioError> {
        let mut flags = step.flags(&toml::Table::new());
        for given in &self.arguments.set {
            let (flag, value) = setting(given)?;
            if let Some(place) = flags.iter().position(|word| *word == flag) {
                value.clone_into(&mut flags[place + 1]);
            }
        }
        Ok(flags)
    }

    fn load(&mut self, step: &Step, servers: &[Server]) -> Result<(), Box<dyn std::error::Error>> {
        let named: Vec<_> = servers
            .iter()
            .map(|server| (server.name.as_str(), server))
            .collect();
        let flags = self.load_flags(step, &named, &[])?;
        let (verdict, outcomes) = load::measure(&flags.arguments)?;
        self.verdict = self.verdict.worse(verdict);
        self.outcomes.extend(outcomes);
        Ok(())
    }

    /// The flags of a step's load on these servers; what is `over` stands above `--set`.
    fn load_flags(
        &self,
        step: &Step,
        servers: &[(&str, &Server)],
        over: &[(&str, &str)],
    ) -> Result<LoadFlags, Box<dyn std::error::Error>> {
        let mut words = vec!["load".to_owned()];
        words.extend(step.flags(&self.scenario.load));
        for (name, server) in servers {
            words.extend(["--target".to_owned(), format!("{name}={}", server.url)]);
            if let Some(process) = server.process() {
                words.extend(["--watch".to_owned(), format!("{name}={process}")]);
            }
        }
        words.extend(["--name".to_owned(), step.name.clone()]);
        words.extend(["--rounds".to_owned(), self.scenario.rounds.to_string()]);
        if let Some(rate) = &step.rate_of {
            let events = self.rate(step, &rate.step)? * rate.part;
            words.extend(["--rate".to_owned(), format!("{events:.0}")]);
        }
        if words.iter().any(|word| word == "--verify") {
            words.extend(self.read_back(&words, servers));
        }
        words = self.override_flags(words)?;
        for (flag, value) in over {
            put(&mut words, format!("--{flag}"), value);
        }
        Ok(LoadFlags::try_parse_from(words)?)
    }

    /// Where `--verify` reads: the brokers where topics of theirs are named, else the server.
    fn read_back(&self, words: &[String], servers: &[(&str, &Server)]) -> Vec<String> {
        let of_kafka = words.iter().any(|word| word == "--kafka-topics");
        let (flag, address) = if of_kafka {
            ("--kafka", self.places.broker.clone())
        } else {
            let (_, server) = servers.first().copied().unzip();
            ("--admin", server.and_then(|server| server.admin.clone()))
        };
        address.map_or_else(Vec::new, |address| vec![flag.to_owned(), address])
    }

    /// Puts the flags of `--set` in the place of those that the file has.
    fn override_flags(&self, mut words: Vec<String>) -> Result<Vec<String>, ScenarioError> {
        for given in &self.arguments.set {
            let (flag, value) = setting(given)?;
            if !TIMES.contains(&flag.trim_start_matches("--")) {
                put(&mut words, flag, value);
            }
        }
        Ok(words)
    }

    /// What the slowest target came to in another step, in events each second.
    fn rate(&self, step: &Step, of: &str) -> Result<f64, ScenarioError> {
        let there = self.outcomes.iter();
        let there: Vec<_> = there
            .filter(|outcome| outcome.openmessaging.workload == of)
            .collect();
        let mean = |name: &str| {
            let own = there.iter().filter(|outcome| outcome.target == name);
            let rates: Vec<_> = own.map(|outcome| outcome.events_per_second).collect();
            rates.iter().sum::<f64>() / rates.len() as f64
        };
        let slowest = there.iter().map(|outcome| mean(&outcome.target));
        slowest
            .min_by(f64::total_cmp)
            .ok_or_else(|| ScenarioError::NoRate {
                step: step.name.clone(),
                of: of.to_owned(),
            })
    }
}

/// Puts a flag with its value in the place of the one that is there.
fn put(words: &mut Vec<String>, flag: String, value: &str) {
    if let Some(place) = words.iter().position(|word| *word == flag) {
        words.drain(place..place + 2);
    }
    words.extend([flag, value.to_owned()]);
}

/// Flag and value of a word of `--set`.
fn setting(given: &str) -> Result<(String, &str), ScenarioError> {
    let parts = given.split_once('=');
    let (flag, value) = parts.ok_or_else(|| ScenarioError::Set {
        given: given.to_owned(),
    })?;
    Ok((format!("--{flag}"), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_of_ours_can_be_read_and_asks_only_for_what_there_is() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../perf/scenarios");
        let mut read = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let scenario = file::read(&path).unwrap_or_else(|error| panic!("{error}"));
            assert!(scenario.question.ends_with('?'), "{}", path.display());
            for step in scenario.step.iter().flat_map(Step::spread) {
                let flags = step.flags(&scenario.load);
                if step.kind == Kind::Load {
                    let words = ["load".to_owned()].into_iter().chain(flags);
                    let parsed = LoadFlags::try_parse_from(words);
                    assert!(parsed.is_ok(), "{} {}", path.display(), step.name);
                }
            }
            read += 1;
        }
        assert!(14 <= read);
    }
}
