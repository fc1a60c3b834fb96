//! One page of HTML for any number of results: nothing is loaded, every plot is inline SVG.

mod charts;
mod page;
mod svg;

use std::{fs, io, path::PathBuf};

use thiserror::Error;

use crate::{
    Verdict,
    outcome::{Conclusion, FileError, Outcome, read_all, read_conclusions},
};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Results of `load --json` or `scenario --json`.
    #[arg(required = true)]
    file: Vec<PathBuf>,
    /// Where the page goes.
    #[arg(long, short, default_value = "report.html")]
    output: PathBuf,
    #[arg(long, default_value = "Ringtail, measured")]
    title: String,
}

#[derive(Debug, Error)]
enum ReportError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("could not write {path}: {source}")]
    Write { path: PathBuf, source: io::Error },
}

/// Repetitions of one load on one target, out of one file.
struct Series<'a> {
    name: String,
    /// Only what got the same load can be compared.
    load: &'a str,
    outcomes: Vec<&'a Outcome>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Verdict, Box<dyn std::error::Error>> {
    let path = write(arguments)?;
    println!("{}", path.display());
    Ok(Verdict::Kept)
}

fn write(arguments: &Arguments) -> Result<PathBuf, ReportError> {
    let mut files = Vec::new();
    let mut conclusions: Vec<Conclusion> = Vec::new();
    for path in &arguments.file {
        let stem = path.file_stem().unwrap_or_default();
        files.push((stem.to_string_lossy().into_owned(), read_all(path)?));
        conclusions.extend(read_conclusions(path)?);
    }
    let page = page::page(&arguments.title, &series(&files), &conclusions);
    let path = arguments.output.clone();
    match fs::write(&path, page) {
        Ok(()) => Ok(path),
        Err(source) => Err(ReportError::Write { path, source }),
    }
}

/// Sets repetitions together: same file, same load, same target. Names say what differs.
fn series(files: &[(String, Vec<Outcome>)]) -> Vec<Series<'_>> {
    let mut all: Vec<(Key<'_>, Vec<&Outcome>)> = Vec::new();
    for (file, outcomes) in files {
        for outcome in outcomes {
            let key = Key {
                file,
                load: &outcome.openmessaging.workload,
                target: &outcome.target,
            };
            match all.iter_mut().find(|(known, _)| *known == key) {
                Some((_, together)) => together.push(outcome),
                None => all.push((key, vec![outcome])),
            }
        }
    }
    let differs = |part: fn(&Key<'_>) -> String| {
        let mut values = all.iter().map(|(key, _)| part(key));
        let first = values.next();
        values.any(|value| Some(value) != first)
    };
    let parts: [fn(&Key<'_>) -> String; 3] = [
        |key| key.file.to_owned(),
        |key| key.load.to_owned(),
        |key| key.target.to_owned(),
    ];
    let shown: Vec<_> = parts.into_iter().filter(|part| differs(*part)).collect();
    let name = |key: &Key<'_>| {
        let words: Vec<_> = shown.iter().map(|part| part(key)).collect();
        if words.is_empty() {
            key.target.to_owned()
        } else {
            words.join(" · ")
        }
    };
    let named = all.iter().map(|(key, outcomes)| Series {
        name: name(key),
        load: key.load,
        outcomes: outcomes.clone(),
    });
    named.collect()
}

/// Series by load, in the order in which loads first appear.
fn by_load<'a, 's>(series: &'s [Series<'a>]) -> Vec<Vec<&'s Series<'a>>> {
    let mut groups: Vec<Vec<&Series<'_>>> = Vec::new();
    for one in series {
        match groups.iter_mut().find(|group| group[0].load == one.load) {
            Some(group) => group.push(one),
            None => groups.push(vec![one]),
        }
    }
    groups
}

#[derive(PartialEq)]
struct Key<'a> {
    file: &'a str,
    load: &'a str,
    target: &'a str,
}
