//! Results in files: one of them as it is, several under `results`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Conclusion, Figures, Outcome};

#[derive(Debug, Error)]
pub(crate) enum FileError {
    #[error("could not read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("could not write {path}: {source}")]
    Write { path: PathBuf, source: io::Error },
    #[error("{path} is no result of `ringtail-bench load --json`: {source}")]
    Form {
        path: PathBuf,
        source: serde_json::Error,
    },
}

#[derive(Serialize)]
struct Several<'a> {
    results: &'a [Outcome],
    /// Of a scenario: what its programs printed, and what its steps came to.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    figures: &'a [Figures],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    conclusions: &'a [Conclusion],
}

#[derive(Deserialize)]
struct SeveralRead {
    results: Vec<Outcome>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ConclusionsRead {
    conclusions: Vec<Conclusion>,
}

/// Writes one result or several.
pub(crate) fn write(path: &Path, outcomes: &[Outcome]) -> Result<(), FileError> {
    write_all(path, outcomes, &[], &[])
}

/// The same, with what a scenario has beside them.
pub(crate) fn write_all(
    path: &Path,
    results: &[Outcome],
    figures: &[Figures],
    conclusions: &[Conclusion],
) -> Result<(), FileError> {
    let json = match results {
        [one] if figures.is_empty() && conclusions.is_empty() => serde_json::to_vec_pretty(one),
        results => serde_json::to_vec_pretty(&Several {
            results,
            figures,
            conclusions,
        }),
    };
    let path = path.to_path_buf();
    let json = json.map_err(|source| FileError::Form {
        path: path.clone(),
        source,
    })?;
    fs::write(&path, json).map_err(|source| FileError::Write { path, source })
}

fn bytes_of(path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(|source| FileError::Read {
        path: path.to_path_buf(),
        source,
    })
}

/// Reads what the steps of a scenario came to.
pub(crate) fn read_conclusions(path: &Path) -> Result<Vec<Conclusion>, FileError> {
    let read: Result<ConclusionsRead, _> = serde_json::from_slice(&bytes_of(path)?);
    let read = read.map_err(|source| FileError::Form {
        path: path.to_path_buf(),
        source,
    })?;
    Ok(read.conclusions)
}

/// Reads all results of a file.
pub(crate) fn read_all(path: &Path) -> Result<Vec<Outcome>, FileError> {
    let bytes = bytes_of(path)?;
    let read = || -> Result<Vec<Outcome>, serde_json::Error> {
        let value: serde_json::Value = serde_json::from_slice(&bytes)?;
        if value.get("results").is_some() {
            return Ok(serde_json::from_value::<SeveralRead>(value)?.results);
        }
        Ok(vec![serde_json::from_value(value)?])
    };
    read().map_err(|source| FileError::Form {
        path: path.to_path_buf(),
        source,
    })
}
