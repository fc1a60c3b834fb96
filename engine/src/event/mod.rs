//! Messages become batches of events, and answers become bytes.
//!
//! Layout:  requests and answers as in the crate `ringtail-proto`, in protobuf or JSON.
//! Always:  a whole request is checked before anything of it is accepted; every span of a batch lies
//!          inside its source.
//! Core:    a `Batch` is a scratch pad that one shard uses for every request: decoding allocates
//!          nothing in the steady state.
//! Cancel:  nothing waits here.
//! Full:    a request with too many events is refused with a reason.

pub mod answer;
pub mod json;
pub mod protobuf;
pub mod refuse;

use crate::frame::Encoding;
pub use refuse::Refusal;

/// A stretch of bytes in a batch's source (see [`Batch::source`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub start: u32,
    pub bytes: u32,
}

impl Span {
    /// The bytes that this span names.
    ///
    /// # Panics
    /// When `source` is not the source that the span was made for.
    pub fn of(self, source: &[u8]) -> &[u8] {
        &source[self.start as usize..][..self.bytes as usize]
    }
}

/// One event: its type (checked to be UTF-8) and its payload, which is opaque.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventSpan {
    pub kind: Span,
    pub payload: Span,
}

/// `google.protobuf.Timestamp` as the client sent it: only a claim.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SentTime {
    pub seconds: i64,
    pub nanos: i32,
}

impl SentTime {
    /// Milliseconds since 1970; saturates.
    pub fn millis(self) -> i64 {
        let nanos = i64::from(self.nanos) / 1_000_000;
        self.seconds.saturating_mul(1_000).saturating_add(nanos)
    }
}

/// A decoded request. Reused: `decode` overwrites what was there before.
#[derive(Debug, Default)]
pub struct Batch {
    /// The request's `req_guid`, checked to be UTF-8; empty when absent.
    pub guid: Span,
    pub sent_time: Option<SentTime>,
    pub events: Vec<EventSpan>,
    /// What the spans point into when the message itself cannot be (JSON: unescaped and unbased).
    arena: Vec<u8>,
    in_arena: bool,
}

impl Batch {
    /// Decodes `message`. On a refusal the batch holds nothing that may be accepted; the refusal
    /// says which guid was read before the error.
    pub fn decode(&mut self, encoding: Encoding, message: &[u8]) -> Result<(), Refusal> {
        match encoding {
            Encoding::Protobuf => protobuf::decode(message, self),
            Encoding::Json => json::decode(message, self),
        }
    }

    /// Forgets what was decoded before; keeps the memory.
    fn clear(&mut self) {
        self.guid = Span::default();
        self.sent_time = None;
        self.events.clear();
        self.arena.clear();
        self.in_arena = false;
    }

    /// The bytes that this batch's spans point into, given the message it was decoded from.
    pub fn source<'a>(&'a self, message: &'a [u8]) -> &'a [u8] {
        if self.in_arena { &self.arena } else { message }
    }
}
