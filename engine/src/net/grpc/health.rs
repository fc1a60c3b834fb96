//! `grpc.health.v1`: whether an event sent now would be acknowledged.
//!
//! Cancel:  a watcher that goes away is forgotten with its stream.
//! Full:    watchers are streams, and streams of a connection are bounded.

use super::super::Intake;
use super::super::door::Door;
use super::message::framed;
use super::reply::last;
use super::status::{Code, Status};
use crate::limit::HEALTH_LOOK;
use crate::rt::timer::timeout;
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use hyper::body::Frame;
use ringtail_proto::Message;
use ringtail_proto::health::health_check_response::ServingStatus;
use ringtail_proto::health::{HealthCheckRequest, HealthCheckResponse};
use std::rc::Rc;

/// Whose health can be asked for; empty is the whole server.
const SERVICES: [&str; 2] = ["", super::EVENT_SERVICE];

/// The answer to `Check`.
pub(super) fn check<I: Intake>(door: &Door<I>, message: &[u8]) -> Result<Vec<u8>, Status> {
    if is_known(message)? {
        Ok(encoded(state(door)))
    } else {
        Err(Status::new(Code::NotFound, "unknown service"))
    }
}

/// The answers to `Watch`: the state now, and every other state that was seen later.
pub(super) fn watch<I: Intake>(
    door: Rc<Door<I>>,
    message: &[u8],
) -> Result<impl Stream<Item = Frame<Bytes>> + use<I>, Status> {
    let is_known = is_known(message)?;
    let watcher = Watcher {
        door,
        is_known,
        told: None,
        ended: false,
    };
    Ok(stream::unfold(watcher, |mut watcher| async move {
        let frame = watcher.next().await?;
        Some((frame, watcher))
    }))
}

struct Watcher<I> {
    door: Rc<Door<I>>,
    is_known: bool,
    told: Option<ServingStatus>,
    ended: bool,
}

impl<I: Intake> Watcher<I> {
    async fn next(&mut self) -> Option<Frame<Bytes>> {
        if self.ended {
            return None;
        }
        loop {
            let draining = self.door.lines.draining();
            let now = if self.is_known {
                state(&self.door)
            } else {
                ServingStatus::ServiceUnknown
            };
            if self.told != Some(now) {
                self.told = Some(now);
                return Some(Frame::data(framed(&encoded(now))));
            }
            if draining {
                self.ended = true;
                return Some(last(Err(Status::new(
                    Code::Unavailable,
                    "the server is stopping",
                ))));
            }
            let _looked_again = timeout(HEALTH_LOOK, self.door.lines.told_to_drain()).await;
        }
    }
}

fn is_known(message: &[u8]) -> Result<bool, Status> {
    match HealthCheckRequest::decode(message) {
        Ok(request) => Ok(SERVICES.contains(&request.service.as_str())),
        Err(error) => Err(Status::new(Code::Internal, error.to_string())),
    }
}

fn state<I: Intake>(door: &Door<I>) -> ServingStatus {
    if door.lines.draining() || !door.intake.is_ready() {
        ServingStatus::NotServing
    } else {
        ServingStatus::Serving
    }
}

fn encoded(status: ServingStatus) -> Vec<u8> {
    let status = status.into();
    HealthCheckResponse { status }.encode_to_vec()
}
