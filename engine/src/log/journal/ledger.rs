//! How many bytes of one topic there are, in stretches of offsets, so that the oldest can be let go without
//! looking at the disk.
//!
//! Always:  the stretches lie in the order of their offsets. Letting go of one leaves the bound at least.
//! Full:    a stretch holds a part of the bound, so their number does not depend on what the log holds.

use crate::unit::Offset;
use std::collections::VecDeque;

/// A bound is kept in about so many stretches.
const STRETCHES: u64 = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    /// The offset after its last record.
    next: Offset,
    bytes: u64,
}

/// The bytes of one topic that has a bound.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// What was there at the start and is looked at by and by, oldest first.
    before: VecDeque<Stretch>,
    since: VecDeque<Stretch>,
    bytes: u64,
}

fn note(stretches: &mut VecDeque<Stretch>, next: Offset, bytes: u64, grain: u64) {
    match stretches.back_mut() {
        Some(last) if last.bytes < grain => {
            last.next = next;
            last.bytes += bytes;
        }
        _ => stretches.push_back(Stretch { next, bytes }),
    }
}

impl Ledger {
    /// A batch that ends before `next` became durable.
    pub(super) fn note(&mut self, next: Offset, bytes: u64, bound: u64) {
        self.bytes += bytes;
        note(&mut self.since, next, bytes, bound / STRETCHES);
    }

    /// A batch that was there at the start; these come in their order.
    pub(super) fn note_before(&mut self, next: Offset, bytes: u64, bound: u64) {
        self.bytes += bytes;
        note(&mut self.before, next, bytes, bound / STRETCHES);
    }

    /// Lets go of the oldest as far as `bound` is still kept: everything below what it gives goes.
    pub(super) fn let_go(&mut self, bound: u64) -> Option<Offset> {
        let mut low = None;
        while let Some(oldest) = self.oldest() {
            if self.bytes - oldest.bytes < bound {
                break;
            }
            low = Some(oldest.next);
            self.drop_oldest();
        }
        low
    }

    /// Everything below `low` went for another reason.
    pub(super) fn cut(&mut self, low: Offset) {
        while self.oldest().is_some_and(|oldest| oldest.next <= low) {
            self.drop_oldest();
        }
    }

    fn oldest(&self) -> Option<Stretch> {
        self.before.front().or(self.since.front()).copied()
    }

    fn drop_oldest(&mut self) {
        let oldest = self.before.pop_front().or_else(|| self.since.pop_front());
        self.bytes -= oldest.map_or(0, |oldest| oldest.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_always_kept_and_little_more() {
        let mut ledger = Ledger::default();
        let bound = 3_200;
        for number in 1..=1_000u64 {
            ledger.note(Offset(number), 10, bound);
            ledger.let_go(bound);
            assert!(bound.min(number * 10) <= ledger.bytes);
            assert!(ledger.bytes <= bound + 2 * bound / STRETCHES);
            assert!(ledger.since.len() <= 34);
        }
    }

    #[test]
    fn what_was_there_before_goes_first() {
        let mut ledger = Ledger::default();
        ledger.note(Offset(20), 100, 100);
        ledger.note_before(Offset(5), 100, 100);
        ledger.note_before(Offset(10), 100, 100);
        assert_eq!(ledger.let_go(150), Some(Offset(5)));
        ledger.cut(Offset(10));
        assert_eq!((ledger.bytes, ledger.let_go(0)), (100, Some(Offset(20))));
    }
}
