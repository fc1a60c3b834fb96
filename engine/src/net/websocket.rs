//! From an HTTP request to a WebSocket, and from its first byte to its last.
//!
//! Core:    one shard.
//! Cancel:  see `session`.
//! Full:    see `session`.

use super::door::Door;
use super::http::{Desk, Reply, peer_of, text};
use super::lines::Line;
use super::outbox::{Outbox, Peer};
use super::session::{Farewell, Session};
use super::{Intake, Note, Unwelcome};
use crate::event::answer::{Answer, Code, Status, encode};
use crate::frame::Encoding;
use crate::frame::websocket::write_message_with;
use crate::frame::websocket::{accept_deflate, accept_upgrade, origin_is_allowed};
use crate::rt::stream::Stream;
use ::http::header::{CONNECTION, HeaderValue, UPGRADE};
use ::http::header::{SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS};
use ::http::{Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::Full;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

/// Answers a request for a WebSocket. When it is granted, the desk knows who asked, and HTTP ends
/// behind the answer.
pub(super) fn upgrade<I: Intake, B>(desk: &Desk<I>, request: &Request<B>) -> Reply {
    let headers = request.headers();
    let refused = |reply| {
        let peer = peer_of(headers, &desk.door.settings);
        desk.door.intake.note_of(&peer, Note::UpgradeFailed);
        reply
    };
    let accept = match accept_upgrade(request.method(), request.version(), headers) {
        Ok(accept) => accept,
        Err(refusal) => {
            let mut reply = text(refusal.status(), &refusal.to_string());
            for (name, value) in refusal.headers() {
                let value = HeaderValue::from_static(value);
                reply.headers_mut().insert(name, value);
            }
            return refused(reply);
        }
    };
    if desk.door.settings.check_origin && !origin_is_allowed(headers) {
        let why = "the page's origin is not this host";
        return refused(text(StatusCode::FORBIDDEN, why));
    }
    if desk.door.lines.draining() {
        return refused(text(
            StatusCode::SERVICE_UNAVAILABLE,
            "the server is stopping",
        ));
    }
    let Ok(accept) = HeaderValue::from_str(&accept) else {
        return refused(text(StatusCode::BAD_REQUEST, "bad key"));
    };
    *desk.upgrade.borrow_mut() = Some(peer_of(headers, &desk.door.settings));
    let mut reply = Response::new(Full::default());
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let added = reply.headers_mut();
    added.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    added.insert(UPGRADE, HeaderValue::from_static("websocket"));
    added.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if desk.door.inflater.is_some()
        && let Some(agreed) = accept_deflate(headers)
        && let Ok(agreed) = HeaderValue::from_str(&agreed)
    {
        added.insert(SEC_WEBSOCKET_EXTENSIONS, agreed);
        desk.deflate.set(true);
    }
    reply
}

/// Lets a WebSocket in, or prepares what it is told instead. `deflate` says that compression was agreed.
pub(super) async fn begin<'a, I: Intake>(
    door: &'a Door<I>,
    line: &'a Line,
    stream: Stream,
    received: Bytes,
    (peer, deflate): (Peer, bool),
) -> Session<'a, I> {
    let outbox = Rc::new(Outbox::new(peer));
    let place = match admit(door, line, &outbox).await {
        Ok(place) => place,
        Err(farewell) => {
            turn_away(door, &outbox, farewell);
            return Session::parting(door, line, stream, outbox, farewell);
        }
    };
    door.intake.note_of(&outbox.peer, Note::Connected);
    door.intake.note(Note::BytesReceived(received.len() as u64));
    // A slice of hyper's buffer would keep all of it, so the session copies it.
    Session::new(door, line, stream, outbox, place, (&received, deflate))
}

/// Asks for a place, unless the doors are to be closed before there is an answer.
async fn admit<I: Intake>(
    door: &Door<I>,
    line: &Line,
    outbox: &Rc<Outbox>,
) -> Result<I::Place, Farewell> {
    let mut admitted = pin!(door.intake.admit(outbox));
    poll_fn(|context| {
        if let Poll::Ready(admitted) = admitted.as_mut().poll(context) {
            return Poll::Ready(admitted.map_err(Farewell::Unwelcome));
        }
        if line.must_leave() {
            return Poll::Ready(Err(Farewell::GoingAway));
        }
        line.listen(context);
        Poll::Pending
    })
    .await
}

/// Tells a client why it is not served, as Raccoon does: in an answer before the close frame.
fn turn_away<I: Intake>(door: &Door<I>, outbox: &Outbox, farewell: Farewell) {
    let Farewell::Unwelcome(why) = farewell else {
        return;
    };
    let peer = &outbox.peer;
    door.intake.note_of(peer, Note::TurnedAway(why));
    let (code, reason) = match why {
        Unwelcome::Duplicate => {
            let (group, id) = (peer.shown_group(), peer.shown_id());
            let reason = format!("duplicated connection: [{group}] {id},");
            (Code::MaxUserLimitReached, reason)
        }
        Unwelcome::Full => {
            let reason = "max connection reached".to_owned();
            (Code::MaxConnectionLimitReached, reason)
        }
    };
    let answer = Answer {
        status: Status::Error,
        code,
        sent_time: door.intake.now_seconds(),
        reason: &reason,
        guid: None,
        events: &[],
    };
    outbox.put(|out| {
        write_message_with(Encoding::Protobuf, out, |out| {
            encode(Encoding::Protobuf, &answer, out);
        });
    });
}
