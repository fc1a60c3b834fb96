//! The shards as the control core knows them: what each has reported, and questions to them.
//!
//! Core:    the control core's; nothing here crosses threads.
//! Always:  a shard's stage only goes forward. Waiters look again after every report.
//! Cancel:  dropping a question forgets it; the shards' answers to it are then dropped.
//! Full:    a question to a shard whose mailbox is full is not asked; it counts as late.

mod topics;

pub(super) use topics::{Changed, Deletion, NotDeleted};

use super::desk::{Desk, Ticket};
use crate::limit;
use crate::log::report::VolumeReport;
use crate::route::Table;
use crate::rt::mailbox::{Incoming, Outgoing};
use crate::rt::{notify::Notify, timer};
use crate::shard::mail::{Order, Place, Record, Report};
use crate::shard::probe::Snapshot;
use crate::spool::retry::Retried;
use crate::unit::{JournalId, Offset, ShardId, TopicIndex};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::mem;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

const TICKET_WAIT: Duration = Duration::from_millis(limit::TICKET_WAIT_MS);

/// How far a shard has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Starting,
    Opened,
    Serving,
    Drained,
    Failed,
}

/// A shard that could not start or go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("shard {}: {reason}", shard.0)]
pub(super) struct Failure {
    pub(super) shard: ShardId,
    pub(super) reason: String,
}

/// Why a question has no answer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unanswered {
    /// Ask again later.
    #[error("too many questions are open")]
    Busy,
    /// The shards are starting or have ended.
    #[error("the shards do not serve now")]
    Absent,
    #[error("a shard did not answer within {} ms", limit::TICKET_WAIT_MS)]
    Late,
}

/// What became of asking for records.
pub(super) type Records = Result<Vec<Record>, String>;

#[derive(Debug)]
struct Member {
    /// `None` until the shard's executor has its ends of the mailboxes.
    orders: Option<Rc<Outgoing<Order>>>,
    stage: Stage,
    journals: Vec<JournalId>,
    /// Why new events cannot be made durable.
    fault: Option<String>,
}

/// All shards.
pub(super) struct Fleet {
    members: RefCell<Vec<Member>>,
    failure: RefCell<Option<Failure>>,
    /// Brokers and topics.
    cluster: Cell<Option<(u32, usize)>>,
    /// Why no topic can be made, or Kafka takes nothing.
    catalogue_fault: RefCell<Option<String>>,
    draining: Cell<bool>,
    table: RefCell<Arc<Table>>,
    /// Event types that no shard knows a topic for; taken by whoever makes topics.
    wanted: RefCell<Vec<Box<str>>>,
    pub(super) wants: Notify,
    changed: Notify,
    snapshots: Rc<Desk<Box<Snapshot>>>,
    places: Rc<Desk<Vec<Place>>>,
    records: Rc<Desk<Records>>,
    volumes: Rc<Desk<Vec<VolumeReport>>>,
    /// How the catalogue sees the volumes.
    catalogue_volumes: RefCell<Vec<VolumeReport>>,
    /// Topics to be deleted; taken by whoever keeps the catalogue.
    deletions: RefCell<Vec<Deletion>>,
    deleted: Rc<Desk<Result<(), NotDeleted>>>,
    changed_places: Rc<Desk<Changed>>,
    retried: Rc<Desk<Retried>>,
}

impl Fleet {
    pub(super) fn new(shards: usize, table: Arc<Table>) -> Rc<Self> {
        let member = |_| Member {
            orders: None,
            stage: Stage::Starting,
            journals: Vec::new(),
            fault: None,
        };
        Rc::new(Self {
            members: RefCell::new((0..shards).map(member).collect()),
            failure: RefCell::default(),
            cluster: Cell::new(None),
            catalogue_fault: RefCell::default(),
            draining: Cell::new(false),
            table: RefCell::new(table),
            wanted: RefCell::default(),
            wants: Notify::new(),
            changed: Notify::new(),
            snapshots: Desk::new(),
            places: Desk::new(),
            records: Desk::new(),
            volumes: Desk::new(),
            catalogue_volumes: RefCell::default(),
            deletions: RefCell::default(),
            deleted: Desk::new(),
            changed_places: Desk::new(),
            retried: Desk::new(),
        })
    }

    pub(super) fn len(&self) -> usize {
        self.members.borrow().len()
    }

    /// The shard's executor has the other end.
    pub(super) fn connect(&self, shard: ShardId, orders: Outgoing<Order>) {
        self.members.borrow_mut()[shard.0 as usize].orders = Some(Rc::new(orders));
    }

    /// Hears one shard's reports until it is gone.
    pub(super) async fn listen(self: Rc<Self>, shard: ShardId, mut reports: Incoming<Report>) {
        while let Some(report) = reports.recv().await {
            self.hear(report);
        }
        if self.members.borrow()[shard.0 as usize].stage < Stage::Drained {
            self.fail(shard, "it ended without a word".into());
        }
    }

    /// Takes one report.
    pub(super) fn hear(&self, report: Report) {
        match report {
            Report::Opened { shard, journals } => {
                self.member(shard, |member| member.journals = journals);
                self.advance(shard, Stage::Opened);
            }
            Report::Serving { shard } => self.advance(shard, Stage::Serving),
            Report::Drained { shard } => self.advance(shard, Stage::Drained),
            Report::Failed { shard, reason } => self.fail(shard, reason),
            Report::Writable { shard, fault } => self.writable(shard, fault),
            Report::WantTopics { kinds, .. } => {
                self.wanted.borrow_mut().extend(kinds);
                self.wants.wake_all();
            }
            Report::Snapshot { ticket, snapshot } => self.snapshots.settle(ticket, snapshot),
            Report::Places { ticket, places } => self.places.settle(ticket, places),
            Report::Records { ticket, records } => self.records.settle(ticket, records),
            Report::Volumes { ticket, reports } => self.volumes.settle(ticket, reports),
            Report::Changed { ticket, places } => self.changed_places.settle(ticket, places),
            Report::Retried { ticket, retried } => self.retried.settle(ticket, retried),
        }
    }

    fn member<R>(&self, shard: ShardId, act: impl FnOnce(&mut Member) -> R) -> R {
        act(&mut self.members.borrow_mut()[shard.0 as usize])
    }

    fn advance(&self, shard: ShardId, stage: Stage) {
        self.member(shard, |member| member.stage = member.stage.max(stage));
        self.changed.wake_all();
    }

    fn fail(&self, shard: ShardId, reason: String) {
        let failure = Failure { shard, reason };
        tracing::error!("{failure}");
        self.failure.borrow_mut().get_or_insert(failure);
        self.advance(shard, Stage::Failed);
    }

    fn writable(&self, shard: ShardId, fault: Option<String>) {
        if let Some(why) = &fault {
            tracing::error!("shard {} cannot write: {why}", shard.0);
        } else {
            tracing::info!("shard {} can write again", shard.0);
        }
        self.member(shard, |member| member.fault = fault);
    }

    /// Waits until every shard has come to `stage`, or one has failed.
    pub(super) async fn reached(&self, stage: Stage) -> Result<(), Failure> {
        loop {
            let changed = self.changed.wait();
            if let Some(failure) = self.failure.borrow().clone() {
                return Err(failure);
            }
            if self.members.borrow().iter().all(|one| stage <= one.stage) {
                return Ok(());
            }
            changed.await;
        }
    }

    /// Whether every shard has ended in order.
    pub(super) fn all_drained(&self) -> bool {
        let members = self.members.borrow();
        members.iter().all(|one| one.stage == Stage::Drained)
    }

    /// Waits until no shard runs: each has drained or failed.
    pub(super) async fn ended(&self) {
        loop {
            let changed = self.changed.wait();
            let ended = |member: &Member| Stage::Drained <= member.stage;
            if self.members.borrow().iter().all(ended) {
                return;
            }
            changed.await;
        }
    }

    /// Resolves with the first failure, if there ever is one.
    pub(super) async fn failed(&self) -> Failure {
        loop {
            let changed = self.changed.wait();
            if let Some(failure) = self.failure.borrow().clone() {
                return failure;
            }
            changed.await;
        }
    }

    /// Why an event sent now would not be acknowledged; `None` when it would.
    pub(super) fn unready(&self) -> Option<String> {
        if self.draining.get() {
            return Some("draining".into());
        }
        if let Some(failure) = &*self.failure.borrow() {
            return Some(failure.to_string());
        }
        let members = self.members.borrow();
        let serving = members.iter().filter(|one| one.stage == Stage::Serving);
        let serving = serving.count();
        if serving < members.len() {
            return Some(format!(
                "starting: {serving} of {} shards serve",
                members.len()
            ));
        }
        let fault = |(shard, member): (usize, &Member)| {
            let why = member.fault.as_ref()?;
            Some(format!("shard {shard} cannot write: {why}"))
        };
        let faulty = members.iter().enumerate().find_map(fault);
        faulty.or_else(|| self.catalogue_fault.borrow().clone())
    }

    /// The catalogue of topics can be written no more.
    pub(super) fn catalogue_failed(&self, reason: &str) {
        tracing::error!("the catalogue of topics cannot be written: {reason}");
        let fault = format!("the catalogue of topics cannot be written: {reason}");
        self.catalogue_fault.replace(Some(fault));
    }

    /// Why an event sent now would not be acknowledged, whichever shard it came to.
    pub(super) fn tell_fault(&self, fault: Option<String>) {
        self.catalogue_fault.replace(fault);
    }

    /// How many brokers and topics the Kafka cluster has.
    pub(super) fn tell_cluster(&self, brokers: u32, topics: usize) {
        self.cluster.set(Some((brokers, topics)));
    }

    /// Brokers and topics of the Kafka cluster; `None` when there is none, or it has not answered yet.
    pub(super) fn cluster(&self) -> Option<(u32, usize)> {
        self.cluster.get()
    }

    /// From now on the program is about to end.
    pub(super) fn drain(&self) {
        self.draining.set(true);
    }

    /// Sends an order to every shard that is there, waiting for room.
    pub(super) async fn order_all(&self, order: impl Fn() -> Order) {
        for orders in self.present() {
            // A shard that is gone has said why, or will be found out by its mailbox.
            let _gone = orders.send(order()).await;
        }
    }

    fn present(&self) -> Vec<Rc<Outgoing<Order>>> {
        let members = self.members.borrow();
        members
            .iter()
            .filter_map(|one| one.orders.clone())
            .collect()
    }

    /// The shards' journals, for the log's one line each.
    pub(super) fn journals(&self, shard: ShardId) -> Vec<JournalId> {
        self.member(shard, |member| member.journals.clone())
    }

    pub(super) fn table(&self) -> Arc<Table> {
        Arc::clone(&self.table.borrow())
    }

    /// Makes `table` the one that every shard routes by.
    pub(super) async fn publish(&self, table: Arc<Table>) {
        self.table.replace(Arc::clone(&table));
        self.order_all(|| Order::Topics(Arc::clone(&table))).await;
    }

    /// The event types that wait for topics; none are left behind.
    pub(super) fn take_wanted(&self) -> Vec<Box<str>> {
        mem::take(&mut *self.wanted.borrow_mut())
    }

    /// Copies of the shards' numbers, by shard; of those that answer in time.
    pub(super) async fn snapshots(&self) -> Result<Vec<Box<Snapshot>>, Unanswered> {
        let ask = |ticket| Order::Snapshot { ticket };
        let (mut answers, _) = self.ask_all(&self.snapshots, ask).await?;
        answers.sort_by_key(|snapshot| snapshot.shard);
        Ok(answers)
    }

    /// First and next offset of each topic's partitions.
    pub(super) async fn places(
        &self,
    ) -> Result<BTreeMap<(TopicIndex, JournalId), Place>, Unanswered> {
        let ask = |ticket| Order::Places { ticket };
        let (answers, whole) = self.ask_all(&self.places, ask).await?;
        if !whole {
            return Err(Unanswered::Late);
        }
        let places = answers.into_iter().flatten();
        let by_name = places.map(|place| ((place.topic, place.journal), place));
        Ok(by_name.collect())
    }

    /// How every journal sees every volume.
    pub(super) async fn volumes(&self) -> Result<Vec<VolumeReport>, Unanswered> {
        let ask = |ticket| Order::Volumes { ticket };
        let (answers, whole) = self.ask_all(&self.volumes, ask).await?;
        if !whole {
            return Err(Unanswered::Late);
        }
        let mut reports = answers.concat();
        reports.extend(self.catalogue_volumes.borrow().iter().cloned());
        Ok(reports)
    }

    /// How the catalogue sees the volumes from now on.
    pub(super) fn take_catalogue_volumes(&self, reports: Vec<VolumeReport>) {
        self.catalogue_volumes.replace(reports);
    }

    /// Up to `records_max` records of one partition, from `offset` on.
    pub(super) async fn read(
        &self,
        journal: JournalId,
        topic: TopicIndex,
        offset: Offset,
        records_max: u32,
    ) -> Result<Records, Unanswered> {
        let orders = self.keeper(journal).ok_or(Unanswered::Absent)?;
        let ticket = self.records.open(1).ok_or(Unanswered::Busy)?;
        let order = Order::Read {
            ticket: ticket.number(),
            journal,
            topic,
            offset,
            records_max,
        };
        orders.try_send(order).map_err(|_| Unanswered::Late)?;
        let mut answers = wait(ticket).await;
        answers.pop().ok_or(Unanswered::Late)
    }

    /// Whether the store has this journal.
    pub(super) fn has(&self, journal: JournalId) -> bool {
        self.keeper(journal).is_some()
    }

    fn keeper(&self, journal: JournalId) -> Option<Rc<Outgoing<Order>>> {
        let members = self.members.borrow();
        let mut members = members.iter();
        let keeper = members.find(|member| member.journals.contains(&journal));
        keeper.and_then(|member| member.orders.clone())
    }

    /// The answers that came in time, and whether these are all.
    async fn ask_all<T>(
        &self,
        desk: &Rc<Desk<T>>,
        order: impl Fn(u64) -> Order,
    ) -> Result<(Vec<T>, bool), Unanswered> {
        self.ask_patiently(desk, order, TICKET_WAIT).await
    }

    /// The same, for what may take long.
    async fn ask_patiently<T>(
        &self,
        desk: &Rc<Desk<T>>,
        order: impl Fn(u64) -> Order,
        time: Duration,
    ) -> Result<(Vec<T>, bool), Unanswered> {
        let shards = self.present();
        if shards.len() < self.len() {
            return Err(Unanswered::Absent);
        }
        let ticket = desk.open(shards.len()).ok_or(Unanswered::Busy)?;
        for orders in &shards {
            if orders.try_send(order(ticket.number())).is_err() {
                ticket.forgo();
            }
        }
        let answers = wait_for(ticket, time).await;
        let whole = answers.len() == shards.len();
        Ok((answers, whole))
    }
}

async fn wait<T>(ticket: Ticket<T>) -> Vec<T> {
    wait_for(ticket, TICKET_WAIT).await
}

async fn wait_for<T>(mut ticket: Ticket<T>, time: Duration) -> Vec<T> {
    // Late or not, what has come is taken.
    let _in_time = timer::timeout(time, &mut ticket).await;
    ticket.take()
}

#[cfg(test)]
pub(super) mod tests;
