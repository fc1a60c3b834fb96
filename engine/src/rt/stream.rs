//! TCP: listen, accept, receive, send.
//!
//! Always:  a receive that must wait holds no memory of its caller: the buffer is lent for the
//!          length of one poll.
//! Core:    a listener and its streams stay on the executor that made them. Any number of executors
//!          may listen on one port; the kernel deals connections out.
//! Cancel:  a dropped receive or send loses nothing. A dropped accept may lose a connection that
//!          arrived at that moment: end a listener with [`Listener::stop`] instead.
//! Full:    the kernel keeps up to 4096 connections that were not accepted yet.

use super::{Error, io_error};
use futures_util::future::poll_fn;
use futures_util::io::{AsyncRead, AsyncWrite};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd};
use std::pin::Pin;
use std::task::{Context, Poll};
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
    listener: glommio::net::TcpListener,
    /// The same socket: the runtime does not give out its own.
    socket: Socket,
}

impl Listener {
    /// Listens on `address` beside others that do; port 0 takes any free one.
    pub fn bind(address: SocketAddr) -> Result<Self, Error> {
        Self::open(address).map_err(|source| Error::Listen { address, source })
    }

    fn open(address: SocketAddr) -> io::Result<Self> {
        let socket = socket_for(address)?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let given = socket.try_clone()?.into_raw_fd();
        // SAFETY: the descriptor is a listening socket that nothing else owns.
        let listener = unsafe { glommio::net::TcpListener::from_raw_fd(given) };
        Ok(Self { listener, socket })
    }

    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr().map_err(io_error)
    }

    /// The next connection. An error of kind `InvalidInput` means that the listener was stopped;
    /// others (such as "too many open files") may pass.
    pub async fn accept(&self) -> io::Result<Stream> {
        let stream = self.listener.accept().await.map_err(io_error)?;
        Ok(Stream { stream })
    }

    /// Gives the connections that the kernel has taken in already, and has it take in no more: closing a
    /// listener would reset them. To be followed by [`Listener::stop`].
    pub fn empty(&self) -> Vec<Stream> {
        // Neither fails on a socket that listens; were it so, there would only be less to take.
        let _queue = self.socket.listen(0);
        let _wait = self.socket.set_nonblocking(true);
        let mut streams = Vec::new();
        while let Ok((socket, _)) = self.socket.accept() {
            // SAFETY: the descriptor is a connected socket that nothing else owns.
            let stream = unsafe { glommio::net::TcpStream::from_raw_fd(socket.into_raw_fd()) };
            streams.push(Stream { stream });
        }
        streams
    }

    /// Ends a waiting `accept` and every later one, and turns new connections away.
    pub fn stop(&self) {
        // It can only fail on a socket that does not listen, which is what is wanted.
        let _stopped_already = self.socket.shutdown(std::net::Shutdown::Both);
    }
}

/// A connection on this executor. Dropping it closes it.
#[derive(Debug)]
pub struct Stream {
    stream: glommio::net::TcpStream,
}

impl Stream {
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = glommio::net::TcpStream::connect(address).await;
        let stream = stream.map_err(io_error)?;
        Ok(Self { stream })
    }

    /// Sends small answers at once instead of waiting for more of them.
    pub fn set_nodelay(&self) -> io::Result<()> {
        self.stream.set_nodelay(true).map_err(io_error)
    }

    /// A send that waits longer than this for the peer to take anything fails with `TimedOut`.
    pub fn set_write_wait(&self, time: std::time::Duration) {
        let set = self.stream.set_write_timeout(Some(time));
        debug_assert!(set.is_ok(), "only a time of zero is refused");
    }

    pub fn peer_address(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr().map_err(io_error)
    }

    /// Receives into `buffer`, which must not be empty. 0 means that the peer sends no more.
    pub fn poll_receive(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        debug_assert!(!buffer.is_empty());
        let mut answer = Pin::new(&mut self.stream).poll_read(context, buffer);
        while interrupted(&answer) {
            answer = Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        answer
    }

    /// Sends some of `bytes`, which must not be empty, and says how many.
    pub fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        debug_assert!(!bytes.is_empty());
        let mut answer = Pin::new(&mut self.stream).poll_write(context, bytes);
        while interrupted(&answer) {
            answer = Pin::new(&mut self.stream).poll_write(context, bytes);
        }
        answer
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

    /// Tells the peer that nothing more comes.
    pub fn end_sending(&self) {
        // It fails when the peer is gone, and then there is nobody to tell.
        let _gone = rustix::net::shutdown(self.as_fd(), rustix::net::Shutdown::Write);
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor lives as long as the stream, from which the result borrows.
        unsafe { BorrowedFd::borrow_raw(self.stream.as_raw_fd()) }
    }
}

/// A signal that meets a system call is no reason to end a connection.
fn interrupted(answer: &Poll<io::Result<usize>>) -> bool {
    matches!(answer, Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::super::executor::{Plan, block_on, spawn_local};
    use super::*;
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
