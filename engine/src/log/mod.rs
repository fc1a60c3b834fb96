//! Routed batches become places in the journal, on disk.

pub mod catalogue;
pub mod disk;
pub mod format;
pub mod journal;
pub mod offline;
pub mod recover;
pub mod simulated;
pub mod store;
pub mod wake;
pub mod walk;

use std::path::PathBuf;

/// What the log needs from the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Folders that each hold a copy of the store.
    pub volumes: Vec<PathBuf>,
    pub segment_bytes: u64,
    /// Segments kept ready ahead of the writer, beside the reserved one.
    pub segments_prepared: u32,
    /// Bytes the whole store may take before its oldest segments are recycled; `None` keeps all.
    pub retention_bytes: Option<u64>,
    pub origin: Origin,
    /// How long an idle journal waits for company before it commits, in microseconds.
    pub commit_wait_us: u32,
    /// A frame is closed when it holds this many bytes and another may be in flight.
    pub frame_bytes: usize,
    pub frames_in_flight: usize,
    pub flush: Flush,
}

/// What is kept of each request beside its events (`log.origin`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Connection id, group, guid, times.
    Full,
    /// Group and times.
    Group,
    None,
}

/// How a frame is made durable (`log.flush`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// Each write returns when it is on stable storage (`O_DSYNC`).
    WriteThrough,
    /// Each write is followed by `fdatasync`.
    DataSync,
    /// Nothing is flushed: for measuring what flushing costs. Acknowledged events can be lost.
    Never,
}
