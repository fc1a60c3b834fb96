//! What operators write becomes what the rooms read.
//!
//! Four layers: default, file (TOML, or Raccoon's YAML), environment, flags; the later wins, and every key remembers
//! which one gave its value. What is written (`Configuration`: human sizes, names) is not what is
//! read ([`Settings`]: checked plain numbers). Runs once, before any thread is started.

mod client;
mod environment;
mod example;
mod explain;
mod file;
mod key;
mod log_keys;
mod publisher_keys;
mod raccoon;
mod row;
mod rules;
mod settings;
mod size;
mod spool;
mod value;
mod yaml;

pub(crate) use example::text as example;
pub(crate) use settings::Settings;

use client::Properties;
use key::Key;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use value::Value;

/// What is wrong with the configuration, in one line: the key, the value, and what is wanted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{name} = {value} ({origin}): wanted {wanted}")]
    Value {
        name: &'static str,
        value: String,
        origin: Origin,
        wanted: String,
    },
    #[error("{name} = {value} ({origin}): librdkafka says: {reason}")]
    Property {
        name: String,
        value: String,
        origin: Origin,
        reason: String,
    },
    #[error("unknown key {name} = {value} ({origin}){}", hint(*nearest))]
    UnknownKey {
        name: String,
        value: String,
        origin: Origin,
        nearest: Option<&'static str>,
    },
    #[error("unknown environment variable {name} = {value}{}", hint(*nearest))]
    UnknownVariable {
        name: String,
        value: String,
        nearest: Option<&'static str>,
    },
    #[error("--set {written}: wanted KEY=VALUE, such as --set event.ack=0")]
    Set { written: String },
    #[error("cannot read the configuration file {file}: {source}")]
    Unreadable {
        file: String,
        source: std::io::Error,
    },
    #[error("{file}, line {line}: {message} (the file is {language})")]
    Syntax {
        file: String,
        line: usize,
        message: String,
        language: &'static str,
    },
    #[error("nothing is known of {name}{}", hint(*nearest))]
    Unexplained {
        name: String,
        nearest: Option<&'static str>,
    },
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map_or_else(
        || "; `ringtail config` lists all keys".to_owned(),
        |name| format!("; did you mean {name}?"),
    )
}

/// Which layer a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Default,
    File(String),
    Variable(String),
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(file) => write!(f, "file {file}"),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// Everything that may say something about a key, before it is looked at.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    pub(crate) file: Option<PathBuf>,
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// Flag, key, value.
    pub(crate) flags: Vec<(&'static str, &'static str, String)>,
    /// `--set KEY=VALUE`, as written.
    pub(crate) sets: Vec<String>,
}

/// One key with its value.
#[derive(Debug)]
struct Entry {
    key: &'static Key,
    value: Value,
    origin: Origin,
}

impl Entry {
    fn set_text(&mut self, text: &str, origin: Origin) -> Result<(), Error> {
        let read = self.key.kind.read(text);
        self.set(read, || quoted(text), origin)
    }

    fn set_toml(&mut self, value: &toml::Value, origin: Origin) -> Result<(), Error> {
        let read = self.key.kind.read_toml(value);
        let shown = || match value {
            toml::Value::String(text) => quoted(text),
            other => cut(&other.to_string()),
        };
        self.set(read, shown, origin)
    }

    fn set(
        &mut self,
        read: Result<Value, String>,
        shown: impl FnOnce() -> String,
        origin: Origin,
    ) -> Result<(), Error> {
        self.value = read.map_err(|wanted| Error::Value {
            name: self.key.name,
            value: shown(),
            origin: origin.clone(),
            wanted,
        })?;
        self.origin = origin;
        Ok(())
    }
}

/// Every key with its value and where that came from.
#[derive(Debug)]
pub(crate) struct Configuration {
    /// In the order of the table of keys.
    entries: Vec<Entry>,
    properties: Properties,
    /// What is to be said once at start, a line each.
    pub(crate) notices: Vec<String>,
}

impl Configuration {
    /// Reads the layers, each over the one before.
    pub(crate) fn resolve(layers: Layers) -> Result<Self, Error> {
        let mut entries: Vec<Entry> = key::keys().map(by_default).collect();
        let mut properties = Properties::default();
        let mut rest = yaml::Rest::default();
        match &layers.file {
            Some(path) if yaml::is_yaml(path) => {
                rest = yaml::apply(path, &mut entries, &mut properties)?;
            }
            Some(path) => file::apply(path, &mut entries, &mut properties)?,
            None => {}
        }
        let variables = environment::read(layers.environment.into_iter());
        environment::apply(&variables, &mut entries, &mut properties)?;
        for (flag, name, text) in layers.flags {
            entry(&mut entries, name)
                .expect("flags are for keys of the table")
                .set_text(&text, Origin::Flag(flag))?;
        }
        for written in &layers.sets {
            set(written, &mut entries, &mut properties)?;
        }
        let variables = variables.iter().map(|(name, _)| name);
        let names = variables.chain(&rest.without_effect);
        let names: Vec<&str> = names.map(String::as_str).collect();
        let mut notices = raccoon::notices(&names);
        notices.append(&mut rest.notices);
        let mut found = Self {
            entries,
            properties,
            notices,
        };
        found.note_properties();
        Ok(found)
    }

    /// Says what is to be said of librdkafka's properties.
    fn note_properties(&mut self) {
        if self.publishes_to_kafka() || self.spools() {
            self.notices.extend(self.properties.notices(self.spools()));
        } else if !self.properties.is_empty() {
            let why = match self.value("publisher.type") {
                Value::Text(kind) if kind == "journal" => "publisher.type is journal",
                _ => "no brokers are configured",
            };
            let notice = format!("not in effect, because {why}: {}*", client::VARIABLE);
            self.notices.push(notice);
        }
    }

    /// The value of a key that the table has.
    fn value(&self, name: &str) -> &Value {
        &self.entry(name).value
    }

    fn entry(&self, name: &str) -> &Entry {
        let found = self.entries.iter().find(|entry| entry.key.name == name);
        found.expect("settings are read by names of the table")
    }
}

impl fmt::Display for Configuration {
    /// One line for each key: name, value, origin.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.entries.iter().map(|entry| {
            let value = match &entry.value {
                Value::Text(text) => quoted(text),
                other => cut(&other.to_string()),
            };
            (entry.key.name.to_owned(), value, &entry.origin)
        });
        let rows: Vec<_> = rows.chain(self.properties.rows()).collect();
        let names = rows.iter().map(|(name, _, _)| name.len()).max();
        let values = rows.iter().map(|(_, value, _)| value.len()).max();
        let (names, values) = (names.unwrap_or(0), values.unwrap_or(0).min(40));
        for (name, value, origin) in rows {
            writeln!(f, "{name:names$}  {value:values$}  {origin}")?;
        }
        Ok(())
    }
}

fn by_default(key: &'static Key) -> Entry {
    Entry {
        key,
        value: key.default_value(),
        origin: Origin::Default,
    }
}

fn entry<'a>(entries: &'a mut [Entry], name: &str) -> Option<&'a mut Entry> {
    entries.iter_mut().find(|entry| entry.key.name == name)
}

fn set(written: &str, entries: &mut [Entry], properties: &mut Properties) -> Result<(), Error> {
    let Some((name, value)) = written.split_once('=') else {
        return Err(Error::Set {
            written: quoted(written),
        });
    };
    let origin = Origin::Flag("--set");
    if properties.set_key(name.trim(), value.trim(), origin.clone())? {
        return Ok(());
    }
    match entry(entries, name.trim()) {
        Some(entry) => entry.set_text(value.trim(), origin),
        None => Err(Error::UnknownKey {
            name: cut(name),
            value: quoted(value),
            origin,
            nearest: nearest(name, key::keys().map(|key| key.name)),
        }),
    }
}

/// The name that `wrong` was probably meant to be.
fn nearest(wrong: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let ranked = known.map(|name| (strsim::jaro_winkler(wrong, name), name));
    let best = ranked.max_by(|one, other| one.0.total_cmp(&other.0));
    best.filter(|(likeness, _)| 0.85 < *likeness)
        .map(|(_, name)| name)
}

/// `text` in quotes, escaped and cut, so that it is one line whatever it holds.
fn quoted(text: &str) -> String {
    format!("{:?}", cut(text))
}

fn cut(text: &str) -> String {
    const LETTERS_MAX: usize = 120;
    let mut short: String = text.chars().take(LETTERS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests;
