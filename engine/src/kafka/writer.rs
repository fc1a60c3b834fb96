//! A shard's producer: records go in, a report for each comes out.
//!
//! Always:  what [`Writer::send`] has taken is reported once, by a [`Settled`]. A producer that librdkafka has
//!          given up (a fatal error) gives everything back, and a new one takes its place.
//! Core:    one shard.
//! Cancel:  dropping the writer waits for librdkafka's threads to end.
//! Full:    the shard bounds what it sends; here is counted what waits for each topic.

use super::native::{Client, Delivery, Fault, HEADERS_MAX, Report, Told, Topic};
use super::properties::{self, Property};
use super::{Error, Header};
use crate::limit::{BATCH_EVENTS_MAX, TOPIC_ROWS_MAX};
use crate::rt::host;
use crate::rt::wake::{Bell, Ringer, bell};
use crate::unit::{Micros, TopicIndex};
use std::cell::RefCell;
use std::ffi::CStr;

const _: () = {
    // What a mark has bits for.
    assert!(BATCH_EVENTS_MAX <= 1 << EVENT_BITS);
    assert!(TOPIC_ROWS_MAX <= 1 << TOPIC_BITS);
};

/// A mark is 64 bits: the rest is the number of the request.
const EVENT_BITS: u32 = 16;
const TOPIC_BITS: u32 = 20;

/// How librdkafka's word for a cluster that is away ends.
const ALL_DOWN: &str = "brokers are down";

/// What a record costs librdkafka beside its own bytes; counted with what waits.
pub const RECORD_OVERHEAD_BYTES: usize = 256;

/// Whose record it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The shard's number for the request, below 2^28.
    pub request: u32,
    /// Its place in the request.
    pub event: u16,
    pub topic: TopicIndex,
}

impl Mark {
    fn pack(self) -> u64 {
        let (topic, event) = (u64::from(self.topic.0), u64::from(self.event));
        debug_assert!(
            topic < 1 << TOPIC_BITS && self.request < 1 << (64 - EVENT_BITS - TOPIC_BITS)
        );
        (u64::from(self.request) << EVENT_BITS | event) << TOPIC_BITS | topic
    }

    fn unpack(mark: u64) -> Self {
        Self {
            request: (mark >> (EVENT_BITS + TOPIC_BITS)) as u32,
            event: (mark >> TOPIC_BITS) as u16,
            topic: TopicIndex(mark as u32 & ((1 << TOPIC_BITS) - 1)),
        }
    }
}

/// What is to be sent, borrowed for the length of the call.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Empty: none.
    pub key: &'a [u8],
    pub value: &'a [u8],
    pub headers: &'a [(Header, &'a [u8])],
    /// Milliseconds since 1970; 0: now.
    pub timestamp_ms: i64,
}

/// What became of a record.
#[derive(Clone, Copy, Debug)]
pub struct Settled {
    pub mark: Mark,
    pub fault: Option<Fault>,
}

/// What librdkafka has said, in the order in which it said it.
#[derive(Debug)]
pub enum Word {
    Settled(Settled),
    Statistics(Box<str>),
}

/// What a topic holds of the shard's budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    pub bytes: usize,
    /// Since when nothing was delivered, though something waited.
    pub since: Micros,
}

struct Row {
    topic: Topic,
    waiting: Waiting,
}

struct State {
    client: Client,
    /// By [`TopicIndex`].
    topics: Vec<Option<Row>>,
    /// Taken and not reported.
    outstanding: u64,
    /// librdkafka will deliver no more with this client; why.
    given_up: bool,
    /// Under way to the shard.
    report: Option<Report>,
}

/// One producer.
pub struct Writer {
    properties: Vec<Property>,
    cpus: Vec<usize>,
    /// Of `nice`.
    steps: i32,
    ringer: Ringer,
    state: RefCell<State>,
}

impl Writer {
    /// Starts a producer, on the shard that it is for, and its threads, on these CPUs. The bell rings when
    /// [`Writer::next`] has something.
    pub fn open(properties: &[Property], cpus: &[usize]) -> Result<(Self, Bell), Error> {
        Self::open_beside(properties, cpus, 0)
    }

    /// The same, with threads that yield to others by so many steps of `nice`: librdkafka's wait for an answer by asking
    /// again and again, and would have all of a CPU while a broker stands still.
    pub fn open_beside(
        properties: &[Property],
        cpus: &[usize],
        steps: i32,
    ) -> Result<(Self, Bell), Error> {
        let (ringer, bell) = bell()?;
        let client = start(properties, (cpus, steps), &ringer)?;
        let writer = Self {
            properties: properties.to_vec(),
            cpus: cpus.to_vec(),
            steps,
            ringer,
            state: RefCell::new(State {
                client,
                topics: Vec::new(),
                outstanding: 0,
                given_up: false,
                report: None,
            }),
        };
        Ok((writer, bell))
    }

    /// Takes one record for the topic of this row and name, or says why not. Never waits.
    pub fn send(
        &self,
        now: Micros,
        name: &str,
        record: &Record<'_>,
        mark: Mark,
    ) -> Result<(), Fault> {
        let mut state = self.state.borrow_mut();
        let row = state.row(mark.topic, name)?;
        produce(&row.topic, record, mark.pack())?;
        if row.waiting.bytes == 0 {
            row.waiting.since = now;
        }
        row.waiting.bytes += record.value.len() + RECORD_OVERHEAD_BYTES;
        state.outstanding += 1;
        Ok(())
    }

    /// What waits for this topic's deliveries.
    pub fn waiting(&self, topic: TopicIndex) -> Waiting {
        let state = self.state.borrow();
        let row = state.topics.get(topic.0 as usize).and_then(Option::as_ref);
        row.map_or_else(Waiting::default, |row| row.waiting)
    }

    /// Records that were taken and not reported.
    pub fn outstanding(&self) -> u64 {
        self.state.borrow().outstanding
    }

    /// What librdkafka has to say; `None` when that is all for now, and the bell rings for more.
    pub fn next(&self, now: Micros) -> Option<Word> {
        let mut state = self.state.borrow_mut();
        loop {
            let delivery = state.report.as_mut().and_then(Report::next_delivery);
            if let Some(delivery) = delivery {
                return Some(Word::Settled(state.settle(&delivery, now)));
            }
            state.report = None;
            let Some(report) = state.client.next() else {
                self.renew_if_given_up(&mut state);
                return None;
            };
            match report.told() {
                Told::Deliveries => state.report = Some(report),
                Told::Statistics(text) => return Some(Word::Statistics(text)),
                Told::Trouble { text, is_fatal } => state.take_trouble(&text, is_fatal),
                Told::Line { grave, text } => say(grave, &text),
                Told::Nothing => {}
            }
        }
    }

    /// Gives up everything that was not delivered; all of it is reported with a fault.
    pub fn purge(&self) {
        self.state.borrow().client.purge();
    }

    /// A client that gave up is replaced when everything has come back from it.
    fn renew_if_given_up(&self, state: &mut State) {
        if !state.given_up || 0 < state.outstanding {
            return;
        }
        match start(&self.properties, (&self.cpus, self.steps), &self.ringer) {
            Ok(client) => {
                state.topics.clear();
                state.client = client;
                state.given_up = false;
            }
            Err(error) => tracing::error!("kafka: no new producer: {error}"),
        }
    }
}

impl State {
    fn row(&mut self, index: TopicIndex, name: &str) -> Result<&mut Row, Fault> {
        let at = index.0 as usize;
        if self.topics.len() <= at {
            self.topics.resize_with(at + 1, || None);
        }
        let row = &mut self.topics[at];
        if row.is_none() {
            let topic = self.client.topic(name)?;
            let waiting = Waiting::default();
            *row = Some(Row { topic, waiting });
        }
        Ok(row.as_mut().expect("it was made when it was missing"))
    }

    fn settle(&mut self, delivery: &Delivery, now: Micros) -> Settled {
        let mark = Mark::unpack(delivery.mark);
        debug_assert!(0 < self.outstanding, "a report that nobody waits for");
        self.outstanding = self.outstanding.saturating_sub(1);
        let row = self.topics.get_mut(mark.topic.0 as usize);
        if let Some(Row { waiting, .. }) = row.and_then(Option::as_mut) {
            let bytes = delivery.bytes + RECORD_OVERHEAD_BYTES;
            waiting.bytes = waiting.bytes.saturating_sub(bytes);
            if delivery.fault.is_none() {
                waiting.since = now;
            }
        }
        let fault = delivery.fault;
        Settled { mark, fault }
    }

    fn take_trouble(&mut self, text: &str, is_fatal: bool) {
        if is_fatal {
            tracing::error!("kafka: {text}; everything under way fails, and a new producer starts");
            self.given_up = true;
            self.client.purge();
        } else if text.ends_with(ALL_DOWN) {
            // Every second while a cluster is away; the control core says once that it is.
            tracing::debug!("kafka: {text}");
        } else {
            tracing::warn!("kafka: {text}");
        }
    }
}

fn start(
    properties: &[Property],
    (cpus, steps): (&[usize], i32),
    ringer: &Ringer,
) -> Result<Client, Error> {
    let descriptor = ringer.try_clone()?.into_descriptor();
    let start = || {
        let conf = properties::conf(properties)?;
        Client::start(conf, Some(descriptor)).map_err(Error::Start)
    };
    let started = host::on_cpus_beside(cpus, steps, start)?;
    // What it said before it could ring: the bell rings only for a queue that was empty.
    ringer.ring();
    started
}

/// Gives one record to a topic.
pub(super) fn produce(topic: &Topic, record: &Record<'_>, mark: u64) -> Result<(), Fault> {
    if record.headers.is_empty() && record.timestamp_ms == 0 {
        return topic.produce(record.key, record.value, mark);
    }
    let mut headers: [(&CStr, &[u8]); HEADERS_MAX] = [(c"", &[]); HEADERS_MAX];
    for (to, (header, value)) in headers.iter_mut().zip(record.headers) {
        *to = (name_of(*header), value);
    }
    let headers = &headers[..record.headers.len().min(HEADERS_MAX)];
    let (key, value) = (record.key, record.value);
    topic.produce_with((key, value), headers, record.timestamp_ms, mark)
}

fn name_of(header: Header) -> &'static CStr {
    match header {
        Header::EventType => c"event_type",
        Header::ConnGroup => c"conn_group",
        Header::Received => c"received",
        Header::ReqGuid => c"req_guid",
    }
}

/// Says what librdkafka says, as loud as it would.
pub(super) fn say(grave: i32, text: &str) {
    match grave {
        ..=3 => tracing::error!("kafka: {text}"),
        4 => tracing::warn!("kafka: {text}"),
        5 | 6 => tracing::info!("kafka: {text}"),
        _ => tracing::debug!("kafka: {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt::executor::{Plan, block_on};

    #[test]
    fn a_mark_comes_back_as_it_was() {
        let marks = [
            (0, 0, 0),
            (7, 1, 2),
            ((1 << 28) - 1, u16::MAX, (1 << 20) - 1),
        ];
        for (request, event, topic) in marks {
            let topic = TopicIndex(topic);
            let mark = Mark {
                request,
                event,
                topic,
            };
            assert_eq!(Mark::unpack(mark.pack()), mark);
        }
    }

    /// librdkafka's own brokers: no cluster and no disk.
    fn mock() -> Vec<Property> {
        let property = |name: &str, value: &str| Property {
            name: name.into(),
            value: value.into(),
        };
        vec![
            property("test.mock.num.brokers", "1"),
            property("linger.ms", "0"),
        ]
    }

    #[test]
    fn every_record_is_reported_once_and_the_bell_rings_for_it() {
        block_on(&Plan::small("writer"), async {
            let (writer, mut bell) = Writer::open(&mock(), host::allowed_cpus()).unwrap();
            let headers = [(Header::EventType, &b"click"[..])];
            for event in 0..300 {
                let record = Record {
                    key: if event % 2 == 0 { b"" } else { b"key" },
                    value: &[7; 100],
                    headers: if event % 3 == 0 { &[] } else { &headers },
                    timestamp_ms: if event % 5 == 0 { 7 } else { 0 },
                };
                let (request, topic) = (9, TopicIndex(u32::from(event) % 3));
                let mark = Mark {
                    request,
                    event,
                    topic,
                };
                let name = format!("topic-{}", topic.0);
                writer.send(Micros(5), &name, &record, mark).unwrap();
            }
            assert_eq!(writer.outstanding(), 300);
            assert_eq!(
                writer.waiting(TopicIndex(1)).bytes,
                100 * (100 + RECORD_OVERHEAD_BYTES)
            );
            let mut seen = Vec::new();
            while seen.len() < 300 {
                bell.rung().await.unwrap();
                while let Some(word) = writer.next(Micros(6)) {
                    if let Word::Settled(Settled { mark, fault }) = word {
                        assert_eq!((fault, mark.request), (None, 9));
                        seen.push(mark.event);
                    }
                }
            }
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..300));
            let waiting = writer.waiting(TopicIndex(1));
            assert_eq!((waiting.bytes, waiting.since), (0, Micros(6)));
        })
        .unwrap();
    }

    #[test]
    fn what_is_given_up_comes_back_with_its_fault() {
        block_on(&Plan::small("writer"), async {
            // Nobody listens there.
            let nowhere = Property {
                name: "bootstrap.servers".into(),
                value: "127.0.0.1:1".into(),
            };
            let (writer, mut bell) = Writer::open(&[nowhere], host::allowed_cpus()).unwrap();
            let (request, event, topic) = (1, 2, TopicIndex(3));
            let record = Record {
                key: &[],
                value: b"lost",
                headers: &[],
                timestamp_ms: 0,
            };
            let mark = Mark {
                request,
                event,
                topic,
            };
            writer.send(Micros(1), "topic", &record, mark).unwrap();
            writer.purge();
            while 0 < writer.outstanding() {
                bell.rung().await.unwrap();
                while let Some(word) = writer.next(Micros(2)) {
                    if let Word::Settled(settled) = word {
                        assert_eq!(settled.mark, mark);
                        let text = settled.fault.unwrap().text();
                        assert_eq!(text, "Local: Purged in queue");
                    }
                }
            }
        })
        .unwrap();
    }

    #[test]
    fn properties_that_do_not_go_together_are_told() {
        let both = [("enable.idempotence", "true"), ("acks", "1")];
        let both = both.map(|(name, value)| Property {
            name: name.into(),
            value: value.into(),
        });
        block_on(&Plan::small("writer"), async {
            let refused = Writer::open(&both, host::allowed_cpus()).err().unwrap();
            assert!(refused.to_string().contains("acks"), "{refused}");
        })
        .unwrap();
    }
}
