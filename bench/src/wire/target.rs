//! Where to connect to, and from where.
//!
//! Full: a source address that is out of ports is followed by the next of 127.0.0.x.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs},
    time::Duration,
};

use socket2::{Domain, Protocol as Transport, SockAddr, Socket, Type};
use thiserror::Error;

use super::{Protocol, loopback};

const CONNECT_WAIT: Duration = Duration::from_secs(10);
const LAST_BYTE_MAX: u8 = 254;

#[derive(Debug, Error)]
pub(crate) enum ConnectError {
    /// Mend the `--url` or `--target`.
    #[error(
        "{url} is no address of the form ws://host:port/path (WebSocket), ws-deflate://host:port/path \
         (the same, compressed), http://host:port/path (REST), grpc://host:port (a call for each batch) or grpc-stream://host:port (one call for all)"
    )]
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

pub(super) fn during(deed: &'static str) -> impl Fn(io::Error) -> ConnectError {
    move |source| ConnectError::Socket { deed, source }
}

impl ConnectError {
    /// Whether another source address may help.
    fn is_out_of_ports(&self) -> bool {
        let Self::Socket { source, .. } = self else {
            return false;
        };
        matches!(
            source.kind(),
            io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse
        )
    }
}

/// A server and the protocol that it is spoken to in.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) protocol: Protocol,
    pub(crate) authority: String,
    pub(crate) path: String,
    address: SocketAddr,
}

impl Target {
    /// Reads a URL such as `ws://host:port/path` and looks the host up.
    pub(crate) fn parse(url: &str) -> Result<Self, ConnectError> {
        let wrong = || ConnectError::Url {
            url: url.to_owned(),
        };
        let (protocol, rest) = Protocol::of_url(url).ok_or_else(wrong)?;
        let slash = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(slash);
        let mut addresses = authority.to_socket_addrs().map_err(|_| wrong())?;
        Ok(Self {
            protocol,
            authority: authority.to_owned(),
            path: if path.is_empty() {
                protocol.path()
            } else {
                path
            }
            .to_owned(),
            address: addresses.next().ok_or_else(wrong)?,
        })
    }

    /// Whether the server can be reached from each of the 127.0.0.x addresses.
    fn is_loopback_v4(&self) -> bool {
        matches!(self.address.ip(), IpAddr::V4(ip) if ip.is_loopback())
    }

    /// Connects and opens, blocking. Gives the socket, which no longer blocks, and the bytes that
    /// came right behind the opening.
    fn connect(
        &self,
        identity: &[(&str, &str)],
        source: Option<IpAddr>,
    ) -> Result<(TcpStream, Vec<u8>), ConnectError> {
        let mut socket = self.dial(source).map_err(during("connect"))?;
        let opening = self.protocol.opening(self, identity);
        socket
            .write_all(&opening)
            .map_err(during("ask for the upgrade"))?;
        let rest = self.read_opening(&mut socket)?;
        socket
            .set_nonblocking(true)
            .map_err(during("make the socket non-blocking"))?;
        Ok((socket, rest))
    }

    fn dial(&self, source: Option<IpAddr>) -> io::Result<TcpStream> {
        let socket = self.socket(source)?;
        socket.connect_timeout(&SockAddr::from(self.address), CONNECT_WAIT)?;
        socket.set_read_timeout(Some(CONNECT_WAIT))?;
        Ok(socket.into())
    }

    fn socket(&self, source: Option<IpAddr>) -> io::Result<Socket> {
        let domain = Domain::for_address(self.address);
        let socket = Socket::new(domain, Type::STREAM, Some(Transport::TCP))?;
        if let Some(ip) = source {
            socket.bind(&SockAddr::from(SocketAddr::new(ip, 0)))?;
        }
        socket.set_tcp_nodelay(true)?;
        Ok(socket)
    }

    /// Begins to connect and does not wait: the socket is connected when it takes bytes.
    fn begin(&self, source: Option<IpAddr>) -> io::Result<TcpStream> {
        let socket = self.socket(source)?;
        socket.set_nonblocking(true)?;
        match socket.connect(&SockAddr::from(self.address)) {
            Ok(()) => {}
            Err(error)
                if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
            Err(error) => return Err(error),
        }
        Ok(socket.into())
    }

    /// Reads the answer to the opening; gives what came behind it.
    fn read_opening(&self, socket: &mut TcpStream) -> Result<Vec<u8>, ConnectError> {
        let mut bytes = Vec::new();
        loop {
            if let Some(end) = self.protocol.opened(&bytes)? {
                return Ok(bytes.split_off(end));
            }
            let mut part = [0; 1024];
            let read = socket.read(&mut part).map_err(during("read the upgrade"))?;
            if read == 0 {
                let said = String::from_utf8_lossy(&bytes).into_owned();
                return Err(ConnectError::Refused { said });
            }
            bytes.extend_from_slice(&part[..read]);
        }
    }
}

/// Where connections come from: some loopback addresses in turn, and further ones as each runs out
/// of ports.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    is_loopback: bool,
    /// Addresses in turn.
    turns: u8,
    next: u8,
    /// Added to the last byte once ports have run out.
    beyond: u8,
}

impl Source {
    /// `addresses` loopback addresses, at least 1; a server that is not on loopback is reached from
    /// wherever the system says.
    pub(crate) fn new(target: &Target, addresses: u8) -> Self {
        Self {
            is_loopback: target.is_loopback_v4(),
            turns: addresses.max(1),
            next: 0,
            beyond: 0,
        }
    }

    /// Connects and opens, blocking.
    pub(crate) fn connect(
        &mut self,
        target: &Target,
        identity: &[(&str, &str)],
    ) -> Result<(TcpStream, Vec<u8>), ConnectError> {
        self.try_all(|source| target.connect(identity, source))
    }

    /// Begins to connect.
    pub(crate) fn begin(&mut self, target: &Target) -> Result<TcpStream, ConnectError> {
        self.try_all(|source| target.begin(source).map_err(during("connect")))
    }

    fn try_all<T>(
        &mut self,
        mut connect: impl FnMut(Option<IpAddr>) -> Result<T, ConnectError>,
    ) -> Result<T, ConnectError> {
        let turn = self.next;
        self.next = (self.next + 1) % self.turns;
        loop {
            let last_byte = 1 + turn + self.beyond;
            match connect(self.is_loopback.then(|| loopback(last_byte))) {
                Err(error)
                    if error.is_out_of_ports() && self.is_loopback && last_byte < LAST_BYTE_MAX =>
                {
                    self.beyond += 1;
                }
                outcome => return outcome,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart() {
        let target = Target::parse("ws://127.0.0.1:8080/api/v1/events").unwrap();
        assert_eq!(target.path, "/api/v1/events");
        assert_eq!(target.address.port(), 8080);
        assert_eq!(target.protocol, Protocol::WebSocket);
        let target = Target::parse("http://127.0.0.1:1").unwrap();
        assert_eq!(
            (target.path.as_str(), target.protocol),
            ("/", Protocol::Rest)
        );
        let target = Target::parse("grpc-stream://127.0.0.1:1").unwrap();
        assert_eq!(
            (target.path.as_str(), target.protocol),
            ("/ringtail.v1.EventStream/SendEvents", Protocol::GrpcStream)
        );
        for url in [
            "tcp://127.0.0.1:80/",
            "ws://",
            "ws://127.0.0.1/x",
            "127.0.0.1:80",
        ] {
            assert!(Target::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn sources_take_turns_and_move_on_when_one_is_out_of_ports() {
        let target = Target::parse("ws://127.0.0.1:1/").unwrap();
        let mut source = Source::new(&target, 3);
        let mut used = |full: &[u8]| {
            let connect = |source: Option<IpAddr>| {
                let IpAddr::V4(ip) = source.unwrap() else {
                    panic!("loopback of version 4")
                };
                let last_byte = ip.octets()[3];
                if full.contains(&last_byte) {
                    return Err(during("connect")(io::ErrorKind::AddrNotAvailable.into()));
                }
                Ok(last_byte)
            };
            source.try_all(connect).unwrap()
        };
        assert_eq!([used(&[]), used(&[]), used(&[]), used(&[])], [1, 2, 3, 1]);
        assert_eq!(used(&[2]), 3);
        assert!(
            source
                .try_all(|_| Err::<(), _>(during("connect")(io::ErrorKind::AddrInUse.into())))
                .is_err()
        );
    }
}
