//! May this HTTP request become a WebSocket?

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONNECTION, HOST, HeaderName, ORIGIN, SEC_WEBSOCKET_KEY};
use http::header::{SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, Method, StatusCode, Version};

/// Why a request does not become a WebSocket. The text is for the answer's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpgradeRefusal {
    /// Answer 405.
    #[error("a WebSocket opens with GET")]
    Method,
    /// Answer 426.
    #[error("a WebSocket opens with HTTP/1.1")]
    HttpVersion,
    /// Answer 426.
    #[error("a WebSocket opens here: `Connection: Upgrade` and `Upgrade: websocket` are wanted")]
    NotAnUpgrade,
    /// Answer 426 and say which version there is.
    #[error("`Sec-WebSocket-Version: 13` is wanted")]
    WebSocketVersion,
    /// Answer 400.
    #[error("`Sec-WebSocket-Key` must be the base64 form of 16 bytes, once")]
    Key,
}

impl UpgradeRefusal {
    pub fn status(self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::HttpVersion | Self::NotAnUpgrade | Self::WebSocketVersion => {
                StatusCode::UPGRADE_REQUIRED
            }
            Self::Key => StatusCode::BAD_REQUEST,
        }
    }

    /// The headers that the answer must bear.
    pub fn headers(self) -> &'static [(HeaderName, &'static str)] {
        match self {
            Self::Method => &[(http::header::ALLOW, "GET")],
            Self::HttpVersion | Self::NotAnUpgrade => {
                &[(CONNECTION, "Upgrade"), (UPGRADE, "websocket")]
            }
            Self::WebSocketVersion => &[
                (CONNECTION, "Upgrade"),
                (UPGRADE, "websocket"),
                (SEC_WEBSOCKET_VERSION, "13"),
            ],
            Self::Key => &[],
        }
    }
}

/// Answers with the value of `Sec-WebSocket-Accept`, or why not. Subprotocols that the client offers
/// are passed over: the answer names none. For extensions see [`super::accept_deflate`].
pub fn accept_upgrade(
    method: &Method,
    version: Version,
    headers: &HeaderMap,
) -> Result<String, UpgradeRefusal> {
    if method != Method::GET {
        return Err(UpgradeRefusal::Method);
    }
    if version != Version::HTTP_11 {
        return Err(UpgradeRefusal::HttpVersion);
    }
    if !(names(headers, &CONNECTION, "upgrade") && names(headers, &UPGRADE, "websocket")) {
        return Err(UpgradeRefusal::NotAnUpgrade);
    }
    if only(headers, &SEC_WEBSOCKET_VERSION) != Some(b"13") {
        return Err(UpgradeRefusal::WebSocketVersion);
    }
    let key = only(headers, &SEC_WEBSOCKET_KEY).ok_or(UpgradeRefusal::Key)?;
    if key.len() != 24 || STANDARD.decode(key).map(|key| key.len()) != Ok(16) {
        return Err(UpgradeRefusal::Key);
    }
    Ok(tungstenite::handshake::derive_accept_key(key))
}

/// Whether a browser's page may connect: its `Origin` is the host that the request names. What is not
/// a browser sends no `Origin` and may.
pub fn origin_is_allowed(headers: &HeaderMap) -> bool {
    if !headers.contains_key(ORIGIN) {
        return true;
    }
    let (Some(origin), Some(host)) = (only(headers, &ORIGIN), only(headers, &HOST)) else {
        return false;
    };
    let scheme_end = origin.windows(3).position(|letters| letters == b"://");
    scheme_end.is_some_and(|end| origin[end + 3..].eq_ignore_ascii_case(host))
}

/// The header's value, when there is exactly one.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values
        .next()
        .is_none()
        .then(|| value.as_bytes().trim_ascii())
}

/// Whether a header that is a list has `token` in it, in any case.
fn names(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers.get_all(name).iter().any(|value| {
        let mut tokens = value.as_bytes().split(|byte| *byte == b',');
        tokens.any(|each| each.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// The request of RFC 6455, 1.2.
    fn example() -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (HOST, "server.example.com"),
            (UPGRADE, "websocket"),
            (CONNECTION, "keep-alive, Upgrade"),
            (SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
            (ORIGIN, "http://example.com"),
            (SEC_WEBSOCKET_VERSION, "13"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers
    }

    fn accept(headers: &HeaderMap) -> Result<String, UpgradeRefusal> {
        accept_upgrade(&Method::GET, Version::HTTP_11, headers)
    }

    #[test]
    fn the_rfcs_example_is_accepted_with_the_rfcs_key() {
        let accepted = accept(&example());
        assert_eq!(accepted.as_deref(), Ok("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    }

    #[test]
    fn only_get_and_http_1_1_open_a_websocket() {
        let headers = example();
        let posted = accept_upgrade(&Method::POST, Version::HTTP_11, &headers);
        assert_eq!(posted, Err(UpgradeRefusal::Method));
        for version in [Version::HTTP_10, Version::HTTP_2] {
            let refused = accept_upgrade(&Method::GET, version, &headers);
            assert_eq!(refused, Err(UpgradeRefusal::HttpVersion));
        }
    }

    #[test]
    fn each_missing_header_has_its_refusal() {
        for (name, refusal) in [
            (UPGRADE, UpgradeRefusal::NotAnUpgrade),
            (CONNECTION, UpgradeRefusal::NotAnUpgrade),
            (SEC_WEBSOCKET_VERSION, UpgradeRefusal::WebSocketVersion),
            (SEC_WEBSOCKET_KEY, UpgradeRefusal::Key),
        ] {
            let mut headers = example();
            headers.remove(&name);
            assert_eq!(accept(&headers), Err(refusal));
        }
    }

    #[test]
    fn another_version_is_told_which_there_is() {
        let mut headers = example();
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("8"));
        let refusal = accept(&headers).unwrap_err();
        assert_eq!(refusal.status(), 426);
        assert!(refusal.headers().contains(&(SEC_WEBSOCKET_VERSION, "13")));
    }

    #[test]
    fn a_bad_key_is_refused() {
        for key in [
            "",
            "short",
            "dGhlIHNhbXBsZSBub25jZQ",
            "dGhlIHNhbXBsZSBub25jZTEyMzQ1",
        ] {
            let mut headers = example();
            headers.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_static(key));
            assert_eq!(accept(&headers), Err(UpgradeRefusal::Key), "{key}");
        }
        let mut headers = example();
        let again = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
        headers.append(SEC_WEBSOCKET_KEY, again);
        assert_eq!(accept(&headers), Err(UpgradeRefusal::Key));
    }

    #[test]
    fn an_origin_must_be_the_host_itself() {
        let mut headers = example();
        assert!(!origin_is_allowed(&headers));
        headers.insert(HOST, HeaderValue::from_static("Example.com"));
        assert!(origin_is_allowed(&headers));
        headers.insert(ORIGIN, HeaderValue::from_static("http://example.com:81"));
        assert!(!origin_is_allowed(&headers));
        headers.insert(ORIGIN, HeaderValue::from_static("null"));
        assert!(!origin_is_allowed(&headers));
        headers.remove(ORIGIN);
        assert!(origin_is_allowed(&headers));
    }

    /// For long: `cargo bolero test -p ringtail
    /// frame::websocket::upgrade::tests::any_headers_are_answered_without_a_panic`.
    #[test]
    fn any_headers_are_answered_without_a_panic() {
        bolero::check!()
            .with_type::<(u8, Vec<u8>)>()
            .with_iterations(5_000)
            .for_each(|(which, value)| {
                let mut headers = example();
                let names = [
                    UPGRADE,
                    CONNECTION,
                    SEC_WEBSOCKET_VERSION,
                    SEC_WEBSOCKET_KEY,
                    ORIGIN,
                ];
                let name = &names[usize::from(*which) % names.len()];
                let Ok(value) = HeaderValue::from_bytes(value) else {
                    return;
                };
                headers.insert(name, value);
                origin_is_allowed(&headers);
                if let Ok(key) = accept(&headers) {
                    assert_eq!(key.len(), 28);
                }
            });
    }
}
