//! How far the low watermarks go up when the oldest segment goes.
//!
//! Always:  they go past every record of the segment, also past those that damage hides. Else offsets would
//!          be left between the watermark and the next segment that nothing can ever answer for.

use super::super::disk::Disk;
use super::super::format::footer::{IndexTopic, Place};
use super::super::format::section::{CheckpointRow, Frame};
use super::super::format::segment::HEADER_BYTES;
use super::super::walk::Window;
use super::Journal;
use super::read::SealedIndex;
use crate::unit::{Offset, TopicId};
use std::io;

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
