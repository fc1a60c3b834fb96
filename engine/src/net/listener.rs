//! One listener on each of the shard's ports, and a task for each connection.
//!
//! Core:    one shard; every shard has its own listener on the same port (`SO_REUSEPORT`).
//! Cancel:  [`Doors::drain`] may be dropped; the connections finish all the same.
//! Full:    without descriptors for more connections, accepting waits a little and counts.

use super::door::Door;
use super::http::{self, End};
use super::{Intake, Settings, grpc, websocket};
use crate::limit::{ACCEPT_PAUSE, LINGER, WRITE_WAIT};
use crate::rt;
use crate::rt::executor::{spawn_local, yield_if_needed};
use crate::rt::stream::{Listener, Stream};
use crate::rt::timer::{sleep, timeout};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// The open doors of one shard.
pub struct Doors<I> {
    door: Rc<Door<I>>,
    /// WebSocket's and REST's first, then gRPC's if that is open.
    listeners: Vec<Rc<Listener>>,
}

/// What is spoken behind a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaks {
    Http,
    Grpc,
}

impl<I: Intake> Doors<I> {
    /// Listens on `address` and serves who comes, until [`Doors::drain`].
    pub fn open(settings: Settings, intake: I, address: SocketAddr) -> Result<Self, rt::Error> {
        let mut doors = Self {
            door: Rc::new(Door::new(settings, intake)),
            listeners: Vec::with_capacity(2),
        };
        doors.listen(address, Speaks::Http)?;
        Ok(doors)
    }

    /// Listens for gRPC on `address` too.
    pub fn open_grpc(&mut self, address: SocketAddr) -> Result<(), rt::Error> {
        self.listen(address, Speaks::Grpc)
    }

    fn listen(&mut self, address: SocketAddr, speaks: Speaks) -> Result<(), rt::Error> {
        let listener = Rc::new(Listener::bind(address)?);
        let door = Rc::clone(&self.door);
        spawn_local(accept(door, Rc::clone(&listener), speaks)).detach();
        self.listeners.push(listener);
        Ok(())
    }

    /// Where WebSocket and REST are; of use when they were opened on port 0.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.listeners[0].local_address()
    }

    /// Connections that are open now, of every protocol.
    pub fn connections(&self) -> usize {
        self.door.lines.live()
    }

    /// Connections that could not be accepted so far.
    pub fn accept_failures(&self) -> u64 {
        self.door.accept_failures.get()
    }

    /// Turns new clients away, reads nothing more, answers what was taken, says goodbye (1001 to
    /// WebSockets). Resolves when the last connection has ended or `grace` is over, with the
    /// number of those that are left.
    pub async fn drain(&self, grace: Duration) -> usize {
        self.door.lines.drain();
        self.listeners.iter().for_each(|listener| listener.stop());
        let _grace_over = timeout(grace, self.door.lines.all_ended()).await;
        self.door.lines.live()
    }
}

async fn accept<I: Intake>(door: Rc<Door<I>>, listener: Rc<Listener>, speaks: Speaks) {
    while !door.lines.draining() {
        match listener.accept().await {
            Ok(stream) => match speaks {
                Speaks::Http => spawn_local(connection(Rc::clone(&door), stream)).detach(),
                Speaks::Grpc => spawn_local(grpc_connection(Rc::clone(&door), stream)).detach(),
            },
            Err(_) if door.lines.draining() => return,
            // The client went away between its call and ours.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if door.accept_failures.get() == 0 {
                    tracing::warn!(%error, "cannot accept a connection; trying again");
                }
                let failures = door.accept_failures.get() + 1;
                door.accept_failures.set(failures);
                sleep(ACCEPT_PAUSE).await;
            }
        }
        yield_if_needed().await;
    }
}

/// One connection's life. Its rare and large parts are boxed: the task of an idle WebSocket is as
/// large as its largest part that is not.
async fn connection<I: Intake>(door: Rc<Door<I>>, stream: Stream) {
    let line = door.lines.enter();
    prepare(&stream);
    let end = Box::pin(http::serve(&door, &line, stream)).await;
    let stream = match end {
        End::Done(stream) => stream,
        End::Upgraded {
            stream,
            received,
            peer,
            deflate,
        } => websocket::serve(&door, &line, stream, received, (peer, deflate)).await,
    };
    Box::pin(let_go(stream)).await;
}

/// As [`connection`]; HTTP/2 says goodbye itself.
async fn grpc_connection<I: Intake>(door: Rc<Door<I>>, stream: Stream) {
    let line = door.lines.enter();
    prepare(&stream);
    grpc::serve(&door, &line, stream).await;
}

fn prepare(stream: &Stream) {
    // It fails only on a socket that is dead already, which the first read will tell.
    let _dead = stream.set_nodelay();
    stream.set_write_wait(WRITE_WAIT);
}

/// Ends a connection so that the last bytes arrive: closing a socket with unread bytes in it would
/// reset the connection and take back what the peer has not read.
async fn let_go(mut stream: Stream) {
    stream.end_sending();
    let mut rest = [0; 2048];
    let discard = async { while matches!(stream.receive(&mut rest).await, Ok(1..)) {} };
    let _long_enough = timeout(LINGER, discard).await;
}

#[cfg(test)]
impl<I> Doors<I> {
    pub(super) fn door_for_tests(&self) -> &Door<I> {
        &self.door
    }
}

/// How large the task of one connection is.
#[cfg(test)]
pub(super) fn connection_bytes_for_tests<I: Intake>() -> usize {
    fn bytes_of<A, B, F>(_: impl FnOnce(A, B) -> F) -> usize {
        size_of::<F>()
    }
    bytes_of(connection::<I>)
}
