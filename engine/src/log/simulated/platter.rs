//! What a simulated disk holds: for each file its durable bytes, and the writes that a crash may lose.

use super::damage::Damage;
use super::fault::{Aim, Fault, Faults, Trick};
use super::names::{NameChange, folder_of};
use super::{Behaviour, Random};
use crate::limit::BLOCK_BYTES;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// The smallest piece that a disk writes whole.
const SECTOR_BYTES: usize = 512;

/// Kinds of operations, for faults and for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    Read,
    Write,
    WriteDurable,
    Flush,
    /// Whatever changes names: create, rename, remove, folders.
    Name,
}

/// Why an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    Error,
    NoSpace,
}

impl Failure {
    pub(super) fn error(self) -> io::Error {
        const EIO: i32 = 5;
        match self {
            Self::Error => io::Error::from_raw_os_error(EIO),
            Self::NoSpace => io::ErrorKind::StorageFull.into(),
        }
    }
}

/// How often an operation was begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub begun: u64,
    pub failed: u64,
}

/// A write that is not durable. It is in flight until it resolves, and then in the disk's cache.
#[derive(Clone, Debug)]
struct Write {
    number: u64,
    position: usize,
    bytes: Vec<u8>,
    in_flight: bool,
    /// A flush has failed with it, so that no later one makes it durable.
    doomed: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    pub(super) durable: Vec<u8>,
    /// As a reader sees it.
    pub(super) now: Vec<u8>,
    writes: Vec<Write>,
}

impl Node {
    /// What waits for its flush is read from the disk's cache, whatever lies below.
    pub(super) fn show_cached(&mut self) {
        for write in self.writes.iter().filter(|write| !write.in_flight) {
            overlay(&mut self.now, write.position, &write.bytes);
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Platter {
    pub(super) behaviour: Behaviour,
    pub(super) run: u64,
    pub(super) tally: BTreeMap<Operation, Tally>,
    pub(super) faults: Faults,
    pub(super) random: Random,
    pub(super) nodes: Vec<Node>,
    folders: BTreeSet<String>,
    pub(super) names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    changes: Vec<NameChange>,
    /// Counts of begun operations at which one fails, and how.
    planned: BTreeMap<(Operation, u64), Failure>,
    writes: u64,
    /// What is to go wrong, after so many more writes.
    pub(super) trick: Option<(Trick, Aim, u64)>,
    pub(super) damage: Damage,
    /// It is not the disk that the machine runs from.
    pub(super) is_mounted: bool,
}

impl Platter {
    pub(super) fn new(seed: u64, behaviour: Behaviour) -> Self {
        Self {
            behaviour,
            run: 0,
            tally: BTreeMap::new(),
            faults: Faults::new(),
            random: Random::new(seed),
            nodes: Vec::new(),
            folders: BTreeSet::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            changes: Vec::new(),
            planned: BTreeMap::new(),
            writes: 0,
            trick: None,
            damage: Damage::default(),
            is_mounted: false,
        }
    }

    pub(super) fn note(&mut self, fault: Fault) {
        *self.faults.entry(fault).or_default() += 1;
    }

    /// How many polls the next operation takes, and whether it fails.
    pub(super) fn draw(&mut self, operation: Operation) -> (u64, Option<Failure>) {
        let mut polls = self.random.below(self.behaviour.polls_max);
        if 0 < self.behaviour.stalls && self.random.one_in(self.behaviour.stalls) {
            polls += self.behaviour.stall_polls;
            self.note(Fault::Stalled);
        }
        let tally = self.tally.entry(operation).or_default();
        tally.begun += 1;
        let planned = self.planned.remove(&(operation, tally.begun));
        let chance = self.behaviour.error_one_in;
        let any = chance.is_some_and(|chances| self.random.one_in(chances));
        let errors = self.behaviour.errors.draw(operation, &mut self.random);
        let failure = if planned.is_some() {
            planned
        } else if any || errors {
            Some(Failure::Error)
        } else {
            let full = self.behaviour.full.draw(operation, &mut self.random);
            full.then_some(Failure::NoSpace)
        };
        tally.failed += u64::from(failure.is_some());
        match failure {
            Some(Failure::Error) => self.note(Fault::Error(operation)),
            Some(Failure::NoSpace) => self.note(Fault::NoSpace(operation)),
            None => {}
        }
        (polls, failure)
    }

    pub(super) fn plan_failure(&mut self, failure: Failure, operation: Operation, others: u64) {
        let begun = self.tally.get(&operation).map_or(0, |tally| tally.begun);
        self.planned
            .insert((operation, begun + others + 1), failure);
    }

    // ---- names ----

    pub(super) fn list(&self, folder: &str) -> Vec<String> {
        let inside = |path: &&String| folder_of(path) == folder;
        let names = self.names.keys().chain(&self.folders).filter(inside);
        let last = |path: &String| path.rsplit('/').next().map(str::to_owned);
        names.filter_map(last).collect()
    }

    pub(super) fn paths(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }

    pub(super) fn make_folder(&mut self, folder: &str) {
        self.folders.insert(folder.to_owned());
    }

    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.changes.push(change);
    }

    pub(super) fn flush_folder(&mut self, folder: &str) {
        let (done, rest) = std::mem::take(&mut self.changes)
            .into_iter()
            .partition(|change| change.folder() == folder);
        self.changes = rest;
        let done: Vec<NameChange> = done;
        for change in done {
            change.apply(&mut self.durable_names);
        }
    }

    pub(super) fn node_of(&self, path: &str) -> io::Result<usize> {
        let node = self.names.get(path).copied();
        node.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.node_of(from)?;
        self.change(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &str) -> io::Result<()> {
        self.node_of(path)?;
        self.change(NameChange::Remove(path.to_owned()));
        Ok(())
    }

    pub(super) fn create(&mut self, path: &str) -> io::Result<usize> {
        if self.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let folder = folder_of(path);
        if !folder.is_empty() && !self.folders.contains(folder) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if self.room() == 0 {
            self.note(Fault::NoSpace(Operation::Name));
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.nodes.push(Node::default());
        let node = self.nodes.len() - 1;
        self.change(NameChange::Create(path.to_owned(), node));
        Ok(node)
    }

    // ---- bytes ----

    pub(super) fn used(&self) -> u64 {
        let bytes = |node: &usize| self.nodes[*node].now.len() as u64;
        self.names.values().map(bytes).sum()
    }

    /// Bytes by which files may grow.
    fn room(&self) -> u64 {
        let capacity = self.behaviour.capacity.unwrap_or(u64::MAX);
        capacity.saturating_sub(self.used())
    }

    pub(super) fn size(&self, node: usize) -> u64 {
        self.nodes[node].now.len() as u64
    }

    pub(super) fn next_write(&mut self) -> u64 {
        self.writes += 1;
        self.writes
    }

    pub(super) fn begin_write(&mut self, node: usize, position: u64, bytes: Vec<u8>) -> u64 {
        assert!(
            position.is_multiple_of(BLOCK_BYTES),
            "direct I/O writes whole blocks"
        );
        assert!(
            (bytes.len() as u64).is_multiple_of(BLOCK_BYTES),
            "direct I/O writes whole blocks"
        );
        let number = self.next_write();
        self.nodes[node].writes.push(Write {
            number,
            position: position as usize,
            bytes,
            in_flight: true,
            doomed: false,
        });
        number
    }

    pub(super) fn end_write(
        &mut self,
        index: usize,
        number: u64,
        operation: Operation,
    ) -> io::Result<()> {
        let room = self.room() as usize;
        let node = &mut self.nodes[index];
        let Some(at) = node.writes.iter().position(|write| write.number == number) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let mut write = node.writes.remove(at);
        if node.now.len() + room < write.position + write.bytes.len() {
            self.note(Fault::NoSpace(operation));
            return Err(io::ErrorKind::StorageFull.into());
        }
        if let Some(trick) = self.trick_for(index, write.position + write.bytes.len()) {
            self.play(trick, index, write.position, &write.bytes);
            return Ok(());
        }
        let node = &mut self.nodes[index];
        overlay(&mut node.now, write.position, &write.bytes);
        if operation == Operation::WriteDurable {
            overlay(&mut node.durable, write.position, &write.bytes);
            // What an older write has not made durable here never comes back over this one.
            node.writes
                .iter_mut()
                .for_each(|older| older.take_over(&write));
            self.damage
                .heal(index, write.position, write.position + write.bytes.len());
        } else {
            write.in_flight = false;
            node.writes.push(write);
        }
        Ok(())
    }

    /// A write that failed: what of it reaches the disk a crash says, but never over what is durable later.
    pub(super) fn fail_write(&mut self, index: usize, number: u64) {
        let mut writes = self.nodes[index].writes.iter_mut();
        if let Some(write) = writes.find(|write| write.number == number) {
            write.in_flight = false;
            write.doomed = true;
        }
    }

    /// Makes the writes durable that had resolved when the flush began, or dooms them.
    pub(super) fn end_flush(&mut self, index: usize, upto: u64, fails: bool) {
        let node = &mut self.nodes[index];
        let covered = |write: &Write| write.number < upto && !write.in_flight && !write.doomed;
        if fails {
            node.writes
                .iter_mut()
                .filter(|write| covered(write))
                .for_each(|write| write.doomed = true);
            return;
        }
        let (done, rest) = std::mem::take(&mut node.writes)
            .into_iter()
            .partition(covered);
        node.writes = rest;
        let done: Vec<Write> = done;
        for write in done {
            // What was doomed before never comes back over it.
            let older = node.writes.iter_mut();
            older
                .filter(|older| older.doomed && older.number < write.number)
                .for_each(|older| older.take_over(&write));
            overlay(&mut node.durable, write.position, &write.bytes);
            let end = write.position + write.bytes.len();
            self.damage.heal(index, write.position, end);
        }
    }

    pub(super) fn read(&mut self, node: usize, position: u64, bytes: usize) -> Vec<u8> {
        let length = self.nodes[node].now.len();
        let start = (position as usize).min(length);
        let mut end = (start + bytes).min(length);
        let chances = self.behaviour.short_reads;
        if 0 < chances && start < end && self.random.one_in(chances) {
            end = start + self.random.below((end - start) as u64) as usize;
            self.note(Fault::ShortRead);
        }
        self.nodes[node].now[start..end].to_vec()
    }

    // ---- what goes wrong ----

    pub(super) fn crash(&mut self, random: &mut Random) -> u64 {
        self.run += 1;
        self.trick = None;
        for change in std::mem::take(&mut self.changes) {
            if random.one_in(2) {
                change.apply(&mut self.durable_names);
            } else {
                self.note(Fault::NameLostInCrash);
            }
        }
        self.names.clone_from(&self.durable_names);
        // Now and then the oldest write to each file is lost, and all that came after it are there.
        let upside_down = random.one_in(4);
        for index in 0..self.nodes.len() {
            let mut lost = false;
            let writes = std::mem::take(&mut self.nodes[index].writes);
            let one_is_lost = upside_down && 1 < writes.len();
            for (number, write) in writes.into_iter().enumerate() {
                let durable = &mut self.nodes[index].durable;
                let fate = match (one_is_lost, number) {
                    (true, 0) => Fault::LostInCrash,
                    (true, _) => write.arrive(durable),
                    _ => write.meet_crash(durable, random),
                };
                self.note(fate);
                if fate == Fault::KeptInCrash {
                    let end = write.position + write.bytes.len();
                    self.damage.heal(index, write.position, end);
                    if lost {
                        self.note(Fault::ReorderedInCrash);
                    }
                }
                lost |= fate != Fault::KeptInCrash;
            }
            let node = &mut self.nodes[index];
            node.now.clone_from(&node.durable);
        }
        self.run
    }

    /// What was on its way arrives or does not; nothing else is lost.
    pub(super) fn kill(&mut self, random: &mut Random) -> u64 {
        self.run += 1;
        self.trick = None;
        for node in &mut self.nodes {
            let Node { now, writes, .. } = node;
            writes.retain_mut(|write| {
                let arrives = !write.in_flight || random.one_in(2);
                if arrives && std::mem::take(&mut write.in_flight) {
                    overlay(now, write.position, &write.bytes);
                }
                arrives
            });
        }
        self.run
    }

    pub(super) fn put(&mut self, path: &str, position: u64, bytes: &[u8]) -> bool {
        let Ok(node) = self.node_of(path) else {
            return false;
        };
        let range = position as usize..position as usize + bytes.len();
        let node = &mut self.nodes[node];
        for side in [&mut node.now, &mut node.durable] {
            match side.get_mut(range.clone()) {
                Some(place) => place.copy_from_slice(bytes),
                None => return false,
            }
        }
        true
    }

    pub(super) fn contents(&self, path: &str) -> Option<Vec<u8>> {
        let node = self.node_of(path).ok()?;
        Some(self.nodes[node].now.clone())
    }
}

pub(super) fn overlay(file: &mut Vec<u8>, position: usize, bytes: &[u8]) {
    let end = position + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[position..end].copy_from_slice(bytes);
}

impl Write {
    /// Takes the bytes of a later write where the two overlap.
    fn take_over(&mut self, later: &Self) {
        let start = self.position.max(later.position);
        let end = (self.position + self.bytes.len()).min(later.position + later.bytes.len());
        if start < end {
            let source = &later.bytes[start - later.position..end - later.position];
            self.bytes[start - self.position..end - self.position].copy_from_slice(source);
        }
    }

    fn arrive(&self, durable: &mut Vec<u8>) -> Fault {
        overlay(durable, self.position, &self.bytes);
        Fault::KeptInCrash
    }

    /// Lost, whole, or torn, in pieces of a sector or a block.
    fn meet_crash(&self, durable: &mut Vec<u8>, random: &mut Random) -> Fault {
        let piece = match random.below(4) {
            0 => return Fault::LostInCrash,
            1 => self.bytes.len().max(1),
            2 => SECTOR_BYTES,
            _ => BLOCK_BYTES as usize,
        };
        let torn = piece < self.bytes.len();
        // A disk mostly writes from front to back, but it need not.
        let first_lost = random.below((self.bytes.len() / piece + 1) as u64) as usize;
        let in_order = random.one_in(2);
        for (index, bytes) in self.bytes.chunks(piece).enumerate() {
            let kept = if in_order {
                index < first_lost
            } else {
                random.one_in(2)
            };
            if kept || !torn {
                overlay(durable, self.position + index * piece, bytes);
            }
        }
        if torn {
            Fault::TornInCrash
        } else {
            Fault::KeptInCrash
        }
    }
}
