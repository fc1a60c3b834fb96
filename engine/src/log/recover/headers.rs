//! The first look at a journal's files: their headers say which hold what.

use super::super::disk::Disk;
use super::super::format::frame::FrameHeader;
use super::super::format::loss::Losses;
use super::super::format::section::{BatchRow, Frame};
use super::super::format::segment::{HEADER_BYTES, Kind, Opening, SegmentHeader};
use super::super::format::{Defect, StoreId};
use super::super::walk::{Scan, Window, find_frames, read_whole};
use super::{Found, Identity, RecoverError, Recovered, Recovery, during, segment_number};
use crate::limit::{BLOCK_BYTES, FILES_AT_ONCE};
use crate::unit::{Epoch, JournalId, Life, Offset, Sequence};
use futures_util::{StreamExt as _, stream};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

/// A file, and what is wrong with its header.
pub(super) type Headless<F> = (Found<F>, Defect);

/// Opens one file and reads its header.
async fn look<D: Disk>(
    disk: &D,
    identity: Identity,
    path: String,
) -> Result<(Found<D::File>, Result<SegmentHeader, Defect>), RecoverError> {
    let file = during(disk.open(&path).await, || format!("open {path}"))?;
    let size = during(disk.size(&file).await, || format!("measure {path}"))?;
    if size < HEADER_BYTES as u64 {
        return Err(wrong_size(path, size, identity.segment_bytes));
    }
    let block = during(read_whole(disk, &file, 0, HEADER_BYTES).await, || {
        format!("read {path}")
    })?;
    let found = Found {
        name: path,
        file: Rc::new(file),
        life: Life(0),
        opening: None,
        kind: Kind::Journal,
        bytes: size,
    };
    Ok((found, SegmentHeader::decode(block.as_ref())))
}

fn wrong_size(file: String, found: u64, wanted: u64) -> RecoverError {
    RecoverError::Size {
        file,
        found,
        wanted,
    }
}

impl<'a, D: Disk> Recovery<'a, D> {
    /// Puts every segment where it belongs; hands back those whose header is bad.
    pub(super) async fn read_headers(
        disk: &'a D,
        folder: &str,
        identity: Identity,
    ) -> Result<(Self, Vec<Headless<D::File>>), RecoverError> {
        let found = Recovered {
            epoch: Epoch(0),
            last: None,
            chain: 0,
            sealed: Vec::new(),
            walked: Vec::new(),
            spare: Vec::new(),
            extents: HashMap::new(),
            names: HashMap::new(),
            deleted: BTreeMap::new(),
            membership: None,
            forwarded: None,
            losses: Losses::default(),
            floor: Offset(0),
            closed: false,
            life_max: Life(0),
            file_max: None,
        };
        let mut recovery = Self {
            disk,
            identity,
            in_use: Vec::new(),
            at: None,
            found,
        };
        let mut broken = Vec::new();
        let names = during(disk.list(folder).await, || format!("list {folder}"))?;
        let numbered = |name: String| segment_number(&name).map(|number| (number, name));
        let files: Vec<_> = names.into_iter().filter_map(numbered).collect();
        recovery.found.file_max = files.iter().map(|(number, _)| *number).max();
        let looks = files
            .iter()
            .map(|(_, name)| look(disk, identity, format!("{folder}/{name}")));
        // In their order, so that of several errors the same one is told each time.
        let mut looks = stream::iter(looks).buffered(FILES_AT_ONCE);
        while let Some(looked) = looks.next().await {
            let (segment, header) = looked?;
            broken.extend(recovery.put(segment, header)?);
        }
        drop(looks);
        recovery
            .in_use
            .sort_by_key(|segment| segment.opening.map(|opening| opening.first));
        Ok((recovery, broken))
    }

    /// Puts a file where its header says that it belongs; hands it back when the header is bad.
    fn put(
        &mut self,
        mut found: Found<D::File>,
        header: Result<SegmentHeader, Defect>,
    ) -> Result<Option<Headless<D::File>>, RecoverError> {
        let unknown = |file, defect| Err(RecoverError::Unknown { file, defect });
        let header = match header {
            Ok(header) if (header.store, header.journal) == self.whose() => header,
            Ok(_) => return unknown(found.name, Defect::Misplaced("segment")),
            Err(defect) if defect.is_unknown() => return unknown(found.name, defect),
            Err(defect) => return Ok(Some((found, defect))),
        };
        // A rewritten segment is as long as its header says; the others are as long as the store's.
        let wanted = match header.kind {
            Kind::Journal => self.identity.segment_bytes,
            Kind::Sorted => header.segment_bytes,
        };
        if found.bytes != wanted {
            return Err(wrong_size(found.name, found.bytes, wanted));
        }
        found.kind = header.kind;
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
        let size = segment.bytes;
        let whose = self.whose();
        let ours = |header: &FrameHeader| (header.store, header.journal) == whose;
        let file = segment.file.clone();
        let mut scan = Scan::new(self.disk, &file, HEADER_BYTES as u64, size);
        let mut window = Window::new(self.disk, &file, size);
        while let Some(header) = during(scan.next(ours).await, || format!("read {}", segment.name))?
        {
            self.found.life_max = self.found.life_max.max(header.life);
            let bytes = window.frame(header.position).await;
            let bytes = during(bytes, || format!("read {}", segment.name))?;
            if self.is_needed(&header, bytes) {
                let file = segment.name.clone();
                return Err(RecoverError::Header { file, defect });
            }
        }
        self.found.spare.push(segment);
        Ok(())
    }

    /// Whether a frame in a file without a header may belong to the journal as it is.
    fn is_needed(&self, header: &FrameHeader, bytes: &[u8]) -> bool {
        let Some(oldest) = self.oldest() else {
            return true;
        };
        if oldest.first <= header.sequence {
            // What the walk has come past lies in other files, and epochs do not go back behind its end.
            return self.found.last < Some(header.sequence) && self.found.epoch <= header.epoch;
        }
        // Older than all: retired, if the low watermarks say so. Every topic that has something here is in the
        // first checkpoint of the walk, but for those that were deleted and are forgotten.
        let is_told = self.found.last.is_some();
        let retired = |row: &BatchRow| {
            let extent = self.found.extents.get(&row.topic);
            extent.map_or(is_told, |extent| row.next() <= extent.low)
        };
        Frame::check(bytes)
            .and_then(|frame| frame.batches())
            .is_ok_and(|rows| !rows.iter().all(|(row, _)| retired(row)))
    }

    /// Where the journal begins, as far as headers tell.
    fn oldest(&self) -> Option<Opening> {
        let walked = self.found.walked.first().map(|first| first.opening);
        let oldest = self.found.sealed.first().and_then(|first| first.opening);
        oldest.or(walked)
    }

    /// Refuses a file whose header says that it waits for its use, although frames of that use are in it and
    /// are needed: the header that says so is not there. `stopped` tells that the walk did not reach its end.
    pub(super) async fn judge_waiting(&self, stopped: bool) -> Result<(), RecoverError> {
        let waits = |spare: &&Found<D::File>| spare.opening.is_none() && Life(0) < spare.life;
        for spare in self.found.spare.iter().filter(waits) {
            if self.has_begun(spare, stopped).await? {
                return Err(RecoverError::Header {
                    file: spare.name.clone(),
                    defect: Defect::Absent("header of its use"),
                });
            }
        }
        Ok(())
    }

    /// Whether a file that should wait has frames that had been durable and are needed. A crash may leave the
    /// first frames of a use without its header, so that alone is no proof.
    async fn has_begun(&self, spare: &Found<D::File>, stopped: bool) -> Result<bool, RecoverError> {
        let read = || format!("read {}", spare.name);
        let (at, size) = (HEADER_BYTES as u64, spare.bytes);
        let mut window = Window::with_step(self.disk, &spare.file, size, BLOCK_BYTES);
        let bytes = during(window.frame(at).await, read)?;
        let first = FrameHeader::decode(bytes).ok();
        let Some((first, _)) = first.filter(|(first, _)| self.belongs(first, spare.life, at))
        else {
            return Ok(false);
        };
        let found = &self.found;
        let own = |header: &FrameHeader| self.belongs(header, spare.life, header.position);
        match self.oldest() {
            Some(oldest) if first.sequence < oldest.first => {
                let mut scan = Scan::new(self.disk, &spare.file, at, size);
                while let Some(header) = during(scan.next(own).await, read)? {
                    let bytes = during(window.frame(header.position).await, read)?;
                    if self.is_needed(&header, bytes) {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Some(_) => {
                let next = found.last.map_or(Sequence::FIRST, Sequence::next);
                Ok(stopped && (first.sequence, first.chain) == (next, found.chain))
            }
            None => {
                let proves = |header: &FrameHeader| {
                    own(header) && Some(first.sequence) <= header.durable_upto
                };
                let proof = find_frames(self.disk, &spare.file, at, size, proves).await;
                Ok(during(proof, read)?.is_some())
            }
        }
    }
}
