//! Damage: blocks that do not hold what was written to them, and what they should hold.
//!
//! Always:  a block is here from the fault until it is written again durably, or until the damage is undone.

use super::fault::{Aim, Fault, Trick};
use super::platter::{Platter, overlay};
use crate::limit::BLOCK_BYTES;
use std::collections::BTreeMap;
use std::path::Path;

const BLOCK: usize = BLOCK_BYTES as usize;

fn is_segment(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|end| end == "seg")
}

/// For each damaged block, by node and number, what it should hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Damage(BTreeMap<(usize, usize), Vec<u8>>);

impl Damage {
    /// The blocks from `start` to `end` were written.
    pub(super) fn heal(&mut self, node: usize, start: usize, end: usize) {
        if !self.0.is_empty() {
            self.0.retain(|(at, block), _| {
                *at != node || !(start / BLOCK..end / BLOCK).contains(block)
            });
        }
    }
}

impl Platter {
    pub(super) fn plan_trick(&mut self, trick: Trick, aim: Aim, others: u64) {
        self.trick = Some((trick, aim, others));
    }

    /// Whether the write that ends at `end` of a file is the one to go wrong. Only segments that have their
    /// size and name are met: before that there is nothing to lose.
    pub(super) fn trick_for(&mut self, node: usize, end: usize) -> Option<Trick> {
        let (trick, aim, others) = self.trick?;
        let finished = self.path_of(node).is_some_and(|path| is_segment(&path));
        let length = self.nodes[node].now.len();
        if !finished || length < end || (aim == Aim::Footer && end < length) {
            return None;
        }
        self.trick = others.checked_sub(1).map(|others| (trick, aim, others));
        (others == 0).then_some(trick)
    }

    pub(super) fn play(&mut self, trick: Trick, node: usize, position: usize, bytes: &[u8]) {
        for (index, block) in bytes.chunks(BLOCK).enumerate() {
            let number = position / BLOCK + index;
            self.damage.0.insert((node, number), block.to_vec());
        }
        if trick == Trick::Lose {
            self.note(Fault::LostWrite);
            return;
        }
        self.note(Fault::MisdirectedWrite);
        let folder = |path: &str| path.rsplit_once('/').map(|(folder, _)| folder.to_owned());
        let home = self.path_of(node).and_then(|path| folder(&path));
        let neighbours = self.names.iter().filter(|(path, other)| {
            let long_enough = bytes.len() <= self.nodes[**other].durable.len();
            is_segment(path) && long_enough && folder(path) == home
        });
        let neighbours: Vec<usize> = neighbours.map(|(_, other)| *other).collect();
        let chosen = self.random.below(neighbours.len() as u64) as usize;
        let Some(victim) = neighbours.get(chosen).copied() else {
            return;
        };
        let places = (self.nodes[victim].durable.len() - bytes.len()) / BLOCK + 1;
        let first = self.random.below(places as u64) as usize;
        for number in first..first + bytes.len() / BLOCK {
            self.remember(victim, number);
        }
        let file = &mut self.nodes[victim];
        overlay(&mut file.now, first * BLOCK, bytes);
        overlay(&mut file.durable, first * BLOCK, bytes);
        file.show_cached();
        // By chance it may have hit its own place.
        self.forget_what_is_right();
    }

    /// Notes what a block should hold, before it is damaged.
    fn remember(&mut self, node: usize, number: usize) {
        let right = &self.nodes[node].durable[number * BLOCK..(number + 1) * BLOCK];
        let entry = self.damage.0.entry((node, number));
        entry.or_insert_with(|| right.to_vec());
    }

    fn forget_what_is_right(&mut self) {
        let nodes = &self.nodes;
        self.damage.0.retain(|(node, number), right| {
            let now = &nodes[*node].durable[number * BLOCK..(number + 1) * BLOCK];
            now != right.as_slice()
        });
    }

    /// Turns one bit over in what is on the disk. The file must consist of whole blocks.
    pub(super) fn flip(&mut self, path: &str, bit: u64) -> bool {
        let at = bit as usize / 8;
        let Ok(node) = self.node_of(path) else {
            return false;
        };
        if self.nodes[node].durable.len() / BLOCK <= at / BLOCK {
            return false;
        }
        self.remember(node, at / BLOCK);
        let file = &mut self.nodes[node];
        file.durable[at] ^= 1 << (bit % 8);
        if let Some(byte) = file.now.get_mut(at) {
            *byte ^= 1 << (bit % 8);
        }
        self.note(Fault::BitFlip);
        self.forget_what_is_right();
        true
    }

    pub(super) fn damaged_places(&self) -> Vec<(String, u64)> {
        let place = |(node, number): &(usize, usize)| {
            let path = self.path_of(*node)?;
            Some((path, *number as u64 * BLOCK_BYTES))
        };
        self.damage.0.keys().filter_map(place).collect()
    }

    pub(super) fn undo_damage(&mut self) {
        for ((node, number), right) in std::mem::take(&mut self.damage.0) {
            let file = &mut self.nodes[node];
            overlay(&mut file.now, number * BLOCK, &right);
            overlay(&mut file.durable, number * BLOCK, &right);
        }
    }

    fn path_of(&self, node: usize) -> Option<String> {
        let named = self.names.iter().find(|(_, other)| **other == node);
        named.map(|(path, _)| path.clone())
    }
}
