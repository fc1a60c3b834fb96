//! How the oldest segment goes: how far the low watermarks go up, and how its file gets out of use.
//!
//! Always:  they go past every record of the segment, also past those that damage hides. Else offsets would
//!          be left between the watermark and the next segment that nothing can ever answer for.
//!          Files get out of use in the order in which their segments were retired, each durably before the
//!          next. Else a crash would bring an older one back, and frames would be missing behind it.

use super::super::disk::Disk;
use super::super::format::footer::{IndexTopic, Place};
use super::super::format::section::{CheckpointRow, Frame};
use super::super::format::segment::HEADER_BYTES;
use super::super::planted::{self, Planted};
use super::super::walk::Window;
use super::prepare::Preparer;
use super::read::SealedIndex;
use super::segment::Prepared;
use super::{Inner, Journal};
use crate::unit::{Offset, Sequence, TopicId};
use std::io;

/// A retired segment whose file still says that it is in use.
pub(super) struct Retired<F> {
    pub(super) segment: Prepared<F>,
    pub(super) file_bytes: u64,
    /// As of the sealed segment that it was.
    pub(super) clean_to: Sequence,
}

impl<D: Disk> Preparer<D> {
    /// Takes the file of the segment that was retired first out of use.
    pub(super) async fn clear_one(&mut self) -> bool {
        let (disk, segment, is_whole) = {
            let inner = self.journal.inner.borrow();
            let Some(first) = inner.retired.front() else {
                return false;
            };
            let segment = Prepared {
                name: first.segment.name.clone(),
                file: first.segment.file.clone(),
                life: first.segment.life,
            };
            let is_whole = first.file_bytes == inner.settings.segment_bytes;
            (inner.disk.clone(), segment, is_whole)
        };
        if !is_whole {
            // It stays in line until it is gone.
            return self.remove(&disk, segment).await;
        }
        if planted::is(Planted::LeaveRetiredInUse) {
            let mut inner = self.journal.inner.borrow_mut();
            inner.retired.pop_front();
            inner.spare.push_back(segment);
            return true;
        }
        let given = self.write_header(&disk, segment.name, segment.file).await;
        let mut inner = self.journal.inner.borrow_mut();
        let cleared = given.is_ok();
        match given {
            Ok(prepared) => inner.note_cleared(prepared),
            Err(error) => inner.note_failure(&error),
        }
        self.journal.bells.commit.ring();
        cleared
    }
}

impl<D: Disk> Inner<D> {
    /// The oldest segment's frames are below the low watermarks, durably: its file is to get out of use.
    pub(super) fn free_oldest(&mut self) {
        if let Some(oldest) = self.sealed.pop_front() {
            self.recycled += 1;
            self.retired.push_back(Retired {
                segment: Prepared {
                    name: oldest.name,
                    file: oldest.file,
                    life: oldest.life,
                },
                file_bytes: oldest.file_bytes,
                clean_to: oldest.clean_to,
            });
        }
    }

    /// The file of the segment that was retired first has another life.
    fn note_cleared(&mut self, file: Prepared<D::File>) {
        self.retired.pop_front();
        if self.prepared.len() < self.wanted() {
            self.prepared.push_back(file);
            self.full = None;
        } else {
            self.spare.push_back(file);
        }
    }
}

impl<D: Disk> Journal<D> {
    /// The topics of the oldest sealed segment, each with the offset after its last record there.
    pub(super) async fn ends_of_oldest(&self) -> Option<Vec<(TopicId, Offset)>> {
        match self.look_at_oldest().await {
            Ok(ends) => ends,
            Err(error) => {
                let mut inner = self.inner.borrow_mut();
                inner.fail("read the oldest segment", &error);
                self.bells.commit.ring();
                None
            }
        }
    }

    async fn look_at_oldest(&self) -> io::Result<Option<Vec<(TopicId, Offset)>>> {
        let oldest = self.inner.borrow().sealed.front().map(|oldest| oldest.life);
        let Some(life) = oldest else { return Ok(None) };
        let Some(sealed) = self.sealed_index(life).await? else {
            return Ok(None);
        };
        let SealedIndex { topics, is_whole } = sealed;
        if !is_whole && let Some(ends) = self.ends_by_the_next().await? {
            return Ok(Some(ends));
        }
        let row = |topic: &IndexTopic| {
            let next = topic.places.last().map(Place::next)?;
            Some((topic.topic, next))
        };
        Ok(Some(topics.iter().filter_map(row).collect()))
    }

    /// As the segment after the oldest tells it in its opening frame; `None` when that is damaged, too.
    async fn ends_by_the_next(&self) -> io::Result<Option<Vec<(TopicId, Offset)>>> {
        let (disk, next) = {
            let inner = self.inner.borrow();
            let whole = inner.settings.segment_bytes;
            let sealed = inner.sealed.get(1);
            let sealed = sealed.map(|next| (next.file.clone(), next.life, next.file_bytes));
            let open = inner.closing.iter().chain(&inner.open).next();
            let open = open.map(|next| (next.file.clone(), next.life, whole));
            (inner.disk.clone(), sealed.or(open))
        };
        let Some((file, life, size)) = next else {
            return Ok(None);
        };
        let mut window = Window::new(&disk, &file, size);
        let frame = Frame::check(window.frame(HEADER_BYTES as u64).await?);
        let frame = frame.ok().filter(|frame| frame.header.life == life);
        let rows = frame.and_then(|frame| frame.checkpoint().ok());
        let ends = |row: &CheckpointRow| (row.topic, row.next);
        Ok(rows.map(|(_, rows)| rows.iter().map(ends).collect()))
    }
}
