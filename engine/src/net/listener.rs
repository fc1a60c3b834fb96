//! One listener on each of the shard's ports, and a task for each connection.
//!
//! Core:    one shard; every shard has its own listener on the same port (`SO_REUSEPORT`).
//! Cancel:  [`Doors::drain`] may be dropped; the connections finish all the same.
//! Full:    without descriptors for more connections, accepting waits a little and counts.

use super::door::Door;
use super::http::{self, End};
use super::lines::Line;
use super::session::Session;
use super::{Intake, Settings, grpc, websocket};
use crate::limit::{ACCEPT_PAUSE, LINGER};
use crate::rt;
use crate::rt::executor::{Task, spawn_local, yield_if_needed};
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
    listeners: Vec<(Rc<Listener>, Speaks)>,
    /// Wakes connections when something of theirs is due.
    _clock: Task<()>,
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
        let door = Rc::new(Door::new(settings, intake));
        let lines = Rc::clone(&door.lines);
        let mut doors = Self {
            door,
            listeners: Vec::with_capacity(2),
            _clock: spawn_local(async move { lines.keep_time().await }),
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
        self.listeners.push((listener, speaks));
        Ok(())
    }

    /// Where WebSocket and REST are; of use when they were opened on port 0.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.listeners[0].0.local_address()
    }

    /// Connections that are open now, of every protocol.
    pub fn connections(&self) -> usize {
        self.door.lines.live()
    }

    /// Connections that could not be accepted so far.
    pub fn accept_failures(&self) -> u64 {
        self.door.accept_failures.get()
    }

    /// Turns new clients away, and has every connection read nothing more, be answered what was taken
    /// from it, and told goodbye: the WebSockets (1001) one after the other during `window`, the others at
    /// once. Resolves when the last has ended or `grace` is over after that, with the number of those
    /// that are left.
    pub async fn drain(&self, window: Duration, grace: Duration) -> usize {
        for (listener, speaks) in &self.listeners {
            // They believe that they are connected, and may have asked something.
            for stream in listener.empty() {
                serve(&self.door, stream, *speaks);
            }
        }
        let lines = &self.door.lines;
        lines.drain();
        for (listener, _) in &self.listeners {
            listener.stop();
        }
        let ended = async {
            lines.dismiss(window).await;
            lines.all_ended().await;
        };
        let _grace_over = timeout(window + grace, ended).await;
        lines.live()
    }
}

/// Starts the task of a new connection.
fn serve<I: Intake>(door: &Rc<Door<I>>, stream: Stream, speaks: Speaks) {
    let door = Rc::clone(door);
    match speaks {
        Speaks::Http => spawn_local(connection(door, stream)).detach(),
        Speaks::Grpc => spawn_local(grpc_connection(door, stream)).detach(),
    }
}

async fn accept<I: Intake>(door: Rc<Door<I>>, listener: Rc<Listener>, speaks: Speaks) {
    while !door.lines.draining() {
        match listener.accept().await {
            Ok(stream) => serve(&door, stream, speaks),
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

/// One connection's life. Its large parts are boxed, and none of them is kept longer than it is needed: an
/// idle WebSocket is its task and its session.
async fn connection<I: Intake>(door: Rc<Door<I>>, mut stream: Stream) {
    let line = door.lines.enter();
    prepare(&mut stream, &door.settings);
    let stream = match Box::pin(begin(&door, &line, stream)).await {
        Begun::Done(stream) => stream,
        Begun::Socket(mut session) => {
            session.live().await;
            session.end()
        }
    };
    Box::pin(let_go(stream)).await;
}

/// What a connection has become.
enum Begun<'a, I: Intake> {
    Done(Stream),
    Socket(Box<Session<'a, I>>),
}

/// Serves HTTP, and lets a WebSocket in.
async fn begin<'a, I: Intake>(
    door: &'a Rc<Door<I>>,
    line: &'a Line,
    stream: Stream,
) -> Begun<'a, I> {
    match http::serve(door, line, stream).await {
        End::Done(stream) => Begun::Done(stream),
        End::Upgraded {
            stream,
            received,
            peer,
            deflate,
        } => {
            let session = websocket::begin(door, line, stream, received, (peer, deflate)).await;
            Begun::Socket(Box::new(session))
        }
    }
}

/// As [`connection`]; HTTP/2 says goodbye itself.
async fn grpc_connection<I: Intake>(door: Rc<Door<I>>, mut stream: Stream) {
    let line = door.lines.enter();
    prepare(&mut stream, &door.settings);
    grpc::serve(&door, &line, stream).await;
}

fn prepare(stream: &mut Stream, settings: &Settings) {
    // It fails only on a socket that is dead already, which the first read will tell.
    let _dead = stream.set_nodelay();
    stream.set_write_wait(settings.write_wait);
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

/// How large the task of one connection is, with its session.
#[cfg(test)]
pub(super) fn connection_bytes_for_tests<I: Intake>() -> usize {
    fn bytes_of<A, B, F>(_: impl FnOnce(A, B) -> F) -> usize {
        size_of::<F>()
    }
    bytes_of(connection::<I>) + size_of::<Session<'_, I>>()
}
