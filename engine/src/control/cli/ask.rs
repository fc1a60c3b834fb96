//! One question to a running engine's admin port.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// Far more than any answer to these commands takes.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// A question that got no answer, or another than was wanted.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("cannot ask {admin}: {source} (is the engine running, and is this its admin port?)")]
    Ask { admin: String, source: io::Error },
    #[error("{admin} answered {status}: {body}")]
    Refused {
        admin: String,
        status: String,
        body: String,
    },
    #[error("{admin} answered what was not asked for: {source}")]
    Answer {
        admin: String,
        source: serde_json::Error,
    },
}

/// The body of the answer to one request, whose status is one of these; it may take so long. One question needs no
/// client of its own.
pub(super) fn ask(
    admin: &str,
    (method, path, body): (&str, &str, &str),
    statuses: &[&str],
    wait: Duration,
) -> Result<String, Error> {
    let answer = exchange(admin, (method, path, body), wait);
    let (status, body) = answer.map_err(|source| Error::Ask {
        admin: admin.to_owned(),
        source,
    })?;
    if statuses.contains(&&*status) {
        return Ok(body);
    }
    Err(Error::Refused {
        admin: admin.to_owned(),
        status,
        body: body.trim().to_owned(),
    })
}

fn exchange(
    address: &str,
    (method, path, body): (&str, &str, &str),
    wait: Duration,
) -> io::Result<(String, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(wait))?;
    stream.set_write_timeout(Some(wait))?;
    let bytes = body.len();
    let request = format!(
        "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: {bytes}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes())?;
    let mut text = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut text)?;
    let broken = || io::Error::from(io::ErrorKind::InvalidData);
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(broken)?;
    let status = head.split(' ').nth(1).ok_or_else(broken)?;
    Ok((status.to_owned(), body.to_owned()))
}
