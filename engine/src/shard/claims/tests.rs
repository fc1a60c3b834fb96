//! Several shards' claims with letters on their way, in any order that mailboxes allow.

use super::desk::{Desk, Stage};
use super::name::NameKeys;
use super::*;
use crate::net::{Peer, Told};
use std::collections::HashMap;

/// What a shard has, for the sums that must hold.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) slots_taken: usize,
    /// Held and waited for.
    pub(super) names: (usize, usize),
    /// Free in the bank or spare in the purse.
    pub(super) credits: u32,
    /// By connections.
    pub(super) spent: u32,
}

struct Connection {
    shard: usize,
    slot: u32,
    name: u8,
    outbox: Rc<Outbox>,
    /// It never proves that it lives.
    is_dead: bool,
}

struct World {
    desks: Vec<Desk>,
    connections: Vec<Connection>,
    connections_max: u32,
    keys: NameKeys,
    state: u64,
}

fn peer(name: u8) -> Peer {
    Peer {
        conn_id: [name].into(),
        ..Peer::default()
    }
}

impl World {
    fn new(shards: usize, connections_max: u32, on_duplicate: OnDuplicate, seed: u64) -> Self {
        let keys = NameKeys::default();
        let desk = |shard| {
            Desk::new(&Terms {
                shard: ShardId(shard as u32),
                shards,
                connections_max,
                on_duplicate,
                keys: keys.clone(),
            })
        };
        Self {
            desks: (0..shards).map(desk).collect(),
            connections: Vec::new(),
            connections_max,
            keys: keys.clone(),
            state: seed,
        }
    }

    fn draw(&mut self, below: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state % below as u64) as usize
    }

    fn enter(&mut self, shard: usize, name: u8, is_dead: bool) {
        let outbox = Rc::new(Outbox::new(peer(name)));
        let slot = self.desks[shard].enter(&outbox);
        self.connections.push(Connection {
            shard,
            slot,
            name,
            outbox,
            is_dead,
        });
    }

    fn leave(&mut self, index: usize) {
        let gone = self.connections.swap_remove(index);
        self.desks[gone.shard].leave(gone.slot);
    }

    fn stage(&self, connection: &Connection) -> Stage {
        self.desks[connection.shard].stage(connection.slot)
    }

    /// Brings one letter from one shard to another; `false` when there was none.
    fn carry(&mut self, from: usize, to: usize) -> bool {
        let Some(word) = self.desks[from].next_letter(to as u16) else {
            return false;
        };
        self.desks[to].hear(from as u16, word);
        true
    }

    /// A connection does what it was told, as sessions do.
    fn obey(&mut self, index: usize) -> bool {
        let connection = &self.connections[index];
        let (shard, slot) = (connection.shard, connection.slot);
        match connection.outbox.take_told() {
            Told::Nothing => return false,
            Told::ProveLife if !connection.is_dead => self.desks[shard].alive(slot),
            Told::ProveLife | Told::Leave => self.leave(index),
        }
        true
    }

    fn settle(&mut self) {
        let shards = self.desks.len();
        let mut moved = true;
        while moved {
            moved = false;
            for pair in 0..shards * shards {
                while self.carry(pair / shards, pair % shards) {
                    moved = true;
                }
            }
            let mut index = 0;
            while index < self.connections.len() {
                moved |= self.obey(index);
                index += 1;
            }
        }
    }

    fn check(&self) {
        let mut holders = HashMap::new();
        let mut spent = 0;
        for connection in &self.connections {
            match self.stage(connection) {
                Stage::Held => {
                    let before = holders.insert(connection.name, connection.slot);
                    assert_eq!(
                        before, None,
                        "two connections have name {}",
                        connection.name
                    );
                    spent += 1;
                }
                Stage::Asked => spent += 1,
                Stage::Free => panic!("a connection lost its slot"),
                Stage::WantsCredit | Stage::Refused(_) => {}
            }
        }
        assert!(spent <= self.connections_max, "{spent} credits are spent");
    }

    /// Everybody goes, every letter arrives, and nothing is left.
    fn end(mut self) {
        while !self.connections.is_empty() {
            self.leave(0);
        }
        self.settle();
        let counts: Vec<Count> = self.desks.iter().map(Desk::count).collect();
        for count in &counts {
            assert_eq!(
                (count.slots_taken, count.names, count.spent),
                (0, (0, 0), 0)
            );
        }
        let credits: u32 = counts.iter().map(|count| count.credits).sum();
        assert_eq!(credits, self.connections_max);
    }

    fn live(mut self, steps: usize) {
        let shards = self.desks.len();
        for _ in 0..steps {
            match self.draw(10) {
                0..3 => {
                    let (shard, name) = (self.draw(shards), self.draw(6) as u8);
                    let is_dead = self.draw(3) == 0;
                    self.enter(shard, name, is_dead);
                }
                3..5 if !self.connections.is_empty() => {
                    let index = self.draw(self.connections.len());
                    self.leave(index);
                }
                5 if !self.connections.is_empty() => {
                    let index = self.draw(self.connections.len());
                    self.obey(index);
                }
                _ => {
                    let (from, to) = (self.draw(shards), self.draw(shards));
                    self.carry(from, to);
                }
            }
            self.check();
        }
        self.settle();
        self.check();
        for connection in &self.connections {
            let stage = self.stage(connection);
            assert!(
                matches!(stage, Stage::Held | Stage::Refused(_)),
                "a connection waits for ever: {stage:?}"
            );
            let name = self.keys.name(&peer(connection.name));
            let holder = self.desks[usize::from(name.owner(shards))].holder_of(name);
            let holds = holder.is_some_and(|holder| {
                usize::from(holder.shard) == connection.shard && holder.slot == connection.slot
            });
            assert_eq!(holds, stage == Stage::Held, "its owner knows better");
        }
        self.end();
    }
}

#[test]
fn a_name_has_one_holder_and_nothing_leaks_whatever_the_order_of_letters() {
    for seed in 1..400 {
        for (shards, connections_max) in [(1, 3), (2, 4), (3, 100), (5, 2)] {
            for on_duplicate in [OnDuplicate::Refuse, OnDuplicate::Replace] {
                World::new(shards, connections_max, on_duplicate, seed).live(200);
            }
        }
    }
}

#[test]
fn the_limit_is_exact_wherever_the_credits_are() {
    for shards in [1, 2, 4] {
        let mut world = World::new(shards, 40, OnDuplicate::Refuse, 7);
        // One shard takes most and gives them back: credits then lie in its purse.
        for name in 0..30 {
            world.enter(0, name, false);
        }
        world.settle();
        while !world.connections.is_empty() {
            world.leave(0);
        }
        world.settle();
        for name in 0..50 {
            world.enter(usize::from(name) % shards, name, false);
            world.settle();
            let stage = world.stage(world.connections.last().unwrap());
            let wanted = if name < 40 {
                Stage::Held
            } else {
                Stage::Refused(Unwelcome::Full)
            };
            assert_eq!(stage, wanted, "connection {name} of {shards} shards");
        }
        world.leave(0);
        world.settle();
        world.enter(shards - 1, 200, false);
        world.settle();
        assert_eq!(world.stage(world.connections.last().unwrap()), Stage::Held);
        world.end();
    }
}

#[test]
fn a_duplicate_at_the_limit_gets_the_limits_refusal() {
    let mut world = World::new(2, 1, OnDuplicate::Refuse, 7);
    world.enter(0, 1, false);
    world.enter(1, 1, false);
    world.settle();
    let stages: Vec<Stage> = world
        .connections
        .iter()
        .map(|one| world.stage(one))
        .collect();
    assert_eq!(stages, [Stage::Held, Stage::Refused(Unwelcome::Full)]);
    world.end();
}

#[test]
fn a_dead_holder_gives_way_and_a_living_one_does_not() {
    for (is_dead, wanted) in [
        (true, Stage::Held),
        (false, Stage::Refused(Unwelcome::Duplicate)),
    ] {
        let mut world = World::new(2, 10, OnDuplicate::Refuse, 7);
        world.enter(0, 1, is_dead);
        world.settle();
        world.enter(1, 1, false);
        world.settle();
        assert_eq!(world.stage(world.connections.last().unwrap()), wanted);
        world.end();
    }
}

#[test]
fn a_newer_connection_replaces_the_older_when_that_is_wanted() {
    let mut world = World::new(2, 10, OnDuplicate::Replace, 7);
    for shard in [0, 1, 1, 0] {
        world.enter(shard, 1, false);
        world.settle();
        assert_eq!(world.connections.len(), 1);
        assert_eq!(world.stage(&world.connections[0]), Stage::Held);
    }
    world.end();
}

#[test]
fn a_claim_takes_few_bytes() {
    // In the tables of its own shard and of its name's owner; and a letter.
    assert_eq!(Desk::SLOT_BYTES, 16);
    assert_eq!(size_of::<(Name, Claim)>(), 28);
    assert!(size_of::<Letter>() <= 32);
}

#[test]
fn letters_for_a_shard_that_is_gone_are_not_kept() {
    let mut world = World::new(2, 10, OnDuplicate::Refuse, 7);
    world.desks[0].forget(1);
    for name in 0..100 {
        world.enter(0, name, false);
    }
    while !world.connections.is_empty() {
        world.leave(0);
    }
    assert_eq!(world.desks[0].next_letter(1), None);
}
