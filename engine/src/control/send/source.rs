//! Where the events to send come from.

use crate::limit;
use std::io::{self, BufRead, Read};

/// Bytes of events in one batch, so that its message stays well below the usual limit.
const BATCH_BYTES_MAX: usize = limit::MESSAGE_BYTES_DEFAULT / 2;

pub(super) enum Source<'a> {
    Generated { next: u64, count: u64, bytes: usize },
    Lines(Box<dyn Lines + 'a>),
}

impl<'a> Source<'a> {
    pub(super) fn generated(count: u64, bytes: usize) -> Self {
        Self::Generated {
            next: 0,
            count,
            bytes,
        }
    }

    /// Each line without its end is one event; an empty line is an empty event.
    pub(super) fn lines(input: impl ReadAhead + 'a) -> Self {
        Self::Lines(Box::new(input))
    }

    /// The next events, at most `events_max`; none at the end. Lines that are there already make a
    /// batch; more are not waited for, so that `tail -f` is sent as it grows.
    pub(super) fn next_batch(&mut self, events_max: usize) -> io::Result<Vec<Vec<u8>>> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < events_max && bytes < BATCH_BYTES_MAX {
            let event = match self {
                Self::Generated { next, count, bytes } => generate(next, *count, *bytes),
                Self::Lines(lines) if batch.is_empty() || lines.has_line() => lines.line()?,
                Self::Lines(_) => None,
            };
            let Some(event) = event else { break };
            bytes += event.len();
            batch.push(event);
        }
        Ok(batch)
    }
}

/// `{"n":17,"pad":"xxx…"}`, as long as asked where that is possible.
fn generate(next: &mut u64, count: u64, bytes: usize) -> Option<Vec<u8>> {
    if *next == count {
        return None;
    }
    let mut event = format!("{{\"n\":{next},\"pad\":\"").into_bytes();
    event.resize(event.len().max(bytes.saturating_sub(2)), b'x');
    event.extend_from_slice(b"\"}");
    *next += 1;
    Some(event)
}

pub(super) trait Lines {
    /// The next line, waiting for it; `None` at the end.
    fn line(&mut self) -> io::Result<Option<Vec<u8>>>;
    /// Whether a whole line can be read without waiting.
    fn has_line(&self) -> bool;
}

/// Input that can tell what it has read already.
pub(super) trait ReadAhead: BufRead {
    fn ahead(&self) -> &[u8];
}

impl<R: Read> ReadAhead for io::BufReader<R> {
    fn ahead(&self) -> &[u8] {
        self.buffer()
    }
}

impl<I: ReadAhead> Lines for I {
    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let longest = limit::EVENT_BYTES_MAX as u64 + 1;
        if self.take(longest).read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        } else if limit::EVENT_BYTES_MAX < line.len() {
            return Err(io::Error::other("a line is longer than an event may be"));
        }
        Ok(Some(line))
    }

    fn has_line(&self) -> bool {
        self.ahead().contains(&b'\n')
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufReader, Cursor};

    /// Gives one piece at each read, as a terminal does.
    struct Pieces(Vec<&'static [u8]>);

    impl Read for Pieces {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Ok(0);
            }
            let piece = self.0.remove(0);
            out[..piece.len()].copy_from_slice(piece);
            Ok(piece.len())
        }
    }

    #[test]
    fn lines_become_batches() {
        let mut source = Source::lines(BufReader::new(Cursor::new("a\n\nb\nc")));
        assert_eq!(source.next_batch(2).unwrap(), [&b"a"[..], b""]);
        assert_eq!(source.next_batch(2).unwrap(), [b"b"]);
        assert_eq!(source.next_batch(2).unwrap(), [b"c"]);
        assert!(source.next_batch(2).unwrap().is_empty());
    }

    #[test]
    fn a_batch_does_not_wait_for_lines_to_come() {
        let input = Pieces(vec![b"a\nb\n", b"c\n"]);
        let mut source = Source::lines(BufReader::new(input));
        assert_eq!(source.next_batch(9).unwrap(), [b"a", b"b"]);
        assert_eq!(source.next_batch(9).unwrap(), [b"c"]);
        assert!(source.next_batch(9).unwrap().is_empty());
    }

    #[test]
    fn a_line_longer_than_an_event_is_refused() {
        let line = vec![b'x'; limit::EVENT_BYTES_MAX + 1];
        let mut source = Source::lines(BufReader::new(Cursor::new(line)));
        assert!(source.next_batch(1).is_err());
    }

    #[test]
    fn generated_events_are_counted_sized_and_different() {
        let mut source = Source::generated(5, 200);
        let first = source.next_batch(3).unwrap();
        let second = source.next_batch(3).unwrap();
        assert_eq!((first.len(), second.len()), (3, 2));
        assert!(first.iter().chain(&second).all(|event| event.len() == 200));
        assert_ne!(first[0], first[1]);
        assert!(source.next_batch(3).unwrap().is_empty());
    }

    #[test]
    fn a_batch_of_large_events_stays_below_the_message_limit() {
        let mut source = Source::generated(1_000, 100_000);
        let batch = source.next_batch(1_000).unwrap();
        let bytes: usize = batch.iter().map(Vec::len).sum();
        assert!(bytes < limit::MESSAGE_BYTES_DEFAULT);
    }
}
