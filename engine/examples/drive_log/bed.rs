//! A journal in a folder of its own, with its tasks, and requests to offer it.

use hdrhistogram::Histogram;
use ringtail::limit::SEGMENT_BYTES_DEFAULT;
use ringtail::log::format::StoreId;
use ringtail::log::format::origin::{Door, OriginRow};
use ringtail::log::journal::{
    AppendError, Commit, Journal, Keeping, Preparer, Request, RoutedEvent, Settings, Step,
};
use ringtail::log::recover::{Identity, recover};
use ringtail::log::wake::Bell;
use ringtail::log::{Flush, Origin};
use ringtail::rt::executor::{Task, spawn_local};
use ringtail::rt::file::{self, Volume};
use ringtail::shard::clock::{Clock as _, MachineClock};
use ringtail::unit::{JournalId, Micros, Ticket, TopicId, TopicIndex};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::error::Error;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

const FOLDER: &str = "journal-0";
/// Frames that are offered for each that may be in flight.
const FRAMES_OFFERED: usize = 4;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) topics: u32,
    pub(crate) events: u32,
    pub(crate) bytes: u32,
    pub(crate) frame_bytes: usize,
    pub(crate) frames_in_flight: usize,
}

/// What became durable.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Done {
    pub(crate) commits: u64,
    pub(crate) log_bytes: u64,
    pub(crate) events: u64,
    pub(crate) event_bytes: u64,
}

/// For microseconds, up to ten minutes.
pub(crate) fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, 3).expect("these bounds are allowed")
}

pub(crate) struct Bed {
    pub(crate) shape: Shape,
    pub(crate) journal: Journal<Volume>,
    clock: Rc<MachineClock>,
    source: Vec<u8>,
    next_topic: Cell<u32>,
    /// One for each who waits for commits.
    bells: Rc<RefCell<Vec<Rc<Bell>>>>,
    tasks: [Task<()>; 2],
}

impl Bed {
    pub(crate) async fn make(
        dir: &Path,
        shape: Shape,
        recycles: bool,
    ) -> Result<Self, Box<dyn Error>> {
        std::fs::create_dir(dir)?;
        let settings = file::Settings {
            write_through: true,
            allow_any_filesystem: false,
        };
        let volume = Volume::prepare(dir, settings).await?;
        volume.make_folder(FOLDER).await?;
        let settings = settings_of(shape, recycles);
        let identity = Identity {
            store: settings.store,
            journal: settings.journal,
            segment_bytes: settings.segment_bytes,
        };
        let recovered = recover(&volume, FOLDER, identity).await?;
        let names = (0..shape.topics).map(|number| {
            let name: Arc<str> = format!("topic-{number}").into();
            (TopicId(1 + u128::from(number)), name)
        });
        let clock = Rc::new(MachineClock::start());
        let time = clock.clone();
        let now = Rc::new(move || time.now());
        let started = Journal::start(volume, FOLDER.into(), settings, recovered, names, now);
        let (journal, mut committer, mut preparer) = started.await?;
        let bells: Rc<RefCell<Vec<Rc<Bell>>>> = Rc::default();
        let ring = bells.clone();
        let commits = spawn_local(async move {
            loop {
                let step = committer.step().await;
                ring.borrow().iter().for_each(|bell| bell.ring());
                match step {
                    Step::Durable(_) => {}
                    Step::Stopped => return,
                    Step::Failed(reason) | Step::Discarded { reason, .. } => panic!("{reason}"),
                }
            }
        });
        let prepare = spawn_local(async move { Preparer::run(&mut preparer).await });
        Ok(Self {
            shape,
            journal,
            clock,
            source: (0..shape.bytes).map(|at| (at * 31 % 251) as u8).collect(),
            next_topic: Cell::new(0),
            bells,
            tasks: [commits, prepare],
        })
    }

    pub(crate) async fn end(self) {
        self.journal.stop();
        for task in self.tasks {
            task.await;
        }
    }

    pub(crate) fn now(&self) -> Micros {
        self.clock.now()
    }

    /// A bell that rings at each commit.
    pub(crate) fn bell(&self) -> Rc<Bell> {
        let bell = Rc::new(Bell::default());
        self.bells.borrow_mut().push(bell.clone());
        bell
    }

    /// Nobody waits any more.
    pub(crate) fn drop_bells(&self) {
        self.bells.borrow_mut().clear();
    }

    /// Puts one request into the journal, when there is room.
    pub(crate) async fn put(&self, bell: &Bell) -> Ticket {
        let first = self.next_topic.get();
        let topics = self.shape.topics;
        self.next_topic.set((first + self.shape.events) % topics);
        let event = |number| RoutedEvent {
            topic: TopicIndex((first + number) % topics),
            start: 0,
            bytes: self.shape.bytes,
        };
        let mut events: Vec<_> = (0..self.shape.events).map(event).collect();
        // A client's events of one type stand together.
        events.sort_by_key(|event| event.topic.0);
        loop {
            match self.journal.append(self.now(), &self.request(&events)) {
                Ok(ticket) => return ticket,
                Err(AppendError::Full) => bell.wait().await,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn request<'a>(&'a self, events: &'a [RoutedEvent]) -> Request<'a> {
        let origin = OriginRow {
            door: Door::WebSocket,
            received: self.now(),
            sent: None,
            conn_id: b"drive-log-client",
            conn_group: b"drive-log",
            guid: b"00000000-0000-0000-0000-000000000000",
        };
        Request {
            source: &self.source,
            events,
            origin: Some(origin),
            kinds: &[],
        }
    }

    pub(crate) async fn until_durable(&self, bell: &Bell, ticket: Ticket) {
        while self.journal.durable() < Some(ticket) {
            bell.wait().await;
        }
    }

    /// Writes until `go_on` says no. Frames become durable in their order and are written in any: with no more
    /// outstanding than can be in flight, one slow write would leave the disk idle behind it, as no server with
    /// its thousands of clients would.
    pub(crate) async fn write_while(&self, mut go_on: impl FnMut(&Done) -> bool) -> Done {
        let bell = self.bell();
        let window = FRAMES_OFFERED * self.shape.frames_in_flight * self.shape.frame_bytes;
        let each = (self.shape.bytes * self.shape.events) as usize;
        let (mut outstanding, mut waiting) = (VecDeque::new(), 0);
        let mut done = Done::default();
        while go_on(&done) {
            outstanding.push_back(self.put(&bell).await);
            waiting += each;
            ringtail::log::wake::yield_now().await;
            while window + self.shape.frame_bytes < waiting {
                let Some(oldest) = outstanding.pop_front() else {
                    break;
                };
                self.until_durable(&bell, oldest).await;
                waiting -= each;
            }
            self.count(&mut done);
        }
        if let Some(last) = outstanding.back() {
            self.until_durable(&bell, *last).await;
        }
        self.count(&mut done);
        self.drop_bells();
        done
    }

    pub(crate) fn count(&self, done: &mut Done) {
        self.journal.take_commits(|commit: Commit| {
            done.commits += 1;
            done.log_bytes += commit.bytes;
            done.events += commit.events;
            done.event_bytes += commit.event_bytes;
        });
    }
}

fn settings_of(shape: Shape, recycles: bool) -> Settings {
    let request = (shape.bytes * shape.events) as usize;
    let segment_bytes = SEGMENT_BYTES_DEFAULT;
    let capacity = Settings::frame_capacity(shape.frame_bytes, request.max(1 << 20));
    Settings {
        store: StoreId(1),
        journal: JournalId(0),
        segment_bytes,
        prepared: 2,
        retention_bytes: recycles.then_some(8 * segment_bytes),
        keeping: Keeping::default(),
        origin: Origin::Full,
        commit_wait_us: 0,
        frame_bytes: shape.frame_bytes,
        frame_bytes_max: capacity,
        frames_in_flight: shape.frames_in_flight,
        flush: Flush::WriteThrough,
        tail_bytes: 16 << 20,
    }
}
