//! What the journal promises, on a simulated disk. Every test is a function of its seeds, which it prints
//! when it fails; `SEED=n` runs the ones with many seeds on that one alone, `SEEDS=n` on `n` times as many.

mod copies;
mod crash;
mod damage;
mod deleting;
mod forwarding;
mod full;
mod headers;
mod readers;
mod reading;
mod repacking;
mod retaining;
mod scrubbing;
mod space;
mod starting;
mod volumes;

use super::super::disk::Disk;
use super::super::format::StoreId;
use super::super::format::origin::{Door, OriginRow};
use super::super::recover::{Identity, RecoverError, Recovered, recover};
use super::super::simulated::{Behaviour, Executor, Random, SimulatedDisk, pause};
use super::super::{Flush, Origin};
use super::{
    AppendError, Journal, Keeping, Pace, ReadError, ReadRecord, Request, RoutedEvent, Settings,
    Step,
};
use crate::unit::{JournalId, Micros, Offset, Ticket, TopicId, TopicIndex};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

const STORE: StoreId = StoreId(0xfeed);
const FOLDER: &str = "journal-0";
const SEGMENT_BYTES: u64 = 512 << 10;

fn settings() -> Settings {
    Settings {
        store: STORE,
        journal: JournalId(0),
        segment_bytes: SEGMENT_BYTES,
        prepared: 1,
        retention_bytes: None,
        keeping: Keeping::default(),
        origin: Origin::Full,
        commit_wait_us: 0,
        frame_bytes: 16 << 10,
        frame_bytes_max: 64 << 10,
        frames_in_flight: 4,
        flush: Flush::WriteThrough,
        tail_bytes: 256 << 10,
    }
}

fn table(topics: usize) -> Vec<(TopicId, Arc<str>)> {
    let row = |index| (TopicId(1000 + index), Arc::from(format!("topic-{index}")));
    (0..topics as u128).map(row).collect()
}

/// The seeds of a test with many: `count` of them, or so many times that as `SEEDS` says.
fn seeds(count: u64) -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..count * number("SEEDS").unwrap_or(1) + 1,
    }
}

/// A running journal with its tasks.
struct World {
    executor: Executor,
    disk: SimulatedDisk,
    journal: Journal<SimulatedDisk>,
    /// In microseconds.
    clock: Rc<Cell<u64>>,
    steps: Rc<RefCell<Vec<Step>>>,
}

/// Looks at a journal's disk as its recovery would.
fn look(
    disk: &SimulatedDisk,
    settings: &Settings,
) -> Result<Recovered<super::super::simulated::File>, RecoverError> {
    let identity = Identity {
        store: settings.store,
        journal: settings.journal,
        segment_bytes: settings.segment_bytes,
    };
    let recovered = Executor::new(0).wait(recover(disk, FOLDER, identity));
    recovered.expect("recovery comes to its end")
}

fn new_disk(seed: u64) -> SimulatedDisk {
    let disk = SimulatedDisk::new(seed, Behaviour::default());
    let made = Executor::new(seed).wait(super::super::disk::Disk::make_folder(&disk, FOLDER));
    made.unwrap().unwrap();
    disk
}

async fn drive<D: Disk>(mut committer: super::Committer<D>, steps: Rc<RefCell<Vec<Step>>>) {
    loop {
        let step = committer.step().await;
        let ended = matches!(step, Step::Stopped | Step::Failed(_));
        steps.borrow_mut().push(step);
        if ended {
            return;
        }
    }
}

/// Recovers and starts the journal; `Err` holds the reason as text.
async fn take_up<D: Disk>(
    disk: D,
    settings: Settings,
    topics: usize,
    clock: Rc<Cell<u64>>,
) -> Result<(Journal<D>, super::Committer<D>, super::Preparer<D>), String> {
    let identity = Identity {
        store: settings.store,
        journal: settings.journal,
        segment_bytes: settings.segment_bytes,
    };
    let recovered = recover(&disk, FOLDER, identity).await;
    let recovered = recovered.map_err(|error| error.to_string())?;
    let now = move || {
        clock.set(clock.get() + 7);
        Micros(clock.get())
    };
    let table = table(topics).into_iter();
    Journal::start(
        disk,
        FOLDER.to_owned(),
        settings,
        recovered,
        table,
        Rc::new(now),
    )
    .await
    .map_err(|error| error.to_string())
}

impl World {
    fn try_start(
        seed: u64,
        disk: SimulatedDisk,
        settings: Settings,
        topics: usize,
    ) -> Result<Self, String> {
        let mut executor = Executor::new(seed);
        let clock = Rc::new(Cell::new(1_700_000_000_000_000 + (seed >> 20)));
        let started = executor.wait(take_up(disk.clone(), settings, topics, clock.clone()));
        let (journal, committer, mut preparer) = started.map_err(|halt| halt.to_string())??;
        let steps = Rc::new(RefCell::new(Vec::new()));
        let pace: Pace = Rc::new(|_| Box::pin(pause(2)));
        let mut tidier = journal.tidier(pace);
        executor.spawn(async move { tidier.run().await });
        executor.spawn(drive(committer, steps.clone()));
        executor.spawn(async move { preparer.run().await });
        Ok(Self {
            executor,
            disk,
            journal,
            clock,
            steps,
        })
    }

    fn start(seed: u64, disk: SimulatedDisk, settings: Settings, topics: usize) -> Self {
        let started = Self::try_start(seed, disk, settings, topics);
        started.unwrap_or_else(|reason| panic!("SEED={seed}: does not start: {reason}"))
    }

    fn new(seed: u64) -> Self {
        Self::start(seed, new_disk(seed), settings(), 8)
    }

    /// Appends, waiting for room, and does not wait until it is durable.
    fn append(&mut self, events: &[Event]) -> Result<Ticket, AppendError> {
        let journal = self.journal.clone();
        let appended = self.executor.wait(append(&journal, events));
        appended.expect("room comes, or a reason why not")
    }

    /// Appends and waits until it is durable.
    fn store(&mut self, events: &[Event]) -> Ticket {
        let ticket = self.append(events).unwrap();
        self.until_durable(ticket);
        ticket
    }

    fn until_durable(&mut self, ticket: Ticket) {
        let journal = self.journal.clone();
        let steps = self.steps.clone();
        let durable = async {
            while journal.durable() < Some(ticket) {
                let failed = steps
                    .borrow()
                    .iter()
                    .any(|step| !matches!(step, Step::Durable(_)));
                assert!(!failed, "{:?}", steps.borrow());
                pause(1).await;
            }
        };
        self.executor.wait(durable).expect("it becomes durable");
    }

    /// Everything that can be read of a topic; begins again when its oldest went meanwhile.
    fn read_all(&mut self, topic: u32) -> Vec<ReadRecord> {
        let journal = self.journal.clone();
        let topic = TopicIndex(topic);
        loop {
            let low = journal.extent(topic).low;
            let read = journal.read(topic, low, usize::MAX, usize::MAX);
            match self.executor.wait(read).expect("a read comes to its end") {
                Err(ReadError::Gone { .. }) => {}
                Err(error) => panic!("{error}"),
                Ok(records) => {
                    let offsets = records.iter().map(|record| record.offset.0);
                    let whole = offsets.eq(low.0..low.0 + records.len() as u64);
                    assert!(whole, "offsets have no gap");
                    return records;
                }
            }
        }
    }

    fn values(&mut self, topic: u32) -> Vec<Vec<u8>> {
        let records = self.read_all(topic);
        assert!(records.is_sorted_by_key(|record| record.timestamp_ms));
        records.into_iter().map(|record| record.value).collect()
    }

    /// Runs until nothing can go on by itself.
    fn settle(&mut self) {
        self.executor.settle();
    }

    /// Has the tidier look at everything that is due so many seconds after the records were received.
    fn tidy(&mut self, seconds: u64) {
        self.journal
            .tidy(Micros(1_600_000_000_000_000 + seconds * 1_000_000));
        self.settle();
    }

    fn tick(&mut self) {
        self.journal.tick();
        self.journal.try_again();
        self.settle();
    }

    fn last_step(&self) -> Option<Step> {
        self.steps.borrow().last().cloned()
    }

    fn stop(&mut self) {
        self.journal.stop();
        self.settle();
        assert_eq!(self.last_step(), Some(Step::Stopped));
        assert_eq!(self.executor.running(), 0, "all tasks have ended");
    }

    /// Turns the machine off and on again.
    fn crash_and_start(self, seed: u64, settings: Settings, topics: usize) -> Self {
        let disk = self.disk.crash(&mut Random::new(seed));
        Self::start(seed, disk, settings, topics)
    }
}

type Event = (u32, Vec<u8>);

fn event(topic: u32, value: impl Into<Vec<u8>>) -> Event {
    (topic, value.into())
}

fn offer<D: Disk>(journal: &Journal<D>, events: &[Event]) -> Result<Ticket, AppendError> {
    let mut source = Vec::new();
    let mut routed = Vec::new();
    for (topic, value) in events {
        routed.push(RoutedEvent {
            topic: TopicIndex(*topic),
            start: source.len() as u32,
            bytes: value.len() as u32,
        });
        source.extend_from_slice(value);
    }
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
    journal.append(Micros(1_600_000_000_000_000), &request)
}

async fn append<D: Disk>(journal: &Journal<D>, events: &[Event]) -> Result<Ticket, AppendError> {
    loop {
        match offer(journal, events) {
            Err(AppendError::Full) => pause(1).await,
            other => return other,
        }
    }
}

/// What each topic holds.
type Model = BTreeMap<u32, Vec<Vec<u8>>>;

fn add(model: &mut Model, events: &[Event]) {
    for (topic, value) in events {
        model.entry(*topic).or_default().push(value.clone());
    }
}

fn in_use(disk: &SimulatedDisk, settings: &Settings) -> usize {
    let found = look(disk, settings).unwrap();
    found.sealed.len() + found.walked.len()
}

fn offset_of(number: u64) -> Offset {
    Offset(number)
}
