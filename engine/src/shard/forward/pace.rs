//! How fast one journal's forwarder reads from the disk, which commits wait for too.

use super::PAUSE;
use crate::log::journal::Follower;
use crate::shard::volumes::Disk;
use crate::spool::Settings;
use crate::unit::Micros;
use std::cell::Cell;
use std::time::Duration;

/// When the next may be read.
pub(super) struct Pace {
    bytes_per_second: u64,
    next: Cell<Micros>,
}

impl Pace {
    /// One journal's share of the store's reading.
    pub(super) fn of(settings: &Settings, journals_in_store: u32) -> Self {
        let journals = u64::from(journals_in_store.max(1));
        Self {
            bytes_per_second: (settings.read_bytes_per_second / journals).max(1),
            next: Cell::new(Micros(0)),
        }
    }

    /// Notes what was read: the next may be read when that has had its time.
    pub(super) fn note(&self, now: Micros, follower: &mut Follower<Disk>) {
        let bytes = follower.take_read();
        let time_us = bytes.saturating_mul(1_000_000) / self.bytes_per_second;
        let next = self.next.get().max(now).0.saturating_add(time_us);
        self.next.set(Micros(next));
    }

    pub(super) fn has_time(&self, now: Micros) -> bool {
        self.next.get() <= now
    }

    /// How long who has nothing to do waits for news.
    pub(super) fn pause(&self, now: Micros) -> Duration {
        if self.has_time(now) {
            return PAUSE;
        }
        Duration::from_micros(self.next.get().since(now)).min(PAUSE)
    }
}
