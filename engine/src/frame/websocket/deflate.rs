//! permessage-deflate (RFC 7692), the receiving half: what is agreed, and messages made whole.
//!
//! Layout:  a compressed message is raw deflate without its last four bytes, `00 00 ff ff`.
//! Always:  each message inflates on its own (no context takeover), so that connections keep nothing of it;
//!          what comes out is never larger than the message limit, whatever the bytes claim.
//! Core:    one inflater for all connections of a shard.
//! Cancel:  nothing waits here.
//! Full:    a message that inflates beyond the limit is `Fault::TooLarge`. Messages that wait to be
//!          taken hold a bounded number of inflated bytes together; others are inflated again.

use super::Fault;
use crate::limit::{INFLATED_BYTES_MAX, RECEIVE_BUFFER_BYTES};
use flate2::{Decompress, FlushDecompress, Status};
use http::HeaderMap;
use http::header::SEC_WEBSOCKET_EXTENSIONS;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// How much is inflated at a time.
const STEP_BYTES: usize = 16 << 10;
/// Final blocks in one message: who has no other way to flush ends with one (RFC 7692, 7.2.3.4). Each
/// costs a fresh start.
const FINAL_BLOCKS_MAX: u32 = 16;
/// What the sender left out, and an empty final block: only if the stream ends with it was the
/// message whole.
const TAIL: [u8; 6] = [0x00, 0x00, 0xff, 0xff, 0x03, 0x00];

/// Answers a client's offers of permessage-deflate with the value of the answer's
/// `Sec-WebSocket-Extensions`; `None` when there is no offer that can be honoured. Neither side keeps a
/// context. This server sends nothing compressed, and so keeps to any window that is asked of it.
pub fn accept_deflate(headers: &HeaderMap) -> Option<String> {
    let values = headers.get_all(SEC_WEBSOCKET_EXTENSIONS).iter();
    let offers = values.flat_map(|value| split(value.as_bytes(), b','));
    let offer = offers.into_iter().find_map(read_offer)?;
    let mut answer =
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover".to_owned();
    if let Some(bits) = offer.server_window_bits {
        answer.push_str("; server_max_window_bits=");
        answer.push_str(&bits.to_string());
    }
    Some(answer)
}

/// What a client asks for, as far as it matters here.
struct Offer {
    /// The window that is asked of the server.
    server_window_bits: Option<u8>,
}

/// Reads one offer; `None` for what is declined: other extensions, unknown or doubled parameters, values
/// that are not allowed.
fn read_offer(offer: &[u8]) -> Option<Offer> {
    let mut parts = split(offer, b';');
    if parts.next()? != b"permessage-deflate" {
        return None;
    }
    let (mut server_window_bits, mut seen) = (None, Vec::new());
    for part in parts {
        let equals = part.iter().position(|byte| *byte == b'=');
        let name = part[..equals.unwrap_or(part.len())].trim_ascii();
        let value = equals.map(|at| unquote(part[at + 1..].trim_ascii()));
        if seen.contains(&name) {
            return None;
        }
        seen.push(name);
        match (name, value) {
            (
                b"server_no_context_takeover"
                | b"client_no_context_takeover"
                | b"client_max_window_bits",
                None,
            ) => {}
            (b"client_max_window_bits", Some(value)) => drop(read_bits(value)?),
            (b"server_max_window_bits", Some(value)) => {
                server_window_bits = Some(read_bits(value)?);
            }
            _ => return None,
        }
    }
    Some(Offer { server_window_bits })
}

/// 8 to 15, without leading zeros.
fn read_bits(value: &[u8]) -> Option<u8> {
    match value {
        [digit @ b'8'..=b'9'] => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + digit - b'0'),
        _ => None,
    }
}

fn unquote(value: &[u8]) -> &[u8] {
    let inside = value.strip_prefix(b"\"");
    inside
        .and_then(|inside| inside.strip_suffix(b"\""))
        .unwrap_or(value)
}

/// The parts between separators that stand outside of quotes, trimmed.
fn split(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    let parts = text.split(move |byte| {
        quoted ^= *byte == b'"';
        *byte == separator && !quoted
    });
    parts.map(<[u8]>::trim_ascii)
}

/// Inflates the messages of a shard's connections, one at a time.
pub struct Inflater {
    message_bytes_max: usize,
    engine: RefCell<Decompress>,
    /// Memory of the message before.
    spare: RefCell<Vec<u8>>,
    /// Bytes of all that is [`Inflated`] now.
    held_bytes: Cell<usize>,
}

/// One message made whole. Its memory goes back when it is dropped.
pub(super) struct Inflated {
    pub(super) bytes: Vec<u8>,
    by: Rc<Inflater>,
}

impl Drop for Inflated {
    fn drop(&mut self) {
        let held = self.by.held_bytes.get() - self.bytes.len();
        self.by.held_bytes.set(held);
        let bytes = std::mem::take(&mut self.bytes);
        if bytes.capacity() <= RECEIVE_BUFFER_BYTES {
            *self.by.spare.borrow_mut() = bytes;
        }
    }
}

impl Inflater {
    /// Messages may have up to `message_bytes_max` bytes when inflated.
    pub fn new(message_bytes_max: usize) -> Self {
        Self {
            message_bytes_max,
            engine: RefCell::new(Decompress::new(false)),
            spare: RefCell::default(),
            held_bytes: Cell::new(0),
        }
    }

    pub(super) fn inflate(self: &Rc<Self>, message: &[u8]) -> Result<Inflated, Fault> {
        let mut bytes = self.spare.take();
        bytes.clear();
        // RFC 7692, 7.2.3.6 makes one byte of it, but some make none.
        if !message.is_empty() {
            let mut engine = self.engine.borrow_mut();
            engine.reset(false);
            let mut run = Run {
                engine: &mut engine,
                out: &mut bytes,
                bytes_max: self.message_bytes_max,
                final_blocks: 0,
            };
            let ended_early = run.feed(message)?;
            if ended_early || !run.feed(&TAIL)? {
                return Err(Fault::Deflate);
            }
        }
        self.held_bytes.set(self.held_bytes.get() + bytes.len());
        let by = Rc::clone(self);
        Ok(Inflated { bytes, by })
    }
}

/// One message on its way.
struct Run<'a> {
    engine: &'a mut Decompress,
    out: &'a mut Vec<u8>,
    bytes_max: usize,
    final_blocks: u32,
}

impl Run<'_> {
    /// Inflates all of `input`; says whether it ended just behind a final block.
    fn feed(&mut self, mut input: &[u8]) -> Result<bool, Fault> {
        loop {
            let start = self.out.len();
            let step = STEP_BYTES.min(self.bytes_max + 1 - start);
            self.out.resize(start + step, 0);
            let before = (self.engine.total_in(), self.engine.total_out());
            let space = &mut self.out[start..];
            let status = self.engine.decompress(input, space, FlushDecompress::None);
            let taken = (self.engine.total_in() - before.0) as usize;
            let made = (self.engine.total_out() - before.1) as usize;
            self.out.truncate(start + made);
            input = &input[taken..];
            if self.bytes_max < self.out.len() {
                return Err(Fault::TooLarge);
            }
            match status.map_err(|_| Fault::Deflate)? {
                Status::StreamEnd if input.is_empty() => return Ok(true),
                Status::StreamEnd if self.final_blocks < FINAL_BLOCKS_MAX => {
                    self.final_blocks += 1;
                    self.engine.reset(false);
                }
                Status::StreamEnd => return Err(Fault::Deflate),
                _ if input.is_empty() && made < step => return Ok(false),
                _ if taken == 0 && made == 0 => return Err(Fault::Deflate),
                _ => {}
            }
        }
    }
}

/// What a decoder needs on a connection where compression was agreed.
pub(super) struct Deflate {
    inflater: Rc<Inflater>,
    /// The message that was yielded last.
    last: Option<Inflated>,
}

impl Deflate {
    pub(super) fn new(inflater: Rc<Inflater>) -> Self {
        Self {
            inflater,
            last: None,
        }
    }

    pub(super) fn inflate(&mut self, message: &[u8]) -> Result<&[u8], Fault> {
        // First, so that its memory can be used.
        self.last = None;
        let inflated = self.inflater.inflate(message)?;
        Ok(&self.last.insert(inflated).bytes)
    }

    /// The message that was inflated last; empty when it was let go.
    pub(super) fn last(&self) -> &[u8] {
        self.last.as_ref().map_or(&[], |last| &last.bytes)
    }

    pub(super) fn holds_last(&self) -> bool {
        self.last.is_some()
    }

    pub(super) fn let_go(&mut self) {
        self.last = None;
    }

    /// The last message has to wait: it keeps its memory while there is enough for all.
    pub(super) fn wait(&mut self) {
        if INFLATED_BYTES_MAX < self.inflater.held_bytes.get() {
            self.let_go();
        }
    }
}

#[cfg(test)]
#[path = "deflate_tests.rs"]
pub(super) mod tests;
