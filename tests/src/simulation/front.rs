//! Which segments a journal can do without: read from the bytes, by the rules of the format alone.
//!
//! A file gets out of use some time after its records were let go of. Until then its header is not needed, and
//! whoever finds it damaged has lost nothing.

use ringtail::log::format::footer::{FOOTER_BYTES, Footer};
use ringtail::log::format::section::{CheckpointRow, Frame};
use ringtail::log::format::segment::{HEADER_BYTES, Kind, Opening, SegmentHeader};
use ringtail::log::simulated::SimulatedDisk;
use ringtail::unit::{Offset, TopicId};
use std::collections::{BTreeMap, BTreeSet};

/// A segment that is in use.
struct Segment {
    header: SegmentHeader,
    opening: Opening,
    bytes: Vec<u8>,
}

impl Segment {
    fn read(disk: &SimulatedDisk, path: &str) -> Option<Self> {
        let bytes = disk.contents(path)?;
        let header = SegmentHeader::decode(bytes.get(..HEADER_BYTES)?).ok()?;
        let opening = header.opening?;
        Some(Self {
            header,
            opening,
            bytes,
        })
    }

    /// Its whole frames, and how a segment opens that follows it.
    fn walk(&self) -> (Vec<Frame<'_>>, Opening) {
        let is_sorted = self.header.kind == Kind::Sorted;
        let (mut frames, mut end, mut at) = (Vec::new(), self.opening, HEADER_BYTES);
        while let Some(Ok(frame)) = self.bytes.get(at..).map(Frame::check) {
            let header = &frame.header;
            let follows = (header.sequence, header.chain) == (end.first, end.chain_in);
            if (header.life, header.position) != (self.header.life, at as u64)
                || !(follows || is_sorted)
            {
                break;
            }
            end.first = header.sequence.next();
            end.chain_in = frame.chain_value;
            at += header.padded_bytes();
            frames.push(frame);
        }
        let footer = self.bytes.len().checked_sub(FOOTER_BYTES);
        let footer = footer.map(|at| Footer::decode(&self.bytes[at..]));
        if let Some(Ok(footer)) = footer
            && is_sorted
            && footer.life == self.header.life
        {
            end.first = footer.last.next();
            end.chain_in = footer.chain_out;
        }
        (frames, end)
    }
}

/// What the frames behind a segment say of it.
#[derive(Default)]
struct Behind {
    /// How far each topic had come with it.
    ends: Option<Vec<CheckpointRow>>,
    low: BTreeMap<TopicId, Offset>,
    deleted: BTreeSet<TopicId>,
}

impl Behind {
    /// `None` when the frame does not say what it should.
    fn take(&mut self, frame: &Frame<'_>) -> Option<()> {
        let (whole, rows) = frame.checkpoint().ok()?;
        for row in &rows {
            let low = self.low.entry(row.topic).or_default();
            *low = row.low.max(*low);
        }
        let deleted = frame.tombstones().ok()?.into_iter();
        self.deleted.extend(deleted.map(|row| row.topic));
        if self.ends.is_none() {
            self.ends = whole.then_some(rows);
        }
        self.ends.is_some().then_some(())
    }

    fn lets_go(&self) -> bool {
        let is_gone = |row: &CheckpointRow| {
            let low = self.low.get(&row.topic);
            self.deleted.contains(&row.topic) || low.is_some_and(|low| row.next <= *low)
        };
        let ends = self.ends.as_ref();
        ends.is_some_and(|ends| ends.iter().all(is_gone))
    }
}

/// Whether the frames that follow those of the segment at `path` begin with everything that there is to know, and
/// say that every record before them was let go of.
pub fn is_let_go(disk: &SimulatedDisk, path: &str) -> bool {
    let folder = |path: &str| path.rsplit_once('/').map(|(folder, _)| folder.to_owned());
    let Some(segment) = Segment::read(disk, path) else {
        return false;
    };
    let paths = disk.paths().into_iter();
    let others = paths.filter(|other| other != path && folder(other) == folder(path));
    let others = others.filter(|other| super::evidence::is_segment(other));
    let others: Vec<_> = others
        .filter_map(|other| Segment::read(disk, &other))
        .collect();
    let mut behind = Behind::default();
    let (_, mut end) = segment.walk();
    while let Some(next) = others.iter().find(|other| other.opening == end) {
        let (frames, next) = next.walk();
        if frames.iter().any(|frame| behind.take(frame).is_none()) {
            return false;
        }
        if next.first <= end.first {
            break;
        }
        end = next;
    }
    behind.lets_go()
}
