//! A life of the store between two starts: what happens to its volumes, and how it ends.

use super::client::Client;
use super::evidence::{self, is_segment};
use super::run::{End, Live, Run, STEPS_MAX};
use ringtail::log::simulated::{Aim, Halt, SimulatedDisk, Trick};

/// How long a life is.
struct Length {
    /// A volume was left out that reaches further than the others.
    is_apart: bool,
    operations: u64,
    /// Polls, for the clients' work.
    steps: u64,
}

impl Run {
    /// Lives with a store until it ends one way or the other, and leaves its disk behind.
    pub fn live(&mut self, mut live: Live) -> Result<(), String> {
        let end = [End::Crash, End::Crash, End::Crash, End::Kill, End::Stop]
            [self.random.below(5) as usize];
        let Length {
            is_apart,
            operations,
            steps,
        } = self.draw_length(end);
        self.choose_victim();
        if self.random.one_in(6) {
            self.trick_a_write();
        }
        let Live {
            executor,
            machine,
            rows,
        } = &mut live;
        let mut client = Client {
            run: self,
            machine,
            rows,
        };
        match executor.wait_at_most(steps, client.work(operations)) {
            Ok(done) => done?,
            Err(Halt::Steps) if end != End::Stop => {}
            Err(halt) => return Err(format!("the clients cannot go on: {halt}")),
        }
        let mut client = Client {
            run: self,
            machine,
            rows,
        };
        client.hear()?;
        client.note_sizes();
        if end == End::Stop {
            self.stop(&mut live)?;
        }
        let whole = live.machine.is_whole(self.disks.len());
        drop(live);
        let damaged = self.victim().damaged();
        let victim = self.victim;
        self.tell(|| {
            let harmed = self.harmed;
            format!("{end:?}; whole: {whole}; {victim} harmed: {harmed}; damaged: {damaged:?}")
        });
        if whole && self.is_sound() {
            self.harmed = false;
        }
        self.power_off(end);
        if self.is_alone() {
            self.harm_alone(end);
        } else if !is_apart {
            self.harm_one(end);
        }
        Ok(())
    }

    /// How much of a life there is before it ends so.
    fn draw_length(&mut self, end: End) -> Length {
        // After some starts the next crash comes at once, while an older end may still lie behind the new one.
        let is_cut = std::mem::take(&mut self.reordered) && !self.random.one_in(4);
        let is_short = is_cut || self.random.one_in(4);
        // What was left out comes back while it still reaches further.
        let is_apart = std::mem::take(&mut self.apart) && !self.random.one_in(4);
        let operations = if is_apart {
            1 + self.random.below(4)
        } else if is_short {
            1 + self.random.below(8)
        } else {
            20 + self.random.below(220)
        };
        let steps = if end == End::Stop {
            STEPS_MAX
        } else if is_apart {
            30 + self.random.below(40 + 20 * self.plan.polls_max)
        } else if is_cut {
            self.random.below(8)
        } else if is_short {
            self.random.below(80)
        } else {
            40 + self.random.below(operations * 30)
        };
        Length {
            is_apart,
            operations,
            steps,
        }
    }

    /// One write will be lost or go elsewhere, without a word.
    fn trick_a_write(&mut self) {
        let trick = if self.random.one_in(2) {
            Trick::Lose
        } else {
            Trick::Misdirect
        };
        let (aim, after) = if self.random.one_in(3) {
            (Aim::Footer, self.random.below(4))
        } else {
            (Aim::Any, self.random.below(60))
        };
        self.tell(|| format!("{trick:?} a write ({aim:?}) after {after} others"));
        self.harmed = true;
        self.victim().trick_after(trick, aim, after);
    }

    /// Stops the store as an operator does.
    pub fn stop(&mut self, live: &mut Live) -> Result<(), String> {
        let Live {
            executor,
            machine,
            rows,
        } = live;
        let mut client = Client {
            run: self,
            machine,
            rows,
        };
        client.stop(executor)
    }

    /// Another volume may be harmed when the last one is what it should be again.
    fn choose_victim(&mut self) {
        if !self.harmed {
            self.victim = self.random.below(self.disks.len() as u64) as usize;
        }
    }

    fn harm_alone(&mut self, end: End) {
        if self.damaged || !self.victim().damaged().is_empty() {
            // What was damaged before this life is mended; what came with it stays for the next start.
            if self.damaged && self.random.one_in(2) {
                self.victim().undo_damage();
            }
        } else if end != End::Kill && self.random.one_in(5) {
            self.damage_at_rest();
        }
    }

    /// One of several volumes may be damaged, replaced by an empty one, or by what it was once.
    fn harm_one(&mut self, end: End) {
        self.choose_victim();
        match self.random.below(8) {
            0 | 1 if end != End::Kill => {
                self.harmed = true;
                self.damage_at_rest();
            }
            2 => {
                self.harmed = true;
                let seed = self.random.draw();
                self.replace(SimulatedDisk::new(seed, self.calm()), "an empty one");
            }
            3 => {
                if let Some((volume, old)) = self.old.take()
                    && (volume == self.victim || !self.harmed)
                {
                    self.victim = volume;
                    self.harmed = true;
                    self.replace(old, "an older one");
                }
            }
            4 if end != End::Kill && !self.harmed => {
                self.old = Some((self.victim, self.victim().copy()));
            }
            _ => {}
        }
    }

    fn replace(&mut self, disk: SimulatedDisk, by: &str) {
        self.report
            .count(format!("fault: a volume replaced by {by}"));
        let victim = self.victim;
        self.tell(|| format!("volume {victim} is replaced by {by}"));
        for (fault, times) in self.disks[victim].faults() {
            self.report.add(format!("fault: {fault:?}"), times);
        }
        self.disks[victim] = disk;
    }

    /// Turns bits over while the machine is off, where a start can tell.
    fn damage_at_rest(&mut self) {
        let disk = self.victim().clone();
        let seen = evidence::frames(&disk);
        let files = disk.paths();
        let bit =
            |random: &mut ringtail::log::simulated::Random, bytes: u64| random.below(bytes * 8);
        let frame = self.random.below(seen.len() as u64) as usize;
        let (path, bit) = match self.random.below(8) {
            0 => ("superblock".to_owned(), bit(&mut self.random, 4096)),
            1 | 2 => {
                // A header or a footer.
                let file = self.random.below(files.len() as u64) as usize;
                let Some(path) = files.get(file).filter(|path| is_segment(path)) else {
                    return;
                };
                let bytes = disk.contents(path).map_or(0, |bytes| bytes.len() as u64);
                let behind = (bytes.max(4096) - 4096) * 8 * self.random.below(2);
                (path.clone(), behind + bit(&mut self.random, 4096))
            }
            _ => {
                let Some(frame) = seen.get(frame) else { return };
                let bytes = frame.header.bytes() as u64;
                let at = frame.header.position * 8;
                (frame.path.clone(), at + bit(&mut self.random, bytes))
            }
        };
        disk.flip(&path, bit);
        if !self.is_alone() || evidence::is_proven(&disk) {
            self.tell(|| format!("bit {bit} of {path} turned over"));
            self.report.count("damage at rest");
        } else {
            disk.undo_damage();
        }
    }
}
