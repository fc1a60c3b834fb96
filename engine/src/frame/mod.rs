//! Bytes from a socket become whole messages. No sockets here, and no allocation per message.
//!
//! Layout:  WebSocket frames as in RFC 6455; `buffer` holds them where they came.
//! Always:  what is yielded is whole, within its limit, and still untrusted.
//! Core:    buffers, pool and decoders belong to one shard.
//! Cancel:  nothing waits here.
//! Full:    what is too large is refused; the pool keeps a bounded number of buffers.

pub mod buffer;
pub mod websocket;

/// How the body of a message is written; the answer is written the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// A binary WebSocket message, or `application/proto`.
    Protobuf,
    /// A text WebSocket message, or `application/json`.
    Json,
}
