//! Who may start, and which copy is right.
//!
//! Always:  what a volume says counts only when its copy is sound. A frame that was acknowledged is on at
//!          least min(volumes required, copies waited for) members of the newest record, so with fewer than
//!          that absent, one of those present has it.

use super::super::disk::Disk;
use super::super::format::section::Membership;
use super::super::store::{CATALOGUE_JOURNAL, read_superblock};
use super::{Copy, Permissions, Place, ReconcileError};

/// Which copy is right, and who should have the same.
pub(super) struct Choice {
    pub(super) best: usize,
    pub(super) members: Vec<u32>,
}

/// Members that must not be absent all at once.
fn needed(membership: &Membership) -> usize {
    let all = membership.members.len();
    let copies = match membership.durable_volumes as usize {
        0 => all,
        some => some.min(all),
    };
    copies.min(membership.volumes_min as usize).max(1)
}

/// The place of the copy that reaches furthest of those that `wanted` accepts. Of equals it is a sound one rather
/// than what is left of a damaged one, then the one in which more was rewritten, else the first.
fn furthest<D: Disk>(copies: &[Copy<D>], wanted: impl Fn(&Copy<D>) -> bool) -> Option<usize> {
    let mut best = None;
    for (index, copy) in copies.iter().enumerate().filter(|(_, copy)| wanted(copy)) {
        let Some(reach) = copy.reach() else { continue };
        let reach = (reach, !copy.is_wounded, copy.rewritten());
        if best.is_none_or(|(_, best)| best < reach) {
            best = Some((index, reach));
        }
    }
    best.map(|(index, _)| index)
}

/// Chooses the right copy.
pub(super) async fn choose<D: Disk>(
    copies: &[Copy<D>],
    place: Place<'_>,
    permissions: &Permissions,
) -> Result<Choice, ReconcileError> {
    let usable = |copy: &Copy<D>| !permissions.without.contains(&copy.volume());
    let newest = furthest(copies, usable);
    let found = newest.and_then(|newest| copies[newest].found.as_ref().ok());
    let is_broken = |copy: &Copy<D>| usable(copy) && copy.found.is_err();
    match found {
        Some(found) if found.last.is_some() => {
            // A journal of before there were records is on the volume that its store began with.
            let membership = found.membership.clone().unwrap_or(Membership {
                epoch: found.epoch.0,
                volumes_min: 1,
                durable_volumes: 0,
                members: vec![0],
            });
            allow(copies, &membership, place, permissions)?;
            let is_member = |copy: &Copy<D>| membership.members.contains(&copy.volume());
            let best = furthest(copies, |copy| usable(copy) && is_member(copy));
            let absent = || absent(copies, &membership, place, permissions);
            Ok(Choice {
                best: best.ok_or_else(absent)?,
                members: membership.members.clone(),
            })
        }
        _ => match copies.iter().find(|copy| is_broken(copy)) {
            Some(broken) => Err(broken_alone(broken, place)),
            None => begin(copies, place, permissions).await,
        },
    }
}

/// Volumes of the record whose copy is not there, or not sound, and was not excused.
fn missing<'a, D: Disk>(
    copies: &'a [Copy<D>],
    membership: &'a Membership,
    permissions: &'a Permissions,
) -> impl Iterator<Item = u32> + 'a {
    let is_sound = |volume: u32| {
        let mut all = copies.iter();
        all.any(|copy| copy.volume() == volume && copy.found.is_ok())
    };
    let excused = |volume: &u32| permissions.without.contains(volume);
    let members = membership.members.iter().copied();
    members.filter(move |volume| !is_sound(*volume) && !excused(volume))
}

fn allow<D: Disk>(
    copies: &[Copy<D>],
    membership: &Membership,
    place: Place<'_>,
    permissions: &Permissions,
) -> Result<(), ReconcileError> {
    let missing = missing(copies, membership, permissions).count();
    if missing < needed(membership) || missing <= permissions.without_unknown {
        return Ok(());
    }
    Err(absent(copies, membership, place, permissions))
}

fn absent<D: Disk>(
    copies: &[Copy<D>],
    membership: &Membership,
    place: Place<'_>,
    permissions: &Permissions,
) -> ReconcileError {
    let tell = |volume: u32| match copies.iter().find(|copy| copy.volume() == volume) {
        Some(Copy {
            member,
            found: Err(error),
            ..
        }) => format!("volume {volume} ({}) is not sound: {error}", member.name),
        _ => format!("volume {volume} is absent"),
    };
    let lost: Vec<_> = missing(copies, membership, permissions).map(tell).collect();
    ReconcileError::Absent {
        journal: place.identity.journal.0,
        absent: lost.join(", "),
        members: numbers(&membership.members),
        needed: needed(membership) as u32,
    }
}

fn numbers(volumes: &[u32]) -> String {
    let texts: Vec<_> = volumes.iter().map(u32::to_string).collect();
    texts.join(", ")
}

/// The only copies that are sound are empty, and this one is not.
fn broken_alone<D: Disk>(copy: &Copy<D>, place: Place<'_>) -> ReconcileError {
    let error = copy.found.as_ref().err();
    let error = error.map(ToString::to_string).unwrap_or_default();
    ReconcileError::Absent {
        journal: place.identity.journal.0,
        absent: format!(
            "volume {} ({}) is not sound: {error}",
            copy.volume(),
            copy.member.name
        ),
        members: copy.volume().to_string(),
        needed: 1,
    }
}

/// A journal without a frame: it begins, unless it is one that has not been copied to these volumes.
async fn begin<D: Disk>(
    copies: &[Copy<D>],
    place: Place<'_>,
    permissions: &Permissions,
) -> Result<Choice, ReconcileError> {
    let journal = place.identity.journal;
    let (mut members, mut given) = (Vec::new(), 0);
    for copy in copies {
        let superblock = read_superblock(&copy.member.disk).await;
        let superblock = superblock.map_err(|source| ReconcileError::Store {
            volume: copy.member.name.to_string(),
            source,
        })?;
        let Some(superblock) = superblock else {
            members.push(copy.volume());
            continue;
        };
        given = given.max(superblock.volumes);
        let was_there = if journal == CATALOGUE_JOURNAL {
            superblock.journals_before == 0
        } else {
            superblock.journals_before <= journal.0
        };
        if was_there && !permissions.without.contains(&copy.volume()) {
            members.push(copy.volume());
        }
    }
    let is_member = |copy: &Copy<D>| members.contains(&copy.volume());
    let Some(best) = copies.iter().position(is_member) else {
        let names: Vec<_> = copies.iter().map(|copy| &*copy.member.name).collect();
        return Err(ReconcileError::NotCopied {
            journal: journal.0,
            volumes: names.join(", "),
        });
    };
    // A start that came as far as making files may have come further on the others.
    let touched = |copy: &Copy<D>| {
        copy.found
            .as_ref()
            .is_ok_and(|found| found.file_max.is_some())
    };
    if copies.iter().any(touched) {
        let all = Membership {
            epoch: 0,
            volumes_min: 1,
            durable_volumes: 0,
            members: (0..given).collect(),
        };
        allow(copies, &all, place, permissions)?;
    }
    Ok(Choice { best, members })
}
