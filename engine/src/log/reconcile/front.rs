//! Whether a copy has its oldest segments: recovery of one volume alone cannot miss a file that nothing leads to.

use super::super::disk::Disk;
use super::super::recover::{RecoverError, lacks_front};
use super::Copy;

/// Takes a copy for unsound when segments before its oldest are missing. So it is when that cannot be read.
pub(super) async fn check<D: Disk>(copy: &mut Copy<D>) {
    let Ok(found) = &copy.found else { return };
    let walked = found.walked.first().map(|walked| &walked.segment);
    let Some(oldest) = found.sealed.first().or(walked) else {
        return;
    };
    let unsound = match lacks_front(&copy.member.disk, found).await {
        Ok(Some(true)) => RecoverError::Gap {
            file: oldest.name.clone(),
            found: oldest.opening.map_or(0, |opening| opening.first.get()),
            end: 0,
        },
        Ok(_) => return,
        Err(error) => error,
    };
    copy.found = Err(unsound);
}
