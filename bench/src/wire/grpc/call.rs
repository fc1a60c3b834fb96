//! One call: what was asked, and what has come of the answer.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use h2::{Reason, RecvStream, client::ResponseFuture};
use http::{HeaderMap, StatusCode};

use crate::wire::ANSWER_BYTES_MAX;

/// The length prefix of a message: whether it is compressed, and how many bytes follow.
pub(super) const PREFIX_BYTES: usize = 5;

/// gRPC's own statuses stand in results as codes from here on, apart from those of answers.
const CODES_FROM: u64 = 100;
const UNKNOWN: u64 = 2;
const INTERNAL: u64 = 13;
const UNAVAILABLE: u64 = 14;

/// The end of a call that is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// gRPC's status and 100.
    pub(crate) code: u64,
    pub(crate) text: String,
}

impl Failure {
    fn new(status: u64, text: &str) -> Self {
        Self {
            code: CODES_FROM + status,
            text: format!("grpc-status {status}: {text}"),
        }
    }
}

enum Stage {
    Asked(ResponseFuture),
    /// What the head said of the status, if anything.
    Answering(RecvStream, Option<Result<(), Failure>>),
}

pub(super) struct Call {
    stage: Stage,
    /// What came of a message that is not whole.
    part: BytesMut,
    /// Messages that came, oldest first.
    pub(super) whole: VecDeque<Bytes>,
}

impl Call {
    pub(super) fn new(response: ResponseFuture) -> Self {
        Self {
            stage: Stage::Asked(response),
            part: BytesMut::new(),
            whole: VecDeque::new(),
        }
    }

    /// Goes on as far as bytes have come. Ready when the call has ended.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        loop {
            match &mut self.stage {
                Stage::Asked(response) => {
                    let answered = ready!(Pin::new(response).poll(context));
                    let (head, body) = answered.map_err(|error| broken(&error))?.into_parts();
                    if head.status != StatusCode::OK {
                        let text = format!("HTTP status {}", head.status);
                        return Poll::Ready(Err(Failure::new(UNKNOWN, &text)));
                    }
                    self.stage = Stage::Answering(body, status_of(&head.headers));
                }
                Stage::Answering(body, said) => {
                    let Some(data) = ready!(body.poll_data(context)) else {
                        let trailers = ready!(body.poll_trailers(context));
                        let trailers = trailers.map_err(|error| broken(&error))?;
                        let last = trailers.and_then(|trailers| status_of(&trailers));
                        let none = || Err(Failure::new(UNKNOWN, "the call ended without a status"));
                        return Poll::Ready(last.or_else(|| said.take()).unwrap_or_else(none));
                    };
                    let data = match data {
                        Ok(data) => data,
                        // A server that has said why need not hear the rest.
                        Err(error) => {
                            let end = said.take().unwrap_or_else(|| Err(broken(&error)));
                            return Poll::Ready(end);
                        }
                    };
                    // A stream that was reset meanwhile gives nothing back.
                    let _gone = body.flow_control().release_capacity(data.len());
                    self.part.extend_from_slice(&data);
                    while let Some(message) = take_message(&mut self.part)? {
                        self.whole.push_back(message);
                    }
                }
            }
        }
    }
}

/// What a stream's own error means; that of a whole connection means the same to each of its calls.
fn broken(error: &h2::Error) -> Failure {
    let refused = error.reason() == Some(Reason::REFUSED_STREAM);
    let status = if refused { UNAVAILABLE } else { INTERNAL };
    Failure::new(status, &error.to_string())
}

/// `None` when the headers say nothing of a status.
fn status_of(headers: &HeaderMap) -> Option<Result<(), Failure>> {
    let text = |name| headers.get(name).map(http::HeaderValue::as_bytes);
    let status = text("grpc-status")?;
    let status = std::str::from_utf8(status).ok()?.parse().unwrap_or(UNKNOWN);
    let message = text("grpc-message").unwrap_or_default().escape_ascii();
    Some(match status {
        0 => Ok(()),
        _ => Err(Failure::new(status, &message.to_string())),
    })
}

/// Takes a whole message off the head of what came.
fn take_message(part: &mut BytesMut) -> Result<Option<Bytes>, Failure> {
    let Some([compressed, length @ ..]) = part.first_chunk::<PREFIX_BYTES>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*length) as usize;
    if *compressed != 0 || ANSWER_BYTES_MAX < length {
        let text = format!("an answer of {length} bytes, or a compressed one");
        return Err(Failure::new(INTERNAL, &text));
    }
    if part.len() < PREFIX_BYTES + length {
        return Ok(None);
    }
    part.advance(PREFIX_BYTES);
    Ok(Some(part.split_to(length).freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_taken_when_they_are_whole_and_a_length_is_only_a_claim() {
        let bytes = [0, 0, 0, 0, 2, b'a', b'b', 0, 0, 0, 0, 0];
        for end in 0..7 {
            let mut part = BytesMut::from(&bytes[..end]);
            assert_eq!(take_message(&mut part), Ok(None));
        }
        let mut part = BytesMut::from(&bytes[..]);
        assert_eq!(take_message(&mut part), Ok(Some(Bytes::from_static(b"ab"))));
        assert_eq!(take_message(&mut part), Ok(Some(Bytes::new())));
        assert_eq!(take_message(&mut part), Ok(None));
        let mut long = BytesMut::from(&[0, 0xff, 0xff, 0xff, 0xff][..]);
        assert!(take_message(&mut long).is_err());
        let mut compressed = BytesMut::from(&[1, 0, 0, 0, 0][..]);
        assert!(take_message(&mut compressed).is_err());
    }

    #[test]
    fn a_status_is_read_where_it_stands() {
        let mut headers = HeaderMap::new();
        assert_eq!(status_of(&headers), None);
        headers.insert("grpc-status", "0".parse().unwrap());
        assert_eq!(status_of(&headers), Some(Ok(())));
        headers.insert("grpc-status", "8".parse().unwrap());
        headers.insert("grpc-message", "too much".parse().unwrap());
        let failure = status_of(&headers).unwrap().unwrap_err();
        assert_eq!(failure.code, 108);
        assert_eq!(failure.text, "grpc-status 8: too much");
    }
}
