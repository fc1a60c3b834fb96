//! Two sets of results: their ratio, how much they scatter, and whether the difference is noise.
//!
//! A ratio is that of geometric means over repetitions. Its interval holds the true ratio with 95 %
//! confidence if repetitions scatter as they do by chance (Welch's t-test on logarithms: the two sets
//! may scatter differently). A difference is called noise when the interval holds 1. One repetition
//! has no scatter, so nothing is said about it.

pub(crate) mod statistics;

use std::path::PathBuf;

use serde::Serialize;
use thiserror::Error;

pub(crate) use statistics::{Ratio, Sample};

use crate::{
    Verdict,
    outcome::{FileError, Outcome, read_all},
};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Results of `load --json`: two files, or one that holds several targets.
    #[arg(required = true, num_args = 1..=2)]
    file: Vec<PathBuf>,
    /// Print JSON, one line for each figure.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Error)]
enum CompareError {
    #[error("{path} holds only one target, so there is nothing to compare; give a second file")]
    OneTarget { path: PathBuf },
    #[error(transparent)]
    File(#[from] FileError),
}

/// A figure that is compared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) more_is_better: bool,
    pub(crate) of: fn(&Outcome) -> f64,
}

pub(crate) const FIGURES: [Figure; 4] = [
    Figure {
        name: "events/s",
        more_is_better: true,
        of: |outcome| outcome.events_per_second,
    },
    Figure {
        name: "p50 us",
        more_is_better: false,
        of: |outcome| outcome.latency_us.p50 as f64,
    },
    Figure {
        name: "p99 us",
        more_is_better: false,
        of: |outcome| outcome.latency_us.p99 as f64,
    },
    Figure {
        name: "p99.9 us",
        more_is_better: false,
        of: |outcome| outcome.latency_us.p999 as f64,
    },
];

/// Repetitions of one thing.
#[derive(Clone, Debug)]
pub(crate) struct Group<'a> {
    pub(crate) name: String,
    pub(crate) outcomes: Vec<&'a Outcome>,
}

impl Group<'_> {
    pub(crate) fn sample(&self, figure: Figure) -> Sample {
        Sample::new(self.outcomes.iter().map(|outcome| (figure.of)(outcome)))
    }
}

/// Results by target, in the order in which targets first appear.
pub(crate) fn by_target(outcomes: &[Outcome]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for outcome in outcomes {
        match groups.iter_mut().find(|group| group.name == outcome.target) {
            Some(group) => group.outcomes.push(outcome),
            None => groups.push(Group {
                name: outcome.target.clone(),
                outcomes: vec![outcome],
            }),
        }
    }
    groups
}

/// One figure of two sets.
#[derive(Clone, Debug, Serialize)]
struct Row {
    figure: &'static str,
    a: String,
    b: String,
    mean_a: f64,
    mean_b: f64,
    /// Standard deviation over the mean, in percent; `null` for a single repetition.
    spread_percent_a: Option<f64>,
    spread_percent_b: Option<f64>,
    repetitions_a: usize,
    repetitions_b: usize,
    /// B over A.
    ratio: f64,
    ratio_low: Option<f64>,
    ratio_high: Option<f64>,
    verdict: &'static str,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Verdict, Box<dyn std::error::Error>> {
    let rows = rows(&arguments.file)?;
    if arguments.json {
        for row in &rows {
            println!("{}", serde_json::to_string(row)?);
        }
    } else {
        print!("{}", table(&rows));
    }
    Ok(Verdict::Kept)
}

fn rows(files: &[PathBuf]) -> Result<Vec<Row>, CompareError> {
    let outcomes: Vec<Vec<Outcome>> = files
        .iter()
        .map(|path| read_all(path))
        .collect::<Result<_, _>>()?;
    if let [one, two] = &outcomes[..] {
        let whole = |index: usize, outcomes: &'_ [Outcome]| -> String {
            let name = files[index]
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy();
            let targets = by_target(outcomes);
            match &targets[..] {
                [only] if only.name != "target" => format!("{name}:{}", only.name),
                _ => name.into_owned(),
            }
        };
        let group = |index: usize, outcomes| Group {
            name: whole(index, outcomes),
            outcomes: outcomes.iter().collect(),
        };
        return Ok(pair(&group(0, one), &group(1, two)));
    }
    let groups = by_target(&outcomes[0]);
    let [first, others @ ..] = &groups[..] else {
        return Ok(Vec::new());
    };
    if others.is_empty() {
        let path = files[0].clone();
        return Err(CompareError::OneTarget { path });
    }
    Ok(others.iter().flat_map(|other| pair(first, other)).collect())
}

/// Compares every target with the first and prints it.
pub(crate) fn print_all(outcomes: &[Outcome]) {
    let groups = by_target(outcomes);
    if let [first, others @ ..] = &groups[..] {
        let rows: Vec<_> = others.iter().flat_map(|other| pair(first, other)).collect();
        print!("{}", table(&rows));
    }
}

fn pair(a: &Group<'_>, b: &Group<'_>) -> Vec<Row> {
    FIGURES.iter().map(|figure| row(a, b, *figure)).collect()
}

fn row(a: &Group<'_>, b: &Group<'_>, figure: Figure) -> Row {
    let (one, two) = (a.sample(figure), b.sample(figure));
    let ratio = Ratio::of(&one, &two);
    Row {
        figure: figure.name,
        a: a.name.clone(),
        b: b.name.clone(),
        mean_a: one.mean(),
        mean_b: two.mean(),
        spread_percent_a: one.spread().map(|spread| spread * 100.0),
        spread_percent_b: two.spread().map(|spread| spread * 100.0),
        repetitions_a: one.len(),
        repetitions_b: two.len(),
        ratio: ratio.ratio,
        ratio_low: ratio.interval.map(|(low, _)| low),
        ratio_high: ratio.interval.map(|(_, high)| high),
        verdict: verdict(&ratio, figure.more_is_better),
    }
}

fn verdict(ratio: &Ratio, more_is_better: bool) -> &'static str {
    match ratio.interval {
        None => "one repetition says nothing about noise",
        Some((low, high)) if low <= 1.0 && 1.0 <= high => "noise",
        Some((low, _)) if (1.0 < low) == more_is_better => "B is better",
        Some(_) => "B is worse",
    }
}

fn table(rows: &[Row]) -> String {
    let mut out = String::new();
    let mut last = ("", "");
    for row in rows {
        if last != (row.a.as_str(), row.b.as_str()) {
            last = (&row.a, &row.b);
            out.push_str(&head(row));
        }
        out.push_str(&line(row));
    }
    out
}

fn head(row: &Row) -> String {
    format!(
        "A = {} ({} repetitions), B = {} ({})\n{:<10} {:>14} {:>14} {:>8}  {:<17} verdict\n",
        row.a,
        row.repetitions_a,
        row.b,
        row.repetitions_b,
        "figure",
        "A",
        "B",
        "B/A",
        "95 % interval"
    )
}

fn line(row: &Row) -> String {
    let with_spread = |mean: f64, spread: Option<f64>| match spread {
        Some(spread) => format!("{mean:.0} ±{spread:.0}%"),
        None => format!("{mean:.0}"),
    };
    let interval = match (row.ratio_low, row.ratio_high) {
        (Some(low), Some(high)) => format!("{low:.3} to {high:.3}"),
        _ => "unknown".to_owned(),
    };
    format!(
        "{:<10} {:>14} {:>14} {:>8.3}  {:<17} {}\n",
        row.figure,
        with_spread(row.mean_a, row.spread_percent_a),
        with_spread(row.mean_b, row.spread_percent_b),
        row.ratio,
        interval,
        row.verdict
    )
}
