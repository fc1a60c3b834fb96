//! Where a journal begins: behind everything that was let go of, whatever older files say of themselves.

use super::super::disk::Disk;
use super::super::format::section::Frame;
use super::super::format::segment::HEADER_BYTES;
use super::super::walk::Window;
use super::{Found, Identity, RecoverError, Recovered, Recovery, during, recover_from};
use crate::unit::Sequence;

/// Tries again behind the place at which recovery has stopped. A retired segment of which the disk has not kept
/// that it was taken out of use stands before the journal with a gap behind it: `None` unless everything before
/// the next segment was let go of.
pub(super) async fn recover_behind<D: Disk>(
    disk: &D,
    folder: &str,
    identity: Identity,
    refused: &RecoverError,
) -> Result<Option<Recovered<D::File>>, RecoverError> {
    let RecoverError::Gap { end: before, .. } = *refused else {
        return Ok(None);
    };
    let (recovery, _) = Recovery::read_headers(disk, folder, identity).await?;
    let openings = recovery.in_use.iter().filter_map(|segment| segment.opening);
    let mut firsts = openings.map(|opening| opening.first);
    let Some(next) = firsts.find(|first| before < first.get()) else {
        return Ok(None);
    };
    let Ok(found) = recover_from(disk, folder, identity, next).await else {
        return Ok(None);
    };
    let lacks = lacks_front(disk, &found).await?;
    Ok((lacks == Some(false)).then_some(found))
}

impl<D: Disk> Recovery<'_, D> {
    /// Takes the segments that begin before `front` for retired.
    pub(super) fn leave_out(&mut self, front: Sequence) {
        let stays = |segment: &Found<D::File>| {
            segment
                .opening
                .is_some_and(|opening| front <= opening.first)
        };
        let in_use = std::mem::take(&mut self.in_use);
        let (stay, gone): (Vec<_>, Vec<_>) = in_use.into_iter().partition(stays);
        self.in_use = stay;
        self.found.spare.extend(gone);
    }
}

/// Whether segments before the oldest are missing: its checkpoint tells of records that the low watermarks say
/// are there. Whether anything of a deleted topic is there does not matter. `None` when nothing tells.
pub(in super::super) async fn lacks_front<D: Disk>(
    disk: &D,
    found: &Recovered<D::File>,
) -> Result<Option<bool>, RecoverError> {
    let walked = found.walked.first().map(|walked| &walked.segment);
    let Some(oldest) = found.sealed.first().or(walked) else {
        return Ok(None);
    };
    let mut window = Window::new(disk, &oldest.file, oldest.bytes);
    let bytes = window.frame(HEADER_BYTES as u64).await;
    let bytes = during(bytes, || format!("read {}", oldest.name))?;
    let checkpoint = Frame::check(bytes).and_then(|frame| frame.checkpoint());
    let Ok((true, rows)) = checkpoint else {
        return Ok(None);
    };
    Ok(Some(rows.iter().any(|row| {
        if found.deleted.contains_key(&row.topic) {
            return false;
        }
        let extent = found.extents.get(&row.topic);
        let low = extent.map_or(row.low, |extent| extent.low);
        found.losses.beyond(row.topic, low) < row.next
    })))
}
