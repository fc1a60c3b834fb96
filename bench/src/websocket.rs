//! A client's side of RFC 6455: the upgrade, masked frames out, plain frames in.
//!
//! The upgrade blocks; everything after it works on bytes and knows no socket. The masking key is
//! fixed, so that a frame can be made once and sent often: masking protects proxies from scripts in
//! browsers, which is nothing that a driver of load has to fear.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs},
    time::Duration,
};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use thiserror::Error;

pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// Largest frame that a server may send us, in bytes; an answer is rarely longer than a hundred.
pub(crate) const SERVER_FRAME_BYTES_MAX: usize = 64 << 10;

const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
/// The length follows in two bytes.
const LENGTH_16: u8 = 126;
/// The length follows in eight bytes.
const LENGTH_64: u8 = 127;
const MASK: [u8; 4] = [0x3a, 0x91, 0xc5, 0x6e];
const CONNECT_WAIT: Duration = Duration::from_secs(10);
const ANSWER_HEAD_BYTES_MAX: usize = 16 << 10;
// The sample of RFC 6455, section 1.3: the right answer to it is known without a hash.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

#[derive(Debug, Error)]
pub(crate) enum ConnectError {
    /// Mend the `--url`.
    #[error("{url} is no address of the form ws://host:port/path")]
    Url { url: String },
    /// The server is not there, or not yet; or, for some causes, this side is out of ports.
    #[error("could not {deed}: {source}")]
    Socket {
        deed: &'static str,
        source: io::Error,
    },
    /// The server is there and does not want us.
    #[error("the server did not upgrade the connection; it said: {said}")]
    Refused { said: String },
}

/// Where to connect to.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    authority: String,
    path: String,
    address: SocketAddr,
}

impl Target {
    /// Reads `ws://host:port/path` and looks the host up.
    pub(crate) fn parse(url: &str) -> Result<Self, ConnectError> {
        let wrong = || ConnectError::Url {
            url: url.to_owned(),
        };
        let rest = url.strip_prefix("ws://").ok_or_else(wrong)?;
        let slash = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(slash);
        let mut addresses = authority.to_socket_addrs().map_err(|_| wrong())?;
        Ok(Self {
            authority: authority.to_owned(),
            path: if path.is_empty() { "/" } else { path }.to_owned(),
            address: addresses.next().ok_or_else(wrong)?,
        })
    }

    /// Whether the server can be reached from each of the 127.0.0.x addresses.
    pub(crate) fn is_loopback_v4(&self) -> bool {
        matches!(self.address.ip(), IpAddr::V4(ip) if ip.is_loopback())
    }

    /// Connects and upgrades; `header` is one more header, name and value. Gives the socket, which
    /// no longer blocks, and the bytes that came right behind the upgrade.
    pub(crate) fn connect(
        &self,
        header: (&str, &str),
        source: Option<IpAddr>,
    ) -> Result<(TcpStream, Vec<u8>), ConnectError> {
        let mut socket = self.open(source).map_err(during("connect"))?;
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{}: {}\r\n\r\n",
            self.path, self.authority, header.0, header.1
        );
        socket
            .write_all(request.as_bytes())
            .map_err(during("ask for the upgrade"))?;
        let rest = read_upgrade(&mut socket)?;
        socket
            .set_nonblocking(true)
            .map_err(during("make the socket non-blocking"))?;
        Ok((socket, rest))
    }

    fn open(&self, source: Option<IpAddr>) -> io::Result<TcpStream> {
        let domain = Domain::for_address(self.address);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        if let Some(ip) = source {
            socket.bind(&SockAddr::from(SocketAddr::new(ip, 0)))?;
        }
        socket.connect_timeout(&SockAddr::from(self.address), CONNECT_WAIT)?;
        socket.set_tcp_nodelay(true)?;
        socket.set_read_timeout(Some(CONNECT_WAIT))?;
        Ok(socket.into())
    }
}

fn during(deed: &'static str) -> impl Fn(io::Error) -> ConnectError {
    move |source| ConnectError::Socket { deed, source }
}

/// Reads the answer to the upgrade; gives what came behind it.
fn read_upgrade(socket: &mut TcpStream) -> Result<Vec<u8>, ConnectError> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            let head = String::from_utf8_lossy(&bytes);
            let upgraded = head.starts_with("HTTP/1.1 101 ") && head.contains(ACCEPT);
            return if upgraded {
                Ok(rest)
            } else {
                let said = head.lines().next().unwrap_or_default().to_owned();
                Err(ConnectError::Refused { said })
            };
        }
        let mut part = [0; 1024];
        let read = socket.read(&mut part).map_err(during("read the upgrade"))?;
        if read == 0 || ANSWER_HEAD_BYTES_MAX < bytes.len() {
            let said = String::from_utf8_lossy(&bytes).into_owned();
            return Err(ConnectError::Refused { said });
        }
        bytes.extend_from_slice(&part[..read]);
    }
}

/// Appends one final masked frame.
pub(crate) fn write_frame(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(FINAL | opcode);
    match payload.len() {
        bytes @ 0..126 => out.push(MASKED | bytes as u8),
        bytes @ 126..65_536 => {
            out.push(MASKED | LENGTH_16);
            out.extend_from_slice(&(bytes as u16).to_be_bytes());
        }
        bytes => {
            out.push(MASKED | LENGTH_64);
            out.extend_from_slice(&(bytes as u64).to_be_bytes());
        }
    }
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
    if SERVER_FRAME_BYTES_MAX as u64 - 10 < length {
        return Err(FrameError::TooLong { bytes: length });
    }
    let end = head_bytes + length as usize;
    Ok(bytes.get(head_bytes..end).map(|payload| Frame {
        opcode: first & 0x0f,
        payload,
        bytes: end,
    }))
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
pub(crate) fn closing_words(payload: &[u8]) -> String {
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

    #[test]
    fn an_address_is_taken_apart() {
        let target = Target::parse("ws://127.0.0.1:8080/api/v1/events").unwrap();
        assert_eq!(target.path, "/api/v1/events");
        assert_eq!(target.address.port(), 8080);
        assert_eq!(Target::parse("ws://127.0.0.1:1").unwrap().path, "/");
        for url in ["http://127.0.0.1:80/", "ws://", "ws://127.0.0.1/x"] {
            assert!(Target::parse(url).is_err(), "{url}");
        }
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
