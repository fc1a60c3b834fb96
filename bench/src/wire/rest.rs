//! REST: a POST for each batch, on a connection that is kept alive.
//!
//! Heads are made by hand and read as far as a driver needs: status, length, whether the server
//! closes. An answer without a length (chunked) is refused in words, not misread.

use super::{ANSWER_BYTES_MAX, Heard, Prepared, Taken, Target};

const HEAD_BYTES_MAX: usize = 16 << 10;

/// Heads that all connections share; the identity of one follows, and the empty line.
pub(super) fn prepare(target: &Target, request: &[u8]) -> Prepared {
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/proto\r\nContent-Length: {}\r\n",
        target.path,
        target.authority,
        request.len()
    );
    Prepared {
        head: head.into_bytes(),
        body: request.to_vec().into(),
    }
}

pub(super) fn own_part(identity: &[(&str, &str)]) -> Vec<u8> {
    let mut lines = header_lines(identity);
    lines.push_str("\r\n");
    lines.into_bytes()
}

/// Header lines, each with its end.
pub(super) fn header_lines(lines: &[(&str, &str)]) -> String {
    let each = lines.iter();
    each.flat_map(|(name, value)| [name, ": ", value, "\r\n"])
        .collect()
}

pub(super) fn take(bytes: &[u8]) -> Option<Taken<'_>> {
    let closed = |why: String| {
        Some(Taken {
            bytes: bytes.len(),
            heard: Heard::Closed(why),
        })
    };
    let Some(head_end) = find_head_end(bytes) else {
        let too_long = HEAD_BYTES_MAX < bytes.len();
        return if too_long {
            closed("the server sent a head that is too long".to_owned())
        } else {
            None
        };
    };
    let head = match Head::read(&bytes[..head_end]) {
        Ok(head) => head,
        Err(why) => return closed(why),
    };
    let body = bytes.get(head_end..head_end + head.length)?;
    let heard = if head.is_protobuf {
        Heard::Answer(body)
    } else {
        Heard::Closed(format!("{}: {}", head.status, body.escape_ascii()))
    };
    Some(Taken {
        bytes: head_end + head.length,
        heard,
    })
}

/// Where the empty line ends.
pub(crate) fn find_head_end(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some(end + 4)
}

struct Head<'a> {
    status: &'a str,
    length: usize,
    is_protobuf: bool,
}

impl<'a> Head<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "the server sent no HTTP".to_owned())?;
        let mut lines = text.split("\r\n");
        let status = lines.next().unwrap_or_default();
        if !status.starts_with("HTTP/1.1 ") {
            return Err(format!(
                "the server sent no HTTP/1.1: {}",
                status.escape_debug()
            ));
        }
        let (mut length, mut is_protobuf) = (None, false);
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().ok();
            }
            if name.eq_ignore_ascii_case("content-type") {
                is_protobuf = value.contains("proto");
            }
        }
        match length {
            Some(length) if length <= ANSWER_BYTES_MAX => Ok(Self {
                status,
                length,
                is_protobuf,
            }),
            Some(length) => Err(format!("the server sent an answer of {length} bytes")),
            None => Err(format!(
                "the server did not say how long its answer is: {status}"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/proto\r\n\
                            content-length: 3\r\n\r\nabc";

    #[test]
    fn an_answer_is_taken_when_it_is_whole() {
        for end in 0..ANSWER.len() {
            assert_eq!(take(&ANSWER[..end]), None);
        }
        let twice = [ANSWER, ANSWER].concat();
        let expected = Taken {
            bytes: ANSWER.len(),
            heard: Heard::Answer(b"abc"),
        };
        assert_eq!(take(&twice), Some(expected));
    }

    #[test]
    fn what_is_no_answer_ends_the_connection_with_its_reason() {
        let said = |bytes: &[u8]| match take(bytes) {
            Some(Taken {
                heard: Heard::Closed(why),
                ..
            }) => why,
            other => panic!("{other:?}"),
        };
        let text =
            b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nno";
        assert_eq!(said(text), "HTTP/1.1 404 Not Found: no");
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert!(said(chunked).contains("how long"));
        let large = b"HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n";
        assert!(said(large).contains("99999999"));
        assert!(said(&vec![b'x'; HEAD_BYTES_MAX + 1]).contains("too long"));
    }

    #[test]
    fn the_parts_of_a_request_are_one_request() {
        let target = Target::parse("http://127.0.0.1:80/api/v1/events").unwrap();
        let Prepared { head, body } = prepare(&target, b"hello");
        let request = [head, own_part(&[("X-User-ID", "a")]), body.to_vec()].concat();
        let text = String::from_utf8(request).unwrap();
        assert_eq!(
            text,
            "POST /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\
             Content-Type: application/proto\r\nContent-Length: 5\r\nX-User-ID: a\r\n\r\nhello"
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_of_answers_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Some(taken) = take(&bytes) {
                prop_assert!(taken.bytes <= bytes.len());
            }
        }
    }
}
