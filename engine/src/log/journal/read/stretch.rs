//! Batches of one topic lie scattered: neighbours are read together, in large direct reads, several at once.

use super::super::super::disk::Disk;
use super::super::super::format::batch::Batch;
use super::super::super::format::footer::Place;
use super::super::super::walk::read_whole;
use super::super::Journal;
use super::{Page, Run, expected};
use crate::limit::{BLOCK_BYTES, READ_AHEAD_BYTES, READ_BYTES_MAX, READ_GAP_BYTES};
use crate::unit::Life;
use futures_util::{StreamExt as _, stream};
use std::ops::Range;
use std::rc::Rc;

/// Direct reads for one reader at once; the journal's gate bounds their bytes.
const READS_AT_ONCE: usize = 8;

/// A stretch of a segment in memory.
pub(super) struct Stretch<D: Disk> {
    pub(super) start: u64,
    pub(super) bytes: Rc<D::Buffer>,
}

impl<D: Disk> Stretch<D> {
    fn end(&self) -> u64 {
        self.start + (*self.bytes).as_ref().len() as u64
    }

    /// The batch that should be at `place`, if it lies here, whole.
    pub(super) fn batch(&self, place: &Place) -> Option<Batch<'_>> {
        let skip = usize::try_from(place.position.checked_sub(self.start)?).ok()?;
        let bytes = (*self.bytes).as_ref().get(skip..)?;
        expected(bytes.get(..place.bytes as usize)?, place)
    }
}

/// Whether a place was read with these; what lies there may still be damaged.
pub(super) fn covers<D: Disk>(stretches: &[Stretch<D>], place: &Place) -> bool {
    let end = place.position + u64::from(place.bytes);
    let inside = |one: &Stretch<D>| one.start <= place.position && end <= one.end();
    stretches.iter().any(inside)
}

/// Takes the batch that should be at `place`; `false` when it is not whole there.
pub(super) fn take<D: Disk>(stretches: &[Stretch<D>], place: &Place, page: &mut Page) -> bool {
    let batch = stretches.iter().find_map(|stretch| stretch.batch(place));
    batch.inspect(|batch| page.take(batch)).is_some()
}

/// The blocks that a batch lies in.
pub(super) fn blocks(place: &Place) -> Range<u64> {
    let start = place.position / BLOCK_BYTES * BLOCK_BYTES;
    start..(place.position + u64::from(place.bytes)).next_multiple_of(BLOCK_BYTES)
}

/// What to read at once of `places`: enough for the page, and more for a reader that goes on; each read no wider than
/// the gate that it goes through.
pub(super) fn plan(places: &[Place], page: &Page, goes_on: bool, width: usize) -> Vec<Range<u64>> {
    let bytes_max = READ_BYTES_MAX.min(width as u64);
    let mut stretches: Vec<Range<u64>> = Vec::new();
    let (mut records, mut payload, mut whole) = (page.records.len(), page.bytes, 0);
    for place in places {
        let own = blocks(place);
        let joins = |last: &&mut Range<u64>| {
            last.start <= own.start
                && own.start <= last.end + READ_GAP_BYTES
                && own.end.max(last.end) - last.start <= bytes_max
        };
        let enough = page.records_max <= records || page.bytes_max <= payload;
        let is_first = stretches.is_empty();
        let last = stretches.last_mut().filter(joins);
        let more = match &last {
            Some(last) => own.end.saturating_sub(last.end),
            None => own.end - own.start,
        };
        if !is_first && (READ_AHEAD_BYTES < whole + more || (enough && !goes_on)) {
            break;
        }
        whole += more;
        match last {
            Some(last) => last.end = last.end.max(own.end),
            None => stretches.push(own),
        }
        records += place.records as usize;
        payload += place.bytes as usize;
    }
    stretches
}

impl<D: Disk> Journal<D> {
    /// Reads stretches of a segment, those that can be read: the others' batches will be asked for one by one.
    pub(super) async fn read_stretches(
        &self,
        run: &Run<D::File>,
        plan: Vec<Range<u64>>,
    ) -> Vec<Stretch<D>> {
        let disk = &self.inner.borrow().disk.clone();
        let reads = plan.into_iter().map(|stretch| async move {
            let bytes = (stretch.end - stretch.start) as usize;
            let _pass = self.pass(bytes).await;
            let read = read_whole(disk, &run.file, stretch.start, bytes)
                .await
                .ok()?;
            Some(Stretch {
                start: stretch.start,
                bytes: Rc::new(read),
            })
        });
        let read = stream::iter(reads).buffered(READS_AT_ONCE);
        let read = read.filter_map(std::future::ready).collect().await;
        // Else the file may have been written for another use while it was read.
        if self.holds(run.life) {
            read
        } else {
            Vec::new()
        }
    }

    /// Keeps what was read beyond the page, from `place` on.
    pub(super) fn keep_ahead(&self, life: Life, held: Vec<Stretch<D>>, place: &Place) {
        let shelf = &mut self.inner.borrow_mut().reading.stretches;
        for stretch in held {
            if place.position < stretch.end() {
                let bytes = (stretch.end() - stretch.start) as usize;
                shelf.put((life, stretch.start), stretch.bytes, bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::READ_BYTES_AT_ONCE;
    use crate::unit::Offset;

    fn places(gap: u64, bytes: u32, count: u64) -> Vec<Place> {
        let place = |number: u64| Place {
            base_offset: Offset(number),
            position: 5_000 + number * (u64::from(bytes) + gap),
            newest_ms: 0,
            bytes,
            records: 1,
        };
        (0..count).map(place).collect()
    }

    fn page(records_max: usize) -> Page {
        Page {
            records: Vec::new(),
            records_max,
            bytes: 0,
            bytes_max: usize::MAX,
            next: Offset(0),
        }
    }

    #[test]
    fn neighbours_are_read_together_and_each_block_once() {
        for (gap, bytes) in [
            (0, 100),
            (100, 3_000),
            (20_000, 500),
            (90_000, 60_000),
            (0, 900_000),
        ] {
            let places = places(gap, bytes, 200);
            for goes_on in [false, true] {
                let plan = plan(&places, &page(30), goes_on, READ_BYTES_AT_ONCE);
                let ordered = plan.windows(2).all(|pair| {
                    pair[0].end <= pair[1].start || {
                        // Two batches may share a block.
                        pair[0].end - pair[1].start == BLOCK_BYTES
                    }
                });
                assert!(ordered, "{plan:?}");
                let whole: u64 = plan.iter().map(|one| one.end - one.start).sum();
                assert!(whole <= 2 * READ_AHEAD_BYTES.max(u64::from(bytes) + 8192));
                let covered = |place: &&Place| {
                    let own = blocks(place);
                    let inside = |one: &Range<u64>| one.start <= own.start && own.end <= one.end;
                    plan.iter().any(inside)
                };
                let read = places.iter().take_while(covered).count();
                assert!(
                    30 <= read
                        || goes_on
                        || READ_AHEAD_BYTES < whole + 2 * (u64::from(bytes) + gap)
                );
                assert!(1 <= read);
            }
        }
        let near = places(0, 100, 200);
        assert_eq!(plan(&near, &page(30), false, READ_BYTES_AT_ONCE).len(), 1);
    }

    #[test]
    fn no_read_is_wider_than_the_gate_but_for_a_batch_that_is() {
        let near = places(0, 6_000, 200);
        for (width, widest) in [(BLOCK_BYTES, 12_288), (32_768, 32_768), (1 << 30, 131_072)] {
            let plan = plan(&near, &page(30), true, width as usize);
            let found = plan.iter().map(|read| read.end - read.start).max();
            assert!(found <= Some(widest), "{width}: {found:?}");
            assert!(found > Some(widest / 2), "{width}: {found:?}");
        }
    }
}
