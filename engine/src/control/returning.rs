//! Looks after volumes that are out of service: tries them again, and has them filled when they are fit for use.
//!
//! Always:  a folder is locked, is on a fit file system, and says in its superblock that it is the store's before
//!          any journal hears of it. One that cannot be used is tried again, ever more rarely.
//! Core:    the control core's.
//! Cancel:  a folder that was being tried is tried again at the next start.

use super::catalogue::Keeper;
use super::config::Settings;
use super::fleet::Fleet;
use super::house::{self, Folder};
use super::volumes::{Overview, Row, overview};
use crate::limit;
use crate::log::report::{VolumeReport, VolumeState};
use crate::log::store;
use crate::shard::background::Rest;
use crate::shard::mail::Order;
use crate::shard::volumes::Place;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// When a folder is tried next, in rounds, and how long it waited before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Patience {
    next: u64,
    waited: u64,
}

impl Patience {
    /// Twice as long as the last time, up to a bound.
    fn after_failure(self, round: u64) -> Self {
        let waited = (2 * self.waited).clamp(1, limit::VOLUME_RETRY_ROUNDS_MAX);
        Self {
            next: round + waited,
            waited,
        }
    }
}

/// What was said of the volumes last, so that each change is said once.
#[derive(Debug, Default)]
struct Told {
    /// State, and tenths of a rebuild that are done, by folder.
    rows: BTreeMap<String, (String, u32)>,
}

impl Told {
    /// A line for each volume that stands otherwise than before, and whether it is bad news.
    fn news(&mut self, seen: &Overview) -> Vec<(bool, String)> {
        let mut news = Vec::new();
        for row in &seen.volumes {
            let now = (row.state.clone(), tenths(row));
            let before = self.rows.insert(row.folder.clone(), now.clone());
            // The start has said what it found; a volume may have failed since.
            let is_news = match before {
                None => row.state == "fenced",
                Some(before) => before != now,
            };
            if !is_news {
                continue;
            }
            let why = row.reason.as_deref().map(|why| format!(" ({why})"));
            let progress = row.rebuilt.map(|share| format!(" {:.0} %", 100.0 * share));
            let (state, why) = (&row.state, why.unwrap_or_default());
            let progress = progress.unwrap_or_default();
            let (copies, all) = (seen.copies, seen.volumes.len());
            news.push((
                1 < row.rank(),
                format!(
                    "the volume {} is {state}{progress}{why}; a new event goes to {copies} of {all} volumes",
                    row.folder
                ),
            ));
        }
        news
    }
}

fn tenths(row: &Row) -> u32 {
    row.rebuilt.map_or(0, |share| (10.0 * share) as u32)
}

/// Folders that some journal is without and nobody fills. Those that the operator left out are left alone.
fn missing<'a>(folders: &'a [Folder], reports: &[VolumeReport]) -> Vec<&'a Folder> {
    let is_out = |report: &VolumeReport| {
        matches!(
            &report.state,
            VolumeState::Fenced { .. } | VolumeState::Absent { .. }
        )
    };
    let named = |folder: &&Folder| {
        let of_folder = |report: &&VolumeReport| Path::new(&report.folder) == folder.path;
        !folder.left_out && reports.iter().filter(of_folder).any(is_out)
    };
    folders.iter().filter(named).collect()
}

/// Works until it is stopped.
pub(super) async fn serve(
    settings: Settings,
    folders: Rc<Vec<Folder>>,
    fleet: Rc<Fleet>,
    keeper: Rc<Keeper>,
    rest: Rest,
) {
    // The only volume of a store has nothing to be filled from.
    if folders.len() < 2 {
        return;
    }
    let mut patience: BTreeMap<PathBuf, Patience> = BTreeMap::new();
    let mut told = Told::default();
    let copies = settings.shard.log.copies;
    for round in 1.. {
        rest.sleep(Duration::from_millis(limit::VOLUME_RETRY_MS))
            .await;
        let Ok(reports) = fleet.volumes().await else {
            continue;
        };
        let seen = overview(&reports, copies.volumes_min, copies.durable_volumes);
        for (is_bad, line) in told.news(&seen) {
            if is_bad {
                tracing::error!("{line}");
            } else {
                tracing::info!("{line}");
            }
        }
        for folder in missing(&folders, &reports) {
            let tried = patience.entry(folder.path.clone()).or_default();
            if round < tried.next {
                continue;
            }
            // Also after a success: what is given to the journals may fail there again.
            *tried = tried.after_failure(round);
            match recall(&settings, &folders, folder).await {
                Ok(place) => {
                    tracing::info!("the volume {} is there again", place.folder.display());
                    fleet.order_all(|| Order::Returned(place.clone())).await;
                    keeper.take_back(place).await;
                }
                Err(why) => tracing::warn!("the volume {}: {why}", folder.path.display()),
            }
        }
        patience.retain(|folder, _| {
            missing(&folders, &reports)
                .iter()
                .any(|missing| missing.path == *folder)
        });
    }
}

/// Makes sure that the folder is a volume of the store, and gives its number.
async fn recall(settings: &Settings, folders: &[Folder], wanted: &Folder) -> Result<Place, String> {
    wanted.lock_again().map_err(|error| error.to_string())?;
    let mut places = Vec::new();
    for folder in folders.iter().filter(|folder| !folder.left_out) {
        if let Ok(disk) = house::prepare(folder, settings).await {
            places.push((house::name(&folder.path), disk));
        }
    }
    let segment_bytes = settings.shard.log.segment_bytes;
    let others = places.len();
    if others < 2 {
        return Err("no other volume can be read now".into());
    }
    // The store is there: it needs no id, and no journal more than it has.
    let opened = store::open_volumes(places, 0, segment_bytes, || 0).await;
    let opened = opened.map_err(|error| error.to_string())?;
    let member = opened
        .members
        .iter()
        .find(|member| member.disk.root() == wanted.path);
    let place = member.map(|member| Place {
        volume: member.volume,
        folder: wanted.path.clone(),
    });
    let told = opened.unusable.iter();
    let mut told = told.filter(|(name, _)| Path::new(&**name) == wanted.path);
    place.ok_or_else(|| {
        let why = told.next().map(|(_, why)| why.to_string());
        why.unwrap_or_else(|| "it cannot be opened".into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_of_a_volume_is_said_once() {
        use crate::log::report::{LossCounts, ScrubCounts};
        use crate::unit::JournalId;
        let seen = |state| {
            let report = |volume: u32, state| VolumeReport {
                journal: JournalId(0),
                volume: Some(volume),
                folder: format!("/v{volume}"),
                state,
                scrub: ScrubCounts::default(),
                losses: LossCounts::default(),
            };
            overview(&[report(1, VolumeState::InService), report(2, state)], 1, 0)
        };
        let fenced = || VolumeState::Fenced {
            reason: "Input/output error".into(),
        };
        let mut told = Told::default();
        assert_eq!(told.news(&seen(VolumeState::InService)), []);
        let line = "the volume /v2 is fenced (journal 0: Input/output error); a new event goes to 1 of 2 volumes";
        assert_eq!(told.news(&seen(fenced())), [(true, line.to_owned())]);
        assert_eq!(told.news(&seen(fenced())), []);
        let rebuilding = |done_bytes| VolumeState::Rebuilding {
            done_bytes,
            total_bytes: 100,
        };
        let [(false, line)] = &told.news(&seen(rebuilding(34)))[..] else {
            panic!("one line, and no bad news");
        };
        assert!(line.contains("rebuilding 34 %"), "{line}");
        assert_eq!(told.news(&seen(rebuilding(39))), []);
        assert_eq!(told.news(&seen(rebuilding(40))).len(), 1);
        assert_eq!(told.news(&seen(VolumeState::InService)).len(), 1);
        // One that failed before anybody looked is news, too.
        assert_eq!(Told::default().news(&seen(fenced())).len(), 1);
    }

    #[test]
    fn a_folder_that_fails_is_tried_ever_more_rarely() {
        let mut patience = Patience::default();
        let mut waits = Vec::new();
        for _ in 0..10 {
            let round = patience.next;
            patience = patience.after_failure(round);
            waits.push(patience.next - round);
        }
        assert_eq!(waits[..5], [1, 2, 4, 8, 16]);
        assert_eq!(waits[9], limit::VOLUME_RETRY_ROUNDS_MAX);
    }
}
