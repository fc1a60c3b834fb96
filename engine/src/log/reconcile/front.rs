//! Whether a copy has its oldest segments: recovery of one volume alone cannot miss a file that nothing leads to.
//! And whether it has older ones than it should: a crash may come when one volume has let go of a segment and
//! another has not.

use super::super::disk::Disk;
use super::super::format::segment::Opening;
use super::super::mirror::Member;
use super::super::recover::{RecoverError, Recovered, lacks_front};
use super::Copy;
use crate::unit::Sequence;

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

/// Takes for retired what the right copy has before the oldest segment of another copy, when it says itself that
/// everything in it was let go of. Else it would be written to a volume again that has it no more, and nobody
/// looks whether it is whole.
pub(super) async fn let_go<D: Disk>(
    best: &Member<D>,
    found: &mut Recovered<D::File>,
    others: &[Copy<D>],
) {
    let fronts = others
        .iter()
        .filter_map(|other| first(other.found.as_ref().ok()?));
    let Some(front) = fronts.max().filter(|front| is_forwarded(found, *front)) else {
        return;
    };
    let is_older = |opening: Opening| opening.first < front;
    let older = found
        .sealed
        .iter()
        .take_while(|segment| segment.opening.is_some_and(is_older));
    let older = older.count();
    if older == 0 || (older == found.sealed.len() && found.walked.is_empty()) {
        return;
    }
    let kept = found.sealed.split_off(older);
    let mut gone = std::mem::replace(&mut found.sealed, kept);
    if matches!(lacks_front(&best.disk, found).await, Ok(Some(false))) {
        found.spare.extend(gone);
    } else {
        gone.append(&mut found.sealed);
        found.sealed = gone;
    }
}

/// Where a journal begins.
fn first<F>(found: &Recovered<F>) -> Option<Sequence> {
    let walked = found.walked.first().map(|walked| &walked.segment);
    let oldest = found.sealed.first().or(walked)?;
    Some(oldest.opening?.first)
}

/// Whether no forwarder waits for what is before `front`.
fn is_forwarded<F>(found: &Recovered<F>, front: Sequence) -> bool {
    let waits = |upto: Option<Sequence>| upto.map_or(Sequence::FIRST, Sequence::next) < front;
    found
        .forwarded
        .is_none_or(|forwarded| !waits(forwarded.upto))
}
