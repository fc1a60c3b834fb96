//! The task that closes frames and writes them, several in flight, and moves the durable mark.
//!
//! A frame is closed when none is in flight (latency is one flush when idle), or when it is large
//! enough and fewer than the allowed number are in flight (throughput grows by itself under load).

use super::super::disk::Disk;
use super::super::format::Features;
use super::super::format::footer::{FOOTER_BYTES, Index};
use super::super::format::frame::{FrameHeader, HEADER_BYTES as FRAME_HEADER_BYTES};
use super::super::format::segment::{HEADER_BYTES, Opening};
use super::super::mirror::{is_too_few, unless_too_few};
use super::super::planted::{self, Planted};
use super::segment::{OpenSegment, SealedSegment};
use super::staging::Contents;
use super::{Flush, InFlight, Inner, Journal, RESERVED, SystemFrame, start};
use crate::limit::BLOCK_BYTES;
use crate::unit::{Life, Sequence, Ticket};
use futures_util::StreamExt as _;
use futures_util::future::{self, LocalBoxFuture};
use futures_util::stream::FuturesUnordered;
use std::io;
use std::sync::Arc;

/// What the shard hears of the commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The durable mark has moved: those who wait up to this ticket may be answered.
    Durable(Ticket),
    /// What was staged could not be written, and never will be: everything above the durable mark up
    /// to this ticket is refused with the reason. The journal may go on later.
    Discarded { upto: Ticket, reason: Arc<str> },
    /// A write or flush failed, which is final: as `Discarded`, for everything above the mark.
    Failed(Arc<str>),
    /// The journal was stopped, and all that was in it is durable.
    Stopped,
}

enum Done {
    Frame {
        sequence: Sequence,
        result: io::Result<()>,
    },
    Sealed {
        life: Life,
        result: io::Result<()>,
    },
}

/// Who waits for a frame.
enum Waiting {
    Requests(Ticket),
    System(SystemFrame),
}

/// Drives one journal's writes. There is one for each journal.
pub struct Committer<D: Disk> {
    journal: Journal<D>,
    writes: FuturesUnordered<LocalBoxFuture<'static, Done>>,
    told_failed: bool,
}

impl<D: Disk> Committer<D> {
    pub(super) fn new(journal: Journal<D>) -> Self {
        Self {
            journal,
            writes: FuturesUnordered::new(),
            told_failed: false,
        }
    }

    /// Resolves when there is something to tell. To be called until it says `Stopped` or `Failed`.
    pub async fn step(&mut self) -> Step {
        loop {
            if let Some(step) = self.submit() {
                return step;
            }
            let bells = self.journal.bells.clone();
            let (disk, shift) = self.journal.inner.borrow().seen();
            // A volume that goes or comes is a reason to write, too.
            let shifted = std::pin::pin!(disk.shifted(shift));
            let ring = std::pin::pin!(bells.commit.wait());
            let ring = future::select(ring, shifted);
            let done = if self.writes.is_empty() {
                ring.await;
                None
            } else {
                match future::select(ring, self.writes.next()).await {
                    future::Either::Left(_) => None,
                    future::Either::Right((done, _)) => done,
                }
            };
            if let Some(step) = done.and_then(|done| self.complete(done)) {
                return step;
            }
        }
    }

    /// Closes and submits every frame that may go now.
    fn submit(&mut self) -> Option<Step> {
        let journal = self.journal.clone();
        let mut inner = journal.inner.borrow_mut();
        let inner = &mut *inner;
        if let Some(reason) = &inner.fault {
            let told = std::mem::replace(&mut self.told_failed, true);
            let step = (!told).then(|| Step::Failed(reason.clone()));
            self.journal.bells.prepare.ring();
            self.journal.bells.members.ring();
            return step;
        }
        let before = inner.seen().1;
        let step = inner.look_at_keepers();
        if inner.seen().1 != before {
            self.journal.bells.members.ring();
        }
        if step.is_some() {
            return step;
        }
        while self.submit_next(inner) {}
        self.seal_closed(inner);
        if inner.wants_commit() && inner.in_flight.is_empty() {
            return discard_when_full(inner);
        }
        if inner.stopping {
            self.end(inner)
        } else {
            None
        }
    }

    /// Ends when nothing is left to be written, after a closing frame.
    fn end(&self, inner: &mut Inner<D>) -> Option<Step> {
        // Behind a frame that too few volumes have may be some that all had before.
        let written = |frame: &InFlight| frame.short || frame.flush_us.is_some();
        let quiet = inner.in_flight.iter().all(written) && self.writes.is_empty();
        if !(inner.staging.is_empty() && quiet) {
            return None;
        }
        if inner.system.is_empty() && inner.owes_closing {
            inner.system.push_back(SystemFrame::default());
            if self.submit_next(inner) {
                return None;
            }
        }
        if inner.full.is_none() && !inner.system.is_empty() {
            return None;
        }
        // A full disk has no place for these; who waits for them is told so.
        for frame in inner.system.drain(..) {
            frame.receipt.iter().for_each(|receipt| receipt.give(false));
        }
        inner.ended = true;
        self.journal.bells.prepare.ring();
        self.journal.bells.members.ring();
        Some(Step::Stopped)
    }

    /// Submits one frame, if there is one that may go and a place for it.
    fn submit_next(&self, inner: &mut Inner<D>) -> bool {
        if let Some(frame) = inner.system.pop_front() {
            if self.make_room(inner, system_bytes(&frame), 0, 0) {
                self.submit_system(inner, frame);
                return true;
            }
            // Requests do not overtake it: a checkpoint says how far the frames before it have come.
            inner.system.push_front(frame);
            return false;
        }
        if !inner.wants_commit() {
            return false;
        }
        let bytes = (inner.staging.used() as u64).next_multiple_of(BLOCK_BYTES);
        // The last requests before a stop may use the reserve: none come after them.
        let to_the_last = inner.stopping || inner.forwarding.urgent;
        let reserve = if to_the_last { 0 } else { RESERVED };
        let room = self.make_room(inner, bytes, inner.staging.batches(), reserve);
        if room {
            self.submit_staged(inner);
        }
        room
    }

    /// Makes sure that a frame of `bytes` fits the open segment; enters the next one when it does not,
    /// unless only `reserve` are left.
    fn make_room(&self, inner: &mut Inner<D>, bytes: u64, batches: usize, reserve: usize) -> bool {
        let segment_bytes = inner.settings.segment_bytes;
        if inner
            .open
            .as_ref()
            .is_some_and(|open| open.fits(bytes, batches, segment_bytes))
        {
            return true;
        }
        // A full disk is tried again every few seconds, not at each frame.
        if inner.full.is_none() {
            self.journal.bells.prepare.ring();
        }
        if inner.prepared.len() <= reserve {
            return false;
        }
        let Some(prepared) = inner.prepared.pop_front() else {
            return false;
        };
        if let Some(full) = inner.open.take() {
            inner.closing.push_back(full);
        }
        inner.topics.enter_segment(prepared.life);
        let opening = Opening {
            first: inner.next_sequence,
            chain_in: inner.chain,
        };
        inner.open = Some(OpenSegment::enter(prepared, opening));
        let sections = start::opening_sections(inner);
        self.submit_system(
            inner,
            SystemFrame {
                sections,
                ..SystemFrame::default()
            },
        );
        true
    }

    fn submit_system(&self, inner: &mut Inner<D>, frame: SystemFrame) {
        let bytes = system_bytes(&frame) as usize;
        let mut buffer = inner.disk.buffer(bytes);
        let mut contents = Contents {
            end: FRAME_HEADER_BYTES,
            ..Contents::default()
        };
        for (kind, section) in &frame.sections {
            contents.put(buffer.as_mut(), *kind, false, section);
        }
        inner.owes_closing = !frame.sections.is_empty();
        inner.note_membership(&frame.sections);
        self.write(inner, buffer, contents, Waiting::System(frame));
    }

    fn submit_staged(&self, inner: &mut Inner<D>) {
        let Some(mut buffer) = inner.buffer.take() else {
            return;
        };
        let keep = inner.settings.origin != super::Origin::None;
        let contents = inner
            .staging
            .close(buffer.as_mut(), &mut inner.topics, keep);
        inner.topics.next_frame();
        inner.forwarding.urgent = false;
        let ticket = inner.ticket;
        inner.ticket = ticket.next();
        inner.owes_closing = true;
        self.write(inner, buffer, contents, Waiting::Requests(ticket));
    }

    /// Completes the frame's header and gives the frame to the disk.
    fn write(
        &self,
        inner: &mut Inner<D>,
        mut buffer: D::Buffer,
        mut contents: Contents,
        waiting: Waiting,
    ) {
        let now = (inner.clock)();
        let sequence = inner.next_sequence;
        let open = inner.open.as_mut().expect("make_room has opened a segment");
        let header = FrameHeader {
            store: inner.settings.store,
            journal: inner.settings.journal,
            epoch: inner.epoch,
            life: open.life,
            position: open.position,
            sequence,
            durable_upto: inner.durable,
            chain: inner.chain,
            time: now,
            features: Features::default(),
            sections: std::mem::take(&mut contents.sections),
        };
        let bytes = header.padded_bytes();
        let frame = buffer.as_mut();
        frame[contents.end..bytes].fill(0);
        inner.chain = header.encode(frame);
        contents.sections = header.sections;
        inner.next_sequence = sequence.next();
        let position = open.position;
        inner.tail.keep(now, open.life, position, &frame[..bytes]);
        inner.reading.note_write(now, bytes);
        open.position += bytes as u64;
        open.last = sequence;
        open.chain_out = inner.chain;
        open.batches += contents.places.len();
        open.records += contents.events;
        self.give_to_disk(inner, buffer, sequence, position, bytes);
        let (ticket, system) = match waiting {
            Waiting::Requests(ticket) => (Some(ticket), SystemFrame::default()),
            Waiting::System(frame) => (None, frame),
        };
        inner.in_flight.push_back(InFlight {
            sequence,
            ticket,
            receipt: system.receipt,
            raised: system.raised,
            contents,
            bytes: bytes as u64,
            position,
            submitted: now,
            flush_us: None,
            short: false,
        });
    }

    fn give_to_disk(
        &self,
        inner: &mut Inner<D>,
        buffer: D::Buffer,
        sequence: Sequence,
        position: u64,
        bytes: usize,
    ) {
        let open = inner.open.as_mut().expect("make_room has opened a segment");
        let header = (!std::mem::replace(&mut open.header_written, true)).then(|| {
            let mut block = inner.disk.buffer(HEADER_BYTES);
            open.header(&inner.settings)
                .encode(&mut block.as_mut()[..HEADER_BYTES]);
            inner.disk.freeze(block, HEADER_BYTES)
        });
        let frame = inner.disk.freeze(buffer, bytes);
        let (disk, file, flush) = (inner.disk.clone(), open.file.clone(), inner.settings.flush);
        self.writes.push(Box::pin(async move {
            let result = async {
                if let Some(header) = header {
                    // Too few volumes for the header are none to leave the frame out for.
                    unless_too_few(write(&disk, &file, 0, header, flush).await)?;
                }
                write(&disk, &file, position, frame, flush).await
            };
            Done::Frame {
                sequence,
                result: result.await,
            }
        }));
    }

    /// Writes the footers of segments whose frames are all durable.
    fn seal_closed(&self, inner: &mut Inner<D>) {
        while let Some(closing) = inner.closing.front() {
            if inner.durable < Some(closing.last) || inner.durable <= inner.seal_after {
                return;
            }
            let closing = inner
                .closing
                .pop_front()
                .expect("it was looked at just now");
            let (position, bytes, index_at) = closing.seal(&inner.settings);
            let index = &bytes[index_at..bytes.len() - FOOTER_BYTES];
            inner.reading.keep_index(closing.life, index);
            let index = Index::check(index.to_vec()).ok();
            let (before, footer) = bytes.split_at(bytes.len() - FOOTER_BYTES);
            let blocks = [frozen(&inner.disk, before), frozen(&inner.disk, footer)];
            let (disk, file, flush) = (
                inner.disk.clone(),
                closing.file.clone(),
                inner.settings.flush,
            );
            let life = closing.life;
            self.writes.push(Box::pin(async move {
                let result = write_tail(&disk, &file, position, blocks, flush).await;
                Done::Sealed { life, result }
            }));
            let file_bytes = inner.settings.segment_bytes;
            inner
                .sealed
                .push_back(SealedSegment::of(closing, file_bytes, index));
        }
    }

    fn complete(&self, done: Done) -> Option<Step> {
        let mut inner = self.journal.inner.borrow_mut();
        match done {
            Done::Frame {
                sequence,
                result: Err(error),
            } if is_too_few(&error) => {
                inner.note_short(sequence);
                self.journal.bells.members.ring();
                None
            }
            Done::Frame {
                result: Err(error), ..
            }
            | Done::Sealed {
                result: Err(error), ..
            } => {
                inner.fail("write the journal", &error);
                None
            }
            Done::Frame {
                sequence,
                result: Ok(()),
            } => {
                let before = inner.durable_ticket;
                inner.note_done(sequence);
                if inner.note_kept() {
                    self.journal.bells.members.ring();
                }
                (inner.durable_ticket != before)
                    .then_some(inner.durable_ticket)
                    .flatten()
                    .map(Step::Durable)
            }
            Done::Sealed { life, .. } => {
                for sealed in inner.sealed.iter_mut().filter(|sealed| sealed.life == life) {
                    sealed.being_sealed = false;
                    sealed.index = None;
                }
                self.journal.bells.prepare.ring();
                None
            }
        }
    }
}

/// Writes and makes durable, the way that was chosen.
pub(super) async fn write<D: Disk>(
    disk: &D,
    file: &D::File,
    position: u64,
    bytes: D::Frozen,
    flush: Flush,
) -> io::Result<()> {
    match flush {
        Flush::WriteThrough => disk.write_durable(file, position, bytes).await,
        Flush::DataSync => {
            disk.write(file, position, bytes).await?;
            disk.flush(file).await
        }
        Flush::Never => disk.write(file, position, bytes).await,
    }
}

fn frozen<D: Disk>(disk: &D, bytes: &[u8]) -> D::Frozen {
    let mut buffer = disk.buffer(bytes.len());
    buffer.as_mut()[..bytes.len()].copy_from_slice(bytes);
    disk.freeze(buffer, bytes.len())
}

/// Writes a segment's index, and when that is durable the footer, which speaks for it: of one write a crash may
/// leave the footer alone. Nothing is acknowledged by them, so that any number of volumes will do.
async fn write_tail<D: Disk>(
    disk: &D,
    file: &D::File,
    position: u64,
    [index, footer]: [D::Frozen; 2],
    flush: Flush,
) -> io::Result<()> {
    let footer_at = position + D::frozen_bytes(&index) as u64;
    unless_too_few(write(disk, file, position, index, flush).await)?;
    unless_too_few(write(disk, file, footer_at, footer, flush).await)
}

/// What a frame of the log's own sections takes.
fn system_bytes(frame: &SystemFrame) -> u64 {
    let sections: usize = frame
        .sections
        .iter()
        .map(|(_, bytes)| bytes.len() + 8)
        .sum();
    ((FRAME_HEADER_BYTES + sections) as u64).next_multiple_of(BLOCK_BYTES)
}

/// With no segment to write to and none to be had, what is staged is refused, not kept waiting.
fn discard_when_full<D: Disk>(inner: &mut Inner<D>) -> Option<Step> {
    let reason = inner.full.clone()?;
    if planted::is(Planted::KeepRefusedOffsets) {
        let contents = inner.staging.close(
            &mut vec![0; inner.settings.frame_bytes_max],
            &mut inner.topics,
            false,
        );
        drop(contents);
    } else {
        inner.staging.discard(&mut inner.topics);
    }
    inner.topics.next_frame();
    inner.forwarding.urgent = false;
    inner.buffer = None;
    let upto = inner.ticket;
    inner.ticket = upto.next();
    Some(Step::Discarded { upto, reason })
}
