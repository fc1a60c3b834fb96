//! What a journal tells operators of its volumes: plain values that cross cores.

use super::format::loss::Losses;
use crate::unit::JournalId;

/// How one volume stands for one journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeState {
    /// It gets every commit.
    InService,
    /// It is being filled from another volume.
    Rebuilding { done_bytes: u64, total_bytes: u64 },
    /// It failed while it was in use, and gets nothing.
    Fenced { reason: String },
    /// It was not fit for use from the start.
    Absent { reason: String },
}

/// What the scrubber has seen of one journal, on all volumes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubCounts {
    /// Times that everything was read.
    pub passes: u64,
    /// Bytes read, of every copy.
    pub bytes: u64,
    /// Damaged pieces that were restored from another copy.
    pub repaired: u64,
    /// Damaged pieces of which no copy was whole, in the last pass.
    pub lost: u64,
    /// When the last pass ended, in milliseconds since 1970.
    pub last_pass_ms: Option<i64>,
}

/// What one journal has lost for good: damage without a whole copy that an operator has accepted, from the
/// journal's first day on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LossCounts {
    /// Stretches of the chain that were given up.
    pub places: u64,
    /// Offsets in them that may have been in use, of all topics.
    pub offsets: u64,
}

impl LossCounts {
    pub fn of(losses: &Losses) -> Self {
        Self {
            places: losses.places(),
            offsets: losses.offsets(),
        }
    }
}

/// One volume as one journal sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeReport {
    pub journal: JournalId,
    /// Its number in the store; `None` while it has none.
    pub volume: Option<u32>,
    pub folder: String,
    pub state: VolumeState,
    /// The journal's; the same for each of its volumes.
    pub scrub: ScrubCounts,
    /// The journal's, too.
    pub losses: LossCounts,
}
