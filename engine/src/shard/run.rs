//! A shard from its start to its end.

use super::Settings;
use super::clock::{Clock, MachineClock};
use super::intake::{Core, Shard};
use super::mail::{Order, Place, Record, Report};
use crate::log::format::StoreId;
use crate::log::journal::{self, Committer, Journal, Preparer, ReadError, Step};
use crate::log::recover::{Identity, recover};
use crate::log::report::{ScrubCounts, VolumeReport, VolumeState};
use crate::log::store::journal_folder;
use crate::log::{self, Flush};
use crate::net::Doors;
use crate::route::Table;
use crate::rt;
use crate::rt::executor::spawn_local;
use crate::rt::file::{self, Volume};
use crate::rt::mailbox::{Incoming, Outgoing, Receiver, Sender};
use crate::rt::stream::any_address;
use crate::rt::timer::Interval;
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
    /// The journals it serves; the first is the one it writes to.
    pub journals: Vec<JournalId>,
    /// How many journals the store has in all: they share the retention.
    pub journals_in_store: u32,
    pub table: Arc<Table>,
    pub orders: Receiver<Order>,
    pub reports: Sender<Report>,
}

struct Opened {
    id: JournalId,
    journal: Journal<Volume>,
    committer: Committer<Volume>,
    preparer: Preparer<Volume>,
}

/// Runs a shard until it is told to drain, or cannot go on. To be run on an executor of its own.
pub async fn run(start: Start) {
    let Start {
        shard,
        cpu,
        settings,
        store,
        journals,
        journals_in_store,
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
        match open(&settings, log, &table, &clock).await {
            Ok(journal) => opened.push(journal),
            Err(reason) => {
                let _ = reports.send(Report::Failed { shard, reason }).await;
                return;
            }
        }
    }
    let Some(first) = opened.first() else { return };
    let journal = first.journal.clone();
    let core = Core::new(shard, settings, clock, journal, table);
    let life = Life {
        core: Rc::new(core),
        cpu,
        journals: opened
            .iter()
            .map(|opened| (opened.id, opened.journal.clone()))
            .collect(),
        failed: Cell::new(false),
    };
    let _ = reports.send(Report::Opened { shard, journals }).await;
    Rc::new(life)
        .serve(opened, &mut orders, Rc::new(reports))
        .await;
}

fn journal_settings(
    settings: &Settings,
    store: StoreId,
    journal: JournalId,
    journals: u32,
    is_first: bool,
) -> journal::Settings {
    let log = &settings.log;
    let capacity =
        journal::Settings::frame_capacity(log.frame_bytes, settings.net.message_bytes_max);
    journal::Settings {
        store,
        journal,
        segment_bytes: log.segment_bytes,
        prepared: if is_first {
            log.segments_prepared as usize
        } else {
            0
        },
        retention_bytes: log
            .retention_bytes
            .map(|bytes| bytes / u64::from(journals.max(1))),
        origin: log.origin,
        commit_wait_us: u64::from(log.commit_wait_us),
        frame_bytes: log.frame_bytes,
        // A segment holds its opening frame, its footer and some frames of the largest size.
        frame_bytes_max: capacity.min(log.segment_bytes as usize / 4),
        frames_in_flight: log.frames_in_flight,
        flush: log.flush,
    }
}

/// How the volumes are to be opened.
pub fn volume_settings(log: &log::Settings, allow_any_filesystem: bool) -> file::Settings {
    file::Settings {
        write_through: log.flush == Flush::WriteThrough,
        allow_any_filesystem,
    }
}

async fn open(
    settings: &Settings,
    log: journal::Settings,
    table: &Table,
    clock: &Rc<MachineClock>,
) -> Result<Opened, String> {
    let Some(root) = settings.log.volumes.first() else {
        return Err("no volume is configured".to_owned());
    };
    let id = log.journal;
    let volume = volume_settings(&settings.log, settings.allow_any_filesystem);
    let volume = Volume::prepare(root, volume)
        .await
        .map_err(|error| error.to_string())?;
    let folder = journal_folder(id);
    let identity = Identity {
        store: log.store,
        journal: id,
        segment_bytes: log.segment_bytes,
    };
    let recovered = recover(&volume, &folder, identity).await;
    let recovered = recovered.map_err(|error| format!("could not recover {folder}: {error}"))?;
    let names = table
        .topics()
        .iter()
        .map(|topic| (topic.id, topic.name.clone()));
    let clock = clock.clone();
    let clock = Rc::new(move || clock.now());
    let started = Journal::start(volume, folder.clone(), log, recovered, names, clock).await;
    let (journal, committer, preparer) =
        started.map_err(|error| format!("could not take up {folder}: {error}"))?;
    if let Some(topic) = journal.unnamed().first() {
        return Err(format!(
            "{folder} holds events of topic {:032x}, which the catalogue does not name: restore the \
             catalogue with `ringtail log verify --rebuild-catalogue`",
            topic.0
        ));
    }
    Ok(Opened {
        id,
        journal,
        committer,
        preparer,
    })
}

/// A shard that has its journals open.
struct Life {
    core: Rc<Core>,
    cpu: Option<usize>,
    journals: Vec<(JournalId, Journal<Volume>)>,
    /// The control core was told that events cannot be made durable.
    failed: Cell<bool>,
}

impl Life {
    async fn serve(
        self: Rc<Self>,
        opened: Vec<Opened>,
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
        for (_, journal) in &self.journals {
            journal.stop();
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
                for (_, journal) in &self.journals {
                    journal.learn(names());
                }
                self.core.take_table(table);
            }
            Order::TopicsRefused { kinds, reason } => self.core.take_refusal(kinds, &reason),
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
    async fn commit(self: Rc<Self>, mut committer: Committer<Volume>, is_first: bool) {
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
            self.core.journal.end_wait();
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
                    .for_each(|(_, journal)| journal.try_again());
            }
            self.core.clock.follow_wall();
            for (_, journal) in &self.journals {
                journal.tick();
            }
            self.tell_fault(self.core.journal.fault().as_deref());
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
        for (_, journal) in &self.journals {
            let size = journal.size();
            snapshot.counters.segments += size.segments;
            snapshot.counters.segments_recycled += size.recycled;
            snapshot.counters.store_bytes += size.bytes;
        }
        snapshot
    }

    fn places(&self) -> Vec<Place> {
        let mut places = Vec::new();
        for (id, journal) in &self.journals {
            for (topic, extent) in journal.extents() {
                places.push(Place {
                    topic,
                    journal: *id,
                    first: extent.low,
                    next: extent.next,
                });
            }
        }
        places
    }

    fn volumes(&self) -> Vec<VolumeReport> {
        let folder = self.core.settings.log.volumes.first();
        let folder = folder.map_or(String::new(), |folder| folder.display().to_string());
        let one = |(id, journal): &(JournalId, Journal<Volume>)| VolumeReport {
            journal: *id,
            volume: Some(0),
            folder: folder.clone(),
            state: match journal.fault() {
                None => VolumeState::InService,
                Some(reason) => VolumeState::Fenced {
                    reason: reason.to_string(),
                },
            },
            scrub: ScrubCounts::default(),
        };
        self.journals.iter().map(one).collect()
    }

    async fn read(
        self: Rc<Self>,
        ticket: u64,
        (journal, topic): (JournalId, TopicIndex),
        offset: Offset,
        records_max: u32,
    ) {
        let found = self.journals.iter().find(|(id, _)| *id == journal);
        let records = match found {
            None => Err(format!("this shard does not serve journal {}", journal.0)),
            Some((_, journal)) => {
                let records = journal.read(topic, offset, records_max as usize, READ_BYTES_MAX);
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
