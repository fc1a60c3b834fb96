//! What a key may hold, how it is read from text and from TOML, and how it is shown.

use super::{rules, size};
use crate::control::place::{self, Shards};
use crate::limit;
use crate::log::retention::Rule;
use crate::route::Pattern;
use std::fmt;
use std::path::PathBuf;

/// The type of a key, with its bounds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Whole {
        min: u64,
        max: u64,
    },
    /// Bytes, a multiple of `step`.
    Size {
        min: u64,
        max: u64,
        step: u64,
    },
    /// As `Size`, or `none`.
    SizeOrNone {
        min: u64,
    },
    /// A time such as `7d`, or `none`.
    AgeOrNone,
    /// Bounds by topic.
    TopicRules,
    Switch,
    Choice(&'static [&'static str]),
    /// The name of an HTTP header.
    Header,
    /// As `Header`, or nothing.
    HeaderOrNone,
    /// Text of at most this many bytes, at least one.
    Text {
        bytes_max: usize,
    },
    /// A topic pattern that gives legal Kafka topic names.
    Pattern,
    Publisher,
    /// The path of an HTTP request.
    HttpPath,
    /// Folders, separated by commas.
    Folders,
    /// Names, separated by commas, semicolons or blanks; none at all too.
    Names(Names),
    /// Which CPUs run shards.
    Shards,
    /// A CPU, or `auto`.
    Cpu,
    /// A list of CPUs, or `auto`.
    Cpus,
}

/// What the names of a list name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// As browsers write them, or `*`.
    Origins,
    Methods,
    Headers,
    /// What a record of Kafka's can tell in headers.
    KafkaHeaders,
}

impl Names {
    fn takes(self, name: &str) -> bool {
        match self {
            Self::Origins => http::HeaderValue::from_str(name).is_ok(),
            Self::Methods => http::Method::from_bytes(name.as_bytes()).is_ok(),
            Self::Headers => http::HeaderName::try_from(name).is_ok(),
            Self::KafkaHeaders => {
                ["event_type", "conn_group", "received", "req_guid"].contains(&name)
            }
        }
    }
}

/// A checked value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Whole(u64),
    Size(u64),
    Nothing,
    /// Milliseconds.
    Age(u64),
    Rules(Vec<Rule>),
    Switch(bool),
    Text(String),
    Folders(Vec<PathBuf>),
    Names(Vec<String>),
    Shards(Shards),
    Cpu(Option<usize>),
    Cpus(Option<Vec<usize>>),
}

/// Raccoon's other publishers and ours, with what is to be said of each.
const PUBLISHERS: &str = "auto, journal, kafka or spool";
const PUBLISHERS_ABSENT: [(&str, &str); 3] = [
    (
        "log",
        "auto, journal, kafka or spool (log is not built yet)",
    ),
    (
        "pubsub",
        "auto, journal, kafka or spool (Ringtail does not publish to pubsub)",
    ),
    (
        "kinesis",
        "auto, journal, kafka or spool (Ringtail does not publish to kinesis)",
    ),
];

impl Kind {
    /// Reads a value as it stands in a variable or behind a flag. The error says what is wanted.
    pub(super) fn read(self, text: &str) -> Result<Value, String> {
        // The mark that stands where the environment was not UTF-8.
        let whole = Some(text).filter(|text| !text.contains('\u{FFFD}'));
        let value = whole.and_then(|text| self.try_read(text));
        value.ok_or_else(|| self.wanted(text))
    }

    fn try_read(self, text: &str) -> Option<Value> {
        match self {
            Self::Whole { min, max } => whole(text, min, max).map(Value::Whole),
            Self::Size { min, max, step } => {
                let bytes = size::parse(text)?;
                let fits = (min..=max).contains(&bytes) && bytes.is_multiple_of(step);
                fits.then_some(Value::Size(bytes))
            }
            Self::SizeOrNone { .. } | Self::AgeOrNone if text == "none" => Some(Value::Nothing),
            Self::SizeOrNone { min } => size::parse(text)
                .filter(|bytes| min <= *bytes)
                .map(Value::Size),
            Self::AgeOrNone => rules::parse_age(text).map(Value::Age),
            Self::TopicRules => rules::parse(text).map(Value::Rules),
            Self::Switch => switch(text).map(Value::Switch),
            Self::Choice(names) => names.contains(&text).then(|| Value::Text(text.into())),
            Self::HeaderOrNone if text.is_empty() => Some(Value::Nothing),
            Self::Header | Self::HeaderOrNone => {
                http::HeaderName::try_from(text).ok()?;
                Some(Value::Text(text.into()))
            }
            Self::Text { bytes_max } => (1..=bytes_max)
                .contains(&text.len())
                .then(|| Value::Text(text.into())),
            Self::Pattern => {
                Pattern::parse(text).ok()?;
                Some(Value::Text(text.into()))
            }
            Self::Publisher => ["auto", "journal", "kafka", "spool"]
                .contains(&text)
                .then(|| Value::Text(text.into())),
            Self::HttpPath => is_path(text).then(|| Value::Text(text.into())),
            Self::Folders => folders(text.split(',').map(str::trim)),
            Self::Names(kind) => {
                let apart = |letter: char| letter == ',' || letter == ';' || letter.is_whitespace();
                names(kind, text.split(apart).filter(|name| !name.is_empty()))
            }
            Self::Shards => place::parse(text).map(Value::Shards),
            Self::Cpus if text == "auto" => Some(Value::Cpus(None)),
            Self::Cpus => place::parse_list(text).map(|cpus| Value::Cpus(Some(cpus))),
            Self::Cpu if text == "auto" => Some(Value::Cpu(None)),
            Self::Cpu => {
                whole(text, 0, u64::from(u16::MAX)).map(|cpu| Value::Cpu(Some(cpu as usize)))
            }
        }
    }

    /// Reads a value of a TOML file, whose own types must fit: a number is no text there.
    pub(super) fn read_toml(self, value: &toml::Value) -> Result<Value, String> {
        let shown = || value.to_string();
        match (self, value) {
            (Self::Switch, toml::Value::Boolean(on)) => Ok(Value::Switch(*on)),
            (Self::TopicRules, toml::Value::Array(items)) => {
                let rules: Option<Vec<_>> = items.iter().map(rules::from_toml).collect();
                let few = rules.filter(|rules| rules.len() <= limit::TOPIC_RULES_MAX);
                few.map(Value::Rules).ok_or_else(|| self.wanted(&shown()))
            }
            (Self::Folders, toml::Value::Array(items)) => {
                let items: Option<Vec<&str>> = items.iter().map(toml::Value::as_str).collect();
                let list = items.and_then(|items| folders(items.into_iter()));
                list.ok_or_else(|| self.wanted(&shown()))
            }
            (Self::Names(kind), toml::Value::Array(items)) => {
                let items: Option<Vec<&str>> = items.iter().map(toml::Value::as_str).collect();
                let list = items.and_then(|items| names(kind, items.into_iter()));
                list.ok_or_else(|| self.wanted(&shown()))
            }
            (kind, toml::Value::Integer(number)) if kind.takes_number() => {
                self.read(&number.to_string())
            }
            (kind, toml::Value::String(text)) if kind.takes_text() => self.read(text),
            _ => Err(self.wanted(&shown())),
        }
    }

    fn takes_number(self) -> bool {
        matches!(
            self,
            Self::Whole { .. }
                | Self::Size { .. }
                | Self::SizeOrNone { .. }
                | Self::Shards
                | Self::Cpu
                | Self::Cpus
        )
    }

    fn takes_text(self) -> bool {
        !matches!(self, Self::Whole { .. } | Self::Switch)
    }

    /// What this key takes.
    pub(super) fn bounds(self) -> String {
        self.wanted("")
    }

    /// What this key takes, for the person who wrote `text` instead.
    fn wanted(self, text: &str) -> String {
        match self {
            Self::Whole { min, max } => format!("a whole number from {min} to {max}"),
            Self::Size { min, max, step } => {
                let (min, max) = (size::show(min), size::show(max));
                let step = if step == 1 {
                    String::new()
                } else {
                    format!(", a multiple of {step} bytes")
                };
                format!("a size such as {min}, from {min} to {max}{step}")
            }
            Self::SizeOrNone { min } => {
                format!(
                    "none, or a size such as 10GiB, at least {}",
                    size::show(min)
                )
            }
            Self::AgeOrNone => "none, or a time such as 7d, 12h, 30m or 10s".into(),
            Self::TopicRules => rules::WANTED.into(),
            Self::Switch => "true or false".into(),
            Self::Choice(names) => format!("one of {}", names.join(", ")),
            Self::Header => "the name of an HTTP header".into(),
            Self::HeaderOrNone => "the name of an HTTP header, or nothing".into(),
            Self::Text { bytes_max } => format!("text of 1 to {bytes_max} bytes"),
            Self::Pattern => format!(
                "a pattern of letters, digits, '.', '_' and '-', with at most one %s, \
                 that gives names of at most {} bytes",
                limit::TOPIC_NAME_BYTES_MAX
            ),
            Self::Publisher => PUBLISHERS_ABSENT
                .iter()
                .find(|(name, _)| *name == text)
                .map_or(PUBLISHERS, |(_, wanted)| wanted)
                .into(),
            Self::HttpPath => "a path that starts with '/', such as /metrics".into(),
            Self::Folders => format!(
                "1 to {} different folders, separated by commas",
                limit::VOLUMES_MAX
            ),
            Self::Names(kind) => {
                let what = match kind {
                    Names::Origins => "origins such as https://example.com, or *",
                    Names::Methods => "HTTP methods",
                    Names::Headers => "names of HTTP headers",
                    Names::KafkaHeaders => "event_type, conn_group, received or req_guid",
                };
                let most = limit::CORS_NAMES_MAX;
                format!("{what}, separated by commas, at most {most}")
            }
            Self::Shards => format!(
                "auto, a count from 1 to {}, or a list of CPUs such as 0,2-5 (3-3 is CPU 3 alone)",
                limit::SHARDS_MAX
            ),
            Self::Cpu => "auto, or the number of a CPU".into(),
            Self::Cpus => "auto, or CPUs such as 0,2-5".into(),
        }
    }
}

fn whole(text: &str, min: u64, max: u64) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = text.parse().ok().filter(|_| plain)?;
    (min..=max).contains(&number).then_some(number)
}

/// The spellings that Raccoon takes.
fn switch(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn is_path(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"?#".contains(&byte);
    text.len() <= 256 && text.starts_with('/') && text.bytes().all(plain)
}

fn names<'a>(kind: Names, items: impl Iterator<Item = &'a str>) -> Option<Value> {
    let items: Vec<String> = items.map(str::to_owned).collect();
    let fits = items.len() <= limit::CORS_NAMES_MAX && items.iter().all(|name| kind.takes(name));
    fits.then_some(Value::Names(items))
}

fn folders<'a>(items: impl Iterator<Item = &'a str>) -> Option<Value> {
    let mut folders: Vec<PathBuf> = Vec::new();
    for item in items {
        let folder = PathBuf::from(item);
        if item.is_empty() || folders.contains(&folder) || folders.len() == limit::VOLUMES_MAX {
            return None;
        }
        folders.push(folder);
    }
    (!folders.is_empty()).then_some(Value::Folders(folders))
}

impl Value {
    /// The value as the TOML file has it.
    pub(super) fn to_toml(&self) -> String {
        match self {
            Self::Whole(number) => number.to_string(),
            Self::Rules(list) => rules::to_toml(list),
            Self::Switch(on) => on.to_string(),
            Self::Folders(folders) => {
                let items = folders.iter().map(|folder| folder.display().to_string());
                toml::Value::from(items.collect::<Vec<_>>()).to_string()
            }
            Self::Names(names) => toml::Value::from(names.clone()).to_string(),
            Self::Shards(Shards::Count(count)) => count.to_string(),
            Self::Cpu(Some(cpu)) => cpu.to_string(),
            _ => toml::Value::from(self.to_string()).to_string(),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(number) => write!(f, "{number}"),
            Self::Size(bytes) => f.write_str(&size::show(*bytes)),
            Self::Nothing => f.write_str("none"),
            Self::Age(age_ms) => f.write_str(&rules::show_age(*age_ms)),
            Self::Rules(list) => f.write_str(&rules::show(list)),
            Self::Switch(on) => write!(f, "{on}"),
            Self::Text(text) => f.write_str(text),
            Self::Folders(folders) => {
                let names = folders.iter().map(|folder| folder.display().to_string());
                f.write_str(&names.collect::<Vec<_>>().join(","))
            }
            Self::Names(names) => f.write_str(&names.join(",")),
            Self::Shards(Shards::Auto) | Self::Cpu(None) | Self::Cpus(None) => f.write_str("auto"),
            Self::Shards(Shards::Count(count)) => write!(f, "{count}"),
            Self::Shards(Shards::List(cpus)) | Self::Cpus(Some(cpus)) => {
                f.write_str(&place::show(cpus))
            }
            Self::Cpu(Some(cpu)) => write!(f, "{cpu}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raccoons_spellings_of_truth_are_taken() {
        assert_eq!(Kind::Switch.read("TRUE"), Ok(Value::Switch(true)));
        assert_eq!(Kind::Switch.read("f"), Ok(Value::Switch(false)));
        assert!(Kind::Switch.read("yes").is_err());
    }

    #[test]
    fn a_number_out_of_bounds_is_told_the_bounds() {
        let port = Kind::Whole {
            min: 1,
            max: 65_535,
        };
        assert_eq!(port.read("8080"), Ok(Value::Whole(8080)));
        for text in ["0", "65536", "+1", "-1", "1.0", "", "x"] {
            let wanted = port.read(text).unwrap_err();
            assert_eq!(wanted, "a whole number from 1 to 65535", "{text}");
        }
    }

    #[test]
    fn only_patterns_that_give_legal_names_are_taken() {
        for pattern in ["clickstream-%s-log", "%s", "all.events"] {
            assert!(Kind::Pattern.read(pattern).is_ok(), "{pattern}");
        }
        let long = "x".repeat(250);
        for pattern in ["", "..", "%d", "%s-%s", "a b", "a/%s", "ä", &long] {
            assert!(Kind::Pattern.read(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn a_publisher_that_is_not_built_is_named_so() {
        assert!(Kind::Publisher.read("journal").is_ok());
        assert!(Kind::Publisher.read("kafka").is_ok());
        assert!(Kind::Publisher.read("spool").is_ok());
        let wanted = Kind::Publisher.read("log").unwrap_err();
        assert_eq!(
            wanted,
            "auto, journal, kafka or spool (log is not built yet)"
        );
        let wanted = Kind::Publisher.read("x").unwrap_err();
        assert_eq!(wanted, "auto, journal, kafka or spool");
    }

    #[test]
    fn lists_of_names_are_read_however_they_are_separated() {
        let headers = Kind::Names(Names::Headers);
        let two = Value::Names(vec!["X-A".into(), "X-B".into()]);
        for text in ["X-A,X-B", "X-A X-B", " X-A; X-B ,"] {
            assert_eq!(headers.read(text).as_ref(), Ok(&two), "{text}");
        }
        assert_eq!(headers.read(""), Ok(Value::Names(Vec::new())));
        assert!(headers.read("X-A:").is_err());
        assert!(Kind::Names(Names::Methods).read("GET,P@ST").is_err());
        assert!(Kind::Names(Names::Origins).read("*").is_ok());
        let many = "x,".repeat(limit::CORS_NAMES_MAX + 1);
        assert!(headers.read(&many).is_err());
    }

    #[test]
    fn folders_are_counted_and_differ() {
        let two = Value::Folders(vec!["/a".into(), "/b c".into()]);
        assert_eq!(Kind::Folders.read("/a, /b c"), Ok(two));
        for text in ["", "/a,", "/a,/a"] {
            assert!(Kind::Folders.read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn toml_keeps_its_own_types() {
        let port = Kind::Whole { min: 1, max: 9 };
        assert!(port.read_toml(&toml::Value::from(5)).is_ok());
        assert!(port.read_toml(&toml::Value::from("5")).is_err());
        assert!(Kind::Switch.read_toml(&toml::Value::from("true")).is_err());
        assert!(Kind::Header.read_toml(&toml::Value::from(1)).is_err());
        assert!(Kind::Shards.read_toml(&toml::Value::from(2)).is_ok());
        let list = toml::Value::from(vec!["/a", "/b"]);
        assert!(Kind::Folders.read_toml(&list).is_ok());
        let mixed = toml::Value::Array(vec![1.into()]);
        assert!(Kind::Folders.read_toml(&mixed).is_err());
    }
}
