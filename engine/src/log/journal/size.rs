//! What a journal takes, and what was done to give space back.

use super::super::disk::Disk;
use super::Journal;

/// A journal's sizes, for metrics.
#[derive(Clone, Copy, Debug, Default)]
pub struct Size {
    pub segments: u64,
    pub recycled: u64,
    pub bytes: u64,
    /// Of sealed record batches that nobody can read any more, as of the last look.
    pub dead_bytes: u64,
    pub tidied: Tidied,
}

/// What was done to give space back, since the journal was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tidied {
    pub repacked: u64,
    pub read_bytes: u64,
    pub written_bytes: u64,
    /// Segments that could not be read, and were left as they are.
    pub unfit: u64,
}

impl<D: Disk> Journal<D> {
    pub fn size(&self) -> Size {
        let inner = self.inner.borrow();
        let files = inner.prepared.len() + inner.spare.len();
        let retired: u64 = inner.retired.iter().map(|retired| retired.file_bytes).sum();
        let unused = files as u64 * inner.settings.segment_bytes + retired;
        let looks = inner.sealed.iter().filter_map(|sealed| sealed.look);
        Size {
            segments: (inner.held() + files + inner.doomed.len() + inner.retired.len()) as u64,
            recycled: inner.recycled,
            bytes: inner.held_bytes() + unused,
            dead_bytes: looks.map(|look| look.bytes - look.living).sum(),
            tidied: inner.tidied,
        }
    }
}
