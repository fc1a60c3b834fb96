//! A disk in memory with faults drawn from a seed: the second implementation of [`Disk`].
//!
//! Layout:  [`platter`] is what survives a crash and what may; this file is the door to it.
//! Always:  the same seed and the same calls give the same faults and the same order of completions. What
//!          was flushed survives a crash; what was not is lost, whole or torn, each write for itself.
//! Core:    one thread; no clock.
//! Cancel:  an operation that is dropped has reached the disk or not, as a write that a crash meets.
//! Full:    with a capacity, whatever would make files longer than that in all answers `StorageFull`.

mod damage;
mod executor;
mod fault;
mod names;
mod platter;

pub use executor::{Executor, Halt, pause, run};
pub use fault::{Aim, Chances, Fault, Faults, Trick};
pub use platter::{Operation, Tally};

use super::disk::Disk;
use platter::{Failure, Platter};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::task::Poll;

/// Numbers drawn from a seed (SplitMix64, Steele et al. 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 when that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw().checked_rem(bound).unwrap_or(0)
    }

    pub fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }
}

/// How a simulated disk behaves.
#[derive(Clone, Copy, Debug)]
pub struct Behaviour {
    /// An operation takes fewer polls than this; how many is drawn for each.
    pub polls_max: u64,
    /// One in so many operations takes so many polls more, while others go past it; 0 for never.
    pub stalls: u64,
    pub stall_polls: u64,
    /// Bytes that all files may have; `None` for no bound.
    pub capacity: Option<u64>,
    /// One in so many operations of any kind fails with EIO; `None` for never.
    pub error_one_in: Option<u64>,
    /// As `error_one_in`, by kind.
    pub errors: Chances,
    /// Operations that fail with ENOSPC, whatever room there is.
    pub full: Chances,
    /// One in so many reads gives less than was asked for; 0 for never.
    pub short_reads: u64,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            polls_max: 6,
            stalls: 0,
            stall_polls: 0,
            capacity: None,
            error_one_in: None,
            errors: Chances::NEVER,
            full: Chances::NEVER,
            short_reads: 0,
        }
    }
}

/// A handle to one disk in one run of the machine; cheap to clone.
#[derive(Clone)]
pub struct SimulatedDisk {
    platter: Rc<RefCell<Platter>>,
    /// Which run; after a crash, operations of an older one never come to an end.
    run: u64,
}

/// An open file.
#[derive(Debug)]
pub struct File {
    node: usize,
}

impl SimulatedDisk {
    pub fn new(seed: u64, behaviour: Behaviour) -> Self {
        Self {
            platter: Rc::new(RefCell::new(Platter::new(seed, behaviour))),
            run: 0,
        }
    }

    /// The same disk, mounted in a folder of its own.
    pub fn mounted(self) -> Self {
        self.platter.borrow_mut().is_mounted = true;
        self
    }

    /// Turns the machine off and on: the disk keeps what was flushed, and of the rest what `random` says.
    /// Handles from before are dead.
    pub fn crash(&self, random: &mut Random) -> Self {
        let run = self.platter.borrow_mut().crash(random);
        Self {
            platter: self.platter.clone(),
            run,
        }
    }

    /// Another disk that is as this one would be after a crash just now.
    pub fn copy_after_crash(&self, random: &mut Random) -> Self {
        let mut platter = self.platter.borrow().clone();
        let run = platter.crash(random);
        Self {
            platter: Rc::new(RefCell::new(platter)),
            run,
        }
    }

    /// Ends the process and leaves the machine on: what it had written is in the machine's memory, durable
    /// or not, and of what was on its way `random` says what arrives. Handles from before are dead.
    pub fn kill(&self, random: &mut Random) -> Self {
        let run = self.platter.borrow_mut().kill(random);
        Self {
            platter: self.platter.clone(),
            run,
        }
    }

    /// Another disk with the same contents, that goes its own way from here.
    pub fn copy(&self) -> Self {
        Self {
            platter: Rc::new(RefCell::new(self.platter.borrow().clone())),
            run: self.run,
        }
    }

    pub fn behaviour(&self) -> Behaviour {
        self.platter.borrow().behaviour
    }

    pub fn set_behaviour(&self, behaviour: Behaviour) {
        self.platter.borrow_mut().behaviour = behaviour;
    }

    /// Lets the operation of this kind fail that comes after `others` more of it.
    pub fn fail_after(&self, operation: Operation, others: u64) {
        let mut platter = self.platter.borrow_mut();
        platter.plan_failure(Failure::Error, operation, others);
    }

    /// As [`SimulatedDisk::fail_after`], but the disk says that it is full.
    pub fn full_after(&self, operation: Operation, others: u64) {
        let mut platter = self.platter.borrow_mut();
        platter.plan_failure(Failure::NoSpace, operation, others);
    }

    /// Lets the write to a finished segment go wrong that comes after `others` more that `aim` means: it
    /// resolves well, and its bytes are not where they should be.
    pub fn trick_after(&self, trick: Trick, aim: Aim, others: u64) {
        self.platter.borrow_mut().plan_trick(trick, aim, others);
    }

    /// Lets reads give less than asked for, from now on.
    pub fn shorten_reads(&self, shorten: bool) {
        self.platter.borrow_mut().behaviour.short_reads = u64::from(shorten) * 2;
    }

    /// Turns one bit over, at rest. `false` when there is no such place.
    pub fn flip(&self, path: &str, bit: u64) -> bool {
        self.platter.borrow_mut().flip(path, bit)
    }

    /// The blocks (file and position) that do not hold what was written to them last, durably.
    pub fn damaged(&self) -> Vec<(String, u64)> {
        self.platter.borrow().damaged_places()
    }

    /// Puts into every damaged block what it should hold.
    pub fn undo_damage(&self) {
        self.platter.borrow_mut().undo_damage();
    }

    /// Bytes of all files.
    pub fn used(&self) -> u64 {
        self.platter.borrow().used()
    }

    /// The faults that there were.
    pub fn faults(&self) -> Faults {
        self.platter.borrow().faults.clone()
    }

    /// Overwrites bytes at rest. `false` when there is no such place.
    pub fn put(&self, path: &str, position: u64, bytes: &[u8]) -> bool {
        self.platter.borrow_mut().put(path, position, bytes)
    }

    /// The bytes of a file as a reader sees them now.
    pub fn contents(&self, path: &str) -> Option<Vec<u8>> {
        self.platter.borrow().contents(path)
    }

    /// Every file's path.
    pub fn paths(&self) -> Vec<String> {
        self.platter.borrow().paths()
    }

    /// What was done so far.
    pub fn tally(&self) -> BTreeMap<Operation, Tally> {
        self.platter.borrow().tally.clone()
    }

    /// Begins an operation, waits as long as it takes, and ends it.
    async fn operate<T>(
        &self,
        operation: Operation,
        begin: impl FnOnce(&mut Platter) -> u64,
        end: impl FnOnce(&mut Platter, u64, Option<Failure>) -> io::Result<T>,
    ) -> io::Result<T> {
        let (mut polls, failure, token) = {
            let mut platter = self.platter.borrow_mut();
            let (polls, failure) = platter.draw(operation);
            (polls, failure, begin(&mut platter))
        };
        std::future::poll_fn(|context| {
            if self.platter.borrow().run != self.run {
                return Poll::Pending;
            }
            if polls == 0 {
                return Poll::Ready(());
            }
            polls -= 1;
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        end(&mut self.platter.borrow_mut(), token, failure)
    }

    /// An operation that does all its work at its end.
    async fn at_once<T>(
        &self,
        operation: Operation,
        work: impl FnOnce(&mut Platter) -> io::Result<T>,
    ) -> io::Result<T> {
        let end = |platter: &mut Platter, _, failure: Option<Failure>| match failure {
            Some(failure) => Err(failure.error()),
            None => work(platter),
        };
        self.operate(operation, |_| 0, end).await
    }

    async fn write_as(
        &self,
        operation: Operation,
        file: &File,
        position: u64,
        bytes: Vec<u8>,
    ) -> io::Result<()> {
        let node = file.node;
        self.operate(
            operation,
            |platter| platter.begin_write(node, position, bytes),
            |platter, token, failure| match failure {
                Some(failure) => {
                    platter.fail_write(node, token);
                    Err(failure.error())
                }
                None => platter.end_write(node, token, operation),
            },
        )
        .await
    }
}

impl Disk for SimulatedDisk {
    type File = File;
    type Buffer = Vec<u8>;
    type Frozen = Rc<Vec<u8>>;

    fn is_mounted(&self) -> bool {
        self.platter.borrow().is_mounted
    }

    fn buffer(&self, bytes: usize) -> Vec<u8> {
        // Arbitrary contents, so that who forgets to write them is found out.
        vec![0xa5; bytes]
    }

    fn freeze(&self, mut buffer: Vec<u8>, bytes: usize) -> Rc<Vec<u8>> {
        buffer.truncate(bytes);
        Rc::new(buffer)
    }

    fn frozen_bytes(frozen: &Rc<Vec<u8>>) -> usize {
        frozen.len()
    }

    async fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.at_once(Operation::Read, |platter| Ok(platter.list(folder)))
            .await
    }

    async fn make_folder(&self, folder: &str) -> io::Result<()> {
        self.at_once(Operation::Name, |platter| {
            platter.make_folder(folder);
            Ok(())
        })
        .await
    }

    async fn flush_folder(&self, folder: &str) -> io::Result<()> {
        self.at_once(Operation::Flush, |platter| {
            platter.flush_folder(folder);
            Ok(())
        })
        .await
    }

    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.at_once(Operation::Name, |platter| platter.rename(from, to))
            .await
    }

    async fn remove(&self, path: &str) -> io::Result<()> {
        self.at_once(Operation::Name, |platter| platter.remove(path))
            .await
    }

    async fn create(&self, path: &str) -> io::Result<File> {
        let node = self
            .at_once(Operation::Name, |platter| platter.create(path))
            .await?;
        Ok(File { node })
    }

    async fn open(&self, path: &str) -> io::Result<File> {
        let node = self
            .at_once(Operation::Read, |platter| platter.node_of(path))
            .await?;
        Ok(File { node })
    }

    async fn size(&self, file: &File) -> io::Result<u64> {
        self.at_once(Operation::Read, |platter| Ok(platter.size(file.node)))
            .await
    }

    async fn write(&self, file: &File, position: u64, bytes: Rc<Vec<u8>>) -> io::Result<()> {
        self.write_as(Operation::Write, file, position, bytes.to_vec())
            .await
    }

    async fn write_durable(
        &self,
        file: &File,
        position: u64,
        bytes: Rc<Vec<u8>>,
    ) -> io::Result<()> {
        self.write_as(Operation::WriteDurable, file, position, bytes.to_vec())
            .await
    }

    async fn read(&self, file: &File, position: u64, bytes: usize) -> io::Result<Vec<u8>> {
        self.at_once(Operation::Read, |platter| {
            Ok(platter.read(file.node, position, bytes))
        })
        .await
    }

    async fn flush(&self, file: &File) -> io::Result<()> {
        let node = file.node;
        self.operate(
            Operation::Flush,
            Platter::next_write,
            |platter, upto, failure| {
                platter.end_flush(node, upto, failure.is_some());
                failure.map_or(Ok(()), |failure| Err(failure.error()))
            },
        )
        .await
    }

    async fn close(&self, _file: File) -> io::Result<()> {
        self.at_once(Operation::Name, |_| Ok(())).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_flush_has_failed_for_does_not_come_back_over_what_was_flushed_later() {
        for seed in 0..50 {
            let disk = SimulatedDisk::new(seed, Behaviour::default());
            let block = |byte| Rc::new(vec![byte; 4096]);
            let work = async {
                let file = disk.create("file").await?;
                disk.flush_folder("").await?;
                disk.fail_after(Operation::Flush, 0);
                disk.write(&file, 0, block(1)).await?;
                assert!(disk.flush(&file).await.is_err());
                disk.write(&file, 0, block(2)).await?;
                disk.flush(&file).await
            };
            let worked = Executor::new(seed).wait(work);
            worked.expect("it comes to its end").expect("one failure");
            let after = disk.crash(&mut Random::new(seed)).contents("file");
            assert_eq!(after, Some(vec![2; 4096]), "seed {seed}");
        }
    }
}
