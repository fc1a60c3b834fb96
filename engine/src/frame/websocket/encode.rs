//! Messages and control frames as bytes, appended to a connection's outbox.
//!
//! A server's frames are never masked and never fragmented.

use super::{opcode, unmask};
use crate::frame::Encoding;
use crate::limit::{CONTROL_FRAME_BYTES_MAX, cut};

const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;

/// Appends a whole message.
pub fn write_message(encoding: Encoding, payload: &[u8], out: &mut Vec<u8>) {
    write_header(data_opcode(encoding), payload.len(), 0, out);
    out.extend_from_slice(payload);
}

/// Appends a whole message whose payload `write` appends to the same vector. The header that short
/// payloads need is put down first; a longer payload is moved up by two or eight bytes.
pub fn write_message_with(encoding: Encoding, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[FINAL | data_opcode(encoding), 0]);
    write(out);
    let payload_start = start + 2;
    assert!(payload_start <= out.len());
    let bytes = out.len() - payload_start;
    let (length, extension) = length_of(bytes);
    if !extension.is_empty() {
        let extra = extension.bytes();
        out.extend_from_slice(extra);
        out[payload_start..].rotate_right(extra.len());
    }
    out[start + 1] = length;
}

/// Appends a ping. At most 125 bytes of payload.
///
/// # Panics
/// When the payload is longer.
pub fn write_ping(payload: &[u8], out: &mut Vec<u8>) {
    write_control(opcode::PING, payload, out);
}

/// Appends a pong, which repeats its ping's payload.
///
/// # Panics
/// When the payload is longer than 125 bytes; a ping that was received is not.
pub fn write_pong(payload: &[u8], out: &mut Vec<u8>) {
    write_control(opcode::PONG, payload, out);
}

/// Appends a close frame; `None` answers a close that bore no code. A reason is cut, between
/// characters, to the 123 bytes that there are.
pub fn write_close(code: Option<u16>, reason: &str, out: &mut Vec<u8>) {
    let Some(code) = code else {
        write_control(opcode::CLOSE, &[], out);
        return;
    };
    let reason = cut(reason, CONTROL_FRAME_BYTES_MAX - 2);
    write_header(opcode::CLOSE, 2 + reason.len(), 0, out);
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

/// Appends the close frame that a fault in what the client sent calls for.
pub fn write_refusal(fault: super::Fault, out: &mut Vec<u8>) {
    write_close(Some(fault.close_code()), fault.reason(), out);
}

/// Appends a whole message as a client sends it. The mask must come from a source that the payload's
/// author cannot foresee (RFC 6455, 5.3).
pub fn write_masked(encoding: Encoding, payload: &[u8], mask: [u8; 4], out: &mut Vec<u8>) {
    write_header(data_opcode(encoding), payload.len(), MASKED, out);
    out.extend_from_slice(&mask);
    let start = out.len();
    out.extend_from_slice(payload);
    unmask(&mut out[start..], mask);
}

fn data_opcode(encoding: Encoding) -> u8 {
    match encoding {
        Encoding::Protobuf => opcode::BINARY,
        Encoding::Json => opcode::TEXT,
    }
}

fn write_control(code: u8, payload: &[u8], out: &mut Vec<u8>) {
    assert!(payload.len() <= CONTROL_FRAME_BYTES_MAX);
    write_header(code, payload.len(), 0, out);
    out.extend_from_slice(payload);
}

fn write_header(code: u8, payload_bytes: usize, masked: u8, out: &mut Vec<u8>) {
    let (length, extension) = length_of(payload_bytes);
    out.extend_from_slice(&[FINAL | code, masked | length]);
    out.extend_from_slice(extension.bytes());
}

/// What follows the length byte: nothing, two or eight bytes.
struct Extension {
    bytes: [u8; 8],
    from: u8,
}

impl Extension {
    fn bytes(&self) -> &[u8] {
        &self.bytes[usize::from(self.from)..]
    }

    fn is_empty(&self) -> bool {
        self.from == 8
    }
}

/// The length byte and its extension, as short as they can be.
fn length_of(payload_bytes: usize) -> (u8, Extension) {
    let (length, from) = match payload_bytes {
        0..=125 => (payload_bytes as u8, 8),
        126..=0xffff => (126, 6),
        _ => (127, 0),
    };
    let bytes = (payload_bytes as u64).to_be_bytes();
    (length, Extension { bytes, from })
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use tungstenite::protocol::frame::FrameHeader;
    use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

    use super::*;

    /// Reads one frame with the foreign parser: header, payload, rest.
    fn parse(bytes: &[u8]) -> (FrameHeader, Vec<u8>, usize) {
        let mut cursor = Cursor::new(bytes);
        let (header, length) = FrameHeader::parse(&mut cursor).unwrap().unwrap();
        let start = cursor.position() as usize;
        let end = start + length as usize;
        (header, bytes[start..end].to_vec(), end)
    }

    const LENGTHS: [usize; 9] = [0, 1, 124, 125, 126, 127, 0xffff, 0x1_0000, 0x1_0001];

    #[test]
    fn a_message_reads_back_with_a_foreign_parser() {
        for bytes in LENGTHS {
            let payload = vec![7; bytes];
            let mut out = b"before".to_vec();
            write_message(Encoding::Protobuf, &payload, &mut out);
            let (header, read, end) = parse(&out[6..]);
            assert_eq!(header.opcode, OpCode::Data(Data::Binary));
            assert!(header.is_final && header.mask.is_none());
            assert!(!header.rsv1 && !header.rsv2 && !header.rsv3);
            assert!(read == payload);
            assert_eq!(end + 6, out.len());
        }
    }

    #[test]
    fn a_message_written_in_place_is_the_same() {
        for bytes in LENGTHS {
            let payload: Vec<u8> = (0..bytes).map(|index| index as u8).collect();
            let (mut whole, mut in_place) = (b"before".to_vec(), b"before".to_vec());
            write_message(Encoding::Json, &payload, &mut whole);
            write_message_with(Encoding::Json, &mut in_place, |out| {
                out.extend_from_slice(&payload);
            });
            assert!(whole == in_place);
        }
    }

    #[test]
    fn a_clients_message_is_masked() {
        for bytes in LENGTHS {
            let payload = vec![7; bytes];
            let mut out = Vec::new();
            write_masked(Encoding::Json, &payload, [1, 2, 3, 4], &mut out);
            let (header, mut read, end) = parse(&out);
            assert_eq!(header.opcode, OpCode::Data(Data::Text));
            unmask(&mut read, header.mask.unwrap());
            assert!(read == payload);
            assert_eq!(end, out.len());
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let mut out = Vec::new();
        write_close(Some(1008), &"ä".repeat(100), &mut out);
        let (header, read, _) = parse(&out);
        assert_eq!(header.opcode, OpCode::Control(Control::Close));
        assert_eq!(read[..2], 1008u16.to_be_bytes());
        assert_eq!(std::str::from_utf8(&read[2..]).unwrap(), "ä".repeat(61));
    }

    #[test]
    fn control_frames_carry_their_payload() {
        let mut out = Vec::new();
        write_ping(b"--ping--", &mut out);
        write_pong(&[9; 125], &mut out);
        write_close(None, "", &mut out);
        assert_eq!(out[..10], *b"\x89\x08--ping--");
        assert_eq!(out[10..12], [0x8a, 125]);
        assert_eq!(out[137..], [0x88, 0]);
    }
}
