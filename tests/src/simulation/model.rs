//! What must be in the log, may be, and must not be: the simulation's own account, in which nothing of the
//! log's code takes part.
//!
//! A request that was acknowledged must be there. One that was never answered, or refused because storage
//! failed, may be there, but whole. One that was never taken must not be there.

use ringtail::unit::Ticket;
use std::collections::VecDeque;

/// One event's payload: its bytes follow from who sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value {
    pub request: u32,
    pub index: u32,
    pub bytes: u32,
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
    /// The low watermark that was found at the last start.
    pub low: u64,
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

    pub fn unanswered(&self) -> usize {
        self.open.iter().filter(|request| !request.refused).count()
    }

    fn add(&mut self, request: &Request) {
        for (topic, value) in &request.events {
            self.topic(*topic).records.push(*value);
        }
    }

    /// Squares the account with what was found behind the records of each topic after a crash. Gives how many
    /// of the open requests are there, and how many are not; `Err` says what cannot be.
    pub fn settle(&mut self, mut found: Vec<VecDeque<Vec<u8>>>) -> Result<(u64, u64), String> {
        let (mut there, mut gone, mut cut) = (0, 0, None);
        for request in std::mem::take(&mut self.open) {
            let mut events = request.events.iter();
            let is_next = |found: &[VecDeque<Vec<u8>>], (topic, value): &(usize, Value)| {
                let next = found.get(*topic).and_then(VecDeque::front);
                next.is_some_and(|next| *next == value.contents())
            };
            let first = events.next().ok_or("a request without events was taken")?;
            if !is_next(&found, first) {
                gone += 1;
                cut = cut.or((!request.refused).then_some(first.1.request));
                continue;
            }
            if let Some(lost) = cut {
                let later = first.1.request;
                return Err(format!("request {later} is there, {lost} before it is not"));
            }
            for event in &request.events {
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
