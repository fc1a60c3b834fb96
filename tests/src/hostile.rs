//! Clients at their worst: bytes that are nearly right, and connections that end badly.

use crate::client::draw;
use rustix::net::sockopt::set_socket_linger;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// How long a client listens before it does its worst: no promise depends on it.
const LISTEN: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(60);

/// One of the server's doors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    Http,
    Grpc,
    Admin,
}

/// Connects; the far end may be slow to accept on a busy machine.
///
/// # Panics
/// When nobody accepts.
pub fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("the engine accepts");
    stream.set_nodelay(true).expect("a socket takes options");
    stream
        .set_write_timeout(Some(PATIENCE))
        .expect("a socket takes options");
    stream
}

/// Ends a connection with RST.
pub fn reset(stream: TcpStream) {
    // A socket that is dead already takes no options, and needs none.
    let _dead = set_socket_linger(&stream, Some(Duration::ZERO));
    drop(stream);
}

/// A request for a WebSocket under this id.
pub fn upgrade(id: &str) -> Vec<u8> {
    format!(
        "GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-User-ID: {id}\r\n\
         Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    )
    .into_bytes()
}

/// A client's frame: its first byte and its payload.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        short @ 0..=125 => out.push(0x80 | short as u8),
        length => {
            out.push(0xfe);
            let length = u16::try_from(length).expect("these frames are small");
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
    out
}

/// A `SendEventRequest` with one event, all of it below 128 bytes.
pub fn request(guid: &str, kind: &str, payload: &[u8]) -> Vec<u8> {
    let field = |number: u8, value: &[u8]| {
        assert!(value.len() < 128);
        [&[number << 3 | 2, value.len() as u8], value].concat()
    };
    let event = [field(1, payload), field(2, kind.as_bytes())].concat();
    [field(1, guid.as_bytes()), field(3, &event)].concat()
}

/// A POST with this head and body.
pub fn post(head: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST /api/v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{head}\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// HTTP/2's opening and one call of `SendEvent`, with its message.
pub fn call(id: &str, message: &[u8]) -> Vec<u8> {
    let http2_frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
    };
    let mut head = Vec::new();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/raystack.raccoon.v1beta1.EventService/SendEvent"),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("x-user-id", id),
    ] {
        // A literal that is not indexed, without Huffman's code.
        head.extend_from_slice(&[0, name.len() as u8]);
        head.extend_from_slice(name.as_bytes());
        head.push(value.len() as u8);
        head.extend_from_slice(value.as_bytes());
    }
    let prefixed = [&[0], &(message.len() as u32).to_be_bytes()[..], message].concat();
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        http2_frame(4, 0, 0, &[]),
        http2_frame(1, 4, 1, &head),
        http2_frame(0, 1, 1, &prefixed),
    ]
    .concat()
}

/// Something that this door would take, of many kinds.
fn plausible(door: Door, random: &mut u64, id: &str) -> Vec<u8> {
    let request = request("guid", "hostile", b"payload");
    let json = br#"{"req_guid":"g","events":[{"type":"hostile","event_bytes":[1,2,3]}]}"#;
    let packed = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    match (door, draw(random) % 8) {
        (Door::Http, 0) => post("Content-Type: application/json\r\n", json),
        (Door::Http, 1) => post("Content-Type: application/proto\r\n", &request),
        (Door::Http, 2) => {
            let head = "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n";
            let head = format!("POST /api/v1/events HTTP/1.1\r\nHost: localhost\r\n{head}\r\n");
            [head.as_bytes(), b"4\r\nnull\r\n0\r\n\r\n"].concat()
        }
        (Door::Http, 3) => b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(3),
        (Door::Http, kind) => {
            let mut bytes = upgrade(id);
            for turn in 0..draw(random) % 6 {
                bytes.extend(match (kind + turn) % 6 {
                    0 => frame(0x82, &request),
                    1 => frame(0x81, json),
                    2 => frame(0x89, b"ping"),
                    3 => frame(0xc1, &packed),
                    4 => [frame(0x02, &request[..5]), frame(0x80, &request[5..])].concat(),
                    _ => frame(0x88, &1000_u16.to_be_bytes()),
                });
            }
            bytes
        }
        (Door::Grpc, _) => call(id, &request),
        (Door::Admin, kind) => {
            let path = match kind {
                0 => "/metrics",
                1 => "/topics",
                2 => "/readyz",
                3 => "/volumes",
                4 => "/topics/clickstream-hostile-log/partitions/0/records?offset=1&limit=3",
                5 => "/topics/clickstream-hostile-log/partitions/99/records?offset=-1",
                6 => "/topics/%00/partitions/0/records?limit=99999999999999999999",
                _ => "/nothing",
            };
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
        }
    }
}

/// A stream of bytes for this door: noise, or something plausible that was damaged a little.
pub fn bytes_for(door: Door, random: &mut u64, id: &str) -> Vec<u8> {
    if draw(random).is_multiple_of(8) {
        let length = draw(random) % 300;
        return (0..length).map(|_| draw(random) as u8).collect();
    }
    let mut bytes = plausible(door, random, id);
    for _ in 0..draw(random) % 5 {
        damage(&mut bytes, random);
    }
    bytes
}

fn damage(bytes: &mut Vec<u8>, random: &mut u64) {
    let at = (draw(random) as usize) % (bytes.len() + 1);
    let end = (at + (draw(random) as usize) % 16).min(bytes.len());
    match draw(random) % 5 {
        0 if at < bytes.len() => bytes[at] = draw(random) as u8,
        1 if at < bytes.len() => bytes[at] ^= 1 << (draw(random) % 8),
        2 => drop(bytes.drain(at..end)),
        3 => {
            let again = bytes[at..end].to_vec();
            bytes.splice(at..at, again);
        }
        _ => bytes.truncate(at.max(1)),
    }
}

/// Sends the bytes in a few pieces, listens a little or not at all, and goes in one of several ways.
pub fn misbehave(port: u16, bytes: &[u8], random: &mut u64) {
    let mut stream = connect(port);
    let piece = bytes.len() / (1 + (draw(random) % 3) as usize) + 1;
    for part in bytes.chunks(piece) {
        // The server may have had enough already.
        if stream.write_all(part).is_err() {
            break;
        }
    }
    match draw(random) % 4 {
        0 => reset(stream),
        1 => drop(stream),
        2 => {
            let _gone = stream.shutdown(Shutdown::Write);
            listen(&mut stream);
        }
        _ => {
            listen(&mut stream);
            reset(stream);
        }
    }
}

fn listen(stream: &mut TcpStream) {
    let _dead = stream.set_read_timeout(Some(LISTEN));
    let mut answer = [0; 4096];
    let _whatever = stream.read(&mut answer);
}
