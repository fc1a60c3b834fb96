//! How long records stay, as an operator says it: for the store, and for topics by their names.
//!
//! The first rule whose pattern fits a topic's name is the topic's. What a rule does not say is the
//! store's.

use crate::limit::TOPIC_NAME_BYTES_MAX;
use std::sync::Arc;

/// A topic's name in which `*` stands for any run of letters, none included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wildcard(Box<str>);

impl Wildcard {
    /// Letters of a legal topic name (Kafka's) and `*`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-*".contains(&byte);
        let fits = (1..=TOPIC_NAME_BYTES_MAX).contains(&text.len());
        (fits && text.bytes().all(legal)).then(|| Self(text.into()))
    }

    /// Takes time in proportion to the product of the lengths at most, which are bounded.
    pub fn matches(&self, name: &str) -> bool {
        let (pattern, name) = (self.0.as_bytes(), name.as_bytes());
        let (mut at, mut seen) = (0, 0);
        // Where the latest `*` stands, and how much of the name it has taken.
        let mut star: Option<(usize, usize)> = None;
        while seen < name.len() {
            match pattern.get(at) {
                Some(b'*') => {
                    star = Some((at, seen));
                    at += 1;
                }
                Some(letter) if *letter == name[seen] => {
                    at += 1;
                    seen += 1;
                }
                _ => match &mut star {
                    Some((place, taken)) => {
                        *taken += 1;
                        (at, seen) = (*place + 1, *taken);
                    }
                    None => return false,
                },
            }
        }
        pattern[at..].iter().all(|letter| *letter == b'*')
    }

    pub fn text(&self) -> &str {
        &self.0
    }
}

/// What a rule says of one bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bound {
    /// Nothing: the store's holds.
    #[default]
    Store,
    /// There is none.
    None,
    At(u64),
}

impl Bound {
    fn over(self, store: Option<u64>) -> Option<u64> {
        match self {
            Self::Store => store,
            Self::None => None,
            Self::At(bound) => Some(bound),
        }
    }
}

/// What is kept of the topics that a pattern fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub pattern: Wildcard,
    /// Milliseconds.
    pub age_ms: Bound,
    /// Bytes of record batches of one topic, in all journals together.
    pub bytes: Bound,
}

/// Every rule, and what holds where there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The store's age, in milliseconds; `None` keeps records of any age.
    pub age_ms: Option<u64>,
    pub topics: Arc<[Rule]>,
}

impl Default for Rules {
    /// Keeps everything.
    fn default() -> Self {
        Self {
            age_ms: None,
            topics: Arc::new([]),
        }
    }
}

/// What is kept of one topic; `None` for no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    pub age_ms: Option<u64>,
    pub bytes: Option<u64>,
}

impl Rules {
    pub fn of(&self, name: &str) -> Keep {
        let rule = self.topics.iter().find(|rule| rule.pattern.matches(name));
        rule.map_or(
            Keep {
                age_ms: self.age_ms,
                bytes: None,
            },
            |rule| Keep {
                age_ms: rule.age_ms.over(self.age_ms),
                bytes: rule.bytes.over(None),
            },
        )
    }

    /// The shortest age of all.
    pub fn age_ms_min(&self) -> Option<u64> {
        let rules = self.topics.iter().map(|rule| rule.age_ms.over(None));
        rules.chain([self.age_ms]).flatten().min()
    }

    /// The rules of one of so many journals: each keeps its part of a topic's bytes.
    pub fn shared_by(&self, journals: u32) -> Self {
        let share = |bound| match bound {
            Bound::At(bytes) => Bound::At(bytes / u64::from(journals.max(1))),
            other => other,
        };
        let topics = self.topics.iter().map(|rule| Rule {
            bytes: share(rule.bytes),
            ..rule.clone()
        });
        Self {
            age_ms: self.age_ms,
            topics: topics.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pattern: &str, name: &str) -> bool {
        Wildcard::parse(pattern).unwrap().matches(name)
    }

    #[test]
    fn a_star_stands_for_any_run_of_letters() {
        for (pattern, name) in [
            ("*", "anything"),
            ("click-*", "click-"),
            ("click-*", "click-log"),
            ("*-log", "click-log-log"),
            ("a*b*c", "a-xb-bc"),
            ("**", "x"),
            ("plain", "plain"),
        ] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("click-*", "clic"),
            ("*-log", "click-logs"),
            ("a*b*c", "abcd"),
            ("plain", "plainer"),
            ("plain", "plai"),
        ] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn what_no_topic_can_be_called_is_no_pattern() {
        for bad in ["", "a b", "a/*", "ä*", &"*".repeat(250)] {
            assert_eq!(Wildcard::parse(bad), None, "{bad}");
        }
    }

    fn rule(pattern: &str, age_ms: Bound, bytes: Bound) -> Rule {
        Rule {
            pattern: Wildcard::parse(pattern).unwrap(),
            age_ms,
            bytes,
        }
    }

    #[test]
    fn the_first_rule_that_fits_counts_and_the_store_says_the_rest() {
        let rules = Rules {
            age_ms: Some(900),
            topics: Arc::new([
                rule("click-a", Bound::None, Bound::At(7)),
                rule("click-*", Bound::At(5), Bound::Store),
            ]),
        };
        let keep = |age_ms, bytes| Keep { age_ms, bytes };
        assert_eq!(rules.of("click-a"), keep(None, Some(7)));
        assert_eq!(rules.of("click-b"), keep(Some(5), None));
        assert_eq!(rules.of("other"), keep(Some(900), None));
        assert_eq!(rules.age_ms_min(), Some(5));
        assert_eq!(rules.shared_by(2).of("click-a").bytes, Some(3));
        assert_eq!(Rules::default().of("x"), Keep::default());
    }
}
