//! What the server thinks: bytes in, bytes out, no socket.
//!
//! It looks at no more of a request than an answer needs, its guid, and keeps nothing. HTTP is read
//! as plainly as our own driver writes it.
//! Full: a head or a frame that is too long ends the connection.

use std::io::Write;

use tungstenite::handshake::derive_accept_key;

use crate::{
    message::STATUS_SUCCESS,
    protobuf::{self, VARINT, field_bytes, put_head, put_varint, varint_bytes},
    wire::{rest::find_head_end, websocket},
};

const HEAD_BYTES_MAX: usize = 16 << 10;
const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// A guid longer than this is not given back.
const GUID_BYTES_MAX: usize = 127;
const MASK_BYTES: usize = 4;

/// The connection is of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Over;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaks {
    Http,
    WebSocket,
}

/// One connection's state.
#[derive(Debug)]
pub(super) struct Mind {
    speaks: Speaks,
    /// The head of a request whose rest has not come.
    carry: Vec<u8>,
}

impl Mind {
    pub(super) fn new() -> Self {
        Self {
            speaks: Speaks::Http,
            carry: Vec::new(),
        }
    }

    /// Takes bytes that came, appends what is to be sent.
    pub(super) fn think(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Over> {
        if self.carry.is_empty() {
            let used = self.think_whole(bytes, out)?;
            self.carry.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        let mut carry = std::mem::take(&mut self.carry);
        carry.extend_from_slice(bytes);
        let used = self.think_whole(&carry, out)?;
        carry.drain(..used);
        self.carry = carry;
        Ok(())
    }

    /// Answers every whole request and says how many bytes they took.
    fn think_whole(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, Over> {
        let mut used = 0;
        loop {
            let rest = &bytes[used..];
            let taken = match self.speaks {
                Speaks::Http => self.take_http(rest, out)?,
                Speaks::WebSocket => take_frame(rest, out)?,
            };
            match taken {
                Some(taken) => used += taken,
                None => return Ok(used),
            }
        }
    }

    fn take_http(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<Option<usize>, Over> {
        let Some(head_end) = find_head_end(bytes) else {
            return bounded(bytes.len(), HEAD_BYTES_MAX);
        };
        let head = std::str::from_utf8(&bytes[..head_end]).map_err(|_| Over)?;
        if let Some(key) = header(head, "sec-websocket-key") {
            let accept = derive_accept_key(key.as_bytes());
            put(
                out,
                format_args!(
                    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                     Connection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
                ),
            );
            self.speaks = Speaks::WebSocket;
            return Ok(Some(head_end));
        }
        let length = header(head, "content-length").unwrap_or("0");
        let length: usize = length.parse().map_err(|_| Over)?;
        if MESSAGE_BYTES_MAX < length {
            return Err(Over);
        }
        let Some(body) = bytes.get(head_end..head_end + length) else {
            return Ok(None);
        };
        let answer = Reply::to(guid_of(body));
        put(
            out,
            format_args!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/proto\r\nContent-Length: {}\r\n\r\n",
                answer.bytes()
            ),
        );
        answer.write(out);
        Ok(Some(head_end + length))
    }
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("memory takes any bytes");
}

fn bounded(bytes: usize, most: usize) -> Result<Option<usize>, Over> {
    if most < bytes { Err(Over) } else { Ok(None) }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.split("\r\n");
    lines.find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// Answers one frame of a client; gives the bytes that it took.
fn take_frame(bytes: &[u8], out: &mut Vec<u8>) -> Result<Option<usize>, Over> {
    let Some(frame) = Masked::read(bytes)? else {
        return Ok(None);
    };
    match frame.opcode {
        websocket::BINARY => {
            // The guid stands first: no more of the message needs to be unmasked.
            let mut head = [0; 2 + GUID_BYTES_MAX];
            let head = frame.unmask(&mut head);
            let answer = Reply::to(guid_of(head));
            websocket::write_plain_head(websocket::BINARY, answer.bytes(), out);
            answer.write(out);
        }
        websocket::PING => {
            let mut payload = [0; 125];
            let payload = frame.unmask(&mut payload);
            websocket::write_plain_head(websocket::PONG, payload.len(), out);
            out.extend_from_slice(payload);
        }
        websocket::CLOSE => return Err(Over),
        _ => {}
    }
    Ok(Some(frame.bytes))
}

/// A frame of a client.
struct Masked<'a> {
    opcode: u8,
    key: [u8; MASK_BYTES],
    payload: &'a [u8],
    bytes: usize,
}

impl<'a> Masked<'a> {
    fn read(bytes: &'a [u8]) -> Result<Option<Self>, Over> {
        let Some(head) = websocket::read_head(bytes) else {
            return Ok(None);
        };
        if !head.is_masked || MESSAGE_BYTES_MAX as u64 <= head.length {
            return Err(Over);
        }
        let start = head.bytes + MASK_BYTES;
        let end = start + head.length as usize;
        let (Some(key), Some(payload)) = (bytes[head.bytes..].first_chunk(), bytes.get(start..end))
        else {
            return Ok(None);
        };
        Ok(Some(Self {
            opcode: head.opcode,
            key: *key,
            payload,
            bytes: end,
        }))
    }

    /// As much of the payload as `into` holds.
    fn unmask<'b>(&self, into: &'b mut [u8]) -> &'b [u8] {
        let bytes = self.payload.len().min(into.len());
        let key = self.key.iter().cycle();
        for (place, (byte, key)) in into.iter_mut().zip(self.payload.iter().zip(key)) {
            *place = byte ^ key;
        }
        &into[..bytes]
    }
}

/// The guid, if the request begins with it and it is short.
fn guid_of(request: &[u8]) -> &[u8] {
    match request {
        [key, length, rest @ ..] if *key == protobuf::key(1, protobuf::BYTES) => {
            rest.get(..usize::from(*length)).unwrap_or_default()
        }
        _ => &[],
    }
}

/// A `SendEventResponse` that says that all went well.
struct Reply<'a> {
    guid: &'a [u8],
}

const GUID_KEY: &[u8] = b"req_guid";
/// Code, and the time by a clock that nobody looks at: the answer is as long as a real one.
const OK: u64 = 1;
const SENT_TIME: u64 = 1_700_000_000;

impl<'a> Reply<'a> {
    fn to(guid: &'a [u8]) -> Self {
        Self { guid }
    }

    fn entry_bytes(&self) -> usize {
        field_bytes(GUID_KEY.len()) + field_bytes(self.guid.len())
    }

    fn bytes(&self) -> usize {
        let numbers = 2 + 2 + 1 + varint_bytes(SENT_TIME);
        numbers + field_bytes(self.entry_bytes())
    }

    fn write(&self, out: &mut Vec<u8>) {
        for (field, number) in [(1, STATUS_SUCCESS), (2, OK), (3, SENT_TIME)] {
            out.push(protobuf::key(field, VARINT));
            put_varint(number, out);
        }
        put_head(5, self.entry_bytes(), out);
        put_head(1, GUID_KEY.len(), out);
        out.extend_from_slice(GUID_KEY);
        put_head(2, self.guid.len(), out);
        out.extend_from_slice(self.guid);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;
    use ringtail_proto::{SendEventRequest, SendEventResponse};

    use super::*;
    use crate::wire::{Heard, Target};

    fn request(guid: &str) -> Vec<u8> {
        SendEventRequest {
            req_guid: guid.to_owned(),
            ..SendEventRequest::default()
        }
        .encode_to_vec()
    }

    /// What a client of the driver hears back for two requests, byte by byte given to the server.
    fn converse(url: &str, step: usize) -> Vec<String> {
        let target = Target::parse(url).unwrap();
        let identity = [("X-User-ID", "a")];
        let mut asked = target.protocol.opening(&target, &identity);
        for guid in ["one", "two"] {
            let prepared = target.protocol.prepare(&target, &request(guid));
            asked.extend(prepared.head);
            asked.extend(target.protocol.own_part(&identity));
            asked.extend(prepared.body);
        }
        let (mut mind, mut out) = (Mind::new(), Vec::new());
        for part in asked.chunks(step) {
            mind.think(part, &mut out).unwrap();
        }
        let mut used = target.protocol.opened(&out).unwrap().unwrap();
        let mut heard = Vec::new();
        while let Some(taken) = target.protocol.take(&out[used..]) {
            used += taken.bytes;
            let Heard::Answer(payload) = taken.heard else {
                panic!("{:?}", taken.heard);
            };
            let answer = SendEventResponse::decode(payload).unwrap();
            assert_eq!((answer.status, answer.code), (1, 1));
            heard.push(answer.data["req_guid"].clone());
        }
        assert_eq!(used, out.len());
        heard
    }

    #[test]
    fn every_request_is_answered_with_its_guid_in_both_protocols() {
        for url in ["ws://127.0.0.1:1/x", "http://127.0.0.1:1/x"] {
            for step in [1, 7, 10_000] {
                assert_eq!(converse(url, step), ["one", "two"], "{url} {step}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), upgraded: bool) {
            let mut mind = Mind::new();
            if upgraded {
                mind.speaks = Speaks::WebSocket;
            }
            let _ = mind.think(&bytes, &mut Vec::new());
        }
    }
}
