//! One GET on a connection of its own, for what is asked rarely: admin ports.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};

use super::rest::find_head_end;

const WAIT: Duration = Duration::from_secs(30);
/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

/// Asks `authority` (host:port) for a page: the status and the body.
pub(crate) fn get(authority: &str, path: &str) -> io::Result<(u16, Vec<u8>)> {
    let mut addresses = authority.to_socket_addrs()?;
    let address = addresses.next().ok_or(ErrorKind::AddrNotAvailable)?;
    let mut socket = TcpStream::connect_timeout(&address, WAIT)?;
    socket.set_read_timeout(Some(WAIT))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    socket.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    split(answer).ok_or_else(|| ErrorKind::InvalidData.into())
}

fn split(mut answer: Vec<u8>) -> Option<(u16, Vec<u8>)> {
    let head_end = find_head_end(&answer)?;
    let body = answer.split_off(head_end);
    let head = std::str::from_utf8(&answer).ok()?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some((status, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_its_status_and_its_body() {
        let answer = b"HTTP/1.1 503 Service Unavailable\r\na: b\r\n\r\nno\r\n\r\n".to_vec();
        assert_eq!(split(answer), Some((503, b"no\r\n\r\n".to_vec())));
        for text in [
            "",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 x\r\n\r\n",
            "SSH-2.0\r\n\r\n",
        ] {
            assert_eq!(split(Vec::from(text)), None, "{text}");
        }
    }
}
