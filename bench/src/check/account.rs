//! The answer: what was sent, and what became of it.

use std::fmt;

use serde::Serialize;

use crate::Verdict;

/// What is no fault where the events were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Leave {
    /// Offsets are left out: Kafka's transactions take some.
    pub(super) gaps: bool,
    /// Events are there twice: who delivers at least once may.
    pub(super) duplicates: bool,
}

/// Batches unless the name says events.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Account {
    pub(super) runs: usize,
    pub(super) sent: u64,
    pub(super) acknowledged: u64,
    pub(super) refused: u64,
    /// Wholly there.
    pub(super) stored: u64,
    /// Everything that was read, foreign events too.
    pub(super) stored_events: u64,
    /// Acknowledged and not wholly there.
    pub(super) missing: u64,
    /// Not acknowledged, and there in part.
    pub(super) torn: u64,
    pub(super) duplicated_events: u64,
    pub(super) out_of_order_events: u64,
    /// Of no run of the records, or never sent.
    pub(super) invented_events: u64,
    /// Of no run of the records, where others were known to have written too.
    pub(super) foreign_events: u64,
    /// The label is one of ours, the bytes are not what was sent.
    pub(super) altered_events: u64,
    /// In another topic than the other events of their type.
    pub(super) misrouted_events: u64,
    pub(super) offset_gaps: u64,
    pub(super) offset_doubles: u64,
    #[serde(skip)]
    pub(super) leave: Leave,
}

impl Account {
    pub(super) fn is_clean(&self) -> bool {
        let faults = [
            self.missing,
            self.torn,
            self.out_of_order_events,
            self.invented_events,
            self.altered_events,
            self.misrouted_events,
            self.offset_doubles,
        ];
        faults.iter().all(|count| *count == 0)
            && (self.leave.gaps || self.offset_gaps == 0)
            && (self.leave.duplicates || self.duplicated_events == 0)
    }

    /// Whether anything is not there that was acknowledged.
    pub(crate) fn misses_anything(&self) -> bool {
        self.missing != 0
    }

    pub(crate) fn verdict(&self) -> Verdict {
        if self.is_clean() {
            Verdict::Kept
        } else {
            Verdict::Broken
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "  account  {} batches sent, {} acknowledged, {} stored, {} missing, {} torn",
            self.sent, self.acknowledged, self.stored, self.missing, self.torn
        )?;
        writeln!(
            f,
            "  events   {} duplicated, {} out of order, {} altered, {} misrouted, {} invented",
            self.duplicated_events,
            self.out_of_order_events,
            self.altered_events,
            self.misrouted_events,
            self.invented_events
        )
    }
}
