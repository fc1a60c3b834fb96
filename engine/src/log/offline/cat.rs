//! `log cat`: records as they are stored, one partition after the other.

use super::super::format::batch::{Batch, RecordView};
use super::super::format::section::Frame;
use super::super::journal::Extent;
use super::chain::{Segment, Visitor};
use super::topics::Names;
use super::volume::{Contents, Volume};
use super::{Error, Format, Options, tell};
use crate::unit::{JournalId, Offset, TopicId};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use std::collections::HashMap;
use std::io::{self, Write};
use std::ops::ControlFlow;

/// Printed at once.
const OUTPUT_BYTES: usize = 256 << 10;

pub(super) fn run(options: &Options, out: &mut dyn Write) -> Result<bool, Error> {
    let volume = Volume::first(&options.volumes)?;
    let mut names = Names::read(&volume)?;
    let mut printer = Printer {
        format: options.format,
        bytes: Vec::with_capacity(OUTPUT_BYTES),
        base64: String::new(),
        out,
    };
    let mut known = false;
    for journal in volume.journals(options.partition)? {
        let mut contents = volume.journal(journal)?;
        if let Some(refused) = contents.refused.take() {
            printer.flush().map_err(Error::Output)?;
            return Err(volume.refused(refused));
        }
        names.learn(&contents);
        let mut reader = Reader::new(&contents, journal, &names, options, &mut printer);
        known |= !reader.wanted.is_empty();
        let done = contents.chain.walk(0, &mut reader);
        printer.flush().map_err(Error::Output)?;
        done?;
    }
    match &options.topic {
        Some(topic) if !known && !names.has(topic) => Err(Error::NoTopic(topic.clone())),
        _ => Ok(names.clean),
    }
}

/// What is still to be printed of one topic.
struct Wanted {
    name: String,
    from: Offset,
    upto: Offset,
    left: u64,
}

/// Prints one journal's records that are wanted.
struct Reader<'a, 'out> {
    contents: &'a Contents,
    journal: JournalId,
    wanted: HashMap<TopicId, Wanted>,
    printer: &'a mut Printer<'out>,
}

impl<'a, 'out> Reader<'a, 'out> {
    fn new(
        contents: &'a Contents,
        journal: JournalId,
        names: &Names,
        options: &Options,
        printer: &'a mut Printer<'out>,
    ) -> Self {
        let mut wanted = HashMap::new();
        for (topic, Extent { low, next, .. }) in &contents.extents {
            let name = names.of(*topic);
            let from = (*low).max(Offset(options.offset.unwrap_or(0)));
            let left = options.limit.unwrap_or(u64::MAX);
            if names.is_deleted(*topic) {
                continue;
            }
            let chosen = options.topic.as_ref().is_none_or(|chosen| *chosen == name);
            if chosen && from < *next && 0 < left {
                let upto = *next;
                let topic_wanted = Wanted {
                    name,
                    from,
                    upto,
                    left,
                };
                wanted.insert(*topic, topic_wanted);
            }
        }
        Self {
            contents,
            journal,
            wanted,
            printer,
        }
    }

    fn broken(&self, segment: &Segment, position: u64, what: String) -> Error {
        Error::Damaged {
            path: self.contents.chain.path(&segment.name),
            position,
            what,
        }
    }
}

impl Visitor for Reader<'_, '_> {
    fn frame(
        &mut self,
        segment: &Segment,
        position: u64,
        frame: &Frame<'_>,
    ) -> Result<ControlFlow<()>, Error> {
        let broken = |defect| self.broken(segment, position, tell(defect));
        for (row, bytes) in frame.batches().map_err(broken)? {
            let Some(wanted) = self.wanted.get_mut(&row.topic) else {
                continue;
            };
            let next = Offset(row.base_offset.0.saturating_add(u64::from(row.records)));
            if next <= wanted.from {
                continue;
            }
            let Ok(batch) = Batch::check(bytes) else {
                continue;
            };
            let records = batch
                .records()
                .skip_while(|record| record.offset < wanted.from);
            for record in records.take(usize::try_from(wanted.left).unwrap_or(usize::MAX)) {
                let printed = self.printer.record(&wanted.name, self.journal, &record);
                printed.map_err(Error::Output)?;
                wanted.left -= 1;
            }
            // The segment may be told again, when it is rewritten meanwhile.
            wanted.from = next;
            if wanted.left == 0 || wanted.upto <= next {
                self.wanted.remove(&row.topic);
            }
        }
        Ok(if self.wanted.is_empty() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    }

    fn damage(&mut self, segment: &Segment, position: u64, what: String) -> Result<(), Error> {
        Err(self.broken(segment, position, what))
    }
}

#[derive(Serialize)]
struct Line<'a> {
    topic: &'a str,
    partition: u32,
    offset: u64,
    timestamp_ms: i64,
    value_base64: &'a str,
}

struct Printer<'a> {
    format: Format,
    bytes: Vec<u8>,
    base64: String,
    out: &'a mut dyn Write,
}

impl Printer<'_> {
    fn record(
        &mut self,
        topic: &str,
        journal: JournalId,
        record: &RecordView<'_>,
    ) -> io::Result<()> {
        match self.format {
            Format::Raw => self.bytes.extend_from_slice(record.value),
            Format::Json => {
                self.base64.clear();
                BASE64_STANDARD.encode_string(record.value, &mut self.base64);
                let line = Line {
                    topic,
                    partition: journal.0,
                    offset: record.offset.0,
                    timestamp_ms: record.timestamp_ms,
                    value_base64: &self.base64,
                };
                serde_json::to_writer(&mut self.bytes, &line)?;
            }
            Format::Text => {
                let (partition, offset) = (journal.0, record.offset.0);
                write!(self.bytes, "{topic} {partition} {offset} ")?;
                write_time(&mut self.bytes, record.timestamp_ms)?;
                self.bytes.push(b' ');
                match std::str::from_utf8(record.value) {
                    Ok(text) => write!(self.bytes, "{}", text.escape_debug())?,
                    Err(_) => write!(self.bytes, "{}", record.value.escape_ascii())?,
                }
            }
        }
        self.bytes.push(b'\n');
        if OUTPUT_BYTES <= self.bytes.len() {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.write_all(&self.bytes)?;
        self.bytes.clear();
        self.out.flush()
    }
}

/// Writes a time as `2024-05-17T08:30:00.123Z`.
fn write_time(out: &mut Vec<u8>, unix_ms: i64) -> io::Result<()> {
    let (days, ms) = (
        unix_ms.div_euclid(86_400_000),
        unix_ms.rem_euclid(86_400_000),
    );
    let (year, month, day) = date(days);
    let (hour, minute) = (ms / 3_600_000, ms / 60_000 % 60);
    let (second, ms) = (ms / 1_000 % 60, ms % 1_000);
    write!(
        out,
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z"
    )
}

/// Year, month and day so many days after 1970-01-01. Years are counted from March, in eras of 400 years
/// (146 097 days), so that the leap day is the last of its year.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_by_the_calendar() {
        let cases = [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ];
        for (ms, text) in cases {
            let mut out = Vec::new();
            write_time(&mut out, ms).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }
}
