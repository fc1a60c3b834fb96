//! gRPC over HTTP/2: a call for each batch, or many batches over one call that stays open.
//!
//! ```text
//! ask -> h2 -> Socket ... Socket -> h2 -> Call -> Told
//! ```
//!
//! Unlike the other protocols this one is spoken by a library, h2, which keeps state for each
//! connection. It is polled by hand whenever the driver's own poller says that its socket is ready: there is no
//! second runtime. It costs the driver several times what the others do, and the driver says so when that makes
//! it the limit.
//! Full: `has_room` says when HTTP/2 lets nothing more be asked; who asks looks there first.

mod call;
mod socket;

use std::{
    collections::{HashMap, VecDeque},
    io,
    net::TcpStream,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use bytes::{BufMut, Bytes, BytesMut};
use h2::{
    SendStream,
    client::{Builder, Connection, SendRequest},
};
use http::{HeaderName, HeaderValue, Method, Request, Version};

pub(crate) use self::call::Failure;
use self::{
    call::{Call, PREFIX_BYTES},
    socket::{Signs, Socket},
};
use super::Target;

/// Raccoon's call, one for each batch.
pub(super) const UNARY_PATH: &str = "/raystack.raccoon.v1beta1.EventService/SendEvent";
/// Ringtail's, one for many.
pub(super) const STREAM_PATH: &str = "/ringtail.v1.EventStream/SendEvents";

/// What a server may send before it was read.
const WINDOW_BYTES: u32 = 1 << 20;
/// Calls that are made before the server has said how many it takes: the least that HTTP/2 has in mind.
const CALLS_FIRST: usize = 100;
/// Bytes of an open call that may wait in user space, beyond which nothing more is asked.
const UNSENT_BYTES_MAX: usize = 256 << 10;

/// What came of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// A `SendEventResponse`, as protobuf; of a unary call with the batch that it is for.
    Answer { batch: Option<u64>, payload: Bytes },
    /// The call of this batch failed.
    Failed { batch: u64, failure: Failure },
}

/// How batches are put into calls.
enum Way {
    /// One call for each.
    Unary,
    /// All of them into one, which is opened with the first.
    Stream(Option<SendStream<Bytes>>),
}

/// One connection.
pub(crate) struct Client {
    connection: Connection<Socket, Bytes>,
    sender: SendRequest<Bytes>,
    /// What every call's head says.
    head: Request<()>,
    way: Way,
    /// By batch; an open call of many batches has its first one's.
    calls: HashMap<u64, Call>,
    bells: Arc<Bells>,
    signs: Arc<Signs>,
    told: VecDeque<Told>,
    ended: Option<String>,
}

impl Client {
    /// Begins a connection on a socket that is connected and does not block.
    pub(crate) fn new(
        stream: Arc<TcpStream>,
        target: &Target,
        identity: &[(&str, &str)],
        is_stream: bool,
    ) -> io::Result<Self> {
        let signs = Arc::new(Signs::default());
        let socket = Socket {
            stream,
            signs: Arc::clone(&signs),
        };
        let handshake = Builder::new()
            .enable_push(false)
            .initial_max_send_streams(CALLS_FIRST)
            .initial_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .max_send_buffer_size(UNSENT_BYTES_MAX)
            .handshake(socket);
        // It only writes, and a new socket takes some bytes at once.
        let mut context = Context::from_waker(Waker::noop());
        let begun = match pin!(handshake).poll(&mut context) {
            Poll::Ready(begun) => begun.map_err(io::Error::other)?,
            Poll::Pending => return Err(io::ErrorKind::WouldBlock.into()),
        };
        let (sender, connection) = begun;
        Ok(Self {
            connection,
            sender,
            head: head(target, identity)?,
            way: if is_stream {
                Way::Stream(None)
            } else {
                Way::Unary
            },
            calls: HashMap::new(),
            bells: Arc::default(),
            signs,
            told: VecDeque::new(),
            ended: None,
        })
    }

    /// Whether HTTP/2 lets another batch be asked: streams of a connection are counted, and bytes of a
    /// stream.
    pub(crate) fn has_room(&mut self) -> bool {
        if let Way::Stream(Some(open)) = &mut self.way {
            open.reserve_capacity(UNSENT_BYTES_MAX);
            return 0 < open.capacity();
        }
        let waker = self.bells.of_connection();
        let mut context = Context::from_waker(&waker);
        // An error is told by the next ask.
        self.sender.poll_ready(&mut context).is_ready()
    }

    /// Asks a prepared batch; [`Self::write`] sends it.
    pub(crate) fn ask(&mut self, batch: u64, message: Bytes) {
        if let Err(error) = self.try_ask(batch, message) {
            self.ended.get_or_insert_with(|| error.to_string());
        }
    }

    fn try_ask(&mut self, batch: u64, message: Bytes) -> Result<(), h2::Error> {
        if let Way::Stream(Some(open)) = &mut self.way {
            return open.send_data(message, false);
        }
        let (response, mut open) = self.sender.send_request(self.head.clone(), false)?;
        let is_unary = matches!(self.way, Way::Unary);
        open.send_data(message, is_unary)?;
        if let Way::Stream(stream) = &mut self.way {
            *stream = Some(open);
        }
        self.calls.insert(batch, Call::new(response));
        // It must be asked once before it can ring.
        self.bells.lock().push(batch);
        Ok(())
    }

    /// Sends what the socket takes and reads nothing.
    pub(crate) fn write(&mut self) {
        self.signs.is_deaf.store(true, Ordering::Relaxed);
        self.go_on();
        self.signs.is_deaf.store(false, Ordering::Relaxed);
    }

    /// Whether the socket took nothing more although something waits.
    pub(crate) fn is_full(&self) -> bool {
        self.ended.is_none() && self.signs.is_full.load(Ordering::Relaxed)
    }

    /// Reads what came, and sends what it gives leave to send.
    pub(crate) fn read(&mut self) {
        loop {
            self.go_on();
            self.look_at_calls();
            let more = self.bells.connection.swap(false, Ordering::Relaxed);
            if self.ended.is_some() || !more {
                return;
            }
        }
    }

    /// What came of a batch, oldest first.
    pub(crate) fn hear(&mut self) -> Option<Told> {
        self.told.pop_front()
    }

    /// Why the connection is of no more use.
    pub(crate) fn ended(&self) -> Option<&str> {
        self.ended.as_deref()
    }

    fn go_on(&mut self) {
        if self.ended.is_some() {
            return;
        }
        self.bells.connection.store(false, Ordering::Relaxed);
        let waker = self.bells.of_connection();
        let mut context = Context::from_waker(&waker);
        if let Poll::Ready(end) = Pin::new(&mut self.connection).poll(&mut context) {
            self.ended = Some(match end {
                Ok(()) => "the server closed the connection".to_owned(),
                Err(error) => error.to_string(),
            });
        }
    }

    fn look_at_calls(&mut self) {
        let rung = std::mem::take(&mut *self.bells.lock());
        for batch in rung {
            self.look_at(batch);
        }
    }

    fn look_at(&mut self, batch: u64) {
        let Some(call) = self.calls.get_mut(&batch) else {
            return;
        };
        let waker = self.bells.of_call(batch);
        let end = call.poll(&mut Context::from_waker(&waker));
        let is_unary = matches!(self.way, Way::Unary);
        if !is_unary {
            let answers = call.whole.drain(..);
            let batch = None;
            let answers = answers.map(|payload| Told::Answer { batch, payload });
            self.told.extend(answers);
        }
        let Poll::Ready(end) = end else {
            return;
        };
        let answer = call.whole.pop_front();
        self.calls.remove(&batch);
        match (end, answer) {
            // A connection that is lost leaves its batches unanswered.
            (Err(_), _) if self.ended.is_some() => {}
            (Ok(()), Some(payload)) if is_unary => {
                let batch = Some(batch);
                self.told.push_back(Told::Answer { batch, payload });
            }
            (Err(failure), _) if is_unary => self.told.push_back(Told::Failed { batch, failure }),
            (Ok(()), _) => self.ended = Some("the server ended a call without an answer".into()),
            (Err(failure), _) => self.ended = Some(failure.text),
        }
    }
}

/// The head of every call.
fn head(target: &Target, identity: &[(&str, &str)]) -> io::Result<Request<()>> {
    let uri = format!("http://{}{}", target.authority, target.path);
    let mut head = Request::builder()
        .method(Method::POST)
        .version(Version::HTTP_2)
        .uri(uri)
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in identity {
        let name = HeaderName::try_from(*name).map_err(io::Error::other)?;
        let value = HeaderValue::try_from(*value).map_err(io::Error::other)?;
        head = head.header(name, value);
    }
    head.body(()).map_err(io::Error::other)
}

/// A message behind its length prefix.
pub(super) fn prepare(request: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(PREFIX_BYTES + request.len());
    message.put_u8(0);
    message.put_u32(request.len() as u32);
    message.put_slice(request);
    message.freeze()
}

/// Who has rung since somebody looked. h2 may ring from where it likes, so the wakers must be `Send`;
/// all of it happens on one thread.
#[derive(Debug, Default)]
struct Bells {
    connection: AtomicBool,
    calls: Mutex<Vec<u64>>,
}

struct CallBell {
    bells: Arc<Bells>,
    batch: u64,
}

impl Bells {
    fn lock(&self) -> MutexGuard<'_, Vec<u64>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of_connection(self: &Arc<Self>) -> Waker {
        Waker::from(Arc::clone(self))
    }

    fn of_call(self: &Arc<Self>, batch: u64) -> Waker {
        let bells = Arc::clone(self);
        Waker::from(Arc::new(CallBell { bells, batch }))
    }
}

impl Wake for Bells {
    fn wake(self: Arc<Self>) {
        self.connection.store(true, Ordering::Relaxed);
    }
}

impl Wake for CallBell {
    fn wake(self: Arc<Self>) {
        self.bells.lock().push(self.batch);
    }
}
