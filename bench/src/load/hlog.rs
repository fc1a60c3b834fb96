//! The latencies of each interval as an HdrHistogram log (V2, compressed), for the tools that read it.

use std::{
    fs::File,
    io::{self, BufWriter},
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

use hdrhistogram::serialization::{
    V2DeflateSerializer,
    interval_log::{IntervalLogWriterBuilder, Tag},
};

use super::tally::Interval;

/// Values are microseconds; the column of maxima is milliseconds.
const MAXIMUM_DIVISOR: f64 = 1_000.0;

/// The intervals of one run.
pub(super) struct Chapter {
    /// The target's name and the round, without blanks or commas.
    pub(super) tag: String,
    /// When its measured time began, since the Unix epoch.
    pub(super) began: Duration,
    pub(super) interval: Duration,
    pub(super) intervals: Vec<Interval>,
}

/// Writes all runs into one log; each has its tag.
pub(super) fn write(path: &Path, chapters: &[Chapter]) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    let mut serializer = V2DeflateSerializer::new();
    let start = chapters.first().map_or(Duration::ZERO, |first| first.began);
    let command: Vec<_> = std::env::args().collect();
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment(&format!(
            "[Logged with ringtail-bench {}]",
            env!("CARGO_PKG_VERSION")
        ))
        .add_comment(&format!("[Command: {}]", command.join(" ")))
        .add_comment("[Values are microseconds]")
        .with_start_time(UNIX_EPOCH + start)
        .with_base_time(UNIX_EPOCH + start)
        .with_max_value_divisor(MAXIMUM_DIVISOR)
        .begin_log_with(&mut file, &mut serializer)?;
    for chapter in chapters {
        let began = chapter.began.saturating_sub(start);
        for (index, interval) in (0_u32..).zip(&chapter.intervals) {
            log.write_histogram(
                &interval.histogram(),
                began + chapter.interval * index,
                chapter.interval,
                Tag::new(&chapter.tag),
            )
            .map_err(|error| io::Error::other(format!("{error:?}")))?;
        }
    }
    io::Write::flush(&mut file)
}
