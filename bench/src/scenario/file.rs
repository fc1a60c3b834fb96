//! A scenario file: what is asked, of whom, with which loads, and how to read the answer.
//!
//! Loads are flags of `ringtail-bench load`, written as keys. A step's `vary` gives one step for each
//! value; its `rate_of` takes the rate from what an earlier step came to. `happens` has a broker go away
//! under the load, `drain` lets a backlog grow and drain.

mod broker;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use thiserror::Error;
use toml::{Table, Value};

pub(super) use self::broker::{Away, Broker, Drain, Happens};

#[derive(Debug, Error)]
pub(crate) enum FileError {
    #[error("could not read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path}: {source}")]
    Form {
        path: PathBuf,
        source: Box<toml::de::Error>,
    },
    #[error("{path}: {what}")]
    Sense { path: PathBuf, what: String },
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scenario {
    /// What somebody wants to know, in one sentence.
    pub(super) question: String,
    /// How to read the answer.
    pub(super) reading: String,
    /// Repetitions of each load on each target, A B A B.
    #[serde(default = "one")]
    pub(super) rounds: u32,
    /// Where servers that publish find Kafka.
    pub(super) broker: Option<Broker>,
    pub(super) target: Vec<Target>,
    /// Flags that all steps of kind `load` share.
    #[serde(default)]
    pub(super) load: Table,
    pub(super) step: Vec<Step>,
}

/// What `load` measures when nothing else is said, in seconds.
const SECONDS: u64 = 10;
/// More copies than anybody keeps.
const VOLUMES_MAX: u32 = 8;

fn one() -> u32 {
    1
}

/// A server: one that is started for the scenario, or one that runs already; or a program that measures by itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Target {
    pub(super) name: String,
    /// What to start.
    pub(super) start: Option<Program>,
    /// Where a server is that runs already.
    pub(super) url: Option<String>,
    /// A program, from the folder of this one, that prints its figures as one JSON object of numbers.
    pub(super) program: Option<PathBuf>,
    /// What it is told; `{broker}` stands for the broker's address.
    #[serde(default)]
    pub(super) words: Vec<String>,
    #[serde(default)]
    pub(super) protocol: Protocol,
    /// Folders that each hold a copy of the log, all on the disk that is measured.
    #[serde(default = "one")]
    pub(super) volumes: u32,
    /// Cores that the whole process is confined to.
    #[serde(default)]
    pub(super) cpu: Vec<usize>,
    /// Settings of the server, as environment variables.
    #[serde(default)]
    pub(super) env: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Program {
    /// `ringtail serve` on a fresh store.
    Ringtail,
    /// A server that forgets, on the same runtime.
    Null,
    NullTokio,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Protocol {
    #[default]
    WebSocket,
    #[serde(rename = "websocket-deflate")]
    WebSocketDeflate,
    Rest,
    /// A call for each batch.
    Grpc,
    /// One call for all batches of a connection.
    #[serde(rename = "grpc-stream")]
    GrpcStream,
}

impl Protocol {
    /// Whether the server has a port of its own for it.
    pub(super) fn is_grpc(self) -> bool {
        matches!(self, Self::Grpc | Self::GrpcStream)
    }

    pub(super) fn url(self, port: u16) -> String {
        let (scheme, path) = match self {
            Self::WebSocket => ("ws", "/api/v1/events"),
            Self::WebSocketDeflate => ("ws-deflate", "/api/v1/events"),
            Self::Rest => ("http", "/api/v1/events"),
            Self::Grpc => ("grpc", ""),
            Self::GrpcStream => ("grpc-stream", ""),
        };
        format!("{scheme}://127.0.0.1:{port}{path}")
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    pub(super) name: String,
    #[serde(default)]
    pub(super) kind: Kind,
    /// Flags of this step, over those that all share.
    #[serde(default)]
    pub(super) load: Table,
    /// A flag and its values: one step for each.
    #[serde(default)]
    pub(super) vary: BTreeMap<String, Vec<Value>>,
    /// The rate is a part of what another step came to.
    pub(super) rate_of: Option<RateOf>,
    /// What happens to the broker while the load is on.
    pub(super) happens: Option<Happens>,
    /// The load is what comes in while a backlog drains.
    pub(super) drain: Option<Drain>,
    /// Of programs: which of their figures is compared with that of the first target.
    pub(super) figure: Option<String>,
    /// Bounds of the ratio that a step with `happens`, `drain` or `figure` comes to.
    pub(super) at_least: Option<f64>,
    pub(super) at_most: Option<f64>,
    /// Settings of all servers in this step, over their own.
    #[serde(default)]
    pub(super) env: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    #[default]
    Load,
    /// Connections that do nothing: what does one cost?
    Idle,
    /// Connections that come and go: how many a second?
    Churn,
    /// Programs that measure by themselves.
    Program,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RateOf {
    pub(super) step: String,
    /// From above 0 to 1; of the slowest target, so that all get the same.
    pub(super) part: f64,
}

pub(super) fn read(path: &Path) -> Result<Scenario, FileError> {
    let text = fs::read_to_string(path).map_err(|source| FileError::Read {
        path: path.to_path_buf(),
        source,
    })?;
    parse(&text, path)
}

fn parse(text: &str, path: &Path) -> Result<Scenario, FileError> {
    let scenario: Scenario = toml::from_str(text).map_err(|source| FileError::Form {
        path: path.to_path_buf(),
        source: Box::new(source),
    })?;
    scenario.sensible().map_err(|what| FileError::Sense {
        path: path.to_path_buf(),
        what,
    })?;
    Ok(scenario)
}

impl Scenario {
    fn sensible(&self) -> Result<(), String> {
        if self.target.is_empty() || self.step.is_empty() || self.rounds == 0 {
            return Err(
                "a scenario has at least one [[target]], one [[step]] and one round".into(),
            );
        }
        if let Some(broker) = &self.broker {
            broker.sensible()?;
        }
        for target in &self.target {
            target.sensible()?;
        }
        for (index, step) in self.step.iter().enumerate() {
            let in_step = |what| format!("step {}: {what}", step.name);
            step.sensible().map_err(in_step)?;
            self.has_what_it_needs(step).map_err(in_step)?;
            step.rate_is_known(&self.step[..index]).map_err(in_step)?;
        }
        Ok(())
    }

    /// Whether there are the targets and the broker that a step wants.
    pub(super) fn has_what_it_needs(&self, step: &Step) -> Result<(), String> {
        let wants_programs = step.kind == Kind::Program;
        let mut targets = self.target.iter();
        if targets.any(|target| target.program.is_some() != wants_programs) {
            return Err(
                "kind = \"program\" is for targets with a program, all others for servers".into(),
            );
        }
        let ours = self
            .broker
            .as_ref()
            .is_some_and(|broker| broker.run.is_some());
        if (step.happens.is_some() || step.drain.is_some()) && !ours {
            return Err(
                "only a broker that the scenario starts may go away: give [broker] run".into(),
            );
        }
        if step.drain.is_some() {
            let has = |key: &str| step.load.contains_key(key) || self.load.contains_key(key);
            if let Some(key) = ["rate", "verify"].into_iter().find(|key| has(key)) {
                return Err(format!(
                    "a drain finds its rate by itself and reads nothing back: leave {key} out"
                ));
            }
        }
        if let Some(happens) = &step.happens {
            happens.sensible(self.seconds(step))?;
        }
        Ok(())
    }

    /// How long a step is measured.
    fn seconds(&self, step: &Step) -> u64 {
        let given = step.load.get("seconds").or(self.load.get("seconds"));
        let given = given.and_then(Value::as_integer);
        given.map_or(SECONDS, |seconds| u64::try_from(seconds).unwrap_or(0))
    }
}

impl Target {
    fn sensible(&self) -> Result<(), String> {
        let given = [
            self.start.is_some(),
            self.url.is_some(),
            self.program.is_some(),
        ];
        if given.iter().filter(|given| **given).count() != 1 {
            return Err(format!(
                "target {}: give either start or url, or a program",
                self.name
            ));
        }
        let is_ringtail = self.start == Some(Program::Ringtail);
        let is_null = self.start.is_some() && !is_ringtail;
        if is_null && !matches!(self.protocol, Protocol::WebSocket | Protocol::Rest) {
            return Err(format!(
                "target {}: of ours only ringtail speaks that protocol",
                self.name
            ));
        }
        let volumes = if is_ringtail { 1..=VOLUMES_MAX } else { 1..=1 };
        if !volumes.contains(&self.volumes) {
            return Err(format!(
                "target {}: volumes are 1 to {VOLUMES_MAX}, and only ringtail has some",
                self.name
            ));
        }
        Ok(())
    }
}

impl Step {
    fn sensible(&self) -> Result<(), String> {
        if let Some(drain) = &self.drain {
            drain.sensible()?;
        }
        let acts = usize::from(self.happens.is_some()) + usize::from(self.drain.is_some());
        if 1 < acts
            || (acts == 1
                && (self.kind != Kind::Load || self.rate_of.is_some() && self.drain.is_some()))
        {
            return Err("happens and drain each make a load of their own: give one of them, no other kind, and drain no rate_of".into());
        }
        if self.figure.is_some() != (self.kind == Kind::Program) {
            return Err("figure is what programs are compared by: give it with kind = \"program\", and only there".into());
        }
        let bounded = self.at_least.is_some() || self.at_most.is_some();
        if bounded && acts == 0 && self.figure.is_none() {
            return Err("at_least and at_most are for steps with happens, drain or figure: others come to no ratio".into());
        }
        Ok(())
    }

    fn rate_is_known(&self, earlier: &[Self]) -> Result<(), String> {
        let Some(rate) = &self.rate_of else {
            return Ok(());
        };
        let mut earlier = earlier.iter();
        if !earlier.any(|earlier| earlier.name == rate.step && earlier.vary.is_empty()) {
            let of = &rate.step;
            return Err(format!("rate_of names no earlier step without vary: {of}"));
        }
        if !(0.0 < rate.part && rate.part <= 1.0) {
            return Err("a part is above 0 and at most 1".into());
        }
        Ok(())
    }

    /// One step for each combination of what is varied, with names that say which.
    pub(super) fn spread(&self) -> Vec<Self> {
        let mut steps = vec![Self {
            vary: BTreeMap::new(),
            ..self.clone()
        }];
        for (key, values) in &self.vary {
            let with = |step: &Self, value: &Value| {
                let mut step = step.clone();
                step.name = format!("{} {key}={}", step.name, word(value));
                step.load.insert(key.clone(), value.clone());
                step
            };
            steps = steps
                .iter()
                .flat_map(|step| values.iter().map(|value| with(step, value)))
                .collect();
        }
        steps
    }

    /// The flags of `load` or `idle`: what is shared, and over it what is the step's own.
    pub(super) fn flags(&self, shared: &Table) -> Vec<String> {
        let mut all = shared.clone();
        all.extend(self.load.clone());
        let mut flags = Vec::new();
        for (key, value) in &all {
            match value {
                Value::Boolean(false) => {}
                Value::Boolean(true) => flags.push(format!("--{key}")),
                value => flags.extend([format!("--{key}"), word(value)]),
            }
        }
        flags
    }
}

/// A value as the command line takes it.
fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(word).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}
