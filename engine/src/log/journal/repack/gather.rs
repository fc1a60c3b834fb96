//! What is gathered from the frames of a segment that is rewritten.

use super::super::super::format::frame::SectionKind;
use super::super::super::format::origin::{self, Origins};
use super::super::super::format::section::{self, BatchRow, CheckpointRow, Frame, Tombstone};
use super::super::sorted::{Kept, KeptRun};
use super::super::start::definitions;
use crate::unit::{Epoch, Micros, Offset, Sequence, TopicId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the frames of a segment say beside their batches.
#[derive(Default)]
pub(super) struct State {
    first: Option<Vec<CheckpointRow>>,
    topics: BTreeMap<TopicId, CheckpointRow>,
    names: BTreeMap<TopicId, Arc<str>>,
    tombstones: BTreeMap<TopicId, Option<Sequence>>,
    /// The last section of each other kind.
    others: BTreeMap<u16, (bool, Vec<u8>)>,
    pub(super) epoch: Epoch,
    pub(super) time: Micros,
}

/// The living batches that are held.
#[derive(Default)]
pub(super) struct Load {
    pub(super) kept: BTreeMap<(TopicId, Offset), Kept>,
    /// Requests' rows, encoded.
    pub(super) rows: Vec<Vec<u8>>,
}

impl State {
    /// Takes what a frame says; `None` when it cannot be understood.
    pub(super) fn take(&mut self, frame: &Frame<'_>) -> Option<()> {
        for (row, _) in frame.batches().ok()? {
            let known = self.topics.entry(row.topic).or_insert(CheckpointRow {
                topic: row.topic,
                low: Offset(0),
                next: Offset(0),
                newest_ms: 0,
            });
            known.next = Offset(row.base_offset.0 + u64::from(row.records));
            known.newest_ms = row.newest_ms;
        }
        let (_, rows) = frame.checkpoint().ok()?;
        self.topics.extend(rows.iter().map(|row| (row.topic, *row)));
        self.first.get_or_insert(rows);
        for (topic, name) in frame.topics().ok()? {
            self.names.entry(topic).or_insert_with(|| name.into());
        }
        for row in frame.tombstones().ok()? {
            self.tombstones.insert(row.topic, row.clean_from);
        }
        for section in &frame.header.sections {
            if !REBUILT.contains(&section.kind) {
                let bytes = frame.section(section.kind)?.to_vec();
                self.others
                    .insert(section.kind.0, (section.may_skip, bytes));
            }
        }
        self.epoch = frame.header.epoch;
        self.time = frame.header.time;
        Some(())
    }

    /// The sections of the first two frames.
    pub(super) fn sections(
        &self,
        deleted: &[TopicId],
        used: impl Fn(&TopicId) -> bool,
    ) -> [Vec<SystemSection>; 2] {
        let lives = |row: &&CheckpointRow| !deleted.contains(&row.topic);
        let checkpoint = |rows: Vec<CheckpointRow>| {
            let mut contents = Vec::new();
            section::write_checkpoint(true, &rows, &mut contents);
            (SectionKind::CHECKPOINT, false, contents)
        };
        let first = self.first.iter().flatten().filter(lives).copied();
        let after = self.topics.values().filter(lives).copied();
        let names = self.names.iter().filter(|(topic, _)| used(topic));
        let names: Vec<_> = names.map(|(topic, name)| (*topic, name.clone())).collect();
        let row = |(topic, clean_from): (&TopicId, &Option<Sequence>)| Tombstone {
            topic: *topic,
            clean_from: *clean_from,
        };
        let tombstones: Vec<_> = self.tombstones.iter().map(row).collect();
        let mut tail = vec![checkpoint(after.collect())];
        if !tombstones.is_empty() {
            let mut contents = Vec::new();
            section::write_tombstones(&tombstones, &mut contents);
            tail.push((SectionKind::TOMBSTONES, false, contents));
        }
        let other = |(kind, (may_skip, bytes)): (&u16, &(bool, Vec<u8>))| {
            (SectionKind(*kind), *may_skip, bytes.clone())
        };
        tail.extend(self.others.iter().map(other));
        let names = (SectionKind::TOPICS, false, definitions(&names));
        [vec![checkpoint(first.collect()), names], tail]
    }
}

/// A section with whether a reader may skip it.
pub(in super::super) type SystemSection = (SectionKind, bool, Vec<u8>);

/// Kinds of sections that are made anew.
const REBUILT: [SectionKind; 6] = [
    SectionKind::PAYLOAD,
    SectionKind::BATCHES,
    SectionKind::ORIGINS,
    SectionKind::TOPICS,
    SectionKind::CHECKPOINT,
    SectionKind::TOMBSTONES,
];

impl Load {
    /// Takes the batches of a frame that lie at `wanted`, which is sorted.
    pub(super) fn take(&mut self, frame: &Frame<'_>, position: u64, wanted: &[u64]) -> Option<()> {
        let mut at = position + frame.payload_at() as u64;
        let batches = frame.batches().ok()?;
        let end = at
            + batches
                .iter()
                .map(|(_, bytes)| bytes.len() as u64)
                .sum::<u64>();
        if wanted.partition_point(|place| *place < at)
            == wanted.partition_point(|place| *place < end)
        {
            return Some(());
        }
        let origins = frame.section(SectionKind::ORIGINS).map(Origins::read);
        let origins = origins.transpose().ok()?;
        let mut taken: BTreeMap<u32, usize> = BTreeMap::new();
        for (number, (row, bytes)) in batches.into_iter().enumerate() {
            if wanted.binary_search(&at).is_ok() {
                let runs = match &origins {
                    Some(origins) => self.take_runs(origins, number, &mut taken)?,
                    None => Vec::new(),
                };
                self.keep(row, bytes, runs);
            }
            at += bytes.len() as u64;
        }
        Some(())
    }

    fn keep(&mut self, row: BatchRow, bytes: &[u8], runs: Vec<KeptRun>) {
        let kept = Kept {
            row,
            bytes: bytes.to_vec(),
            runs,
        };
        self.kept.insert((row.topic, row.base_offset), kept);
    }

    /// Where the batch of this number came from.
    fn take_runs(
        &mut self,
        origins: &Origins<'_>,
        number: usize,
        taken: &mut BTreeMap<u32, usize>,
    ) -> Option<Vec<KeptRun>> {
        let mut kept = Vec::new();
        for run in origins.batches.get(number)? {
            let source = origins.rows.get(run.row as usize)?;
            let row = *taken.entry(run.row).or_insert_with(|| {
                let mut row = Vec::new();
                origin::write_row(source, &mut row);
                self.rows.push(row);
                self.rows.len() - 1
            });
            let kind = match run.kind {
                Some(kind) => Some(origins.types.get(kind as usize)?.to_vec()),
                None => None,
            };
            kept.push(KeptRun {
                row,
                kind,
                records: run.records,
            });
        }
        Some(kept)
    }
}
