//! What the frames of one journal must say of each other, beyond their checksums.
//!
//! Offsets go on without gaps; a checkpoint says what the frames before it have said; a segment opens with
//! a whole checkpoint and defines every topic that it uses; a footer and its index say what is there.

use super::super::disk::Disk as _;
use super::super::format::footer::{self, FOOTER_BYTES, Footer, IndexTopic, Place};
use super::super::format::frame::FrameHeader;
use super::super::format::section::{CheckpointRow, Frame};
use super::super::format::segment::{HEADER_BYTES, Kind};
use super::super::format::{Defect, checksum};
use super::super::journal::Extent;
use super::chain::{Chain, End, Segment, Visitor};
use super::plain::block_on;
use super::verify::Report;
use super::volume::id_text;
use super::{Error, tell};
use crate::limit::BLOCK_BYTES;
use crate::unit::{Offset, TopicId};
use indicatif::ProgressBar;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::ControlFlow;

#[derive(Clone, Copy, Default)]
struct Known {
    low: Offset,
    next: Offset,
}

pub(super) struct Audit<'a> {
    chain: &'a Chain,
    report: &'a mut Report,
    progress: &'a ProgressBar,
    topics: HashMap<TopicId, Known>,
    /// What is said of them counts for nothing.
    deleted: &'a BTreeSet<TopicId>,
    /// Nothing was missed since the last whole checkpoint.
    complete: bool,
    /// The first checkpoint of all, and where it lies: what came before it must be gone for good reasons.
    first: Option<(String, Vec<CheckpointRow>)>,
    recycled: bool,
    segment: SegmentAudit,
}

/// What the segment that is gone through holds.
#[derive(Default)]
struct SegmentAudit {
    defined: HashSet<TopicId>,
    places: BTreeMap<TopicId, Vec<Place>>,
    records: u64,
    /// What a rewritten segment says of the state after it, and where.
    after: Option<(u64, Vec<CheckpointRow>)>,
    /// Every frame of it was whole.
    complete: bool,
}

impl<'a> Audit<'a> {
    pub(super) fn new(
        chain: &'a Chain,
        deleted: &'a BTreeSet<TopicId>,
        report: &'a mut Report,
        progress: &'a ProgressBar,
    ) -> Self {
        Self {
            chain,
            report,
            progress,
            topics: HashMap::new(),
            deleted,
            complete: false,
            first: None,
            recycled: false,
            segment: SegmentAudit::default(),
        }
    }

    /// The end of the walk: compares the oldest checkpoint with what retention has given up. Gives the
    /// topics that were seen.
    pub(super) fn finish(mut self, extents: Option<&HashMap<TopicId, Extent>>) -> Vec<TopicId> {
        // A running store may have given up its oldest segments by a frame that is not proven yet.
        let skip = self.recycled || self.chain.running;
        let first = self.first.take().filter(|_| !skip);
        if let (Some((file, rows)), Some(extents)) = (first, extents) {
            let lives = |row: &CheckpointRow| !self.deleted.contains(&row.topic);
            for row in rows.into_iter().filter(lives) {
                let low = extents.get(&row.topic).map_or(row.low, |extent| extent.low);
                let low = self.chain.losses.beyond(row.topic, low);
                if low < row.next {
                    let (id, low, next) = (id_text(row.topic), low.0, row.next.0);
                    let what = format!(
                        "the segments before this one are missing, and with them the offsets {low} to \
                         {next} (exclusive) of topic {id}"
                    );
                    self.report.damage(&self.chain.path(&file), 0, what);
                }
            }
        }
        self.topics.into_keys().collect()
    }

    fn fault(&mut self, segment: &Segment, position: u64, what: String) {
        // What was read may have been half of the old use and half of the new one.
        if self.chain.was_recycled(segment).unwrap_or(false) {
            self.recycled();
            return;
        }
        let path = self.chain.path(&segment.name);
        self.report.damage(&path, position, what);
    }

    fn check_frame(
        &mut self,
        segment: &Segment,
        position: u64,
        frame: &Frame<'_>,
    ) -> Result<(), Defect> {
        for (topic, _) in frame.topics()? {
            self.segment.defined.insert(topic);
        }
        self.check_batches(segment, position, frame)?;
        let (whole, rows) = frame.checkpoint()?;
        let is_first = position == HEADER_BYTES as u64;
        if segment.kind == Kind::Sorted && whole && !is_first {
            self.segment.after = Some((position, rows));
            return Ok(());
        }
        if is_first && !whole {
            let what = "the segment does not open with a whole checkpoint".to_owned();
            self.fault(segment, position, what);
        }
        if whole && self.first.is_none() {
            self.first = Some((segment.name.clone(), rows.clone()));
        }
        self.check_checkpoint(segment, position, whole, &rows);
        Ok(())
    }

    fn check_batches(
        &mut self,
        segment: &Segment,
        position: u64,
        frame: &Frame<'_>,
    ) -> Result<(), Defect> {
        let mut at = position + frame.payload_at() as u64;
        for (row, bytes) in frame.batches()? {
            let place = Place {
                base_offset: row.base_offset,
                position: at,
                newest_ms: row.newest_ms,
                bytes: row.bytes,
                records: row.records,
            };
            at += bytes.len() as u64;
            self.segment.records += u64::from(row.records);
            self.report.records += u64::from(row.records);
            self.segment
                .places
                .entry(row.topic)
                .or_default()
                .push(place);
            if self.deleted.contains(&row.topic) {
                continue;
            }
            let known = self.topics.entry(row.topic).or_default();
            // What was dead when the segment was rewritten is missing in it.
            let gaps = segment.kind == Kind::Sorted;
            let (expected, found) = (known.next, row.base_offset);
            known.next = place.next();
            let id = id_text(row.topic);
            if found < expected || (self.complete && expected < found && !gaps) {
                let (expected, found) = (expected.0, found.0);
                let what = format!("topic {id} goes on at offset {found}, not at {expected}");
                self.fault(segment, position, what);
            }
            if self.segment.complete && !self.segment.defined.contains(&row.topic) {
                let what = format!("topic {id} is used and not defined in its segment");
                self.fault(segment, position, what);
            }
        }
        Ok(())
    }

    fn check_checkpoint(
        &mut self,
        segment: &Segment,
        position: u64,
        whole: bool,
        rows: &[CheckpointRow],
    ) {
        let gaps = segment.kind == Kind::Sorted;
        for row in rows {
            if self.deleted.contains(&row.topic) {
                continue;
            }
            let known = self.topics.get(&row.topic).copied().unwrap_or_default();
            let next_is_wrong = if self.complete && !gaps {
                row.next != known.next
            } else {
                row.next < known.next
            };
            // Watermarks wait in line to be committed: a later one may have come with a new segment.
            if next_is_wrong || (whole && row.low < known.low) {
                let (id, low, next) = (id_text(row.topic), row.low.0, row.next.0);
                let what = format!(
                    "the checkpoint says {low} to {next} of topic {id}, the frames say {} to {}",
                    known.low.0, known.next.0
                );
                self.fault(segment, position, what);
            }
            let (low, next) = (row.low.max(known.low), row.next);
            self.topics.insert(row.topic, Known { low, next });
        }
        if !whole {
            return;
        }
        let told: HashSet<TopicId> = rows.iter().map(|row| row.topic).collect();
        let forgotten = self.topics.iter().find(|(topic, known)| {
            !told.contains(topic) && !self.deleted.contains(topic) && known.next != Offset(0)
        });
        if let Some((topic, _)) = forgotten {
            let what = format!("the checkpoint leaves out topic {}", id_text(*topic));
            self.fault(segment, position, what);
        }
        self.complete = true;
    }

    /// Compares a footer of the segment's life with what was found before it. A segment need not have one:
    /// a crash may come before it.
    fn check_footer(&mut self, segment: &Segment, end: End) -> Result<(), Error> {
        let Some(at) = segment.bytes.checked_sub(FOOTER_BYTES as u64) else {
            return Ok(());
        };
        let block = self.read(segment, at, FOOTER_BYTES)?;
        let footer = match Footer::decode(&block) {
            Ok(footer) if footer.life == segment.life => footer,
            Ok(_) => return Ok(()),
            Err(Defect::Absent(_)) if !only_magic_is_wrong(&block) => return Ok(()),
            Err(defect) => {
                self.fault(segment, at, tell(defect));
                return Ok(());
            }
        };
        let identity = self.chain.identity;
        let agrees = footer.store == identity.store
            && footer.journal == identity.journal
            && Some(footer.last) == end.last
            && footer.chain_out == end.chain_out
            && footer.end == end.position
            && footer.records == self.segment.records
            && footer.index_bytes <= at - end.position;
        if !agrees {
            if self.is_outgrown(segment, &footer, end)? {
                return Ok(());
            }
            let what = "the segment footer does not say what the frames say".to_owned();
            self.fault(segment, at, what);
            return Ok(());
        }
        self.check_index(segment, &footer, at)
    }

    /// Whether the footer says what the frames said until a crash took the segment behind it, so that this one
    /// was written on. Nobody reads such a footer, and the next one takes its place.
    fn is_outgrown(&self, segment: &Segment, footer: &Footer, end: End) -> Result<bool, Error> {
        if end.position <= footer.end {
            return Ok(false);
        }
        let block = self.read(segment, footer.end, BLOCK_BYTES as usize)?;
        let next = FrameHeader::decode(&block);
        Ok(next.is_ok_and(|(next, _)| {
            (next.life, next.position) == (footer.life, footer.end)
                && next.sequence == footer.last.next()
                && next.chain == footer.chain_out
        }))
    }

    fn check_index(
        &mut self,
        segment: &Segment,
        footer: &Footer,
        footer_at: u64,
    ) -> Result<(), Error> {
        let at = footer_at - footer.index_bytes;
        let start = at / BLOCK_BYTES * BLOCK_BYTES;
        let bytes = self.read(segment, start, (footer_at - start) as usize)?;
        let index = bytes.get((at - start) as usize..).unwrap_or_default();
        let what = if checksum::crc64(index) == footer.index_checksum {
            let places = std::mem::take(&mut self.segment.places);
            let found: Vec<_> = places
                .into_iter()
                .map(|(topic, places)| IndexTopic { topic, places })
                .collect();
            match footer::read_index(index) {
                Ok(index) if index == found => return Ok(()),
                Ok(_) => "the segment index does not say what the frames say".to_owned(),
                Err(defect) => tell(defect),
            }
        } else {
            tell(Defect::Checksum("segment index"))
        };
        self.fault(segment, at, what);
        Ok(())
    }

    fn read(&self, segment: &Segment, position: u64, bytes: usize) -> Result<Vec<u8>, Error> {
        let read = block_on(self.chain.disk.read(&segment.file, position, bytes));
        read.map_err(|error| self.chain.read_error(&segment.name, error))
    }
}

impl Visitor for Audit<'_> {
    fn enter(&mut self, _segment: &Segment) {
        self.report.segments += 1;
        self.segment = SegmentAudit {
            complete: true,
            ..SegmentAudit::default()
        };
    }

    fn frame(
        &mut self,
        segment: &Segment,
        position: u64,
        frame: &Frame<'_>,
    ) -> Result<ControlFlow<()>, Error> {
        self.report.frames += 1;
        self.report.bytes += frame.header.padded_bytes() as u64;
        self.progress.inc(frame.header.padded_bytes() as u64);
        if let Err(defect) = self.check_frame(segment, position, frame) {
            self.fault(segment, position, tell(defect));
            self.complete = false;
        }
        Ok(ControlFlow::Continue(()))
    }

    fn leave(&mut self, segment: &Segment, end: End) -> Result<(), Error> {
        if let Some((position, rows)) = self.segment.after.take() {
            self.check_checkpoint(segment, position, true, &rows);
        }
        if end.is_tail || !self.segment.complete {
            return Ok(());
        }
        self.check_footer(segment, end)
    }

    fn damage(&mut self, segment: &Segment, position: u64, what: String) -> Result<(), Error> {
        self.complete = false;
        self.segment.complete = false;
        self.fault(segment, position, what);
        Ok(())
    }

    fn lost(&mut self, _segment: &Segment, _position: u64) {
        self.report.lost += 1;
        self.complete = false;
        self.segment.complete = false;
    }

    fn recycled(&mut self) {
        self.complete = false;
        self.recycled = true;
    }

    fn rewritten(&mut self) {
        self.recycled();
        self.topics.clear();
        self.segment = SegmentAudit::default();
    }
}

/// The block is a footer but for its first eight bytes.
fn only_magic_is_wrong(block: &[u8]) -> bool {
    let Some((head, covered)) = block.split_at_checked(16) else {
        return false;
    };
    head[8..] == checksum::crc64(covered).to_le_bytes()
}
