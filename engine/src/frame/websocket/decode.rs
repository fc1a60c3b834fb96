//! Bytes become messages and control frames.
//!
//! Layout:  see `super`; a message is one frame, yielded where it lies, or several, assembled.
//! Always:  assembled bytes <= `message_bytes_max`; they are held only until the next call.
//! Core:    one decoder for each connection.
//! Cancel:  `put_back` yields the last item again, without unmasking it twice.
//! Full:    `Fault::TooLarge`, from the header alone.
//!
//! Lengths that are longer than they must be are accepted for data, though RFC 6455 (5.2) forbids
//! clients to send them: the clients that Ringtail takes over were never refused for it.

use std::io::Cursor;
use std::ops::Range;
use std::rc::Rc;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::deflate::{Deflate, Inflater};
use super::{close_code, unmask};
use crate::frame::Encoding;
use crate::limit::{CONTROL_FRAME_BYTES_MAX, MESSAGE_BYTES_MAX};

/// What the bytes hold next.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A whole message, unmasked. The payload of JSON is UTF-8.
    Message {
        encoding: Encoding,
        payload: &'a [u8],
    },
    /// Answer with a pong that carries the same payload.
    Ping(&'a [u8]),
    Pong(&'a [u8]),
    /// The peer sends nothing more: answer with a close frame and end the connection. No code when
    /// the frame was empty.
    Close {
        code: Option<u16>,
        reason: &'a str,
    },
    /// Nothing whole: offer again when there are `needed` bytes, counted behind those consumed by
    /// this very call. Always more than there are, at most `limit::BUFFER_BYTES_MAX`.
    More {
        needed: usize,
    },
}

/// The peer broke the protocol: send a close frame with [`Fault::close_code`], read nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.reason())]
pub enum Fault {
    ReservedBits,
    ReservedOpcode,
    /// A frame without a mask from a client, or with one from a server.
    Mask,
    Length,
    FragmentedControl,
    LongControl,
    UnexpectedContinuation,
    MissingContinuation,
    CloseCode,
    CloseReason,
    Text,
    /// A compressed message that does not inflate.
    Deflate,
    TooLarge,
}

impl Fault {
    pub fn close_code(self) -> u16 {
        match self {
            Self::CloseReason | Self::Text | Self::Deflate => close_code::INVALID_DATA,
            Self::TooLarge => close_code::TOO_LARGE,
            _ => close_code::PROTOCOL_ERROR,
        }
    }

    /// What the close frame says.
    pub fn reason(self) -> &'static str {
        match self {
            Self::ReservedBits => "reserved bits are set",
            Self::ReservedOpcode => "reserved opcode",
            Self::Mask => "a client's frames are masked, a server's are not",
            Self::Length => "length out of range",
            Self::FragmentedControl => "fragmented control frame",
            Self::LongControl => "control frame over 125 bytes",
            Self::UnexpectedContinuation => "continuation of nothing",
            Self::MissingContinuation => "a new message inside a fragmented one",
            Self::CloseCode => "invalid close code",
            Self::CloseReason => "close reason is not UTF-8",
            Self::Text => "text message is not UTF-8",
            Self::Deflate => "compressed message does not inflate",
            Self::TooLarge => "message too large",
        }
    }
}

/// One direction of one connection.
pub struct Decoder {
    message_bytes_max: u32,
    peer_masks: bool,
    assembly: Option<Assembly>,
    /// Messages may come compressed.
    deflate: Option<Box<Deflate>>,
    last: Option<Place>,
    again: bool,
}

/// A fragmented message on its way.
struct Assembly {
    encoding: Encoding,
    bytes: Vec<u8>,
    is_packed: bool,
    whole: bool,
}

/// Where a yielded item lies, counted from the start of the bytes that were offered. It ends what is used up. Narrow,
/// because every connection has room for one.
#[derive(Clone)]
struct Place {
    kind: Kind,
    from: u32,
    to: u32,
}

impl Place {
    fn payload(&self) -> Range<usize> {
        self.from as usize..self.to as usize
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Message(Encoding),
    Assembled(Encoding),
    /// Inflated from the place, or from what was assembled.
    Inflated(Encoding),
    Ping,
    Pong,
    Close(Option<u16>),
}

/// A frame's checked header, and where its payload lies.
struct Head {
    opcode: OpCode,
    is_final: bool,
    is_packed: bool,
    mask: [u8; 4],
    payload: Range<usize>,
}

impl Decoder {
    /// For a server, whose clients mask what they send.
    ///
    /// # Panics
    /// When `message_bytes_max` is above [`MESSAGE_BYTES_MAX`].
    pub fn new(message_bytes_max: usize) -> Self {
        assert!(message_bytes_max <= MESSAGE_BYTES_MAX);
        Self {
            message_bytes_max: message_bytes_max as u32,
            peer_masks: true,
            assembly: None,
            deflate: None,
            last: None,
            again: false,
        }
    }

    /// For a client, whose server does not mask.
    ///
    /// # Panics
    /// When `message_bytes_max` is above [`MESSAGE_BYTES_MAX`].
    pub fn for_client(message_bytes_max: usize) -> Self {
        Self {
            peer_masks: false,
            ..Self::new(message_bytes_max)
        }
    }

    /// For a connection where permessage-deflate was agreed.
    pub fn inflating(mut self, inflater: Rc<Inflater>) -> Self {
        self.deflate = Some(Box::new(Deflate::new(inflater)));
        self
    }

    /// The next item of `bytes`, and how many bytes it used up. Payloads are unmasked in place, so the
    /// bytes that were used up must not be offered again (but see [`Decoder::put_back`]). After
    /// a fault the decoder is of no more use.
    ///
    /// # Errors
    /// When the peer broke the protocol.
    pub fn next<'a>(&'a mut self, bytes: &'a mut [u8]) -> Result<(Item<'a>, usize), Fault> {
        if std::mem::take(&mut self.again) {
            self.inflate_again(bytes)?;
        } else {
            self.forget_last();
            let mut consumed = 0;
            while self.last.is_none() {
                match self.step(bytes, consumed)? {
                    Step::More { needed } => return Ok((Item::More { needed }, consumed)),
                    Step::Used { up_to } => consumed = up_to,
                }
            }
        }
        let place = self.last.as_ref().expect("the loop ended with an item");
        Ok((self.item(place, bytes), place.to as usize))
    }

    /// Whether a fragmented message has begun and is not whole.
    pub fn is_inside(&self) -> bool {
        let assembly = self.assembly.as_ref();
        assembly.is_some_and(|assembly| !assembly.whole)
    }

    /// Says that the item yielded last could not be taken: the next call yields it again. The caller
    /// keeps its bytes, as they are now, at the start of what it offers.
    pub fn put_back(&mut self) {
        self.again = self.last.is_some();
        if let Some(deflate) = &mut self.deflate {
            deflate.wait();
        }
    }

    fn forget_last(&mut self) {
        self.last = None;
        let whole = |assembly: &Assembly| assembly.whole;
        if self.assembly.as_ref().is_some_and(whole) {
            self.assembly = None;
        }
        if let Some(deflate) = &mut self.deflate {
            deflate.let_go();
        }
    }

    /// The item that was put back may have lost its memory to others.
    fn inflate_again(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        if let Some(deflate) = &mut self.deflate
            && let Some(place) = &self.last
            && matches!(place.kind, Kind::Inflated(_))
            && !deflate.holds_last()
        {
            let packed = match &self.assembly {
                Some(assembly) => &assembly.bytes,
                None => &bytes[place.payload()],
            };
            deflate.inflate(packed)?;
        }
        Ok(())
    }

    /// Reads one frame that begins at `start`.
    fn step(&mut self, bytes: &mut [u8], start: usize) -> Result<Step, Fault> {
        let rest = &mut bytes[start..];
        let Some(head) = self.head(rest)? else {
            let needed = header_bytes(rest);
            return Ok(Step::More { needed });
        };
        if rest.len() < head.payload.end {
            let needed = head.payload.end;
            return Ok(Step::More { needed });
        }
        let payload = &mut rest[head.payload.clone()];
        unmask(payload, head.mask);
        let kind = match head.opcode {
            OpCode::Data(data) => self.data(data, &head, payload)?,
            OpCode::Control(control) => Some(read_control(control, payload)?),
        };
        let consumed = start + head.payload.end;
        let [from, to] = [start + head.payload.start, consumed]
            .map(|at| u32::try_from(at).expect("buffers are far below 4 GiB"));
        self.last = kind.map(|kind| Place { kind, from, to });
        Ok(Step::Used { up_to: consumed })
    }

    /// The checked header at the start of `bytes`; `None` when it is not all there.
    fn head(&self, bytes: &[u8]) -> Result<Option<Head>, Fault> {
        let mut cursor = Cursor::new(bytes);
        // Reading from memory cannot fail, so the only error is an opcode without a meaning.
        let parsed = FrameHeader::parse(&mut cursor).map_err(|_| Fault::ReservedOpcode)?;
        let Some((header, length)) = parsed else {
            return Ok(None);
        };
        // The first bit says that a message is compressed, on its first frame only (RFC 7692, 6).
        let begins = matches!(header.opcode, OpCode::Data(Data::Text | Data::Binary));
        let may_be_packed = begins && self.deflate.is_some();
        if header.rsv2 || header.rsv3 || (header.rsv1 && !may_be_packed) {
            return Err(Fault::ReservedBits);
        }
        if header.mask.is_some() != self.peer_masks {
            return Err(Fault::Mask);
        }
        if length >> 63 != 0 {
            return Err(Fault::Length);
        }
        match header.opcode {
            OpCode::Data(data) => self.check_data(data, length)?,
            OpCode::Control(_) if !header.is_final => return Err(Fault::FragmentedControl),
            // The seven bits of the length byte are meant here, whatever an extension would say.
            OpCode::Control(_) if usize::from(bytes[1] & 0x7f) > CONTROL_FRAME_BYTES_MAX => {
                return Err(Fault::LongControl);
            }
            OpCode::Control(_) => {}
        }
        let start = cursor.position() as usize;
        Ok(Some(Head {
            opcode: header.opcode,
            is_final: header.is_final,
            is_packed: header.rsv1,
            mask: header.mask.unwrap_or_default(),
            payload: start..start + length as usize,
        }))
    }

    /// May a data frame of this length come now?
    fn check_data(&self, data: Data, length: u64) -> Result<(), Fault> {
        let assembled = match (data, &self.assembly) {
            (Data::Continue, Some(assembly)) => assembly.bytes.len() as u64,
            (Data::Continue, None) => return Err(Fault::UnexpectedContinuation),
            (_, Some(_)) => return Err(Fault::MissingContinuation),
            (_, None) => 0,
        };
        if assembled + length > u64::from(self.message_bytes_max) {
            return Err(Fault::TooLarge);
        }
        Ok(())
    }

    /// Takes an unmasked data frame that [`Decoder::check_data`] let pass. `None` while its message is
    /// not whole.
    fn data(&mut self, data: Data, head: &Head, payload: &[u8]) -> Result<Option<Kind>, Fault> {
        let encoding = match (data, &self.assembly) {
            (_, Some(assembly)) => assembly.encoding,
            (Data::Text, None) => Encoding::Json,
            (_, None) => Encoding::Protobuf,
        };
        if head.is_final && self.assembly.is_none() {
            let packed = self.deflate.as_mut().filter(|_| head.is_packed);
            return whole(encoding, payload, packed, Kind::Message(encoding)).map(Some);
        }
        let assembly = self.assembly.get_or_insert_with(|| Assembly {
            encoding,
            bytes: Vec::new(),
            is_packed: head.is_packed,
            whole: false,
        });
        assembly.bytes.extend_from_slice(payload);
        if !head.is_final {
            return Ok(None);
        }
        assembly.whole = true;
        let packed = self.deflate.as_mut().filter(|_| assembly.is_packed);
        whole(encoding, &assembly.bytes, packed, Kind::Assembled(encoding)).map(Some)
    }

    fn item<'a>(&'a self, place: &Place, bytes: &'a [u8]) -> Item<'a> {
        let payload = &bytes[place.payload()];
        match place.kind {
            Kind::Message(encoding) => Item::Message { encoding, payload },
            Kind::Assembled(encoding) => Item::Message {
                encoding,
                payload: self.assembly.as_ref().map_or(&[], |all| &all.bytes),
            },
            Kind::Inflated(encoding) => Item::Message {
                encoding,
                payload: self.deflate.as_ref().map_or(&[], |deflate| deflate.last()),
            },
            Kind::Ping => Item::Ping(payload),
            Kind::Pong => Item::Pong(payload),
            Kind::Close(code) => Item::Close {
                code,
                reason: simdutf8::basic::from_utf8(payload.get(2..).unwrap_or_default())
                    .expect("checked when the frame was read"),
            },
        }
    }
}

/// What one frame led to.
enum Step {
    /// It is not all there.
    More { needed: usize },
    /// It was read; the next begins here.
    Used { up_to: usize },
}

/// How many bytes tell how long the header is, or how long it is; always more than there are when
/// the header is not all there.
fn header_bytes(bytes: &[u8]) -> usize {
    let [_, second, ..] = bytes else {
        return 2;
    };
    let extension = match second & 0x7f {
        0..=125 => 0,
        126 => 2,
        _ => 8,
    };
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    2 + extension + mask
}

/// Checks a whole message, inflated when it came compressed; it is then of another kind.
fn whole(
    encoding: Encoding,
    payload: &[u8],
    packed: Option<&mut Box<Deflate>>,
    kind: Kind,
) -> Result<Kind, Fault> {
    let Some(deflate) = packed else {
        check_text(encoding, payload)?;
        return Ok(kind);
    };
    check_text(encoding, deflate.inflate(payload)?)?;
    Ok(Kind::Inflated(encoding))
}

fn check_text(encoding: Encoding, payload: &[u8]) -> Result<(), Fault> {
    if encoding == Encoding::Json && simdutf8::basic::from_utf8(payload).is_err() {
        return Err(Fault::Text);
    }
    Ok(())
}

fn read_control(control: Control, payload: &[u8]) -> Result<Kind, Fault> {
    match control {
        Control::Ping => Ok(Kind::Ping),
        Control::Pong => Ok(Kind::Pong),
        Control::Close => read_close(payload).map(Kind::Close),
        Control::Reserved(_) => Err(Fault::ReservedOpcode),
    }
}

/// The code of a close frame, if it has one; its reason is checked.
fn read_close(payload: &[u8]) -> Result<Option<u16>, Fault> {
    let [high, low, reason @ ..] = payload else {
        return if payload.is_empty() {
            Ok(None)
        } else {
            Err(Fault::CloseCode)
        };
    };
    let code = u16::from_be_bytes([*high, *low]);
    // RFC 6455, 7.4, and what IANA added to it; 1005, 1006 and 1015 are never sent.
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Fault::CloseCode);
    }
    if simdutf8::basic::from_utf8(reason).is_err() {
        return Err(Fault::CloseReason);
    }
    Ok(Some(code))
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
