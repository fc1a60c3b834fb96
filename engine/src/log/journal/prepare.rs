//! The task that keeps segments ready ahead of the writer, and retires the oldest.
//!
//! Always:  a segment enters use only after all its bytes were written once, it was flushed, and its
//!          folder was flushed. Its low watermarks are durable before its bytes are given to another use.
//! Full:    when the disk has no room for another segment the journal says so, goes on with what is
//!          prepared, and tries again every few seconds.

use super::super::disk::Disk;
use super::super::format::Features;
use super::super::format::frame::SectionKind;
use super::super::format::section::{self, CheckpointRow};
use super::super::format::segment::{HEADER_BYTES, Kind, SegmentHeader};
use super::super::mirror::unless_too_few;
use super::super::planted::{self, Planted};
use super::super::recover::{Found, segment_name};
use super::super::wake::Receipt;
use super::commit::write;
use super::segment::Prepared;
use super::start::take_spare;
use super::{Flush, Inner, Journal, RESERVED};
use crate::unit::{Life, Offset, TopicId};
use futures_util::future::{self, Either};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use std::io;
use std::rc::Rc;

/// Zeros are written in pieces of this size.
const FILL_BYTES: usize = 1 << 20;
/// So many pieces at once keep up with a journal that fills segments as fast as the disk takes them.
const FILLS_IN_FLIGHT: usize = 4;

/// Keeps one journal's segments ready. There is one for each journal.
pub struct Preparer<D: Disk> {
    pub(super) journal: Journal<D>,
    /// The low watermarks over the oldest segment are on their way.
    retiring: Option<Rc<Receipt>>,
}

enum Work {
    Retire,
    /// The file of a retired segment gets out of use.
    Clear,
    Prepare,
    /// No more is made: what there is waits for the forwarder.
    HoldBack,
    /// A file that is not needed goes: the store was allowed more once, or many segments were retired.
    Remove,
    Nothing,
}

impl<D: Disk> Preparer<D> {
    pub(super) fn new(journal: Journal<D>) -> Self {
        Self {
            journal,
            retiring: None,
        }
    }

    /// Works until the committer has ended or the journal has failed.
    pub async fn run(&mut self) {
        while !self.journal.is_over() {
            let work = self
                .journal
                .inner
                .borrow()
                .next_work(self.retiring.is_some());
            let worked = match work {
                Work::Retire => self.begin_to_retire().await,
                Work::Clear => self.clear_one().await,
                Work::Prepare => self.prepare_one().await,
                Work::Remove => self.remove_one().await,
                Work::HoldBack => self.hold_back(),
                Work::Nothing => false,
            };
            if !worked && !self.journal.is_over() {
                self.wait().await;
            }
        }
        self.journal.bells.tidy.ring();
    }

    fn hold_back(&self) -> bool {
        self.journal.inner.borrow_mut().note_held_back();
        self.journal.bells.commit.ring();
        false
    }

    /// Until there may be work. The watermarks are not waited for alone: the frame that holds them may need a
    /// segment that is not prepared yet.
    async fn wait(&mut self) {
        let bells = self.journal.bells.clone();
        let ring = std::pin::pin!(bells.prepare.wait());
        let Some(receipt) = self.retiring.clone() else {
            return ring.await;
        };
        let raised = std::pin::pin!(receipt.wait());
        if let Either::Left((durable, _)) = future::select(raised, ring).await {
            self.retiring = None;
            if durable {
                self.journal.inner.borrow_mut().free_oldest();
                self.journal.bells.tidy.ring();
            }
        }
    }

    /// Prepares what the journal needs before its first frame: one segment to write to, one in reserve.
    pub(super) async fn prepare_first(&mut self) {
        while !self.journal.inner.borrow().can_begin() && self.prepare_one().await {}
    }

    /// Makes a segment that was in use behind the journal's end say that it is not. This must be durable before
    /// the journal goes on: its frames would later stand among those that take their numbers.
    pub(super) async fn free(&mut self, found: Found<D::File>) -> io::Result<()> {
        let disk = self.journal.inner.borrow().disk.clone();
        if found.bytes != self.journal.inner.borrow().settings.segment_bytes {
            let folder = self.journal.inner.borrow().folder.clone();
            disk.remove(&found.name).await?;
            return disk.flush_folder(&folder).await;
        }
        let spare = take_spare(found);
        let freed = self.write_header(&disk, spare.name, spare.file).await?;
        self.journal.inner.borrow_mut().spare.push_back(freed);
        Ok(())
    }

    /// Makes one more segment ready; `false` when that failed.
    async fn prepare_one(&mut self) -> bool {
        let (disk, spare) = {
            let mut inner = self.journal.inner.borrow_mut();
            (inner.disk.clone(), inner.spare.pop_front())
        };
        let made = match spare {
            Some(spare) => Ok(spare),
            None => self.create(&disk).await,
        };
        let prepared = match made {
            Ok(spare) => self.give_life(&disk, spare).await,
            Err(error) => Err(error),
        };
        let mut inner = self.journal.inner.borrow_mut();
        match prepared {
            Ok(prepared) => {
                inner.prepared.push_back(prepared);
                inner.full = None;
                self.journal.bells.commit.ring();
                true
            }
            Err(error) => {
                inner.note_failure(&error);
                self.journal.bells.commit.ring();
                false
            }
        }
    }

    /// Gives a file its next life. When that fails the file stays first in line.
    async fn give_life(&self, disk: &D, spare: Prepared<D::File>) -> io::Result<Prepared<D::File>> {
        let given = self.write_header(disk, spare.name.clone(), spare.file.clone());
        let given = given.await;
        if given.is_err() {
            self.journal.inner.borrow_mut().spare.push_front(spare);
        }
        given
    }

    /// Gives one file's space back to the file system.
    async fn remove_one(&mut self) -> bool {
        let (disk, spare) = {
            let mut inner = self.journal.inner.borrow_mut();
            let doomed = inner.doomed.pop_front();
            let spare = doomed.or_else(|| inner.spare.pop_front());
            (inner.disk.clone(), spare)
        };
        match spare {
            Some(spare) => self.remove(&disk, spare).await,
            None => false,
        }
    }

    /// Removes a file, durably. When it was the first of those that still say that they are in use, it is in
    /// line no more.
    pub(super) async fn remove(&self, disk: &D, file: Prepared<D::File>) -> bool {
        let folder = self.journal.inner.borrow().folder.clone();
        let mut removed = disk.remove(&file.name).await;
        removed = removed.and(disk.flush_folder(&folder).await);
        {
            let mut inner = self.journal.inner.borrow_mut();
            let first = inner.retired.front();
            if removed.is_ok() && first.is_some_and(|first| first.segment.life == file.life) {
                inner.retired.pop_front();
            }
        }
        if let Ok(file) = Rc::try_unwrap(file.file) {
            removed = removed.and(disk.close(file).await);
        }
        if let Err(error) = &removed {
            let mut inner = self.journal.inner.borrow_mut();
            inner.fail("remove a segment", error);
            self.journal.bells.commit.ring();
        }
        removed.is_ok()
    }

    /// A new file, filled with zeros and flushed, under its final name.
    async fn create(&self, disk: &D) -> io::Result<Prepared<D::File>> {
        let (folder, number, segment_bytes) = {
            let mut inner = self.journal.inner.borrow_mut();
            inner.next_file += 1;
            (
                inner.folder.clone(),
                inner.next_file - 1,
                inner.settings.segment_bytes,
            )
        };
        let name = format!("{folder}/{}", segment_name(number));
        let unfinished = format!("{name}.new");
        remove_if_there(disk, &unfinished).await?;
        let file = disk.create(&unfinished).await?;
        if planted::is(Planted::NameBeforeBytes) {
            disk.rename(&unfinished, &name).await?;
            disk.flush_folder(&folder).await?;
            self.fill(disk, &file, segment_bytes).await?;
            return Ok(unused(name, file));
        }
        let filled = self.fill(disk, &file, segment_bytes).await;
        if let Err(error) = filled {
            let _ = disk.close(file).await;
            let _ = disk.remove(&unfinished).await;
            return Err(error);
        }
        disk.rename(&unfinished, &name).await?;
        disk.flush_folder(&folder).await?;
        Ok(unused(name, file))
    }

    /// Writes zeros to the whole file and a header that says "not in use", so that a file under its final
    /// name always has one.
    async fn fill(&self, disk: &D, file: &D::File, segment_bytes: u64) -> io::Result<()> {
        let pieces = (0..segment_bytes).step_by(FILL_BYTES);
        let writes = pieces.map(|position| async move {
            let bytes = FILL_BYTES.min((segment_bytes - position) as usize);
            let mut buffer = disk.buffer(bytes);
            buffer.as_mut()[..bytes].fill(0);
            if position == 0 {
                self.header(Life(0))
                    .encode(&mut buffer.as_mut()[..HEADER_BYTES]);
            }
            disk.write(file, position, disk.freeze(buffer, bytes)).await
        });
        let written = stream::iter(writes).buffer_unordered(FILLS_IN_FLIGHT);
        written.try_for_each(|()| future::ready(Ok(()))).await?;
        unless_too_few(disk.flush(file).await)
    }

    fn header(&self, life: Life) -> SegmentHeader {
        let inner = self.journal.inner.borrow();
        SegmentHeader {
            kind: Kind::Journal,
            store: inner.settings.store,
            journal: inner.settings.journal,
            life,
            segment_bytes: inner.settings.segment_bytes,
            opening: None,
            features: Features::default(),
        }
    }

    /// Gives the file a new life: what it held before means nothing from now on.
    pub(super) async fn write_header(
        &self,
        disk: &D,
        name: String,
        file: Rc<D::File>,
    ) -> io::Result<Prepared<D::File>> {
        let (life, flush) = {
            let mut inner = self.journal.inner.borrow_mut();
            inner.next_life += 1;
            (Life(inner.next_life - 1), inner.settings.flush)
        };
        let mut block = disk.buffer(HEADER_BYTES);
        self.header(life)
            .encode(&mut block.as_mut()[..HEADER_BYTES]);
        // Preparing is not on the way of any event, so it is flushed whatever is measured elsewhere.
        let flush = if flush == Flush::Never {
            Flush::DataSync
        } else {
            flush
        };
        unless_too_few(write(disk, &file, 0, disk.freeze(block, HEADER_BYTES), flush).await)?;
        Ok(Prepared { name, file, life })
    }

    /// Raises the low watermarks over the oldest sealed segment; its file is free when that is durable.
    async fn begin_to_retire(&mut self) -> bool {
        self.journal.inner.borrow_mut().hold_oldest(true);
        self.journal.count_dropped().await;
        let index = self.journal.ends_of_oldest().await;
        let Some(index) = index.filter(|_| !self.journal.is_closing()) else {
            self.journal.inner.borrow_mut().hold_oldest(false);
            return false;
        };
        let receipt = self.journal.inner.borrow_mut().stage_low_watermarks(&index);
        self.journal.bells.commit.ring();
        if planted::is(Planted::RecycleEarly) {
            self.journal.inner.borrow_mut().free_oldest();
        } else {
            self.retiring = Some(receipt);
        }
        true
    }
}

/// A file that was just made.
fn unused<F>(name: String, file: F) -> Prepared<F> {
    Prepared {
        name,
        file: Rc::new(file),
        life: Life(0),
    }
}

impl<D: Disk> Journal<D> {
    pub(super) fn is_over(&self) -> bool {
        let inner = self.inner.borrow();
        inner.ended || inner.fault.is_some()
    }

    /// Nobody would commit what is staged now.
    pub(super) fn is_closing(&self) -> bool {
        self.inner.borrow().stopping || self.is_over()
    }
}

/// Removes what may have been left under this name. Several volumes need not agree on whether it is there.
pub(super) async fn remove_if_there<D: Disk>(disk: &D, path: &str) -> io::Result<()> {
    match disk.remove(path).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

impl<D: Disk> Inner<D> {
    fn can_begin(&self) -> bool {
        RESERVED + usize::from(self.open.is_none()) <= self.prepared.len()
    }

    fn next_work(&self, retiring: bool) -> Work {
        if self.fault.is_some() || self.ended {
            return Work::Nothing;
        }
        if !self.retired.is_empty() {
            return Work::Clear;
        }
        // The reserve comes first, unless there is no room for it: raising watermarks may take it.
        if self.prepared.len() < RESERVED && (self.full.is_none() || retiring) {
            return Work::Prepare;
        }
        if retiring {
            return Work::Nothing;
        }
        let can_commit = !self.stopping && self.keeping.shortage.is_none();
        let dead = self.oldest_is_dead() && !self.oldest_waits();
        let over = (self.over_retention() && !self.oldest_is_kept()) || self.may_make_room();
        if can_commit && (dead || (over && self.oldest_is_free())) {
            return Work::Retire;
        }
        if self.prepared.len() < self.wanted() {
            // No file is made that would have to go again as soon as the oldest segment is retired.
            if self.over_retention() && self.oldest_is_kept() {
                return Work::HoldBack;
            }
            let soon = self.spare.is_empty() && RESERVED < self.prepared.len();
            return if soon && self.will_retire() {
                Work::Nothing
            } else {
                Work::Prepare
            };
        }
        let many = self.settings.prepared + RESERVED < self.spare.len();
        if !self.doomed.is_empty() || many || (!self.spare.is_empty() && self.takes_too_much()) {
            Work::Remove
        } else {
            Work::Nothing
        }
    }

    /// Segments that should be ready. What is staged at a stop needs one at most.
    pub(super) fn wanted(&self) -> usize {
        let beside = if self.stopping {
            0
        } else {
            self.settings.prepared
        };
        beside + RESERVED
    }

    /// Whether the oldest segment can be taken away now.
    fn oldest_is_free(&self) -> bool {
        let oldest = self.sealed.front();
        oldest.is_some_and(|oldest| !oldest.being_sealed && !oldest.held)
    }

    fn hold_oldest(&mut self, held: bool) {
        if let Some(oldest) = self.sealed.front_mut() {
            oldest.held = held;
        }
    }

    /// Whether nothing of the oldest segment is alive.
    fn oldest_is_dead(&self) -> bool {
        let look = self.sealed.front().and_then(|oldest| oldest.look);
        self.oldest_is_free() && look.is_some_and(|look| look.living == 0)
    }

    /// Whether the oldest segment should go, so that another can be prepared within the bound.
    fn over_retention(&self) -> bool {
        self.oldest_is_free() && self.exceeds_retention(self.settings.prepared + RESERVED)
    }

    /// Whether that will be so when a segment that is closed already is sealed.
    fn will_retire(&self) -> bool {
        let closed = !self.sealed.is_empty() || !self.closing.is_empty();
        closed && self.exceeds_retention(self.settings.prepared + RESERVED)
    }

    /// Whether all files together take more than the store may.
    fn takes_too_much(&self) -> bool {
        self.exceeds_retention(self.prepared.len() + self.spare.len())
    }

    /// Segments that hold frames.
    pub(super) fn held(&self) -> usize {
        self.sealed.len() + self.closing.len() + usize::from(self.open.is_some())
    }

    /// What these take.
    pub(super) fn held_bytes(&self) -> u64 {
        let sealed: u64 = self.sealed.iter().map(|sealed| sealed.file_bytes).sum();
        let others = self.held() - self.sealed.len();
        sealed + others as u64 * self.settings.segment_bytes
    }

    /// Whether what is held takes too much together with so many other files.
    fn exceeds_retention(&self, others: usize) -> bool {
        let bytes = self.held_bytes() + others as u64 * self.settings.segment_bytes;
        self.settings
            .retention_bytes
            .is_some_and(|bound| bound < bytes)
    }

    pub(super) fn note_failure(&mut self, error: &io::Error) {
        let is_full = matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        );
        if !is_full {
            self.fail("prepare a segment", error);
        } else if self.full.is_none() {
            let journal = self.settings.journal.0;
            let reason = format!("the log's disk is full: journal {journal} has no room: {error}");
            self.full = Some(reason.into());
        }
    }

    /// Stages a checkpoint that says that everything in `index` is gone.
    pub(super) fn stage_low_watermarks(&mut self, index: &[(TopicId, Offset)]) -> Rc<Receipt> {
        let raise = |(topic, low): &(TopicId, Offset)| self.topics.raise_low(*topic, *low);
        let rows: Vec<CheckpointRow> = index.iter().filter_map(raise).collect();
        let mut contents = Vec::new();
        section::write_checkpoint(false, &rows, &mut contents);
        let receipt = self.stage_system(SectionKind::CHECKPOINT, contents);
        if let Some(frame) = self.system.back_mut() {
            frame.raised = rows.iter().map(|row| (row.topic, row.low)).collect();
        }
        receipt
    }
}
