//! From an HTTP request to a WebSocket, and from its first byte to its last.
//!
//! Core:    one shard.
//! Cancel:  see `session`.
//! Full:    see `session`.

use super::door::Door;
use super::http::{Desk, Reply, peer_of, text};
use super::lines::Line;
use super::outbox::{Outbox, Peer};
use super::session::Session;
use super::{Intake, Note};
use crate::frame::websocket::{accept_deflate, accept_upgrade, origin_is_allowed};
use crate::rt::stream::Stream;
use ::http::header::{CONNECTION, HeaderValue, UPGRADE};
use ::http::header::{SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS};
use ::http::{Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::Full;
use std::rc::Rc;

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

/// Serves a WebSocket to its end and gives back the socket to be let go. `deflate` says that compression
/// was agreed.
pub(super) async fn serve<I: Intake>(
    door: &Door<I>,
    line: &Line,
    stream: Stream,
    received: Bytes,
    (peer, deflate): (Peer, bool),
) -> Stream {
    let opened = door.intake.now();
    door.intake.note_of(&peer, Note::Connected);
    door.intake.note(Note::BytesReceived(received.len() as u64));
    let outbox = Rc::new(Outbox::new(peer));
    let first = (&received[..], deflate);
    let session = Session::new(door, line, stream, Rc::clone(&outbox), first);
    // A slice of hyper's buffer would keep all of it.
    drop(received);
    let stream = session.live().await;
    let lived_us = door.intake.now().since(opened);
    let ended = Note::Disconnected { lived_us };
    door.intake.note_of(&outbox.peer, ended);
    stream
}
