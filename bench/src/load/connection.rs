//! One connection of the closed loop: at most `window` batches sent and not yet answered.
//!
//! Always: a batch is recorded as sent before its bytes are given to the socket.
//! Answers are matched by order, as a server with a log gives them; with a record they are matched
//! by the guid that they carry, in whatever order they come.
//! Cancel: a connection that ended keeps its reason and is never used again; what it had sent and
//! was not answered stays unanswered.

use std::{
    collections::VecDeque,
    io::{ErrorKind, Read},
    net::TcpStream,
    time::Instant,
};

use super::{
    supply::{Repeated, Staged, Supply},
    tally::Tally,
};
use crate::{
    message::{Answer, STATUS_SUCCESS, Shape},
    record::Recorder,
    websocket::{self, SERVER_FRAME_BYTES_MAX},
};

/// What all connections of a worker use in turn.
pub(super) struct Desk<'a> {
    pub(super) shape: &'a Shape,
    pub(super) recorder: Option<Recorder>,
    pub(super) tally: Tally,
    /// Where sockets are read into.
    pub(super) buffer: Box<[u8]>,
    /// Where a request is made before it is masked.
    pub(super) scratch: Vec<u8>,
    pub(super) now: Instant,
}

/// Bytes read at once; the largest frame fits.
pub(super) const BUFFER_BYTES: usize = 2 * SERVER_FRAME_BYTES_MAX;

struct Flying {
    batch: u64,
    sent_at: Instant,
}

pub(super) struct Connection {
    number: u32,
    pub(super) socket: TcpStream,
    supply: Supply,
    /// Sent and unanswered, oldest first.
    flying: VecDeque<Flying>,
    /// The head of a frame whose rest has not come.
    carry: Vec<u8>,
    sent: u64,
    /// Why the connection ended.
    pub(super) lost: Option<String>,
    /// The socket takes nothing any more; what the server said before may still wait to be read.
    mute: bool,
    /// Whether the poller was asked to tell when the socket takes bytes again.
    pub(super) wants_write: bool,
}

impl Connection {
    /// Takes a socket that was upgraded, and the bytes that were read behind the upgrade.
    pub(super) fn new(number: u32, socket: TcpStream, carry: Vec<u8>, supply: Supply) -> Self {
        Self {
            number,
            socket,
            supply,
            flying: VecDeque::new(),
            carry,
            sent: 0,
            lost: None,
            mute: false,
            wants_write: false,
        }
    }

    /// The frame that a connection without a record sends again and again.
    pub(super) fn repeated(number: u32, shape: &Shape) -> Supply {
        let (mut request, mut frame) = (Vec::new(), Vec::new());
        shape.encode(number, 1, &mut request);
        websocket::write_frame(websocket::BINARY, &request, &mut frame);
        Supply::Repeated(Repeated::new(frame))
    }

    pub(super) fn staged() -> Supply {
        Supply::Staged(Staged::default())
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

    pub(super) fn has_bytes_to_send(&self) -> bool {
        self.lost.is_none() && !self.mute && !self.supply.is_empty()
    }

    /// Queues batches up to `window` outstanding ones and `batches_max` in all.
    pub(super) fn fill(&mut self, desk: &mut Desk<'_>, window: usize, batches_max: u64) {
        if self.lost.is_some() || self.mute {
            return;
        }
        while self.flying.len() < window && self.sent < batches_max {
            self.sent += 1;
            let batch = self.sent;
            match &mut self.supply {
                Supply::Repeated(supply) => supply.queue(),
                Supply::Staged(supply) => {
                    desk.scratch.clear();
                    desk.shape.encode(self.number, batch, &mut desk.scratch);
                    websocket::write_frame(websocket::BINARY, &desk.scratch, &mut supply.bytes);
                }
            }
            if let Some(recorder) = &mut desk.recorder {
                recorder.sent(self.number, batch);
            }
            let sent_at = desk.now;
            self.flying.push_back(Flying { batch, sent_at });
        }
    }

    /// Sends what the socket takes. A socket that takes no more is ended by [`Self::receive`],
    /// which reads what is left in it first.
    pub(super) fn send(&mut self) {
        if self.has_bytes_to_send() {
            self.mute = self.supply.write(&self.socket).is_err();
        }
    }

    /// Settles what came with the upgrade: a server that wants no more connections says so at once.
    pub(super) fn greet(&mut self, desk: &mut Desk<'_>) {
        let carry = std::mem::take(&mut self.carry);
        let used = self.settle_all(&carry, desk);
        self.carry.extend_from_slice(&carry[used..]);
    }

    /// Reads and settles all answers that have come.
    pub(super) fn receive(&mut self, desk: &mut Desk<'_>) {
        let mut buffer = std::mem::take(&mut desk.buffer);
        while self.lost.is_none() {
            let head = self.carry.len();
            buffer[..head].copy_from_slice(&self.carry);
            match self.socket.read(&mut buffer[head..]) {
                Ok(0) => self.lose("the server closed the connection"),
                Ok(read) => {
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

    fn lose(&mut self, reason: &str) {
        self.lost.get_or_insert_with(|| reason.to_owned());
    }

    /// Settles every whole frame of `bytes` and says how many bytes they take.
    fn settle_all(&mut self, bytes: &[u8], desk: &mut Desk<'_>) -> usize {
        let mut used = 0;
        while self.lost.is_none() {
            match websocket::read_frame(&bytes[used..]) {
                Ok(Some(frame)) => {
                    used += frame.bytes;
                    self.settle(frame, desk);
                }
                Ok(None) => break,
                Err(error) => self.lose(&error.to_string()),
            }
        }
        used
    }

    fn settle(&mut self, frame: websocket::Frame<'_>, desk: &mut Desk<'_>) {
        match frame.opcode {
            websocket::BINARY => self.answer(frame.payload, desk),
            websocket::PING => {
                let mut pong = Vec::new();
                websocket::write_frame(websocket::PONG, frame.payload, &mut pong);
                self.supply.queue_control(&pong);
            }
            websocket::PONG => {}
            websocket::CLOSE => self.lose(&websocket::closing_words(frame.payload)),
            _ => self.lose("the server sent a frame that is no answer"),
        }
    }

    fn answer(&mut self, payload: &[u8], desk: &mut Desk<'_>) {
        let Some(answer) = Answer::read(payload) else {
            return self.lose("the server sent an answer that is no protobuf");
        };
        let Some(flying) = self.take_flying(&answer, desk) else {
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
        if success {
            desk.tally.success(flying.sent_at, desk.now);
        } else {
            desk.tally.refusal(&answer);
        }
    }

    /// The batch that an answer is for.
    fn take_flying(&mut self, answer: &Answer<'_>, desk: &Desk<'_>) -> Option<Flying> {
        if desk.recorder.is_none() {
            return self.flying.pop_front();
        }
        let guid = std::str::from_utf8(answer.guid).ok()?;
        let batch = desk.shape.batch_of(self.number, guid)?;
        let place = self
            .flying
            .iter()
            .position(|flying| flying.batch == batch)?;
        self.flying.remove(place)
    }
}
