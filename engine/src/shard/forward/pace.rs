//! How fast one journal's forwarder reads from the disk, which commits wait for too.

use super::PAUSE;
use crate::log::journal::Follower;
use crate::shard::volumes::Disk;
use crate::spool::Settings;
use crate::unit::Micros;
use std::cell::Cell;
use std::time::Duration;

/// A reader that was held up catches up with so much of its time: reading takes some itself, and timers are late.
const CATCH_UP_US: u64 = 50_000;

/// When the next may be read.
pub(super) struct Pace {
    bytes_per_second: u64,
    next: Cell<Micros>,
}

impl Pace {
    /// One journal's share of the store's reading.
    pub(super) fn of(settings: &Settings, journals_in_store: u32) -> Self {
        Self::new(settings.read_bytes_per_second / u64::from(journals_in_store.max(1)))
    }

    fn new(bytes_per_second: u64) -> Self {
        Self {
            bytes_per_second: bytes_per_second.max(1),
            next: Cell::new(Micros(0)),
        }
    }

    /// Notes what was read: the next may be read when that has had its time.
    pub(super) fn note(&self, now: Micros, follower: &mut Follower<Disk>) {
        self.note_bytes(now, follower.take_read());
    }

    fn note_bytes(&self, now: Micros, bytes: u64) {
        let time_us = bytes.saturating_mul(1_000_000) / self.bytes_per_second;
        let earliest = Micros(now.0.saturating_sub(CATCH_UP_US));
        let next = self.next.get().max(earliest).0.saturating_add(time_us);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that are read in a second by who takes so long for a piece.
    fn read_in_a_second(pace: &Pace, bytes: u64, piece_us: u64) -> u64 {
        let (mut now, mut read) = (Micros(1_000_000), 0);
        while now.0 < 2_000_000 {
            if !pace.has_time(now) {
                now.0 += pace.pause(now).as_micros() as u64;
                continue;
            }
            now.0 += piece_us;
            pace.note_bytes(now, bytes);
            read += bytes;
        }
        read
    }

    #[test]
    fn the_share_is_reached_and_not_exceeded_however_long_a_piece_takes() {
        const SHARE: u64 = 100_000_000;
        for (piece_us, least) in [
            (0, SHARE),
            (2_000, SHARE),
            (4_900, SHARE),
            (20_000, 24_000_000),
        ] {
            let read = read_in_a_second(&Pace::new(SHARE), 500_000, piece_us);
            let most = SHARE + SHARE / 10;
            assert!((least..=most).contains(&read), "{piece_us}: {read}");
        }
    }

    #[test]
    fn who_had_nothing_to_read_for_long_does_not_catch_up_with_all_of_it() {
        let pace = Pace::new(1_000_000);
        let now = Micros(3_600_000_000);
        pace.note_bytes(now, 100_000);
        assert!(!pace.has_time(now));
        assert_eq!(pace.pause(now), Duration::from_millis(50));
    }
}
