//! The first look at a journal's files: their headers say which hold what.

use super::super::disk::Disk;
use super::super::format::frame::FrameHeader;
use super::super::format::section::{BatchRow, Frame};
use super::super::format::segment::{HEADER_BYTES, SegmentHeader};
use super::super::format::{Defect, StoreId};
use super::super::walk::{Window, find_frames, read_whole};
use super::{Found, Identity, RecoverError, Recovered, Recovery, during, segment_number};
use crate::limit::BLOCK_BYTES;
use crate::unit::{Epoch, JournalId, Life, Offset};
use std::collections::HashMap;
use std::rc::Rc;

impl<'a, D: Disk> Recovery<'a, D> {
    /// Puts every segment where it belongs; hands back those whose header is bad.
    pub(super) async fn read_headers(
        disk: &'a D,
        folder: &str,
        identity: Identity,
    ) -> Result<(Self, Vec<(Found<D::File>, Defect)>), RecoverError> {
        let found = Recovered {
            epoch: Epoch(0),
            last: None,
            chain: 0,
            sealed: Vec::new(),
            walked: Vec::new(),
            spare: Vec::new(),
            extents: HashMap::new(),
            names: HashMap::new(),
            membership: None,
            losses: Vec::new(),
            floor: Offset(0),
            closed: false,
            life_max: Life(0),
            file_max: None,
        };
        let mut recovery = Self {
            disk,
            identity,
            in_use: Vec::new(),
            found,
        };
        let mut broken = Vec::new();
        let names = during(disk.list(folder).await, || format!("list {folder}"))?;
        for name in names {
            if let Some(number) = segment_number(&name) {
                recovery.found.file_max = recovery.found.file_max.max(Some(number));
                let path = format!("{folder}/{name}");
                if let Some(defective) = recovery.read_header(path).await? {
                    broken.push(defective);
                }
            }
        }
        recovery
            .in_use
            .sort_by_key(|segment| segment.opening.map(|opening| opening.first));
        Ok((recovery, broken))
    }

    /// Reads one file's header and puts it where it belongs; hands it back when the header is bad.
    async fn read_header(
        &mut self,
        path: String,
    ) -> Result<Option<(Found<D::File>, Defect)>, RecoverError> {
        let file = during(self.disk.open(&path).await, || format!("open {path}"))?;
        let size = during(self.disk.size(&file).await, || format!("measure {path}"))?;
        let wanted = self.identity.segment_bytes;
        if size != wanted {
            return Err(RecoverError::Size {
                file: path,
                found: size,
                wanted,
            });
        }
        let block = during(read_whole(self.disk, &file, 0, HEADER_BYTES).await, || {
            format!("read {path}")
        })?;
        let mut found = Found {
            name: path,
            file: Rc::new(file),
            life: Life(0),
            opening: None,
        };
        let header = match SegmentHeader::decode(block.as_ref()) {
            Ok(header) if (header.store, header.journal) == self.whose() => header,
            Ok(_) => {
                let defect = Defect::Misplaced("segment");
                return Err(RecoverError::Unknown {
                    file: found.name,
                    defect,
                });
            }
            Err(defect @ (Defect::Version(_) | Defect::UnknownFeature { .. })) => {
                return Err(RecoverError::Unknown {
                    file: found.name,
                    defect,
                });
            }
            Err(defect) => return Ok(Some((found, defect))),
        };
        found.life = header.life;
        found.opening = header.opening;
        self.found.life_max = self.found.life_max.max(header.life);
        let row = if header.opening.is_some() {
            &mut self.in_use
        } else {
            &mut self.found.spare
        };
        row.push(found);
        Ok(None)
    }

    pub(super) fn whose(&self) -> (StoreId, JournalId) {
        (self.identity.store, self.identity.journal)
    }

    /// A file whose header is bad holds nothing that counts only when all of its frames were retired; a
    /// crash does not leave such a header, for it is written as one sector.
    pub(super) async fn judge_headless(
        &mut self,
        segment: Found<D::File>,
        defect: Defect,
    ) -> Result<(), RecoverError> {
        let size = self.identity.segment_bytes;
        let whose = self.whose();
        let ours = |header: &FrameHeader| (header.store, header.journal) == whose;
        let mut window = Window::new(self.disk, &segment.file, size);
        let mut from = HEADER_BYTES as u64;
        loop {
            let next = find_frames(self.disk, &segment.file, from, size, ours).await;
            let Some(header) = during(next, || format!("read {}", segment.name))? else {
                break;
            };
            self.found.life_max = self.found.life_max.max(header.life);
            let bytes = window.frame(header.position).await;
            let bytes = during(bytes, || format!("read {}", segment.name))?;
            if self.is_needed(&header, bytes) {
                let file = segment.name.clone();
                return Err(RecoverError::Header { file, defect });
            }
            from = header.position + BLOCK_BYTES;
        }
        self.found.spare.push(segment);
        Ok(())
    }

    /// Whether a frame in a file without a header may belong to the journal as it is.
    fn is_needed(&self, header: &FrameHeader, bytes: &[u8]) -> bool {
        let walked = self.found.walked.first().map(|first| first.opening);
        let oldest = self.found.sealed.first().and_then(|first| first.opening);
        let Some(oldest) = oldest.or(walked) else {
            return true;
        };
        if oldest.first <= header.sequence {
            return true;
        }
        // Older than all: retired, if the low watermarks say so.
        let retired = |row: &BatchRow| {
            let extent = self.found.extents.get(&row.topic);
            extent.is_some_and(|extent| row.base_offset < extent.low)
        };
        Frame::check(bytes)
            .and_then(|frame| frame.batches())
            .is_ok_and(|rows| !rows.iter().all(|(row, _)| retired(row)))
    }
}
