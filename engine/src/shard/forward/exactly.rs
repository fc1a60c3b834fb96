//! A journal on its way to Kafka in transactions: read behind its cursor and handed to a thread, which alone waits
//! for Kafka.
//!
//! Layout:  `carrier` is the thread; `mail` is what both say to each other; `words` hears the thread, keeps dead
//!          letters, and moves the cursor.
//! Always:  the log's cursor passes what Kafka's cursor has passed, never more. Nothing is sent when the two do not
//!          belong to one log.
//! Core:    the journal's shard; the thread is beside it, and a bounded way goes in each direction.
//! Cancel:  what was handed over and not committed is read again after the next start.
//! Full:    frames under way are bounded by bytes and by number; beyond them the log holds what waits.

mod attempt;
mod carrier;
mod mail;
mod reach;
mod records;
mod words;

use super::super::clock::Clock as _;
use super::super::intake::Core;
use super::super::volumes::Disk;
use super::pace::Pace;
use super::retry::Retrier;
use super::settle::Rate;
use super::{CURSOR_WAIT, Known, PAUSE, behind, measure, wait_beside, whole};
use crate::kafka::Header;
use crate::log::format::forwarded::Forwarded;
use crate::log::journal::{FollowError, Followed, Follower, Journal, Load, Overflow};
use crate::log::wake::Receipt;
use crate::rt::executor::yield_if_needed;
use crate::rt::notify::Notify;
use crate::rt::wake::{Bell, bell};
use crate::rt::{host, thread, timer};
use crate::spool::exactly::cursor;
use crate::spool::{Backlog, Settings, exactly};
use crate::unit::{JournalId, Micros, Ticket, TopicId, TopicIndex};
use crate::{limit, log::format::forwarded::Totals};
use carrier::{Carrier, Ends, Terms};
use crossbeam::channel::{Receiver, Sender, bounded};
use mail::{Command, Letter, Lot, Parcel, Ready, Word};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Room that is kept for what is no frame.
const COMMANDS_KEPT: usize = 4;

/// What changes with every frame. Borrowed for a moment, never across an await.
struct State {
    /// What the log is to record.
    cursor: Forwarded,
    /// What Kafka has, once that is known.
    ready: Option<Ready>,
    /// Frames that were handed over: when they were written, and what they hold.
    under_way: VecDeque<(Micros, Load, u64)>,
    bytes: u64,
    events: u64,
    letters: VecDeque<Letter>,
    /// Dead letters that wait to be durable.
    staged: VecDeque<(Ticket, Letter)>,
    /// The thread waits for them.
    letters_wanted: bool,
    /// It is to be told of them before the next frame.
    renewed: BTreeSet<TopicIndex>,
    /// More is committed than was recorded.
    dirty: bool,
    recording: Option<Rc<Receipt>>,
    recorded_at: Micros,
    measured: Load,
    came_before: Load,
    passed: Load,
    at_end: bool,
    repeated: u64,
    /// Delivered in whole batches.
    whole: u64,
    /// Events that the journal dropped, as the cursor counts them.
    dropped: u64,
    rate: Rate,
    bytes_rate: Rate,
    fault: Option<Arc<str>>,
}

/// What forwards one journal.
pub(in crate::shard) struct Exactly {
    core: Rc<Core>,
    id: JournalId,
    journal: Journal<Disk>,
    settings: Settings,
    pace: Pace,
    /// Under which Kafka knows who forwards.
    name: String,
    commands: Sender<Command>,
    words: Receiver<Word>,
    halt: Arc<AtomicBool>,
    /// The thread is gone.
    alone: Cell<bool>,
    state: RefCell<State>,
    news: Notify,
    pub(super) retrier: Retrier,
    stopping: Cell<bool>,
    ended: Notify,
    has_ended: Cell<bool>,
    /// What waits is known, or never will be.
    pub(super) known: Known,
}

impl Exactly {
    /// Starts the journal's thread, and begins where the cursors stand. To be called before the journal takes
    /// anything in.
    pub(super) fn open(
        core: &Rc<Core>,
        (id, journal): (JournalId, &Journal<Disk>),
        settings: &Settings,
        exactly: &exactly::Settings,
        (cpus, journals_in_store): (&[usize], u32),
    ) -> Result<(Rc<Self>, Bell), String> {
        let (ringer, bell) = bell().map_err(|error| error.to_string())?;
        let cursor = journal.begin_to_forward();
        let (commands, to_do) = bounded(limit::SPOOL_PARCELS_MAX + COMMANDS_KEPT);
        let (say, words) = bounded(limit::SPOOL_WORDS_MAX);
        let halt = Arc::new(AtomicBool::new(false));
        let terms = Terms {
            journal: id,
            cursor,
            kafka: Arc::new(settings.kafka.clone()),
            exactly: exactly.clone(),
            topic_wait: settings.topic_wait,
            brokers: whole::brokers(settings, id),
        };
        let ends = Ends {
            commands: to_do,
            words: say,
            ringer,
            stopping: Arc::clone(&halt),
        };
        let steps = settings.order.steps(settings.share);
        let carry = move || {
            host::yield_by(steps);
            Carrier::new(terms, ends).run();
        };
        let started = thread::start(format!("txn-{}", id.0), cpus, carry);
        started.map_err(|error| error.to_string())?;
        let name = cursor::name(cursor.identity, id);
        tracing::info!(
            "journal {}: forwarding in transactions as {name}; the log's cursor is {cursor}",
            id.0
        );
        let forwarder = Self {
            core: core.clone(),
            id,
            journal: journal.clone(),
            settings: settings.clone(),
            pace: Pace::of(settings, journals_in_store),
            name,
            commands,
            words,
            halt,
            alone: Cell::new(false),
            state: RefCell::new(State::new(cursor)),
            news: Notify::new(),
            retrier: Retrier::new(core, (id, journal), &settings.letters),
            stopping: Cell::new(false),
            ended: Notify::new(),
            has_ended: Cell::new(false),
            known: Known::default(),
        };
        Ok((Rc::new(forwarder), bell))
    }

    /// Something became durable.
    pub(super) fn wake(&self) {
        self.news.wake_all();
        self.retrier.wake();
    }

    /// Hears that the thread has something to say.
    pub(super) async fn hear(self: Rc<Self>, mut bell: Bell) {
        while bell.rung().await.is_ok() {
            self.news.wake_all();
        }
    }

    /// Forwards until it is stopped, or the log is not what Kafka's cursor says.
    pub(super) async fn run(self: Rc<Self>) {
        if let Err(why) = self.forward().await {
            let journal = self.id.0;
            let fault = format!("journal {journal} is no longer forwarded: {why}");
            tracing::error!("{fault}");
            self.state.borrow_mut().fault = Some(fault.into());
        }
        self.end().await;
        self.has_ended.set(true);
        self.ended.wake_all();
        self.retrier.end();
    }

    async fn forward(&self) -> Result<(), String> {
        let local = self.state.borrow().cursor;
        if let Ok(mut follower) = self.journal.follow(local) {
            // Kafka may be away for long, and what waits is known without it.
            self.measure(&mut follower).await;
        }
        self.known.set();
        let Some(Ready { found }) = self.ready().await? else {
            return Ok(());
        };
        let begin = self.choose(found)?;
        let follower = self.journal.follow(begin);
        let mut follower = follower.map_err(|error| self.explain(&error, &begin))?;
        self.measure(&mut follower).await;
        let _room = self.commands.try_send(Command::Begin(begin));
        while !self.stopping.get() {
            let news = self.news.wait();
            self.take_words()?;
            self.settle();
            let handed = self.hand_over(&mut follower).await;
            let handed = match handed {
                Err(FollowError::Gone { from, to }) if self.drops_oldest() => {
                    self.note_dropped(from.get(), to.get());
                    true
                }
                other => other.map_err(|error| self.explain(&error, &begin))?,
            };
            if self.write_letters() || handed {
                yield_if_needed().await;
            } else {
                let pause = self.pace.pause(self.core.clock.now());
                wait_beside(&mut follower, pause, news).await;
            }
        }
        Ok(())
    }

    /// What Kafka has of the journal, as soon as nobody else may add to it; `None` when this ends before.
    async fn ready(&self) -> Result<Option<Ready>, String> {
        while !self.stopping.get() {
            let news = self.news.wait();
            self.take_words()?;
            let ready = self.state.borrow().ready;
            if ready.is_some() {
                return Ok(ready);
            }
            let _news = timer::timeout(PAUSE, news).await;
        }
        Ok(None)
    }

    /// Where to begin: Kafka's cursor counts before the log's.
    fn choose(&self, found: Option<Forwarded>) -> Result<Forwarded, String> {
        let (local, name, journal) = (self.state.borrow().cursor, &self.name, self.id.0);
        let Some(found) = found else {
            if local.transacted {
                tracing::error!(
                    "journal {journal}: Kafka has no cursor of {name}, though it had one: its topic was removed, or \
                     this is another cluster; forwarding goes on behind the log's own: {local}"
                );
            }
            return Ok(local);
        };
        if found.store != local.store {
            return Err(format!(
                "Kafka's cursor of {name} ({found}) and the log's ({local}) are of two stores"
            ));
        }
        if found.upto < local.upto && !local.transacted {
            tracing::warn!(
                "journal {journal}: Kafka's cursor of {name} is {found}, and the log was forwarded without \
                 transactions since: going on behind {local}"
            );
            return Ok(local);
        }
        if found.upto < local.upto {
            tracing::error!(
                "journal {journal}: Kafka's cursor of {name} went back from {local} to {found}: what lies between \
                 is forwarded again"
            );
        }
        let dropped = local.totals.dropped;
        let totals = Totals {
            dropped,
            ..found.totals
        };
        Ok(Forwarded { totals, ..found })
    }

    fn explain(&self, error: &FollowError, begin: &Forwarded) -> String {
        let (name, local) = (&self.name, self.state.borrow().cursor);
        match error {
            FollowError::Disagrees { cursor, log } if begin.transacted => format!(
                "Kafka's cursor of {name} ({cursor}) and the log do not agree: {log}; the log's own cursor is {local}. \
                 If this store is a copy of another, or a loss was accepted, stop it and give it a name of its own: \
                 ringtail spool adopt --journal {}",
                self.id.0
            ),
            other => other.to_string(),
        }
    }

    async fn measure(&self, follower: &mut Follower<Disk>) {
        let (measured, came) = measure(&self.journal, follower).await;
        let mut state = self.state.borrow_mut();
        (state.measured, state.came_before) = (measured, came);
    }

    /// Hands the next frame over if there is room for it; `false` when there was nothing to do.
    async fn hand_over(&self, follower: &mut Follower<Disk>) -> Result<bool, FollowError> {
        let has_room = {
            let state = self.state.borrow();
            let few = state.bytes < self.settings.in_flight_bytes
                && state.events < limit::SPOOL_EVENTS_MAX;
            self.commands.len() < limit::SPOOL_PARCELS_MAX && (few || state.under_way.is_empty())
        };
        if !has_room || !self.pace.has_time(self.core.clock.now()) {
            return Ok(false);
        }
        let next = follower.next().await;
        self.pace.note(self.core.clock.now(), follower);
        let next = next?;
        let mut state = self.state.borrow_mut();
        state.at_end = next.is_none();
        let Some(followed) = next else {
            return Ok(false);
        };
        if followed.load.events == 0 {
            // What the log says of itself is no news for Kafka.
            state.passed.bytes += followed.load.bytes;
            return Ok(true);
        }
        drop(state);
        let parcel = self.parcel(follower, followed);
        let mut state = self.state.borrow_mut();
        let events = parcel.events;
        state
            .under_way
            .push_back((followed.time, followed.load, events));
        state.bytes += followed.load.bytes;
        state.events += events;
        self.tell_renewed(&mut state.renewed);
        let sent = self.commands.try_send(Command::Parcel(Box::new(parcel)));
        debug_assert!(sent.is_ok() || self.alone.get(), "there was room");
        Ok(true)
    }

    /// The frame that the follower stands on, with what of it is for Kafka.
    fn parcel(&self, follower: &mut Follower<Disk>, followed: Followed) -> Parcel {
        let (mut lots, mut events, mut skipped) = (Vec::new(), 0, 0);
        let wants_kind = self.settings.kafka.headers.contains(&Header::EventType);
        let table = self.core.table.borrow();
        let frame = follower.frame().expect("the follower has checked it");
        let batches = frame.batches().expect("the follower has checked it");
        for (batch, (row, _)) in (0..).zip(batches) {
            let records = u64::from(row.records);
            let Some((topic, name)) = self.target(row.topic) else {
                skipped += records;
                continue;
            };
            if *name == *self.settings.letters {
                continue;
            }
            events += records;
            let kind = table.pattern().kind_of(&name).filter(|_| wants_kind);
            lots.push(Lot {
                batch,
                topic,
                kind: kind.map(Arc::from),
                name,
            });
        }
        Parcel {
            followed,
            frame: follower.take_frame(),
            lots,
            events,
            skipped,
        }
    }

    /// The topic of this id; `None` when it was deleted.
    fn target(&self, id: TopicId) -> Option<(TopicIndex, Arc<str>)> {
        let target = self.journal.topic(id)?;
        self.journal.has_topic(target.0).then_some(target)
    }

    fn drops_oldest(&self) -> bool {
        self.settings.overflow == Overflow::DropOldest
    }

    fn note_dropped(&self, from: u64, to: u64) {
        let (journal, dropped) = (self.id.0, self.journal.dropped());
        tracing::error!(
            "journal {journal}: frames {from} to {} went before they were forwarded, for the store holds no more; \
             {dropped} acknowledged events were dropped since the start",
            to - 1
        );
    }

    /// Nothing more is handed over; what is under way has some time to be committed.
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

    async fn end(&self) {
        self.halt.store(true, Ordering::Release);
        let thread = async {
            loop {
                let news = self.news.wait();
                // Why it has ended was told.
                let _told = self.take_words();
                self.settle();
                self.write_letters();
                if self.alone.get() {
                    return;
                }
                let _news = timer::timeout(PAUSE, news).await;
            }
        };
        // A call of librdkafka may last for as long as one question to a cluster that is away.
        let wait = self.settings.kafka.flush_wait + CURSOR_WAIT;
        let _in_time = timer::timeout(wait, thread).await;
        if self.journal.fault().is_none() {
            let _durable = timer::timeout(CURSOR_WAIT, self.record_last()).await;
        }
    }

    /// How much waits, and what became of what did.
    pub(super) fn backlog(&self) -> Backlog {
        let now = self.core.clock.now();
        let state = self.state.borrow();
        let (came, dropped) = (self.journal.came(), self.journal.dropped());
        let idle = state.at_end && state.under_way.is_empty();
        let (measured, before, passed) = (state.measured, state.came_before, state.passed);
        let gone = passed.events + dropped;
        let events = behind(measured.events, came.events, before.events, gone);
        let bytes = behind(measured.bytes, came.bytes, before.bytes, passed.bytes);
        let totals = state.cursor.totals;
        let oldest = state.under_way.front();
        Backlog {
            journal: self.id,
            events: if idle { 0 } else { events },
            bytes: if idle { 0 } else { bytes },
            oldest_us: oldest.map_or(0, |(oldest, ..)| now.since(*oldest)),
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
            in_flight: state.events,
            fault: state.fault.clone(),
        }
    }
}

impl State {
    fn new(cursor: Forwarded) -> Self {
        Self {
            cursor,
            ready: None,
            under_way: VecDeque::new(),
            bytes: 0,
            events: 0,
            letters: VecDeque::new(),
            staged: VecDeque::new(),
            letters_wanted: false,
            renewed: BTreeSet::new(),
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
            rate: Rate::default(),
            bytes_rate: Rate::default(),
            fault: None,
        }
    }
}
