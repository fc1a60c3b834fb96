//! Clients and operators: what they ask of a running store, and what they hear.

use super::machine::Machine;
use super::model::Value;
use super::run::{Deletion, Known, Run};
use super::weather::Weather;
use ringtail::log::format::origin::{Door, OriginRow};
use ringtail::log::journal::{AppendError, ReadError, Request, RoutedEvent, Step};
use ringtail::log::simulated::{Executor, pause};
use ringtail::unit::{Micros, Offset, TopicId, TopicIndex};
use std::sync::Arc;

/// Polls after which a request that finds no room is stuck.
const PATIENCE: u64 = 50_000;

/// A request is received by a clock that may be so far ahead of the journal's, less up to the second number.
const RECEIVED_EARLY_US: u64 = 2_000_000;
const RECEIVED_LATE_US: u64 = 3_000_000;

/// Who uses the store.
pub struct Client<'a> {
    pub run: &'a mut Run,
    pub machine: &'a mut Machine,
    pub rows: &'a mut Vec<usize>,
}

/// A request: what each record is to be, the bytes of all, and where each lies.
type Composed = (Vec<(usize, Value)>, Vec<u8>, Vec<RoutedEvent>);

impl Client<'_> {
    pub async fn work(&mut self, operations: u64) -> Result<(), String> {
        let change_at = self.run.random.below(operations);
        let mut until = u64::MAX;
        if self.run.topics.iter().all(|topic| topic.gone) {
            self.make_topic().await?;
        }
        for number in 0..operations {
            if self.is_short() {
                // What was refused for too few volumes may come to be there later: the next start tells.
                break;
            }
            if number == change_at {
                let victim = self.run.victim().clone();
                let weather = Weather::of_a_life(&mut self.run.random, &self.run.plan, &victim);
                self.run.harmed |= victim.damaged().is_empty();
                self.run.set_behaviour(weather.behaviour);
                self.run.tell(|| format!("{:?}", weather.behaviour));
                if self.run.plan.polls_max < weather.behaviour.polls_max {
                    self.run.report.count("fault: a slow disk");
                }
                let fills = weather.behaviour.capacity.is_some();
                let for_good = fills && self.run.random.one_in(4);
                until = if for_good {
                    u64::MAX
                } else {
                    number + 10 + self.run.random.below(if fills { 160 } else { 60 })
                };
            }
            if number == until {
                self.run.set_behaviour(self.run.calm());
            }
            self.run.operations += 1;
            self.hear()?;
            self.operate().await?;
        }
        Ok(())
    }

    async fn operate(&mut self) -> Result<(), String> {
        let journal = self.run.random.below(self.machine.journals.len() as u64) as usize;
        if self.run.random.one_in(3) {
            // Others may go first; else requests come in a burst.
            pause(self.run.random.below(24)).await;
        }
        match self.run.random.below(100) {
            0..60 => self.append(journal).await,
            60..80 => self.read(journal).await,
            80..84 => self.make_topic().await,
            84..92 => {
                self.tick();
                Ok(())
            }
            92 => self.branch(),
            93 | 94 => self.truncate(journal).await,
            95 => self.delete_topic().await,
            _ => {
                pause(self.run.random.below(80)).await;
                self.run.report.count("operation: pause");
                Ok(())
            }
        }
    }

    /// Hears what the journals told of their commits, as a shard does.
    pub fn hear(&mut self) -> Result<(), String> {
        let steps = std::mem::take(&mut *self.machine.news.steps.borrow_mut());
        for (journal, step) in steps {
            self.run
                .tell_operation(|| format!("journal {journal}: {step:?}"));
            let account = &mut self.run.accounts[journal];
            match step {
                Step::Durable(upto) => {
                    let acknowledged = account.acknowledge(upto);
                    let report = &mut self.run.report;
                    report.add("operation: acknowledged requests", acknowledged);
                }
                Step::Discarded { upto, reason } => {
                    account.refuse(upto);
                    self.machine.news.short.set(true);
                    self.run
                        .report
                        .count("recovery: full, discarded and refused");
                    self.must_have_reason(&reason)?;
                }
                Step::Failed(reason) => {
                    account.refuse(ringtail::unit::Ticket(u64::MAX));
                    self.run.failed[journal] = true;
                    self.run
                        .report
                        .count("recovery: journal failed and refused");
                    self.must_have_reason(&reason)?;
                }
                Step::Stopped => self.run.failed[journal] = true,
            }
        }
        Ok(())
    }

    /// Requests were refused in this life because too few volumes were in service.
    pub fn is_short(&self) -> bool {
        !self.run.is_alone() && self.machine.news.short.get()
    }

    fn is_damaged(&self) -> bool {
        self.run.damaged || !self.run.victim().damaged().is_empty()
    }

    pub fn must_have_reason(&mut self, reason: &str) -> Result<(), String> {
        let all = self.run.configured.len() == self.run.disks.len();
        let fault = self.run.is_alone() && 0 < self.run.faults();
        let hurt = self.run.harmed || 0 < self.run.faults();
        if self.run.needs_all() && hurt && reason.contains("volumes") {
            self.run.report.count("recovery: refused, too few volumes");
            return Ok(());
        }
        if !fault && all && !(self.run.is_alone() && self.is_damaged()) {
            let stand = self.machine.standing();
            return Err(format!(
                "events are refused without a fault: {reason}{stand}"
            ));
        }
        Ok(())
    }

    /// Rows of the table whose topics are there.
    fn living_rows(&self) -> Vec<usize> {
        let lives = |row: &usize| !self.run.topics[self.rows[*row]].gone;
        (0..self.rows.len()).filter(lives).collect()
    }

    /// One of them.
    pub fn choose_row(&mut self) -> Option<usize> {
        let living = self.living_rows();
        let chosen = self.run.random.below(living.len() as u64) as usize;
        living.get(chosen).copied()
    }

    async fn append(&mut self, journal: usize) -> Result<(), String> {
        let Some((events, source, routed)) = self.compose() else {
            return Ok(());
        };
        self.run.report.count("operation: append");
        let origin = OriginRow {
            door: Door::WebSocket,
            received: Micros(5),
            sent: None,
            conn_id: b"phone",
            conn_group: b"group",
            guid: b"guid",
        };
        let request = Request {
            source: &source,
            events: &routed,
            origin: Some(origin),
            kinds: &[],
        };
        for _ in 0..PATIENCE {
            let back = self.run.random.below(RECEIVED_LATE_US);
            let now = Micros(self.run.time.get() + RECEIVED_EARLY_US - back);
            match self.machine.journals[journal].append(now, &request) {
                Ok(ticket) => {
                    self.run.tell_operation(|| {
                        format!("journal {journal} takes {ticket:?}: {events:?}")
                    });
                    self.run.accounts[journal].take(ticket, events);
                    return Ok(());
                }
                Err(AppendError::Full) => pause(1).await,
                Err(AppendError::Refused(reason)) => {
                    self.run.report.count("operation: append refused");
                    return self.must_have_reason(&reason);
                }
                Err(error @ AppendError::TooLarge { .. }) => return Err(error.to_string()),
            }
            self.machine.journals[journal].end_wait();
            self.machine.journals[journal].try_again();
            self.hear()?;
        }
        Err(format!("journal {journal} has no room for ever"))
    }

    fn compose(&mut self) -> Option<Composed> {
        let living = self.living_rows();
        if living.is_empty() {
            return None;
        }
        let run = &mut *self.run;
        run.requests += 1;
        let count = 1 + run.random.below(6);
        let large = run.random.one_in(12);
        let (mut events, mut source, mut routed) = (Vec::new(), Vec::new(), Vec::new());
        let choose = |run: &mut Run| living[run.random.below(living.len() as u64) as usize];
        let home = choose(run);
        let received = run.time.get() + RECEIVED_EARLY_US - RECEIVED_LATE_US;
        let stays = run.random.one_in(3);
        for index in 0..count {
            let row = choose(run);
            let row = if stays { home } else { row };
            let most = if large { 4_000 } else { run.plan.event_bytes };
            let value = Value {
                request: run.requests,
                index: index as u32,
                bytes: run.random.below(most) as u32,
                received_ms: Micros(received).millis(),
            };
            let contents = value.contents();
            routed.push(RoutedEvent {
                topic: TopicIndex(row as u32),
                start: source.len() as u32,
                bytes: contents.len() as u32,
            });
            source.extend_from_slice(&contents);
            events.push((self.rows[row], value));
        }
        Some((events, source, routed))
    }

    async fn read(&mut self, journal: usize) -> Result<(), String> {
        let Some(row) = self.choose_row() else {
            return Ok(());
        };
        let topic = TopicIndex(row as u32);
        let reader = self.machine.journals[journal].clone();
        let before = reader.extent(topic);
        let offset = before.low.0 + self.run.random.below(before.next.0 - before.low.0 + 1);
        let most = 1 + self.run.random.below(40) as usize;
        let read = reader.read(topic, Offset(offset), most, 1 << 16).await;
        self.hear()?;
        if self.is_short() {
            return Ok(());
        }
        if let Some(durable) = reader.durable() {
            self.run.accounts[journal].acknowledge(durable);
        }
        self.run.report.count("operation: read");
        let place = format!("topic {} of journal {journal}", self.rows[row]);
        match read {
            Ok(records) => {
                if records.is_empty() && offset < before.next.0 {
                    return Err(format!("{place}: nothing is read at {offset}"));
                }
                let known = self.run.accounts[journal].topic(self.rows[row]);
                for (record, at) in records.iter().zip(offset..) {
                    if record.offset.0 != at {
                        return Err(format!("{place}: {at} is missing in a read"));
                    }
                    let same = known.compare(record);
                    same.map_err(|why| format!("{place}: {why}"))?;
                }
                Ok(())
            }
            Err(ReadError::Gone { low }) => {
                if low.0 <= offset {
                    return Err(format!("{place}: {offset} is gone, below {}", low.0));
                }
                self.run.report.count("operation: read of what is gone");
                let number = self.rows[row];
                self.run.must_be_let_go(journal, number, low.0)
            }
            Err(error) => self
                .judge_read((journal, row), &error)
                .map_err(|why| format!("at {offset}: {why}")),
        }
    }

    /// Whether a read may fail so.
    pub fn judge_read(
        &mut self,
        (journal, row): (usize, usize),
        error: &ReadError,
    ) -> Result<(), String> {
        match error {
            ReadError::Damaged(_)
                if self.run.records_damaged
                    || (self.run.is_alone() && super::evidence::hits_frames(self.run.victim())) =>
            {
                self.run.report.count("recovery: damaged batch not served");
                Ok(())
            }
            ReadError::Disk(_) if self.run.is_alone() && 0 < self.run.faults() => {
                self.run.report.count("recovery: read failed");
                Ok(())
            }
            _ => {
                let topic = self.rows[row];
                Err(format!(
                    "topic {topic} of journal {journal} cannot be read: {error}"
                ))
            }
        }
    }

    async fn make_topic(&mut self) -> Result<(), String> {
        let number = self.run.topics.len();
        let living = self.run.topics.iter().filter(|known| !known.gone).count();
        if 12 <= living || 40 <= number || self.machine.news.catalogue_failed.get() {
            return Ok(());
        }
        let id = TopicId(u128::from(self.run.random.draw()));
        let again = self.run.random.one_in(2);
        let again = again.then(|| self.run.forgotten_name()).flatten();
        let new = || format!("topic-{}-{number}", self.run.random.below(1000));
        let name = again.unwrap_or_else(new);
        self.run.topics.push(Known {
            id,
            name: name.clone(),
            made: false,
            gone: false,
            deletion: Deletion::None,
        });
        let named = (id, Arc::from(name));
        self.run.report.count("operation: make a topic");
        let catalogue = self.machine.catalogue.journal().clone();
        let made = catalogue.define(std::slice::from_ref(&named));
        let Some(made) = self.have_patience(made).await? else {
            return Ok(());
        };
        match made {
            Ok(()) => {
                self.run.topics[number].made = true;
                for journal in &self.machine.journals {
                    let table = self.machine.topics.iter().chain([&named]);
                    journal.learn(table.cloned());
                }
                self.machine.topics.push(named);
                self.rows.push(number);
                Ok(())
            }
            Err(error) => {
                self.run.report.count("recovery: topic refused");
                self.must_have_reason(&error.to_string())
            }
        }
    }

    /// Looks at a copy of the disk as a crash just now would leave it: an older state of this volume.
    pub fn branch(&mut self) -> Result<(), String> {
        if self.is_damaged() || 1 < self.run.disks.len() && self.run.harmed {
            return Ok(());
        }
        self.hear()?;
        for (journal, account) in self.machine.journals.iter().zip(&mut self.run.accounts) {
            if let Some(durable) = journal.durable() {
                account.acknowledge(durable);
            }
        }
        let mut branch = self.run.clone();
        for disk in &mut branch.disks {
            *disk = disk.copy_after_crash(&mut self.run.random);
        }
        self.run
            .tell(|| "a copy of the disks is started".to_owned());
        branch.ahead = None;
        branch.random = ringtail::log::simulated::Random::new(self.run.random.draw());
        branch.time = std::rc::Rc::new(std::cell::Cell::new(self.run.time.get()));
        let started = branch.boot();
        started.map_err(|why| format!("an older state of the volume: {why}"))?;
        self.run
            .report
            .count("recovery: started on an older state of the volume");
        Ok(())
    }

    pub fn note_sizes(&mut self) {
        for journal in &self.machine.journals {
            let recycled = journal.size().recycled;
            let scrubbed = journal.scrubbed();
            let report = &mut self.run.report;
            report.add("recovery: pieces repaired by a scrub", scrubbed.repaired);
            report.add("recovery: segments recycled", recycled);
            let rewritten = journal.size().tidied.repacked;
            report.add("recovery: segments rewritten", rewritten);
        }
        let news = &self.machine.news;
        let report = &mut self.run.report;
        report.add("recovery: volumes rebuilt", news.rebuilt.get());
        report.add("recovery: rebuilds that failed", news.rebuild_failed.get());
        report.add("recovery: scrubs", news.scrubbed.get());
        report.add(
            "recovery: repairs at a start",
            news.notes.borrow().len() as u64,
        );
    }

    /// Stops the store as an operator does; everything is answered then.
    pub fn stop(&mut self, executor: &mut Executor) -> Result<(), String> {
        self.run.set_behaviour(self.run.calm());
        self.machine.news.stopping.set(true);
        self.machine.catalogue.stop();
        for journal in &self.machine.journals {
            journal.stop();
        }
        executor.settle();
        self.hear()?;
        // What drives volumes that lag ends with its mirror.
        let tenders = self.machine.journals.len() + 1;
        if tenders < executor.running() {
            return Err("a task goes on after the stop".to_owned());
        }
        for (journal, account) in self.run.accounts.iter().enumerate() {
            let unanswered = account.unanswered();
            if 0 < unanswered {
                return Err(format!(
                    "journal {journal} was stopped with {unanswered} unanswered"
                ));
            }
        }
        self.run.report.count("recovery: stopped and started");
        Ok(())
    }
}
