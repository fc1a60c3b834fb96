//! One run: a store's lives between crashes, until enough was done.

use super::absence::absent_volumes;
use super::evidence;
use super::machine::{Machine, Refusal, start};
use super::model::Account;
use super::plan::{CRASHES_MIN, OPERATIONS_MIN, Plan};
use super::report::Report;
use super::sabotage::{Bug, Sabotaged};
use super::weather::Weather;
use ringtail::log::planted::{Planted, plant};
use ringtail::log::simulated::{Behaviour, Executor, Fault, Halt, Random, SimulatedDisk};
use ringtail::unit::{TopicId, TopicIndex};
use std::cell::Cell;
use std::rc::Rc;

/// More polls than any start or any single wait takes.
pub const STEPS_MAX: u64 = 400_000;

/// How to run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// A bug at the seam between the log and its disk, and one within the log.
    pub bug: Option<Bug>,
    pub planted: Option<Planted>,
    /// Tell each start and crash.
    pub crashes: bool,
    /// Tell each operation.
    pub operations: bool,
}

/// A topic that the catalogue was asked for.
#[derive(Clone, Debug)]
pub struct Known {
    pub id: TopicId,
    pub name: String,
    /// The catalogue has said that it is durable.
    pub made: bool,
    /// It was deleted, or the catalogue did not have it after a crash, so it must not come back.
    pub gone: bool,
    pub deletion: Deletion,
}

/// How far the deletion of a topic has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    None,
    /// It may have happened.
    Asked,
    Answered,
}

/// How a life ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The power went.
    Crash,
    /// The process was killed.
    Kill,
    /// It was stopped, and then the power went.
    Stop,
}

/// The state of one run.
#[derive(Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are facts of their own, and each is true beside any of the others"
)]
pub struct Run {
    pub options: Options,
    pub random: Random,
    pub plan: Plan,
    /// The volumes, in the order of the configuration.
    pub disks: Vec<SimulatedDisk>,
    /// The only volume that may be harmed now; all others are sound and in service.
    pub victim: usize,
    /// The victim has been harmed and is not yet what it should be again.
    pub harmed: bool,
    /// The volumes that the next start is told of.
    pub configured: Vec<usize>,
    /// An older state of a volume.
    pub old: Option<(usize, SimulatedDisk)>,
    pub accounts: Vec<Account>,
    pub topics: Vec<Known>,
    pub report: Report,
    pub time: Rc<Cell<u64>>,
    pub requests: u32,
    pub operations: u64,
    pub crashes: u64,
    pub store_id: u128,
    /// Faults that fired before this life.
    pub faults_before: u64,
    /// There is or was damage in this life.
    pub damaged: bool,
    /// That damage lies where records may be.
    pub records_damaged: bool,
    pub failed: Vec<bool>,
    /// The last crash has left frames behind one that is not there.
    pub reordered: bool,
    /// The next start meets no faults, and all volumes.
    pub peace: bool,
    /// Rules were in use under which no volume may be absent without an operator's word.
    pub strict: bool,
    /// The volume that a crash has left with frames that no other has.
    pub ahead: Option<usize>,
    /// One is left out of the configuration with such frames, and they go on elsewhere with others.
    pub apart: bool,
    /// Numbers of volumes that the operator goes on without at the next start.
    pub without: Vec<u32>,
}

/// A store at work.
pub struct Live {
    pub executor: Executor,
    pub machine: Machine,
    /// For each row of the table, the topic's number in the accounts.
    pub rows: Vec<usize>,
}

/// Runs one seed to its end; `Err` tells the promise that was broken.
pub fn run(seed: u64, options: Options) -> Result<Report, String> {
    Ok(run_and_keep(seed, options)?.report)
}

/// As [`run`]; with the disks that are left.
pub fn run_and_keep(seed: u64, options: Options) -> Result<Run, String> {
    plant(options.planted);
    let mut run = Run::new(seed, options);
    while run.operations < OPERATIONS_MIN || run.crashes < CRASHES_MIN {
        let live = run.boot()?;
        run.live(live)?;
    }
    run.end()?;
    run.finish();
    Ok(run)
}

impl Run {
    fn new(seed: u64, options: Options) -> Self {
        let mut random = Random::new(seed);
        let plan = Plan::draw(&mut random);
        let store_id = u128::from(random.draw()) | 1;
        Self {
            options,
            plan,
            disks: (0..plan.volumes)
                .map(|_| SimulatedDisk::new(random.draw(), Behaviour::default()))
                .collect(),
            victim: 0,
            harmed: false,
            configured: (0..plan.volumes).collect(),
            old: None,
            accounts: vec![Account::default(); plan.journals as usize],
            topics: Vec::new(),
            report: Report::default(),
            time: Rc::new(Cell::new(1_700_000_000_000_000)),
            requests: 0,
            operations: 0,
            crashes: 0,
            store_id,
            random,
            faults_before: 0,
            damaged: false,
            records_damaged: false,
            failed: vec![false; plan.journals as usize],
            reordered: false,
            peace: false,
            strict: plan.volumes_min == 1,
            ahead: None,
            apart: false,
            without: Vec::new(),
        }
    }

    /// The store starts once more and is stopped; then those read it that need no running store.
    fn end(&mut self) -> Result<(), String> {
        let left = self.read_leftover()?;
        self.peace = left.is_some();
        let mut live = self.boot()?;
        if let Some(left) = left {
            let shown = self.compare_reading(&live.machine, &left, true);
            shown.map_err(|why| format!("cat before the start: {why}"))?;
        }
        self.stop(&mut live)?;
        self.note_lows(&live);
        let whole = live.machine.is_whole(self.disks.len());
        self.read_stopped(&live.machine, whole)
    }

    /// Between the start and now retention may have gone on.
    fn note_lows(&mut self, live: &Live) {
        for (journal, account) in live.machine.journals.iter().zip(&mut self.accounts) {
            for (row, number) in live.rows.iter().enumerate() {
                let extent = journal.extent(TopicIndex(row as u32));
                account.topic(*number).low = extent.low.0;
            }
        }
    }

    pub fn tell(&self, text: impl FnOnce() -> String) {
        if self.options.crashes {
            println!("[{:>5}] {}", self.operations, text());
        }
    }

    pub fn tell_operation(&self, text: impl FnOnce() -> String) {
        if self.options.operations {
            println!("[{:>5}]   {}", self.operations, text());
        }
    }

    /// The disk without faults, as fast as the plan says.
    pub fn calm(&self) -> Behaviour {
        self.plan.calm()
    }

    /// Storage faults that an operation may answer for, since this life began.
    pub fn faults(&self) -> u64 {
        self.faults_ever() - self.faults_before
    }

    fn faults_ever(&self) -> u64 {
        let of = |disk: &SimulatedDisk| -> u64 {
            let faults = disk.faults();
            let answered = faults.iter().filter(|(fault, _)| is_answered(**fault));
            answered.map(|(_, times)| times).sum()
        };
        self.disks.iter().map(of).sum()
    }

    pub fn is_alone(&self) -> bool {
        self.disks.len() == 1
    }

    /// No volume may be out of service under the rules in use.
    pub fn needs_all(&self) -> bool {
        let volumes = self.disks.len();
        1 < volumes && self.plan.volumes_min as usize == volumes
    }

    pub fn is_sound(&self) -> bool {
        self.disks.iter().all(|disk| disk.damaged().is_empty())
    }

    pub fn victim(&self) -> &SimulatedDisk {
        &self.disks[self.victim]
    }

    /// The disk of the victim behaves so, the others as the plan says.
    pub fn set_behaviour(&self, behaviour: Behaviour) {
        for disk in &self.disks {
            disk.set_behaviour(self.calm());
        }
        self.victim().set_behaviour(behaviour);
    }

    /// Starts the store, as often as it takes, and checks what it holds.
    pub fn boot(&mut self) -> Result<Live, String> {
        for attempt in 0..12 {
            self.faults_before = self.faults_ever();
            self.damaged = !self.victim().damaged().is_empty();
            self.records_damaged = self.is_alone() && evidence::hits_frames(self.victim());
            self.plan.edit(&mut self.random);
            self.failed.fill(false);
            // A new store on several volumes begins in peace.
            let begins = 1 < self.disks.len() && self.operations == 0;
            let quiet = !self.is_alone() && !self.harmed && !self.topics.is_empty();
            if quiet && self.random.one_in(4) {
                self.plan.edit_rules(&mut self.random);
                self.strict |= self.plan.volumes_min == 1;
                self.report.count("operation: other rules for volumes");
                self.configured = (0..self.disks.len()).collect();
            } else {
                self.choose_configured(attempt);
            }
            let all = self.configured.len() == self.disks.len();
            let weather = if attempt < 3 && !begins && all && !self.peace {
                let victim = self.victim().clone();
                Weather::of_a_start(&mut self.random, &self.plan, &victim)
            } else {
                Weather::calm(&self.plan)
            };
            self.set_behaviour(weather.behaviour);
            if let Some(live) = self.try_start(weather.steps)? {
                return Ok(live);
            }
        }
        Err("the store does not start on a disk without faults".to_owned())
    }

    fn places(&self) -> Vec<(Rc<str>, Sabotaged)> {
        let place = |volume: &usize| {
            let disk = Sabotaged::new(self.disks[*volume].clone(), self.options.bug);
            (Rc::from(format!("/v{volume}")), disk)
        };
        self.configured.iter().map(place).collect()
    }

    fn try_start(&mut self, steps: Option<u64>) -> Result<Option<Live>, String> {
        let mut executor = Executor::new(self.random.draw());
        let starting = start(
            self.places(),
            self.plan,
            self.store_id,
            Rc::clone(&self.time),
            std::mem::take(&mut self.without),
        );
        match executor.wait_at_most(steps.unwrap_or(STEPS_MAX), starting) {
            Ok(Ok((machine, tasks))) => {
                self.set_behaviour(self.calm());
                tasks.spawn(&mut executor, &machine);
                for note in machine.news.notes.borrow().iter() {
                    self.tell(|| note.clone());
                }
                if !machine.is_whole(self.disks.len()) {
                    self.harmed = true;
                    self.tell(|| format!("started without a volume{}", machine.standing()));
                    self.report.count("recovery: started without a volume");
                }
                let rows = Vec::new();
                let mut live = Live {
                    executor,
                    machine,
                    rows,
                };
                self.check_start(&mut live)?;
                let damaged = if self.damaged { " with damage" } else { "" };
                self.report.count(format!("recovery: started{damaged}"));
                Ok(Some(live))
            }
            Ok(Err(refusal)) => {
                drop(executor);
                self.judge_refusal(&refusal)?;
                Ok(None)
            }
            Err(Halt::Steps) if steps.is_some() => {
                drop(executor);
                self.report.count("recovery: crash during the start");
                self.tell(|| "crash during the start".to_owned());
                self.power_off(End::Crash);
                Ok(None)
            }
            Err(halt) => Err(format!("the start does not come to an end: {halt}")),
        }
    }

    /// A start that stops must have a reason, and name it.
    fn judge_refusal(&mut self, refusal: &Refusal) -> Result<(), String> {
        self.tell(|| format!("start stopped: {refusal}"));
        let kind = refusal.kind();
        self.report.count(format!("recovery: stopped, {kind}"));
        if kind == "disk" {
            if self.faults() == 0 {
                return Err(format!("the start stops without a fault: {refusal}"));
            }
            let end = if self.random.one_in(2) {
                End::Kill
            } else {
                End::Crash
            };
            self.power_off(end);
            return Ok(());
        }
        let is_absent = refusal.to_string().contains("may have lost its newest");
        if self.configured.len() < self.disks.len() {
            if is_absent && self.apart {
                self.without = absent_volumes(&refusal.to_string());
                self.report
                    .count("recovery: went on apart, as the operator said");
            }
            self.power_off(End::Crash);
            return Ok(());
        }
        let hurt = self.harmed || 0 < self.faults();
        if is_absent && !self.is_alone() && self.strict && hurt {
            if self.harmed {
                self.without = absent_volumes(&refusal.to_string());
                self.report.count("recovery: excused an absent volume");
            }
            self.power_off(End::Crash);
            return Ok(());
        }
        let damaged = self.victim().damaged();
        if !self.is_alone() || damaged.is_empty() {
            return Err(format!("the start stops without a reason: {refusal}"));
        }
        let text = refusal.to_string();
        let named = |(path, position): &(String, u64)| *position == 0 || text.contains(path);
        if kind != "missing segment" && !damaged.iter().any(named) {
            return Err(format!(
                "damage is at {damaged:?}, the start names another: {text}"
            ));
        }
        self.power_off(End::Crash);
        self.victim().undo_damage();
        Ok(())
    }

    /// The machine is off afterwards, and the disk is as it would be found.
    pub fn power_off(&mut self, end: End) {
        let kill = end == End::Kill && self.victim().damaged().is_empty();
        self.report.count(if kill { "kill" } else { "crash" });
        self.crashes += u64::from(!kill);
        let reordered = self.reorderings();
        let is_unfinished = |path: &String| path.ends_with(".sorted");
        let mut disks = self.disks.iter();
        if disks.any(|disk| disk.paths().iter().any(is_unfinished)) {
            self.report
                .count("recovery: crash while a segment was rewritten");
        }
        for disk in &mut self.disks {
            *disk = if kill {
                disk.kill(&mut self.random)
            } else {
                disk.crash(&mut self.random)
            };
        }
        self.reordered |= reordered < self.reorderings();
        self.ahead = evidence::ahead(&self.disks);
        let damaged = !self.victim().damaged().is_empty();
        if self.is_alone() && damaged && !evidence::is_proven(self.victim()) {
            self.report.count("damage that nothing proves, mended");
            self.victim().undo_damage();
        }
    }

    fn reorderings(&self) -> u64 {
        let of = |disk: &SimulatedDisk| disk.faults().get(&Fault::ReorderedInCrash).copied();
        self.disks.iter().filter_map(of).sum()
    }

    fn finish(&mut self) {
        let mut digest = 0u64;
        for disk in &self.disks {
            for (fault, times) in disk.faults() {
                self.report.add(format!("fault: {fault:?}"), times);
            }
            for path in disk.paths() {
                let contents = disk.contents(&path).unwrap_or_default();
                let checksum = ringtail::log::format::checksum::crc64(&contents);
                digest = digest.rotate_left(1) ^ checksum;
            }
        }
        self.report.add("operations", self.operations);
        self.report.digest = digest ^ self.random.draw();
    }
}

/// Whether an operation hears of it.
fn is_answered(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::Error(_) | Fault::NoSpace(_) | Fault::ShortRead
    )
}
