//! The furthest copy gets the frames behind its end that others have.
//!
//! Always:  what was acknowledged on some of the members is on no single one of them when each has done its
//!          writes in another order: the next frame may be here, and the one after it only there. So the
//!          chain goes on, frame by frame, through every copy, before any of them is taken for the right one.

use super::super::disk::Disk;
use super::super::format::segment::HEADER_BYTES;
use super::super::mirror::Member;
use super::super::recover::{Recovered, recover};
use super::heal::{Wanted, copy_frames, head_from_frames};
use super::{Copy, Permissions, Place};
use crate::limit::REPAIRS_MAX;
use std::io;

/// Goes on until no copy has the frame behind the furthest one's end. A disk that fails gives none.
pub(super) async fn extend<D: Disk>(
    copies: &mut [Copy<D>],
    place: Place<'_>,
    permissions: &Permissions,
    notes: &mut Vec<String>,
) {
    for _ in 0..REPAIRS_MAX {
        let allowed = |copy: &Copy<D>| !permissions.without.contains(&copy.volume());
        let reach = |index: &usize| copies[*index].reach().filter(|_| allowed(&copies[*index]));
        let furthest = (0..copies.len()).filter(|index| reach(index).is_some());
        let Some(furthest) = furthest.max_by_key(reach) else {
            return;
        };
        let (to, mut note) = (&copies[furthest], None);
        let Ok(found) = &to.found else { return };
        for donor in copies.iter().filter(|copy| allowed(copy)) {
            if donor.volume() == to.volume() || donor.found.is_err() {
                continue;
            }
            let frames = go_on(&to.member, found, &donor.member, place).await;
            let frames = frames.unwrap_or(0);
            if 0 < frames {
                let (name, from) = (&to.member.name, &donor.member.name);
                note = Some(format!(
                    "{name}: {frames} frames behind its end came from {from}"
                ));
                break;
            }
        }
        let Some(note) = note else { return };
        notes.push(note);
        let again = recover(&to.member.disk, place.folder, place.identity).await;
        copies[furthest].found = again;
    }
}

/// Copies what continues the chain, in the segment where it ends or in one that was prepared; gives how many.
async fn go_on<D: Disk>(
    to: &Member<D>,
    found: &Recovered<D::File>,
    donor: &Member<D>,
    place: Place<'_>,
) -> io::Result<u64> {
    let (Some(last), Some(tail)) = (found.last, found.walked.last()) else {
        return Ok(0);
    };
    let wanted = Wanted {
        file: &tail.segment.name,
        position: tail.end,
        sequence: last.next().get(),
        life: tail.segment.life,
        chain: found.chain,
    };
    let frames = copy_if_there(to, donor, wanted, place).await?;
    if 0 < frames {
        return Ok(frames);
    }
    for spare in &found.spare {
        let wanted = Wanted {
            file: &spare.name,
            position: HEADER_BYTES as u64,
            sequence: last.next().get(),
            life: spare.life,
            chain: found.chain,
        };
        let frames = copy_if_there(to, donor, wanted, place).await?;
        if 0 < frames {
            head_from_frames(&to.disk, &spare.name, place).await?;
            return Ok(frames);
        }
    }
    Ok(0)
}

async fn copy_if_there<D: Disk>(
    to: &Member<D>,
    donor: &Member<D>,
    wanted: Wanted<'_>,
    place: Place<'_>,
) -> io::Result<u64> {
    match copy_frames(to, donor, wanted, place).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        copied => copied,
    }
}
