//! What happened in one run or in many: counts by name.

use std::collections::BTreeMap;
use std::fmt;

/// Counts of operations, of faults that fired, and of the ways that recoveries took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub counts: BTreeMap<String, u64>,
    /// Of what all disks held at the end, and of everything that was done: equal for equal runs.
    pub digest: u64,
}

impl Report {
    pub fn count(&mut self, what: impl Into<String>) {
        self.add(what, 1);
    }

    pub fn add(&mut self, what: impl Into<String>, times: u64) {
        *self.counts.entry(what.into()).or_default() += times;
    }

    pub fn of(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or(0)
    }

    /// Takes in another run.
    pub fn merge(&mut self, other: &Self) {
        for (what, times) in &other.counts {
            self.add(what.clone(), *times);
        }
        self.digest ^= other.digest;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, times) in &self.counts {
            writeln!(out, "{times:>12}  {what}")?;
        }
        Ok(())
    }
}
