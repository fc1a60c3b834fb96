//! A row of the table of keys.

use super::value::{Kind, Value};
use crate::limit;
use std::time::Duration;

/// One row of the table.
#[derive(Debug)]
pub(super) struct Key {
    /// As the TOML file nests it.
    pub(super) name: &'static str,
    /// Environment variables, the strongest first.
    pub(super) variables: &'static [&'static str],
    pub(super) kind: Kind,
    pub(super) default: Preset,
    /// One sentence for the example file and the help.
    pub(super) sentence: &'static str,
}

/// A default, so that bounds and defaults stay on the page of limits.
#[derive(Clone, Copy, Debug)]
pub(super) enum Preset {
    Text(&'static str),
    Number(u64),
}

impl Key {
    /// The value when nobody sets it.
    pub(super) fn default_value(&self) -> Value {
        let read = match self.default {
            Preset::Text(text) => self.kind.read(text),
            Preset::Number(number) => self.kind.read(&number.to_string()),
        };
        read.expect("a test reads every default")
    }

    /// Whether the default is written as empty text.
    pub(super) fn takes_empty(&self) -> bool {
        matches!(self.default, Preset::Text("")) && !matches!(self.kind, Kind::TopicRules)
    }
}

pub(super) const PORT: Kind = Kind::Whole {
    min: 1,
    max: 65_535,
};

/// A time to wait for clients.
pub(super) const fn wait(
    name: &'static str,
    variables: &'static [&'static str],
    default: Duration,
    sentence: &'static str,
) -> Key {
    let max = limit::WAIT_MS_MAX;
    Key {
        name,
        variables,
        kind: Kind::Whole { min: 1, max },
        default: Preset::Number(default.as_millis() as u64),
        sentence,
    }
}
