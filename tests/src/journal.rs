//! `ringtail log`, on a store that nobody serves.

use crate::program::{self, Finished};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const LOG_SECONDS: u32 = 300;

/// One line of `ringtail log cat --format json`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    pub topic: String,
    pub partition: u32,
    pub offset: u64,
    pub timestamp_ms: i64,
    value_base64: String,
}

impl Row {
    /// The payload.
    ///
    /// # Panics
    /// When the line does not hold base64.
    pub fn value(&self) -> Vec<u8> {
        let value = BASE64_STANDARD.decode(&self.value_base64);
        value.expect("value_base64 is base64")
    }
}

/// `ringtail log WORD --volumes VOLUME`.
pub fn command(word: &str, volume: &Path) -> Command {
    let mut command = program::clean(&program::built("ringtail"));
    command.args(["log", word, "--volumes"]).arg(volume);
    command
}

/// Calls `each` with every record of the store, partition by partition.
///
/// # Panics
/// When `cat` fails or prints what is not a record.
pub fn cat(volume: &Path, mut each: impl FnMut(Row)) {
    let said = beside(volume, "cat.stderr");
    let file = fs::File::create(&said).expect("the scratch folder takes files");
    let mut child = command("cat", volume)
        .args(["--format", "json"])
        .stdout(Stdio::piped())
        .stderr(file)
        .spawn()
        .expect("the program was found");
    let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    for line in lines {
        let line = line.expect("cat prints text");
        each(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")));
    }
    let status = child.wait().expect("our own child can be waited for");
    let said = fs::read_to_string(said).unwrap_or_default();
    assert!(status.success(), "log cat: {status}: {said}");
}

/// Every payload of the store in the order of its offsets, by topic and partition.
///
/// # Panics
/// When offsets leave a gap or do not rise.
pub fn values(volume: &Path) -> BTreeMap<(String, u32), Vec<Vec<u8>>> {
    let mut values: BTreeMap<(String, u32), Vec<Vec<u8>>> = BTreeMap::new();
    let mut next: BTreeMap<(String, u32), u64> = BTreeMap::new();
    cat(volume, |row| {
        let place = (row.topic.clone(), row.partition);
        let expected = next.entry(place.clone()).or_insert(row.offset);
        assert_eq!(row.offset, *expected, "a gap in {place:?}");
        *expected += 1;
        values.entry(place).or_default().push(row.value());
    });
    values
}

/// Runs `ringtail log verify` and gives its JSON line.
///
/// # Panics
/// When it finds damage, or does not print exactly one line.
pub fn verify(volume: &Path) -> serde_json::Value {
    let Finished {
        code,
        stdout,
        stderr,
    } = run("verify", volume);
    assert_eq!(code, Some(0), "log verify: {stdout}{stderr}");
    let lines: Vec<_> = stdout.lines().collect();
    let [line] = lines[..] else {
        panic!("log verify prints one line, not: {stdout}");
    };
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// Runs `ringtail log WORD` to its end.
pub fn run(word: &str, volume: &Path) -> Finished {
    let folder = volume.parent().expect("a store lies in the scratch folder");
    program::run(command(word, volume), folder, LOG_SECONDS)
}

/// Bytes that the store's files take on disk.
pub fn bytes_on_disk(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(data) if data.is_dir() => bytes_on_disk(&entry.path()),
        Ok(data) => data.len(),
        // Retention may take a file away while we look.
        Err(_) => 0,
    });
    sizes.sum()
}

fn beside(volume: &Path, name: &str) -> PathBuf {
    volume.with_file_name(name)
}
