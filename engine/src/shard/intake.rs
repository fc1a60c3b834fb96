//! From a whole message to its destination: decode, route, append or send, remember who waits.

use super::Settings;
use super::answer::To;
use super::claims::{Claims, Place};
use super::dedupe::{Dedupe, Key};
use super::deliver::Delivery;
use super::destination::Destination;
use super::mail::Report;
use super::probe::Probe;
use super::routing::{Asked, Refused};
use super::settle::Waiter;
use super::twin::Twin;
use super::volumes::Disk;
use crate::ack::Ledger;
use crate::event::Batch;
use crate::frame::Encoding;
use crate::log::Origin;
use crate::log::format::origin::{Door, OriginRow};
use crate::log::journal::{AppendError, Journal, Request, RoutedEvent};
use crate::net::{Call, Intake, Note, Outbox, Peer, Protocol, Unwelcome, Wait};
use crate::route::Table;
use crate::rt::notify::Notify;
use crate::shard::clock::{Clock, MachineClock};
use crate::unit::{Micros, ShardId, Ticket};
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

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
    /// When requests are known again by their guids.
    pub(super) dedupe: Option<Dedupe>,
}

/// One shard, as its tasks share it.
pub(super) struct Core {
    pub(super) id: ShardId,
    pub(super) settings: Settings,
    pub(super) clock: Rc<MachineClock>,
    pub(super) destination: Destination,
    pub(super) table: RefCell<Arc<Table>>,
    pub(super) work: RefCell<Work>,
    pub(super) claims: Rc<Claims>,
    pub(super) room: Notify,
    pub(super) topics: Notify,
    pub(super) posted: Notify,
    /// There may be words for other shards.
    pub(super) said: Notify,
    /// Another shard said what became of a request.
    pub(super) twins: Notify,
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
    Undecodable {
        reason: String,
        guid: String,
    },
    Refused(Refused),
    Failed(Arc<str>),
    /// It was there before.
    Repeated(Twin),
}

/// A message on its way in.
pub(super) struct Arrival<'a> {
    pub(super) peer: &'a Peer,
    /// The number of a WebSocket, which no other has on this shard.
    pub(super) connection: Option<u64>,
    pub(super) door: Door,
    pub(super) encoding: Encoding,
    pub(super) message: &'a [u8],
}

impl Core {
    /// The shard of this number, of so many.
    pub(super) fn new(
        (id, shards): (ShardId, u32),
        settings: Settings,
        clock: Rc<MachineClock>,
        (destination, table): (Destination, Arc<Table>),
        claims: Rc<Claims>,
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
            dedupe: settings
                .dedupe
                .clone()
                .map(|dedupe| Dedupe::new(id, shards, dedupe)),
        };
        Self {
            id,
            settings,
            clock,
            destination,
            table: RefCell::new(table),
            work: RefCell::new(work),
            claims,
            room: Notify::new(),
            topics: Notify::new(),
            posted: Notify::new(),
            said: Notify::new(),
            twins: Notify::new(),
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
        match self.accept(work, arrival, now) {
            Ok((Taken::ByJournal(ticket, safe), key)) => {
                self.remember(work, arrival, to, (ticket, safe, key, now));
                Ok(())
            }
            Ok((Taken::ByKafka(delivery), key)) => {
                self.send(delivery, work, arrival, to, (key, now));
                Ok(())
            }
            Err(Stop::Wait(wait)) => Err(wait),
            Err(Stop::Repeated(twin)) => {
                self.repeat(work, arrival, to, (twin, now));
                Ok(())
            }
            Err(stop) => {
                self.refuse(work, arrival, to, (stop, now));
                Ok(())
            }
        }
    }

    /// Gives who has the request now, and the key that it settles.
    fn accept(
        &self,
        work: &mut Work,
        arrival: &Arrival<'_>,
        now: Micros,
    ) -> Result<(Taken<'_>, Option<Key>), Stop> {
        work.batch
            .decode(arrival.encoding, arrival.message)
            .map_err(|refusal| Stop::Undecodable {
                reason: refusal.reason,
                guid: refusal.guid,
            })?;
        let key = self.look_back(work, arrival, now)?;
        let taken = self.hand_over(work, arrival, now);
        if !matches!(taken, Ok(_) | Err(Stop::Wait(_))) {
            self.free_guid(work, key);
        }
        let taken = taken?;
        let key = key.and_then(|key| work.dedupe.as_mut()?.take(key));
        Ok((taken, key))
    }

    /// Finds the topics, and the destination's room.
    fn hand_over(
        &self,
        work: &mut Work,
        arrival: &Arrival<'_>,
        now: Micros,
    ) -> Result<Taken<'_>, Stop> {
        self.route(work, arrival.message)?;
        match &self.destination {
            Destination::Journal(journal) => {
                let (ticket, safe) = self.append(journal, work, arrival, now)?;
                Ok(Taken::ByJournal(ticket, safe))
            }
            Destination::Kafka(delivery) => {
                self.check_queues(delivery, work, now)?;
                Ok(Taken::ByKafka(delivery))
            }
        }
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
}

impl Intake for Shard {
    type Place = Place;

    async fn admit(&self, outbox: &Rc<Outbox>) -> Result<Place, Unwelcome> {
        self.0.claims.admit(outbox).await
    }

    fn is_alive(&self, place: &Place) {
        place.is_alive();
    }

    fn offer_message(
        &self,
        outbox: &Rc<Outbox>,
        encoding: Encoding,
        message: &[u8],
    ) -> Result<(), Wait> {
        let arrival = Arrival {
            peer: &outbox.peer,
            connection: Some(outbox.number),
            door: Door::WebSocket,
            encoding,
            message,
        };
        self.0.take(&arrival, To::Socket(outbox.clone()))
    }

    fn offer_call(&self, call: &Rc<Call>, encoding: Encoding, body: &[u8]) -> Result<(), Wait> {
        let arrival = Arrival {
            peer: &call.peer,
            connection: None,
            door: match call.protocol {
                Protocol::Rest => Door::Rest,
                Protocol::Grpc | Protocol::GrpcStream => Door::Grpc,
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
            Wait::Twin => self.0.twins.wait().await,
        }
    }

    fn note(&self, note: Note) {
        let default = &self.0.settings.net.conn_group_default;
        self.0.work.borrow_mut().probe.note(default, note);
    }

    fn note_of(&self, peer: &Peer, note: Note) {
        let mut work = self.0.work.borrow_mut();
        work.probe.note(&peer.conn_group, note);
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
