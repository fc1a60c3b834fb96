//! The bytes that a connection has yet to send.
//!
//! Always: control frames stand between whole messages, never inside one.
//! Full: who queues looks at [`Supply::has_room`] first; a socket that takes nothing more leaves the
//! rest here.

use std::{
    io::{self, IoSlice, Write},
    net::TcpStream,
    sync::Arc,
};

use bytes::Bytes;

use crate::{message::Shape, wire::Prepared, wire::Target};

/// Slices given to one system call.
const SLICES_MAX: usize = 64;
/// A message is at most this many slices: its head, the connection's own part, its body.
const PIECES: usize = 3;
/// Different messages that are made before a run.
const POOL_MESSAGES: usize = 64;
/// They are meant to stay in the cache of the driver's core ...
const POOL_BYTES: usize = 1 << 20;
/// ... unless there are many types: all are to come, so there are more events than types.
const POOL_EVENTS_FOR_TYPE: u64 = 4;
const POOL_BYTES_MAX: usize = 64 << 20;
/// Messages of the pool that wait in user space for one socket; they take no memory of their own.
const UNWRITTEN_MESSAGES_MAX: usize = 64;
const UNWRITTEN_BYTES_MAX: usize = 256 << 10;

/// Messages made before the run, shared by all connections, so that sending costs the driver as
/// little as can be.
#[derive(Debug)]
pub(super) struct Pool {
    messages: Vec<Prepared>,
}

impl Pool {
    pub(super) fn new(shape: &Shape, target: &Target) -> Self {
        let mut messages = Vec::new();
        let (mut bytes, mut request) = (0, Vec::new());
        let (events, types) = (u64::from(shape.events), u64::from(shape.mix.types()));
        let lacks = |messages: usize, bytes: usize| {
            let few = messages < POOL_MESSAGES && bytes < POOL_BYTES;
            let few_types = messages as u64 * events < types * POOL_EVENTS_FOR_TYPE;
            messages == 0 || few || (few_types && events != 0 && bytes < POOL_BYTES_MAX)
        };
        while lacks(messages.len(), bytes) {
            request.clear();
            shape.encode(0, 1 + messages.len() as u64, &mut request);
            let message = target.protocol.prepare(target, &request);
            bytes += message.head.len() + message.body.len();
            messages.push(message);
        }
        Self { messages }
    }
}

/// Where a connection's batches come from.
#[derive(Debug)]
pub(super) enum Supply {
    /// Messages of a pool in turn: costs the driver nothing.
    Pooled(Pooled),
    /// Each batch made anew, because each is recorded.
    Staged(Staged),
}

impl Supply {
    /// Queues a control frame.
    pub(super) fn queue_control(&mut self, frame: &[u8]) {
        match self {
            Self::Pooled(supply) => supply.controls.extend_from_slice(frame),
            Self::Staged(supply) => supply.bytes.extend_from_slice(frame),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Pooled(supply) => supply.waiting == 0 && supply.controls.is_empty(),
            Self::Staged(supply) => supply.bytes.is_empty(),
        }
    }

    /// Whether more may wait in user space for the socket to take it.
    pub(super) fn has_room(&self) -> bool {
        match self {
            Self::Pooled(supply) => supply.waiting < UNWRITTEN_MESSAGES_MAX,
            Self::Staged(supply) => supply.bytes.len() < UNWRITTEN_BYTES_MAX,
        }
    }

    /// Forgets what was not written: the connection is another one now.
    pub(super) fn forget(&mut self) {
        match self {
            Self::Pooled(supply) => {
                supply.next += supply.waiting;
                (supply.waiting, supply.offset) = (0, 0);
                supply.controls.clear();
            }
            Self::Staged(supply) => supply.bytes.clear(),
        }
    }

    /// Gives the socket as much as it takes. `WouldBlock` is no error: [`Supply::is_empty`] tells.
    pub(super) fn write(&mut self, socket: &TcpStream) -> io::Result<()> {
        while !self.is_empty() {
            let written = match self {
                Self::Pooled(supply) => supply.write(socket),
                Self::Staged(supply) => supply.write(socket),
            };
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Messages of the pool, `waiting` of them still to be sent.
#[derive(Debug)]
pub(super) struct Pooled {
    pool: Arc<Pool>,
    /// What this connection puts between the parts of each message.
    own: Vec<u8>,
    /// The first message that is not wholly written; counts on beyond the pool's end.
    next: usize,
    waiting: usize,
    /// Bytes of the first message that are written.
    offset: usize,
    controls: Vec<u8>,
}

impl Pooled {
    /// `start` lets connections begin with different messages.
    pub(super) fn new(pool: Arc<Pool>, own: Vec<u8>, start: usize) -> Self {
        assert!(!pool.messages.is_empty());
        Self {
            pool,
            own,
            next: start,
            waiting: 0,
            offset: 0,
            controls: Vec::new(),
        }
    }

    pub(super) fn queue(&mut self) {
        self.waiting += 1;
    }

    /// The next message as its client wants it, which keeps it until it is sent.
    pub(super) fn take_body(&mut self) -> Bytes {
        let message = &self.pool.messages[self.next % self.pool.messages.len()];
        self.next += 1;
        message.body.clone()
    }

    fn pieces(&self, ahead: usize) -> [&[u8]; PIECES] {
        let message = &self.pool.messages[(self.next + ahead) % self.pool.messages.len()];
        [&message.head, &self.own, &message.body]
    }

    fn message_bytes(&self) -> usize {
        self.pieces(0).iter().map(|piece| piece.len()).sum()
    }

    fn write(&mut self, mut socket: impl Write) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let mut used = 0;
        let mut put = |bytes| {
            slices[used] = IoSlice::new(bytes);
            used += 1;
            used
        };
        let mut ahead = 0;
        let mut full = 0;
        if self.offset != 0 {
            let mut skip = self.offset;
            for piece in self.pieces(0) {
                let skipped = skip.min(piece.len());
                skip -= skipped;
                full = put(&piece[skipped..]);
            }
            ahead = 1;
        }
        if !self.controls.is_empty() {
            full = put(&self.controls);
        }
        while ahead < self.waiting && full + PIECES <= SLICES_MAX {
            for piece in self
                .pieces(ahead)
                .into_iter()
                .filter(|piece| !piece.is_empty())
            {
                full = put(piece);
            }
            ahead += 1;
        }
        let written = socket.write_vectored(&slices[..full])?;
        self.take(written);
        Ok(written)
    }

    /// Counts what the socket took: the rest of a message, then controls, then whole messages.
    fn take(&mut self, mut written: usize) {
        if self.offset != 0 {
            let rest = self.message_bytes() - self.offset;
            if written < rest {
                self.offset += written;
                return;
            }
            written -= rest;
            self.go_on();
        }
        let controls = written.min(self.controls.len());
        self.controls.drain(..controls);
        written -= controls;
        while written != 0 {
            let message = self.message_bytes();
            if written < message {
                self.offset = written;
                break;
            }
            written -= message;
            self.go_on();
        }
        assert!(self.offset == 0 || self.waiting != 0);
    }

    fn go_on(&mut self) {
        self.offset = 0;
        self.next += 1;
        self.waiting -= 1;
    }
}

/// Messages laid end to end.
#[derive(Debug, Default)]
pub(super) struct Staged {
    pub(super) bytes: Vec<u8>,
    /// What this connection puts between the parts of each message.
    own: Vec<u8>,
}

impl Staged {
    pub(super) fn new(own: Vec<u8>) -> Self {
        let bytes = Vec::new();
        Self { bytes, own }
    }

    pub(super) fn queue(&mut self, message: &Prepared) {
        self.bytes.extend_from_slice(&message.head);
        self.bytes.extend_from_slice(&self.own);
        self.bytes.extend_from_slice(&message.body);
    }

    fn write(&mut self, mut socket: impl Write) -> io::Result<usize> {
        let written = socket.write(&self.bytes)?;
        self.bytes.drain(..written);
        Ok(written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a few bytes at each call, as a full socket does.
    struct Trickle<'a> {
        bytes: &'a mut Vec<u8>,
        step: usize,
    }

    impl Write for Trickle<'_> {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            let taken = self.step.min(buf.len());
            self.bytes.extend_from_slice(&buf[..taken]);
            Ok(taken)
        }

        fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            let all: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
            self.write(&all)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn pool(messages: &[(&str, &str)]) -> Arc<Pool> {
        let prepared = |(head, body): &(&str, &str)| Prepared {
            head: head.as_bytes().to_vec(),
            body: body.as_bytes().to_vec().into(),
        };
        let messages = messages.iter().map(prepared).collect();
        Arc::new(Pool { messages })
    }

    fn drain(supply: &mut Pooled, bytes: &mut Vec<u8>, step: usize) {
        while supply.waiting != 0 || !supply.controls.is_empty() {
            supply.write(Trickle { bytes, step }).unwrap();
        }
    }

    #[test]
    fn a_control_frame_never_splits_a_message() {
        for step in 1..40 {
            let mut supply = Pooled::new(pool(&[("", "abcdefg")]), Vec::new(), 0);
            let mut bytes = Vec::new();
            supply.queue();
            supply.queue();
            let trickle = Trickle {
                bytes: &mut bytes,
                step: step.min(10),
            };
            supply.write(trickle).unwrap();
            supply.controls.extend_from_slice(b"12");
            supply.queue();
            drain(&mut supply, &mut bytes, step);
            let text = String::from_utf8(bytes).unwrap();
            assert_eq!(text.replace("12", ""), "abcdefg".repeat(3), "step {step}");
            assert_eq!(
                text.find("12").map(|place| place % 7),
                Some(0),
                "step {step}"
            );
        }
    }

    #[test]
    fn messages_come_in_turn_with_the_connections_own_part_inside() {
        for step in 1..60 {
            let pool = pool(&[("a", "123"), ("bb", "4")]);
            let mut supply = Pooled::new(pool, b"-me-".to_vec(), 1);
            let mut bytes = Vec::new();
            for _ in 0..100 {
                supply.queue();
            }
            drain(&mut supply, &mut bytes, step);
            let text = String::from_utf8(bytes).unwrap();
            assert_eq!(text, "bb-me-4a-me-123".repeat(50), "step {step}");
        }
    }
}
