//! Which names a client may cause to exist.

use crate::limit::TOPIC_NAME_BYTES_MAX;

/// How a topic's name is made of an event's type (`EVENT_DISTRIBUTION_PUBLISHER_PATTERN`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// A pattern without `%s`: every event goes to the topic of this name.
    One(Box<str>),
    /// The type stands between the two.
    Around { before: Box<str>, after: Box<str> },
}

/// Kafka's rules for the name of a topic (`org.apache.kafka.common.internals.Topic`): 1 to 249 bytes of
/// letters, digits, `.`, `_` and `-`, and neither `.` nor `..`. Says what is wrong.
pub fn check_name(name: &str) -> Result<(), String> {
    let shown = name.get(..64.min(name.len())).unwrap_or("").escape_debug();
    if name.is_empty() {
        return Err("a topic's name cannot be empty".to_owned());
    }
    if TOPIC_NAME_BYTES_MAX < name.len() {
        let bytes = name.len();
        return Err(format!(
            "topic name '{shown}…' has {bytes} bytes; at most {TOPIC_NAME_BYTES_MAX} are allowed"
        ));
    }
    if name == "." || name == ".." {
        return Err(format!("'{shown}' cannot be a topic's name"));
    }
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.bytes().all(legal) {
        Ok(())
    } else {
        Err(format!(
            "topic name '{shown}' is not legal: letters, digits, '.', '_' and '-' are"
        ))
    }
}

impl Pattern {
    /// Reads a pattern: the first `%s` stands for the type. The rest must be legal in a topic's name.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.split_once("%s") {
            None => check_name(text).map(|()| Self::One(text.into())),
            Some((before, after)) => {
                check_name(&format!("{before}x{after}"))?;
                Ok(Self::Around {
                    before: before.into(),
                    after: after.into(),
                })
            }
        }
    }

    /// The name of the topic that events of `kind` go to, or what is wrong with it.
    pub fn topic_name(&self, kind: &str) -> Result<String, String> {
        match self {
            Self::One(name) => Ok(name.to_string()),
            Self::Around { before, after } => {
                let name = format!("{before}{kind}{after}");
                check_name(&name).map(|()| name)
            }
        }
    }

    /// What types are told apart by: the type itself, or nothing when all go to one topic.
    pub fn key<'a>(&self, kind: &'a [u8]) -> &'a [u8] {
        match self {
            Self::One(_) => &[],
            Self::Around { .. } => kind,
        }
    }

    /// The type whose events go to the topic of this name, by this pattern.
    pub fn kind_of<'a>(&self, name: &'a str) -> Option<&'a str> {
        match self {
            Self::One(one) => (**one == *name).then_some(""),
            Self::Around { before, after } => name
                .strip_prefix(&**before)
                .and_then(|rest| rest.strip_suffix(&**after)),
        }
    }

    /// Whether the topic says the type of its events.
    pub fn tells_kind(&self) -> bool {
        matches!(self, Self::Around { .. })
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::One(name) => f.write_str(name),
            Self::Around { before, after } => write!(f, "{before}%s{after}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_placeholder_is_the_type() {
        let pattern = Pattern::parse("clickstream-%s-log").unwrap();
        assert_eq!(
            pattern.topic_name("click"),
            Ok("clickstream-click-log".to_owned())
        );
        assert_eq!(pattern.kind_of("clickstream-click-log"), Some("click"));
        assert_eq!(pattern.kind_of("clickstream-log"), None);
        assert_eq!(pattern.kind_of("other"), None);
        assert_eq!(pattern.to_string(), "clickstream-%s-log");
    }

    #[test]
    fn a_pattern_without_placeholder_is_one_topic() {
        let pattern = Pattern::parse("all-events").unwrap();
        assert_eq!(pattern.topic_name("any thing"), Ok("all-events".to_owned()));
        assert_eq!(pattern.key(b"click"), b"");
        assert_eq!(pattern.kind_of("all-events"), Some(""));
    }

    #[test]
    fn names_that_kafka_refuses_are_refused() {
        let pattern = Pattern::parse("%s").unwrap();
        for bad in [
            "",
            ".",
            "..",
            "a b",
            "a/b",
            "ä",
            "../x",
            "a\0",
            &"x".repeat(250),
        ] {
            assert!(pattern.topic_name(bad).is_err(), "{bad}");
        }
        for good in ["a", "A.b_c-9", "...", &"x".repeat(249)] {
            assert!(pattern.topic_name(good).is_ok(), "{good}");
        }
        assert!(Pattern::parse("bad name-%s").is_err());
        assert!(Pattern::parse("").is_err());
    }
}
