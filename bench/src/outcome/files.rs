//! Results in files: one of them as it is, several under `results`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Outcome;

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
}

#[derive(Deserialize)]
struct SeveralRead {
    results: Vec<Outcome>,
}

/// Writes one result or several.
pub(crate) fn write(path: &Path, outcomes: &[Outcome]) -> Result<(), FileError> {
    let json = match outcomes {
        [one] => serde_json::to_vec_pretty(one),
        several => serde_json::to_vec_pretty(&Several { results: several }),
    };
    let path = path.to_path_buf();
    let json = json.map_err(|source| FileError::Form {
        path: path.clone(),
        source,
    })?;
    fs::write(&path, json).map_err(|source| FileError::Write { path, source })
}

/// Reads all results of a file.
pub(crate) fn read_all(path: &Path) -> Result<Vec<Outcome>, FileError> {
    let bytes = fs::read(path).map_err(|source| FileError::Read {
        path: path.to_path_buf(),
        source,
    })?;
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
