//! What must be in the log, may be, and must not be: the simulation's own account, in which nothing of the
//! log's code takes part.
//!
//! A request that was acknowledged must be there. One that was never answered, or refused because storage
//! failed, may be there, but whole. One that was never taken must not be there.

use ringtail::unit::Ticket;
use std::collections::{BTreeMap, VecDeque};

/// One event's payload: its bytes follow from who sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value {
    pub request: u32,
    pub index: u32,
    pub bytes: u32,
    /// Not later than the time that the log keeps, in milliseconds.
    pub received_ms: i64,
}

impl Value {
    pub fn contents(self) -> Vec<u8> {
        let mut contents = format!("{}.{} ", self.request, self.index).into_bytes();
        let filler = b'a' + (self.request % 26) as u8;
        contents.resize(contents.len().max(self.bytes as usize), filler);
        contents
    }
}

#[derive(Clone, Debug)]
struct Request {
    ticket: Ticket,
    /// Topics by their number in the account.
    events: Vec<(usize, Value)>,
    refused: bool,
}

/// One topic in one journal.
#[derive(Clone, Debug, Default)]
pub struct Topic {
    /// What must be there, by offset, retired or not.
    pub records: Vec<Value>,
    /// The low watermark that was found at the last start, or that a truncation has answered since.
    pub low: u64,
    /// Everything below was asked to go.
    pub asked: u64,
    /// `low` is what a truncation has answered, and no start has confirmed it.
    pub truncated: bool,
    /// The times of the records that were read.
    pub times: BTreeMap<u64, i64>,
}

/// The account of one journal.
#[derive(Clone, Debug, Default)]
pub struct Account {
    pub topics: Vec<Topic>,
    /// Not acknowledged, in the order in which the journal took them.
    open: VecDeque<Request>,
}

impl Account {
    pub fn topic(&mut self, topic: usize) -> &mut Topic {
        if self.topics.len() <= topic {
            self.topics.resize_with(topic + 1, Topic::default);
        }
        &mut self.topics[topic]
    }

    pub fn records(&self, topic: usize) -> &[Value] {
        self.topics.get(topic).map_or(&[], |topic| &topic.records)
    }

    /// The offset of the topic below which everything that it may hold by now was received before this time.
    pub fn older_than(&self, topic: usize, before_ms: i64) -> u64 {
        let open = self.open.iter().flat_map(|request| &request.events);
        let open = open.filter(|(of, _)| *of == topic);
        let all = self.records(topic).iter();
        let all = all.chain(open.map(|(_, value)| value));
        all.take_while(|value| value.received_ms < before_ms)
            .count() as u64
    }

    /// The journal has taken a request.
    pub fn take(&mut self, ticket: Ticket, events: Vec<(usize, Value)>) {
        self.open.push_back(Request {
            ticket,
            events,
            refused: false,
        });
    }

    /// The requests up to this ticket are acknowledged, but for those refused before.
    pub fn acknowledge(&mut self, upto: Ticket) -> u64 {
        let done = |request: &Request| request.ticket <= upto && !request.refused;
        let (done, rest) = self.open.drain(..).partition::<Vec<_>, _>(done);
        self.open = rest.into();
        for request in &done {
            self.add(request);
        }
        done.len() as u64
    }

    /// The requests up to this ticket that were not acknowledged are refused: storage failed.
    pub fn refuse(&mut self, upto: Ticket) {
        let open = self.open.iter_mut();
        open.filter(|request| request.ticket <= upto)
            .for_each(|request| request.refused = true);
    }

    /// What was taken, not answered, and let go of by a rule before anybody could look: the records of the topic
    /// behind those that must be there, up to `low`. They count as seen.
    pub fn gone_unanswered(&self, topic: usize, low: u64) -> Result<VecDeque<Vec<u8>>, String> {
        let known = self.records(topic).len() as u64;
        let wanted = low.saturating_sub(known);
        let open = self.open.iter().flat_map(|request| &request.events);
        let open = open.filter(|(of, _)| *of == topic);
        let gone: VecDeque<_> = open
            .take(wanted as usize)
            .map(|(_, value)| value.contents())
            .collect();
        if gone.len() as u64 == wanted {
            Ok(gone)
        } else {
            Err(format!(
                "topic {topic} begins at {low}, and not so many records were ever taken"
            ))
        }
    }

    pub fn unanswered(&self) -> usize {
        self.open.iter().filter(|request| !request.refused).count()
    }

    fn add(&mut self, request: &Request) {
        for (topic, value) in &request.events {
            self.topic(*topic).records.push(*value);
        }
    }

    /// Squares the account with what was found behind the records of each topic after a crash. Gives how many
    /// of the open requests are there, and how many are not; `Err` says what cannot be. Of topics that were
    /// deleted nothing is seen. Unless the start is `recorded`, requests that are not there may still come: too
    /// few volumes could record it, and others may count again at the next start.
    pub fn settle(
        &mut self,
        mut found: Vec<VecDeque<Vec<u8>>>,
        deleted: &[bool],
        recorded: bool,
    ) -> Result<(u64, u64), String> {
        let (mut there, mut gone, mut cut) = (0, 0, None);
        for mut request in std::mem::take(&mut self.open) {
            let is_seen = |(topic, _): &&(usize, Value)| !deleted[*topic];
            let mut events = request.events.iter().filter(is_seen);
            let is_next = |found: &[VecDeque<Vec<u8>>], (topic, value): &(usize, Value)| {
                let next = found.get(*topic).and_then(VecDeque::front);
                next.is_some_and(|next| *next == value.contents())
            };
            let first = events.next().copied();
            let Some(first) = first.filter(|first| is_next(&found, first)) else {
                if let Some(first) = first {
                    gone += 1;
                    cut = cut.or((!request.refused).then_some(first.1.request));
                }
                if !recorded {
                    request.refused = true;
                    self.open.push_back(request);
                }
                continue;
            };
            if let Some(lost) = cut {
                let later = first.1.request;
                return Err(format!("request {later} is there, {lost} before it is not"));
            }
            for event in request.events.iter().filter(is_seen) {
                if !is_next(&found, event) {
                    return Err(format!("request {} is there in part", event.1.request));
                }
                found[event.0].pop_front();
            }
            there += 1;
            self.add(&request);
        }
        for (topic, rest) in found.iter().enumerate() {
            if let Some(value) = rest.front() {
                let name = String::from_utf8_lossy(&value[..value.len().min(16)]);
                let count = rest.len();
                return Err(format!(
                    "topic {topic} has {count} records too many: {name}"
                ));
            }
        }
        Ok((there, gone))
    }
}
