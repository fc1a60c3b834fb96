//! A journal on its way to Kafka: read behind its cursor, sent, and the cursor moved past what is delivered.
//!
//! Layout:  `send` turns frames into records, and sends again what came back; `whole` sends batches as they are, where
//!          nothing forbids it; `settle` hears what became of each,
//!          and moves the cursor; `letters` keeps what Kafka will never take, `retry` sends it again. `exactly` is the
//!          other way: in transactions; `way` is either; `lanes` say who comes first on the shard.
//! Always:  the cursor passes no event that is not delivered, a durable dead letter, or of a deleted topic. Records
//!          of one topic leave in the order of the journal; a topic whose records come back sends nothing new before
//!          those have left again.
//! Core:    the journal's shard. Nothing here waits for Kafka: librdkafka's threads do.
//! Cancel:  what was sent and not recorded by the cursor is sent once more after the next start.
//! Full:    frames under way are bounded; beyond them the log holds what waits.

mod exactly;
mod lanes;
mod letters;
mod pace;
mod retry;
mod send;
mod settle;
mod way;
mod whole;

pub(super) use lanes::{Lanes, spawn_in};
pub(super) use way::{Way, open_all};

use super::clock::Clock as _;
use super::intake::Core;
use super::volumes::Disk;
use crate::kafka::direct::Direct;
use crate::kafka::properties;
use crate::kafka::writer::Writer;
use crate::log::format::forwarded::{Forwarded, Totals};
use crate::log::journal::{FollowError, Follower, Journal, Load};
use crate::log::wake::Receipt;
use crate::rt::executor::yield_if_needed;
use crate::rt::notify::{Notify, Wait};
use crate::rt::timer;
use crate::rt::wake::Bell;
use crate::spool::window::Window;
use crate::spool::{Backlog, Settings};
use crate::unit::{JournalId, Micros, Ticket, TopicId, TopicIndex};
use futures_util::future::select;
use letters::Letter;
use pace::Pace;
use retry::Retrier;
use settle::Trouble;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// A forwarder with nothing to do looks around this often.
const PAUSE: Duration = Duration::from_millis(100);
/// How long the end waits for the last cursor to be durable.
const CURSOR_WAIT: Duration = Duration::from_secs(5);

/// A topic as the forwarder knows it.
#[derive(Clone, Debug)]
struct Target {
    index: TopicIndex,
    name: Arc<str>,
}

/// What changes with every event. Borrowed for a moment, never across an await.
struct State {
    window: Window,
    targets: HashMap<TopicId, Target>,
    /// Topics of which records came back.
    troubles: HashMap<TopicIndex, Trouble>,
    /// Topics whose batches wait for what librdkafka has of them.
    held: BTreeMap<TopicIndex, Arc<str>>,
    /// Since when Kafka does not want anything of a topic, and whether that was too long.
    unwanted: HashMap<TopicIndex, (Micros, bool)>,
    letters: VecDeque<Letter>,
    /// Dead letters that wait to be durable.
    staged: VecDeque<(Ticket, Letter)>,
    /// Up to where everything is settled.
    cursor: Forwarded,
    /// More is settled than was recorded.
    dirty: bool,
    recording: Option<Rc<Receipt>>,
    recorded_at: Micros,
    /// What lay behind the cursor at the start, and what became durable before that was measured.
    measured: Load,
    came_before: Load,
    /// What was settled since.
    passed: Load,
    /// Nothing durable is unread.
    at_end: bool,
    repeated: u64,
    /// Delivered in whole batches.
    whole: u64,
    /// Events that the journal dropped, as the cursor counts them.
    dropped: u64,
    rate: settle::Rate,
    bytes_rate: settle::Rate,
    fault: Option<Arc<str>>,
}

/// What forwards one journal.
pub(super) struct Forwarder {
    core: Rc<Core>,
    id: JournalId,
    journal: Journal<Disk>,
    settings: Settings,
    pace: Pace,
    writer: Writer,
    /// For whole batches, where the settings allow them.
    direct: Option<Rc<Direct>>,
    state: RefCell<State>,
    news: Notify,
    retrier: Retrier,
    stopping: Cell<bool>,
    ended: Notify,
    has_ended: Cell<bool>,
    /// What waits is known, or never will be.
    pub(super) known: Known,
}

impl Forwarder {
    /// Starts a producer for the journal, and begins where its cursor stands. To be called before the journal takes
    /// anything in.
    pub(super) fn open(
        core: &Rc<Core>,
        (id, journal): (JournalId, &Journal<Disk>),
        settings: &Settings,
        (cpus, journals_in_store): (&[usize], u32),
    ) -> Result<(Rc<Self>, Bell), String> {
        let properties = properties::patient(&settings.kafka.properties);
        let steps = settings.order.steps(settings.share);
        let opened = Writer::open_beside(&properties, cpus, steps);
        let (writer, bell) = opened.map_err(|error| error.to_string())?;
        let cursor = journal.begin_to_forward();
        tracing::info!("journal {}: forwarding goes on behind {cursor}", id.0);
        let state = State {
            window: Window::default(),
            targets: HashMap::new(),
            troubles: HashMap::new(),
            held: BTreeMap::new(),
            unwanted: HashMap::new(),
            letters: VecDeque::new(),
            staged: VecDeque::new(),
            cursor,
            dirty: false,
            recording: None,
            recorded_at: Micros(0),
            measured: Load::default(),
            came_before: Load::default(),
            passed: Load::default(),
            at_end: false,
            repeated: 0,
            whole: 0,
            dropped: 0,
            rate: settle::Rate::default(),
            bytes_rate: settle::Rate::default(),
            fault: None,
        };
        let forwarder = Self {
            core: core.clone(),
            id,
            journal: journal.clone(),
            settings: settings.clone(),
            pace: Pace::of(settings, journals_in_store),
            writer,
            direct: whole::open(settings, id),
            state: RefCell::new(state),
            news: Notify::new(),
            retrier: Retrier::new(core, (id, journal), &settings.letters),
            stopping: Cell::new(false),
            ended: Notify::new(),
            has_ended: Cell::new(false),
            known: Known::default(),
        };
        Ok((Rc::new(forwarder), bell))
    }

    /// A topic has its time to be there once more.
    fn renew(&self, topic: TopicIndex) {
        self.state.borrow_mut().unwanted.remove(&topic);
    }

    /// Something became durable.
    pub(super) fn wake(&self) {
        self.news.wake_all();
        self.retrier.wake();
    }

    /// Forwards until it is stopped, or the log is not what the cursor says.
    pub(super) async fn run(self: Rc<Self>) {
        if let Err(error) = self.forward().await {
            let journal = self.id.0;
            let fault = format!("journal {journal} is no longer forwarded: {error}");
            tracing::error!("{fault}");
            self.state.borrow_mut().fault = Some(fault.into());
        }
        self.known.set();
        self.end().await;
        self.has_ended.set(true);
        self.ended.wake_all();
        self.retrier.end();
    }

    async fn forward(&self) -> Result<(), FollowError> {
        let cursor = self.state.borrow().cursor;
        let mut follower = self.journal.follow(cursor)?;
        self.measure(&mut follower).await;
        while !self.stopping.get() {
            let news = self.news.wait();
            self.settle();
            self.release_held();
            let worked = match self.step(&mut follower).await {
                Err(FollowError::Gone { from, to }) if self.drops_oldest() => {
                    self.note_dropped(from.get(), to.get());
                    true
                }
                worked => worked?,
            };
            if worked {
                yield_if_needed().await;
            } else {
                let pause = self.pace.pause(self.core.clock.now());
                wait_beside(&mut follower, pause, news).await;
            }
        }
        Ok(())
    }

    /// Does a bounded part of what there is to do; `false` when there is nothing.
    async fn step(&self, follower: &mut Follower<Disk>) -> Result<bool, FollowError> {
        let mut worked = self.write_letters(follower).await?;
        worked |= self.send_again(follower).await?;
        let bytes_max = self.settings.in_flight_bytes;
        self.pace.note(self.core.clock.now(), follower);
        let has_time = self.pace.has_time(self.core.clock.now());
        if !has_time || !self.state.borrow().window.has_room(bytes_max) {
            return Ok(worked);
        }
        let next = follower.next().await;
        self.pace.note(self.core.clock.now(), follower);
        let next = next?;
        self.state.borrow_mut().at_end = next.is_none();
        if let Some(followed) = next {
            self.send_frame(follower, followed).await;
            worked = true;
        }
        Ok(worked)
    }

    async fn measure(&self, follower: &mut Follower<Disk>) {
        let (measured, came) = measure(&self.journal, follower).await;
        let mut state = self.state.borrow_mut();
        (state.measured, state.came_before) = (measured, came);
        drop(state);
        self.known.set();
    }

    fn note_dropped(&self, from: u64, to: u64) {
        let (journal, dropped) = (self.id.0, self.journal.dropped());
        tracing::error!(
            "journal {journal}: frames {from} to {} went before they were forwarded, for the store holds no more; \
             {dropped} acknowledged events were dropped since the start",
            to - 1
        );
    }

    /// No more is sent; what is under way has some time to arrive.
    pub(super) async fn stop(&self) {
        self.stopping.set(true);
        self.news.wake_all();
        self.retrier.stop();
        loop {
            let ended = self.ended.wait();
            if self.has_ended.get() {
                return;
            }
            ended.await;
        }
    }

    /// Events that were sent and not heard of.
    fn outstanding(&self) -> u64 {
        let whole = self
            .direct
            .as_ref()
            .map_or(0, |direct| direct.outstanding());
        self.writer.outstanding() + whole
    }

    async fn end(&self) {
        let settled = async {
            while 0 < self.outstanding() {
                let _news = timer::timeout(PAUSE, self.news.wait()).await;
            }
        };
        let wait = self.settings.kafka.flush_wait;
        if timer::timeout(wait, settled).await.is_none() {
            self.writer.purge();
        }
        let recorded = async {
            let before = self.state.borrow().recording.clone();
            if let Some(receipt) = before {
                receipt.wait().await;
            }
            self.state.borrow_mut().recorded_at = Micros(0);
            self.settle();
            let last = self.state.borrow().recording.clone();
            if let Some(receipt) = last {
                receipt.wait().await;
            }
        };
        if self.journal.fault().is_none() {
            let _durable = timer::timeout(CURSOR_WAIT, recorded).await;
        }
    }

    /// How much waits, and what became of what did.
    pub(super) fn backlog(&self) -> Backlog {
        let now = self.core.clock.now();
        let state = self.state.borrow();
        let (came, dropped) = (self.journal.came(), self.journal.dropped());
        let idle = state.at_end && state.window.is_empty();
        let events = behind(
            state.measured.events,
            came.events,
            state.came_before.events,
            state.passed.events + dropped,
        );
        let bytes = behind(
            state.measured.bytes,
            came.bytes,
            state.came_before.bytes,
            state.passed.bytes,
        );
        let totals = state.cursor.totals;
        Backlog {
            journal: self.id,
            events: if idle { 0 } else { events },
            bytes: if idle { 0 } else { bytes },
            oldest_us: state.window.oldest().map_or(0, |oldest| now.since(oldest)),
            events_per_second: state.rate.per_second(now),
            totals: Totals {
                dropped: totals.dropped + dropped - state.dropped,
                ..totals
            },
            bytes_per_second: state.bytes_rate.per_second(now),
            letters: self.retrier.letters_kept(),
            retried: self.retrier.sent(),
            repeated: state.repeated,
            whole: state.whole,
            in_flight: self.outstanding(),
            fault: state.fault.clone(),
        }
    }
}

/// Something that is to be waited for and happens once.
#[derive(Debug, Default)]
pub(super) struct Known {
    is_so: Cell<bool>,
    news: Notify,
}

impl Known {
    fn set(&self) {
        self.is_so.set(true);
        self.news.wake_all();
    }

    pub(super) async fn wait(&self) {
        let news = self.news.wait();
        if !self.is_so.get() {
            news.await;
        }
    }
}

/// What waits of what was measured and of what came since, which the count of all that came began before.
fn behind(measured: u64, came: u64, before: u64, passed: u64) -> u64 {
    (measured + came).saturating_sub(before + passed)
}

/// Waits for news, so long at most, while what the follower reads comes in.
async fn wait_beside(follower: &mut Follower<Disk>, most: Duration, news: Wait<'_>) {
    let reading = pin!(follower.keep_reading());
    let _news = timer::timeout(most, select(reading, news)).await;
}

/// What lies behind the follower's cursor, and what had come when that was looked up.
async fn measure(journal: &Journal<Disk>, follower: &mut Follower<Disk>) -> (Load, Load) {
    follower.reach().await;
    let came = journal.came();
    // A footer that cannot be read makes the backlog look smaller, and nothing else.
    let held = follower.measure().await.unwrap_or_default();
    let passed = follower.passed();
    let behind = Load {
        events: held.events.saturating_sub(passed.events),
        bytes: held.bytes.saturating_sub(passed.bytes),
    };
    (behind, came)
}
