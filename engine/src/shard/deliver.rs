//! Events on their way to Kafka, and the answers that wait for all events of a request.
//!
//! Always:  each event that was sent settles once; a request is answered when its last event has settled, with
//!          success when all were delivered, else with librdkafka's words for the events that were not. Answers
//!          leave as they come: one slow topic holds up its own requests alone.
//! Core:    one shard.
//! Full:    the shard's budget bounds what waits. A topic that holds a quarter of it stops those who send to it, and
//!          when nothing of it has been delivered for a while they are refused instead; the others go on.

use super::answer::{Guid, To, Verdict, give};
use super::census::{Entries, Fate};
use super::dedupe;
use super::intake::{Arrival, Core, Stop, Work};
use super::routing::Refused;
use super::settle::{TWIN_FAILED, Waiter};
use super::twin::Twin;
use crate::event::{Batch, SentTime};
use crate::kafka::writer::{Mark, RECORD_OVERHEAD_BYTES, Record, Settled, Word, Writer};
use crate::kafka::{Header, Key, Settings};
use crate::net::Wait;
use crate::rt::executor::yield_if_needed;
use crate::rt::notify::Notify;
use crate::rt::timer;
use crate::rt::wake::Bell;
use crate::shard::Acknowledge;
use crate::shard::clock::Clock;
use crate::unit::{Micros, TopicIndex};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// A topic with much to deliver that has delivered nothing for so long refuses more.
const STALLED_US: u64 = 3_000_000;
/// What librdkafka says is taken in so many words before other tasks have their turn.
const WORDS_AT_ONCE: usize = 512;
/// How long the end waits for what was given up to come back.
const GIVE_UP_WAIT: Duration = Duration::from_secs(5);

/// A shard's way to Kafka.
pub(super) struct Delivery {
    writer: Writer,
    settings: Settings,
    /// What one topic may hold of the budget before its senders wait.
    topic_bytes_max: usize,
    requests: RefCell<Requests>,
    /// Repetitions of requests that have not settled.
    repeated: RefCell<HashMap<dedupe::Key, Vec<Waiter>>>,
    /// Why the cluster cannot be reached, by the control core's word.
    fault: RefCell<Option<Arc<str>>>,
    /// Everything has settled.
    quiet: Notify,
}

/// A request whose events are not all settled.
struct Request {
    waiter: Waiter,
    /// Events that have not settled.
    missing: u32,
    refused: Refused,
}

/// Requests by their number; numbers of settled ones are used again.
#[derive(Default)]
struct Requests {
    rows: Vec<Option<Request>>,
    free: Vec<u32>,
}

impl Requests {
    fn enter(&mut self, request: Request) -> u32 {
        let number = self.free.pop().unwrap_or(self.rows.len() as u32);
        if number as usize == self.rows.len() {
            self.rows.push(None);
        }
        self.rows[number as usize] = Some(request);
        number
    }

    fn get(&mut self, number: u32) -> Option<&mut Request> {
        self.rows.get_mut(number as usize)?.as_mut()
    }

    fn leave(&mut self, number: u32) -> Option<Request> {
        let request = self.rows.get_mut(number as usize)?.take()?;
        self.free.push(number);
        Some(request)
    }
}

impl Delivery {
    pub(super) fn new(writer: Writer, settings: Settings, in_flight_bytes_max: usize) -> Self {
        Self {
            writer,
            settings,
            topic_bytes_max: in_flight_bytes_max / 4,
            requests: RefCell::default(),
            repeated: RefCell::default(),
            fault: RefCell::default(),
            quiet: Notify::new(),
        }
    }

    pub(super) fn fault(&self) -> Option<Arc<str>> {
        self.fault.borrow().clone()
    }

    pub(super) fn take_fault(&self, fault: Option<Arc<str>>) {
        self.fault.replace(fault);
    }

    /// Lets a repetition wait for what becomes of the request that it repeats.
    pub(super) fn follow(&self, key: dedupe::Key, waiter: Waiter) {
        let mut repeated = self.repeated.borrow_mut();
        repeated.entry(key).or_default().push(waiter);
    }

    /// One part of a request is done; gives the request when that was the last.
    fn count_down(&self, number: u32) -> Option<Request> {
        let mut requests = self.requests.borrow_mut();
        let request = requests.get(number)?;
        request.missing -= 1;
        if 0 < request.missing {
            return None;
        }
        requests.leave(number)
    }

    fn key<'a>(&self, arrival: &Arrival<'a>, batch: &Batch, source: &'a [u8]) -> &'a [u8] {
        match self.settings.key {
            Key::None => &[],
            Key::ConnId => &arrival.peer.conn_id,
            Key::ConnGroup => arrival.peer.conn_group.as_bytes(),
            Key::ReqGuid => batch.guid.of(source),
        }
    }
}

impl Core {
    /// Whether every topic of the batch may hold more of the budget.
    pub(super) fn check_queues(
        &self,
        delivery: &Delivery,
        work: &mut Work,
        now: Micros,
    ) -> Result<(), Stop> {
        for run in work.routed.chunk_by(|one, other| one.topic == other.topic) {
            let topic = run[0].topic;
            let waiting = delivery.writer.waiting(topic);
            if waiting.bytes < delivery.topic_bytes_max {
                continue;
            }
            if now.since(waiting.since) < STALLED_US {
                work.probe.counters.reads_paused += 1;
                return Err(Stop::Wait(Wait::Room));
            }
            let table = self.table.borrow();
            let name = table.topic(topic).map_or("", |topic| &topic.name);
            let (bytes, seconds) = (waiting.bytes, now.since(waiting.since) / 1_000_000);
            let why = format!(
                "topic {name}: {bytes} bytes wait, and its brokers have taken nothing for {seconds} s"
            );
            return Err(Stop::Failed(why.into()));
        }
        Ok(())
    }

    /// Hands a batch to librdkafka, event by event.
    pub(super) fn send(
        &self,
        delivery: &Delivery,
        work: &mut Work,
        arrival: &Arrival<'_>,
        to: To,
        (twin, now): (Option<dedupe::Key>, Micros),
    ) {
        let mut request = self.begin(work, arrival, to, now);
        request.waiter.twin = twin.map(Twin::First);
        let number = delivery.requests.borrow_mut().enter(request);
        let table = self.table.borrow();
        let source = work.batch.source(arrival.message);
        let key = delivery.key(arrival, &work.batch, source);
        let received = if delivery.settings.headers.contains(&Header::Received) {
            now.millis().to_string()
        } else {
            String::new()
        };
        let mut headers = Vec::new();
        for (index, event) in work.routed.iter().enumerate() {
            headers.clear();
            headers.extend(delivery.settings.headers.iter().map(|header| {
                let value = match header {
                    Header::EventType => work.batch.events[index].kind.of(source),
                    Header::ConnGroup => arrival.peer.conn_group.as_bytes(),
                    Header::Received => received.as_bytes(),
                    Header::ReqGuid => work.batch.guid.of(source),
                };
                (*header, value)
            }));
            let start = event.start as usize;
            let record = Record {
                key,
                value: &source[start..start + event.bytes as usize],
                headers: &headers,
                timestamp_ms: 0,
            };
            let mark = Mark {
                request: number,
                event: index as u16,
                topic: event.topic,
            };
            let name = table.topic(event.topic).map_or("", |topic| &topic.name);
            if let Err(fault) = delivery.writer.send(now, name, &record, mark) {
                let fault = Some(fault);
                self.settle_event(delivery, &mut work.probe, Settled { mark, fault });
                let last = delivery.count_down(number);
                debug_assert!(last.is_none(), "the sending itself is a part");
            }
        }
        self.settle_part(delivery, work, number, now);
    }

    /// Counts a batch that is taken; one part more is missing than it has events, until all were sent.
    fn begin(&self, work: &mut Work, arrival: &Arrival<'_>, to: To, now: Micros) -> Request {
        let probe = &mut work.probe;
        let group = probe.census.group(&arrival.peer.conn_group);
        probe.census.counts(group).batches_accepted += 1;
        let events = work.routed.len();
        probe.counters.batches_accepted += 1;
        probe.counters.events_accepted += events as u64;
        for run in work.routed.chunk_by(|one, other| one.topic == other.topic) {
            let bytes = run.iter().map(|event| u64::from(event.bytes)).sum();
            probe.counters.events_accepted_bytes += bytes;
            probe
                .census
                .send(group, run[0].topic, run.len() as u64, bytes);
        }
        let source = work.batch.source(arrival.message);
        let guid = std::str::from_utf8(work.batch.guid.of(source)).unwrap_or_default();
        let answered = self.settings.ack == Acknowledge::Received;
        if answered {
            let verdict = Verdict::Accepted;
            give(&to, arrival.encoding, guid, verdict, (now, false));
        } else if let To::Socket(outbox) = &to {
            outbox.expect_answer();
        }
        let bytes = arrival.message.len() + events * RECORD_OVERHEAD_BYTES;
        work.in_flight_bytes += bytes;
        Request {
            waiter: Waiter {
                guid: Guid::new(if answered { "" } else { guid }),
                to: (!answered).then_some(to),
                encoding: arrival.encoding,
                received: now,
                bytes: bytes as u32,
                events: events as u32,
                group,
                entries: Entries::NONE,
                sent_ms: work.batch.sent_time.map(SentTime::millis),
                refusal: None,
                twin: None,
            },
            missing: events as u32 + 1,
            refused: Refused::default(),
        }
    }

    /// Takes up to a bounded number of words from librdkafka; `false` when there are no more for now.
    fn take_words(&self, delivery: &Delivery) -> bool {
        let now = self.clock.now();
        let mut work = self.work.borrow_mut();
        for _ in 0..WORDS_AT_ONCE {
            match delivery.writer.next(now) {
                None => return false,
                Some(Word::Statistics(text)) => work.probe.kafka = Some(text),
                Some(Word::Settled(settled)) => {
                    let number = settled.mark.request;
                    self.settle_event(delivery, &mut work.probe, settled);
                    self.settle_part(delivery, &mut work, number, now);
                }
            }
        }
        true
    }

    /// Counts one event's fate, and notes why it failed.
    fn settle_event(&self, delivery: &Delivery, probe: &mut super::probe::Probe, settled: Settled) {
        let mut requests = delivery.requests.borrow_mut();
        let Mark {
            request,
            event,
            topic,
        } = settled.mark;
        let Some(request) = requests.get(request) else {
            debug_assert!(false, "a report for a request that has settled");
            return;
        };
        let fate = match settled.fault {
            None => Fate::Delivered,
            Some(fault) if fault.is_unknown_topic() => Fate::UnknownTopic,
            Some(_) => Fate::Failed,
        };
        probe.census.deliver(request.waiter.group, topic, fate);
        let Some(fault) = settled.fault else {
            probe.counters.events_delivered += 1;
            return;
        };
        probe.counters.events_undelivered += 1;
        let why = format!("{} {}", fault.text(), self.name_of(topic));
        request.refused.add(usize::from(event), &why);
    }

    pub(super) fn name_of(&self, topic: TopicIndex) -> Arc<str> {
        let table = self.table.borrow();
        table
            .topic(topic)
            .map_or_else(|| "".into(), |topic| topic.name.clone())
    }

    /// One part of a request is done; answers it, and those that repeat it, when that was the last.
    fn settle_part(&self, delivery: &Delivery, work: &mut Work, number: u32, now: Micros) {
        let Some(request) = delivery.count_down(number) else {
            return;
        };
        let is_delivered = request.refused.is_empty();
        let twin = request.waiter.twin;
        answer(work, request, now);
        if let (Some(dedupe), Some(Twin::First(key))) = (&mut work.dedupe, twin) {
            dedupe.settle(key, is_delivered, now);
            self.said.wake_all();
            let repeated = delivery.repeated.borrow_mut().remove(&key);
            for waiter in repeated.into_iter().flatten() {
                answer_repeated(work, &waiter, is_delivered, now);
            }
        }
    }
}

/// Tells a repetition what became of the request that it repeats.
fn answer_repeated(work: &mut Work, waiter: &Waiter, is_delivered: bool, now: Micros) {
    work.in_flight_bytes -= waiter.bytes as usize;
    let verdict = if is_delivered {
        Verdict::Accepted
    } else {
        Verdict::Failed(TWIN_FAILED, &[])
    };
    if let Some(to) = &waiter.to {
        let guid = waiter.guid.text();
        give(to, waiter.encoding, guid, verdict, (now, true));
    }
}

/// Gives a request its answer: all of its events have settled.
fn answer(work: &mut Work, request: Request, now: Micros) {
    let Request {
        waiter, refused, ..
    } = request;
    work.in_flight_bytes -= waiter.bytes as usize;
    let waited = now.since(waiter.received);
    work.probe.count_flush(waited);
    let verdict = if refused.is_empty() {
        let since_sent = waiter.sent_ms.map(|sent| now.millis().abs_diff(sent));
        let events = waiter.events.into();
        work.probe
            .count_safe(waiter.group, events, waited, since_sent);
        None
    } else {
        work.probe.counters.batches_failed_kafka += 1;
        Some(refused.sum_up(waiter.events as usize))
    };
    let verdict = match &verdict {
        None => Verdict::Accepted,
        Some(refused) => Verdict::Failed(&refused.reason, &refused.events),
    };
    if let Some(to) = &waiter.to {
        let guid = waiter.guid.text();
        give(to, waiter.encoding, guid, verdict, (now, true));
    }
}

/// Hears what librdkafka has to say, for as long as the shard lives.
pub(super) async fn hear(core: Rc<Core>, mut bell: Bell) {
    let super::destination::Destination::Kafka(delivery) = &core.destination else {
        return;
    };
    while bell.rung().await.is_ok() {
        while core.take_words(delivery) {
            core.room.wake_all();
            yield_if_needed().await;
        }
        core.room.wake_all();
        if delivery.writer.outstanding() == 0 {
            delivery.quiet.wake_all();
        }
    }
}

/// Waits for what was sent, as long as the operator allows; the rest is given up and counted.
pub(super) async fn end(core: &Core, delivery: &Delivery) {
    let settled = async {
        loop {
            let quiet = delivery.quiet.wait();
            if delivery.writer.outstanding() == 0 {
                return;
            }
            quiet.await;
        }
    };
    if timer::timeout(delivery.settings.flush_wait, settled)
        .await
        .is_some()
    {
        return;
    }
    let lost = delivery.writer.outstanding();
    tracing::error!(
        "shard {}: {lost} events were not delivered in time and are given up; none of them was acknowledged{}",
        core.id.0,
        match core.settings.ack {
            Acknowledge::Durable => "",
            Acknowledge::Received => " as delivered, but as received (EVENT_ACK=0)",
        }
    );
    core.work
        .borrow_mut()
        .probe
        .counters
        .events_lost_after_receipt += match core.settings.ack {
        Acknowledge::Durable => 0,
        Acknowledge::Received => lost,
    };
    delivery.writer.purge();
    let back = async {
        while 0 < delivery.writer.outstanding() {
            let quiet = delivery.quiet.wait();
            if 0 < delivery.writer.outstanding() {
                quiet.await;
            }
        }
    };
    let _in_time = timer::timeout(GIVE_UP_WAIT, back).await;
}
