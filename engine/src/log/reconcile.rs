//! From the volumes of one journal, as they are found, to one journal that may be taken up.
//!
//! 1. Each volume is recovered by itself. What is damaged on one and whole on another is repaired ([`heal`]).
//! 2. The newest record of who keeps copies says who must be there; the right copy is the one with the
//!    highest (epoch, sequence) among its members ([`choose`]), with the frames that others have behind its
//!    end ([`extend`]). Files' times and lengths say nothing.
//!    When only damaged copies could tell, the start stops, or goes on without what is lost ([`give_up`]).
//! 3. Members that miss the end of the chain get it ([`follow`]), one volume after the other.
//!
//! Always:  the right copy's frames are never written to. At any moment a volume that was sound is, so a
//!          crash loses nothing. Everything is flushed before the journal is handed over.
//! Cancel:  as a crash.
//! Full:    a volume that is too far behind, or has no room, is left to a rebuild. With fewer volumes than the
//!          rules ask for the journal is handed over all the same: it can be read, and they may come back.

mod choose;
mod extend;
mod follow;
mod front;
mod give_up;
mod heal;
mod swap;

pub use give_up::Damage;

#[cfg(test)]
mod tests;

use super::disk::Disk;
use super::format::segment::Kind;
use super::mirror::{Member, Mirror, MirrorFile, Rules, State, Tender};
use super::planted::{self, Planted};
use super::recover::{Found, Identity, RecoverError, Recovered, Salvage, Walked, recover};
use super::store::StoreError;
use crate::unit::{Epoch, Sequence};
use choose::Choice;
use follow::Behind;
use std::io;
use std::rc::Rc;

/// What an operator allows at one start.
#[derive(Clone, Debug, Default)]
pub struct Permissions {
    /// Volumes that the start may go on without; their copies are not looked at.
    pub without: Vec<u32>,
    /// Absent volumes that the start may go on without although nobody knows their numbers any more.
    pub without_unknown: usize,
    /// What is damaged and has no good copy may be given up.
    pub accept_loss: bool,
}

/// A journal that may be taken up.
pub struct Reconciled<D: Disk> {
    /// The volumes that hold the same now.
    pub mirror: Mirror<D>,
    pub tender: Tender<D>,
    pub recovered: Recovered<MirrorFile<D>>,
    /// Volumes that have to get a whole copy, each with the reason.
    pub to_rebuild: Vec<(Member<D>, Rc<str>)>,
    /// What was repaired, for the log.
    pub notes: Vec<String>,
}

/// Why the journal cannot be taken up. The text says what an operator can do.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    #[error(
        "journal {journal} may have lost its newest events: {absent}; its volumes are {members}, and fewer \
         than {needed} of them may be absent: bring them back, or start without them (--without)"
    )]
    Absent {
        journal: u32,
        absent: String,
        members: String,
        needed: u32,
    },
    #[error(
        "journal {journal} has not been copied to {volumes} yet: name the volumes that the store was on in \
         log.volumes"
    )]
    NotCopied { journal: u32, volumes: String },
    /// Damage that no copy can repair.
    #[error("{0}")]
    Damaged(Damage),
    #[error("the volume {volume}: {source}")]
    Volume {
        volume: String,
        source: RecoverError,
    },
    #[error("the volume {volume}: {source}")]
    Store { volume: String, source: StoreError },
    #[error("could not {deed}: {source}")]
    Disk {
        deed: &'static str,
        source: io::Error,
    },
}

/// What a segment's name ends with until it is filled, or written anew.
const UNFINISHED: [&str; 2] = [".seg.new", ".seg.sorted"];

/// Which journal, and where it lies on each volume.
#[derive(Clone, Copy)]
struct Place<'a> {
    folder: &'a str,
    identity: Identity,
}

/// One volume's copy as it was found.
struct Copy<D: Disk> {
    member: Member<D>,
    found: Result<Recovered<D::File>, RecoverError>,
    /// What is left of a damaged one.
    salvage: Option<Salvage<D::File>>,
    /// `found` is what is left.
    is_wounded: bool,
}

impl<D: Disk> Copy<D> {
    async fn look(member: Member<D>, place: Place<'_>) -> Self {
        let found = recover(&member.disk, place.folder, place.identity).await;
        Self {
            member,
            found,
            salvage: None,
            is_wounded: false,
        }
    }

    fn volume(&self) -> u32 {
        self.member.volume
    }

    /// How far its chain goes; `None` when it is not sound.
    fn reach(&self) -> Option<(Epoch, Option<Sequence>)> {
        let found = self.found.as_ref().ok()?;
        if planted::is(Planted::TrustTheLongest) {
            return Some((Epoch(0), found.last));
        }
        Some((found.epoch, found.last))
    }

    /// How many of its segments were rewritten. After a crash in the middle of a swap one has one more.
    fn rewritten(&self) -> usize {
        let sorted = |found: &Recovered<D::File>| {
            let sealed = found.sealed.iter();
            sealed.filter(|one| one.kind == Kind::Sorted).count()
        };
        self.found.as_ref().map_or(0, sorted)
    }
}

/// Makes the copies of one journal one, as far as they can be.
///
/// # Errors
/// See [`ReconcileError`]. What was repaired until then stays repaired.
pub async fn reconcile<D: Disk>(
    volumes: Vec<Member<D>>,
    folder: &str,
    identity: Identity,
    rules: Rules,
    permissions: &Permissions,
) -> Result<Reconciled<D>, ReconcileError> {
    let place = Place { folder, identity };
    let (mut unread, mut notes) = (Vec::new(), Vec::new());
    loop {
        let copies = look_at_all(&volumes, &unread, place).await?;
        let united = unite(copies, place, permissions, &mut notes).await?;
        let united = match united {
            Ok(united) => united,
            Err(failed) => {
                let name = volumes.iter().find(|one| one.volume == failed.volume);
                let name = name.map(|one| &*one.name).unwrap_or_default();
                notes.push(format!("{name}: {}", failed.again()));
                unread.push(failed);
                continue;
            }
        };
        return hand_over(united, &volumes, place, rules, notes).await;
    }
}

/// A volume that was the right copy until it could not be read.
struct Unread {
    volume: u32,
    file: String,
    error: io::Error,
}

impl Unread {
    fn again(&self) -> RecoverError {
        RecoverError::Disk {
            deed: format!("read {} for the other volumes", self.file),
            source: io::Error::new(self.error.kind(), self.error.to_string()),
        }
    }
}

/// The copies after all that could be done for them.
struct United<D: Disk> {
    recovered: Recovered<D::File>,
    in_service: Vec<Member<D>>,
    to_rebuild: Vec<(Member<D>, Rc<str>)>,
}

/// Recovers every volume by itself. One that has failed under way is not sound.
async fn look_at_all<D: Disk>(
    volumes: &[Member<D>],
    unread: &[Unread],
    place: Place<'_>,
) -> Result<Vec<Copy<D>>, ReconcileError> {
    let mut copies = Vec::new();
    for member in volumes {
        let failed = unread.iter().find(|one| one.volume == member.volume);
        copies.push(match failed {
            Some(failed) => Copy {
                member: member.clone(),
                found: Err(failed.again()),
                salvage: None,
                is_wounded: false,
            },
            None => refuse_unknown(Copy::look(member.clone(), place).await)?,
        });
    }
    Ok(copies)
}

/// Repairs what can be repaired, chooses the right copy, and brings the others up to date with it. The inner
/// error is of the right copy: it cannot be read, so another has to be chosen, if the rules allow.
async fn unite<D: Disk>(
    mut copies: Vec<Copy<D>>,
    place: Place<'_>,
    permissions: &Permissions,
    notes: &mut Vec<String>,
) -> Result<Result<United<D>, Unread>, ReconcileError> {
    heal::heal_all(&mut copies, place, permissions, notes).await;
    swap::repair(&mut copies, place, permissions, notes).await;
    if 1 < copies.len() {
        for copy in &mut copies {
            front::check(copy).await;
        }
    }
    extend::extend(&mut copies, place, permissions, notes).await;
    let choice = give_up::choose(&mut copies, place, permissions, notes).await?;
    let (best, mut recovered, others) = take_best(copies, &choice);
    front::let_go(&best, &mut recovered, &others).await;
    flush_walked(&best, &recovered).await?;
    drop_unfit(&best, &mut recovered, place).await?;
    let mut in_service = vec![best.clone()];
    let mut to_rebuild = Vec::new();
    for copy in others {
        match join(&best, &mut recovered, &copy, place, permissions, &choice).await {
            Ok(followed) => {
                notes.extend(followed);
                in_service.push(copy.member);
            }
            Err(Behind::Unread { file, source }) => {
                let volume = best.volume;
                return Ok(Err(Unread {
                    volume,
                    file,
                    error: source,
                }));
            }
            Err(behind) => to_rebuild.push((copy.member, behind.to_string().into())),
        }
    }
    Ok(Ok(United {
        recovered,
        in_service,
        to_rebuild,
    }))
}

/// Makes one disk of the volumes that hold the same now.
async fn hand_over<D: Disk>(
    united: United<D>,
    volumes: &[Member<D>],
    place: Place<'_>,
    rules: Rules,
    notes: Vec<String>,
) -> Result<Reconciled<D>, ReconcileError> {
    let United {
        recovered,
        mut in_service,
        to_rebuild,
    } = united;
    for member in &in_service {
        during(tidy(member, place.folder).await, "remove unfinished files")?;
    }
    in_service.sort_by_key(|member| volumes.iter().position(|one| one.volume == member.volume));
    let (mirror, tender) = Mirror::new(in_service, rules);
    for (member, reason) in &to_rebuild {
        let reason = reason.clone();
        mirror.set_state(member.volume, &member.name, State::Absent { reason });
    }
    let recovered = open_on_all(&mirror, recovered).await?;
    Ok(Reconciled {
        mirror,
        tender,
        recovered,
        to_rebuild,
        notes,
    })
}

/// What belongs to something else, or was written by a later program, is no damage: nothing may go on over it.
fn refuse_unknown<D: Disk>(copy: Copy<D>) -> Result<Copy<D>, ReconcileError> {
    match copy.found {
        Err(source @ RecoverError::Unknown { .. }) => Err(ReconcileError::Volume {
            volume: copy.member.name.to_string(),
            source,
        }),
        _ => Ok(copy),
    }
}

/// The right copy and the others.
fn take_best<D: Disk>(
    mut copies: Vec<Copy<D>>,
    choice: &Choice,
) -> (Member<D>, Recovered<D::File>, Vec<Copy<D>>) {
    let best = copies.remove(choice.best);
    let recovered = best
        .found
        .unwrap_or_else(|_| unreachable!("only a sound copy is chosen"));
    (best.member, recovered, copies)
}

/// What was read may still be on its way to the disk: a program that was killed did not wait for it.
async fn flush_walked<D: Disk>(
    member: &Member<D>,
    recovered: &Recovered<D::File>,
) -> Result<(), ReconcileError> {
    for walked in &recovered.walked {
        let flushed = member.disk.flush(&walked.segment.file).await;
        during(flushed, "flush a segment")?;
    }
    Ok(())
}

/// Files of another size that hold nothing that counts are of no use: they go.
async fn drop_unfit<D: Disk>(
    member: &Member<D>,
    recovered: &mut Recovered<D::File>,
    place: Place<'_>,
) -> Result<(), ReconcileError> {
    let fits = |spare: &Found<D::File>| spare.bytes == place.identity.segment_bytes;
    let spare = std::mem::take(&mut recovered.spare);
    let (fit, unfit): (Vec<_>, Vec<_>) = spare.into_iter().partition(fits);
    recovered.spare = fit;
    for spare in &unfit {
        during(member.disk.remove(&spare.name).await, "remove a segment")?;
    }
    if !unfit.is_empty() {
        let flushed = member.disk.flush_folder(place.folder).await;
        during(flushed, "flush the names of segments")?;
    }
    Ok(())
}

/// Brings one more volume up to date; `Err` says why it has to be rebuilt, or that `best` cannot be read.
async fn join<D: Disk>(
    best: &Member<D>,
    recovered: &mut Recovered<D::File>,
    copy: &Copy<D>,
    place: Place<'_>,
    permissions: &Permissions,
    choice: &Choice,
) -> Result<Vec<String>, Behind> {
    if permissions.without.contains(&copy.volume()) {
        let why = "the start went on without it";
        return Err(Behind::Left(why.to_owned()));
    }
    if !choice.members.contains(&copy.volume()) {
        return Err(Behind::Left(match (&copy.found, copy.reach()) {
            (Err(error), _) => error.to_string(),
            (_, Some((_, None))) => "it is new".to_owned(),
            _ => "it was taken out of service before".to_owned(),
        }));
    }
    follow::follow(best, recovered, copy, place).await
}

/// Removes files that a crash left unfinished: what one volume has and another has not, they could not agree on.
async fn tidy<D: Disk>(member: &Member<D>, folder: &str) -> io::Result<()> {
    let names = member.disk.list(folder).await?;
    let is_unfinished = |name: &&String| UNFINISHED.iter().any(|ending| name.ends_with(ending));
    let unfinished = names.iter().filter(is_unfinished);
    let mut removed = false;
    for name in unfinished {
        member.disk.remove(&format!("{folder}/{name}")).await?;
        removed = true;
    }
    if removed {
        member.disk.flush_folder(folder).await?;
    }
    Ok(())
}

/// The same journal with its files open on every volume in service.
async fn open_on_all<D: Disk>(
    mirror: &Mirror<D>,
    found: Recovered<D::File>,
) -> Result<Recovered<MirrorFile<D>>, ReconcileError> {
    let mut sealed = Vec::new();
    for segment in found.sealed {
        sealed.push(open_one(mirror, segment).await?);
    }
    let mut walked = Vec::new();
    for old in found.walked {
        walked.push(Walked {
            segment: open_one(mirror, old.segment).await?,
            opening: old.opening,
            end: old.end,
            last: old.last,
            chain_out: old.chain_out,
            records: old.records,
            places: old.places,
            defined: old.defined,
            unproven: old.unproven,
        });
    }
    let mut spare = Vec::new();
    for segment in found.spare {
        spare.push(open_one(mirror, segment).await?);
    }
    Ok(Recovered {
        epoch: found.epoch,
        last: found.last,
        chain: found.chain,
        sealed,
        walked,
        spare,
        extents: found.extents,
        names: found.names,
        deleted: found.deleted,
        membership: found.membership,
        forwarded: found.forwarded,
        losses: found.losses,
        floor: found.floor,
        closed: found.closed,
        life_max: found.life_max,
        file_max: found.file_max,
    })
}

async fn open_one<D: Disk>(
    mirror: &Mirror<D>,
    found: Found<D::File>,
) -> Result<Found<MirrorFile<D>>, ReconcileError> {
    let file = mirror.open(&found.name).await;
    Ok(Found {
        file: Rc::new(during(file, "open a segment on every volume")?),
        name: found.name,
        life: found.life,
        opening: found.opening,
        kind: found.kind,
        bytes: found.bytes,
    })
}

fn during<T>(result: io::Result<T>, deed: &'static str) -> Result<T, ReconcileError> {
    result.map_err(|source| ReconcileError::Disk { deed, source })
}
