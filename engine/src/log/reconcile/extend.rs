//! The furthest copy gets the frames behind its end that others have.
//!
//! Always:  what was acknowledged on some of the members is on no single one of them when each has done its
//!          writes in another order: the next frame may be here, and the one after it only there. So the
//!          chain goes on, frame by frame, through every copy, before any of them is taken for the right one.

use super::super::disk::Disk;
use super::super::format::segment::HEADER_BYTES;
use super::super::mirror::Member;
use super::super::recover::{RecoverError, Recovered, recover};
use super::heal::{Failed, Wanted, copy_frames, head_from_frames};
use super::{Copy, Permissions, Place};
use crate::limit::REPAIRS_MAX;

/// Goes on until no copy has the frame behind the furthest one's end. A volume that fails meanwhile might have
/// had it: its copy is not sound.
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
        let step = one_step(copies, furthest, place, allowed).await;
        let (failed, error) = match step {
            Ok(None) => return,
            Ok(Some(note)) => {
                notes.push(note);
                let disk = copies[furthest].member.disk.clone();
                copies[furthest].found = recover(&disk, place.folder, place.identity).await;
                continue;
            }
            Err((donor, Failed::Donor(error))) => (donor, error),
            Err((_, Failed::Target(error))) => (furthest, error),
        };
        let name = &copies[failed].member.name;
        notes.push(format!(
            "{name}: what is behind the end could not be read: {error}"
        ));
        copies[failed].found = Err(RecoverError::Disk {
            deed: format!("read what is behind the end in {}", place.folder),
            source: error,
        });
    }
}

/// Copies from the first copy that has something behind the end of this one; says what. The error is that of
/// this one or of the copy with the number.
async fn one_step<D: Disk>(
    copies: &[Copy<D>],
    furthest: usize,
    place: Place<'_>,
    allowed: impl Fn(&Copy<D>) -> bool,
) -> Result<Option<String>, (usize, Failed)> {
    let to = &copies[furthest];
    let Ok(found) = &to.found else {
        return Ok(None);
    };
    for (index, donor) in copies.iter().enumerate() {
        if index == furthest || !allowed(donor) || donor.found.is_err() {
            continue;
        }
        let frames = go_on(&to.member, found, &donor.member, place).await;
        let frames = frames.map_err(|failed| (index, failed))?;
        if 0 < frames {
            let (name, from) = (&to.member.name, &donor.member.name);
            let what = format!("{name}: {frames} frames behind its end came from {from}");
            return Ok(Some(what));
        }
    }
    Ok(None)
}

/// Copies what continues the chain, in the segment where it ends or in one that was prepared; gives how many.
async fn go_on<D: Disk>(
    to: &Member<D>,
    found: &Recovered<D::File>,
    donor: &Member<D>,
    place: Place<'_>,
) -> Result<u64, Failed> {
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
    let frames = copy_frames(to, donor, wanted, place).await?;
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
        let frames = copy_frames(to, donor, wanted, place).await?;
        if 0 < frames {
            let head = head_from_frames(&to.disk, &spare.name, place).await;
            head.map_err(Failed::Target)?;
            return Ok(frames);
        }
    }
    Ok(0)
}
