//! A REST request's body: collected, then inflated when it came compressed.
//!
//! Cancel:  what was received of a dropped body is dropped with it.
//! Full:    a body over the message limit is refused, as it comes and as it inflates; memory grows
//!          with what has come, and a slow body has a time limit.

use super::door::Held;
use super::inflate::{self, Coding, inflate};
use crate::rt::timer::timeout;
use ::http::HeaderMap;
use ::http::header::CONTENT_ENCODING;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use std::time::Duration;

/// The codings that a body may have, as a header lists them.
pub(super) const ACCEPTED: &str = "gzip, deflate, zstd";

/// Why a body was not had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    TooLarge,
    Broken,
    Late,
    UnknownCoding,
    /// The shard holds as much of other bodies as it may.
    NoRoom,
}

impl From<inflate::Trouble> for Trouble {
    fn from(trouble: inflate::Trouble) -> Self {
        match trouble {
            inflate::Trouble::TooLarge => Self::TooLarge,
            inflate::Trouble::Broken => Self::Broken,
        }
    }
}

/// The whole body, at most `bytes_max` bytes, in at most that time.
pub(super) async fn whole(
    headers: &HeaderMap,
    body: Incoming,
    (bytes_max, wait): (usize, Duration),
    held: &mut Held<'_>,
) -> Result<Bytes, Trouble> {
    let coding = coding_of(headers)?;
    let received = timeout(wait, collect(body, bytes_max, held)).await;
    let received = received.unwrap_or(Err(Trouble::Late))?;
    match coding {
        None => Ok(received),
        Some(coding) => {
            let whole = inflate(coding, &received, bytes_max)?;
            if held.grow(whole.len()) {
                Ok(whole.into())
            } else {
                Err(Trouble::NoRoom)
            }
        }
    }
}

/// How the body is compressed. One coding at most: several would only hide how large it gets.
fn coding_of(headers: &HeaderMap) -> Result<Option<Coding>, Trouble> {
    let mut values = headers.get_all(CONTENT_ENCODING).iter();
    let first = values.next().map(|value| value.as_bytes().trim_ascii());
    if values.next().is_some() {
        return Err(Trouble::UnknownCoding);
    }
    match first.map(<[u8]>::to_ascii_lowercase).as_deref() {
        None | Some(b"" | b"identity") => Ok(None),
        Some(b"gzip" | b"x-gzip") => Ok(Some(Coding::Gzip)),
        Some(b"deflate") => Ok(Some(Coding::Deflate)),
        Some(b"zstd") => Ok(Some(Coding::Zstd)),
        Some(_) => Err(Trouble::UnknownCoding),
    }
}

/// The body as it came. Its length is only a claim.
async fn collect(
    mut body: Incoming,
    bytes_max: usize,
    held: &mut Held<'_>,
) -> Result<Bytes, Trouble> {
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(Trouble::TooLarge);
    }
    let mut whole = Bytes::new();
    let mut joined = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Trouble::Broken)?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if whole.len() + joined.len() + data.len() > bytes_max {
            return Err(Trouble::TooLarge);
        }
        if !held.grow(data.len()) {
            return Err(Trouble::NoRoom);
        }
        // Most bodies come in one piece, which is not copied.
        if whole.is_empty() && joined.is_empty() {
            whole = data;
            continue;
        }
        if joined.is_empty() {
            joined.extend_from_slice(&std::mem::take(&mut whole));
        }
        joined.extend_from_slice(&data);
    }
    if joined.is_empty() {
        return Ok(whole);
    }
    Ok(joined.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::http::HeaderValue;

    #[test]
    fn one_known_coding_is_taken_in_any_case() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, HeaderValue::from_static(value));
            }
            coding_of(&headers)
        };
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&["identity"]), Ok(None));
        assert_eq!(of(&["GZip"]), Ok(Some(Coding::Gzip)));
        assert_eq!(of(&[" zstd "]), Ok(Some(Coding::Zstd)));
        for values in [&["br"][..], &["gzip, gzip"], &["gzip", "gzip"]] {
            assert_eq!(of(values), Err(Trouble::UnknownCoding), "{values:?}");
        }
    }
}
