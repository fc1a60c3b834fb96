//! What the kernel tells in `/proc` and `/sys`, read as text and numbers.

use std::fs;
use std::path::{Path, PathBuf};

/// A host, or in tests a folder that looks like one.
pub(super) struct Host {
    root: PathBuf,
}

impl Host {
    pub(super) fn here() -> Self {
        Self::at("/")
    }

    pub(super) fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// `path` starts with `/`.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The text of a file; of a choice such as `a [b] c`, what is chosen. `None` when it is not there.
    pub(super) fn value(&self, path: &str) -> Option<String> {
        let text = fs::read_to_string(self.path(path)).ok()?;
        let chosen = text
            .split_once('[')
            .and_then(|(_, rest)| rest.split_once(']'));
        let value = chosen.map_or(text.as_str(), |(chosen, _)| chosen);
        Some(value.trim().to_owned())
    }

    pub(super) fn number(&self, path: &str) -> Option<u64> {
        self.value(path)?.parse().ok()
    }

    /// A list of CPUs such as `0,2-5`; an empty file is an empty list.
    pub(super) fn list(&self, path: &str) -> Option<Vec<usize>> {
        numbers(&self.value(path)?)
    }

    /// Names in a folder, in order; none when it is not there.
    pub(super) fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(path))
            .into_iter()
            .flatten()
            .flatten();
        let mut names: Vec<_> = entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// The whole disks below the block device of this number, by name: RAID, LVM and partitions are
    /// followed down.
    pub(super) fn disks(&self, major: u32, minor: u32) -> Vec<String> {
        let block = self.path(&format!("/sys/dev/block/{major}:{minor}"));
        let mut disks = Vec::new();
        if let Ok(block) = fs::canonicalize(block) {
            collect_disks(&block, &mut disks);
        }
        disks.sort();
        disks.dedup();
        disks
    }
}

fn collect_disks(block: &Path, disks: &mut Vec<String>) {
    let slaves = fs::read_dir(block.join("slaves"))
        .into_iter()
        .flatten()
        .flatten();
    let slaves: Vec<_> = slaves
        .filter_map(|slave| fs::canonicalize(slave.path()).ok())
        .collect();
    if !slaves.is_empty() {
        for slave in &slaves {
            collect_disks(slave, disks);
        }
        return;
    }
    let is_part = block.join("partition").exists();
    let whole = block.parent().filter(|_| is_part).unwrap_or(block);
    disks.extend(
        whole
            .file_name()
            .map(|name| name.to_string_lossy().into_owned()),
    );
}

/// Reads `0,2-5`.
fn numbers(text: &str) -> Option<Vec<usize>> {
    let mut all = Vec::new();
    for part in text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        // No host has more CPUs; the file is not to be trusted with our memory.
        if last < first || 1 << 16 < last {
            return None;
        }
        all.extend(first..=last);
    }
    Some(all)
}

/// Reads a set of CPUs as the kernel writes it: hexadecimal words of 32 bits, the highest first.
pub(super) fn mask(text: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for (place, word) in text.trim().rsplit(',').enumerate() {
        let word = u32::from_str_radix(word, 16).ok()?;
        let set = (0..32).filter(|bit| word & (1 << bit) != 0);
        cpus.extend(set.map(|bit| place * 32 + bit));
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_cpus_are_read_as_the_kernel_writes_them() {
        assert_eq!(numbers("0,2-4"), Some(vec![0, 2, 3, 4]));
        assert_eq!(numbers(""), Some(vec![]));
        assert_eq!(numbers("4-2"), None);
        assert_eq!(numbers("0-99999999999"), None);
        assert_eq!(mask("00000001,80000003"), Some(vec![0, 1, 31, 32]));
        assert_eq!(mask("x"), None);
    }
}
