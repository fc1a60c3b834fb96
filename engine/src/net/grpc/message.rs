//! gRPC's messages in a request's body, and in an answer.
//!
//! Layout:  one byte that is 1 when the message is compressed, its length in four bytes (big-endian),
//!          the message; any number of them.
//! Cancel:  a dropped [`Messages::next`] loses nothing; call it again.
//! Full:    a message over the limit, as it comes or inflated, ends the call; memory grows with what
//!          has come and not with what the prefix claims.

use super::super::inflate::{Coding, Trouble, inflate};
use super::status::{Code, Status};
use ::http::{HeaderMap, HeaderValue};
use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;

const PREFIX_BYTES: usize = 5;
/// What `grpc-accept-encoding` says.
pub(super) const ACCEPTED: &str = "identity,gzip,deflate";

/// The messages of one request.
pub(super) struct Messages {
    body: Incoming,
    received: BytesMut,
    bytes_max: usize,
    packed: Packed,
}

/// How compressed messages of a request are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packed {
    Not,
    As(Coding),
    Unknown,
}

impl Messages {
    pub(super) fn new(headers: &HeaderMap, body: Incoming, bytes_max: usize) -> Self {
        let packed = headers.get("grpc-encoding");
        let packed = match packed.map(HeaderValue::as_bytes) {
            None | Some(b"identity") => Packed::Not,
            Some(b"gzip") => Packed::As(Coding::Gzip),
            Some(b"deflate") => Packed::As(Coding::Deflate),
            Some(_) => Packed::Unknown,
        };
        Self {
            body,
            received: BytesMut::new(),
            bytes_max,
            packed,
        }
    }

    /// The one message of a unary call.
    pub(super) async fn only(mut self) -> Result<Bytes, Status> {
        let broken = |text| Status::new(Code::Internal, text);
        let first = self.next().await?;
        let first = first.ok_or_else(|| broken("the request has no message"))?;
        match self.next().await? {
            None => Ok(first),
            Some(_) => Err(broken("the request has more than one message")),
        }
    }

    /// The next message, inflated; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some((is_packed, message)) = self.cut_off()? {
                return self.plain(is_packed, message).map(Some);
            }
            let Some(frame) = self.body.frame().await else {
                if self.received.is_empty() {
                    return Ok(None);
                }
                return Err(Status::new(Code::Internal, "the last message is cut short"));
            };
            let frame = frame.map_err(|_| Status::new(Code::Internal, "the body is broken"))?;
            if let Ok(data) = frame.into_data() {
                self.received.extend_from_slice(&data);
            }
        }
    }

    /// The first message in what was received, if it is whole.
    fn cut_off(&mut self) -> Result<Option<(bool, Bytes)>, Status> {
        let Some((prefix, _)) = self.received.split_first_chunk::<PREFIX_BYTES>() else {
            return Ok(None);
        };
        let [flag, a, b, c, d] = *prefix;
        if 1 < flag {
            let text = format!("the prefix of a message starts with {flag}, not with 0 or 1");
            return Err(Status::new(Code::Internal, text));
        }
        let bytes = u32::from_be_bytes([a, b, c, d]) as usize;
        if self.bytes_max < bytes {
            return Err(self.too_large(&bytes.to_string()));
        }
        if self.received.len() < PREFIX_BYTES + bytes {
            return Ok(None);
        }
        self.received.advance(PREFIX_BYTES);
        Ok(Some((flag == 1, self.received.split_to(bytes).freeze())))
    }

    fn plain(&self, is_packed: bool, message: Bytes) -> Result<Bytes, Status> {
        if !is_packed {
            return Ok(message);
        }
        let coding = match self.packed {
            Packed::As(coding) => coding,
            Packed::Not => {
                let text = "a message is compressed, and grpc-encoding does not say how";
                return Err(Status::new(Code::Internal, text));
            }
            Packed::Unknown => {
                let text = format!("this compression is not known; known are {ACCEPTED}");
                return Err(Status::new(Code::Unimplemented, text));
            }
        };
        match inflate(coding, &message, self.bytes_max) {
            Ok(plain) => Ok(plain.into()),
            Err(Trouble::TooLarge) => Err(self.too_large("more when inflated")),
            Err(Trouble::Broken) => {
                Err(Status::new(Code::Internal, "the message does not inflate"))
            }
        }
    }

    /// In the words of gRPC's own servers, which people search for.
    fn too_large(&self, found: &str) -> Status {
        let text = format!(
            "grpc: received message larger than max ({found} vs. {})",
            self.bytes_max
        );
        Status::new(Code::ResourceExhausted, text)
    }
}

/// A message with its prefix, never compressed.
pub(super) fn framed(message: &[u8]) -> Bytes {
    let bytes = u32::try_from(message.len()).expect("answers are far below 4 GiB");
    let mut out = Vec::with_capacity(PREFIX_BYTES + message.len());
    out.push(0);
    out.extend_from_slice(&bytes.to_be_bytes());
    out.extend_from_slice(message);
    out.into()
}
