//! Which pages of other hosts may ask over HTTP, as browsers want to be told.
//!
//! Always:  a preflight is answered here and goes no further; everything else is served, and an
//!          origin that is not allowed only misses the header that lets its page read the answer.
//!          WebSockets have a check of their own, which this does not loosen.

use super::http::Reply;
use ::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderName, HeaderValue, ORIGIN, VARY,
};
use ::http::{Method, StatusCode};

/// Headers that a browser may always send, beside those that are configured.
const SIMPLE_HEADERS: [&str; 4] = ["accept", "accept-language", "content-language", "origin"];

/// Who may ask for what (`SERVER_CORS_*`).
#[derive(Clone, Debug, Default)]
pub struct Cors {
    /// `None`: every origin (`*`).
    pub origins: Option<Vec<Box<str>>>,
    pub methods: Vec<Method>,
    pub headers: Vec<HeaderName>,
    pub credentials: bool,
    /// How long a browser may remember the answer to a preflight; 0 leaves it to the browser.
    pub max_age_seconds: u32,
}

/// What is to be done with a request.
pub(super) enum Ruling {
    /// It was a preflight, and this is the answer.
    Preflight(Reply),
    /// Serve it, and add these headers to the answer.
    Serve(HeaderMap),
}

impl Cors {
    pub(super) fn judge(&self, method: &Method, headers: &HeaderMap) -> Ruling {
        let is_preflight = method == Method::OPTIONS;
        let origin = headers.get(ORIGIN).filter(|origin| self.allows(origin));
        let Some(origin) = origin else {
            return if is_preflight {
                Ruling::Preflight(empty(StatusCode::OK))
            } else {
                Ruling::Serve(HeaderMap::new())
            };
        };
        if !is_preflight {
            return Ruling::Serve(self.grant(origin));
        }
        let reply = match self.preflight(headers) {
            Err(status) => empty(status),
            Ok(allowed) => {
                let mut reply = empty(StatusCode::OK);
                reply.headers_mut().extend(allowed);
                reply.headers_mut().extend(self.grant(origin));
                reply
            }
        };
        Ruling::Preflight(reply)
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        let listed = |origins: &Vec<Box<str>>| {
            let mut origins = origins.iter();
            origins.any(|allowed| allowed.as_bytes() == origin.as_bytes())
        };
        !origin.is_empty() && self.origins.as_ref().is_none_or(listed)
    }

    /// What lets the page read the answer.
    fn grant(&self, origin: &HeaderValue) -> HeaderMap {
        let mut granted = HeaderMap::new();
        if self.origins.is_some() {
            granted.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            granted.insert(VARY, HeaderValue::from_static("origin"));
        } else {
            let all = HeaderValue::from_static("*");
            granted.insert(ACCESS_CONTROL_ALLOW_ORIGIN, all);
        }
        if self.credentials {
            let yes = HeaderValue::from_static("true");
            granted.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
        }
        granted
    }

    /// The answer to a preflight of an allowed origin, or the status that refuses it.
    fn preflight(&self, headers: &HeaderMap) -> Result<HeaderMap, StatusCode> {
        let method = headers.get(ACCESS_CONTROL_REQUEST_METHOD);
        let method = method.ok_or(StatusCode::BAD_REQUEST)?;
        let is_method = |allowed: &Method| allowed.as_str().as_bytes() == method.as_bytes();
        if !self.methods.iter().any(is_method) {
            return Err(StatusCode::METHOD_NOT_ALLOWED);
        }
        let mut allowed = HeaderMap::new();
        allowed.insert(ACCESS_CONTROL_ALLOW_METHODS, method.clone());
        for wanted in headers.get_all(ACCESS_CONTROL_REQUEST_HEADERS) {
            let names = wanted.as_bytes().split(|byte| *byte == b',');
            if !names.map(<[u8]>::trim_ascii).all(|name| self.knows(name)) {
                return Err(StatusCode::FORBIDDEN);
            }
            allowed.append(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
        }
        if self.max_age_seconds > 0 {
            let age = HeaderValue::from(self.max_age_seconds);
            allowed.insert(ACCESS_CONTROL_MAX_AGE, age);
        }
        Ok(allowed)
    }

    fn knows(&self, header: &[u8]) -> bool {
        let is = |name: &str| header.eq_ignore_ascii_case(name.as_bytes());
        header.is_empty()
            || SIMPLE_HEADERS.into_iter().any(is)
            || self.headers.iter().any(|name| is(name.as_str()))
    }
}

fn empty(status: StatusCode) -> Reply {
    let mut reply = Reply::default();
    *reply.status_mut() = status;
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors(origins: Option<&str>) -> Cors {
        Cors {
            origins: origins.map(|origin| vec![origin.into()]),
            methods: vec![Method::GET, Method::POST],
            headers: vec![HeaderName::from_static("content-type")],
            credentials: true,
            max_age_seconds: 60,
        }
    }

    fn asked(rows: &[(HeaderName, &'static str)]) -> HeaderMap {
        let rows = rows.iter();
        rows.map(|(name, value)| (name.clone(), HeaderValue::from_static(value)))
            .collect()
    }

    fn preflight(cors: &Cors, rows: &[(HeaderName, &'static str)]) -> Reply {
        match cors.judge(&Method::OPTIONS, &asked(rows)) {
            Ruling::Preflight(reply) => reply,
            Ruling::Serve(_) => panic!("OPTIONS is a preflight"),
        }
    }

    #[test]
    fn an_allowed_preflight_is_told_all_it_asked_for() {
        let reply = preflight(
            &cors(Some("http://a")),
            &[
                (ORIGIN, "http://a"),
                (ACCESS_CONTROL_REQUEST_METHOD, "POST"),
                (ACCESS_CONTROL_REQUEST_HEADERS, "Content-Type, accept"),
            ],
        );
        assert_eq!(reply.status(), StatusCode::OK);
        let told = reply.headers();
        assert_eq!(told[ACCESS_CONTROL_ALLOW_ORIGIN], "http://a");
        assert_eq!(told[ACCESS_CONTROL_ALLOW_HEADERS], "Content-Type, accept");
        assert_eq!(told[ACCESS_CONTROL_ALLOW_METHODS], "POST");
        assert_eq!(told[ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
        assert_eq!(told[ACCESS_CONTROL_MAX_AGE], "60");
        assert_eq!(told[VARY], "origin");
    }

    #[test]
    fn a_refused_preflight_has_its_status_and_no_grant() {
        let origin = (ORIGIN, "http://a");
        let post = (ACCESS_CONTROL_REQUEST_METHOD, "POST");
        let put = (ACCESS_CONTROL_REQUEST_METHOD, "PUT");
        let strange = (ACCESS_CONTROL_REQUEST_HEADERS, "content-type, x-strange");
        let foreign = (ORIGIN, "http://b");
        for (rows, status) in [
            (vec![origin.clone(), post.clone(), strange], 403),
            (vec![origin.clone(), put], 405),
            (vec![origin], 400),
            (vec![foreign, post.clone()], 200),
            (vec![post], 200),
        ] {
            let reply = preflight(&cors(Some("http://a")), &rows);
            assert_eq!(reply.status(), status, "{rows:?}");
            assert!(reply.headers().is_empty(), "{rows:?}");
        }
    }

    #[test]
    fn a_foreign_origin_is_served_without_a_grant() {
        let granted = |cors: &Cors, origin| match cors.judge(&Method::POST, &asked(&[origin])) {
            Ruling::Serve(added) => added.get(ACCESS_CONTROL_ALLOW_ORIGIN).cloned(),
            Ruling::Preflight(_) => panic!("POST is no preflight"),
        };
        let (one, all) = (cors(Some("http://a")), cors(None));
        assert_eq!(granted(&one, (ORIGIN, "http://b")), None);
        assert_eq!(granted(&one, (ORIGIN, "http://a")).unwrap(), "http://a");
        assert_eq!(granted(&all, (ORIGIN, "http://b")).unwrap(), "*");
        assert_eq!(granted(&all, (ORIGIN, "")), None);
    }
}
