//! Datagrams to one address, for what may be lost.
//!
//! Core:    any; sending never waits.
//! Full:    what the kernel does not take at once is an error, and nothing is kept.

use super::executor::blocking;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};

/// A socket that sends to one address.
#[derive(Debug)]
pub struct Datagrams(UdpSocket);

impl Datagrams {
    /// Looks the address up, on the helper thread. `:8125` means this machine.
    pub async fn to(address: &str) -> io::Result<Self> {
        let address = match address.strip_prefix(':') {
            Some(port) => format!("127.0.0.1:{port}"),
            None => address.to_owned(),
        };
        let found = blocking(move || address.to_socket_addrs().map(|mut found| found.next()));
        let nobody = || io::Error::new(io::ErrorKind::NotFound, "no address has this name");
        let address = found.await?.ok_or_else(nobody)?;
        let own: SocketAddr = if address.is_ipv6() {
            (Ipv6Addr::UNSPECIFIED, 0).into()
        } else {
            (Ipv4Addr::UNSPECIFIED, 0).into()
        };
        let socket = UdpSocket::bind(own)?;
        socket.set_nonblocking(true)?;
        socket.connect(address)?;
        Ok(Self(socket))
    }

    /// Sends one datagram, or says why not. An earlier one that met nobody may be told of here.
    pub fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.0.send(bytes).map(|_sent| ())
    }
}

#[cfg(test)]
mod tests {
    use super::super::executor::{Plan, block_on};
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_datagram_arrives_whole() {
        let listener = UdpSocket::bind("127.0.0.1:0").unwrap();
        listener
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let port = listener.local_addr().unwrap().port();
        block_on(&Plan::small("datagram"), async {
            let socket = Datagrams::to(&format!(":{port}")).await.unwrap();
            socket.send(b"x:1|c").unwrap();
            assert!(Datagrams::to("no address").await.is_err());
        })
        .unwrap();
        let mut seen = [0; 16];
        let bytes = listener.recv(&mut seen).unwrap();
        assert_eq!(&seen[..bytes], b"x:1|c");
    }
}
