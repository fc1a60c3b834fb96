//! Who waits for a commit, and what they are told when it is durable, or never will be.

use super::answer::{Guid, To, Verdict, give};
use super::census::{Entries, GroupIndex};
use super::dedupe::Key;
use super::intake::{Arrival, Core, Stop, Work};
use super::routing::Asked;
use super::twin::Twin;
use crate::event::SentTime;
use crate::event::answer::EventFault;
use crate::frame::Encoding;
use crate::route::Table;
use crate::shard::Acknowledge;
use crate::shard::clock::Clock;
use crate::unit::{Micros, Ticket};
use std::sync::Arc;

/// A request whose answer waits for a commit.
pub(super) struct Waiter {
    /// `None` when it was answered at receipt.
    pub(super) to: Option<To>,
    pub(super) encoding: Encoding,
    pub(super) guid: Guid,
    pub(super) received: Micros,
    pub(super) bytes: u32,
    pub(super) events: u32,
    pub(super) group: GroupIndex,
    /// What the census keeps of it until it is settled.
    pub(super) entries: Entries,
    /// Milliseconds since 1970 by the client's clock.
    pub(super) sent_ms: Option<i64>,
    /// A refusal that only waits for its turn.
    pub(super) refusal: Option<Box<Refusal>>,
    /// Where requests are known again: what it has to do with others.
    pub(super) twin: Option<Twin>,
}

impl Waiter {
    /// A request that was there before, which waits for its turn or for the one before it.
    pub(super) fn repeated(
        arrival: &Arrival<'_>,
        to: To,
        guid: &str,
        (twin, group, now): (Twin, GroupIndex, Micros),
    ) -> Self {
        Self {
            to: Some(to),
            encoding: arrival.encoding,
            guid: Guid::new(guid),
            received: now,
            bytes: arrival.message.len() as u32,
            events: 0,
            group,
            entries: Entries::NONE,
            sent_ms: None,
            refusal: None,
            twin: Some(twin),
        }
    }

    fn is_repeated(&self) -> bool {
        matches!(self.twin, Some(Twin::Known | Twin::Repeats(_)))
    }
}

/// What a repeated request is told when the one before it failed.
pub(super) const TWIN_FAILED: &str =
    "the request with this guid that came before failed; send it again";

pub(super) struct Refusal {
    reason: Box<str>,
    events: Vec<EventFault>,
    kind: Kind,
}

/// What a refused request is told, beside the reason.
#[derive(Clone, Copy)]
enum Kind {
    Undecodable,
    Refused,
    Failed,
}

impl Kind {
    fn verdict<'a>(self, reason: &'a str, events: &'a [EventFault]) -> Verdict<'a> {
        match self {
            Self::Undecodable => Verdict::Undecodable(reason),
            Self::Refused => Verdict::Refused(reason, events),
            Self::Failed => Verdict::Failed(reason, events),
        }
    }
}

impl Core {
    pub(super) fn remember(
        &self,
        work: &mut Work,
        arrival: &Arrival<'_>,
        to: To,
        (ticket, safe, key, now): (Ticket, bool, Option<Key>, Micros),
    ) {
        let bytes = arrival.message.len();
        let counters = &mut work.probe.counters;
        counters.batches_accepted += 1;
        counters.events_accepted += work.routed.len() as u64;
        let group = work.probe.census.group(&arrival.peer.conn_group);
        work.probe.census.counts(group).batches_accepted += 1;
        let mut payload = 0;
        let runs = work.routed.chunk_by(|one, other| one.topic == other.topic);
        let entries = work.probe.census.receive(
            group,
            runs.map(|run| {
                let run_bytes = run.iter().map(|event| u64::from(event.bytes)).sum();
                payload += run_bytes;
                (run[0].topic, run.len() as u64, run_bytes)
            }),
        );
        work.probe.counters.events_accepted_bytes += payload;
        let source = work.batch.source(arrival.message);
        let guid = std::str::from_utf8(work.batch.guid.of(source)).unwrap_or_default();
        let encoding = arrival.encoding;
        let answered = self.settings.ack == Acknowledge::Received || (safe && to.is_free());
        if answered {
            give(&to, encoding, guid, Verdict::Accepted, (now, false));
            if safe {
                if let (Some(dedupe), Some(key)) = (&mut work.dedupe, key) {
                    dedupe.settle(key, true, now);
                    self.said.wake_all();
                }
                return;
            }
        }
        let guid = if answered {
            Guid::new("")
        } else {
            Guid::new(guid)
        };
        if !answered && let To::Socket(outbox) = &to {
            outbox.expect_answer();
        }
        work.in_flight_bytes += bytes;
        work.ledger.push(
            ticket,
            Waiter {
                to: (!answered).then_some(to),
                encoding,
                guid,
                received: now,
                bytes: bytes as u32,
                events: work.routed.len() as u32,
                group,
                entries,
                sent_ms: work.batch.sent_time.map(SentTime::millis),
                refusal: None,
                twin: key.map(Twin::First),
            },
        );
    }

    /// Answers a refusal: at once, or behind the answers that this connection still waits for where those leave in
    /// their order.
    pub(super) fn refuse(
        &self,
        work: &mut Work,
        arrival: &Arrival<'_>,
        to: To,
        (stop, now): (Stop, Micros),
    ) {
        let group = work.probe.census.group(&arrival.peer.conn_group);
        let counters = &mut work.probe.counters;
        let encoding = arrival.encoding;
        let source = work.batch.source(arrival.message);
        let guid = std::str::from_utf8(work.batch.guid.of(source)).unwrap_or_default();
        let mut events = Vec::new();
        let (guid, reason, kind) = match &stop {
            Stop::Undecodable { reason, guid } => {
                counters.batches_refused_serde += 1;
                work.probe.census.counts(group).batches_undecodable += 1;
                (guid.as_str(), reason.as_str(), Kind::Undecodable)
            }
            Stop::Refused(refused) => {
                counters.batches_refused_policy += 1;
                work.probe.census.counts(group).batches_refused += 1;
                events.clone_from(&refused.events);
                (guid, refused.reason.as_str(), Kind::Refused)
            }
            Stop::Failed(reason) => {
                counters.batches_refused_log += 1;
                (guid, &**reason, Kind::Failed)
            }
            Stop::Wait(_) | Stop::Repeated(_) => unreachable!("neither is a refusal"),
        };
        let in_line = self.destination.last_ticket();
        let Some(in_line) = in_line.filter(|_| !to.is_free()) else {
            let verdict = kind.verdict(reason, &events);
            return give(&to, encoding, guid, verdict, (now, false));
        };
        if let To::Socket(outbox) = &to {
            outbox.expect_answer();
        }
        work.in_flight_bytes += arrival.message.len();
        work.ledger.push(
            in_line,
            Waiter {
                to: Some(to),
                encoding,
                guid: Guid::new(guid),
                received: now,
                bytes: arrival.message.len() as u32,
                events: 0,
                group,
                entries: Entries::NONE,
                sent_ms: None,
                refusal: Some(Box::new(Refusal {
                    reason: reason.into(),
                    events,
                    kind,
                })),
                twin: None,
            },
        );
    }

    /// Answers everybody whose commit is not above `upto`: with success, or with why there is none.
    pub(super) fn settle(&self, upto: Ticket, failure: Option<&str>) {
        let now = self.clock.now();
        let mut work = self.work.borrow_mut();
        let work = &mut *work;
        while let Some(waiter) = work.ledger.pop(upto) {
            work.in_flight_bytes -= waiter.bytes as usize;
            if let (Some(dedupe), Some(Twin::First(key))) = (&mut work.dedupe, waiter.twin) {
                dedupe.settle(key, failure.is_none(), now);
            }
            let verdict = verdict(work, &waiter, failure);
            let counters = &mut work.probe.counters;
            work.probe.census.settle(waiter.entries, failure.is_none());
            match verdict {
                _ if waiter.is_repeated() => {}
                Verdict::Accepted => {
                    let since_sent = waiter.sent_ms.map(|sent| now.millis().abs_diff(sent));
                    let (events, waited) = (waiter.events.into(), now.since(waiter.received));
                    work.probe
                        .count_safe(waiter.group, events, waited, since_sent);
                }
                // It was counted when it came.
                Verdict::Failed(..) if waiter.refusal.is_some() => {}
                Verdict::Failed(..) if waiter.to.is_none() => {
                    counters.events_lost_after_receipt += u64::from(waiter.events);
                }
                Verdict::Failed(..) => counters.batches_refused_log += 1,
                _ => {}
            }
            if let Some(to) = &waiter.to {
                give(
                    to,
                    waiter.encoding,
                    waiter.guid.text(),
                    verdict,
                    (now, true),
                );
            }
        }
        self.destination.take_commits(|commit| {
            let counters = &mut work.probe.counters;
            counters.commits += 1;
            counters.committed_bytes += commit.bytes;
            counters.events_durable += commit.events;
            counters.events_durable_bytes += commit.event_bytes;
            work.probe.count_flush(commit.flush_us);
            work.probe.commit_bytes.saturating_record(commit.bytes);
        });
        self.room.wake_all();
        self.said.wake_all();
    }

    /// A new table: requests that waited for topics may find them.
    pub(super) fn take_table(&self, table: Arc<Table>) {
        {
            let mut work = self.work.borrow_mut();
            work.asked
                .retain(|kind, _| table.route(kind.as_bytes()).is_none() && table.closed.is_none());
        }
        let names = table
            .topics()
            .iter()
            .map(|topic| (topic.id, topic.name.clone()));
        self.destination.learn(names);
        *self.table.borrow_mut() = table;
        self.topics.wake_all();
    }

    pub(super) fn take_refusal(&self, kinds: Vec<Box<str>>, reason: &Arc<str>) {
        {
            let mut work = self.work.borrow_mut();
            for kind in kinds {
                work.asked.insert(kind, Asked::Refused(reason.clone()));
            }
        }
        self.topics.wake_all();
    }

    pub(super) fn in_flight_bytes(&self) -> usize {
        self.work.borrow().in_flight_bytes
    }
}

/// What a request comes to whose commit is durable, or failed for this reason.
fn verdict<'a>(work: &Work, waiter: &'a Waiter, failure: Option<&'a str>) -> Verdict<'a> {
    match (&waiter.refusal, waiter.twin, failure) {
        (Some(refusal), ..) => refusal.kind.verdict(&refusal.reason, &refusal.events),
        // The one before was settled before, whatever became of the commit that this one waited for.
        (None, Some(Twin::Repeats(key)), _) => match &work.dedupe {
            Some(dedupe) if dedupe.is_durable(key) => Verdict::Accepted,
            _ => Verdict::Failed(TWIN_FAILED, &[]),
        },
        (None, Some(Twin::Known), _) | (None, _, None) => Verdict::Accepted,
        (None, _, Some(reason)) => Verdict::Failed(reason, &[]),
    }
}
