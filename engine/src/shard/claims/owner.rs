//! Who has the names that this shard says it of.
//!
//! Always:  a name has one holder, and at most one that waits for what becomes of the holder.
//! Full:    a row for each connection, wherever it is; a second row only for names that are contested.

use super::Claim;
use super::name::Name;
use std::collections::HashMap;

/// Tables that were once larger are cut when they hold less than an eighth of that.
const CAPACITY_KEPT: usize = 1_024;

#[derive(Debug, Default)]
pub(super) struct Owner {
    holders: HashMap<Name, Claim>,
    waiting: HashMap<Name, Claim>,
}

/// What an asker is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Granted,
    Refused,
    /// It waits; the holder is to be told that its name is contested.
    Contested(Claim),
}

impl Owner {
    pub(super) fn ask(&mut self, name: Name, claim: Claim) -> Verdict {
        let Some(holder) = self.holders.get(&name) else {
            self.holders.insert(name, claim);
            return Verdict::Granted;
        };
        if self.waiting.contains_key(&name) {
            return Verdict::Refused;
        }
        self.waiting.insert(name, claim);
        Verdict::Contested(*holder)
    }

    /// The holder lives; gives the one that is now refused.
    pub(super) fn alive(&mut self, name: Name, holder: Claim) -> Option<Claim> {
        if self.holders.get(&name) != Some(&holder) {
            return None;
        }
        self.waiting.remove(&name)
    }

    /// A connection has ended; gives the one that now has its name.
    pub(super) fn release(&mut self, name: Name, claim: Claim) -> Option<Claim> {
        if self.waiting.get(&name) == Some(&claim) {
            self.waiting.remove(&name);
            return None;
        }
        if self.holders.get(&name) != Some(&claim) {
            return None;
        }
        if let Some(next) = self.waiting.remove(&name) {
            self.holders.insert(name, next);
            return Some(next);
        }
        self.holders.remove(&name);
        if self.holders.capacity() > CAPACITY_KEPT.max(8 * self.holders.len()) {
            self.holders.shrink_to(2 * self.holders.len());
        }
        None
    }

    /// Names that are held, and that are waited for.
    #[cfg(test)]
    pub(super) fn len(&self) -> (usize, usize) {
        (self.holders.len(), self.waiting.len())
    }

    #[cfg(test)]
    pub(super) fn holder(&self, name: Name) -> Option<Claim> {
        self.holders.get(&name).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::super::name::NameKeys;
    use super::*;
    use crate::net::Peer;

    fn claim(slot: u32) -> Claim {
        Claim {
            shard: 0,
            slot,
            generation: 0,
        }
    }

    fn name() -> Name {
        NameKeys::default().name(&Peer::default())
    }

    #[test]
    fn a_name_goes_from_its_holder_to_the_one_that_waits() {
        let (mut owner, name) = (Owner::default(), name());
        assert_eq!(owner.ask(name, claim(1)), Verdict::Granted);
        assert_eq!(owner.ask(name, claim(2)), Verdict::Contested(claim(1)));
        assert_eq!(owner.ask(name, claim(3)), Verdict::Refused);
        assert_eq!(owner.release(name, claim(3)), None);
        assert_eq!(owner.release(name, claim(1)), Some(claim(2)));
        assert_eq!(owner.release(name, claim(2)), None);
        assert_eq!(owner.len(), (0, 0));
    }

    #[test]
    fn a_holder_that_lives_keeps_its_name() {
        let (mut owner, name) = (Owner::default(), name());
        owner.ask(name, claim(1));
        owner.ask(name, claim(2));
        assert_eq!(owner.alive(name, claim(1)), Some(claim(2)));
        assert_eq!(owner.alive(name, claim(1)), None);
        assert_eq!(owner.release(name, claim(2)), None);
        assert_eq!(owner.len(), (1, 0));
    }

    #[test]
    fn letters_of_earlier_generations_change_nothing() {
        let (mut owner, name) = (Owner::default(), name());
        let old = claim(1);
        let new = Claim {
            generation: 1,
            ..old
        };
        owner.ask(name, new);
        owner.ask(name, claim(2));
        assert_eq!(owner.alive(name, old), None);
        assert_eq!(owner.release(name, old), None);
        assert_eq!(owner.len(), (1, 1));
    }

    #[test]
    fn one_that_waits_and_goes_leaves_nothing_behind() {
        let (mut owner, name) = (Owner::default(), name());
        owner.ask(name, claim(1));
        owner.ask(name, claim(2));
        assert_eq!(owner.release(name, claim(2)), None);
        assert_eq!(owner.ask(name, claim(3)), Verdict::Contested(claim(1)));
        assert_eq!(owner.release(name, claim(1)), Some(claim(3)));
    }

    #[test]
    fn a_table_that_was_large_gives_its_memory_back() {
        let (mut owner, keys) = (Owner::default(), NameKeys::default());
        let names: Vec<Name> = (0..20_000_u32)
            .map(|number| {
                keys.name(&Peer {
                    conn_id: number.to_be_bytes().into(),
                    ..Peer::default()
                })
            })
            .collect();
        for name in &names {
            owner.ask(*name, claim(1));
        }
        for name in &names {
            owner.release(*name, claim(1));
        }
        assert!(owner.holders.capacity() <= CAPACITY_KEPT);
    }
}
