//! A shard from its start to its end.

use super::Settings;
use super::background::Background;
use super::claims::{Claims, NameKeys, Terms};
use super::clock::{Clock as _, MachineClock};
use super::deliver;
use super::destination::Destination;
use super::forward::{self, Lanes, open_all, spawn_in};
use super::intake::{Core, Shard};
use super::mail::{Order, Report};
use super::open::{Opened, journal_settings, open};
use super::peers::Ends;
use super::twin::Neighbour;
use super::volumes::{self, Disk, LastScrub, Volumes};
use crate::limit;
use crate::log::format::StoreId;
use crate::log::journal::{Committer, Journal, Step};
use crate::net::Doors;
use crate::route::Table;
use crate::rt;
use crate::rt::executor::spawn_local;
use crate::rt::mailbox::{Incoming, Outgoing, Receiver, Sender};
use crate::rt::stream::any_address;
use crate::rt::timer::Interval;
use crate::rt::wake::Bell;
use crate::unit::{JournalId, ShardId, Ticket};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

const TICK: Duration = Duration::from_millis(100);
/// A full disk is tried again this often, in ticks.
const TICKS_TO_TRY_AGAIN: u32 = 30;
/// Ages and dead space are looked at this often, in ticks.
const TICKS_TO_TIDY: u32 = 10;

/// What a shard is given at its start.
pub struct Start {
    pub shard: ShardId,
    /// How many there are in all.
    pub shards: u32,
    /// The ways to the others, where requests are known again across connections.
    pub neighbours: Vec<Neighbour>,
    pub cpu: Option<usize>,
    pub settings: Settings,
    pub store: StoreId,
    pub volumes: Volumes,
    /// The journals it serves; the first is the one it writes to.
    pub journals: Vec<JournalId>,
    /// How many journals the store has in all: they share the retention.
    pub journals_in_store: u32,
    /// Where librdkafka's threads run.
    pub kafka_cpus: Vec<usize>,
    pub table: Arc<Table>,
    pub orders: Receiver<Order>,
    pub reports: Sender<Report>,
    /// The ways to the other shards, and the keys that all of them name connections by.
    pub peers: Ends,
    pub name_keys: NameKeys,
}

/// Runs a shard until it is told to drain, or cannot go on. To be run on an executor of its own.
pub async fn run(start: Start) {
    let Start {
        shard,
        shards,
        neighbours,
        cpu,
        settings,
        store,
        volumes,
        journals,
        journals_in_store,
        kafka_cpus,
        table,
        orders,
        reports,
        peers,
        name_keys,
    } = start;
    let claims = Claims::new(&Terms {
        shard,
        shards: shards as usize,
        connections_max: settings.connections_max,
        on_duplicate: settings.on_duplicate,
        keys: name_keys,
    });
    let (mut orders, reports) =
        futures_util::future::join(orders.connect(), reports.connect()).await;
    claims.connect(peers).await;
    let clock = Rc::new(MachineClock::start());
    let mut opened = Vec::new();
    for (index, journal) in journals.iter().enumerate() {
        let is_first = index == 0;
        let log = journal_settings(&settings, store, *journal, journals_in_store, is_first);
        match open(&settings, log, &volumes, &table, &clock).await {
            Ok(journal) => opened.push(journal.paced(&settings, journals_in_store)),
            Err(reason) => return fail(&reports, shard, reason).await,
        }
    }
    let (destination, bell) = match Destination::find(&settings, &kafka_cpus, &opened) {
        Ok(found) => found,
        Err(reason) => return fail(&reports, shard, reason).await,
    };
    let to = (destination, table);
    let core = Rc::new(Core::new((shard, shards), settings, clock, to, claims));
    core.meet(neighbours);
    let spool = core.settings.spool.as_ref();
    let lanes = spool.map_or_else(Lanes::default, |spool| Lanes::new(spool.order, spool.share));
    let of_kafka = (&kafka_cpus[..], journals_in_store);
    let forwarders = match open_all(&core, &opened, lanes, of_kafka) {
        Ok(forwarders) => forwarders,
        Err(reason) => return fail(&reports, shard, reason).await,
    };
    for forwarder in &forwarders {
        forwarder.known().await;
    }
    let life = Life {
        core,
        cpu,
        forwarders,
        lanes,
        journals: opened.iter().map(Kept::of).collect(),
        background: Background::default(),
        journals_in_store,
        failed: Cell::new(false),
    };
    let _ = reports.send(Report::Opened { shard, journals }).await;
    Rc::new(life)
        .serve(opened, bell, &mut orders, Rc::new(reports))
        .await;
}

async fn fail(reports: &Outgoing<Report>, shard: ShardId, reason: String) {
    let _ = reports.send(Report::Failed { shard, reason }).await;
}

/// A shard that has its journals open.
pub(super) struct Life {
    pub(super) core: Rc<Core>,
    pub(super) cpu: Option<usize>,
    pub(super) journals: Vec<Kept>,
    /// One for each journal, or none.
    pub(super) forwarders: Vec<forward::Way>,
    lanes: Lanes,
    background: Background,
    /// They share the rate at which space is given back.
    journals_in_store: u32,
    /// The control core was told that events cannot be made durable.
    failed: Cell<bool>,
}

/// One journal of the shard.
pub(super) struct Kept {
    pub(super) id: JournalId,
    pub(super) journal: Journal<Disk>,
    mirror: Disk,
    /// Folders that cannot be used, with the reason.
    pub(super) unusable: Vec<(String, String)>,
    pub(super) last_scrub: LastScrub,
}

impl Kept {
    fn of(opened: &Opened) -> Self {
        Self {
            id: opened.id,
            journal: opened.journal.clone(),
            mirror: opened.mirror.clone(),
            unusable: opened.unusable.clone(),
            last_scrub: LastScrub::default(),
        }
    }
}

impl Life {
    async fn serve(
        self: Rc<Self>,
        opened: Vec<Opened>,
        bell: Option<Bell>,
        orders: &mut Incoming<Order>,
        reports: Rc<Outgoing<Report>>,
    ) {
        // All of them end when their journal has stopped or failed, and the executor waits for that: a call to
        // the file system that is under way must find it alive.
        let mut writers = Vec::new();
        for (index, opened) in opened.into_iter().enumerate() {
            let life = self.clone();
            writers.push(spawn_local(life.commit(opened.committer, index)));
            let mut preparer = opened.preparer;
            writers.push(spawn_local(async move { preparer.run().await }));
            spawn_local(opened.tender.run()).detach();
            let (id, journal, settings) = (opened.id, opened.journal, self.core.settings.clone());
            let to_rebuild = opened.to_rebuild;
            let last_scrub = self.journals[index].last_scrub.clone();
            self.tidy_in_background(&journal);
            self.background.start(|rest| async move {
                for member in to_rebuild {
                    volumes::fill(id, &journal, member, &settings, &rest).await;
                }
                volumes::scrub(id, &journal, &settings, &last_scrub, &rest).await;
            });
        }
        if let Some(bell) = bell {
            spawn_local(deliver::hear(self.core.clone(), bell)).detach();
        }
        spawn_local(self.clone().post_letters(reports.clone())).detach();
        spawn_local(self.clone().tick()).detach();
        if 0 < self.core.settings.log.commit_wait_us {
            spawn_local(self.clone().end_waits()).detach();
        }
        let doors = RefCell::new(None);
        while let Some(order) = orders.recv().await {
            if matches!(order, Order::Drain) {
                break;
            }
            if matches!(order, Order::Serve) {
                self.begin_to_serve(&doors).await;
            }
            self.obey(order);
        }
        let open_doors = doors.borrow_mut().take();
        if let Some(open_doors) = open_doors {
            let settings = &self.core.settings;
            open_doors
                .drain(settings.drain_window, settings.drain_grace)
                .await;
        }
        if let Destination::Kafka(delivery) = &self.core.destination {
            deliver::end(&self.core, delivery).await;
        }
        for forwarder in &self.forwarders {
            forwarder.stop().await;
        }
        // Some of the work waits for commits, which a full disk lets through or refuses only at the end.
        let at_rest = self.background.stop();
        let stop_all = async {
            for kept in &self.journals {
                kept.journal.stop();
            }
        };
        futures_util::future::join(at_rest, stop_all).await;
        for writer in writers {
            writer.await;
        }
        let shard = self.core.id;
        let _ = reports.send(Report::Drained { shard }).await;
    }

    fn tidy_in_background(&self, journal: &Journal<Disk>) {
        let rate = self.core.settings.log.repack_bytes_per_second;
        let rate = rate / u64::from(self.journals_in_store.max(1));
        let journal = journal.clone();
        self.background.start(|rest| async move {
            let mut tidier = journal.tidier(rest.pace(rate));
            tidier.run().await;
        });
    }

    fn obey(self: &Rc<Self>, order: Order) {
        match order {
            Order::Topics(table) => {
                let names = || {
                    table
                        .topics()
                        .iter()
                        .map(|topic| (topic.id, topic.name.clone()))
                };
                for kept in &self.journals {
                    kept.journal.learn(names());
                }
                self.core.take_table(table);
            }
            Order::TopicsRefused { kinds, reason } => self.core.take_refusal(kinds, &reason),
            Order::Cluster { fault } => {
                if let Destination::Kafka(delivery) = &self.core.destination {
                    delivery.take_fault(fault);
                }
            }
            Order::Snapshot { ticket } => {
                let snapshot = Box::new(self.snapshot());
                self.core.post(Report::Snapshot { ticket, snapshot });
            }
            Order::Places { ticket } => {
                let places = self.places();
                self.core.post(Report::Places { ticket, places });
            }
            Order::Volumes { ticket } => {
                let reports = self.volumes();
                self.core.post(Report::Volumes { ticket, reports });
            }
            Order::Read {
                ticket,
                journal,
                topic,
                offset,
                records_max,
            } => {
                let read = self
                    .clone()
                    .read(ticket, (journal, topic), offset, records_max);
                spawn_local(read).detach();
            }
            Order::Returned(place) => self.take_back(&place),
            Order::Forget { ticket, topics } => {
                spawn_local(self.clone().forget(ticket, topics)).detach();
            }
            Order::Truncate {
                ticket,
                topic,
                journal,
                offset,
                before_ms,
            } => {
                let truncate = self
                    .clone()
                    .truncate(ticket, (topic, journal), offset, before_ms);
                spawn_local(truncate).detach();
            }
            Order::Retry { ticket, retry } => {
                spawn_local(self.clone().retry(ticket, retry)).detach();
            }
            Order::Serve | Order::Drain => {}
        }
    }

    /// Connections live in the lane in which their doors were opened.
    async fn begin_to_serve(self: &Rc<Self>, doors: &RefCell<Option<Doors<Shard>>>) {
        let (shard, life) = (self.core.id, self.clone());
        let opening = async move { life.open_doors(Shard(life.core.clone())) };
        let report = match spawn_in(self.lanes.live, opening).await {
            Ok(open) => {
                *doors.borrow_mut() = Some(open);
                Report::Serving { shard }
            }
            Err(error) => Report::Failed {
                shard,
                reason: error.to_string(),
            },
        };
        self.core.post(report);
    }

    fn open_doors(&self, intake: Shard) -> Result<Doors<Shard>, rt::Error> {
        let net = self.core.settings.net.clone();
        let (address, grpc_port) = (any_address(net.port), net.grpc_port);
        let mut doors = Doors::open(net, intake, address)?;
        if let Some(port) = grpc_port {
            doors.open_grpc(any_address(port))?;
        }
        Ok(doors)
    }

    /// Drives one journal's commits, and tells those who wait for them.
    async fn commit(self: Rc<Self>, mut committer: Committer<Disk>, index: usize) {
        let is_first = index == 0;
        let forwarder = self.forwarders.get(index).cloned();
        loop {
            let step = committer.step().await;
            if let Some(forwarder) = &forwarder {
                if let Step::Discarded { upto, .. } = &step {
                    forwarder.discarded(*upto);
                }
                forwarder.wake();
            }
            match step {
                Step::Durable(upto) if is_first => self.core.settle(upto, None),
                Step::Durable(_) => {}
                Step::Discarded { upto, reason } => {
                    self.core.settle(upto, Some(&reason));
                    self.tell_fault(Some(&reason));
                }
                Step::Failed(reason) => {
                    if is_first {
                        self.core.settle(Ticket(u64::MAX), Some(&reason));
                    }
                    self.tell_fault(Some(&reason));
                    return;
                }
                Step::Stopped => return,
            }
        }
    }

    /// Says once that events cannot be made durable, and once that they can again.
    fn tell_fault(&self, fault: Option<&str>) {
        if self.failed.replace(fault.is_some()) != fault.is_some() {
            let fault = fault.map(str::to_owned);
            self.core.post(Report::Writable {
                shard: self.core.id,
                fault,
            });
        }
    }

    async fn post_letters(self: Rc<Self>, reports: Rc<Outgoing<Report>>) {
        loop {
            let wait = self.core.posted.wait();
            let letter = self.core.work.borrow_mut().posts.pop_front();
            match letter {
                Some(letter) => {
                    if reports.send(letter).await.is_err() {
                        return;
                    }
                }
                None => wait.await,
            }
        }
    }

    /// Commits what has waited for company long enough; looks twice in each wait.
    async fn end_waits(self: Rc<Self>) {
        let wait = Duration::from_micros(u64::from(self.core.settings.log.commit_wait_us));
        let mut interval = Interval::new(wait / 2);
        loop {
            interval.tick().await;
            self.core.destination.end_wait();
        }
    }

    async fn tick(self: Rc<Self>) {
        let mut interval = Interval::new(TICK);
        let mut ticks = 0u32;
        loop {
            interval.tick().await;
            ticks = ticks.wrapping_add(1);
            if ticks.is_multiple_of(TICKS_TO_TRY_AGAIN) {
                self.journals
                    .iter()
                    .for_each(|kept| kept.journal.try_again());
            }
            self.core.clock.follow_wall();
            if ticks.is_multiple_of(TICKS_TO_TIDY) {
                let now = self.core.clock.now();
                self.journals.iter().for_each(|kept| kept.journal.tidy(now));
            }
            for kept in &self.journals {
                kept.journal.tick();
                let now = self.core.clock.now();
                kept.mirror.watch(now, limit::VOLUME_ANSWER_US_MAX);
            }
            if let Destination::Journal(journal) = &self.core.destination {
                self.tell_fault(journal.fault().as_deref());
            }
            self.core.sweep_guids();
            // Nobody may be left waiting for room that is there.
            self.core.room.wake_all();
        }
    }

    /// Fills a volume that is fit for use again, for every journal that is without it.
    fn take_back(self: &Rc<Self>, place: &volumes::Place) {
        for (index, kept) in self.journals.iter().enumerate() {
            if !kept.mirror.members().contains(&place.volume) {
                let (life, place) = (self.clone(), place.clone());
                self.background.start(|rest| async move {
                    let kept = &life.journals[index];
                    let settings = &life.core.settings;
                    match volumes::open(&place, settings).await {
                        Ok(member) => {
                            volumes::fill(kept.id, &kept.journal, member, settings, &rest).await;
                        }
                        Err(why) => tracing::warn!("{why}"),
                    }
                });
            }
        }
    }
}
