//! Opening a store that lies on several volumes.
//!
//! Always:  a volume is what its superblock says, never what its place in the configuration says. One of
//!          another store or with other segments stops the start before anything is written anywhere.
//!          A fresh volume's number is noted on all others before the volume has it.
//!          Where a disk was mounted, an empty folder without one does not take its place.

use super::super::disk::Disk;
use super::super::format::superblock::Superblock;
use super::super::format::{Defect, StoreId};
use super::super::mirror::Member;
use super::{CONSENT, Known, StoreError, establish, know};
use std::rc::Rc;

/// A store whose volumes say who they are.
pub struct Opened<D> {
    /// The one with the most journals and numbers. Its volume number means nothing here.
    pub superblock: Superblock,
    /// Volumes of the store, fresh ones too, in the order of the configuration.
    pub members: Vec<Member<D>>,
    /// Volumes that cannot be used now, by name, with the reason. Nothing was written to them.
    pub unusable: Vec<(Rc<str>, Rc<str>)>,
}

struct Place<D> {
    name: Rc<str>,
    disk: D,
    known: Known,
    /// It lies on another file system than the machine's.
    is_mounted: bool,
}

/// What the store is, before anything is written.
struct Plan {
    store: StoreId,
    is_new: bool,
    journals: u32,
    journals_before: u32,
    volumes: u32,
    segment_bytes: u64,
    /// See [`Superblock::mounted`]; without the fresh ones.
    mounted: u64,
}

/// Opens the store on `places`, each with its name, or makes one; afterwards it has at least `journals`
/// journals. A volume that is empty becomes one of the store, with a number that no other ever had.
///
/// # Errors
/// A new store needs all of its volumes. One that exists needs one of them; the others may be unusable, but
/// not another store's.
pub async fn open_volumes<D: Disk>(
    places: Vec<(Rc<str>, D)>,
    journals: u32,
    segment_bytes: u64,
    draw_id: impl FnOnce() -> u128,
) -> Result<Opened<D>, StoreError> {
    let mut known = Vec::new();
    let mut unusable = Vec::new();
    for (name, disk) in places {
        let is_mounted = disk.is_mounted();
        match know(&disk).await {
            Ok(found) => known.push(Place {
                name,
                disk,
                known: found,
                is_mounted,
            }),
            Err(error) if is_for_operator(&error) => return Err(named(&name, error)),
            Err(error) => unusable.push((name, error)),
        }
    }
    check(&known, segment_bytes)?;
    let is_new = known.iter().all(|place| place.known.superblock.is_none());
    if is_new && let Some((name, error)) = unusable.pop() {
        return Err(named(&name, error));
    }
    let plan = plan(&known, journals, segment_bytes, draw_id);
    let (known, unmounted) = part_unmounted(known, plan.mounted).await;
    unusable.extend(unmounted);
    carry_out(plan, known, unusable).await
}

/// Takes out the empty folders that lie where a disk of the store should be mounted, with what to do.
async fn part_unmounted<D: Disk>(
    places: Vec<Place<D>>,
    mounted: u64,
) -> (Vec<Place<D>>, Vec<(Rc<str>, StoreError)>) {
    let numbers = places.iter().filter_map(|place| place.known.superblock);
    let missing = numbers.fold(mounted, |missing, known| missing & !bit(known.volume));
    if missing == 0 {
        return (places, Vec::new());
    }
    let numbers = (0..u64::BITS).filter(|number| missing & bit(*number) != 0);
    let numbers: Vec<_> = numbers.map(|number| number.to_string()).collect();
    let missing = format!("volume {}", numbers.join(" and the volume "));
    let (mut kept, mut unmounted) = (Vec::new(), Vec::new());
    for place in places {
        let is_plain = place.known.superblock.is_none() && !place.is_mounted;
        if is_plain && !is_meant(&place.disk).await {
            let missing = missing.clone();
            unmounted.push((place.name, StoreError::NotMounted { missing }));
        } else {
            kept.push(place);
        }
    }
    (kept, unmounted)
}

/// Whether an operator has said that this folder is to be a volume.
async fn is_meant<D: Disk>(disk: &D) -> bool {
    let names = disk.list("").await;
    names.is_ok_and(|names| names.iter().any(|name| name == CONSENT))
}

/// Of a volume in [`Superblock::mounted`]; the first 64 have one.
fn bit(volume: u32) -> u64 {
    1_u64.checked_shl(volume).unwrap_or(0)
}

/// A format that this program does not know is no damage.
fn is_for_operator(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Superblock(Defect::Version(_) | Defect::UnknownFeature { .. })
    )
}

fn named(name: &str, source: StoreError) -> StoreError {
    StoreError::Volume {
        name: name.to_owned(),
        source: Box::new(source),
    }
}

/// Refuses volumes that do not belong together.
fn check<D>(places: &[Place<D>], segment_bytes: u64) -> Result<(), StoreError> {
    let mut seen: Vec<(&str, Superblock)> = Vec::new();
    for place in places {
        let Some(found) = place.known.superblock else {
            continue;
        };
        if let Some((one, first)) = seen.first()
            && first.store != found.store
        {
            let (one, other) = ((*one).to_owned(), place.name.to_string());
            return Err(StoreError::Strangers { one, other });
        }
        if found.segment_bytes != segment_bytes {
            let (found, wanted) = (found.segment_bytes, segment_bytes);
            return Err(named(
                &place.name,
                StoreError::SegmentBytes { found, wanted },
            ));
        }
        let twin = seen.iter().find(|(_, other)| other.volume == found.volume);
        if let Some((one, _)) = twin {
            return Err(StoreError::Twins {
                one: (*one).to_owned(),
                other: place.name.to_string(),
                volume: found.volume,
            });
        }
        seen.push((&place.name, found));
    }
    Ok(())
}

fn plan<D>(
    places: &[Place<D>],
    journals: u32,
    segment_bytes: u64,
    draw_id: impl FnOnce() -> u128,
) -> Plan {
    let found: Vec<_> = places
        .iter()
        .filter_map(|place| place.known.superblock)
        .collect();
    let most = |number: fn(&Superblock) -> u32| found.iter().map(number).max().unwrap_or(0);
    let journals_before = most(|known| known.journals);
    let noted = found.iter().fold(0, |bits, known| bits | known.mounted);
    let mounted = places.iter().fold(noted, |bits, place| {
        let own = place.known.superblock.map_or(0, |known| bit(known.volume));
        if place.is_mounted {
            bits | own
        } else {
            bits & !own
        }
    });
    Plan {
        store: found
            .first()
            .map_or_else(|| StoreId(draw_id()), |known| known.store),
        is_new: found.is_empty(),
        journals: journals.max(journals_before),
        journals_before,
        volumes: most(|known| known.volumes.max(known.volume + 1)),
        segment_bytes,
        mounted,
    }
}

async fn carry_out<D: Disk>(
    plan: Plan,
    places: Vec<Place<D>>,
    unusable: Vec<(Rc<str>, StoreError)>,
) -> Result<Opened<D>, StoreError> {
    let tell = |(name, error): (Rc<str>, StoreError)| (name, Rc::from(error.to_string()));
    let mut unusable: Vec<(Rc<str>, Rc<str>)> = unusable.into_iter().map(tell).collect();
    let is_fresh = |place: &Place<D>| place.known.superblock.is_none();
    let fresh = places.iter().filter(|place| is_fresh(place)).count() as u32;
    let volumes = plan.volumes + fresh;
    let base = Superblock::of_new_store(plan.store, volumes, plan.journals, plan.segment_bytes);
    let mut next = plan.volumes;
    let mut mounted = plan.mounted;
    let mut planned = Vec::new();
    for place in places {
        if is_fresh(&place) && place.is_mounted {
            mounted |= bit(next);
        }
        let superblock = place.known.superblock.unwrap_or_else(|| {
            next += 1;
            Superblock {
                volume: next - 1,
                journals_before: plan.journals_before,
                ..base
            }
        });
        planned.push((place, superblock));
    }
    for (_, superblock) in &mut planned {
        *superblock = superblock.grown(plan.journals, volumes, mounted);
    }
    // Those that have a number are told of the new ones first.
    let mut order: Vec<usize> = (0..planned.len()).collect();
    order.sort_by_key(|index| is_fresh(&planned[*index].0));
    let mut failed = Vec::new();
    for index in order {
        let (place, superblock) = &planned[index];
        let done = establish(&place.disk, place.known.clone(), superblock).await;
        if let Err(error) = done {
            if plan.is_new || planned.len() == failed.len() + 1 {
                return Err(named(&place.name, error));
            }
            failed.push(index);
            unusable.push(tell((place.name.clone(), error)));
        }
    }
    let members = planned.into_iter().enumerate();
    let members = members.filter(|(index, _)| !failed.contains(index));
    let members = members.map(|(_, (place, superblock))| Member {
        volume: superblock.volume,
        name: place.name,
        disk: place.disk,
    });
    Ok(Opened {
        superblock: base,
        members: members.collect(),
        unusable,
    })
}
