//! A question in a file, and its answer.
//!
//! For each step all servers are started on fresh stores, measured in turn (A B A B), and stopped.
//! What came out is printed with the question before it and behind it how to read it, and goes into a
//! file for `report` and `compare`.

mod churn;
mod file;
mod idle;
mod stage;

use std::path::PathBuf;

use clap::Parser as _;
use thiserror::Error;

use self::{
    file::{Kind, Scenario, Step},
    stage::{Places, Server},
};
use crate::{
    Verdict, host, load,
    outcome::{self, Outcome},
};

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
    /// Only these steps, by the beginning of their names.
    #[arg(long)]
    step: Vec<String>,
    /// A flag of `load` for all steps, over the file's, such as --set seconds=2.
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
    println!("{}\n", scenario.question.trim());
    let places = Places {
        ringtail: arguments
            .ringtail
            .clone()
            .unwrap_or_else(host::ringtail_program),
        folder: arguments.dir.clone(),
    };
    let mut show = Show {
        scenario: &scenario,
        arguments,
        places,
        outcomes: Vec::new(),
        verdict: Verdict::Kept,
    };
    for step in scenario.step.iter().flat_map(Step::spread) {
        let wanted = &arguments.step;
        if wanted.is_empty() || wanted.iter().any(|head| step.name.starts_with(head)) {
            println!("== {}", step.name);
            show.play(&step)?;
        }
    }
    if let Some(path) = &arguments.json {
        outcome::write(path, &show.outcomes)?;
    }
    println!("\n{}", scenario.reading.trim());
    Ok(show.verdict)
}

/// A scenario under way.
struct Show<'a> {
    scenario: &'a Scenario,
    arguments: &'a Arguments,
    places: Places,
    outcomes: Vec<Outcome>,
    verdict: Verdict,
}

impl Show<'_> {
    fn play(&mut self, step: &Step) -> Result<(), Box<dyn std::error::Error>> {
        let mut servers = Vec::new();
        for target in &self.scenario.target {
            servers.push(Server::start(target, &step.env, &self.places)?);
        }
        match step.kind {
            Kind::Load => self.load(step, &servers),
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
        let mut words = vec!["load".to_owned()];
        words.extend(step.flags(&self.scenario.load));
        for server in servers {
            words.extend([
                "--target".to_owned(),
                format!("{}={}", server.name, server.url),
            ]);
            if let Some(process) = server.process() {
                words.extend(["--watch".to_owned(), format!("{}={process}", server.name)]);
            }
        }
        words.extend(["--name".to_owned(), step.name.clone()]);
        words.extend(["--rounds".to_owned(), self.scenario.rounds.to_string()]);
        if let Some(rate) = &step.rate_of {
            let events = self.rate(step, &rate.step)? * rate.part;
            words.extend(["--rate".to_owned(), format!("{events:.0}")]);
        }
        words = self.override_flags(words)?;
        let flags = LoadFlags::try_parse_from(words)?;
        let (verdict, outcomes) = load::measure(&flags.arguments)?;
        self.verdict = self.verdict.worse(verdict);
        self.outcomes.extend(outcomes);
        Ok(())
    }

    /// Puts the flags of `--set` in the place of those that the file has.
    fn override_flags(&self, mut words: Vec<String>) -> Result<Vec<String>, ScenarioError> {
        for given in &self.arguments.set {
            let (flag, value) = setting(given)?;
            if let Some(place) = words.iter().position(|word| *word == flag) {
                words.drain(place..place + 2);
            }
            words.extend([flag, value.to_owned()]);
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
