//! The server's limit of connections, as credits that shards borrow.
//!
//! Always:  what is free in the bank, spare in the purses, spent by connections and on its way is the
//!          limit. A connection is refused only when every purse was asked and none had a credit to spare.
//! Core:    the bank is on shard 0; every shard has a purse.
//! Full:    a purse has one request at the bank at a time; the bank's queue is bounded by the shards.

use std::collections::VecDeque;

/// What a shard borrows at once, at most.
const CHUNK_MAX: u32 = 64;

/// How much is lent at once: little enough that purses cannot hold most of the limit.
pub(super) fn chunk(connections_max: u32, shards: usize) -> u32 {
    (connections_max / (4 * shards as u32)).clamp(1, CHUNK_MAX)
}

/// Credits that nobody has.
#[derive(Debug)]
pub(super) struct Bank {
    free: u32,
    chunk: u32,
    shards: u16,
    /// Shards that wait for the recall that is under way, and those that came too late for it.
    waiting: VecDeque<u16>,
    late: VecDeque<u16>,
    /// Shards that have not answered the recall.
    unheard: u16,
}

/// What the bank says to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    Lend { to: u16, credits: u32 },
    Recall { from: u16 },
}

impl Bank {
    pub(super) fn new(connections_max: u32, shards: usize) -> Self {
        Self {
            free: connections_max,
            chunk: chunk(connections_max, shards),
            shards: shards as u16,
            waiting: VecDeque::new(),
            late: VecDeque::new(),
            unheard: 0,
        }
    }

    pub(super) fn borrow(&mut self, shard: u16, say: &mut dyn FnMut(Notice)) {
        if 0 < self.unheard {
            self.late.push_back(shard);
            return self.serve(say);
        }
        self.waiting.push_back(shard);
        self.serve(say);
        self.recall_if_short(say);
    }

    pub(super) fn repay(&mut self, credits: u32, is_recalled: bool, say: &mut dyn FnMut(Notice)) {
        self.free += credits;
        self.serve(say);
        if !is_recalled {
            return;
        }
        self.unheard -= 1;
        if 0 < self.unheard {
            return;
        }
        // Everybody was asked: who still waits is over the limit.
        for to in self.waiting.drain(..) {
            say(Notice::Lend { to, credits: 0 });
        }
        self.waiting.append(&mut self.late);
        self.serve(say);
        self.recall_if_short(say);
    }

    fn serve(&mut self, say: &mut dyn FnMut(Notice)) {
        while 0 < self.free {
            let first = self.waiting.pop_front().or_else(|| self.late.pop_front());
            let Some(to) = first else { return };
            let credits = self.chunk.min(self.free);
            self.free -= credits;
            say(Notice::Lend { to, credits });
        }
    }

    fn recall_if_short(&mut self, say: &mut dyn FnMut(Notice)) {
        if self.waiting.is_empty() || 0 < self.unheard {
            return;
        }
        self.unheard = self.shards;
        (0..self.shards).for_each(|from| say(Notice::Recall { from }));
    }

    #[cfg(test)]
    pub(super) fn free(&self) -> u32 {
        self.free
    }
}

/// One shard's credits, and its connections that wait for one.
#[derive(Debug)]
pub(super) struct Purse {
    spare: u32,
    spare_max: u32,
    /// Slots and their generations.
    waiting: VecDeque<(u32, u32)>,
    /// How many waited when the bank was asked; `None` when it was not.
    asked_for: Option<usize>,
}

impl Purse {
    pub(super) fn new(connections_max: u32, shards: usize) -> Self {
        Self {
            spare: 0,
            spare_max: 2 * chunk(connections_max, shards),
            waiting: VecDeque::new(),
            asked_for: None,
        }
    }

    /// Spends a credit, if there is one to spare.
    pub(super) fn spend(&mut self) -> bool {
        let has = 0 < self.spare;
        self.spare -= u32::from(has);
        has
    }

    pub(super) fn wait(&mut self, slot: u32, generation: u32) {
        self.waiting.push_back((slot, generation));
    }

    /// A connection has ended and left its credit. Gives what is to be repaid.
    pub(super) fn take_back(&mut self) -> Option<u32> {
        self.spare += 1;
        if self.spare <= self.spare_max || !self.waiting.is_empty() {
            return None;
        }
        let surplus = self.spare - self.spare_max / 2;
        self.spare -= surplus;
        Some(surplus)
    }

    /// The bank's answer. With no credits, gives how many that waited are over the limit.
    pub(super) fn receive(&mut self, credits: u32) -> usize {
        self.spare += credits;
        let asked_for = self.asked_for.take().unwrap_or_default();
        if 0 < credits {
            return 0;
        }
        asked_for.min(self.waiting.len())
    }

    /// Everything that is not spent, for the bank.
    pub(super) fn empty(&mut self) -> u32 {
        std::mem::take(&mut self.spare)
    }

    /// The next that waited, if there is a credit for it, which is not spent yet.
    pub(super) fn next_with_credit(&mut self) -> Option<(u32, u32)> {
        if self.spare == 0 {
            return None;
        }
        self.waiting.pop_front()
    }

    pub(super) fn next_without(&mut self) -> Option<(u32, u32)> {
        self.waiting.pop_front()
    }

    /// Whether the bank is to be asked now.
    pub(super) fn must_ask(&mut self) -> bool {
        if self.waiting.is_empty() || self.asked_for.is_some() {
            return false;
        }
        self.asked_for = Some(self.waiting.len());
        true
    }

    #[cfg(test)]
    pub(super) fn spare(&self) -> u32 {
        self.spare
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(act: impl FnOnce(&mut dyn FnMut(Notice))) -> Vec<Notice> {
        let mut said = Vec::new();
        act(&mut |notice| said.push(notice));
        said
    }

    #[test]
    fn a_shard_borrows_a_chunk_and_the_last_gets_what_is_left() {
        let mut bank = Bank::new(24, 2);
        let lend = |to, credits| vec![Notice::Lend { to, credits }];
        for round in 0..8 {
            let to = round % 2;
            assert_eq!(said(|say| bank.borrow(to, say)), lend(to, 3));
        }
        assert_eq!(bank.free(), 0);
    }

    #[test]
    fn nobody_is_refused_before_everybody_was_asked() {
        let mut bank = Bank::new(1, 2);
        assert_eq!(said(|say| bank.borrow(0, say)).len(), 1);
        let recall = [0, 1].map(|from| Notice::Recall { from });
        assert_eq!(said(|say| bank.borrow(1, say)), recall);
        // Who comes in the middle waits for a round of its own.
        assert!(said(|say| bank.borrow(0, say)).is_empty());
        assert!(said(|say| bank.repay(0, true, say)).is_empty());
        let mut last = said(|say| bank.repay(0, true, say));
        assert_eq!(last.remove(0), Notice::Lend { to: 1, credits: 0 });
        assert_eq!(last, recall);
        let lend = Notice::Lend { to: 0, credits: 1 };
        assert_eq!(said(|say| bank.repay(1, true, say)), [lend]);
        assert!(said(|say| bank.repay(0, true, say)).is_empty());
    }

    #[test]
    fn a_purse_keeps_little_and_refuses_only_those_it_asked_for() {
        let mut purse = Purse::new(8, 1);
        purse.wait(1, 0);
        assert!(purse.must_ask() && !purse.must_ask());
        purse.wait(2, 0);
        assert_eq!(purse.receive(0), 1);
        assert_eq!(purse.next_without(), Some((1, 0)));
        assert!(purse.must_ask());
        assert_eq!(purse.receive(2), 0);
        assert_eq!(purse.next_with_credit(), Some((2, 0)));
        assert!(purse.spend());
        let repaid: Vec<u32> = (0..4).filter_map(|_| purse.take_back()).collect();
        assert_eq!((repaid, purse.spare()), (vec![3], 2));
    }
}
