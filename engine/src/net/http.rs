//! REST, and the way into a WebSocket: HTTP/1.1 on one connection.
//!
//! Core:    one shard; hyper runs inside the connection's own task.
//! Cancel:  a client that goes away while its request is answered misses the answer; what was taken
//!          stays taken.
//! Full:    a head over 32 KiB is refused with 431, a body over the message limit with 413. Heads,
//!          bodies and idle connections have time limits. A shard without room reads no bodies.

use super::body::{self, Trouble};
use super::cors::Ruling;
use super::door::Door;
use super::lines::Line;
use super::outbox::{Call, Outcome, Peer};
use super::{Cut, Intake, Note, Refused, Settings, Wait, websocket};
use crate::event::answer::{Answer, Code, Status, encode};
use crate::frame::Encoding;
use crate::limit::{HTTP_BUFFER_BYTES, HTTP_HEAD_BYTES_MAX, LINGER};
use crate::rt::hyper::{Io, Timers};
use crate::rt::stream::Stream;
use crate::rt::timer::sleep;
use ::http::header::{ACCEPT_ENCODING, ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue};
use ::http::{HeaderMap, Method, Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::error::Error as _;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;

pub(super) type Reply = Response<Full<Bytes>>;

/// How HTTP ended on a connection.
pub(super) enum End {
    /// Let the socket go.
    Done(Stream),
    Upgraded {
        stream: Stream,
        /// What the client sent behind its request: it may hold the first frames.
        received: Bytes,
        peer: Peer,
        /// Its messages may come compressed.
        deflate: bool,
    },
}

/// What the requests of one connection share.
pub(super) struct Desk<I> {
    pub(super) door: Rc<Door<I>>,
    /// Set by the request that becomes a WebSocket.
    pub(super) upgrade: RefCell<Option<Peer>>,
    /// Compression was agreed with it.
    pub(super) deflate: Cell<bool>,
    requests: Cell<u32>,
}

/// Serves HTTP until the client has had enough, breaks the protocol, or upgrades.
pub(super) async fn serve<I: Intake>(door: &Rc<Door<I>>, line: &Line, stream: Stream) -> End {
    let desk = Rc::new(Desk {
        door: Rc::clone(door),
        upgrade: RefCell::default(),
        deflate: Cell::new(false),
        requests: Cell::new(0),
    });
    let shared = Rc::clone(&desk);
    let service = service_fn(move |request| {
        let desk = Rc::clone(&shared);
        desk.requests.set(desk.requests.get() + 1);
        Box::pin(async move { Ok::<_, Infallible>(desk.answer(request).await) })
    });
    let mut connection = http1::Builder::new()
        .timer(Timers)
        // Who sends no more may still wait for the answer.
        .half_close(true)
        .header_read_timeout(door.settings.head_wait)
        .max_header_size(HTTP_HEAD_BYTES_MAX)
        .max_buf_size(HTTP_BUFFER_BYTES)
        .serve_connection(Io::new(stream), service);
    let (mut told, mut last_call) = (false, None);
    // Who breaks the protocol was answered by hyper as far as that made sense.
    let ended = poll_fn(|context| {
        line.listen(context);
        // What was asked already is answered.
        let ended = connection.poll_without_shutdown(context);
        if ended.is_ready() || !line.draining() || told {
            return ended;
        }
        if desk.requests.get() == 0 {
            // It may have asked something that was not read yet; if not, nothing is owed.
            let last_call = last_call.get_or_insert_with(|| Box::pin(sleep(LINGER)));
            return last_call.as_mut().poll(context).map(Ok);
        }
        told = true;
        Pin::new(&mut connection).graceful_shutdown();
        connection.poll_without_shutdown(context)
    })
    .await;
    let parts = connection.into_parts();
    let is_asking = desk.requests.get() == 0 || !parts.read_buf.is_empty();
    if let Err(error) = ended {
        match cut_of(&error, is_asking) {
            Some(cut) => door.intake.note(Note::Cut(cut)),
            None if error.is_timeout() => {}
            None => door.intake.note(Note::Refused(Refused::BrokenHttp)),
        }
    }
    let stream = parts.io.into_stream();
    match desk.upgrade.take() {
        Some(peer) => End::Upgraded {
            stream,
            received: parts.read_buf,
            peer,
            deflate: desk.deflate.get(),
        },
        None => End::Done(stream),
    }
}

impl<I: Intake> Desk<I> {
    async fn answer(&self, request: Request<Incoming>) -> Reply {
        let Some(cors) = &self.door.settings.cors else {
            return self.serve(request).await;
        };
        match cors.judge(request.method(), request.headers()) {
            Ruling::Preflight(reply) => reply,
            Ruling::Serve(added) => {
                let mut reply = self.serve(request).await;
                reply.headers_mut().extend(added);
                reply
            }
        }
    }

    async fn serve(&self, request: Request<Incoming>) -> Reply {
        let reply = self.route(request).await;
        let status = reply.status();
        if status == StatusCode::NOT_FOUND || status == StatusCode::METHOD_NOT_ALLOWED {
            self.door.intake.note(Note::Refused(Refused::NotServed));
        }
        reply
    }

    async fn route(&self, request: Request<Incoming>) -> Reply {
        match request.uri().path() {
            "/api/v1/events" => match *request.method() {
                Method::POST => self.take_events(request).await,
                Method::GET => websocket::upgrade(self, &request),
                _ => wrong_method("GET, POST"),
            },
            "/ping" => match *request.method() {
                Method::GET | Method::HEAD => text(StatusCode::OK, "pong"),
                _ => wrong_method("GET"),
            },
            _ => text(StatusCode::NOT_FOUND, "404 page not found"),
        }
    }

    async fn take_events(&self, request: Request<Incoming>) -> Reply {
        let content_type = request.headers().get(CONTENT_TYPE).cloned();
        let Some(encoding) = content_type.as_ref().and_then(encoding_of) else {
            let peer = peer_of(request.headers(), &self.door.settings);
            self.door.intake.note_of(&peer, Note::UnknownContentType);
            let json = HeaderValue::from_static("application/json");
            let status = StatusCode::BAD_REQUEST;
            return self.refuse(status, Encoding::Json, Some(json), "invalid content type");
        };
        let call = Rc::new(Call::rest(peer_of(request.headers(), &self.door.settings)));
        while self.door.is_crowded() {
            self.door.intake.until(Wait::Room).await;
        }
        let bytes_max = self.door.settings.message_bytes_max;
        let (head, body) = request.into_parts();
        let mut held = self.door.hold();
        let bounds = (bytes_max, self.door.settings.message_wait);
        let body = match body::whole(&head.headers, body, bounds, &mut held).await {
            Ok(body) => body,
            Err(trouble) => {
                let note = match trouble {
                    Trouble::Late => Note::Cut(Cut::SlowBody),
                    Trouble::TooLarge => Note::Refused(Refused::TooLarge),
                    Trouble::NoRoom => Note::Refused(Refused::NoRoom),
                    _ => Note::ReadError,
                };
                self.door.intake.note_of(&call.peer, note);
                if trouble == Trouble::Late {
                    self.door.intake.note_of(&call.peer, Note::ReadError);
                }
                return self.refuse_body(trouble, encoding, content_type);
            }
        };
        self.door
            .intake
            .note(Note::BytesReceived(body.len() as u64));
        while let Err(wait) = self.door.intake.offer_call(&call, encoding, &body) {
            self.door.intake.until(wait).await;
        }
        drop((body, held));
        let (outcome, answer) = call.answered().await;
        let status = match outcome {
            Outcome::Accepted => StatusCode::OK,
            Outcome::Undecodable | Outcome::Refused => StatusCode::BAD_REQUEST,
            Outcome::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        };
        reply(status, content_type, answer)
    }

    fn refuse_body(
        &self,
        trouble: Trouble,
        encoding: Encoding,
        content_type: Option<HeaderValue>,
    ) -> Reply {
        let (status, reason) = explain(trouble);
        let mut reply = self.refuse(status, encoding, content_type, reason);
        if trouble == Trouble::UnknownCoding {
            let known = HeaderValue::from_static(body::ACCEPTED);
            reply.headers_mut().insert(ACCEPT_ENCODING, known);
        }
        reply
    }

    /// A refusal by the door itself, after which the connection is of no more use: its body may not
    /// have been read.
    fn refuse(
        &self,
        status: StatusCode,
        encoding: Encoding,
        content_type: Option<HeaderValue>,
        reason: &str,
    ) -> Reply {
        let answer = Answer {
            status: Status::Error,
            code: Code::BadRequest,
            sent_time: self.door.intake.now_seconds(),
            reason,
            guid: None,
            events: &[],
        };
        let mut body = Vec::new();
        encode(encoding, &answer, &mut body);
        let mut reply = reply(status, content_type, body);
        let close = HeaderValue::from_static("close");
        reply.headers_mut().insert(CONNECTION, close);
        reply
    }
}

/// Which deadline ended a connection, if one did. Who has asked nothing new since its last answer is
/// let go without being counted.
fn cut_of(error: &hyper::Error, is_asking: bool) -> Option<Cut> {
    if error.is_timeout() {
        return is_asking.then_some(Cut::SlowHead);
    }
    let source = error.source()?.downcast_ref::<io::Error>()?;
    (source.kind() == io::ErrorKind::TimedOut).then_some(Cut::SlowReader)
}

/// HTTP's word and ours for a body that was not had.
fn explain(trouble: Trouble) -> (StatusCode, &'static str) {
    match trouble {
        Trouble::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "message too large"),
        Trouble::Broken => (StatusCode::BAD_REQUEST, "deserialization failure"),
        Trouble::Late => (StatusCode::REQUEST_TIMEOUT, "the body took too long"),
        Trouble::NoRoom => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the server holds too many unfinished requests; try again",
        ),
        Trouble::UnknownCoding => (
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unknown content encoding; known are gzip, deflate and zstd",
        ),
    }
}

/// How the body is written, as far as its type says so. Parameters such as a charset do not matter.
fn encoding_of(content_type: &HeaderValue) -> Option<Encoding> {
    let text = content_type.to_str().ok()?;
    let (kind, _parameters) = text.split_once(';').unwrap_or((text, ""));
    let is = |name: &str| kind.trim().eq_ignore_ascii_case(name);
    let protobuf = [
        "application/proto",
        "application/x-protobuf",
        "application/protobuf",
    ];
    if is("application/json") {
        return Some(Encoding::Json);
    }
    protobuf.into_iter().any(is).then_some(Encoding::Protobuf)
}

/// Who the request says it comes from. Both headers are untrusted, and bounded by the head's limit.
pub(super) fn peer_of(headers: &HeaderMap, settings: &Settings) -> Peer {
    let conn_id = headers.get(&settings.conn_id_header);
    let group = settings.conn_group_header.as_ref();
    let group = group
        .and_then(|name| headers.get(name))
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .filter(|group| !group.is_empty());
    Peer {
        conn_id: conn_id.map_or_else(Box::default, |value| value.as_bytes().into()),
        conn_group: group.map_or_else(|| settings.conn_group_default.clone(), Into::into),
    }
}

fn reply(status: StatusCode, content_type: Option<HeaderValue>, body: Vec<u8>) -> Reply {
    let mut reply = Response::new(Full::from(body));
    *reply.status_mut() = status;
    if let Some(content_type) = content_type {
        reply.headers_mut().insert(CONTENT_TYPE, content_type);
    }
    reply
}

pub(super) fn text(status: StatusCode, text: &str) -> Reply {
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    reply(status, Some(kind), text.into())
}

fn wrong_method(allowed: &'static str) -> Reply {
    let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, "405 method not allowed");
    let allowed = HeaderValue::from_static(allowed);
    reply.headers_mut().insert(ALLOW, allowed);
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_say_the_encoding_whatever_their_case_and_parameters() {
        let of = |text| encoding_of(&HeaderValue::from_static(text));
        for text in [
            "application/proto",
            "Application/X-Protobuf",
            "application/protobuf; a=b",
        ] {
            assert_eq!(of(text), Some(Encoding::Protobuf), "{text}");
        }
        for text in ["application/json", "application/json;charset=UTF-8"] {
            assert_eq!(of(text), Some(Encoding::Json), "{text}");
        }
        for text in ["", "text/plain", "application/jsonl", "application/grpc"] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
