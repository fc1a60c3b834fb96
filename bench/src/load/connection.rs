//! One connection: batches sent and not yet answered.
//!
//! Always: a batch is recorded as sent before its bytes are given to the socket.
//! Answers are matched by order, as a server with a log gives them; with a record they are matched
//! by the guid that they carry, in whatever order they come.
//! Cancel: a connection that ended keeps its reason and is never used again; what it had sent and
//! was not answered stays unanswered. One that is broken off on purpose gives up what was unanswered and
//! is opened anew; with a record it then has a number that no connection had before.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Read},
    net::TcpStream,
    sync::Arc,
    time::Instant,
};

use super::{
    rules::{Loop, Rules},
    supply::Supply,
    tally::Tally,
};
use crate::{
    host,
    message::{Answer, STATUS_SUCCESS, Shape},
    record::Recorder,
    wire::{
        ANSWER_BYTES_MAX, Heard, Protocol, Target,
        grpc::{Client, Told},
    },
};

/// What all connections of a worker use in turn.
pub(super) struct Desk<'a> {
    pub(super) shape: &'a Shape,
    pub(super) target: &'a Target,
    pub(super) rules: &'a Rules,
    pub(super) recorder: Option<Recorder>,
    pub(super) tally: Tally,
    /// Where sockets are read into.
    pub(super) buffer: Box<[u8]>,
    /// Where a request is made before it is put into its envelope.
    pub(super) scratch: Vec<u8>,
    pub(super) now: Instant,
}

/// Bytes read at once; the largest answer fits.
pub(super) const BUFFER_BYTES: usize = 2 * ANSWER_BYTES_MAX;

struct Flying {
    batch: u64,
    /// When it was sent, or of an open loop was meant to be.
    counts_from: Instant,
}

pub(super) struct Connection {
    number: u32,
    protocol: Protocol,
    pub(super) socket: Option<Arc<TcpStream>>,
    /// What speaks for the connection where the protocol has state.
    client: Option<Box<Client>>,
    supply: Supply,
    /// Of an open loop: when batches were meant to be sent that are not sent yet, oldest first.
    due: VecDeque<Instant>,
    /// Sent and unanswered, oldest first.
    flying: VecDeque<Flying>,
    /// The head of an answer whose rest has not come.
    carry: Vec<u8>,
    /// Batches of this number.
    batch: u64,
    sent: u64,
    /// Of a closed loop with a pause: nothing is sent before.
    pub(super) rests_until: Option<Instant>,
    /// Why the connection ended.
    pub(super) lost: Option<String>,
    /// The socket takes nothing any more; what the server said before may still wait to be read.
    mute: bool,
    /// Whether the poller was asked to tell when the socket takes bytes again.
    pub(super) wants_write: bool,
}

impl Connection {
    /// A connection without a socket.
    pub(super) fn new(number: u32, protocol: Protocol, supply: Supply) -> Self {
        Self {
            number,
            protocol,
            socket: None,
            client: None,
            supply,
            due: VecDeque::new(),
            flying: VecDeque::new(),
            carry: Vec::new(),
            batch: 0,
            sent: 0,
            rests_until: None,
            lost: None,
            mute: false,
            wants_write: false,
        }
    }

    /// Takes a socket that was opened, and the bytes that were read behind the opening.
    pub(super) fn admit(
        &mut self,
        socket: TcpStream,
        carry: Vec<u8>,
        target: &Target,
        identity: &[(&str, &str)],
    ) -> io::Result<()> {
        assert!(self.socket.is_none() && self.flying.is_empty());
        let socket = Arc::new(socket);
        if self.protocol.has_client() {
            let is_stream = self.protocol == Protocol::GrpcStream;
            let client = Client::new(Arc::clone(&socket), target, identity, is_stream)?;
            self.client = Some(Box::new(client));
        }
        self.socket = Some(socket);
        self.carry = carry;
        Ok(())
    }

    /// Closes the socket.
    pub(super) fn hang_up(&mut self) {
        (self.socket, self.client) = (None, None);
    }

    /// Breaks the connection off; gives how many batches were not answered.
    pub(super) fn break_off(&mut self, connections: u32) -> u64 {
        let abandoned = self.flying.len() as u64;
        self.flying.clear();
        self.supply.forget();
        self.carry.clear();
        self.hang_up();
        (self.mute, self.wants_write) = (false, false);
        // Batches of a number are numbered without a gap, so a record needs a new number.
        self.number = self.number.saturating_add(connections);
        self.batch = 0;
        abandoned
    }

    pub(super) fn is_open(&self) -> bool {
        self.socket.is_some() && self.lost.is_none()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.lost.is_some() || self.flying.is_empty()
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// Batches sent and not answered.
    pub(super) fn unanswered(&self) -> usize {
        self.flying.len()
    }

    /// Batches that were meant to be sent and are not.
    pub(super) fn due(&self) -> impl Iterator<Item = Instant> {
        self.due.iter().copied()
    }

    pub(super) fn has_bytes_to_send(&self) -> bool {
        let waits = match &self.client {
            Some(client) => client.is_full(),
            None => !self.supply.is_empty(),
        };
        self.is_open() && !self.mute && waits
    }

    /// Whether the way to the server takes another batch.
    fn has_room(&mut self, kind: Loop) -> bool {
        match &mut self.client {
            Some(client) => client.has_room(),
            None => kind == Loop::Closed || self.supply.has_room(),
        }
    }

    /// A batch is meant to be sent.
    pub(super) fn intend(&mut self, moment: Instant) {
        self.due.push_back(moment);
    }

    /// Queues what may be sent now.
    pub(super) fn fill(&mut self, desk: &mut Desk<'_>) {
        if !self.is_open() || self.mute || self.rests_until.is_some() {
            return;
        }
        let rules = desk.rules;
        while self.flying.len() < rules.window
            && self.sent < rules.batches_max
            && self.has_room(rules.kind)
        {
            let counts_from = match rules.kind {
                Loop::Closed | Loop::Max => desk.now,
                Loop::Open { late_us } => {
                    let Some(intended) = self.due.pop_front() else {
                        return;
                    };
                    desk.tally.sent_late(intended, desk.now, late_us);
                    intended
                }
            };
            self.queue(desk, counts_from);
        }
    }

    fn queue(&mut self, desk: &mut Desk<'_>, counts_from: Instant) {
        self.sent += 1;
        self.batch += 1;
        let batch = self.batch;
        match (&mut self.supply, &mut self.client) {
            (Supply::Pooled(supply), None) => supply.queue(),
            (Supply::Pooled(supply), Some(client)) => client.ask(batch, supply.take_body()),
            (Supply::Staged(supply), client) => {
                desk.scratch.clear();
                desk.shape.encode(self.number, batch, &mut desk.scratch);
                let message = self.protocol.prepare(desk.target, &desk.scratch);
                match client {
                    None => supply.queue(&message),
                    Some(client) => client.ask(batch, message.body),
                }
            }
        }
        if let Some(recorder) = &mut desk.recorder {
            recorder.sent(self.number, batch);
        }
        self.flying.push_back(Flying { batch, counts_from });
    }

    /// Sends what the socket takes. A socket that takes no more is ended by [`Self::receive`],
    /// which reads what is left in it first.
    pub(super) fn send(&mut self) {
        if let Some(client) = self.client.as_mut().filter(|_| !self.mute) {
            client.write();
            self.mute = client.ended().is_some();
        } else if self.has_bytes_to_send()
            && let Some(socket) = &self.socket
        {
            self.mute = self.supply.write(socket).is_err();
        }
    }

    /// Settles what came with the opening: a server that wants no more connections says so at once.
    pub(super) fn greet(&mut self, desk: &mut Desk<'_>) {
        let carry = std::mem::take(&mut self.carry);
        let used = self.settle_all(&carry, desk);
        self.carry.extend_from_slice(&carry[used..]);
    }

    /// Reads and settles all answers that have come.
    pub(super) fn receive(&mut self, desk: &mut Desk<'_>) {
        if self.client.is_some() {
            return self.hear(desk);
        }
        let mut buffer = std::mem::take(&mut desk.buffer);
        while self.lost.is_none() {
            let head = self.carry.len();
            buffer[..head].copy_from_slice(&self.carry);
            let Some(socket) = &self.socket else {
                break;
            };
            match (&**socket).read(&mut buffer[head..]) {
                Ok(0) => self.lose("the server closed the connection"),
                Ok(read) => {
                    // The moment at which the answer was read, not at which the loop began its turn.
                    desk.now = host::now();
                    let end = head + read;
                    let used = self.settle_all(&buffer[..end], desk);
                    self.carry.clear();
                    self.carry.extend_from_slice(&buffer[used..end]);
                    if end < buffer.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => self.lose(&error.to_string()),
            }
        }
        desk.buffer = buffer;
    }

    /// The same for a protocol that has a client.
    fn hear(&mut self, desk: &mut Desk<'_>) {
        let Some(mut client) = self.client.take() else {
            return;
        };
        client.read();
        desk.now = host::now();
        while self.lost.is_none()
            && let Some(told) = client.hear()
        {
            match told {
                Told::Answer { batch, payload } => self.answer(batch, &payload, desk),
                Told::Failed { batch, failure } => {
                    let answer = Answer {
                        code: failure.code,
                        reason: failure.text.as_bytes(),
                        ..Answer::default()
                    };
                    self.settle(Some(batch), &answer, desk);
                }
            }
        }
        if let Some(why) = client.ended() {
            self.lose(why);
        }
        self.client = Some(client);
    }

    pub(super) fn lose(&mut self, reason: &str) {
        self.lost.get_or_insert_with(|| reason.to_owned());
    }

    /// Settles every whole answer of `bytes` and says how many bytes they take.
    fn settle_all(&mut self, bytes: &[u8], desk: &mut Desk<'_>) -> usize {
        let mut used = 0;
        while self.lost.is_none()
            && let Some(taken) = self.protocol.take(&bytes[used..])
        {
            used += taken.bytes;
            match taken.heard {
                Heard::Answer(payload) => self.answer(None, payload, desk),
                Heard::Ping(payload) => self.supply.queue_control(&self.protocol.pong(payload)),
                Heard::Nothing => {}
                Heard::Closed(why) => self.lose(&why),
            }
        }
        if BUFFER_BYTES / 2 < bytes.len() - used {
            self.lose("the server sent an answer that is too long");
        }
        used
    }

    /// Settles an answer. The protocol may know which batch it is for; with a record the answer must say so, too.
    fn answer(&mut self, batch: Option<u64>, payload: &[u8], desk: &mut Desk<'_>) {
        let Some(answer) = Answer::read(payload) else {
            return self.lose("the server sent an answer that is no protobuf");
        };
        if desk.recorder.is_none() {
            return self.settle(batch, &answer, desk);
        }
        let guid = std::str::from_utf8(answer.guid).ok();
        let named = guid.and_then(|guid| desk.shape.batch_of(self.number, guid));
        if named.is_some() && batch.is_none_or(|batch| named == Some(batch)) {
            self.settle(named, &answer, desk);
        } else {
            let reason = answer.reason.escape_ascii();
            self.lose(&format!("the server answered what was not asked: {reason}"));
        }
    }

    /// Counts what came of a batch; without its number, of the oldest.
    fn settle(&mut self, batch: Option<u64>, answer: &Answer<'_>, desk: &mut Desk<'_>) {
        let Some(flying) = self.take_flying(batch) else {
            let reason = answer.reason.escape_ascii();
            return self.lose(&format!("the server answered what was not asked: {reason}"));
        };
        let success = answer.status == STATUS_SUCCESS;
        if let Some(recorder) = &mut desk.recorder {
            if success {
                recorder.acknowledged(self.number, flying.batch);
            } else {
                recorder.refused(self.number, flying.batch, answer.reason);
            }
        }
        let is_open_loop = matches!(desk.rules.kind, Loop::Open { .. });
        if success {
            desk.tally
                .success(flying.counts_from, desk.now, is_open_loop);
        } else {
            desk.tally.refusal(answer, desk.now);
        }
        if let Some(think) = desk.rules.think {
            self.rests_until = Some(desk.now + think);
        }
    }

    fn take_flying(&mut self, batch: Option<u64>) -> Option<Flying> {
        let Some(batch) = batch else {
            return self.flying.pop_front();
        };
        let mut flying = self.flying.iter();
        let place = flying.position(|flying| flying.batch == batch)?;
        self.flying.remove(place)
    }
}
