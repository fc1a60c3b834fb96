//! What waits for one partition, and what became of it.
//!
//! Always:  batches are sent in the order in which they came, and a batch is sent again under its old sequence number, by
//!          which the broker knows it. After a batch that came back nothing is sent before all that was under way has
//!          been answered.
//! Full:    the forwarder's window bounds what is queued here.

use super::Mark;
use super::wire::batch::{Stamp, stamp};
use std::collections::VecDeque;
use std::rc::Rc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Waiting,
    Sent,
    Delivered,
}

#[derive(Debug)]
pub(super) struct Lot {
    pub(super) mark: Mark,
    pub(super) bytes: Rc<Vec<u8>>,
    sequence: Option<i32>,
    place: Place,
}

impl Lot {
    pub(super) fn new(mark: Mark, bytes: Vec<u8>) -> Self {
        Self {
            mark,
            bytes: Rc::new(bytes),
            sequence: None,
            place: Place::Waiting,
        }
    }
}

/// The batches of one partition.
#[derive(Debug, Default)]
pub(super) struct Queue {
    lots: VecDeque<Lot>,
    /// The number of the first of `lots`.
    first: u64,
    /// How many lots, from the first on, need not be looked at to find one that waits.
    begun: usize,
    under_way: usize,
    /// Nothing is sent before what is under way has been answered.
    halted: bool,
    /// The broker has something of this producer. Before that it takes any sequence number from it, also one behind a batch
    /// that it has refused, so there is one batch under way at a time.
    is_known: bool,
    next_sequence: i32,
}

/// Sequence numbers start again at 0 after the highest.
fn advance(sequence: i32, records: u32) -> i32 {
    let next = i64::from(sequence) + i64::from(records);
    (next % (i64::from(i32::MAX) + 1)) as i32
}

impl Queue {
    pub(super) fn push(&mut self, lot: Lot) {
        self.lots.push_back(lot);
    }

    pub(super) fn under_way(&self) -> usize {
        self.under_way
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lots.is_empty()
    }

    /// Whether there is something to send now.
    pub(super) fn is_ready(&self) -> bool {
        let may = self.is_known || self.under_way == 0;
        may && !self.halted && self.begun < self.lots.len()
    }

    /// The next batch, as this producer's, with its number here; it counts as sent.
    pub(super) fn send(&mut self, (producer, epoch): (i64, i16)) -> Option<(u64, Rc<Vec<u8>>)> {
        if !self.is_ready() {
            return None;
        }
        let number = self.first + self.begun as u64;
        let lot = &mut self.lots[self.begun];
        let sequence = lot.sequence.unwrap_or(self.next_sequence);
        if lot.sequence.is_none() {
            lot.sequence = Some(sequence);
            self.next_sequence = advance(sequence, lot.mark.records);
        }
        lot.place = Place::Sent;
        self.under_way += 1;
        self.begin();
        let lot = &mut self.lots[(number - self.first) as usize];
        let bytes = Rc::make_mut(&mut lot.bytes);
        stamp(
            bytes,
            Stamp {
                producer,
                epoch,
                sequence,
            },
        );
        Some((number, Rc::clone(&lot.bytes)))
    }

    /// Finds the next that waits.
    fn begin(&mut self) {
        let rest = self.lots.iter().skip(self.begun);
        self.begun += rest.take_while(|lot| lot.place != Place::Waiting).count();
    }

    /// The broker has it; gives whose it was.
    pub(super) fn delivered(&mut self, number: u64) -> Option<Mark> {
        self.is_known = true;
        self.answered();
        let at = number.checked_sub(self.first)?;
        let lot = self.lots.get_mut(at as usize)?;
        if lot.place == Place::Delivered {
            return None;
        }
        lot.place = Place::Delivered;
        let mark = lot.mark;
        while self
            .lots
            .front()
            .is_some_and(|lot| lot.place == Place::Delivered)
        {
            self.lots.pop_front();
            self.first += 1;
            self.begun = self.begun.saturating_sub(1);
        }
        Some(mark)
    }

    /// The broker has not taken it: it is to be sent again. `false` when that was to be expected, because one before it
    /// came back.
    pub(super) fn came_back(&mut self, number: u64) -> bool {
        let is_news = !self.halted;
        self.halted = true;
        let at = number.checked_sub(self.first);
        if let Some(lot) = at.and_then(|at| self.lots.get_mut(at as usize))
            && lot.place == Place::Sent
        {
            lot.place = Place::Waiting;
        }
        self.answered();
        is_news
    }

    fn answered(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
        self.go_on();
    }

    /// Nothing that is under way will be answered: the connection is gone.
    pub(super) fn lost(&mut self) {
        self.under_way = 0;
        self.halted = true;
        for lot in &mut self.lots {
            if lot.place == Place::Sent {
                lot.place = Place::Waiting;
            }
        }
        self.go_on();
    }

    fn go_on(&mut self) {
        if self.halted && self.under_way == 0 {
            self.halted = false;
            self.begun = 0;
            self.begin();
        }
    }

    /// The producer has another number now, and what is sent from now on is counted from 0. Nothing may be under way.
    pub(super) fn renumber(&mut self) {
        debug_assert_eq!(self.under_way, 0, "a batch under way has its number");
        self.next_sequence = 0;
        self.is_known = false;
        for lot in &mut self.lots {
            lot.sequence = None;
        }
    }

    /// Gives everything away that is not delivered. Nothing may be under way. Their sequence numbers are not used again: the
    /// broker may have what was not answered, and would take another batch for it. If it has not, the next one is out of
    /// order to it, and the producer is numbered anew.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Lot> + use<> {
        debug_assert_eq!(self.under_way, 0, "what is under way is not given away");
        let lots = std::mem::take(&mut self.lots);
        self.first += lots.len() as u64;
        (self.begun, self.halted) = (0, false);
        let taken: Vec<Lot> = lots
            .into_iter()
            .filter(|lot| lot.place != Place::Delivered)
            .collect();
        taken.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::direct::wire::batch::BATCH_HEADER_BYTES;
    use crate::unit::TopicIndex;

    const PRODUCER: (i64, i16) = (1, 0);

    fn mark(part: u32) -> Mark {
        Mark {
            topic: TopicIndex(0),
            part,
            parts: 1,
            records: 10,
            sequence: u64::from(part),
        }
    }

    /// Of a producer that the broker knows.
    fn queue(lots: u32) -> Queue {
        let mut queue = Queue {
            is_known: true,
            ..Queue::default()
        };
        for part in 0..lots {
            queue.push(Lot::new(mark(part), vec![0; BATCH_HEADER_BYTES + 1]));
        }
        queue
    }

    /// The next batch's number and its sequence number.
    fn send(queue: &mut Queue) -> Option<(u64, i32)> {
        let (number, bytes) = queue.send(PRODUCER)?;
        let sequence = i32::from_be_bytes(bytes[53..57].try_into().unwrap());
        Some((number, sequence))
    }

    fn sends(queue: &mut Queue) -> Vec<(u64, i32)> {
        std::iter::from_fn(|| send(queue)).collect()
    }

    #[test]
    fn batches_leave_once_in_order_and_each_is_told_of_once() {
        let mut queue = queue(3);
        assert_eq!(sends(&mut queue), [(0, 0), (1, 10), (2, 20)]);
        for part in 0..3 {
            assert_eq!(queue.delivered(u64::from(part)), Some(mark(part)));
        }
        assert_eq!(queue.delivered(1), None);
        assert!(queue.is_empty() && queue.under_way() == 0);
        queue.push(Lot::new(mark(3), vec![0; 62]));
        assert_eq!(sends(&mut queue), [(3, 30)]);
    }

    #[test]
    fn what_came_back_leaves_again_under_its_number_and_before_what_is_behind_it() {
        let mut queue = queue(4);
        let sent = sends(&mut queue);
        assert_eq!(queue.delivered(0), Some(mark(0)));
        queue.push(Lot::new(mark(4), vec![0; 62]));
        assert!(queue.came_back(1), "it is news");
        assert_eq!(send(&mut queue), None, "others are still under way");
        assert_eq!(queue.delivered(2), Some(mark(2)));
        assert!(!queue.came_back(3), "it follows from the first");
        assert_eq!(sends(&mut queue), [sent[1], sent[3], (4, 40)]);
    }

    #[test]
    fn nothing_follows_the_first_batch_before_the_broker_has_it() {
        let mut queue = queue(3);
        queue.renumber();
        assert_eq!(sends(&mut queue), [(0, 0)]);
        assert!(queue.came_back(0));
        assert_eq!(sends(&mut queue), [(0, 0)]);
        assert_eq!(queue.delivered(0), Some(mark(0)));
        assert_eq!(sends(&mut queue), [(1, 10), (2, 20)]);
    }

    #[test]
    fn a_lost_connection_takes_nothing_with_it() {
        let mut queue = queue(3);
        let sent = [send(&mut queue).unwrap(), send(&mut queue).unwrap()];
        queue.lost();
        assert_eq!(sends(&mut queue), [sent[0], sent[1], (2, 20)]);
        queue.lost();
        queue.renumber();
        (queue.is_known, queue.next_sequence) = (true, i32::MAX - 9);
        let again = sends(&mut queue);
        // Behind the highest number comes 0.
        assert_eq!(again, [(0, i32::MAX - 9), (1, 0), (2, 10)]);
    }

    #[test]
    fn the_number_of_what_was_given_away_is_never_used_again() {
        let mut queue = queue(4);
        assert_eq!(send(&mut queue), Some((0, 0)));
        assert_eq!(send(&mut queue), Some((1, 10)));
        assert_eq!(queue.delivered(0), Some(mark(0)));
        assert!(queue.came_back(1));
        let given: Vec<u32> = queue.take_all().map(|lot| lot.mark.part).collect();
        assert_eq!(given, [1, 2, 3]);
        queue.push(Lot::new(mark(4), vec![0; 62]));
        assert_eq!(sends(&mut queue), [(4, 20)]);
    }
}
