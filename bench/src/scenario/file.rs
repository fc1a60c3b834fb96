//! A scenario file: what is asked, of whom, with which loads, and how to read the answer.
//!
//! Loads are flags of `ringtail-bench load`, written as keys. A step's `vary` gives one step for each
//! value; its `rate_of` takes the rate from what an earlier step came to.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use thiserror::Error;
use toml::{Table, Value};

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
    pub(super) target: Vec<Target>,
    /// Flags that all steps of kind `load` share.
    #[serde(default)]
    pub(super) load: Table,
    pub(super) step: Vec<Step>,
}

/// More copies than anybody keeps.
const VOLUMES_MAX: u32 = 8;

fn one() -> u32 {
    1
}

/// A server: one that is started for the scenario, or one that runs already.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Target {
    pub(super) name: String,
    /// What to start.
    pub(super) start: Option<Program>,
    /// Where a server is that runs already.
    pub(super) url: Option<String>,
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
        for target in &self.target {
            if target.start.is_some() == target.url.is_some() {
                return Err(format!("target {}: give either start or url", target.name));
            }
            target.sensible()?;
        }
        for (index, step) in self.step.iter().enumerate() {
            let Some(rate) = &step.rate_of else {
                continue;
            };
            let mut earlier = self.step[..index].iter();
            if !earlier.any(|earlier| earlier.name == rate.step && earlier.vary.is_empty()) {
                return Err(format!(
                    "step {}: rate_of names no earlier step without vary: {}",
                    step.name, rate.step
                ));
            }
            if !(0.0 < rate.part && rate.part <= 1.0) {
                return Err(format!(
                    "step {}: a part is above 0 and at most 1",
                    step.name
                ));
            }
        }
        Ok(())
    }
}

impl Target {
    fn sensible(&self) -> Result<(), String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
        question = "How fast?"
        reading = "More is better."
        rounds = 3
        [[target]]
        name = "a"
        start = "null-tokio"
        cpu = [0]
        [load]
        seconds = 5
        cpu = [1]
        [[step]]
        name = "maximum"
        vary = { events = [1, 10], bytes = ["200", "100..300"] }
        [[step]]
        name = "flat"
        load = { seconds = 1, verify = false }
        [[step]]
        name = "half"
        rate_of = { step = "flat", part = 0.5 }
    "#;

    fn parse(text: &str) -> Result<Scenario, FileError> {
        super::parse(text, Path::new("x.toml"))
    }

    #[test]
    fn a_step_is_spread_over_all_combinations() {
        let scenario = parse(FILE).unwrap();
        let steps = scenario.step[0].spread();
        let names: Vec<_> = steps.iter().map(|step| step.name.as_str()).collect();
        assert_eq!(names[0], "maximum bytes=200 events=1");
        assert_eq!(names[3], "maximum bytes=100..300 events=10");
        let flags = steps[3].flags(&scenario.load);
        assert_eq!(
            flags,
            [
                "--bytes",
                "100..300",
                "--cpu",
                "1",
                "--events",
                "10",
                "--seconds",
                "5"
            ]
        );
        let flags = scenario.step[1].flags(&scenario.load);
        assert_eq!(flags, ["--cpu", "1", "--seconds", "1"]);
    }

    #[test]
    fn what_makes_no_sense_is_told_in_words() {
        let wrong = |from: &str, to: &str| parse(&FILE.replace(from, to)).unwrap_err().to_string();
        assert!(wrong("start = \"null-tokio\"", "").contains("either start or url"));
        assert!(wrong("step = \"flat\"", "step = \"maximum\"").contains("no earlier step"));
        assert!(wrong("part = 0.5", "part = 1.5").contains("above 0 and at most 1"));
        assert!(wrong("rounds = 3", "rounds = 0").contains("at least one"));
        assert!(wrong("rounds = 3", "round = 3").contains("unknown field"));
        let start = "start = \"null-tokio\"";
        let with = |more: &str| format!("{start}\n{more}");
        assert!(wrong(start, &with("volumes = 2")).contains("only ringtail has some"));
        assert!(
            wrong(start, &with("protocol = \"grpc\"")).contains("of ours only ringtail speaks")
        );
        assert!(wrong(start, "start = \"ringtail\"\nvolumes = 9").contains("1 to 8"));
    }
}
