//! What a step of a scenario came to, as ratios, and figures that programs printed.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

/// A ratio in each round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Conclusion {
    pub(crate) step: String,
    /// What is divided by what, in words.
    pub(crate) figure: String,
    pub(crate) ratios: Vec<f64>,
    pub(crate) median: f64,
    /// What the scenario wants the median to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) at_least: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) at_most: Option<f64>,
}

/// What a program printed of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) step: String,
    pub(crate) target: String,
    /// From 1.
    pub(crate) round: u32,
    pub(crate) values: BTreeMap<String, f64>,
}

impl Conclusion {
    pub(crate) fn new(step: &str, figure: String, ratios: Vec<f64>) -> Self {
        Self {
            step: step.to_owned(),
            figure,
            median: median(&ratios),
            ratios,
            at_least: None,
            at_most: None,
        }
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match (sorted.len(), sorted.len() / 2) {
        (0, _) => 0.0,
        (count, half) if count % 2 == 0 => f64::midpoint(sorted[half - 1], sorted[half]),
        (_, half) => sorted[half],
    }
}

impl fmt::Display for Conclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let least = self.ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.ratios.iter().copied().fold(0.0, f64::max);
        write!(
            f,
            "{}: {}: median {:.2}, from {least:.2} to {most:.2} in {} rounds",
            self.step,
            self.figure,
            self.median,
            self.ratios.len()
        )?;
        if let Some(bound) = self.at_least {
            write!(f, ", at least {bound:.2} wanted")?;
        }
        if let Some(bound) = self.at_most {
            write!(f, ", at most {bound:.2} wanted")?;
        }
        Ok(())
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} round {}:", self.target, self.round)?;
        for (name, value) in &self.values {
            write!(f, " {name} {value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one_or_between_the_two_middle_ones() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
        assert!(median(&[]).abs() < 1e-9);
    }

    #[test]
    fn a_conclusion_says_what_was_wanted() {
        let mut conclusion = Conclusion::new("killed", "p99 of a / b".into(), vec![1.2, 0.4]);
        conclusion.at_most = Some(1.5);
        assert_eq!(
            conclusion.to_string(),
            "killed: p99 of a / b: median 0.80, from 0.40 to 1.20 in 2 rounds, at most 1.50 wanted"
        );
    }
}
