//! A shard from its start to its end.

use super::Settings;
use super::background::Background;
use super::clock::{Clock as _, MachineClock};
use super::deliver::{self, Delivery};
use super::destination::Destination;
use super::intake::{Core, Shard};
use super::mail::{Order, Place, Record, Report};
use super::open::{Opened, journal_settings, open};
use super::volumes::{self, Disk, LastScrub, Volumes};
use crate::kafka::writer::Writer;
use crate::limit;
use crate::log::format::StoreId;
use crate::log::journal::{self, Committer, Journal, ReadError, Step};
use crate::log::report::VolumeReport;
use crate::net::Doors;
use crate::route::Table;
use crate::rt;
use crate::rt::executor::spawn_local;
use crate::rt::mailbox::{Incoming, Outgoing, Receiver, Sender};
use crate::rt::stream::any_address;
use crate::rt::timer::Interval;
use crate::rt::wake::Bell;
use crate::unit::{JournalId, Offset, ShardId, Ticket, TopicIndex};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of records that one answer to a reader may hold.
const READ_BYTES_MAX: usize = 8 << 20;
const TICK: Duration = Duration::from_millis(100);
/// A full disk is tried again this often, in ticks.
const TICKS_TO_TRY_AGAIN: u32 = 30;

/// What a shard is given at its start.
pub struct Start {
    pub shard: ShardId,
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
}

/// Runs a shard until it is told to drain, or cannot go on. To be run on an executor of its own.
pub async fn run(start: Start) {
    let Start {
        shard,
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
    } = start;
    let (mut orders, reports) =
        futures_util::future::join(orders.connect(), reports.connect()).await;
    let clock = Rc::new(MachineClock::start());
    let mut opened = Vec::new();
    for (index, journal) in journals.iter().enumerate() {
        let is_first = index == 0;
        let log = journal_settings(&settings, store, *journal, journals_in_store, is_first);
        match open(&settings, log, &volumes, &table, &clock).await {
            Ok(journal) => opened.push(journal),
            Err(reason) => {
                let _ = reports.send(Report::Failed { shard, reason }).await;
                return;
            }
        }
    }
    let (destination, bell) = match find_destination(&settings, &kafka_cpus, &opened) {
        Ok(found) => found,
        Err(reason) => {
            let _ = reports.send(Report::Failed { shard, reason }).await;
            return;
        }
    };
    let core = Core::new(shard, settings, clock, destination, table);
    let life = Life {
        core: Rc::new(core),
        cpu,
        journals: opened.iter().map(Kept::of).collect(),
        background: Background::default(),
        failed: Cell::new(false),
    };
    let _ = reports.send(Report::Opened { shard, journals }).await;
    Rc::new(life)
        .serve(opened, bell, &mut orders, Rc::new(reports))
        .await;
}

/// Kafka when it is configured, else the first journal.
fn find_destination(
    settings: &Settings,
    kafka_cpus: &[usize],
    opened: &[Opened],
) -> Result<(Destination, Option<Bell>), String> {
    let Some(kafka) = &settings.kafka else {
        let first = opened.first().ok_or("it has no journal")?;
        return Ok((Destination::Journal(first.journal.clone()), None));
    };
    let opened = Writer::open(&kafka.properties, kafka_cpus);
    let (writer, bell) = opened.map_err(|error| error.to_string())?;
    let delivery = Delivery::new(writer, kafka.clone(), settings.in_flight_bytes_max);
    Ok((Destination::Kafka(Box::new(delivery)), Some(bell)))
}

/// A shard that has its journals open.
struct Life {
    core: Rc<Core>,
    cpu: Option<usize>,
    journals: Vec<Kept>,
    background: Background,
    /// The control core was told that events cannot be made durable.
    failed: Cell<bool>,
}

/// One journal of the shard.
struct Kept {
    id: JournalId,
    journal: Journal<Disk>,
    mirror: Disk,
    /// Folders that cannot be used, with the reason.
    unusable: Vec<(String, String)>,
    last_scrub: LastScrub,
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
            writers.push(spawn_local(life.commit(opened.committer, index == 0)));
            let mut preparer = opened.preparer;
            writers.push(spawn_local(async move { preparer.run().await }));
            spawn_local(opened.tender.run()).detach();
            let (id, journal, settings) = (opened.id, opened.journal, self.core.settings.clone());
            let to_rebuild = opened.to_rebuild;
            let last_scrub = self.journals[index].last_scrub.clone();
            self.background.start(|rest| async move {
                for member in to_rebuild {
                    volumes::fill(id, &journal, member, &settings, &rest).await;
                }
                volumes::scrub(&journal, &settings, &last_scrub, &rest).await;
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
            self.obey(order, &doors);
        }
        let open_doors = doors.borrow_mut().take();
        if let Some(open_doors) = open_doors {
            open_doors.drain(self.core.settings.drain_grace).await;
        }
        if let Destination::Kafka(delivery) = &self.core.destination {
            deliver::end(&self.core, delivery).await;
        }
        self.background.stop().await;
        for kept in &self.journals {
            kept.journal.stop();
        }
        for writer in writers {
            writer.await;
        }
        let shard = self.core.id;
        let _ = reports.send(Report::Drained { shard }).await;
    }

    fn obey(self: &Rc<Self>, order: Order, doors: &RefCell<Option<Doors<Shard>>>) {
        let shard = self.core.id;
        match order {
            Order::Serve => {
                let intake = Shard(self.core.clone());
                let report = match self.open_doors(intake) {
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
            Order::Drain => {}
        }
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
    async fn commit(self: Rc<Self>, mut committer: Committer<Disk>, is_first: bool) {
        loop {
            let step = committer.step().await;
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
            for kept in &self.journals {
                kept.journal.tick();
                let now = self.core.clock.now();
                kept.mirror.watch(now, limit::VOLUME_ANSWER_US_MAX);
            }
            if let Destination::Journal(journal) = &self.core.destination {
                self.tell_fault(journal.fault().as_deref());
            }
            // Nobody may be left waiting for room that is there.
            self.core.room.wake_all();
        }
    }

    fn snapshot(&self) -> super::probe::Snapshot {
        let in_flight_bytes = self.core.in_flight_bytes() as u64;
        let mut snapshot = self
            .core
            .work
            .borrow()
            .probe
            .snapshot(self.core.id, self.cpu);
        snapshot.counters.in_flight_bytes = in_flight_bytes;
        for kept in &self.journals {
            let size = kept.journal.size();
            snapshot.counters.segments += size.segments;
            snapshot.counters.segments_recycled += size.recycled;
            snapshot.counters.store_bytes += size.bytes;
        }
        snapshot
    }

    fn places(&self) -> Vec<Place> {
        let mut places = Vec::new();
        for kept in &self.journals {
            for (topic, extent) in kept.journal.extents() {
                places.push(Place {
                    topic,
                    journal: kept.id,
                    first: extent.low,
                    next: extent.next,
                });
            }
        }
        places
    }

    fn volumes(&self) -> Vec<VolumeReport> {
        let of_one = |kept: &Kept| {
            volumes::reports(kept.id, &kept.journal, &kept.unusable, &kept.last_scrub)
        };
        self.journals.iter().flat_map(of_one).collect()
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

    async fn read(
        self: Rc<Self>,
        ticket: u64,
        (journal, topic): (JournalId, TopicIndex),
        offset: Offset,
        records_max: u32,
    ) {
        let found = self.journals.iter().find(|kept| kept.id == journal);
        let records = match found {
            None => Err(format!("this shard does not serve journal {}", journal.0)),
            Some(kept) => {
                let records =
                    kept.journal
                        .read(topic, offset, records_max as usize, READ_BYTES_MAX);
                records.await.map_err(|error: ReadError| error.to_string())
            }
        };
        let records = records.map(|records| {
            let record = |record: journal::ReadRecord| Record {
                offset: record.offset,
                timestamp_ms: record.timestamp_ms,
                value: record.value,
            };
            records.into_iter().map(record).collect()
        });
        self.core.post(Report::Records { ticket, records });
    }
}
