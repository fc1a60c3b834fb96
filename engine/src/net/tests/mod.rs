//! The doors on real sockets, before an intake that echoes.

mod rest;
mod watch;
mod websocket;

use super::*;
use crate::frame::websocket::{Decoder, Item, write_masked, write_message};
use crate::limit::{self, MESSAGE_BYTES_DEFAULT};
use crate::rt::executor::{Plan, block_on, yield_if_needed};
use crate::rt::notify::Notify;
use crate::rt::stream::Stream;
use crate::rt::timer::timeout;
use std::cell::{Cell, RefCell};
use std::net::Ipv4Addr;
use std::time::Duration;

/// Far more than anything here takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Default)]
struct Echo(Rc<EchoState>);

type Held = (Rc<Outbox>, Encoding, Vec<u8>);

#[derive(Default)]
struct EchoState {
    unwelcome: Cell<Option<Unwelcome>>,
    /// Those that were let in.
    outboxes: RefCell<Vec<Rc<Outbox>>>,
    /// How often a connection showed that it lives.
    proofs: Cell<u32>,
    /// Every connection that is served has one.
    places: Rc<()>,
    full: Cell<bool>,
    room: Notify,
    waits: Cell<u32>,
    /// Answers wait here while `holds`.
    holds: Cell<bool>,
    held: RefCell<Vec<Held>>,
    notes: RefCell<Vec<Note>>,
    peers: RefCell<Vec<Peer>>,
}

impl Echo {
    fn make_room(&self) {
        self.0.full.set(false);
        self.0.room.wake_all();
    }

    fn release(&self) {
        self.0.holds.set(false);
        for (outbox, encoding, payload) in self.0.held.take() {
            outbox.answer(true, |out| write_message(encoding, &payload, out));
        }
    }

    fn noted(&self, note: Note) -> bool {
        self.0.notes.borrow().contains(&note)
    }

    fn received(&self) -> u64 {
        let notes = self.0.notes.borrow();
        let bytes = notes.iter().map(|note| match note {
            Note::BytesReceived(bytes) => *bytes,
            _ => 0,
        });
        bytes.sum()
    }
}

impl Intake for Echo {
    type Place = Rc<()>;

    async fn admit(&self, outbox: &Rc<Outbox>) -> Result<Rc<()>, Unwelcome> {
        if let Some(why) = self.0.unwelcome.get() {
            return Err(why);
        }
        self.0.outboxes.borrow_mut().push(Rc::clone(outbox));
        Ok(Rc::clone(&self.0.places))
    }

    fn is_alive(&self, _: &Rc<()>) {
        self.0.proofs.set(self.0.proofs.get() + 1);
    }

    fn offer_message(
        &self,
        outbox: &Rc<Outbox>,
        encoding: Encoding,
        message: &[u8],
    ) -> Result<(), Wait> {
        if self.0.full.get() {
            self.0.waits.set(self.0.waits.get() + 1);
            return Err(Wait::Room);
        }
        outbox.expect_answer();
        if self.0.holds.get() {
            let held = (Rc::clone(outbox), encoding, message.to_vec());
            self.0.held.borrow_mut().push(held);
        } else {
            outbox.answer(true, |out| write_message(encoding, message, out));
        }
        Ok(())
    }

    fn offer_call(&self, call: &Rc<Call>, _: Encoding, body: &[u8]) -> Result<(), Wait> {
        if self.0.full.get() {
            return Err(Wait::Room);
        }
        self.0.peers.borrow_mut().push(call.peer.clone());
        call.answer(Outcome::Accepted, body.to_vec());
        Ok(())
    }

    async fn until(&self, _: Wait) {
        if self.0.full.get() {
            self.0.room.wait().await;
        }
    }

    fn note(&self, note: Note) {
        self.0.notes.borrow_mut().push(note);
    }

    fn is_ready(&self) -> bool {
        !self.0.full.get()
    }

    fn now_seconds(&self) -> i64 {
        1_700_000_000
    }
}

struct World {
    echo: Echo,
    doors: Doors<Echo>,
}

pub(super) fn settings() -> Settings {
    Settings {
        port: 0,
        grpc_port: None,
        conn_id_header: ::http::HeaderName::from_static("x-user-id"),
        conn_group_header: Some(::http::HeaderName::from_static("x-group")),
        conn_group_default: "--default--".into(),
        check_origin: true,
        websocket_deflate: true,
        cors: None,
        message_bytes_max: MESSAGE_BYTES_DEFAULT,
        grpc_message_bytes_max: MESSAGE_BYTES_DEFAULT,
        ping_interval: limit::PING_INTERVAL,
        pong_wait: limit::PONG_WAIT,
        write_wait: limit::WRITE_WAIT,
        proof_wait: limit::PROOF_WAIT,
        head_wait: limit::HTTP_HEAD_WAIT,
        message_wait: limit::HTTP_BODY_WAIT,
    }
}

impl World {
    fn run(body: impl AsyncFnOnce(Self)) {
        Self::run_with(settings(), body);
    }

    fn run_with(settings: Settings, body: impl AsyncFnOnce(Self)) {
        let body = async {
            let echo = Echo::default();
            let address = (Ipv4Addr::LOCALHOST, 0).into();
            let doors = Doors::open(settings, echo.clone(), address).unwrap();
            body(Self { echo, doors }).await;
        };
        let done = block_on(&Plan::small("net"), timeout(PATIENCE, body)).unwrap();
        assert!(done.is_some(), "the test waited for what never came");
    }

    async fn call(&self) -> Client {
        let address = self.doors.local_address().unwrap();
        Client {
            stream: Stream::connect(address).await.unwrap(),
            decoder: Decoder::for_client(MESSAGE_BYTES_DEFAULT),
            bytes: Vec::new(),
        }
    }

    async fn upgraded(&self) -> Client {
        let mut client = self.call().await;
        client.send(upgrade("").as_bytes()).await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        client
    }

    async fn wait_until(&self, there: impl Fn(&Self) -> bool) {
        while !there(self) {
            take_turns().await;
        }
    }
}

/// Lets every other task have a turn.
async fn take_turns() {
    crate::rt::timer::sleep(Duration::from_micros(200)).await;
    yield_if_needed().await;
}

fn upgrade(more: &str) -> String {
    format!(
        "GET /api/v1/events HTTP/1.1\r\nHost: here:1\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
    )
}

fn binary(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_masked(Encoding::Protobuf, payload, [1, 2, 3, 4], &mut out);
    out
}

/// A masked frame with any first byte.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() < 126);
    let mut out = vec![first, 0x80 | payload.len() as u8, 0, 0, 0, 0];
    out.extend_from_slice(payload);
    out
}

#[derive(Debug, PartialEq)]
enum Seen {
    Binary(Vec<u8>),
    Text(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>),
    End,
}

struct Client {
    stream: Stream,
    decoder: Decoder,
    bytes: Vec<u8>,
}

impl Client {
    async fn send(&mut self, bytes: &[u8]) {
        self.stream.send_all(bytes).await.unwrap();
    }

    /// Receives more; `false` at the end.
    async fn more(&mut self) -> bool {
        let mut buffer = vec![0; 64 << 10];
        let bytes = self.stream.receive(&mut buffer).await.unwrap_or(0);
        self.bytes.extend_from_slice(&buffer[..bytes]);
        bytes > 0
    }

    /// An HTTP head, without its last empty line.
    async fn head(&mut self) -> String {
        loop {
            let end = self.bytes.windows(4).position(|it| it == b"\r\n\r\n");
            if let Some(end) = end {
                let head: Vec<u8> = self.bytes.drain(..end + 4).collect();
                return String::from_utf8(head).unwrap();
            }
            assert!(self.more().await, "the end came before the head's");
        }
    }

    /// An HTTP answer: its head and its body.
    async fn reply(&mut self) -> (String, Vec<u8>) {
        let head = self.head().await;
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length = length.map_or(0, |length| length.parse().unwrap());
        while self.bytes.len() < length {
            assert!(self.more().await, "the end came before the body's");
        }
        (head, self.bytes.drain(..length).collect())
    }

    async fn seen(&mut self) -> Seen {
        loop {
            let (item, consumed) = self.decoder.next(&mut self.bytes).unwrap();
            let seen = match item {
                Item::Message { encoding, payload } => Some(match encoding {
                    Encoding::Protobuf => Seen::Binary(payload.to_vec()),
                    Encoding::Json => Seen::Text(payload.to_vec()),
                }),
                Item::Pong(payload) => Some(Seen::Pong(payload.to_vec())),
                Item::Close { code, .. } => Some(Seen::Close(code)),
                Item::Ping(payload) => Some(Seen::Ping(payload.to_vec())),
                Item::More { .. } => None,
            };
            self.bytes.drain(..consumed);
            match seen {
                Some(seen) => return seen,
                None if self.more().await => {}
                None => return Seen::End,
            }
        }
    }
}
