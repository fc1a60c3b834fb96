//! From a whole message to its destination: decode, route, append or send, remember who waits.

use super::Settings;
use super::answer::To;
use super::deliver::Delivery;
use super::destination::Destination;
use super::mail::Report;
use super::probe::Probe;
use super::settle::Waiter;
use super::volumes::Disk;
use crate::ack::Ledger;
use crate::event::Batch;
use crate::event::answer::EventFault;
use crate::frame::Encoding;
use crate::limit::{self, EVENT_BYTES_MAX, EVENT_FAULTS_MAX, REASON_BYTES_MAX};
use crate::log::Origin;
use crate::log::format::origin::{Door, OriginRow};
use crate::log::journal::{AppendError, Journal, Request, RoutedEvent};
use crate::net::{Call, Intake, Note, Outbox, Peer, Protocol, Wait};
use crate::route::Table;
use crate::rt::notify::Notify;
use crate::shard::clock::{Clock, MachineClock};
use crate::unit::{Micros, ShardId, Ticket};
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

/// Types that may be asked for at one time; more wait for room.
const ASKED_MAX: usize = 4096;

/// What became of a type that the control core was asked about.
pub(super) enum Asked {
    Pending,
    Refused(Arc<str>),
}

/// What changes with every request. Borrowed for a moment, never across an await.
pub(super) struct Work {
    pub(super) batch: Batch,
    pub(super) routed: Vec<RoutedEvent>,
    /// Types in the message at hand that have no topic yet.
    pub(super) missing: Vec<Box<str>>,
    pub(super) ledger: Ledger<Waiter>,
    pub(super) probe: Probe,
    pub(super) in_flight_bytes: usize,
    pub(super) asked: HashMap<Box<str>, Asked>,
    pub(super) posts: VecDeque<Report>,
}

/// One shard, as its tasks share it.
pub(super) struct Core {
    pub(super) id: ShardId,
    pub(super) settings: Settings,
    pub(super) clock: Rc<MachineClock>,
    pub(super) destination: Destination,
    pub(super) table: RefCell<Arc<Table>>,
    pub(super) work: RefCell<Work>,
    pub(super) room: Notify,
    pub(super) topics: Notify,
    pub(super) posted: Notify,
}

/// The shard as its doors see it.
#[derive(Clone)]
pub(super) struct Shard(pub(super) Rc<Core>);

/// Who has taken a message, or is to.
enum Taken<'a> {
    /// What to wait for, and whether it is durable already.
    ByJournal(Ticket, bool),
    ByKafka(&'a Delivery),
}

/// Why a message was not accepted.
pub(super) enum Stop {
    Wait(Wait),
    Undecodable { reason: String, guid: String },
    Refused(Refused),
    Failed(Arc<str>),
}

/// Why a request can never be accepted.
#[derive(Default)]
pub(super) struct Refused {
    /// It sums up.
    pub(super) reason: String,
    /// The first events that are why.
    pub(super) events: Vec<EventFault>,
    /// How many there are in all.
    count: usize,
}

impl Refused {
    pub(super) fn whole(reason: String) -> Self {
        Self {
            reason,
            ..Self::default()
        }
    }

    pub(super) fn add(&mut self, index: usize, why: &str) {
        self.count += 1;
        if self.events.len() < EVENT_FAULTS_MAX {
            self.events.push(EventFault {
                index: index as u32,
                reason: limit::cut(why, REASON_BYTES_MAX).into(),
            });
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Says in one sentence what is wrong with how many of `events`.
    pub(super) fn sum_up(mut self, events: usize) -> Self {
        if let Some(first) = self.events.first() {
            let (index, why) = (first.index, &first.reason);
            self.reason = match self.count {
                1 => format!("event {index}: {why}"),
                count => format!("{count} of {events} events, the first is event {index}: {why}"),
            };
        }
        self
    }
}

/// A message on its way in.
pub(super) struct Arrival<'a> {
    pub(super) peer: &'a Peer,
    pub(super) door: Door,
    pub(super) encoding: Encoding,
    pub(super) message: &'a [u8],
}

impl Core {
    pub(super) fn new(
        id: ShardId,
        settings: Settings,
        clock: Rc<MachineClock>,
        destination: Destination,
        table: Arc<Table>,
    ) -> Self {
        let work = Work {
            batch: Batch::default(),
            routed: Vec::new(),
            missing: Vec::new(),
            ledger: Ledger::default(),
            probe: Probe::new(settings.labels_max),
            in_flight_bytes: 0,
            asked: HashMap::new(),
            posts: VecDeque::new(),
        };
        Self {
            id,
            settings,
            clock,
            destination,
            table: RefCell::new(table),
            work: RefCell::new(work),
            room: Notify::new(),
            topics: Notify::new(),
            posted: Notify::new(),
        }
    }

    /// Sends a letter to the control core as soon as its mailbox has room.
    pub(super) fn post(&self, report: Report) {
        self.work.borrow_mut().posts.push_back(report);
        self.posted.wake_all();
    }

    /// Takes a message for good, or says what to wait for.
    fn take(&self, arrival: &Arrival<'_>, to: To) -> Result<(), Wait> {
        let mut work = self.work.borrow_mut();
        let work = &mut *work;
        // A journal that refuses answers at once: nobody waits for room that will not come.
        let budget = work.in_flight_bytes < self.settings.in_flight_bytes_max;
        let room = budget && self.destination.has_room(arrival.message.len());
        if !room && self.destination.waits_for_room() {
            work.probe.counters.reads_paused += 1;
            return Err(Wait::Room);
        }
        let now = self.clock.now();
        let accepted = self.understand(work, arrival);
        let accepted = accepted.and_then(|()| match &self.destination {
            Destination::Journal(journal) => {
                let (ticket, safe) = self.append(journal, work, arrival, now)?;
                Ok(Taken::ByJournal(ticket, safe))
            }
            Destination::Kafka(delivery) => {
                self.check_queues(delivery, work, now)?;
                Ok(Taken::ByKafka(delivery))
            }
        });
        match accepted {
            Ok(Taken::ByJournal(ticket, safe)) => {
                self.remember(work, arrival, to, (ticket, safe, now));
                Ok(())
            }
            Ok(Taken::ByKafka(delivery)) => {
                self.send(delivery, work, arrival, to, now);
                Ok(())
            }
            Err(Stop::Wait(wait)) => Err(wait),
            Err(stop) => {
                self.refuse(work, arrival, to, (stop, now));
                Ok(())
            }
        }
    }

    /// Decodes a message and finds its topics.
    fn understand(&self, work: &mut Work, arrival: &Arrival<'_>) -> Result<(), Stop> {
        work.batch
            .decode(arrival.encoding, arrival.message)
            .map_err(|refusal| Stop::Undecodable {
                reason: refusal.reason,
                guid: refusal.guid,
            })?;
        self.route(work, arrival.message)
    }

    /// Puts the batch into the journal's open frame. The ticket to wait for, and whether it is durable already.
    fn append(
        &self,
        journal: &Journal<Disk>,
        work: &mut Work,
        arrival: &Arrival<'_>,
        now: Micros,
    ) -> Result<(Ticket, bool), Stop> {
        let source = work.batch.source(arrival.message);
        let table = self.table.borrow();
        let kinds: Vec<&[u8]> = if table.pattern().tells_kind() {
            Vec::new()
        } else {
            work.batch
                .events
                .iter()
                .map(|event| event.kind.of(source))
                .collect()
        };
        let request = Request {
            source,
            events: &work.routed,
            origin: self.origin(arrival, &work.batch, now),
            kinds: &kinds,
        };
        match journal.append(now, &request) {
            Ok(ticket) => {
                let safe = Some(ticket) <= journal.durable() || ticket == Ticket::NONE;
                Ok((ticket, safe))
            }
            Err(AppendError::Full) => {
                work.probe.counters.reads_paused += 1;
                Err(Stop::Wait(Wait::Room))
            }
            Err(error @ AppendError::TooLarge { .. }) => {
                Err(Stop::Refused(Refused::whole(error.to_string())))
            }
            Err(AppendError::Refused(reason)) => Err(Stop::Failed(reason)),
        }
    }

    fn origin<'a>(
        &self,
        arrival: &Arrival<'a>,
        batch: &'a Batch,
        now: Micros,
    ) -> Option<OriginRow<'a>> {
        let keep = self.settings.log.origin;
        if keep == Origin::None {
            return None;
        }
        let full = keep == Origin::Full;
        let source = batch.source(arrival.message);
        Some(OriginRow {
            door: arrival.door,
            received: now,
            sent: batch.sent_time.map(|sent| (sent.seconds, sent.nanos)),
            conn_id: if full { &arrival.peer.conn_id } else { &[] },
            conn_group: arrival.peer.conn_group.as_bytes(),
            guid: if full { batch.guid.of(source) } else { &[] },
        })
    }

    /// Finds every event's topic. A type that has none is asked for, once.
    fn route(&self, work: &mut Work, message: &[u8]) -> Result<(), Stop> {
        let table = self.table.borrow();
        let source = work.batch.source(message);
        work.routed.clear();
        work.missing.clear();
        let mut refused = Refused::default();
        let mut last: Option<(&[u8], RoutedEvent)> = None;
        for (index, event) in work.batch.events.iter().enumerate() {
            if EVENT_BYTES_MAX < event.payload.bytes as usize {
                let bytes = event.payload.bytes;
                let why = format!("it has {bytes} bytes; at most {EVENT_BYTES_MAX} are allowed");
                refused.add(index, &why);
                continue;
            }
            let kind = event.kind.of(source);
            let topic = match &last {
                Some((known, routed)) if *known == kind => Some(routed.topic),
                _ => table.route(kind),
            };
            let Some(topic) = topic else {
                if let Err(why) = note_missing(&table, kind, &mut work.missing) {
                    refused.add(index, &why);
                }
                continue;
            };
            let (start, bytes) = (event.payload.start, event.payload.bytes);
            let routed = RoutedEvent {
                topic,
                start,
                bytes,
            };
            work.routed.push(routed);
            last = Some((kind, routed));
        }
        if refused.count > 0 {
            return Err(Stop::Refused(refused.sum_up(work.batch.events.len())));
        }
        if work.missing.is_empty() {
            Ok(())
        } else {
            Err(self.ask(work))
        }
    }

    /// Asks the control core for the topics of the missing types, or takes its refusal.
    fn ask(&self, work: &mut Work) -> Stop {
        for kind in &work.missing {
            if let Some(Asked::Refused(_)) = work.asked.get(kind)
                && let Some(Asked::Refused(reason)) = work.asked.remove(kind)
            {
                return Stop::Failed(reason);
            }
        }
        if ASKED_MAX <= work.asked.len() {
            // Refusals whose requests have gone must not keep others from asking.
            work.asked
                .retain(|_, asked| matches!(asked, Asked::Pending));
        }
        let mut kinds = Vec::new();
        for kind in work.missing.drain(..) {
            if work.asked.len() < ASKED_MAX && !work.asked.contains_key(&kind) {
                work.asked.insert(kind.clone(), Asked::Pending);
                kinds.push(kind);
            }
        }
        if !kinds.is_empty() {
            work.posts.push_back(Report::WantTopics {
                shard: self.id,
                kinds,
            });
            self.posted.wake_all();
        }
        Stop::Wait(Wait::Topics)
    }
}

impl Shard {
    fn note_in(probe: &mut Probe, group: &str, note: Note) {
        // The one that comes with every read needs no group.
        if let Note::BytesReceived(bytes) = note {
            probe.counters.received_bytes += bytes;
            return;
        }
        let group = probe.census.group(group);
        let (counters, group) = (&mut probe.counters, probe.census.counts(group));
        match note {
            Note::Connected => {
                counters.connections_opened += 1;
                counters.connections_current += 1;
                group.connections_opened += 1;
                group.connections_current += 1;
            }
            Note::Disconnected { lived_us } => {
                counters.connections_current -= 1;
                group.connections_current = group.connections_current.saturating_sub(1);
                group.session_ms.record(lived_us / 1_000);
            }
            Note::UpgradeFailed => {
                counters.connections_failed += 1;
                group.connections_failed += 1;
            }
            Note::ProtocolError { .. } => {
                counters.protocol_errors += 1;
                group.protocol_errors += 1;
            }
            Note::ReadError => {
                counters.read_errors += 1;
                group.read_errors += 1;
            }
            Note::UnknownContentType => {
                counters.unknown_content_type += 1;
                group.unknown_content_type += 1;
            }
            Note::BytesReceived(_) => {}
        }
    }
}

/// Notes a type that no topic is known for; says why there can be none.
fn note_missing(table: &Table, kind: &[u8], missing: &mut Vec<Box<str>>) -> Result<(), String> {
    let kind = std::str::from_utf8(kind).unwrap_or_default();
    table.pattern().topic_name(kind)?;
    if let Some(reason) = &table.closed {
        return Err((**reason).into());
    }
    if !missing.iter().any(|known| **known == *kind) {
        missing.push(kind.into());
    }
    Ok(())
}

impl Intake for Shard {
    fn offer_message(
        &self,
        outbox: &Rc<Outbox>,
        encoding: Encoding,
        message: &[u8],
    ) -> Result<(), Wait> {
        let arrival = Arrival {
            peer: &outbox.peer,
            door: Door::WebSocket,
            encoding,
            message,
        };
        self.0.take(&arrival, To::Socket(outbox.clone()))
    }

    fn offer_call(&self, call: &Rc<Call>, encoding: Encoding, body: &[u8]) -> Result<(), Wait> {
        let arrival = Arrival {
            peer: &call.peer,
            door: match call.protocol {
                Protocol::Rest => Door::Rest,
                Protocol::Grpc => Door::Grpc,
            },
            encoding,
            message: body,
        };
        self.0.take(&arrival, To::Call(call.clone()))
    }

    async fn until(&self, wait: Wait) {
        match wait {
            Wait::Room => self.0.room.wait().await,
            Wait::Topics => self.0.topics.wait().await,
        }
    }

    fn note(&self, note: Note) {
        let default = &self.0.settings.net.conn_group_default;
        Self::note_in(&mut self.0.work.borrow_mut().probe, default, note);
    }

    fn note_of(&self, peer: &Peer, note: Note) {
        Self::note_in(&mut self.0.work.borrow_mut().probe, &peer.conn_group, note);
    }

    fn is_ready(&self) -> bool {
        self.0.destination.fault().is_none()
    }

    fn now_seconds(&self) -> i64 {
        self.0.clock.now().seconds()
    }

    fn now(&self) -> Micros {
        self.0.clock.now()
    }
}
