//! Room for new losses: what is gone from the log anyway is only counted, and the nearest of what is left
//! come together, so that everything lost that could still be looked for lies between the ends of some row.

use super::{Loss, Losses, LostRange, span};
use crate::limit::{LOSSES_MAX, LOST_RANGES_MAX};
use crate::unit::{Offset, Sequence, TopicId};

impl Losses {
    /// Adds newer losses. The journal begins at `front`, and a topic at what `low` says; one that was deleted
    /// begins behind everything.
    pub fn add(
        &mut self,
        new: impl IntoIterator<Item = Loss>,
        front: Sequence,
        low: impl Fn(TopicId) -> Offset,
    ) {
        self.told.extend(new);
        self.told.sort_by_key(|loss| loss.first);
        let ranges: usize = self.told.iter().map(|loss| loss.topics.len()).sum();
        if LOSSES_MAX < self.told.len() || LOST_RANGES_MAX < ranges {
            self.forget(front, low);
            self.join_rows(LOSSES_MAX);
            self.join_ranges(LOST_RANGES_MAX);
        }
    }

    /// Counts what lies before the beginnings, and tells it no more.
    fn forget(&mut self, front: Sequence, low: impl Fn(TopicId) -> Offset) {
        for loss in &mut self.told {
            let offsets = &mut self.untold_offsets;
            loss.topics.retain(|range| {
                let stays = low(range.topic) < range.next;
                *offsets = offsets.saturating_add(if stays { 0 } else { range.lost });
                stays
            });
        }
        let before = self.told.len();
        self.told
            .retain(|loss| front <= loss.last || !loss.topics.is_empty() || 0 < loss.untold);
        self.untold = self
            .untold
            .saturating_add((before - self.told.len()) as u32);
    }

    /// Leaves so many rows. The newer half keep to themselves: only in the newest segments does a start look for
    /// damage that nobody has accepted yet.
    pub(in crate::log) fn join_rows(&mut self, rows: usize) {
        let excess = self.told.len().saturating_sub(rows);
        let older = self.told.len().saturating_sub(rows / 2);
        let gap = |at: usize| {
            let (before, next) = (&self.told[at - 1], &self.told[at]);
            next.first.get().saturating_sub(before.last.get())
        };
        let joined = nearest((1..older).map(|at| (gap(at), at)), excess, self.told.len());
        let mut left: Vec<Loss> = Vec::with_capacity(rows);
        for (at, loss) in std::mem::take(&mut self.told).into_iter().enumerate() {
            match left.last_mut().filter(|_| joined[at]) {
                Some(before) => {
                    before.join(loss);
                    self.untold = self.untold.saturating_add(1);
                }
                None => left.push(loss),
            }
        }
        self.told = left;
    }

    /// Leaves so many ranges. Only when more topics than that have lost something are the oldest told no more.
    pub(in crate::log) fn join_ranges(&mut self, ranges: usize) {
        let mut all: Vec<(LostRange, usize)> = Vec::new();
        for (row, loss) in self.told.iter_mut().enumerate() {
            all.extend(loss.topics.drain(..).map(|range| (range, row)));
        }
        let excess = all.len().saturating_sub(ranges);
        all.sort_by_key(|(range, row)| (range.topic, range.first, *row));
        let gaps = (1..all.len()).filter_map(|at| {
            let ((before, _), (next, _)) = (all[at - 1], all[at]);
            let gap = next.first.0.saturating_sub(before.next.0);
            (before.topic == next.topic).then_some((gap, at))
        });
        let joined = nearest(gaps, excess, all.len());
        let mut left: Vec<(LostRange, usize)> = Vec::with_capacity(all.len());
        for (at, (range, row)) in all.into_iter().enumerate() {
            match left.last_mut().filter(|_| joined[at]) {
                Some((before, of)) => {
                    before.join(range);
                    *of = row.max(*of);
                }
                None => left.push((range, row)),
            }
        }
        left.sort_by_key(|(_, row)| *row);
        let untold = left.len().saturating_sub(ranges);
        for (at, (range, row)) in left.into_iter().enumerate() {
            let loss = &mut self.told[row];
            if at < untold {
                loss.untold = loss.untold.saturating_add(1);
                self.untold_offsets = self.untold_offsets.saturating_add(range.lost);
            } else {
                loss.topics.push(range);
            }
        }
    }
}

/// Which of `all` join the one before: those with the smallest gaps, `excess` of them if there are so many.
fn nearest(gaps: impl Iterator<Item = (u64, usize)>, excess: usize, all: usize) -> Vec<bool> {
    let mut gaps: Vec<_> = gaps.collect();
    gaps.sort_unstable();
    let mut joined = vec![false; all];
    for (_, at) in gaps.into_iter().take(excess) {
        joined[at] = true;
    }
    joined
}

impl Loss {
    fn join(&mut self, next: Self) {
        self.last = self.last.max(next.last);
        let frames = self.frames.saturating_add(next.frames);
        self.frames = frames.min(span(self.first, self.last));
        self.topics.extend(next.topics);
        self.untold = self.untold.saturating_add(next.untold);
    }
}

impl LostRange {
    fn join(&mut self, next: Self) {
        self.next = self.next.max(next.next);
        let lost = self.lost.saturating_add(next.lost);
        self.lost = lost.min(self.next.0 - self.first.0);
    }
}
