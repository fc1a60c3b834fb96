//! What the store's volumes are worth now: the answer of `GET /volumes` and `ringtail volumes`.
//!
//! Each journal has its own view of each volume; a volume is as good as the journal that sees it worst.

use crate::log::report::{LossCounts, ScrubCounts, VolumeReport, VolumeState};
use crate::log::store::CATALOGUE_JOURNAL;
use crate::unit::JournalId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// What is told of a folder that the operator left out.
pub(super) const LEFT_OUT: &str = "this start was told to go on without it";

/// All volumes, and the rules that they are held to.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub(crate) struct Overview {
    /// Copies that a new event gets, by the journal that has the fewest.
    pub(crate) copies: u32,
    /// With fewer in service new events are refused.
    pub(crate) min_volumes: u32,
    /// Copies that an acknowledgement waits for; 0 for all in service.
    pub(crate) durable_volumes: u32,
    /// Up to when every journal had been checked to its end, in milliseconds since 1970.
    pub(crate) last_scrub_ms: Option<i64>,
    /// Bytes that were read again and checked, of all copies.
    pub(crate) scrubbed_bytes: u64,
    /// Damaged pieces that were restored from another copy.
    pub(crate) pieces_repaired: u64,
    /// Damaged pieces of which no whole copy was found when they were last looked at.
    pub(crate) pieces_lost: u64,
    /// Losses that operators accepted with `--accept-loss`, since the store was made.
    pub(crate) losses_accepted: u64,
    /// Offsets in them that may have been in use.
    pub(crate) offsets_lost: u64,
    pub(crate) volumes: Vec<Row>,
}

/// One volume.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub(crate) struct Row {
    pub(crate) folder: String,
    /// Its number in the store; absent while it has none.
    pub(crate) volume: Option<u32>,
    /// in-service, rebuilding, fenced or absent: what the journal says that sees it worst.
    pub(crate) state: String,
    /// Why it is not in service.
    pub(crate) reason: Option<String>,
    /// How much of a rebuilding volume is there, from 0 to 1.
    pub(crate) rebuilt: Option<f64>,
    /// Every event would still be there if this volume were lost now.
    pub(crate) survives_loss: bool,
    /// And new events would still be taken.
    pub(crate) goes_on_without: bool,
}

/// How bad a state is; the worst counts.
fn rank(state: &VolumeState) -> u8 {
    match state {
        VolumeState::InService => 0,
        VolumeState::Rebuilding { .. } => 1,
        VolumeState::Fenced { .. } => 2,
        VolumeState::Absent { .. } => 3,
    }
}

/// The word for a state.
fn word(state: &VolumeState) -> &'static str {
    match state {
        VolumeState::InService => "in-service",
        VolumeState::Rebuilding { .. } => "rebuilding",
        VolumeState::Fenced { .. } => "fenced",
        VolumeState::Absent { .. } => "absent",
    }
}

fn journal_name(journal: JournalId) -> String {
    if journal == CATALOGUE_JOURNAL {
        "the catalogue".to_owned()
    } else {
        format!("journal {}", journal.0)
    }
}

/// Sums up what all journals say.
pub(crate) fn overview(
    reports: &[VolumeReport],
    min_volumes: u32,
    durable_volumes: u32,
) -> Overview {
    let mut by_folder: BTreeMap<&str, Vec<&VolumeReport>> = BTreeMap::new();
    let mut in_service: BTreeMap<JournalId, u32> = BTreeMap::new();
    let mut scrubs: BTreeMap<JournalId, ScrubCounts> = BTreeMap::new();
    let mut losses: BTreeMap<JournalId, LossCounts> = BTreeMap::new();
    for report in reports {
        by_folder.entry(&report.folder).or_default().push(report);
        let serves = report.state == VolumeState::InService;
        *in_service.entry(report.journal).or_default() += u32::from(serves);
        scrubs.insert(report.journal, report.scrub);
        losses.insert(report.journal, report.losses);
    }
    let rows = by_folder.into_iter().map(|(folder, reports)| {
        let left = |report: &&VolumeReport| {
            let serves = u32::from(report.state == VolumeState::InService);
            in_service[&report.journal] - serves
        };
        let least_left = reports.iter().map(left).min().unwrap_or_default();
        row(folder, &reports, least_left, min_volumes)
    });
    Overview {
        volumes: rows.collect(),
        copies: in_service.values().copied().min().unwrap_or_default(),
        min_volumes,
        durable_volumes,
        // `None` is below any time: one journal that was never checked counts.
        last_scrub_ms: scrubs
            .values()
            .map(|scrub| scrub.last_pass_ms)
            .min()
            .flatten(),
        scrubbed_bytes: scrubs.values().map(|scrub| scrub.bytes).sum(),
        pieces_repaired: scrubs.values().map(|scrub| scrub.repaired).sum(),
        pieces_lost: scrubs.values().map(|scrub| scrub.lost).sum(),
        losses_accepted: losses.values().map(|lost| lost.places).sum(),
        offsets_lost: losses
            .values()
            .fold(0, |sum, lost| sum.saturating_add(lost.offsets)),
    }
}

fn row(folder: &str, reports: &[&VolumeReport], least_left: u32, min_volumes: u32) -> Row {
    let worst = reports.iter().max_by_key(|report| rank(&report.state));
    let worst = worst.expect("a volume is in the list because somebody told of it");
    let reason = match &worst.state {
        VolumeState::Fenced { reason } | VolumeState::Absent { reason } => {
            Some(format!("{}: {reason}", journal_name(worst.journal)))
        }
        VolumeState::InService | VolumeState::Rebuilding { .. } => None,
    };
    Row {
        folder: folder.to_owned(),
        volume: worst.volume,
        state: word(&worst.state).to_owned(),
        reason,
        rebuilt: rebuilt(reports),
        survives_loss: 1 <= least_left,
        goes_on_without: 1 <= least_left && min_volumes <= least_left,
    }
}

/// The share that is there of the journals that are being filled.
fn rebuilt(reports: &[&VolumeReport]) -> Option<f64> {
    let parts = reports.iter().filter_map(|report| match report.state {
        VolumeState::Rebuilding {
            done_bytes,
            total_bytes,
        } => Some((done_bytes, total_bytes)),
        _ => None,
    });
    let sum = |(done, total): (u64, u64), (one, all): (u64, u64)| (done + one, total + all);
    let (done, total) = parts.reduce(sum)?;
    Some(if total == 0 {
        0.0
    } else {
        done as f64 / total as f64
    })
}

impl Overview {
    /// How many volumes get new events, and who is out: a line for people, when there are several.
    pub(crate) fn copies_line(&self) -> Option<String> {
        let out = self.volumes.iter().filter(|row| row.rank() != 0);
        let out: Vec<_> = out
            .map(|row| format!("{} {}", row.folder, row.state))
            .collect();
        let out = match &out[..] {
            [] => String::new(),
            out => format!(" ({})", out.join(", ")),
        };
        let (copies, all) = (self.copies, self.volumes.len());
        (1 < all).then(|| format!("copies: a new event goes to {copies} of {all} volumes{out}\n"))
    }
}

impl fmt::Display for Overview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waits = match self.durable_volumes {
            0 => "all volumes in service".to_owned(),
            some => format!("{some} of them"),
        };
        writeln!(
            f,
            "A new event gets {} copies. An acknowledgement waits for {waits}. With fewer than {} in service \
             new events are refused.",
            self.copies, self.min_volumes
        )?;
        let scrub = self.last_scrub_ms.map_or("never".to_owned(), when);
        writeln!(
            f,
            "All checked: {scrub}. Damaged pieces repaired: {}, lost: {}.\n",
            self.pieces_repaired, self.pieces_lost
        )?;
        if 0 < self.losses_accepted {
            writeln!(
                f,
                "Lost for good, as operators accepted: {} stretches of the log, up to {} events.\n",
                self.losses_accepted, self.offsets_lost
            )?;
        }
        let width = self.volumes.iter().map(|row| row.folder.len());
        let width = width.max().unwrap_or_default().max(6);
        writeln!(
            f,
            "{:width$}  {:6}  {:16}  if lost now",
            "folder", "number", "state"
        )?;
        for row in &self.volumes {
            row.line(f, width)?;
        }
        Ok(())
    }
}

impl Row {
    /// How bad the state is: 0 in service, 1 rebuilding, 2 fenced, 3 absent.
    pub(crate) fn rank(&self) -> u8 {
        let words = ["in-service", "rebuilding", "fenced", "absent"];
        let rank = words.iter().position(|word| *word == self.state);
        rank.map_or(3, |rank| rank as u8)
    }

    fn line(&self, f: &mut fmt::Formatter<'_>, width: usize) -> fmt::Result {
        let number = self
            .volume
            .map_or("-".to_owned(), |volume| volume.to_string());
        let state = match self.rebuilt {
            Some(share) => format!("{} {:.0} %", self.state, 100.0 * share),
            None => self.state.clone(),
        };
        let lost = match (self.survives_loss, self.goes_on_without) {
            (true, true) => "nothing is lost",
            (true, false) => "nothing is lost, new events are refused",
            (false, _) => "events are lost",
        };
        writeln!(f, "{:width$}  {number:6}  {state:16}  {lost}", self.folder)?;
        match &self.reason {
            Some(reason) => writeln!(f, "{:width$}  {reason}", ""),
            None => Ok(()),
        }
    }
}

/// A moment as people write it, in UTC.
fn when(milliseconds: i64) -> String {
    let seconds = milliseconds.div_euclid(1000);
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = date(days);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The date so many days after 1970-01-01 (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(journal: u32, volume: u32, state: VolumeState) -> VolumeReport {
        VolumeReport {
            journal: JournalId(journal),
            volume: Some(volume),
            folder: format!("/v{volume}"),
            state,
            scrub: ScrubCounts {
                passes: 1,
                bytes: 2,
                repaired: 1,
                lost: 0,
                last_pass_ms: Some(1_000 * i64::from(journal + 1)),
            },
            losses: LossCounts::default(),
        }
    }

    fn fenced() -> VolumeState {
        VolumeState::Fenced {
            reason: "Input/output error".into(),
        }
    }

    #[test]
    fn a_volume_is_as_good_as_the_journal_that_sees_it_worst() {
        let reports = [
            report(0, 1, VolumeState::InService),
            report(0, 2, VolumeState::InService),
            report(1, 1, VolumeState::InService),
            report(1, 2, fenced()),
        ];
        let seen = overview(&reports, 1, 0);
        assert_eq!(seen.copies, 1);
        let [first, second] = &seen.volumes[..] else {
            panic!("{seen:?}");
        };
        assert_eq!(second.state, "fenced");
        assert_eq!(
            second.reason.as_deref(),
            Some("journal 1: Input/output error")
        );
        assert!(!first.survives_loss && !first.goes_on_without);
        assert!(second.survives_loss && second.goes_on_without);
        assert_eq!((seen.pieces_repaired, seen.scrubbed_bytes), (2, 4));
        assert_eq!(seen.last_scrub_ms, Some(1_000));
    }

    #[test]
    fn losing_one_of_three_may_stop_new_events_and_loses_none() {
        let state = |_| VolumeState::InService;
        let reports: Vec<_> = (0..3)
            .map(|volume| report(0, volume, state(volume)))
            .collect();
        let strict = overview(&reports, 3, 0);
        assert!(strict.volumes.iter().all(|row| row.survives_loss));
        assert!(strict.volumes.iter().all(|row| !row.goes_on_without));
        let usual = overview(&reports, 2, 2);
        assert!(usual.volumes.iter().all(|row| row.goes_on_without));
    }

    #[test]
    fn a_rebuild_tells_its_progress_and_a_scrub_counts_when_all_are_through() {
        let mut rebuilding = report(
            0,
            1,
            VolumeState::Rebuilding {
                done_bytes: 1,
                total_bytes: 4,
            },
        );
        rebuilding.scrub.last_pass_ms = None;
        let seen = overview(&[rebuilding, report(1, 1, VolumeState::InService)], 1, 0);
        assert_eq!(seen.volumes[0].rebuilt, Some(0.25));
        assert_eq!(seen.last_scrub_ms, None);
        let text = seen.to_string();
        assert!(
            text.contains("rebuilding 25 %") && text.contains("never"),
            "{text}"
        );
    }

    #[test]
    fn moments_are_written_as_people_do() {
        assert_eq!(when(0), "1970-01-01T00:00:00Z");
        assert_eq!(when(951_827_696_000), "2000-02-29T12:34:56Z");
        assert_eq!(when(1_798_761_599_999), "2026-12-31T23:59:59Z");
    }

    #[test]
    fn what_is_printed_as_json_is_read_back() {
        let seen = overview(&[report(0, 1, fenced())], 1, 0);
        let text = serde_json::to_string(&seen).unwrap();
        assert_eq!(serde_json::from_str::<Overview>(&text).unwrap(), seen);
    }
}
