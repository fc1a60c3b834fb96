//! Whether a copy has its oldest segments: recovery of one volume alone cannot miss a file that nothing leads to.

use super::super::disk::Disk;
use super::super::format::loss::after_losses;
use super::super::format::section::Frame;
use super::super::format::segment::HEADER_BYTES;
use super::super::recover::RecoverError;
use super::super::walk::Window;
use super::Copy;

/// Takes a copy for unsound when segments before its oldest are missing: its checkpoint tells of records that
/// the low watermarks say are there. So it is when that cannot be read.
pub(super) async fn check<D: Disk>(copy: &mut Copy<D>) {
    let Ok(found) = &copy.found else { return };
    let walked = found.walked.first().map(|walked| &walked.segment);
    let Some(oldest) = found.sealed.first().or(walked) else {
        return;
    };
    let mut window = Window::new(&copy.member.disk, &oldest.file, oldest.bytes);
    let bytes = match window.frame(HEADER_BYTES as u64).await {
        Ok(bytes) => bytes,
        Err(source) => {
            let deed = format!("read {}", oldest.name);
            copy.found = Err(RecoverError::Disk { deed, source });
            return;
        }
    };
    let checkpoint = Frame::check(bytes).and_then(|frame| frame.checkpoint());
    let (_, rows) = checkpoint.unwrap_or_default();
    // Whether anything of a deleted topic is there does not matter.
    let mut rows = rows.iter();
    let lacks = rows.any(|row| {
        if found.deleted.contains_key(&row.topic) {
            return false;
        }
        let extent = found.extents.get(&row.topic);
        let low = extent.map_or(row.low, |extent| extent.low);
        after_losses(&found.losses, row.topic, low) < row.next
    });
    if lacks {
        let first = oldest.opening.map_or(0, |opening| opening.first.get());
        copy.found = Err(RecoverError::Gap {
            file: oldest.name.clone(),
            found: first,
            end: 0,
        });
    }
}
