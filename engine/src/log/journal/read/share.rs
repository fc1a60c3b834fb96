//! What readers of old records may take from the disk while frames are committed.
//!
//! A bound on what is under way at once is not enough: a disk that is read without a pause makes every commit wait a
//! little, and a few of them long. So readers have a share of bytes for each second, or twice what is written where
//! that is more: a reader always catches up with the writer, however fast that is.

use super::super::super::disk::Disk;
use super::super::super::wake::Pass;
use super::super::Journal;
use super::Reading;
use crate::limit::{COMMITS_PAUSE, READ_BYTES_AT_ONCE, READ_BYTES_BESIDE_COMMITS, READ_BYTES_MAX};
use crate::unit::Micros;
use futures_util::future::LocalBoxFuture;
use std::rc::Rc;
use std::time::Duration;

/// Resolves when so much time has gone by.
pub type Sleep = Rc<dyn Fn(Duration) -> LocalBoxFuture<'static, ()>>;

/// What is saved up of the rate while nobody reads.
const SAVED_BYTES: i64 = 2 * READ_BYTES_BESIDE_COMMITS as i64;
/// And of what is written, for several frames may come while a reader waits.
const SAVED_OF_WRITES_BYTES: i64 = 1 << 20;
/// With more than this to spend, readers are behind a writer that is fast, and reads are long again.
const PLENTY_BYTES: i64 = 2 * READ_BYTES_MAX as i64;
/// The share grows by what is written too, so a reader looks again after this time at the latest.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// The readers' share of the disk.
#[derive(Default)]
pub(super) struct Share {
    /// How fast it grows, and what waits for it; none for readers that are not held back.
    rate: Option<(u64, Sleep)>,
    /// Bytes that may be read; below nothing, what was read too early.
    left: i64,
    /// Up to when it has grown.
    grown: Micros,
}

impl Share {
    fn grow(&mut self, now: Micros, bytes_per_second: u64) {
        let time_us = now.since(self.grown).min(1_000_000);
        let more = (bytes_per_second.saturating_mul(time_us) / 1_000_000) as i64;
        // A clock that is asked again at once must not lose what is less than a byte.
        if 0 < more {
            self.grown = now;
            self.left = self
                .left
                .saturating_add(more)
                .min(self.left.max(SAVED_BYTES));
        }
    }

    fn note_write(&mut self, bytes: usize) {
        let more = 2 * bytes as i64;
        self.left = self
            .left
            .saturating_add(more)
            .min(more.max(SAVED_OF_WRITES_BYTES));
    }

    /// How long to wait before the next read; none takes its bytes from the share.
    fn take(&mut self, now: Micros, bytes: usize) -> Option<(Duration, Sleep)> {
        let (bytes_per_second, sleep) = self.rate.clone()?;
        self.grow(now, bytes_per_second);
        if self.left < 0 {
            let time_us = self.left.unsigned_abs().saturating_mul(1_000_000) / bytes_per_second;
            return Some((Duration::from_micros(time_us + 1).min(LOOK_AGAIN), sleep));
        }
        self.left -= bytes as i64;
        None
    }
}

impl<D: Disk> Reading<D> {
    /// A frame of so many bytes goes to the disk, which is shared with it.
    pub(in super::super) fn note_write(&mut self, now: Micros, bytes: usize) {
        self.written = Some(now);
        self.share.note_write(bytes);
    }
}

impl<D: Disk> Journal<D> {
    /// Holds readers to so many bytes a second from the disk while frames are committed, or to twice what is
    /// written, where that is more.
    ///
    /// # Panics
    ///
    /// When the rate is 0.
    pub fn pace_readers(&self, bytes_per_second: u64, sleep: Sleep) {
        assert!(0 < bytes_per_second, "readers would wait for ever");
        let share = &mut self.inner.borrow_mut().reading.share;
        share.rate = Some((bytes_per_second, sleep));
    }

    /// How much may be on its way from the disk, for all readers together.
    pub(super) fn width(&self) -> usize {
        let inner = self.inner.borrow();
        let reading = &inner.reading;
        let pause = COMMITS_PAUSE.as_micros() as u64;
        let now = (inner.clock)();
        let is_shared = reading.written.is_some_and(|at| now.since(at) < pause);
        match is_shared {
            false => READ_BYTES_AT_ONCE,
            true if PLENTY_BYTES < reading.share.left => READ_BYTES_MAX as usize,
            true => READ_BYTES_BESIDE_COMMITS,
        }
    }

    /// Waits for its turn to read so much from the disk.
    pub(super) async fn pass(&self, bytes: usize) -> Pass<'_> {
        let first = self.bells.share.enter(1).await;
        while let Some((time, sleep)) = self.early(bytes) {
            sleep(time).await;
        }
        drop(first);
        self.bells.readers.set_width(self.width());
        self.bells.readers.enter(bytes).await
    }

    /// How long whoever reads next must wait, to leave the disk to commits.
    fn early(&self, bytes: usize) -> Option<(Duration, Sleep)> {
        if self.width() == READ_BYTES_AT_ONCE {
            return None;
        }
        let inner = &mut *self.inner.borrow_mut();
        let now = (inner.clock)();
        inner.reading.share.take(now, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    const SHARE: u64 = 40_000_000;

    /// Bytes that are read in a second in pieces, while so many bytes are written each millisecond.
    fn read_in_a_second(share: &mut Share, piece: usize, written: usize) -> u64 {
        let (start, mut read) = (Micros(1_000_000_000), 0);
        let mut now = start;
        let mut writes = 0;
        while now.since(start) < 1_000_000 {
            while writes < now.since(start) / 1_000 && 0 < written {
                share.note_write(written);
                writes += 1;
            }
            if let Some((time, _)) = share.take(now, piece) {
                now.0 += time.as_micros() as u64;
            } else {
                read += piece as u64;
                now.0 += 20;
            }
        }
        read
    }

    fn share() -> Share {
        Share {
            rate: Some((SHARE, Rc::new(|_| Box::pin(async {})))),
            ..Share::default()
        }
    }

    #[test]
    fn readers_get_their_share_or_twice_what_is_written() {
        for (piece, written) in [
            (4_096, 0),
            (32_768, 0),
            (32_768, 10_000),
            (131_072, 100_000),
            (131_072, 1_000_000),
        ] {
            let read = read_in_a_second(&mut share(), piece, written);
            // One piece each 20 microseconds is all that this reader can do.
            let able = piece as u64 * 50_000;
            let credit = 2_000 * written as u64;
            let most = SHARE + credit + 2 * SAVED_BYTES as u64 + piece as u64;
            assert!(read <= most.min(able), "{piece}, {written}: {read}");
            let least = SHARE.max(credit).min(able) / 4 * 3;
            assert!(least <= read, "{piece}, {written}: {read}");
        }
    }

    #[test]
    fn who_has_not_read_for_long_has_saved_little() {
        let mut share = share();
        assert!(share.take(Micros(1), 1).is_none());
        let hours = Micros(7_200_000_000);
        let taken = Cell::new(0);
        while share.take(hours, 4_096).is_none() {
            taken.set(taken.get() + 4_096);
        }
        assert!(taken.get() <= SAVED_BYTES + 4_096);
    }

    #[test]
    fn without_a_rate_nobody_waits() {
        let mut share = Share::default();
        assert!((0..1_000).all(|_| share.take(Micros(5), 1 << 20).is_none()));
    }
}
