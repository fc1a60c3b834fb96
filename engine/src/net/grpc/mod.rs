//! gRPC: `EventService`, health and reflection, in plaintext HTTP/2 on a port of its own.
//!
//! ```text
//! Incoming -> Messages -> Call -> Intake -> Call -> Reply (message, trailers)
//! ```
//!
//! Core:    one shard; every call is a task beside its connection's.
//! Cancel:  a client that cancels, or whose deadline is over, misses the answer; what was taken stays
//!          taken.
//! Full:    streams of a connection, bytes that are not read yet, heads and messages are bounded. A
//!          shard without room takes no message, and HTTP/2's windows tell the client.

mod health;
mod message;
mod reflection;
mod reply;
mod status;
mod stream;

use super::door::{Door, Held};
use super::http::peer_of;
use super::lines::Line;
use super::outbox::{Call, Outcome, Peer};
use super::{Cut, Intake, Note, Refused, Wait};
use crate::frame::Encoding;
use crate::limit::{
    GRPC_ALIVE_AFTER, GRPC_ALIVE_WAIT, GRPC_HEAD_BYTES_MAX, GRPC_SEND_BYTES_MAX, GRPC_STREAMS_MAX,
    GRPC_WINDOW_BYTES, LINGER, REFLECTION_BYTES_MAX,
};
use crate::rt::hyper::{Io, Tasks, Timers};
use crate::rt::stream::Stream;
use crate::rt::timer::{sleep, timeout};
use ::http::header::CONTENT_TYPE;
use ::http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use message::Messages;
use reply::{Reply, failed, refused, streaming, unary};
use status::{Code, Status};
use std::cell::Cell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

/// The full name of Raccoon's service.
pub(super) const EVENT_SERVICE: &str = "raystack.raccoon.v1beta1.EventService";
/// The full name of ours.
pub(super) const EVENT_STREAM: &str = "ringtail.v1.EventStream";

const HEALTH: &str = "grpc.health.v1.Health";
const REFLECTIONS: [&str; 2] = [
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

/// What the calls of one connection share.
struct Desk<I> {
    door: Rc<Door<I>>,
    /// Calls that came so far.
    calls: Cell<u64>,
    /// Calls that are owed an answer.
    open: Rc<Cell<u32>>,
}

/// Counts a call as open while it lives.
struct Open(Rc<Cell<u32>>);

impl Open {
    fn count(open: &Rc<Cell<u32>>) -> Self {
        open.set(open.get() + 1);
        Self(Rc::clone(open))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Serves one connection until the client has had enough, is silent for too long, or breaks the
/// protocol; when the doors are to be drained, until its calls are answered.
pub(super) async fn serve<I: Intake>(door: &Rc<Door<I>>, line: &Line, stream: Stream) {
    let desk = Rc::new(Desk {
        door: Rc::clone(door),
        calls: Cell::new(0),
        open: Rc::default(),
    });
    let shared = Rc::clone(&desk);
    let service = service_fn(move |request| {
        let desk = Rc::clone(&shared);
        desk.calls.set(desk.calls.get() + 1);
        Box::pin(async move { Ok::<_, Infallible>(desk.answer(request).await) })
    });
    let mut connection = pin!(builder().serve_connection(Io::new(stream), service));
    let mut silence = Some(Box::pin(sleep(door.settings.head_wait)));
    let mut told = false;
    poll_fn(|context| {
        line.listen(context);
        if line.draining() && !told {
            connection.as_mut().graceful_shutdown();
            told = true;
            silence = Some(Box::pin(sleep(LINGER)));
        }
        if let Some(timer) = &mut silence
            && timer.as_mut().poll(context).is_ready()
        {
            silence = None;
            // Who never called, or owes us only the word that it heard the goodbye, is let go.
            let nothing_owed = desk.open.get() == 0;
            if nothing_owed && (told || desk.calls.get() == 0) {
                return Poll::Ready(());
            }
        }
        // Who breaks the protocol was told by hyper as far as that made sense.
        connection.as_mut().poll(context).map(|ended| {
            if ended.is_err() {
                door.intake.note(Note::Refused(Refused::BrokenHttp));
            }
        })
    })
    .await;
}

fn builder() -> http2::Builder<Tasks> {
    let mut builder = http2::Builder::new(Tasks);
    builder
        .timer(Timers)
        .auto_date_header(false)
        .max_concurrent_streams(GRPC_STREAMS_MAX)
        .initial_stream_window_size(GRPC_WINDOW_BYTES)
        .initial_connection_window_size(GRPC_WINDOW_BYTES)
        .max_header_list_size(GRPC_HEAD_BYTES_MAX)
        .max_send_buf_size(GRPC_SEND_BYTES_MAX)
        .keep_alive_interval(GRPC_ALIVE_AFTER)
        .keep_alive_timeout(GRPC_ALIVE_WAIT);
    builder
}

impl<I: Intake> Desk<I> {
    async fn answer(&self, request: Request<Incoming>) -> Reply {
        let reply = self.serve(request).await;
        if status::is_failure(&reply) {
            self.door.intake.note(Note::Refused(Refused::Call));
        }
        reply
    }

    async fn serve(&self, request: Request<Incoming>) -> Reply {
        if request.method() != Method::POST {
            return refused(StatusCode::METHOD_NOT_ALLOWED);
        }
        if !is_grpc(request.headers()) {
            return refused(StatusCode::UNSUPPORTED_MEDIA_TYPE);
        }
        let _open = Open::count(&self.open);
        let deadline = status::deadline(request.headers());
        let answered = Box::pin(self.call(request));
        let Some(deadline) = deadline else {
            return answered.await;
        };
        let in_time = timeout(deadline, answered).await;
        in_time.unwrap_or_else(|| {
            let text = "the deadline is over; what was sent may have been taken";
            failed(&Status::new(Code::DeadlineExceeded, text))
        })
    }

    async fn call(&self, request: Request<Incoming>) -> Reply {
        let path = request.uri().path().to_owned();
        let (head, body) = request.into_parts();
        let whole = path.strip_prefix('/').unwrap_or_default();
        let (service, method) = whole.rsplit_once('/').unwrap_or(("", whole));
        let bytes_max = match service {
            EVENT_SERVICE | EVENT_STREAM => self.door.settings.grpc_message_bytes_max,
            _ => REFLECTION_BYTES_MAX,
        };
        let messages = Messages::new(&head.headers, body, bytes_max);
        match (service, method) {
            (EVENT_SERVICE, "SendEvent") => unary(self.send_event(&head.headers, messages).await),
            (EVENT_STREAM, "SendEvents") => {
                let open = Open::count(&self.open);
                match self.identify(&head.headers) {
                    Ok(peer) => streaming(stream::answers(&self.door, messages, peer, open)),
                    Err(status) => failed(&status),
                }
            }
            (HEALTH, "Check") => {
                let message = self.only(messages, &mut self.door.hold()).await;
                unary(message.and_then(|message| health::check(&self.door, &message)))
            }
            (HEALTH, "Watch") => {
                let watched = self
                    .only(messages, &mut self.door.hold())
                    .await
                    .and_then(|message| health::watch(Rc::clone(&self.door), &message));
                match watched {
                    Ok(states) => streaming(states),
                    Err(status) => failed(&status),
                }
            }
            (name, "ServerReflectionInfo") if REFLECTIONS.contains(&name) => {
                streaming(reflection::answers(Rc::clone(&self.door), messages))
            }
            _ => failed(&Status::new(
                Code::Unimplemented,
                format!("unknown method {method} of service {service}"),
            )),
        }
    }

    /// Who calls: a call must say so.
    fn identify(&self, headers: &HeaderMap) -> Result<Peer, Status> {
        let settings = &self.door.settings;
        if !headers.contains_key(&settings.conn_id_header) {
            return Err(Status::new(Code::Unknown, "connection id header missing"));
        }
        Ok(peer_of(headers, settings))
    }

    /// The same way that a REST body goes.
    async fn send_event(&self, headers: &HeaderMap, messages: Messages) -> Result<Vec<u8>, Status> {
        let door = &self.door;
        let call = Rc::new(Call::grpc(self.identify(headers)?));
        while door.is_crowded() {
            door.intake.until(Wait::Room).await;
        }
        let mut held = door.hold();
        let message = self.only(messages, &mut held).await.inspect_err(|_| {
            door.intake.note_of(&call.peer, Note::ReadError);
        })?;
        door.intake.note(Note::BytesReceived(message.len() as u64));
        while let Err(wait) = door.intake.offer_call(&call, Encoding::Protobuf, &message) {
            door.intake.until(wait).await;
        }
        drop((message, held));
        let (outcome, answer) = call.answered().await;
        if outcome == Outcome::Undecodable {
            let text = String::from_utf8_lossy(&answer);
            return Err(Status::new(Code::Internal, text));
        }
        Ok(answer)
    }

    /// The one message of a call, if it comes in time.
    async fn only(&self, messages: Messages, held: &mut Held<'_>) -> Result<Bytes, Status> {
        let whole = timeout(self.door.settings.message_wait, messages.only(held)).await;
        whole.unwrap_or_else(|| {
            self.door.intake.note(Note::Cut(Cut::SlowBody));
            let text = "the body took too long";
            Err(Status::new(Code::DeadlineExceeded, text))
        })
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let rest = kind.and_then(|kind| kind.strip_prefix(b"application/grpc"));
    matches!(rest, Some([] | [b';', ..] | b"+proto"))
}
