//! The volumes of the store as a shard opens them.

use super::Settings;
use super::background::Rest;
use super::clock::{Clock as _, MachineClock};
use crate::limit;
use crate::log::journal::{Decay, Journal, Pace, RebuildError};
use crate::log::mirror::{Member, Mirror, Rules, Standing, State};
use crate::log::reconcile::Permissions;
use crate::log::report::{LossCounts, ScrubCounts, VolumeReport, VolumeState};
use crate::log::{Copies, Flush};
use crate::rt;
use crate::rt::file::{self, Volume};
use crate::unit::JournalId;
use std::cell::Cell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

/// Between two looks at what is to be scrubbed or repaired.
const SCRUB_PAUSE: Duration = Duration::from_secs(5);

/// What a journal is written to.
pub type Disk = Mirror<Volume>;

/// One volume of the store: its number, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub volume: u32,
    pub folder: PathBuf,
}

/// What a start is told of the volumes.
#[derive(Clone, Debug, Default)]
pub struct Volumes {
    /// Those that say that they are the store's, in the order of the configuration.
    pub places: Vec<Place>,
    /// Configured folders that cannot be used now, with the reason.
    pub unusable: Vec<(String, String)>,
    pub permissions: Permissions,
}

/// When the last scrub ended, in milliseconds since 1970.
pub type LastScrub = Rc<Cell<Option<i64>>>;

/// How one journal sees the volumes.
pub fn reports(
    id: JournalId,
    journal: &Journal<Disk>,
    unusable: &[(String, String)],
    last_scrub: &LastScrub,
) -> Vec<VolumeReport> {
    let standing = newest(journal.mirror().standing());
    let fault = journal.fault().filter(|_| standing.len() == 1);
    let scrubbed = journal.scrubbed();
    let losses = LossCounts::of(&journal.losses());
    let report = |folder: &str, volume, state| VolumeReport {
        journal: id,
        volume,
        folder: folder.to_owned(),
        state,
        scrub: ScrubCounts {
            passes: scrubbed.passes,
            bytes: scrubbed.bytes,
            repaired: scrubbed.repaired,
            lost: scrubbed.lost,
            last_pass_ms: last_scrub.get(),
        },
        losses,
    };
    let known = standing.iter().map(|standing| {
        let state = state_of(&standing.state, fault.as_deref());
        report(&standing.name, Some(standing.volume), state)
    });
    let is_new = |(folder, _): &&(String, String)| {
        standing.iter().all(|standing| *standing.name != **folder)
    };
    let unknown = unusable.iter().filter(is_new).map(|(folder, reason)| {
        let reason = reason.clone();
        report(folder, None, VolumeState::Absent { reason })
    });
    known.chain(unknown).collect()
}

/// A folder that got a new disk has a new number; the old one is history.
fn newest(mut standing: Vec<Standing>) -> Vec<Standing> {
    let all = standing.clone();
    standing.retain(|one| {
        let same_folder = all.iter().filter(|other| other.name == one.name);
        same_folder.map(|other| other.volume).max() == Some(one.volume)
    });
    standing
}

/// `fault` is why the only volume's journal takes nothing: that volume is never fenced.
fn state_of(state: &State, fault: Option<&str>) -> VolumeState {
    match (state, fault) {
        (State::InService, Some(reason)) => VolumeState::Fenced {
            reason: reason.to_owned(),
        },
        (State::InService, None) => VolumeState::InService,
        (State::Rebuilding { done, total }, _) => VolumeState::Rebuilding {
            done_bytes: *done,
            total_bytes: *total,
        },
        (State::Fenced { reason }, _) => VolumeState::Fenced {
            reason: reason.to_string(),
        },
        (State::Absent { reason }, _) => VolumeState::Absent {
            reason: reason.to_string(),
        },
    }
}

/// Gives a volume a whole copy of the journal, and takes it into service. Failures are told; whoever looks after
/// the volumes tries again.
pub async fn fill(
    id: JournalId,
    journal: &Journal<Disk>,
    member: Member<Volume>,
    settings: &Settings,
    rest: &Rest,
) {
    let name = member.name.clone();
    tracing::info!("journal {}: the volume {name} is being filled", id.0);
    let pace = rest.pace(settings.log.rebuild_bytes_per_second);
    match journal.rebuild(&member, &pace).await {
        Ok(()) => tracing::info!("journal {}: the volume {name} is in service", id.0),
        // Nothing is wrong: somebody else has done it, or does it.
        Err(RebuildError::Busy | RebuildError::InService(_)) => {}
        Err(why) => tracing::warn!("journal {}: the volume {name} was not filled: {why}", id.0),
    }
}

/// Reads everything again and again at the pace that is configured, and repairs what readers find damaged.
pub async fn scrub(
    id: JournalId,
    journal: &Journal<Disk>,
    settings: &Settings,
    last: &LastScrub,
    rest: &Rest,
) {
    let clock = MachineClock::start();
    let rate = settings.log.scrub_bytes_per_second;
    let pace = telling(id, journal, rest.pace(rate.max(limit::BACKGROUND_RATE_MIN)));
    loop {
        rest.sleep(SCRUB_PAUSE).await;
        journal.repair_suspects(&pace).await;
        if 0 < rate {
            journal.scrub(&pace).await;
            clock.follow_wall();
            last.set(Some(clock.now().millis()));
        }
    }
}

/// A pace that also tells of the damage that was met before it.
fn telling(id: JournalId, journal: &Journal<Disk>, pace: Pace) -> Pace {
    let journal = journal.clone();
    Rc::new(move |bytes| {
        for decay in journal.take_decay() {
            tell(id, &journal.mirror(), &decay);
        }
        pace(bytes)
    })
}

fn tell(id: JournalId, mirror: &Disk, decay: &Decay) {
    let standing = mirror.standing();
    let volume = standing.iter().find(|one| one.volume == decay.volume);
    let volume = volume.map_or("a volume", |one| &*one.name);
    let (file, position) = (&decay.file, decay.position);
    if decay.is_repaired {
        tracing::warn!(
            "journal {}: {volume}/{file} was damaged at byte {position}; it was restored from another copy",
            id.0
        );
    } else {
        tracing::error!(
            "journal {}: {volume}/{file} is damaged at byte {position} and no copy is whole: what was there is not \
             served; bring back a volume that has it",
            id.0
        );
    }
}

/// How the volumes are to be opened.
pub fn settings(settings: &Settings) -> file::Settings {
    file::Settings {
        write_through: settings.log.flush == Flush::WriteThrough,
        allow_any_filesystem: settings.allow_any_filesystem,
    }
}

pub fn rules(copies: Copies) -> Rules {
    Rules {
        volumes_min: copies.volumes_min,
        durable_volumes: copies.durable_volumes,
        lag_bytes_max: copies.lag_bytes_max,
    }
}

/// Opens one volume on this executor.
pub async fn open(place: &Place, how: &Settings) -> Result<Member<Volume>, rt::Error> {
    Ok(Member {
        volume: place.volume,
        name: place.folder.display().to_string().into(),
        disk: Volume::prepare(&place.folder, settings(how)).await?,
    })
}

impl Volumes {
    /// Opens all of them on this executor. One that cannot be opened is told with the unusable ones.
    pub async fn open(&self, how: &Settings) -> (Vec<Member<Volume>>, Vec<(String, String)>) {
        let (mut members, mut unusable) = (Vec::new(), self.unusable.clone());
        for place in &self.places {
            match open(place, how).await {
                Ok(member) => members.push(member),
                Err(why) => unusable.push((place.folder.display().to_string(), why.to_string())),
            }
        }
        (members, unusable)
    }
}
