//! Routed batches become places in the journal, on disk.

pub mod catalogue;
pub mod disk;
pub mod format;
pub mod journal;
pub mod mirror;
pub mod offline;
pub mod planted;
pub mod reconcile;
pub mod recover;
pub mod report;
pub mod retention;
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
    pub copies: Copies,
    /// How fast a returning volume is filled, for each journal.
    pub rebuild_bytes_per_second: u64,
    /// What readers of old records may take from the disks each second while events are written, for the whole store.
    pub read_bytes_per_second: u64,
    /// How fast sealed segments are checked again, for each journal; 0 never checks them.
    pub scrub_bytes_per_second: u64,
    pub segment_bytes: u64,
    /// Segments kept ready ahead of the writer, beside the reserved one.
    pub segments_prepared: u32,
    /// Bytes the whole store may take before its oldest segments are recycled; `None` keeps all.
    pub retention_bytes: Option<u64>,
    /// How long records stay, for the store and by topic.
    pub retention: retention::Rules,
    /// A sealed segment is rewritten when less than this part of it is alive, in percent; 0 for never.
    pub repack_below: u32,
    /// Bytes that all shards together read and write in a second, at most, to give dead bytes back.
    pub repack_bytes_per_second: u64,
    pub origin: Origin,
    /// How long an idle journal waits for company before it commits, in microseconds.
    pub commit_wait_us: u32,
    /// A frame is closed when it holds this many bytes and another may be in flight.
    pub frame_bytes: usize,
    pub frames_in_flight: usize,
    pub flush: Flush,
    /// Newest frames of each journal in memory while there are readers for them; 0 keeps none.
    pub tail_bytes: usize,
}

/// How many volumes must have a commit before it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copies {
    /// Copies that an acknowledgement waits for; 0 for all volumes in service.
    pub durable_volumes: u32,
    /// With fewer in service nothing new is taken.
    pub volumes_min: u32,
    /// A volume this far behind, in bytes of one journal, is fenced.
    pub lag_bytes_max: u64,
}

impl Copies {
    /// More than half of the volumes; but one of two is enough, or the loss of either would stop the store.
    pub fn more_than_half(volumes: u32) -> u32 {
        match volumes {
            0..=2 => 1,
            more => more / 2 + 1,
        }
    }
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
