//! Who waits for which commit.
//!
//! Always:  tickets never decrease from entry to entry, so answers leave in the order of the requests.
//! Core:    one shard.
//! Full:    its length is bounded by the shard's budget of bytes in flight, which every entry holds some of.

use crate::unit::Ticket;
use std::collections::VecDeque;

/// One queue of waiting requests, for one journal.
#[derive(Debug)]
pub struct Ledger<W> {
    waiting: VecDeque<(Ticket, W)>,
}

impl<W> Default for Ledger<W> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
        }
    }
}

impl<W> Ledger<W> {
    /// `waiter` is answered when the commit of this ticket is.
    pub fn push(&mut self, ticket: Ticket, waiter: W) {
        assert!(self.waiting.back().is_none_or(|(last, _)| *last <= ticket));
        self.waiting.push_back((ticket, waiter));
    }

    /// Takes the next waiter whose commit is not above `upto`.
    pub fn pop(&mut self, upto: Ticket) -> Option<W> {
        if upto < self.waiting.front()?.0 {
            return None;
        }
        self.waiting.pop_front().map(|(_, waiter)| waiter)
    }

    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_leave_in_the_order_of_requests_up_to_the_mark() {
        let mut ledger = Ledger::default();
        for (ticket, name) in [(1, "a"), (1, "b"), (2, "c")] {
            ledger.push(Ticket(ticket), name);
        }
        assert_eq!(ledger.pop(Ticket::NONE), None);
        assert_eq!(ledger.pop(Ticket(1)), Some("a"));
        assert_eq!(ledger.pop(Ticket(1)), Some("b"));
        assert_eq!(ledger.pop(Ticket(1)), None);
        assert_eq!(ledger.pop(Ticket(9)), Some("c"));
        assert!(ledger.is_empty());
    }
}
