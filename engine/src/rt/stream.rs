//! TCP: listen, accept, receive, send.
//!
//! Always:  a receive that must wait holds no memory of its caller: the buffer is lent for the
//!          length of one poll.
//! Core:    a listener and its streams stay on the executor that made them. Any number of executors
//!          may listen on one port; the kernel deals connections out.
//! Cancel:  a dropped accept, receive or send loses nothing.
//! Full:    the kernel keeps up to 4096 connections that were not accepted yet.

use super::Error;
use super::sockets::{Entering, Place, Sockets};
use glommio::timer::Timer;
use rustix::io::{Errno, retry_on_intr};
use rustix::net::sockopt::{set_tcp_nodelay, socket_error};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, SocketFlags, accept_with, sendmsg};
use socket2::{Domain, Protocol, Socket, Type};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 4096;

/// Every address of this machine: IPv6 and IPv4 together where there is IPv6.
pub fn any_address(port: u16) -> SocketAddr {
    let six = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
    let has_six = socket_for(six).is_ok_and(|socket| socket.bind(&six.into()).is_ok());
    if has_six {
        SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))
    } else {
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))
    }
}

/// How long a port may be held by a process that is gone.
const PORT_WAIT: Duration = Duration::from_secs(2);
const PORT_PAUSE: Duration = Duration::from_millis(20);

/// Checks that nobody else listens on `address`. Listeners share their port with every process of
/// the same user, so without this a second start would take some of the first one's connections.
pub fn probe(address: SocketAddr) -> Result<(), Error> {
    let socket = socket_for(address).map_err(|source| Error::Listen { address, source })?;
    socket
        .bind(&address.into())
        .map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => Error::AddressInUse { address },
            _ => Error::Listen { address, source },
        })
}

/// As [`probe`], but gives a process that was just killed the time to let go of the port: the kernel
/// takes its rings apart, and with them its sockets, after the process is gone. Blocks the thread for
/// up to [`PORT_WAIT`]; to be called before there is an executor on it.
pub fn probe_patiently(address: SocketAddr) -> Result<(), Error> {
    let mut waited = Duration::ZERO;
    loop {
        match probe(address) {
            Err(Error::AddressInUse { .. }) if waited < PORT_WAIT => {}
            other => return other,
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "there is no executor yet that this could stop"
        )]
        std::thread::sleep(PORT_PAUSE);
        waited += PORT_PAUSE;
    }
}

fn socket_for(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // Connections of an earlier run that are still timing out do not hold the port.
    socket.set_reuse_address(true)?;
    Ok(socket)
}

/// A listening socket on this executor.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    place: Place,
}

impl Listener {
    /// Listens on `address` beside others that do; port 0 takes any free one.
    pub fn bind(address: SocketAddr) -> Result<Self, Error> {
        Self::open(address).map_err(|source| Error::Listen { address, source })
    }

    fn open(address: SocketAddr) -> io::Result<Self> {
        let socket = socket_for(address)?;
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let place = Sockets::here().enter(&socket, Entering::Standing)?;
        Ok(Self { socket, place })
    }

    pub fn local_address(&self) -> io::Result<SocketAddr> {
        let address = self.socket.local_addr()?;
        address.as_socket().ok_or_else(no_address)
    }

    /// The next connection. An error of kind `InvalidInput` means that the listener was stopped;
    /// others (such as "too many open files") may pass.
    pub async fn accept(&self) -> io::Result<Stream> {
        loop {
            poll_fn(|context| self.place.poll_readable(context)).await;
            match self.take() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.place.nothing_to_read();
                }
                taken => return taken,
            }
        }
    }

    fn take(&self) -> io::Result<Stream> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = retry_on_intr(|| accept_with(&self.socket, flags))?;
        Stream::new(socket, self.place.sockets(), Entering::Standing)
    }

    /// Gives the connections that the kernel has taken in already, and has it take in no more: closing a
    /// listener would reset them. To be followed by [`Listener::stop`].
    pub fn empty(&self) -> Vec<Stream> {
        // It does not fail on a socket that listens; were it so, there would only be less to take.
        let _queue = self.socket.listen(0);
        std::iter::from_fn(|| self.take().ok()).collect()
    }

    /// Ends a waiting `accept` and every later one, and turns new connections away.
    pub fn stop(&self) {
        // It can only fail on a socket that does not listen, which is what is wanted.
        let _stopped_already = self.socket.shutdown(std::net::Shutdown::Both);
    }
}

/// A connection on this executor. Dropping it closes it.
///
/// What it is made of has a place of its own: a task that hands a stream on has room for it wherever it
/// has ever been, and an idle connection would pay for each of these places.
#[derive(Debug)]
pub struct Stream(Box<Connection>);

/// Closed first and out of its place then: see [`Place`].
#[derive(Debug)]
struct Connection {
    socket: OwnedFd,
    place: Place,
    /// In milliseconds; 0 is for ever.
    write_wait: u32,
    /// When the send that waits has waited for too long.
    too_late: Option<Box<Timer>>,
}

impl Stream {
    fn new(socket: OwnedFd, sockets: Rc<Sockets>, how: Entering) -> io::Result<Self> {
        let place = sockets.enter(&socket, how)?;
        Ok(Self(Box::new(Connection {
            socket,
            place,
            write_wait: 0,
            too_late: None,
        })))
    }

    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM.nonblocking(),
            Some(Protocol::TCP),
        )?;
        match socket.connect(&address.into()) {
            Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => {
                return Err(error);
            }
            _ => {}
        }
        let stream = Self::new(socket.into(), Sockets::here(), Entering::Connecting)?;
        poll_fn(|context| stream.0.place.poll_writable(context)).await;
        socket_error(&stream)??;
        Ok(stream)
    }

    /// Sends small answers at once instead of waiting for more of them.
    pub fn set_nodelay(&self) -> io::Result<()> {
        Ok(set_tcp_nodelay(self, true)?)
    }

    /// A send that waits longer than this for the peer to take anything fails with `TimedOut`. Parts of a millisecond count as
    /// a whole one.
    pub fn set_write_wait(&mut self, time: Duration) {
        let millis = time.as_nanos().div_ceil(1_000_000);
        self.0.write_wait = u32::try_from(millis).unwrap_or(u32::MAX);
    }

    pub fn peer_address(&self) -> io::Result<SocketAddr> {
        let address = rustix::net::getpeername(self)?.ok_or_else(no_address)?;
        SocketAddr::try_from(address).map_err(|_| no_address())
    }

    /// Receives into `buffer`, which must not be empty. 0 means that the peer sends no more.
    pub fn poll_receive(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        debug_assert!(!buffer.is_empty());
        let Connection { socket, place, .. } = &*self.0;
        loop {
            ready!(place.poll_readable(context));
            match rustix::net::recv(socket, &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((bytes, _)) => {
                    if bytes < buffer.len() {
                        place.took_all();
                    }
                    return Poll::Ready(Ok(bytes));
                }
                Err(Errno::AGAIN) => place.nothing_to_read(),
                // A signal that meets a system call is no reason to end a connection.
                Err(Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// Sends some of `bytes`, which must not be empty, and says how many.
    pub fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        debug_assert!(!bytes.is_empty());
        self.poll_send_with(context, |socket, flags| {
            rustix::net::send(socket, bytes, flags)
        })
    }

    fn poll_send_with(
        &mut self,
        context: &mut Context<'_>,
        send: impl Fn(&OwnedFd, SendFlags) -> rustix::io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let connection = &mut *self.0;
        while connection.place.poll_writable(context).is_ready() {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match send(&connection.socket, flags) {
                Ok(sent) => {
                    connection.too_late = None;
                    return Poll::Ready(Ok(sent));
                }
                Err(Errno::AGAIN) => connection.place.no_room(),
                Err(Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
        ready!(connection.poll_too_late(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    pub async fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        poll_fn(|context| self.poll_receive(context, buffer)).await
    }

    pub async fn send_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let sent = poll_fn(|context| self.poll_send(context, bytes)).await?;
            bytes = &bytes[sent..];
        }
        Ok(())
    }

    /// Sends all of these, one after the other. They must not be more than the kernel takes at once (1024), nor empty.
    pub async fn send_all_of(&mut self, mut pieces: &mut [IoSlice<'_>]) -> io::Result<()> {
        while !pieces.is_empty() {
            let sent = poll_fn(|context| {
                self.poll_send_with(context, |socket, flags| {
                    sendmsg(socket, pieces, &mut SendAncillaryBuffer::default(), flags)
                })
            });
            let sent = sent.await?;
            IoSlice::advance_slices(&mut pieces, sent);
        }
        Ok(())
    }

    /// Tells the peer that nothing more comes.
    pub fn end_sending(&self) {
        // It fails when the peer is gone, and then there is nobody to tell.
        let _gone = rustix::net::shutdown(self, rustix::net::Shutdown::Write);
    }
}

impl Connection {
    /// Ready when a send has waited for as long as it may.
    fn poll_too_late(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.write_wait == 0 {
            return Poll::Pending;
        }
        let wait = Duration::from_millis(u64::from(self.write_wait));
        let timer = self
            .too_late
            .get_or_insert_with(|| Box::new(Timer::new(wait)));
        ready!(Pin::new(&mut **timer).poll(context));
        self.too_late = None;
        Poll::Ready(())
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.socket.as_fd()
    }
}

/// Sockets of other families have none.
fn no_address() -> io::Error {
    io::ErrorKind::AddrNotAvailable.into()
}

#[cfg(test)]
mod tests {
    use super::super::executor::{Plan, block_on, spawn_local};
    use super::*;
    use futures_util::FutureExt;
    use std::io::{Read, Write};

    fn run<T>(body: impl Future<Output = T>) -> T {
        block_on(&Plan::small("stream"), body).unwrap()
    }

    fn loopback() -> SocketAddr {
        (Ipv4Addr::LOCALHOST, 0).into()
    }

    #[test]
    fn bytes_go_both_ways() {
        run(async {
            let listener = Listener::bind(loopback()).unwrap();
            let address = listener.local_address().unwrap();
            let client = std::thread::spawn(move || {
                let mut client = std::net::TcpStream::connect(address).unwrap();
                client.write_all(b"question").unwrap();
                client.shutdown(std::net::Shutdown::Write).unwrap();
                let mut answer = String::new();
                client.read_to_string(&mut answer).unwrap();
                answer
            });
            let mut stream = listener.accept().await.unwrap();
            stream.set_nodelay().unwrap();
            assert!(stream.peer_address().unwrap().ip().is_loopback());
            let mut seen = Vec::new();
            loop {
                let mut buffer = [0; 5];
                match stream.receive(&mut buffer).await.unwrap() {
                    0 => break,
                    bytes => seen.extend_from_slice(&buffer[..bytes]),
                }
            }
            assert_eq!(seen, b"question");
            stream.send_all(b"answer").await.unwrap();
            drop(stream);
            glommio::executor().yield_task_queue_now().await;
            let answer = super::super::executor::blocking(move || client.join().unwrap());
            assert_eq!(answer.await, "answer");
        });
    }

    #[test]
    fn the_end_is_seen_when_it_came_with_the_last_bytes() {
        run(async {
            let listener = Listener::bind(loopback()).unwrap();
            let address = listener.local_address().unwrap();
            let mut client = std::net::TcpStream::connect(address).unwrap();
            client.write_all(b"last").unwrap();
            drop(client);
            let mut stream = listener.accept().await.unwrap();
            let mut buffer = [0; 64];
            assert_eq!(stream.receive(&mut buffer).await.unwrap(), 4);
            assert_eq!(stream.receive(&mut buffer).await.unwrap(), 0);
        });
    }

    /// Fills both kernel buffers of a connection whose peer takes nothing.
    fn fill(stream: &mut Stream) -> usize {
        let chunk = vec![7; 1 << 16];
        let mut filled = 0;
        while let Some(sent) = poll_fn(|context| stream.poll_send(context, &chunk)).now_or_never() {
            filled += sent.unwrap();
        }
        filled
    }

    #[test]
    fn a_send_without_room_goes_on_when_the_peer_has_taken_some() {
        run(async {
            let listener = Listener::bind(loopback()).unwrap();
            let address = listener.local_address().unwrap();
            let mut client = std::net::TcpStream::connect(address).unwrap();
            let mut stream = listener.accept().await.unwrap();
            let filled = fill(&mut stream);
            let rest = spawn_local(async move { stream.send_all(b"rest").await });
            let mut seen = Vec::new();
            let read = super::super::executor::blocking(move || {
                client.read_to_end(&mut seen).unwrap();
                seen
            });
            let (rest, seen) = futures_util::future::join(rest, read).await;
            rest.unwrap();
            assert_eq!(seen.len(), filled + 4);
            assert!(seen.ends_with(b"rest"));
        });
    }

    #[test]
    fn a_send_waits_no_longer_than_it_may() {
        run(async {
            let listener = Listener::bind(loopback()).unwrap();
            let address = listener.local_address().unwrap();
            let _client = std::net::TcpStream::connect(address).unwrap();
            let mut stream = listener.accept().await.unwrap();
            fill(&mut stream);
            stream.set_write_wait(Duration::from_millis(1));
            let error = stream.send_all(b"rest").await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        });
    }

    #[test]
    fn a_port_without_a_listener_is_refused() {
        run(async {
            let address = Listener::bind(loopback()).unwrap().local_address().unwrap();
            let error = Stream::connect(address).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        });
    }

    #[test]
    fn more_sockets_than_one_call_tells_of_are_all_served() {
        run(async {
            let listener = Listener::bind(loopback()).unwrap();
            let address = listener.local_address().unwrap();
            let mut pairs = Vec::new();
            for _ in 0..300 {
                let client = std::net::TcpStream::connect(address).unwrap();
                pairs.push((client, listener.accept().await.unwrap()));
            }
            for _ in 0..2 {
                for (client, _) in &mut pairs {
                    client.write_all(b"!").unwrap();
                }
                for (_, stream) in &mut pairs {
                    assert_eq!(stream.receive(&mut [0; 8]).await.unwrap(), 1);
                }
            }
            // Places of those that are gone are taken again.
            pairs.clear();
            let mut client = std::net::TcpStream::connect(address).unwrap();
            let mut stream = listener.accept().await.unwrap();
            client.write_all(b"!").unwrap();
            assert_eq!(stream.receive(&mut [0; 8]).await.unwrap(), 1);
        });
    }

    #[test]
    fn a_port_in_use_is_told_before_it_is_shared() {
        run(async {
            let listener = Listener::bind(loopback()).unwrap();
            let address = listener.local_address().unwrap();
            let refused = probe(address).unwrap_err();
            assert!(matches!(refused, Error::AddressInUse { .. }));
            assert!(refused.to_string().contains(&address.to_string()));
            // Two of our own share it all the same.
            let second = Listener::bind(address).unwrap();
            drop((listener, second));
            probe(address).unwrap();
        });
    }

    #[test]
    fn a_stopped_listener_ends_its_accept_and_turns_clients_away() {
        run(async {
            let listener = std::rc::Rc::new(Listener::bind(loopback()).unwrap());
            let address = listener.local_address().unwrap();
            let waiting = std::rc::Rc::clone(&listener);
            let accept = spawn_local(async move { waiting.accept().await.map(drop) });
            listener.stop();
            let ended = accept.await.unwrap_err();
            assert_eq!(ended.kind(), io::ErrorKind::InvalidInput);
            assert!(std::net::TcpStream::connect(address).is_err());
        });
    }

    #[test]
    fn who_was_in_the_queue_is_served_when_the_listener_ends() {
        run(async {
            let listener = Listener::bind(loopback()).unwrap();
            let address = listener.local_address().unwrap();
            let call = |_| std::net::TcpStream::connect(address).unwrap();
            let mut clients: Vec<_> = (0..5).map(call).collect();
            let streams = listener.empty();
            listener.stop();
            assert_eq!(streams.len(), 5);
            for mut stream in streams {
                stream.send_all(b"served").await.unwrap();
            }
            for client in &mut clients {
                let mut seen = [0; 6];
                client.read_exact(&mut seen).unwrap();
                assert_eq!(&seen, b"served");
            }
            assert!(std::net::TcpStream::connect(address).is_err());
        });
    }

    #[test]
    fn any_address_takes_clients_of_the_old_protocol() {
        run(async {
            let listener = Listener::bind(any_address(0)).unwrap();
            let port = listener.local_address().unwrap().port();
            let _client = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            listener.accept().await.unwrap();
        });
    }
}
