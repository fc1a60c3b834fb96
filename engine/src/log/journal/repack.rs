//! Giving the space of dead batches back: a sealed segment of which little is alive is written anew, beside,
//! and put into the old one's place.
//!
//! Always:  the low watermarks and tombstones that make a batch dead are durable before it is left out. The
//!          new file is flushed before it gets the old one's name: a crash leaves the one or the other.
//! Cancel:  leaves a file beside, which the next start removes.
//! Full:    the segment stays as it is, and is tried again a minute later. Memory: a part of a segment.

mod gather;

use super::super::disk::Disk;
use super::super::format::footer::{IndexTopic, Place};
use super::super::format::section::Frame;
use super::super::format::segment::{HEADER_BYTES, Kind, Opening};
use super::super::planted::{self, Planted};
use super::super::walk::Window;
use super::living::{Look, is_alive};
use super::prepare::remove_if_there;
use super::segment::{Prepared, SealedSegment, read_footer};
use super::sorted::{Kept, Range, Writer};
use super::tidy::Tidier;
use super::{Inner, Settings};
use crate::unit::{Life, Micros, Sequence, TopicId};
pub(super) use gather::SystemSection;
use gather::{Load, State};
use std::io;
use std::rc::Rc;

const SUFFIX: &str = ".sorted";
/// Living batches that are held at once: an eighth of the segment, but not less.
const HELD_BYTES_MIN: u64 = 8 << 20;
const HELD_PARTS: u64 = 8;
const NO_ROOM_US: u64 = 60_000_000;

/// A segment that is to be rewritten.
struct Job<D: Disk> {
    disk: D,
    settings: Settings,
    name: String,
    file: Rc<D::File>,
    life: Life,
    file_bytes: u64,
    opening: Opening,
    last: Sequence,
    chain_out: u64,
    /// How many batches its index names.
    batches: usize,
    /// What is alive, by topic and offset.
    living: Vec<(TopicId, Place)>,
    deleted: Vec<TopicId>,
    clean_to: Sequence,
}

enum Failure {
    /// The old segment could not be read to its end.
    Source,
    Disk(io::Error),
    /// The old segment went away meanwhile.
    Gone,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

impl<D: Disk> Tidier<D> {
    /// Removes what a crash left of unfinished work.
    pub(super) async fn remove_unfinished(&self) {
        let (disk, folder) = {
            let inner = self.journal.inner.borrow();
            (inner.disk.clone(), inner.folder.clone())
        };
        let names = disk.list(&folder).await.unwrap_or_default();
        for name in names.iter().filter(|name| name.ends_with(SUFFIX)) {
            // It stands in nobody's way, so it may also stay.
            let _stays = disk.remove(&format!("{folder}/{name}")).await;
        }
    }

    /// Rewrites the oldest segment of which too little is alive.
    pub(super) async fn repack_next(&mut self, now: Micros) {
        let chosen = self.journal.inner.borrow().choose();
        let Some(life) = chosen else { return };
        let index = self.journal.sealed_index(life).await.ok().flatten();
        let Some(index) = index.filter(|index| index.is_whole) else {
            return self.journal.inner.borrow_mut().set_unfit(life);
        };
        let (job, receipt) = {
            let mut inner = self.journal.inner.borrow_mut();
            let job = inner.job(life, &index.topics);
            let Some(job) = job.filter(|_| inner.refusal_to_change().is_none()) else {
                return;
            };
            // What made the rest dead was staged before this frame, so it is durable when this is.
            (job, inner.stage_low_watermarks(&[]))
        };
        self.journal.bells.commit.ring();
        if !planted::is(Planted::RepackEarly) && !receipt.wait().await {
            return;
        }
        let rewritten = self.rewrite(&job).await;
        let disk = job.disk.clone();
        drop(job);
        match rewritten {
            Ok(old) => {
                // A reader may still have it open.
                if let Some(Ok(old)) = old.map(Rc::try_unwrap) {
                    let _closed = disk.close(old).await;
                }
            }
            Err(Failure::Gone) => {}
            Err(Failure::Source) => self.journal.inner.borrow_mut().set_unfit(life),
            Err(Failure::Disk(error)) if is_full(&error) => {
                self.no_room_until = Micros(now.0 + NO_ROOM_US);
            }
            Err(Failure::Disk(error)) => {
                let mut inner = self.journal.inner.borrow_mut();
                inner.fail("rewrite a segment", &error);
                self.journal.bells.commit.ring();
            }
        }
    }

    /// Writes the segment anew and puts it into the old one's place; gives the old one's file.
    async fn rewrite(&self, job: &Job<D>) -> Result<Option<Rc<D::File>>, Failure> {
        let beside = format!("{}{SUFFIX}", job.name);
        let (state, first) = self.load(job, job.chunk(0), true).await?;
        let life = self.journal.inner.borrow_mut().draw_life();
        remove_if_there(&job.disk, &beside).await?;
        let file = job.disk.create(&beside).await?;
        let range = Range {
            opening: job.opening,
            last: job.last,
            chain_out: job.chain_out,
            epoch: state.epoch,
            time: state.time,
        };
        let mut writer = Writer::new(&job.disk, &job.settings, &self.pace, (file, life), range);
        let written = self.write_all(job, &state, first, &mut writer).await;
        let swapped = match written {
            Ok(sizes) if self.journal.inner.borrow_mut().hold(job.life) => {
                let swapped = self.rename(job, &beside).await;
                swapped.map_err(|error| io::Error::other(error.to_string()))?;
                Ok(sizes)
            }
            Ok(_) => Err(Failure::Gone),
            Err(failure) => Err(failure),
        };
        let file = writer.file;
        match swapped {
            Ok(sizes) => {
                let new = Prepared {
                    name: job.name.clone(),
                    file: Rc::new(file),
                    life,
                };
                Ok(self.journal.inner.borrow_mut().swap(job, new, sizes))
            }
            Err(failure) => {
                job.disk.close(file).await?;
                job.disk.remove(&beside).await?;
                Err(failure)
            }
        }
    }

    /// From here on the new file counts. A failure is final, also one for want of room.
    async fn rename(&self, job: &Job<D>, beside: &str) -> io::Result<()> {
        let folder = self.journal.inner.borrow().folder.clone();
        job.disk.rename(beside, &job.name).await?;
        job.disk.flush_folder(&folder).await
    }

    async fn write_all(
        &self,
        job: &Job<D>,
        state: &State,
        first: Load,
        writer: &mut Writer<'_, D>,
    ) -> Result<(u64, u64), Failure> {
        for sections in state.sections(&job.deleted, |topic| job.uses(topic)) {
            writer.write_system(&sections).await?;
        }
        let (mut load, mut done) = (first, 0);
        loop {
            done += job.chunk(done).len();
            let kept: Vec<Kept> = load.kept.into_values().collect();
            writer.write_batches(&kept, &load.rows).await?;
            if done == job.living.len() {
                break;
            }
            (_, load) = self.load(job, job.chunk(done), false).await?;
        }
        debug_assert!(writer.topics().is_sorted());
        Ok(writer.finish().await?)
    }

    /// Reads the segment from its first frame to its last, and takes the batches at `wanted`.
    async fn load(
        &self,
        job: &Job<D>,
        wanted: &[(TopicId, Place)],
        with_state: bool,
    ) -> Result<(State, Load), Failure> {
        let mut wanted: Vec<u64> = wanted.iter().map(|(_, place)| place.position).collect();
        wanted.sort_unstable();
        let footer = read_footer(&job.disk, &job.file, job.life, job.file_bytes).await;
        let end = footer
            .map_err(|_| Failure::Source)?
            .map(|footer| footer.end);
        let (mut state, mut load) = (State::default(), Load::default());
        let mut window = Window::new(&job.disk, &job.file, job.file_bytes);
        let (mut position, mut reached, mut batches) = (HEADER_BYTES as u64, false, 0);
        while end.map_or(!reached, |end| position < end) {
            let bytes = window.frame(position).await.map_err(|_| Failure::Source)?;
            let frame = Frame::check(bytes).map_err(|_| Failure::Source)?;
            let header = &frame.header;
            if header.life != job.life || header.position != position || job.last < header.sequence
            {
                return Err(Failure::Source);
            }
            reached = header.sequence == job.last;
            batches += frame.batches().map_err(|_| Failure::Source)?.len();
            let bytes = header.padded_bytes() as u64;
            if with_state {
                state.take(&frame).ok_or(Failure::Source)?;
            }
            load.take(&frame, position, &wanted)
                .ok_or(Failure::Source)?;
            position += bytes;
            (self.pace)(bytes).await;
            self.journal.inner.borrow_mut().tidied.read_bytes += bytes;
            if !self.journal.holds(job.life) || self.journal.is_closing() {
                return Err(Failure::Gone);
            }
        }
        // An index that was made from what could be read of the segment may not name all of it.
        let is_whole = reached && batches == job.batches;
        if is_whole && load.kept.len() == wanted.len() {
            Ok((state, load))
        } else {
            Err(Failure::Source)
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

impl<D: Disk> Job<D> {
    /// Whether a batch of the topic is alive.
    fn uses(&self, topic: &TopicId) -> bool {
        let at = self.living.partition_point(|(known, _)| known < topic);
        self.living.get(at).is_some_and(|(known, _)| known == topic)
    }

    /// The living batches from this one on that are held at once.
    fn chunk(&self, from: usize) -> &[(TopicId, Place)] {
        let bound = (self.file_bytes / HELD_PARTS).max(HELD_BYTES_MIN);
        let rest = &self.living[from..];
        let mut bytes = 0;
        let fits = |(_, place): &&(TopicId, Place)| {
            bytes += u64::from(place.bytes);
            bytes <= bound
        };
        let count = rest.iter().take_while(fits).count();
        &rest[..count.max(1).min(rest.len())]
    }
}

impl<D: Disk> Inner<D> {
    /// The oldest segment that should be rewritten.
    fn choose(&self) -> Option<Life> {
        let below = u64::from(self.settings.keeping.repack_below);
        let ready = self
            .sealed
            .iter()
            .enumerate()
            .take_while(|(_, sealed)| !sealed.being_sealed);
        let poor = |look: Look| look.living * 100 < look.bytes * below;
        // However much is alive: else there would be no end of what has to be remembered.
        let crowd = self.topics.crowd().filter(|_| 0 < below);
        let mut poor = ready.filter(|(at, sealed)| {
            let is_next = *at == 0 && sealed.look.is_some_and(|look| look.living == 0);
            let free = !sealed.held && !sealed.unfit && !is_next && !self.waits(*at);
            // Recovery goes on from the segment behind, so that one's first frame must be there to stay.
            let after = self.opening_after(*at).map(|next| next.first);
            let due = |look| poor(look) || Some(sealed.clean_to) < crowd;
            free && after.is_some() && after <= self.durable && sealed.look.is_some_and(due)
        });
        poor.next().map(|(_, sealed)| sealed.life)
    }

    /// Where the segment behind a sealed one begins.
    pub(super) fn opening_after(&self, at: usize) -> Option<Opening> {
        let next = self.sealed.get(at + 1).map(|next| next.opening);
        let next = next.or(self.closing.front().map(|next| next.opening));
        next.or(self.open.as_ref().map(|next| next.opening))
    }

    fn job(&self, life: Life, index: &[IndexTopic]) -> Option<Job<D>> {
        let at = self.sealed.iter().position(|sealed| sealed.life == life)?;
        let (sealed, next) = (&self.sealed[at], self.opening_after(at)?);
        let mut living = Vec::new();
        for row in index {
            let low = self.topics.low_of(row.topic);
            let places = row.places.iter().filter(|place| is_alive(place, low));
            living.extend(places.map(|place| (row.topic, *place)));
        }
        Some(Job {
            disk: self.disk.clone(),
            settings: self.settings.clone(),
            name: sealed.name.clone(),
            file: sealed.file.clone(),
            life,
            file_bytes: sealed.file_bytes,
            opening: sealed.opening,
            last: Sequence::new(next.first.get() - 1)?,
            chain_out: next.chain_in,
            batches: index.iter().map(|row| row.places.len()).sum(),
            living,
            deleted: self.topics.buried.keys().copied().collect(),
            clean_to: self.next_sequence,
        })
    }

    fn draw_life(&mut self) -> Life {
        self.next_life += 1;
        Life(self.next_life - 1)
    }

    /// Keeps everybody else away from a segment; `false` when it is gone, or about to go.
    fn hold(&mut self, life: Life) -> bool {
        let mut sealed = self.sealed.iter_mut();
        let sealed = sealed.find(|sealed| sealed.life == life && !sealed.held);
        sealed.map(|sealed| sealed.held = true).is_some()
    }

    /// Puts the rewritten segment into the old one's place; gives the old one's file.
    fn swap(
        &mut self,
        job: &Job<D>,
        new: Prepared<D::File>,
        (file_bytes, bytes): (u64, u64),
    ) -> Option<Rc<D::File>> {
        let mut sealed = self.sealed.iter_mut();
        let place = sealed.find(|sealed| sealed.life == job.life)?;
        let new = SealedSegment {
            look: place.look.map(|look| Look {
                bytes,
                living: look.living.min(bytes),
                ..look
            }),
            counted: true,
            clean_to: job.clean_to,
            kind: Kind::Sorted,
            ..SealedSegment::new(new, job.opening, file_bytes)
        };
        let old = std::mem::replace(place, new);
        self.swaps += 1;
        self.tidied.repacked += 1;
        self.tidied.written_bytes += file_bytes;
        Some(old.file)
    }
}
