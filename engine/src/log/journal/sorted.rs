//! Writing a segment anew with only what is alive, by topic and offset.
//!
//! Layout:  as drawn in `log::format`: an opening frame with the first checkpoint and the definitions, a
//!          frame with the checkpoint after the last sequence, then frames of batches, index, footer. The
//!          file is as long as that.
//! Always:  the frames carry the last sequence of the range, a chain of their own, and no durable mark: they
//!          prove nothing of other frames.

use super::super::disk::Disk;
use super::super::format::Features;
use super::super::format::footer::{Footer, IndexTopic, Place};
use super::super::format::frame::{
    FrameHeader, HEADER_BYTES as FRAME_HEADER_BYTES, Section, SectionKind,
};
use super::super::format::origin;
use super::super::format::section::{self, BatchRow};
use super::super::format::segment::{HEADER_BYTES, Kind, Opening, SegmentHeader};
use super::super::mirror::unless_too_few;
use super::super::planted::{self, Planted};
use super::Settings;
use super::repack::SystemSection;
use super::scrub::Pace;
use super::segment::encode_tail;
use super::staging::Contents;
use crate::limit::BLOCK_BYTES;
use crate::unit::{Epoch, Life, Micros, Sequence, TopicId};
use std::io;

/// A batch that is kept, with where it came from.
pub(super) struct Kept {
    pub(super) row: BatchRow,
    pub(super) bytes: Vec<u8>,
    pub(super) runs: Vec<KeptRun>,
}

/// So many records of one request.
pub(super) struct KeptRun {
    /// The number of the request's row among those that were kept.
    pub(super) row: usize,
    pub(super) kind: Option<Vec<u8>>,
    pub(super) records: u32,
}

impl Kept {
    /// What it takes of a frame, at most. One batch always fits a frame, for it came from one.
    fn cost(&self, rows: &[Vec<u8>]) -> usize {
        let runs = self.runs.iter().map(|run| {
            let kind = run.kind.as_ref().map_or(0, |kind| kind.len() + 2);
            rows[run.row].len() + kind + origin::RUN_BYTES
        });
        self.bytes.len() + section::BATCH_ROW_BYTES + 4 + runs.sum::<usize>()
    }
}

/// What the frames say of themselves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub(super) opening: Opening,
    pub(super) last: Sequence,
    pub(super) chain_out: u64,
    pub(super) epoch: Epoch,
    pub(super) time: Micros,
}

/// A rewritten segment that grows.
pub(super) struct Writer<'a, D: Disk> {
    disk: &'a D,
    settings: &'a Settings,
    pace: &'a Pace,
    pub(super) file: D::File,
    pub(super) life: Life,
    range: Range,
    position: u64,
    chain: u64,
    index: Vec<IndexTopic>,
    records: u64,
}

impl<'a, D: Disk> Writer<'a, D> {
    pub(super) fn new(
        disk: &'a D,
        settings: &'a Settings,
        pace: &'a Pace,
        (file, life): (D::File, Life),
        range: Range,
    ) -> Self {
        Self {
            disk,
            settings,
            pace,
            file,
            life,
            range,
            position: HEADER_BYTES as u64,
            chain: range.opening.chain_in,
            index: Vec::new(),
            records: 0,
        }
    }

    /// Writes a frame of the log's own sections.
    pub(super) async fn write_system(&mut self, sections: &[SystemSection]) -> io::Result<()> {
        let bytes: usize = sections.iter().map(|(_, _, bytes)| bytes.len() + 8).sum();
        let mut buffer = self.buffer(bytes);
        let mut contents = empty();
        for (kind, may_skip, bytes) in sections {
            contents.put(buffer.as_mut(), *kind, *may_skip, bytes);
        }
        self.write(buffer, contents).await
    }

    /// Writes batches, which are in the order of topics and offsets, in frames of about the usual size.
    pub(super) async fn write_batches(
        &mut self,
        kept: &[Kept],
        rows: &[Vec<u8>],
    ) -> io::Result<()> {
        let mut rest = kept;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |one: &&Kept| {
                bytes += one.cost(rows);
                bytes <= self.settings.frame_bytes
            };
            let count = rest.iter().take_while(fits).count().max(1);
            let (now, later) = rest.split_at(count);
            self.write_frame(now, rows).await?;
            rest = later;
        }
        Ok(())
    }

    async fn write_frame(&mut self, kept: &[Kept], rows: &[Vec<u8>]) -> io::Result<()> {
        let payload: usize = kept.iter().map(|one| one.bytes.len()).sum();
        let mut table = Vec::new();
        let batch_rows: Vec<BatchRow> = kept.iter().map(|one| one.row).collect();
        section::write_batches(&batch_rows, &mut table);
        let origins = encode_origins(kept, rows);
        let bytes = payload + table.len() + origins.as_ref().map_or(0, Vec::len) + 32;
        let mut buffer = self.buffer(bytes);
        let mut contents = empty();
        for one in kept {
            let end = contents.end + one.bytes.len();
            buffer.as_mut()[contents.end..end].copy_from_slice(&one.bytes);
            self.note(&one.row, self.position + contents.end as u64);
            contents.end = end;
        }
        contents.sections.push(Section {
            kind: SectionKind::PAYLOAD,
            may_skip: false,
            bytes: payload as u32,
            checksum: 0,
        });
        contents.put(buffer.as_mut(), SectionKind::BATCHES, false, &table);
        if let Some(origins) = origins {
            contents.put(buffer.as_mut(), SectionKind::ORIGINS, true, &origins);
        }
        self.write(buffer, contents).await
    }

    fn note(&mut self, row: &BatchRow, position: u64) {
        let place = Place {
            base_offset: row.base_offset,
            position,
            newest_ms: row.newest_ms,
            bytes: row.bytes,
            records: row.records,
        };
        self.records += u64::from(row.records);
        match self.index.last_mut() {
            Some(last) if last.topic == row.topic => last.places.push(place),
            _ => self.index.push(IndexTopic {
                topic: row.topic,
                places: vec![place],
            }),
        }
    }

    fn buffer(&self, bytes: usize) -> D::Buffer {
        let bytes = FRAME_HEADER_BYTES + bytes;
        self.disk
            .buffer(bytes.next_multiple_of(BLOCK_BYTES as usize))
    }

    async fn write(&mut self, mut buffer: D::Buffer, contents: Contents) -> io::Result<()> {
        let header = FrameHeader {
            store: self.settings.store,
            journal: self.settings.journal,
            epoch: self.range.epoch,
            life: self.life,
            position: self.position,
            sequence: self.range.last,
            durable_upto: None,
            chain: self.chain,
            time: self.range.time,
            features: Features::default(),
            sections: contents.sections,
        };
        let bytes = header.padded_bytes();
        let frame = buffer.as_mut();
        frame[contents.end..bytes].fill(0);
        self.chain = header.encode(frame);
        self.put(self.position, buffer, bytes).await?;
        self.position += bytes as u64;
        Ok(())
    }

    async fn put(&self, position: u64, buffer: D::Buffer, bytes: usize) -> io::Result<()> {
        let frozen = self.disk.freeze(buffer, bytes);
        self.disk.write(&self.file, position, frozen).await?;
        (self.pace)(bytes as u64).await;
        Ok(())
    }

    /// Completes the file and makes it durable; gives its length, and the bytes of the batches in it.
    pub(super) async fn finish(&mut self) -> io::Result<(u64, u64)> {
        let footer = Footer {
            store: self.settings.store,
            journal: self.settings.journal,
            life: self.life,
            last: self.range.last,
            chain_out: self.range.chain_out,
            end: self.position,
            index_bytes: 0,
            index_checksum: 0,
            records: self.records,
            features: Features::default(),
        };
        let (tail, _) = encode_tail(&self.index, footer);
        let file_bytes = self.position + tail.len() as u64;
        let mut buffer = self.disk.buffer(tail.len());
        buffer.as_mut()[..tail.len()].copy_from_slice(&tail);
        self.put(self.position, buffer, tail.len()).await?;
        let header = SegmentHeader {
            kind: Kind::Sorted,
            store: self.settings.store,
            journal: self.settings.journal,
            life: self.life,
            segment_bytes: file_bytes,
            opening: Some(self.range.opening),
            features: Features::default(),
        };
        let mut block = self.disk.buffer(HEADER_BYTES);
        header.encode(&mut block.as_mut()[..HEADER_BYTES]);
        self.put(0, block, HEADER_BYTES).await?;
        // Too few volumes keep what they have as well as any.
        if !planted::is(Planted::NameBeforeFlush) {
            unless_too_few(self.disk.flush(&self.file).await)?;
        }
        let places = self.index.iter().flat_map(|row| &row.places);
        Ok((file_bytes, places.map(|place| u64::from(place.bytes)).sum()))
    }

    /// The topics of which batches were written.
    pub(super) fn topics(&self) -> impl Iterator<Item = TopicId> + '_ {
        self.index.iter().map(|row| row.topic)
    }
}

fn empty() -> Contents {
    Contents {
        end: FRAME_HEADER_BYTES,
        ..Contents::default()
    }
}

/// The section that says where the batches of one frame came from; `None` when nothing was kept of that.
fn encode_origins(kept: &[Kept], rows: &[Vec<u8>]) -> Option<Vec<u8>> {
    let runs = || kept.iter().flat_map(|one| &one.runs);
    runs().next()?;
    let mut used: Vec<usize> = runs().map(|run| run.row).collect();
    used.sort_unstable();
    used.dedup();
    let mut kinds: Vec<&[u8]> = runs().filter_map(|run| run.kind.as_deref()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let row_bytes: usize = used.iter().map(|row| rows[*row].len()).sum();
    let mut out = Vec::new();
    let counts = (used.len() as u32, kept.len() as u32, kinds.len() as u32);
    origin::write_head(counts.0, counts.1, counts.2, row_bytes as u32, &mut out);
    for row in &used {
        out.extend_from_slice(&rows[*row]);
    }
    for one in kept {
        let renumbered = one.runs.iter().map(|run| origin::Run {
            row: used.partition_point(|row| *row < run.row) as u32,
            kind: (run.kind.as_deref())
                .map(|kind| kinds.partition_point(|known| *known < kind) as u32),
            records: run.records,
        });
        origin::write_runs(&renumbered.collect::<Vec<_>>(), &mut out);
    }
    for kind in kinds {
        origin::write_type(kind, &mut out);
    }
    Some(out)
}
