//! The commands that read a store without serving it, on what a run leaves behind: `verify` finds what is
//! damaged and nothing else, `cat` prints what the account says, byte for byte.

use super::machine::Machine;
use super::model::Account;
use super::run::{Known, Run};
use ringtail::log::offline::{Options, cat, verify};
use ringtail::log::simulated::SimulatedDisk;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::{fmt, fs};

/// A store's files on a real disk, until this is dropped.
struct Folder(PathBuf);

impl Folder {
    fn of(disk: &SimulatedDisk) -> std::io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ringtail-simulated-{}-{number}", std::process::id());
        let folder = Self(std::env::temp_dir().join(name));
        for path in disk.paths() {
            let file = folder.0.join(&path);
            fs::create_dir_all(file.parent().unwrap_or(&folder.0))?;
            fs::write(file, disk.contents(&path).unwrap_or_default())?;
        }
        Ok(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// One record that `cat` has printed.
struct Printed {
    topic: String,
    journal: usize,
    offset: u64,
    value: Vec<u8>,
}

impl fmt::Display for Printed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = String::from_utf8_lossy(&self.value[..self.value.len().min(16)]);
        let (topic, journal, offset) = (&self.topic, self.journal, self.offset);
        write!(out, "{topic} {journal} {offset} {start:?}")
    }
}

fn parse(line: &str) -> Option<Printed> {
    let mut parts = line.splitn(5, ' ');
    let (topic, journal, offset) = (parts.next()?, parts.next()?, parts.next()?);
    let (_time, value) = (parts.next()?, parts.next()?);
    Some(Printed {
        topic: topic.to_owned(),
        journal: journal.parse().ok()?,
        offset: offset.parse().ok()?,
        value: value.as_bytes().to_vec(),
    })
}

fn options(volume: &Path) -> Options {
    Options {
        volumes: vec![volume.to_owned()],
        ..Options::default()
    }
}

/// What was printed of a store; the text of the error when it ended early.
pub struct Reading {
    records: Vec<Printed>,
    error: Option<String>,
}

/// What `verify` says, and what `cat` prints.
pub fn read(disk: &SimulatedDisk) -> Result<(Option<String>, Reading), String> {
    let folder = Folder::of(disk).map_err(|error| format!("a store cannot be copied: {error}"))?;
    let options = options(&folder.0);
    let (mut told, mut text) = (Vec::new(), Vec::new());
    let verified = verify(&options, &mut told);
    let amiss = match verified {
        Ok(true) => None,
        Ok(false) => Some(String::from_utf8_lossy(&told).into_owned()),
        Err(error) => Some(error.to_string()),
    };
    let error = match cat(&options, &mut text) {
        Ok(true) => None,
        Ok(false) => Some("cat says that something is amiss".to_owned()),
        Err(error) => Some(error.to_string()),
    };
    let text = String::from_utf8(text).map_err(|error| error.to_string())?;
    let records = text.lines().map(|line| parse(line).ok_or(line));
    let records = records.collect::<Result<_, _>>();
    let records = records.map_err(|line| format!("cat prints {line:?}"))?;
    Ok((amiss, Reading { records, error }))
}

impl Run {
    /// Reads the store of one volume as the last life has left it, before it is started again.
    pub fn read_leftover(&mut self) -> Result<Option<Reading>, String> {
        let disk = self.victim().clone();
        if !self.is_alone() || disk.paths().iter().all(|path| path != "superblock") {
            return Ok(None);
        }
        let (amiss, reading) = read(&disk)?;
        let damaged = disk.damaged();
        match amiss {
            Some(amiss) if damaged.is_empty() => Err(format!("verify finds {amiss}")),
            None if super::evidence::hits_frames(&disk) => {
                Err(format!("verify does not find damage at {damaged:?}"))
            }
            Some(_) => {
                self.report.count("offline: damage found by verify");
                Ok(None)
            }
            None => {
                self.report.count("offline: verified as it was left");
                // Damage that verify passes over costs nothing: what is printed is all the same what it should be.
                Ok(Some(reading))
            }
        }
    }

    /// Reads every volume that holds the whole store, which was stopped.
    pub fn read_stopped(&mut self, machine: &Machine, whole: bool) -> Result<(), String> {
        for volume in 0..self.disks.len() {
            let left_out = (volume == self.victim && (!whole || self.harmed))
                || !self.configured.contains(&volume)
                || !machine.is_on(volume);
            if left_out && !self.is_alone() || !self.disks[volume].damaged().is_empty() {
                continue;
            }
            let (amiss, reading) = read(&self.disks[volume])?;
            if let Some(amiss) = amiss {
                return Err(format!("verify finds on volume {volume}: {amiss}"));
            }
            self.compare_reading(machine, &reading, false)
                .map_err(|why| format!("cat of volume {volume}: {why}"))?;
            self.report
                .count("offline: verified and printed when stopped");
        }
        Ok(())
    }

    /// What was printed is what the account has. Before a start more may be there: retention went on with it.
    pub fn compare_reading(
        &self,
        machine: &Machine,
        reading: &Reading,
        before_start: bool,
    ) -> Result<(), String> {
        if let Some(error) = &reading.error {
            return Err(error.clone());
        }
        let mut printed: Vec<&Printed> = reading.records.iter().collect();
        printed.sort_by_key(|one| (one.journal, &one.topic, one.offset));
        let mut printed = printed.into_iter().peekable();
        for (journal, account) in self.accounts.iter().enumerate() {
            for (name, offset, value, retired) in self.expected(machine, account) {
                let is_it = |one: &&Printed| {
                    (one.journal, one.topic.as_str(), one.offset) == (journal, name, offset)
                        && one.value == value
                };
                if retired && !(before_start && printed.peek().is_some_and(is_it)) {
                    continue;
                }
                let found = printed.next();
                if !found.as_ref().is_some_and(is_it) {
                    let found = found.map(ToString::to_string).unwrap_or_default();
                    return Err(format!(
                        "{name} {journal} {offset} should be there, not {found}"
                    ));
                }
            }
        }
        match printed.next() {
            Some(more) => Err(format!("{more} should not be there")),
            None => Ok(()),
        }
    }

    /// What was ever acknowledged in one journal, by name and offset, and whether it has been retired.
    fn expected<'a>(
        &'a self,
        machine: &'a Machine,
        account: &'a Account,
    ) -> impl Iterator<Item = (&'a str, u64, Vec<u8>, bool)> {
        let mut topics: Vec<_> = machine.topics.iter().collect();
        topics.sort_by_key(|(_, name)| name.clone());
        topics.into_iter().flat_map(move |(id, name)| {
            let is_it = |known: &Known| known.id == *id && !known.gone;
            let number = self.topics.iter().position(is_it);
            let topic = number.and_then(|number| account.topics.get(number));
            let records = topic.map_or(&[][..], |topic| &topic.records);
            let low = topic.map_or(0, |topic| topic.low);
            let all = (0..).zip(records);
            all.map(move |(offset, value)| (&**name, offset, value.contents(), offset < low))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::evidence::{hits_frames, is_segment};
    use super::super::run::{Options, run_and_keep};
    use super::*;

    /// The seeds leave a segment in use whose records are all let go of: of the catalogue, and of a journal.
    #[test]
    fn verify_misses_the_header_of_a_segment_unless_nobody_needs_it() {
        for (seed, spare) in [
            (2, "catalogue/00000003.seg"),
            (22, "journal-0/00000000.seg"),
        ] {
            let run = run_and_keep(seed, Options::default()).expect("a sound seed");
            let disk = &run.disks[0];
            assert!(run.is_alone() && disk.damaged().is_empty());
            let mut needed = 0;
            for path in disk.paths().into_iter().filter(|path| is_segment(path)) {
                let in_life = 8 * 45;
                assert!(disk.flip(&path, in_life));
                let (amiss, _) = read(disk).expect("a store that can be read");
                let hits = hits_frames(disk);
                assert_eq!(amiss.is_some(), hits, "seed {seed}: {path} {amiss:?}");
                assert!(path != spare || !hits, "seed {seed}: {path}");
                needed += u32::from(hits);
                disk.undo_damage();
            }
            assert!(2 <= needed, "seed {seed}: {needed}");
        }
    }
}
