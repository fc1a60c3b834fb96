//! gRPC's status codes, and how they, deadlines and texts are written in headers.

use ::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use std::fmt::Write;
use std::time::Duration;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Longest text of a status, in bytes before it is escaped.
const MESSAGE_BYTES_MAX: usize = 512;
/// A deadline that is further away is as good as none.
const DEADLINE_MAX: Duration = Duration::from_secs(86_400);

/// Why a call failed, by gRPC's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
}

/// The end of a call that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) code: Code,
    pub(super) message: String,
}

impl Status {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { code, message }
    }

    /// As trailers, or as the headers of an answer that has nothing else.
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        headers.insert(GRPC_STATUS, HeaderValue::from(self.code as u16));
        if let Ok(message) = HeaderValue::try_from(escape(&self.message)) {
            headers.insert(GRPC_MESSAGE, message);
        }
    }
}

/// The trailers of a call that went well.
pub(super) fn fine() -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
    trailers
}

/// Whether an answer that has only a head says that the call failed.
pub(super) fn is_failure<B>(reply: &Response<B>) -> bool {
    reply.headers().contains_key(GRPC_STATUS) || reply.status() != StatusCode::OK
}

/// How long the client will wait; `None` when it does not say, or says nonsense.
pub(super) fn deadline(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(GRPC_TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || 8 < digits.len() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    let time = match unit {
        "H" => Duration::from_secs(count * 3_600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    };
    Some(time.min(DEADLINE_MAX))
}

/// Percent-encodes what a header may not hold, and `%` itself.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in crate::limit::cut(text, MESSAGE_BYTES_MAX).bytes() {
        if (b' '..=b'~').contains(&byte) && byte != b'%' {
            out.push(char::from(byte));
        } else {
            let _never_fails = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_and_bounded() {
        assert_eq!(escape("100% \u{e4}\n"), "100%25 %C3%A4%0A");
        assert_eq!(
            escape(&"\u{e4}".repeat(10_000)).len(),
            3 * MESSAGE_BYTES_MAX
        );
    }

    #[test]
    fn deadlines_are_read_in_every_unit() {
        let read = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(GRPC_TIMEOUT, HeaderValue::from_static(text));
            deadline(&headers)
        };
        assert_eq!(read("2S"), Some(Duration::from_secs(2)));
        assert_eq!(read("250m"), Some(Duration::from_millis(250)));
        assert_eq!(read("1n"), Some(Duration::from_nanos(1)));
        assert_eq!(read("3M"), Some(Duration::from_secs(180)));
        assert_eq!(read("99999999H"), Some(DEADLINE_MAX));
        for text in ["", "S", "5", "-1S", "123456789S", "1s", "1.5S"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(deadline(&HeaderMap::new()), None);
    }
}
