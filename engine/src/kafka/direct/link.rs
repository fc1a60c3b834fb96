//! A connection to one broker: batches out, up to five requests of them under way, and what the broker says of each.

use super::inbox::Inbox;
use super::wire::{self, Garbled, Reading};
use super::{Direct, State, Topic};
use crate::kafka::native::Fault;
use crate::rt::executor::blocking;
use crate::rt::notify::Wait;
use crate::rt::stream::Stream;
use crate::rt::timer::{Moment, sleep, timeout};
use futures_util::future::{Either, select};
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Requests under way on one connection. A broker tells batches of a producer apart that are no further from each
/// other than this.
pub(super) const UNDER_WAY_MAX: usize = 5;
/// Bytes of batches in one request; one batch is sent whatever it is.
const REQUEST_BYTES_MAX: usize = 2 << 20;
/// Partitions in one request.
const REQUEST_LOTS_MAX: usize = 500;
/// How long the broker may wait for its replicas, in milliseconds: librdkafka's default.
const REPLICAS_WAIT_MS: i32 = 30_000;
/// How long an answer may take: the broker's own wait, and some more.
pub(super) const ANSWER_WAIT: Duration = Duration::from_secs(40);
const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// Between two attempts to connect, and before what came back is sent again.
pub(super) const AGAIN: Duration = Duration::from_millis(250);
/// A connection without anything to say ends after so long.
const IDLE_WAIT: Duration = Duration::from_secs(300);
/// Moments are of milliseconds: a wait for less than one would not come to its end.
const TICK: Duration = Duration::from_millis(1);

/// Why a connection is no more.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Garbled(#[from] Garbled),
    #[error("no answer within {} s", ANSWER_WAIT.as_secs())]
    TooLate,
    #[error("it does not understand what is said of whole batches; events go through librdkafka")]
    Foreign,
}

/// A connection on which whole messages come and go.
pub(super) struct Wire {
    stream: Stream,
    inbox: Inbox,
    number: i32,
}

impl Wire {
    /// Connects, and makes sure that the broker understands what is said here.
    pub(super) async fn open(host: &str, port: u16) -> Result<Self, Ended> {
        let opened = timeout(CONNECT_WAIT, async {
            let address = resolve(host, port).await?;
            let mut stream = Stream::connect(address).await?;
            stream.set_nodelay()?;
            stream.set_write_wait(ANSWER_WAIT);
            let mut wire = Self {
                stream,
                inbox: Inbox::default(),
                number: 0,
            };
            let answer = wire.ask(wire::api_versions).await?;
            if wire::read_api_versions(answer, &wire::SAID)? {
                Ok(wire)
            } else {
                Err(Ended::Foreign)
            }
        });
        opened.await.unwrap_or(Err(Ended::TooLate))
    }

    /// Sends one request and waits for its answer. Nothing else may be under way.
    pub(super) async fn ask(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>, i32),
    ) -> Result<Reading<'_>, Ended> {
        let number = self.next_number();
        let mut request = Vec::new();
        write(&mut request, number);
        self.stream.send_all(&request).await?;
        let answer = timeout(ANSWER_WAIT, self.answer());
        answer.await.ok_or(Ended::TooLate)??;
        let (said, reading) = self.last()?;
        if said == number {
            Ok(reading)
        } else {
            Err(Garbled.into())
        }
    }

    fn next_number(&mut self) -> i32 {
        self.number = self.number.wrapping_add(1) & i32::MAX;
        self.number
    }

    /// Waits until a whole answer is there, for [`Wire::last`]. Dropped, it loses nothing.
    async fn answer(&mut self) -> Result<(), Ended> {
        while !self.inbox.has_answer()? {
            let Self { stream, inbox, .. } = self;
            let received = poll_fn(|context| stream.poll_receive(context, inbox.room())).await?;
            if received == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            inbox.came(received);
        }
        Ok(())
    }

    fn last(&self) -> Result<(i32, Reading<'_>), Garbled> {
        self.inbox.last()
    }
}

/// The first address of a name. An address resolves to itself, without asking anybody.
async fn resolve(host: &str, port: u16) -> io::Result<SocketAddr> {
    if let Ok(address) = host.parse() {
        return Ok(SocketAddr::new(address, port));
    }
    let host = host.to_owned();
    let found = blocking(move || (host.as_str(), port).to_socket_addrs()).await?;
    // librdkafka tries all of them in turn; here a name's first of IPv4, then any.
    preferred(found).ok_or_else(|| io::ErrorKind::NotFound.into())
}

pub(super) fn preferred(found: impl Iterator<Item = SocketAddr>) -> Option<SocketAddr> {
    let found: Vec<SocketAddr> = found.collect();
    let first = found.iter().find(|address| address.is_ipv4());
    first.or(found.first()).copied()
}

/// A batch that is under way.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    pub(super) lot: u64,
}

/// A request: what is written for it, and the batches that go between.
#[derive(Default)]
pub(super) struct Request {
    text: Vec<u8>,
    /// Where in `text` each batch goes in, in order.
    places: Vec<usize>,
    batches: Vec<Rc<Vec<u8>>>,
    pub(super) sent: Vec<Sent>,
    bytes: usize,
}

impl Request {
    /// What goes out, in order.
    pub(super) fn pieces(&self) -> Vec<IoSlice<'_>> {
        let mut pieces = Vec::with_capacity(2 * self.batches.len() + 1);
        let mut from = 0;
        for (place, batch) in self.places.iter().zip(&self.batches) {
            pieces.push(IoSlice::new(&self.text[from..*place]));
            pieces.push(IoSlice::new(batch));
            from = *place;
        }
        if from < self.text.len() {
            pieces.push(IoSlice::new(&self.text[from..]));
        }
        pieces
    }
}

/// For whom requests are made.
#[derive(Clone, Copy)]
pub(super) struct Sender<'a> {
    pub(super) producer: (i64, i16),
    pub(super) transaction: Option<&'a str>,
}

/// The next request for this broker, of partitions that may be sent to; `None` when nothing is due for it.
pub(super) fn request(
    topics: &mut HashMap<Arc<str>, Topic>,
    sender: Sender<'_>,
    (broker, number): (i32, i32),
    now: Moment,
    may: impl Fn(&Arc<str>, i32) -> bool,
) -> Option<Request> {
    let mut request = Request::default();
    let mut writing = wire::produce(
        &mut request.text,
        number,
        REPLICAS_WAIT_MS,
        sender.transaction,
    );
    let topics_at = writing.at();
    writing.length(0);
    let (mut count_of_topics, mut is_full) = (0, false);
    for (name, topic) in topics {
        if is_full || topic.due(broker).is_none_or(|due| now < due) {
            continue;
        }
        let (topic_at, mut count) = (writing.at(), 0);
        writing.string(name);
        let count_at = writing.at();
        writing.length(0);
        for partition in topic.ready_for(broker, now) {
            if is_full || !may(name, partition.number) {
                continue;
            }
            let Some((lot, batch)) = partition.queue.send(sender.producer) else {
                continue;
            };
            partition.link = broker;
            count += 1;
            writing.int32(partition.number);
            writing.length(batch.len());
            request.places.push(writing.at());
            request.sent.push(Sent {
                topic: Arc::clone(name),
                partition: partition.number,
                lot,
            });
            request.bytes += batch.len();
            request.batches.push(batch);
            is_full =
                REQUEST_BYTES_MAX <= request.bytes || request.batches.len() == REQUEST_LOTS_MAX;
        }
        if count == 0 {
            writing.take_back(topic_at);
        } else {
            writing.put(count_at, count);
            count_of_topics += 1;
        }
    }
    writing.put(topics_at, count_of_topics);
    writing.end(0, request.bytes);
    (!request.batches.is_empty()).then_some(request)
}

impl State {
    /// The next request for this broker; `None` when nothing is due for it.
    fn request(&mut self, broker: i32, number: i32, now: Moment) -> Option<Request> {
        let sender = Sender {
            producer: self.producer?,
            transaction: None,
        };
        request(&mut self.topics, sender, (broker, number), now, |_, _| true)
    }

    /// When something is due for this broker.
    fn due(&self, broker: i32) -> Option<Moment> {
        let topics = self.topics.values();
        topics.filter_map(|topic| topic.due(broker)).min()
    }
}

impl Direct {
    /// Keeps a connection to this broker for as long as something waits for it.
    pub(super) async fn link(&self, broker: i32) {
        let address = self.state.borrow().brokers.get(&broker).cloned();
        if let Some(address) = address {
            let served = async {
                let mut wire = Wire::open(&address.host, address.port).await?;
                self.is_well();
                self.serve(broker, &mut wire).await
            };
            if let Err(ended) = served.await {
                self.say(&format!("{}:{}: {ended}", address.host, address.port));
                if matches!(ended, Ended::Foreign) {
                    self.retire();
                }
                sleep(AGAIN).await;
            }
        }
        self.lost(broker);
    }

    async fn serve(&self, broker: i32, wire: &mut Wire) -> Result<(), Ended> {
        let mut under_way: VecDeque<UnderWay> = VecDeque::new();
        loop {
            let work = self.work.wait();
            while under_way.len() < UNDER_WAY_MAX {
                let (now, number) = (Moment::now(), wire.next_number());
                let request = self.state.borrow_mut().request(broker, number, now);
                let Some(mut request) = request else { break };
                under_way.push_back(UnderWay {
                    number,
                    sent: std::mem::take(&mut request.sent),
                    until: now.after(ANSWER_WAIT),
                });
                wire.stream.send_all_of(&mut request.pieces()).await?;
            }
            let now = Moment::now();
            let until = under_way.front().map(|oldest| oldest.until);
            let is_full = under_way.len() == UNDER_WAY_MAX;
            let due = self.state.borrow().due(broker).filter(|_| !is_full);
            let look = until.into_iter().chain(due).min();
            let wait = look.map_or(IDLE_WAIT, |look| look.since(now).max(TICK));
            let answered = match timeout(wait, next(wire, work, is_full)).await {
                None if look.is_none() => return Ok(()),
                None if until.is_some_and(|until| until <= Moment::now()) => {
                    return Err(Ended::TooLate);
                }
                None | Some(None) => continue,
                Some(Some(answered)) => answered,
            };
            answered?;
            let (number, reading) = wire.last()?;
            let expected = under_way.pop_front().ok_or(Garbled)?;
            if expected.number != number {
                return Err(Garbled.into());
            }
            self.take_answer(reading, &expected.sent)?;
        }
    }

    /// What the broker says of each batch of a request.
    fn take_answer(&self, reading: Reading<'_>, sent: &[Sent]) -> Result<(), Ended> {
        let (mut answered, mut again, mut at) = (0, false, 0);
        let mut state = self.state.borrow_mut();
        wire::read_produced(reading, |name, partition, code| {
            let is_it = |one: &Sent| *one.topic == *name && one.partition == partition;
            // Answers come in the order of the request as a rule.
            let places = (at..sent.len()).chain(0..at);
            let found = places.into_iter().find(|place| is_it(&sent[*place]));
            if let Some(place) = found {
                at = place + 1;
                answered += 1;
                again |= state.take_code(&sent[place], code);
            }
        })?;
        drop(state);
        if answered != sent.len() {
            return Err(Garbled.into());
        }
        self.give_back();
        self.news.wake_all();
        if again {
            self.ask_again();
        }
        Ok(())
    }
}

/// A request that was not answered.
struct UnderWay {
    number: i32,
    sent: Vec<Sent>,
    until: Moment,
}

/// The next answer; `None` when there may be something to send before that.
async fn next(wire: &mut Wire, work: Wait<'_>, is_full: bool) -> Option<Result<(), Ended>> {
    let answer = pin!(wire.answer());
    if is_full {
        return Some(answer.await);
    }
    match select(answer, work).await {
        Either::Left((answer, _)) => Some(answer),
        Either::Right(_) => None,
    }
}

/// What Kafka's word for a batch means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Delivered,
    /// Later it will be taken, here or elsewhere.
    Again,
    /// The producer's numbers are not the broker's.
    Renumber,
    /// Not like this.
    Back,
}

/// Kafka's error codes: <https://kafka.apache.org/protocol.html#protocol_error_codes>. What is not known to pass goes back:
/// librdkafka goes into it, record by record.
pub(super) fn verdict(code: i16) -> Verdict {
    match code {
        // None, and a sequence number that the broker has already.
        0 | 46 => Verdict::Delivered,
        // Out of order; an epoch, a mapping, a producer that the broker does not know.
        45 | 47 | 49 | 59 | 90 => Verdict::Renumber,
        // A topic that is not known, here or yet; a leader that is another or none; a wait that was too long; a broker or its
        // disk that is away; replicas that are too few, before and after.
        3 | 5 | 6 | 7 | 8 | 9 | 13 | 19 | 20 | 56 | 100 => Verdict::Again,
        _ => Verdict::Back,
    }
}

impl State {
    /// `true` when the cluster is to be asked before anything is sent again.
    fn take_code(&mut self, one: &Sent, code: i16) -> bool {
        let verdict = verdict(code);
        let Some(topic) = self.topics.get_mut(&one.topic) else {
            return false;
        };
        let Some(queue) = topic.queue(one.partition) else {
            return false;
        };
        if verdict == Verdict::Delivered {
            if let Some(mark) = queue.delivered(one.lot) {
                self.delivered(mark);
            }
            return false;
        }
        if !queue.came_back(one.lot) {
            return false;
        }
        match verdict {
            Verdict::Back => topic.recall(Fault::of_broker(code)),
            Verdict::Renumber => self.producer = None,
            Verdict::Again | Verdict::Delivered => {
                topic.pause(one.partition, Moment::now().after(AGAIN));
            }
        }
        verdict != Verdict::Back
    }
}
