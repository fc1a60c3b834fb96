//! What a run's events are made of: how large they are, and of which types.
//!
//! Always: size and type of an event follow from its label, so that whoever reads the log can say
//! what each event must look like.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};
use thiserror::Error;

use crate::payload::{Label, part_of};

/// Largest event, in bytes.
const EVENT_BYTES_MAX: u32 = 1_000_000;
const SIZES_MAX: usize = 64;
const WEIGHT_MAX: u32 = 1_000_000;

/// How large events are, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sizes {
    Fixed(u32),
    /// Every size between both, and both, is as likely as any other.
    Uniform {
        least: u32,
        most: u32,
    },
    /// Sizes and how many of each come, in proportion.
    Weighted(Vec<(u32, u32)>),
}

#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "{text} is no size of events: give bytes (200), a range (100..300), or sizes with their \
     weights (200@9,4000@1); at most {EVENT_BYTES_MAX} bytes each"
)]
pub(crate) struct BadSizes {
    text: String,
}

impl FromStr for Sizes {
    type Err = BadSizes;

    fn from_str(text: &str) -> Result<Self, BadSizes> {
        parse(text).ok_or_else(|| BadSizes {
            text: text.to_owned(),
        })
    }
}

fn parse(text: &str) -> Option<Sizes> {
    if let Some((least, most)) = text.split_once("..") {
        let (least, most) = (parse_bytes(least)?, parse_bytes(most)?);
        return (least < most).then_some(Sizes::Uniform { least, most });
    }
    if !text.contains('@') {
        return parse_bytes(text).map(Sizes::Fixed);
    }
    let weighted = text.split(',').map(|part| {
        let (bytes, weight) = part.split_once('@')?;
        let weight = weight.parse().ok()?;
        let known = (1..=WEIGHT_MAX).contains(&weight);
        known.then_some((parse_bytes(bytes)?, weight))
    });
    let weighted: Option<Vec<_>> = weighted.collect();
    weighted
        .filter(|weighted| weighted.len() <= SIZES_MAX)
        .map(Sizes::Weighted)
}

fn parse_bytes(text: &str) -> Option<u32> {
    let bytes = text.parse().ok()?;
    (bytes <= EVENT_BYTES_MAX).then_some(bytes)
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(bytes) => write!(f, "{bytes}"),
            Self::Uniform { least, most } => write!(f, "{least}..{most}"),
            Self::Weighted(weighted) => {
                let parts = weighted
                    .iter()
                    .map(|(bytes, weight)| format!("{bytes}@{weight}"));
                f.write_str(&parts.collect::<Vec<_>>().join(","))
            }
        }
    }
}

impl Serialize for Sizes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Sizes {
    pub(crate) fn least(&self) -> u32 {
        match self {
            Self::Fixed(bytes) | Self::Uniform { least: bytes, .. } => *bytes,
            Self::Weighted(all) => all.iter().map(|(bytes, _)| *bytes).min().unwrap_or(0),
        }
    }

    pub(crate) fn mean(&self) -> f64 {
        match self {
            Self::Fixed(bytes) => f64::from(*bytes),
            Self::Uniform { least, most } => f64::midpoint(f64::from(*least), f64::from(*most)),
            Self::Weighted(all) => {
                let weights: f64 = all.iter().map(|(_, weight)| f64::from(*weight)).sum();
                let bytes = all
                    .iter()
                    .map(|(bytes, weight)| f64::from(*bytes) * f64::from(*weight));
                bytes.sum::<f64>() / weights
            }
        }
    }

    fn pick(&self, random: u64) -> u32 {
        match self {
            Self::Fixed(bytes) => *bytes,
            Self::Uniform { least, most } => least + (random % u64::from(most - least + 1)) as u32,
            Self::Weighted(all) => {
                let weights: u64 = all.iter().map(|(_, weight)| u64::from(*weight)).sum();
                let mut left = random % weights;
                for (bytes, weight) in all {
                    if left < u64::from(*weight) {
                        return *bytes;
                    }
                    left -= u64::from(*weight);
                }
                unreachable!("what is left is below the sum of all weights")
            }
        }
    }
}

/// Sizes and types of a run's events.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mix {
    sizes: Sizes,
    /// Never 0.
    types: u32,
    /// Zipf's exponent. 0: all are equally frequent.
    skew: f64,
    /// Without a skew: the types take turns within a batch, because it has room for all of them.
    take_turns: bool,
    /// With a skew: the part of events whose type is this one or one before it.
    up_to: Vec<f64>,
}

impl Mix {
    /// `types` must not be 0, `skew` neither negative nor infinite.
    /// `events` is how many a batch has.
    pub(crate) fn new(sizes: Sizes, events: u32, types: u32, skew: f64) -> Self {
        assert!(types != 0 && 0.0 <= skew && skew.is_finite());
        let mut up_to = Vec::new();
        if skew != 0.0 {
            let mut sum = 0.0;
            for rank in 1..=types {
                sum += f64::from(rank).powf(-skew);
                up_to.push(sum);
            }
            for part in &mut up_to {
                *part /= sum;
            }
        }
        Self {
            sizes,
            types,
            skew,
            take_turns: skew == 0.0 && types <= events,
            up_to,
        }
    }

    pub(crate) fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    pub(crate) fn types(&self) -> u32 {
        self.types
    }

    pub(crate) fn skew(&self) -> f64 {
        self.skew
    }

    /// Bytes of this event.
    pub(crate) fn bytes_of(&self, label: Label) -> usize {
        match self.sizes {
            Sizes::Fixed(bytes) => bytes as usize,
            _ => self.sizes.pick(label.draw()) as usize,
        }
    }

    /// The number of this event's type, from 0.
    pub(crate) fn type_of(&self, label: Label) -> u32 {
        if self.take_turns {
            return label.index % self.types;
        }
        let part = part_of(label.draw().rotate_left(31));
        if self.up_to.is_empty() {
            return ((part * f64::from(self.types)) as u32).min(self.types - 1);
        }
        let rank = self.up_to.partition_point(|up_to| *up_to <= part);
        (rank as u32).min(self.types - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(count: u32) -> impl Iterator<Item = Label> {
        (0..count).map(|index| Label {
            run: 9,
            connection: index % 7,
            batch: u64::from(index) + 1,
            index: index % 10,
        })
    }

    fn mix(sizes: &str, types: u32, skew: f64) -> Mix {
        Mix::new(sizes.parse().unwrap(), 10, types, skew)
    }

    #[test]
    fn sizes_are_told_as_they_were_given() {
        for text in ["200", "0", "100..300", "200@9,4000@1"] {
            assert_eq!(text.parse::<Sizes>().unwrap().to_string(), text);
        }
        for text in [
            "", "x", "300..100", "200@0", "200@", "1000001", "200,300", "-1",
        ] {
            assert!(text.parse::<Sizes>().is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_come_as_often_as_was_asked() {
        let mix = mix("200@9,4000@1", 1, 0.0);
        let large = labels(10_000)
            .filter(|label| mix.bytes_of(*label) == 4000)
            .count();
        assert!((900..1100).contains(&large), "{large}");
        assert!((mix.sizes().mean() - 580.0).abs() < 1e-9);
        let ranged = self::mix("100..300", 1, 0.0);
        let sizes: Vec<_> = labels(10_000).map(|label| ranged.bytes_of(label)).collect();
        assert_eq!(
            (sizes.iter().min(), sizes.iter().max()),
            (Some(&100), Some(&300))
        );
    }

    #[test]
    fn without_a_skew_types_take_turns() {
        let mix = mix("10", 3, 0.0);
        let types: Vec<_> = labels(6).map(|label| mix.type_of(label)).collect();
        assert_eq!(types, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn more_types_than_a_batch_holds_all_come() {
        let mix = mix("10", 50, 0.0);
        let mut counts = vec![0; 50];
        for label in labels(50_000) {
            counts[mix.type_of(label) as usize] += 1;
        }
        assert!(
            counts.iter().all(|count| (800..1_200).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn with_a_skew_the_first_types_come_most() {
        let mix = mix("10", 100, 1.0);
        let mut counts = vec![0; 100];
        for label in labels(100_000) {
            counts[mix.type_of(label) as usize] += 1;
        }
        // One over the hundredth harmonic number, 5.187, of all are of the first type.
        assert!((18_500..20_100).contains(&counts[0]), "{}", counts[0]);
        assert!((9_000..10_300).contains(&counts[1]), "{}", counts[1]);
        assert!(counts.iter().all(|count| *count != 0));
    }
}
