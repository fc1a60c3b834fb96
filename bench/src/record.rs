//! The account of a run, kept in a file: what was sent, and what was answered.
//!
//! Layout: lines of text. `R run events sizes types skew` opens a run, with a further word `calls` where each batch is a
//! call of its own; `S connection batch` was written before the batch was given to the socket;
//! `A connection batch` was acknowledged; `E connection batch reason` was refused, and may or may not be in the log.
//! Always: lines reach the kernel before anything that follows from them reaches a socket, so the
//! file is true whichever side is killed. A line without its end is no line.
//! Full: a line that cannot be written ends the run.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::Path,
};

use thiserror::Error;

use crate::{message::Shape, mix::Mix};

/// Event types of one run.
pub(crate) const TYPES_MAX: u32 = 100_000;

/// Writes lines; each worker has its own, on the same file.
#[derive(Debug)]
pub(crate) struct Recorder {
    file: File,
    lines: Vec<u8>,
}

impl Recorder {
    /// Opens `path` for appending: a file may hold several runs, one after the other.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let lines = Vec::new();
        Ok(Self { file, lines })
    }

    pub(crate) fn run(&mut self, shape: &Shape, order: Order) {
        let line = format!(
            "R {:016x} {} {} {} {}{}\n",
            shape.run,
            shape.events,
            shape.mix.sizes(),
            shape.mix.types(),
            shape.mix.skew(),
            match order {
                Order::OfSending => "",
                Order::OfCalls => " calls",
            }
        );
        self.lines.extend_from_slice(line.as_bytes());
    }

    pub(crate) fn sent(&mut self, connection: u32, batch: u64) {
        self.line(b"S", connection, batch);
    }

    pub(crate) fn acknowledged(&mut self, connection: u32, batch: u64) {
        self.line(b"A", connection, batch);
    }

    pub(crate) fn refused(&mut self, connection: u32, batch: u64, reason: &[u8]) {
        self.line(b"E", connection, batch);
        self.lines.pop();
        let reason = reason.escape_ascii();
        self.lines.extend(format!(" {reason}\n").into_bytes());
    }

    fn line(&mut self, letter: &[u8], connection: u32, batch: u64) {
        self.lines.extend_from_slice(letter);
        writeln!(self.lines, " {connection} {batch}").expect("memory takes any bytes");
    }

    /// Gives all lines to the kernel, in one write.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.file.write_all(&self.lines)?;
        self.lines.clear();
        Ok(())
    }
}

/// In what order a server keeps the batches of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// As they were sent.
    OfSending,
    /// Calls that are under way together are taken in any order; what was called after an answer stands behind what was
    /// answered.
    OfCalls,
}

/// One line of a record.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Line {
    Run(RunLine),
    Sent { connection: u32, batch: u64 },
    Acknowledged { connection: u32, batch: u64 },
    Refused { connection: u32, batch: u64 },
}

/// What a run sent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RunLine {
    pub(crate) run: u64,
    /// Events in each batch.
    pub(crate) events: u32,
    pub(crate) mix: Mix,
    pub(crate) order: Order,
}

/// The file is no record; do not judge a log by it.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("line {number} of the record cannot be read: {text}")]
pub(crate) struct BadLine {
    pub(crate) number: usize,
    pub(crate) text: String,
}

/// The lines of a record, in order. A last line without its end is left out.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = Result<Line, BadLine>> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().enumerate().map(|(index, line)| {
        parse(line).ok_or_else(|| BadLine {
            number: index + 1,
            text: line.to_owned(),
        })
    })
}

fn parse(line: &str) -> Option<Line> {
    let mut words = line.split(' ');
    let letter = words.next()?;
    if letter == "R" {
        return parse_run(words).map(Line::Run);
    }
    let connection = words.next()?.parse().ok()?;
    let batch = words.next()?.parse().ok().filter(|batch| *batch != 0)?;
    match letter {
        "S" => Some(Line::Sent { connection, batch }),
        "A" => Some(Line::Acknowledged { connection, batch }),
        "E" => Some(Line::Refused { connection, batch }),
        _ => None,
    }
}

fn parse_run<'a>(mut words: impl Iterator<Item = &'a str>) -> Option<RunLine> {
    let run = u64::from_str_radix(words.next()?, 16).ok()?;
    let events = words.next()?.parse().ok()?;
    let sizes = words.next()?.parse().ok()?;
    let types = words.next()?.parse().ok()?;
    let skew: f64 = words.next()?.parse().ok()?;
    let order = match words.next() {
        None => Order::OfSending,
        Some("calls") => Order::OfCalls,
        Some(_) => return None,
    };
    let known = (1..=TYPES_MAX).contains(&types) && 0.0 <= skew && skew.is_finite();
    known.then(|| RunLine {
        run,
        events,
        mix: Mix::new(sizes, events, types, skew),
        order,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mix() -> Mix {
        Mix::new("200@3,90@1".parse().unwrap(), 10, 2, 0.75)
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let path = std::env::temp_dir().join(format!("ringtail-record-{}", std::process::id()));
        let mut recorder = Recorder::open(&path).unwrap();
        let shape = Shape {
            run: 0xfeed,
            events: 10,
            mix: mix(),
            types: vec!["a".to_owned(), "b".to_owned()],
            sent_time: 0,
        };
        recorder.run(&shape, Order::OfSending);
        recorder.sent(3, 1);
        recorder.sent(3, 2);
        recorder.acknowledged(3, 1);
        recorder.refused(3, 2, b"disk\nfull");
        recorder.run(&shape, Order::OfCalls);
        recorder.flush().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let read: Vec<_> = lines(&text).map(Result::unwrap).collect();
        let connection = 3;
        let opened = |order| {
            Line::Run(RunLine {
                run: 0xfeed,
                events: 10,
                mix: mix(),
                order,
            })
        };
        let expected = [
            opened(Order::OfSending),
            Line::Sent {
                connection,
                batch: 1,
            },
            Line::Sent {
                connection,
                batch: 2,
            },
            Line::Acknowledged {
                connection,
                batch: 1,
            },
            Line::Refused {
                connection,
                batch: 2,
            },
            opened(Order::OfCalls),
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn a_torn_last_line_is_no_line() {
        let read: Vec<_> = lines("S 1 15\nA 1 1").map(Result::unwrap).collect();
        let sent = Line::Sent {
            connection: 1,
            batch: 15,
        };
        assert_eq!(read, [sent]);
        assert_eq!(lines("A 1 1").count(), 0);
    }

    #[test]
    fn a_line_of_nonsense_is_named() {
        let text = "S 1 1\nA x 1\n";
        let error = lines(text).find_map(Result::err).unwrap();
        assert_eq!((error.number, error.text.as_str()), (2, "A x 1"));
    }
}
