//! A client's side of RFC 6455: the upgrade, masked frames out, plain frames in.
//!
//! Works on bytes and knows no socket. The masking key is fixed, so that a frame can be made once
//! and sent often: masking protects proxies from scripts in browsers, which is nothing that a driver
//! of load has to fear. What is compressed is compressed message by message, without a context, so it can be
//! made once and sent often, too; answers are taken plain only, and none of them needs more.

use flate2::{Compress, Compression, FlushCompress};
use thiserror::Error;

use super::{
    ANSWER_BYTES_MAX, ConnectError, Heard, Taken, Target, rest::find_head_end, rest::header_lines,
};

pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// What a client says that wants to compress.
pub(super) const DEFLATE_OFFER: (&str, &str) = (
    "Sec-WebSocket-Extensions",
    "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
);
/// The end of a flushed stream, which RFC 7692 has left out.
const FLUSHED_END: [u8; 4] = [0, 0, 0xff, 0xff];

const FINAL: u8 = 0x80;
/// A message is compressed.
const PACKED: u8 = 0x40;
const MASKED: u8 = 0x80;
/// The length follows in two bytes.
const LENGTH_16: u8 = 126;
/// The length follows in eight bytes.
const LENGTH_64: u8 = 127;
const MASK: [u8; 4] = [0x3a, 0x91, 0xc5, 0x6e];
const ANSWER_HEAD_BYTES_MAX: usize = 16 << 10;
// The sample of RFC 6455, section 1.3: the right answer to it is known without a hash.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The request for the upgrade; `identity` is more headers, names and values.
pub(super) fn upgrade(target: &Target, identity: &[(&str, &str)]) -> Vec<u8> {
    let mut request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n",
        target.path, target.authority
    );
    request.push_str(&header_lines(identity));
    request.push_str("\r\n");
    request.into_bytes()
}

/// The end of the answer to the upgrade, when it is whole.
pub(super) fn upgraded(bytes: &[u8]) -> Result<Option<usize>, ConnectError> {
    let Some(end) = find_head_end(bytes) else {
        if ANSWER_HEAD_BYTES_MAX < bytes.len() {
            let said = String::from_utf8_lossy(bytes).into_owned();
            return Err(ConnectError::Refused { said });
        }
        return Ok(None);
    };
    let head = String::from_utf8_lossy(&bytes[..end]);
    if head.starts_with("HTTP/1.1 101 ") && head.contains(ACCEPT) {
        return Ok(Some(end));
    }
    let said = head.lines().next().unwrap_or_default().to_owned();
    Err(ConnectError::Refused { said })
}

/// The same for a client that offered to compress: a server that will not is of no use.
pub(super) fn upgraded_with_deflate(bytes: &[u8]) -> Result<Option<usize>, ConnectError> {
    let end = upgraded(bytes)?;
    let head = String::from_utf8_lossy(&bytes[..end.unwrap_or(0)]);
    if end.is_some() && !head.contains("permessage-deflate") {
        let said = "it upgrades, and takes no permessage-deflate".to_owned();
        return Err(ConnectError::Refused { said });
    }
    Ok(end)
}

/// Takes one frame off the head of `bytes` and says what it means.
pub(super) fn take(bytes: &[u8]) -> Option<Taken<'_>> {
    let frame = match read_frame(bytes) {
        Ok(frame) => frame?,
        Err(error) => {
            return Some(Taken {
                bytes: bytes.len(),
                heard: Heard::Closed(error.to_string()),
            });
        }
    };
    let heard = match frame.opcode {
        BINARY => Heard::Answer(frame.payload),
        PING => Heard::Ping(frame.payload),
        PONG => Heard::Nothing,
        CLOSE => Heard::Closed(closing_words(frame.payload)),
        _ => Heard::Closed("the server sent a frame that is no answer".to_owned()),
    };
    Some(Taken {
        bytes: frame.bytes,
        heard,
    })
}

/// Appends the header of a final frame as a server sends it.
pub(crate) fn write_plain_head(opcode: u8, payload_bytes: usize, out: &mut Vec<u8>) {
    write_head(opcode, 0, payload_bytes, out);
}

fn write_head(opcode: u8, masked: u8, payload_bytes: usize, out: &mut Vec<u8>) {
    out.push(FINAL | opcode);
    match payload_bytes {
        bytes @ 0..126 => out.push(masked | bytes as u8),
        bytes @ 126..65_536 => {
            out.push(masked | LENGTH_16);
            out.extend_from_slice(&(bytes as u16).to_be_bytes());
        }
        bytes => {
            out.push(masked | LENGTH_64);
            out.extend_from_slice(&(bytes as u64).to_be_bytes());
        }
    }
}

/// Appends one final masked frame with a compressed message.
pub(super) fn write_deflated(message: &[u8], out: &mut Vec<u8>) {
    let mut compress = Compress::new(Compression::default(), false);
    let mut packed = Vec::with_capacity(message.len() + 64);
    loop {
        let read = compress.total_in() as usize;
        compress
            .compress_vec(&message[read..], &mut packed, FlushCompress::Sync)
            .expect("compressing into memory does not fail");
        if packed.len() < packed.capacity() {
            break;
        }
        packed.reserve(message.len() + 64);
    }
    assert!(packed.ends_with(&FLUSHED_END));
    packed.truncate(packed.len() - FLUSHED_END.len());
    write_frame(PACKED | BINARY, &packed, out);
}

/// Appends one final masked frame.
pub(crate) fn write_frame(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    write_head(opcode, MASKED, payload.len(), out);
    out.extend_from_slice(&MASK);
    let start = out.len();
    out.extend_from_slice(payload);
    mask(&mut out[start..]);
}

fn mask(bytes: &mut [u8]) {
    let (fours, rest) = bytes.as_chunks_mut::<4>();
    for four in fours {
        *four = (u32::from_ne_bytes(*four) ^ u32::from_ne_bytes(MASK)).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(MASK) {
        *byte ^= key;
    }
}

/// What a server sent that no answer can be found in; the connection is of no more use.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum FrameError {
    #[error("the server sent a fragment or a reserved bit, which no answer needs")]
    Form,
    #[error("the server sent a masked frame")]
    Masked,
    #[error("the server sent a frame of {bytes} bytes")]
    TooLong { bytes: u64 },
}

/// A whole frame, borrowed from the receive buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) opcode: u8,
    pub(crate) payload: &'a [u8],
    /// Bytes that the frame takes, its header included.
    pub(crate) bytes: usize,
}

/// The frame at the head of `bytes`; `None` when it is not whole yet.
pub(crate) fn read_frame(bytes: &[u8]) -> Result<Option<Frame<'_>>, FrameError> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    if first & 0xf0 != FINAL {
        return Err(FrameError::Form);
    }
    if second & MASKED != 0 {
        return Err(FrameError::Masked);
    }
    let Some((length, head_bytes)) = read_length(*second, rest) else {
        return Ok(None);
    };
    if ANSWER_BYTES_MAX as u64 - 10 < length {
        return Err(FrameError::TooLong { bytes: length });
    }
    let end = head_bytes + length as usize;
    Ok(bytes.get(head_bytes..end).map(|payload| Frame {
        opcode: first & 0x0f,
        payload,
        bytes: end,
    }))
}

/// What a frame's header says, whoever sent it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameHead {
    pub(crate) opcode: u8,
    pub(crate) is_masked: bool,
    /// Of the payload: only a claim.
    pub(crate) length: u64,
    /// Of this header, without the key of a masked frame.
    pub(crate) bytes: usize,
}

/// The header at the head of `bytes`; `None` when it is not whole yet.
pub(crate) fn read_head(bytes: &[u8]) -> Option<FrameHead> {
    let [first, second, rest @ ..] = bytes else {
        return None;
    };
    let (length, bytes) = read_length(second & !MASKED, rest)?;
    Some(FrameHead {
        opcode: first & 0x0f,
        is_masked: second & MASKED != 0,
        length,
        bytes,
    })
}

/// The payload's length and the header's; `None` when the header is not whole yet.
fn read_length(second: u8, rest: &[u8]) -> Option<(u64, usize)> {
    match second {
        LENGTH_16 => {
            let length = rest.first_chunk()?;
            Some((u16::from_be_bytes(*length).into(), 4))
        }
        LENGTH_64 => {
            let length = rest.first_chunk()?;
            Some((u64::from_be_bytes(*length), 10))
        }
        length => Some((length.into(), 2)),
    }
}

/// What a close frame says, for people.
fn closing_words(payload: &[u8]) -> String {
    match payload.split_first_chunk() {
        Some((code, text)) => {
            let code = u16::from_be_bytes(*code);
            format!("closed with {code} {}", text.escape_ascii())
        }
        None => "closed without a code".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tungstenite::protocol::{Role, WebSocket};

    use super::*;
    use std::io;

    #[test]
    fn tungstenite_reads_the_frames_that_we_write() {
        for bytes in [0, 1, 125, 126, 127, 65_535, 65_536, 70_001] {
            let payload: Vec<u8> = (0..bytes).map(|number| number as u8).collect();
            let mut frame = Vec::new();
            write_frame(BINARY, &payload, &mut frame);
            let mut server = WebSocket::from_raw_socket(io::Cursor::new(frame), Role::Server, None);
            assert_eq!(server.read().unwrap().into_data(), payload);
        }
    }

    #[test]
    fn a_compressed_frame_inflates_to_its_message() {
        for bytes in [0, 1, 200, 70_001] {
            let message: Vec<u8> = (0..bytes).map(|number| (number / 7) as u8).collect();
            let mut frame = Vec::new();
            write_deflated(&message, &mut frame);
            assert_eq!(frame[0], 0xc2);
            let head = read_head(&frame).unwrap();
            let mut packed = frame.split_off(head.bytes + MASK.len());
            assert_eq!(packed.len() as u64, head.length);
            mask(&mut packed);
            packed.extend_from_slice(&FLUSHED_END);
            let mut plain = Vec::with_capacity(message.len() + 64);
            let mut inflate = flate2::Decompress::new(false);
            let flush = flate2::FlushDecompress::Sync;
            inflate.decompress_vec(&packed, &mut plain, flush).unwrap();
            assert_eq!(plain, message);
        }
    }

    #[test]
    fn a_server_that_takes_nothing_compressed_is_left() {
        let plain = format!("HTTP/1.1 101 x\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n");
        assert!(upgraded_with_deflate(plain.as_bytes()).is_err());
        assert!(matches!(
            upgraded_with_deflate(&plain.as_bytes()[..20]),
            Ok(None)
        ));
        let extension = "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
        let packed = plain.replace("\r\n\r\n", &format!("\r\n{extension}"));
        let end = upgraded_with_deflate(packed.as_bytes()).unwrap();
        assert_eq!(end, Some(packed.len()));
    }

    #[test]
    fn half_a_frame_is_no_frame() {
        let mut bytes = vec![0x82, 126, 0, 200];
        bytes.extend_from_slice(&[7; 200]);
        for end in 0..bytes.len() {
            assert_eq!(read_frame(&bytes[..end]), Ok(None));
        }
        bytes.push(0x8a);
        let frame = read_frame(&bytes).unwrap().unwrap();
        assert_eq!((frame.opcode, frame.bytes), (BINARY, 204));
        assert_eq!(frame.payload, [7; 200]);
    }

    #[test]
    fn a_length_from_the_server_is_only_a_claim() {
        let bytes = [0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(
            read_frame(&bytes),
            Err(FrameError::TooLong { bytes: u64::MAX })
        );
        assert_eq!(read_frame(&[0x02, 0]), Err(FrameError::Form));
        assert_eq!(read_frame(&[0x82, 0x80]), Err(FrameError::Masked));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_of_frames_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(Some(frame)) = read_frame(&bytes) {
                prop_assert!(frame.bytes <= bytes.len());
            }
        }
    }
}
