//! gRPC's messages in a request's body, and in an answer.
//!
//! Layout:  one byte that is 1 when the message is compressed, its length in four bytes (big-endian),
//!          the message; any number of them.
//! Cancel:  a dropped [`Messages::next`] loses nothing; call it again.
//! Full:    a message over the limit, as it comes or inflated, ends the call; memory grows with what
//!          has come and not with what the prefix claims.

use super::super::door::Held;
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
    cutter: Cutter,
}

impl Messages {
    pub(super) fn new(headers: &HeaderMap, body: Incoming, bytes_max: usize) -> Self {
        let cutter = Cutter::new(headers, bytes_max);
        Self { body, cutter }
    }

    /// The one message of a unary call.
    pub(super) async fn only(mut self, held: &mut Held<'_>) -> Result<Bytes, Status> {
        let broken = |text| Status::new(Code::Internal, text);
        let first = self.next(held).await?;
        let first = first.ok_or_else(|| broken("the request has no message"))?;
        match self.next(held).await? {
            None => Ok(first),
            Some(_) => Err(broken("the request has more than one message")),
        }
    }

    /// The beginning of a message has come, and not its end.
    pub(super) fn holds_part(&self) -> bool {
        !self.cutter.received.is_empty()
    }

    /// The next message, inflated; `None` at the end.
    pub(super) async fn next(&mut self, held: &mut Held<'_>) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some(message) = self.cutter.next()? {
                // What came was counted as it came.
                if self.cutter.inflated && !held.grow(message.len()) {
                    return Err(no_room());
                }
                return Ok(Some(message));
            }
            let Some(frame) = self.body.frame().await else {
                if self.cutter.received.is_empty() {
                    return Ok(None);
                }
                return Err(Status::new(Code::Internal, "the last message is cut short"));
            };
            let frame = frame.map_err(|_| Status::new(Code::Internal, "the body is broken"))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if !held.grow(data.len()) {
                return Err(no_room());
            }
            self.cutter.received.extend_from_slice(&data);
        }
    }
}

fn no_room() -> Status {
    let text = "the server holds too many unfinished requests; try again";
    Status::new(Code::Unavailable, text)
}

/// Finds whole messages in what was received.
struct Cutter {
    received: BytesMut,
    bytes_max: usize,
    packed: Packed,
    /// The last message came compressed.
    inflated: bool,
}

/// How compressed messages of a request are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packed {
    Not,
    As(Coding),
    Unknown,
}

impl Cutter {
    fn new(headers: &HeaderMap, bytes_max: usize) -> Self {
        let packed = headers.get("grpc-encoding");
        let packed = match packed.map(HeaderValue::as_bytes) {
            None | Some(b"identity") => Packed::Not,
            Some(b"gzip") => Packed::As(Coding::Gzip),
            Some(b"deflate") => Packed::As(Coding::Deflate),
            Some(_) => Packed::Unknown,
        };
        Self {
            received: BytesMut::new(),
            bytes_max,
            packed,
            inflated: false,
        }
    }

    /// The first message in what was received, if it is whole.
    fn next(&mut self) -> Result<Option<Bytes>, Status> {
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
        let message = self.received.split_to(bytes).freeze();
        self.inflated = flag == 1;
        self.plain(message).map(Some)
    }

    fn plain(&self, message: Bytes) -> Result<Bytes, Status> {
        if !self.inflated {
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

#[cfg(test)]
mod tests {
    use super::super::super::inflate::tests::deflate;
    use super::*;

    const BYTES_MAX: usize = 64;

    fn cutter(encoding: Option<&'static str>) -> Cutter {
        let mut headers = HeaderMap::new();
        if let Some(encoding) = encoding {
            headers.insert("grpc-encoding", HeaderValue::from_static(encoding));
        }
        Cutter::new(&headers, BYTES_MAX)
    }

    fn packed(message: &[u8]) -> Vec<u8> {
        let mut out = framed(&deflate(Coding::Gzip, message)).to_vec();
        out[0] = 1;
        out
    }

    #[test]
    fn messages_are_found_however_they_are_cut_up() {
        let mut stream = framed(b"first").to_vec();
        stream.extend(framed(b""));
        stream.extend(packed(b"third"));
        for step in 1..=stream.len() {
            let mut cutter = cutter(Some("gzip"));
            let mut found = Vec::new();
            for piece in stream.chunks(step) {
                cutter.received.extend_from_slice(piece);
                while let Some(message) = cutter.next().unwrap() {
                    found.push(message);
                }
            }
            assert_eq!(found, [&b"first"[..], b"", b"third"], "in steps of {step}");
            assert!(cutter.received.is_empty());
        }
    }

    #[test]
    fn a_message_over_the_limit_is_refused_by_its_prefix_alone() {
        let refused = |cutter: &mut Cutter, bytes: &[u8]| {
            cutter.received.extend_from_slice(bytes);
            cutter.next().unwrap_err().code
        };
        let large = [0, 0, 0, 0, BYTES_MAX as u8 + 1];
        assert_eq!(refused(&mut cutter(None), &large), Code::ResourceExhausted);
        let bomb = packed(&[0; BYTES_MAX + 1]);
        let inflated = refused(&mut cutter(Some("gzip")), &bomb);
        assert_eq!(inflated, Code::ResourceExhausted);
        assert_eq!(refused(&mut cutter(None), &packed(b"x")), Code::Internal);
        let strange = refused(&mut cutter(Some("snappy")), &packed(b"x"));
        assert_eq!(strange, Code::Unimplemented);
        assert_eq!(refused(&mut cutter(None), &[2, 0, 0, 0, 0]), Code::Internal);
    }

    #[test]
    fn kept_inputs_are_cut_the_same_in_any_pieces() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/grpc");
        let cut = |bytes: &[u8], piece: usize, encoding| {
            let (mut cutter, mut found) = (cutter(encoding), Vec::new());
            for part in bytes.chunks(piece) {
                cutter.received.extend_from_slice(part);
                loop {
                    match cutter.next() {
                        Ok(Some(message)) => found.push(message),
                        Ok(None) => break,
                        Err(status) => return (found, Some(status.code)),
                    }
                }
            }
            (found, None)
        };
        let mut files = 0;
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            for encoding in [None, Some("gzip"), Some("deflate")] {
                let whole = cut(&bytes, bytes.len(), encoding);
                assert_eq!(whole, cut(&bytes, 1, encoding), "{}", path.display());
                assert!(whole.0.iter().all(|message| message.len() <= BYTES_MAX));
            }
            files += 1;
        }
        assert!(files > 5, "the corpus was not found");
    }

    /// For long: `cargo bolero test -p ringtail
    /// net::grpc::message::tests::any_bytes_are_cut_within_the_limit`.
    #[test]
    fn any_bytes_are_cut_within_the_limit() {
        bolero::check!()
            .with_type::<(bool, Vec<u8>)>()
            .with_iterations(5_000)
            .for_each(|(compressed, bytes)| {
                let mut cutter = cutter(compressed.then_some("gzip"));
                cutter.received.extend_from_slice(bytes);
                while let Ok(Some(message)) = cutter.next() {
                    assert!(message.len() <= BYTES_MAX);
                }
            });
    }
}
