//! Connections: messages in, answers out.
//!
//! The doors know protocols and sockets; what becomes of a message they do not know. They hand it
//! to an [`Intake`], which is the shard.
//!
//! ```text
//! listener -> http -> REST: Call ------------------.
//!     |         |                                   > Intake -> answers
//!     |         `--> websocket -> session: Outbox -|
//!     `--> grpc: Call ----------------------------'
//! ```
//!
//! Always:  one task for each connection; answers leave in the order in which they were given.
//! Core:    one shard, from accept to close.
//! Cancel:  connections end by [`Doors::drain`]; answers to vanished clients are dropped.
//! Full:    the intake says [`Wait`]; the door stops reading and TCP tells the client.

mod body;
mod cors;
mod door;
mod grpc;
mod http;
mod inflate;
mod lines;
mod listener;
pub mod outbox;
pub mod session;
mod vigil;
mod websocket;

#[cfg(test)]
mod tests;

use crate::frame::Encoding;
use crate::unit::Micros;
pub use cors::Cors;
pub use listener::Doors;
pub use outbox::{Call, Outbox, Outcome, Peer, Protocol, Told};
use std::rc::Rc;
use std::time::Duration;

/// What the network doors need from the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    pub port: u16,
    /// Port of gRPC (`SERVER_GRPC_PORT`); `None` keeps that door shut.
    pub grpc_port: Option<u16>,
    /// Header that carries the connection's id (`SERVER_WEBSOCKET_CONN_ID_HEADER`).
    pub conn_id_header: ::http::HeaderName,
    /// Header that carries the group (`SERVER_WEBSOCKET_CONN_GROUP_HEADER`); none by default.
    pub conn_group_header: Option<::http::HeaderName>,
    /// The group of a connection that names none (`SERVER_WEBSOCKET_CONN_GROUP_DEFAULT`).
    pub conn_group_default: Box<str>,
    /// Refuse an upgrade whose `Origin` names another host (`SERVER_WEBSOCKET_CHECK_ORIGIN`).
    pub check_origin: bool,
    /// Let WebSocket clients send compressed messages (`RINGTAIL_WEBSOCKET_DEFLATE`).
    pub websocket_deflate: bool,
    /// What pages of other hosts may ask over HTTP (`SERVER_CORS_ENABLED`); `None` tells them nothing.
    pub cors: Option<Cors>,
    /// Largest message or body, in bytes (`server.max_message_bytes`).
    pub message_bytes_max: usize,
    /// The same for gRPC (`server.grpc.max_message_bytes`), whose clients expect Go's limit.
    pub grpc_message_bytes_max: usize,
    /// Between two pings of a WebSocket (`SERVER_WEBSOCKET_PING_INTERVAL_MS`).
    pub ping_interval: Duration,
    /// A WebSocket whose last pong is longer ago is dropped (`SERVER_WEBSOCKET_PONG_WAIT_INTERVAL_MS`).
    pub pong_wait: Duration,
    /// Who takes nothing for so long is dropped (`SERVER_WEBSOCKET_WRITE_WAIT_INTERVAL_MS`).
    pub write_wait: Duration,
    /// How long the holder of a name has to show that it lives when another wants the name.
    pub proof_wait: Duration,
    /// From a connection's opening, or its last answer, to the end of the next request's head.
    pub head_wait: Duration,
    /// From the first byte of a message or body to its last.
    pub message_wait: Duration,
}

/// Why a message could not be taken just now. The door waits and offers the same bytes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The shard has as much in hand as it may; it is woken when there is room.
    Room,
    /// A topic in the message is not known yet; the control core has been asked.
    Topics,
    /// The same request is in hand elsewhere, or another shard is asked whether it is.
    Twin,
}

/// Why a WebSocket is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwelcome {
    /// Another connection has its id and group.
    Duplicate,
    /// The server has as many as it may.
    Full,
}

/// Why a connection was ended without a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// No pong came for too long.
    NoPong,
    /// Another wanted its name, and it did not show in time that it lives.
    Superseded,
    /// It did not take what it was sent.
    SlowReader,
    /// A WebSocket message took too long.
    SlowMessage,
    /// The head of an HTTP request took too long.
    SlowHead,
    /// The body of an HTTP request or a gRPC message took too long.
    SlowBody,
}

/// What happened at a door, for the shard's counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    Connected,
    /// The connection ended after this many microseconds.
    Disconnected {
        lived_us: u64,
    },
    UpgradeFailed,
    /// A WebSocket was told that it is not served, and why.
    TurnedAway(Unwelcome),
    /// A WebSocket was closed in favour of a newer one of the same name.
    Replaced,
    Cut(Cut),
    /// A ping could not be sent.
    PingFailed,
    /// A pong could not be sent.
    PongFailed,
    /// A WebSocket was closed for breaking the protocol, with this close code.
    ProtocolError {
        code: u16,
    },
    /// A read failed or ended in the middle of a message.
    ReadError,
    UnknownContentType,
    Refused(Refused),
    BytesReceived(u64),
}

/// Why the door itself refused a request, or a whole connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A body over the limit.
    TooLarge,
    /// The shard holds too many unfinished bodies.
    NoRoom,
    /// HTTP/1 or HTTP/2 that is none, or that ended too early or too late.
    BrokenHttp,
    /// A path or method that is not served.
    NotServed,
    /// A gRPC call that ended with a status.
    Call,
}

/// Takes what the doors receive. Implemented by the shard; cheap to clone (an `Rc` inside).
pub trait Intake: Clone + 'static {
    /// Takes one whole WebSocket message. `Ok` means that it is taken for good: its answer, success or
    /// refusal, comes through `outbox`, in the order of the offers.
    fn offer_message(
        &self,
        outbox: &Rc<Outbox>,
        encoding: Encoding,
        message: &[u8],
    ) -> Result<(), Wait>;

    /// Takes one REST body or gRPC message. `Ok` means that the answer will come through `call`.
    fn offer_call(&self, call: &Rc<Call>, encoding: Encoding, body: &[u8]) -> Result<(), Wait>;

    /// What a WebSocket holds while it is served. Dropping it makes room for others.
    type Place: 'static;

    /// Asks for a place for a WebSocket. Dropping the question takes it back.
    fn admit(&self, outbox: &Rc<Outbox>) -> impl Future<Output = Result<Self::Place, Unwelcome>>;

    /// The connection that has this place was told to prove that it lives, and does.
    fn is_alive(&self, _place: &Self::Place) {}

    /// Resolves when offering again makes sense. May resolve early. Dropping it loses nothing.
    fn until(&self, wait: Wait) -> impl Future<Output = ()>;

    fn note(&self, note: Note);

    /// As [`Intake::note`], where it is known whom it is about.
    fn note_of(&self, _peer: &Peer, note: Note) {
        self.note(note);
    }

    /// Whether an event sent now would be acknowledged, as far as the shard knows.
    fn is_ready(&self) -> bool {
        true
    }

    /// Unix seconds, for answers that the door itself gives.
    fn now_seconds(&self) -> i64;

    /// The shard's clock, for the lives of connections.
    fn now(&self) -> Micros {
        Micros(self.now_seconds().unsigned_abs() * 1_000_000)
    }
}
