//! One shard's claims without sockets and mailboxes: letters in, letters out.

use super::bank::{Bank, Notice, Purse};
use super::name::{Name, NameKeys};
use super::owner::{Owner, Verdict};
use super::{Claim, OnDuplicate, Terms, Word};
use crate::net::{Outbox, Told, Unwelcome};
use std::collections::VecDeque;
use std::rc::Rc;

/// The shard that has the bank.
const BANK: u16 = 0;

/// How far a connection's claim has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Free,
    /// It waits for a credit.
    WantsCredit,
    /// It has a credit, and its name's owner was asked.
    Asked,
    Held,
    /// It has nothing.
    Refused(Unwelcome),
}

struct Slot {
    generation: u32,
    stage: Stage,
    outbox: Option<Rc<Outbox>>,
}

pub(super) struct Desk {
    me: u16,
    shards: usize,
    on_duplicate: OnDuplicate,
    keys: NameKeys,
    slots: Vec<Slot>,
    free: Vec<u32>,
    owner: Owner,
    purse: Purse,
    /// Only shard 0 has it.
    bank: Option<Bank>,
    /// By shard: letters that wait for their mailbox; `None` when that shard is gone.
    out: Vec<Option<VecDeque<Word>>>,
    posted: Vec<u16>,
}

impl Desk {
    pub(super) fn new(terms: &Terms) -> Self {
        let (me, shards) = (terms.shard.0 as u16, terms.shards);
        let max = terms.connections_max;
        Self {
            me,
            shards,
            on_duplicate: terms.on_duplicate,
            keys: terms.keys.clone(),
            slots: Vec::new(),
            free: Vec::new(),
            owner: Owner::default(),
            purse: Purse::new(max, shards),
            bank: (me == BANK).then(|| Bank::new(max, shards)),
            out: (0..shards).map(|_| Some(VecDeque::new())).collect(),
            posted: Vec::new(),
        }
    }

    /// Begins a claim. It may be decided when this returns; else the outbox is woken when it is.
    pub(super) fn enter(&mut self, outbox: &Rc<Outbox>) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                stage: Stage::Free,
                outbox: None,
            });
            (self.slots.len() - 1) as u32
        });
        let row = &mut self.slots[slot as usize];
        debug_assert_eq!(row.stage, Stage::Free);
        row.outbox = Some(Rc::clone(outbox));
        if self.purse.spend() {
            self.ask(slot);
        } else {
            row.stage = Stage::WantsCredit;
            self.purse.wait(slot, row.generation);
            self.ask_bank();
        }
        slot
    }

    /// Ends a claim, however far it has come.
    pub(super) fn leave(&mut self, slot: u32) {
        let claim = self.claim(slot);
        let stage = self.slots[slot as usize].stage;
        debug_assert_ne!(stage, Stage::Free);
        if let (Stage::Asked | Stage::Held, Some(name)) = (stage, self.name(slot)) {
            self.post(name.owner(self.shards), Word::Release { name, claim });
            self.take_back_credit();
        }
        let row = &mut self.slots[slot as usize];
        row.stage = Stage::Free;
        row.outbox = None;
        row.generation = row.generation.wrapping_add(1);
        self.free.push(slot);
    }

    pub(super) fn stage(&self, slot: u32) -> Stage {
        self.slots[slot as usize].stage
    }

    /// A holder whose name is contested lives.
    pub(super) fn alive(&mut self, slot: u32) {
        let claim = self.claim(slot);
        if let (Stage::Held, Some(name)) = (self.stage(slot), self.name(slot)) {
            self.post(name.owner(self.shards), Word::Alive { name, claim });
        }
    }

    /// Takes a letter from another shard, or from this one.
    pub(super) fn hear(&mut self, from: u16, word: Word) {
        match word {
            Word::Ask { name, claim } => match self.owner.ask(name, claim) {
                Verdict::Granted => self.post(claim.shard, Word::Granted(claim)),
                Verdict::Refused => self.post(claim.shard, Word::Refused(claim)),
                Verdict::Contested(holder) => self.post(holder.shard, Word::Contested(holder)),
            },
            Word::Release { name, claim } => {
                if let Some(next) = self.owner.release(name, claim) {
                    self.post(next.shard, Word::Granted(next));
                }
            }
            Word::Alive { name, claim } => {
                if let Some(refused) = self.owner.alive(name, claim) {
                    self.post(refused.shard, Word::Refused(refused));
                }
            }
            Word::Granted(claim) => self.decide(claim, Stage::Held),
            Word::Refused(claim) => {
                if self.is_current(claim) {
                    self.decide(claim, Stage::Refused(Unwelcome::Duplicate));
                    self.take_back_credit();
                }
            }
            Word::Contested(claim) => self.contest(claim),
            Word::Borrow => self.bank(|bank, say| bank.borrow(from, say)),
            Word::Repay {
                credits,
                is_recalled,
            } => self.bank(|bank, say| bank.repay(credits, is_recalled, say)),
            Word::Lend { credits } => self.receive(credits),
            Word::Recall => {
                let credits = self.purse.empty();
                let is_recalled = true;
                self.post(
                    BANK,
                    Word::Repay {
                        credits,
                        is_recalled,
                    },
                );
            }
        }
    }

    /// The next letter for that shard.
    pub(super) fn next_letter(&mut self, shard: u16) -> Option<Word> {
        self.out[usize::from(shard)].as_mut()?.pop_front()
    }

    /// That shard is gone: nothing more is kept for it.
    pub(super) fn forget(&mut self, shard: u16) {
        self.out[usize::from(shard)] = None;
    }

    /// Names the shards that letters were posted for since the last call.
    pub(super) fn take_posted(&mut self, wake: impl FnMut(u16)) {
        self.posted.drain(..).for_each(wake);
    }

    fn claim(&self, slot: u32) -> Claim {
        Claim {
            shard: self.me,
            slot,
            generation: self.slots[slot as usize].generation,
        }
    }

    fn name(&self, slot: u32) -> Option<Name> {
        let outbox = self.slots[slot as usize].outbox.as_ref();
        outbox.map(|outbox| self.keys.name(&outbox.peer))
    }

    /// Whether the claim is of the connection that has the slot now.
    fn is_current(&self, claim: Claim) -> bool {
        let row = self.slots.get(claim.slot as usize);
        row.is_some_and(|row| row.generation == claim.generation && row.outbox.is_some())
    }

    /// Has a credit; asks for the name.
    fn ask(&mut self, slot: u32) {
        self.slots[slot as usize].stage = Stage::Asked;
        let claim = self.claim(slot);
        if let Some(name) = self.name(slot) {
            self.post(name.owner(self.shards), Word::Ask { name, claim });
        }
    }

    fn decide(&mut self, claim: Claim, stage: Stage) {
        // Who has gone meanwhile has sent its release behind its question.
        if self.is_current(claim) {
            let row = &mut self.slots[claim.slot as usize];
            row.stage = stage;
            row.outbox.iter().for_each(|outbox| outbox.wake());
        }
    }

    fn contest(&mut self, claim: Claim) {
        // Who has gone meanwhile has sent its release, which decides.
        if !self.is_current(claim) {
            return;
        }
        let told = match self.on_duplicate {
            OnDuplicate::Refuse => Told::ProveLife,
            OnDuplicate::Replace => Told::Leave,
        };
        let row = &self.slots[claim.slot as usize];
        row.outbox.iter().for_each(|outbox| outbox.tell(told));
    }

    fn bank(&mut self, act: impl FnOnce(&mut Bank, &mut dyn FnMut(Notice))) {
        let mut said = Vec::new();
        if let Some(bank) = &mut self.bank {
            act(bank, &mut |notice| said.push(notice));
        }
        for notice in said {
            match notice {
                Notice::Lend { to, credits } => self.post(to, Word::Lend { credits }),
                Notice::Recall { from } => self.post(from, Word::Recall),
            }
        }
    }

    fn receive(&mut self, credits: u32) {
        for _ in 0..self.purse.receive(credits) {
            if let Some((slot, generation)) = self.purse.next_without() {
                let shard = self.me;
                let claim = Claim {
                    shard,
                    slot,
                    generation,
                };
                self.decide(claim, Stage::Refused(Unwelcome::Full));
            }
        }
        self.serve_waiting();
    }

    fn take_back_credit(&mut self) {
        if let Some(credits) = self.purse.take_back() {
            let is_recalled = false;
            self.post(
                BANK,
                Word::Repay {
                    credits,
                    is_recalled,
                },
            );
        }
        self.serve_waiting();
    }

    /// Gives spare credits to those that wait for one, and asks the bank for more.
    fn serve_waiting(&mut self) {
        while let Some((slot, generation)) = self.purse.next_with_credit() {
            let row = &self.slots[slot as usize];
            if row.generation == generation && row.stage == Stage::WantsCredit {
                self.purse.spend();
                self.ask(slot);
            }
        }
        self.ask_bank();
    }

    fn ask_bank(&mut self) {
        if self.purse.must_ask() {
            self.post(BANK, Word::Borrow);
        }
    }

    /// Sends a letter; what is for this shard itself is heard at once.
    fn post(&mut self, to: u16, word: Word) {
        if to == self.me {
            return self.hear(to, word);
        }
        if let Some(out) = &mut self.out[usize::from(to)] {
            out.push_back(word);
            self.posted.push(to);
        }
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> super::tests::Count {
        let held = |row: &&Slot| matches!(row.stage, Stage::Asked | Stage::Held);
        super::tests::Count {
            slots_taken: self.slots.len() - self.free.len(),
            names: self.owner.len(),
            credits: self.purse.spare() + self.bank.as_ref().map_or(0, Bank::free),
            spent: self.slots.iter().filter(held).count() as u32,
        }
    }

    #[cfg(test)]
    pub(super) const SLOT_BYTES: usize = size_of::<Slot>();

    #[cfg(test)]
    pub(super) fn holder_of(&self, name: Name) -> Option<Claim> {
        self.owner.holder(name)
    }
}
