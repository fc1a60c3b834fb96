//! The faults that a simulated disk can have, and the counts of those that it had.

use super::{Operation, Random};
use std::collections::BTreeMap;

/// For each kind of operation: one in so many has the fault; 0 is never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chances {
    pub read: u64,
    pub write: u64,
    pub write_durable: u64,
    pub flush: u64,
    pub name: u64,
}

impl Chances {
    pub const NEVER: Self = Self {
        read: 0,
        write: 0,
        write_durable: 0,
        flush: 0,
        name: 0,
    };

    fn of(self, operation: Operation) -> u64 {
        match operation {
            Operation::Read => self.read,
            Operation::Write => self.write,
            Operation::WriteDurable => self.write_durable,
            Operation::Flush => self.flush,
            Operation::Name => self.name,
        }
    }

    pub(super) fn draw(self, operation: Operation, random: &mut Random) -> bool {
        let chances = self.of(operation);
        0 < chances && random.one_in(chances)
    }
}

/// What became of something that the disk was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// EIO.
    Error(Operation),
    /// ENOSPC, drawn or because the capacity is used up.
    NoSpace(Operation),
    /// An operation took much longer than those around it.
    Stalled,
    /// A read gave less than was asked for.
    ShortRead,
    /// A write was reported as done and went nowhere.
    LostWrite,
    /// A write was reported as done and went elsewhere.
    MisdirectedWrite,
    /// A bit turned over, at rest.
    BitFlip,
    /// A crash met a write that was not flushed: nothing of it is there,
    LostInCrash,
    /// or some of it,
    TornInCrash,
    /// or all of it.
    KeptInCrash,
    /// A write was lost and a younger one to the same file was not.
    ReorderedInCrash,
    /// A change of a name was lost.
    NameLostInCrash,
}

/// How often each fault has happened.
pub type Faults = BTreeMap<Fault, u64>;

/// What becomes of a write that is to go wrong without a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trick {
    Lose,
    Misdirect,
}

/// Which write is to go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    Any,
    /// One that reaches the end of its segment, where the footer is.
    Footer,
}
