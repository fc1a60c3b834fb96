//! Datagrams to one address, for what may be lost.
//!
//! Core:    any; sending never waits.
//! Full:    what the kernel does not take at once is an error, and nothing is kept.

use super::executor::blocking;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};

/// A socket that sends to one address.
///
/// It is not connected: on a connected one, news that an earlier datagram met nobody takes the place of
/// the next datagram, and what that one held would be lost although somebody listens by now.
#[derive(Debug)]
pub struct Datagrams {
    socket: UdpSocket,
    address: SocketAddr,
}

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
        Ok(Self { socket, address })
    }

    /// Sends one datagram, or says why the kernel did not take it. Nobody hears whether it arrived.
    pub fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.socket.send_to(bytes, self.address).map(|_sent| ())
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

    #[test]
    fn what_met_nobody_costs_nothing_that_is_sent_later() {
        let nobody = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = nobody.local_addr().unwrap();
        drop(nobody);
        block_on(&Plan::small("datagram"), async {
            let socket = Datagrams::to(&address.to_string()).await.unwrap();
            socket.send(b"to nobody").unwrap();
            let listener = UdpSocket::bind(address).unwrap();
            listener
                .set_read_timeout(Some(Duration::from_secs(20)))
                .unwrap();
            socket.send(b"x:1|c").unwrap();
            let mut seen = [0; 16];
            let bytes = listener.recv(&mut seen).unwrap();
            assert_eq!(&seen[..bytes], b"x:1|c");
        })
        .unwrap();
    }
}
