//! Taking up a recovered journal: flush what was found, write the epoch frame, only then serve.

use super::super::disk::Disk;
use super::super::format::frame::SectionKind;
use super::super::format::loss::{self, Losses};
use super::super::format::section::{self, CheckpointRow};
use super::super::format::segment::HEADER_BYTES;
use super::super::mirror::unless_too_few;
use super::super::planted::{self, Planted};
use super::super::recover::{Found, Recovered, Walked};
use super::super::wake::Receipt;
use super::super::walk::read_whole;
use super::forward::Forwarding;
use super::keeping::Roll;
use super::read::Reading;
use super::scrub::Scrubbing;
use super::segment::{OpenSegment, Prepared, SealedSegment};
use super::staging::Staging;
use super::tail::Tail;
use super::topic::Topics;
use super::{Bells, Committer, Extent, Inner, Journal, Preparer, Settings, Tidied};
use crate::unit::{Epoch, Micros, Sequence, Ticket, TopicId};
use futures_util::future::{self, Either};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("could not {deed}: {source}")]
    Disk {
        deed: &'static str,
        source: io::Error,
    },
    #[error("{0}")]
    Refused(Arc<str>),
}

/// A section that defines `topics`.
pub(super) fn definitions(topics: &[(TopicId, Arc<str>)]) -> Vec<u8> {
    let mut out = (topics.len() as u32).to_le_bytes().to_vec();
    for (id, name) in topics {
        section::write_topic(*id, name, &mut out);
    }
    out
}

/// A section that says what was ever lost; most journals have none.
fn loss_section(losses: &Losses) -> Option<(SectionKind, Vec<u8>)> {
    let mut contents = Vec::new();
    loss::write_losses(losses, &mut contents);
    (!losses.is_empty()).then_some((SectionKind::LOSS, contents))
}

/// What every segment opens with: a checkpoint of every topic that has had records, the definition of every
/// topic that is known, who keeps copies, and what was lost. So a walk that begins in any segment knows all of it.
pub(super) fn opening_sections<D: Disk>(inner: &mut Inner<D>) -> Vec<(SectionKind, Vec<u8>)> {
    let mut rows = Vec::new();
    let mut names = Vec::new();
    for topic in inner.topics.indices() {
        let id = inner.topics.id(topic);
        if inner.topics.is_deleted(topic) {
            continue;
        }
        let is_told =
            |extent: &Extent| extent.low < extent.next || !planted::is(Planted::ForgetEmptyTopics);
        if let Some(extent) = inner.topics.committed(topic).filter(is_told) {
            let (low, next) = (extent.low, extent.next);
            rows.push(CheckpointRow {
                topic: id,
                low,
                next,
                newest_ms: extent.newest_ms,
            });
        }
        inner.topics.define(topic);
        names.push((id, Arc::from(inner.topics.name(topic))));
    }
    rows.extend(inner.topics.unnamed_rows());
    let mut checkpoint = Vec::new();
    section::write_checkpoint(true, &rows, &mut checkpoint);
    let mut sections = vec![
        (SectionKind::CHECKPOINT, checkpoint),
        (SectionKind::TOPICS, definitions(&names)),
    ];
    sections.extend(inner.membership_section());
    sections.extend(loss_section(&inner.losses));
    sections.extend(inner.cursor_section());
    let tombstones = inner.topics.tombstones();
    if !tombstones.is_empty() {
        let mut contents = Vec::new();
        section::write_tombstones(&tombstones, &mut contents);
        sections.push((SectionKind::TOMBSTONES, contents));
    }
    sections
}

impl<D: Disk> Journal<D> {
    /// Takes up the journal in `folder` as recovery found it, with the topics of the table, and returns when
    /// its epoch frame is durable.
    pub async fn start(
        disk: D,
        folder: String,
        settings: Settings,
        recovered: Recovered<D::File>,
        table: impl Iterator<Item = (TopicId, Arc<str>)>,
        clock: Rc<dyn Fn() -> Micros>,
    ) -> Result<(Self, Committer<D>, Preparer<D>), StartError> {
        // A program that was killed may have left names that no flush has made durable.
        let named = disk.flush_folder(&folder).await;
        unless_too_few(named).map_err(|source| StartError::Disk {
            deed: "flush the journal's folder",
            source,
        })?;
        for walked in &recovered.walked {
            let found = make_durable(&disk, walked).await;
            unless_too_few(found).map_err(|source| StartError::Disk {
                deed: "write the end of a segment again",
                source,
            })?;
        }
        let mut recovered = recovered;
        let (dropped, spare) = recovered
            .spare
            .into_iter()
            .partition::<Vec<_>, _>(|spare| spare.opening.is_some());
        recovered.spare = spare;
        let inner = Inner::take_up(disk, folder, settings, recovered, table, clock);
        let inner = Rc::new(RefCell::new(inner));
        let journal = Self {
            inner,
            bells: Rc::new(Bells::default()),
        };
        let mut preparer = Preparer::new(journal.clone());
        let mut committer = Committer::new(journal.clone());
        for spare in dropped {
            let freed = preparer.free(spare).await;
            freed.map_err(|source| StartError::Disk {
                deed: "free a segment behind the journal's end",
                source,
            })?;
        }
        preparer.prepare_first().await;
        journal.write_epoch(&mut committer).await?;
        Ok((journal, committer, preparer))
    }

    /// With too few volumes nothing is waited for: the frame goes to those that are there with the first step,
    /// and reading begins.
    async fn write_epoch(&self, committer: &mut Committer<D>) -> Result<(), StartError> {
        let receipt = Rc::new(Receipt::default());
        {
            let mut inner = self.inner.borrow_mut();
            if let Some(reason) = inner.trouble() {
                return Err(StartError::Refused(reason));
            }
            let mut frame = inner.first_record();
            frame.sections.extend(loss_section(&inner.losses));
            let too_few = inner.keeping.shortage.is_some();
            frame.receipt = (!too_few).then(|| receipt.clone());
            inner.system.push_back(frame);
            if too_few {
                return Ok(());
            }
        }
        let step = std::pin::pin!(committer.step());
        let durable = std::pin::pin!(receipt.wait());
        if matches!(future::select(durable, step).await, Either::Left((true, _))) {
            return Ok(());
        }
        let inner = self.inner.borrow();
        match inner.trouble() {
            // A volume went meanwhile. The others have the frame, and it becomes durable when they are enough.
            None if inner.keeping.shortage.is_some() => Ok(()),
            trouble => {
                let reason = trouble.unwrap_or_else(|| "it was stopped".into());
                Err(StartError::Refused(reason))
            }
        }
    }
}

impl<D: Disk> Inner<D> {
    fn take_up(
        disk: D,
        folder: String,
        settings: Settings,
        recovered: Recovered<D::File>,
        table: impl Iterator<Item = (TopicId, Arc<str>)>,
        clock: Rc<dyn Fn() -> Micros>,
    ) -> Self {
        let newest = recovered.extents.values().map(|extent| extent.newest_ms);
        let newest_ms = newest.max().unwrap_or_default();
        let rules = settings.keeping.rules.clone();
        let mut topics = Topics::new(recovered.extents, recovered.deleted, rules);
        topics.learn(table);
        topics.begin_at(recovered.floor);
        let mut walked: VecDeque<_> = recovered.walked.into_iter().map(take_walked).collect();
        for (topic, places) in walked.iter().flat_map(|(segment, _)| &segment.index) {
            for place in places {
                topics.note_found(*topic, place);
            }
        }
        let open = if recovered.closed {
            None
        } else {
            walked.pop_back()
        };
        if let Some((segment, defined)) = &open {
            topics.enter_segment(segment.life);
            topics.define_all(defined);
        }
        let frame_bytes_max = settings.frame_bytes_max;
        let sealed = recovered.sealed.into_iter();
        let (spare, doomed): (Vec<_>, Vec<_>) =
            (recovered.spare.into_iter()).partition(|spare| spare.bytes == settings.segment_bytes);
        Self {
            disk,
            folder,
            clock,
            epoch: Epoch(recovered.epoch.0 + 1),
            losses: Rc::new(recovered.losses),
            seal_after: recovered.last,
            topics,
            keeping: Roll::new(recovered.membership),
            scrubbing: Scrubbing::default(),
            forwarding: Forwarding::new(recovered.forwarded),
            staging: Staging::new(frame_bytes_max, newest_ms),
            buffer: None,
            staged_since: Micros(0),
            ticket: Ticket(1),
            system: VecDeque::new(),
            next_sequence: recovered.last.map_or(Sequence::FIRST, Sequence::next),
            chain: recovered.chain,
            durable: recovered.last,
            durable_ticket: None,
            tail: Tail::new(settings.tail_bytes),
            reading: Reading::new(),
            in_flight: VecDeque::new(),
            commits: Vec::new(),
            owes_closing: false,
            open: open.map(|(segment, _)| segment),
            closing: walked.into_iter().map(|(segment, _)| segment).collect(),
            sealed: sealed.filter_map(take_sealed).collect(),
            prepared: VecDeque::new(),
            spare: spare.into_iter().map(take_spare).collect(),
            doomed: doomed.into_iter().map(take_spare).collect(),
            retired: VecDeque::new(),
            swaps: 0,
            tidied: Tidied::default(),
            tidy_at: Micros(0),
            next_life: recovered.life_max.0 + 1,
            next_file: recovered.file_max.map_or(0, |number| number + 1),
            recycled: 0,
            fault: None,
            full: None,
            stopping: false,
            ended: false,
            settings,
        }
    }
}

/// Makes what recovery has read of a segment durable. A flush alone is not enough: one that failed before the
/// last end may have left frames that can be read and are on no disk, and a flush succeeds only once with the
/// news. So the last frames, which no other says to be durable, are written again with what was read, and with
/// them the header.
async fn make_durable<D: Disk>(disk: &D, walked: &Walked<D::File>) -> io::Result<()> {
    if planted::is(Planted::TrustWhatWasFound) {
        return Ok(());
    }
    let file = &walked.segment.file;
    let from = walked.unproven.first().map_or(walked.end, |first| first.1);
    if from < walked.end {
        write_again(disk, file, 0, HEADER_BYTES as u64).await?;
        write_again(disk, file, from, walked.end).await?;
    }
    disk.flush(file).await
}

/// Writes the bytes from `from` to `end` over themselves.
async fn write_again<D: Disk>(disk: &D, file: &D::File, from: u64, end: u64) -> io::Result<()> {
    const STEP_BYTES: u64 = 1 << 20;
    let mut position = from;
    while position < end {
        let bytes = STEP_BYTES.min(end - position) as usize;
        let buffer = read_whole(disk, file, position, bytes).await?;
        let same = disk.freeze(buffer, bytes);
        disk.write(file, position, same).await?;
        position += bytes as u64;
    }
    Ok(())
}

pub(super) fn take_spare<F>(found: Found<F>) -> Prepared<F> {
    Prepared {
        name: found.name,
        file: found.file,
        life: found.life,
    }
}

fn take_sealed<F>(found: Found<F>) -> Option<SealedSegment<F>> {
    let (opening, kind, bytes) = (found.opening?, found.kind, found.bytes);
    Some(SealedSegment {
        kind,
        ..SealedSegment::new(take_spare(found), opening, bytes)
    })
}

fn take_walked<F>(walked: Walked<F>) -> (OpenSegment<F>, Vec<TopicId>) {
    let Walked {
        segment: found,
        opening,
        ..
    } = walked;
    let mut open = OpenSegment::enter(take_spare(found), opening);
    open.position = walked.end;
    open.last = walked.last.unwrap_or(opening.first);
    open.chain_out = walked.chain_out;
    open.records = walked.records;
    open.batches = walked.places.len();
    open.header_written = true;
    for (id, place) in walked.places {
        open.index.entry(id).or_default().push(place);
    }
    (open, walked.defined)
}
