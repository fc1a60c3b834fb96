//! Answers: one message, several over time, or only a status.

use super::message::{ACCEPTED, framed};
use super::status::{self, Status};
use ::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use ::http::{HeaderMap, Response, StatusCode};
use bytes::Bytes;
use futures_util::Stream;
use hyper::body::{Body, Frame};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

pub(super) type Reply = Response<Parts>;

/// The body of an answer.
pub(super) enum Parts {
    /// Everything was said in the headers.
    Nothing,
    /// A message, then the trailers of success.
    Message(Bytes),
    Trailers(HeaderMap),
    /// Messages over time; trailers come last.
    Stream(Pin<Box<dyn Stream<Item = Frame<Bytes>>>>),
}

impl Body for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Self::Stream(stream) = &mut *self {
            return stream.as_mut().poll_next(context).map(|next| next.map(Ok));
        }
        let (now, rest) = match std::mem::replace(&mut *self, Self::Nothing) {
            Self::Message(message) => (Some(Frame::data(message)), Self::Trailers(status::fine())),
            Self::Trailers(trailers) => (Some(Frame::trailers(trailers)), Self::Nothing),
            nothing => (None, nothing),
        };
        *self = rest;
        Poll::Ready(now.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Nothing)
    }
}

/// The answer to a unary call.
pub(super) fn unary(outcome: Result<Vec<u8>, Status>) -> Reply {
    match outcome {
        Ok(message) => with(Parts::Message(framed(&message))),
        Err(status) => failed(&status),
    }
}

/// The answer to a call that fails before it has said anything.
pub(super) fn failed(status: &Status) -> Reply {
    let mut reply = with(Parts::Nothing);
    status.write(reply.headers_mut());
    reply
}

/// The answer to a call that says several things.
pub(super) fn streaming(stream: impl Stream<Item = Frame<Bytes>> + 'static) -> Reply {
    with(Parts::Stream(Box::pin(stream)))
}

/// The answer to what is not gRPC at all.
pub(super) fn refused(status: StatusCode) -> Reply {
    let mut reply = Response::new(Parts::Nothing);
    *reply.status_mut() = status;
    reply
}

/// The last frame of a stream.
pub(super) fn last(outcome: Result<(), Status>) -> Frame<Bytes> {
    let mut trailers = HeaderMap::new();
    match outcome {
        Ok(()) => trailers = status::fine(),
        Err(status) => status.write(&mut trailers),
    }
    Frame::trailers(trailers)
}

fn with(parts: Parts) -> Reply {
    let mut reply = Response::new(parts);
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, GRPC);
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(ACCEPTED));
    reply
}
