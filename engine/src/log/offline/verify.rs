//! `log verify`: everything that can be checked, and a count of what is wrong.

use super::super::format::superblock::Superblock;
use super::super::recover::RecoverError;
use super::super::report::LossCounts;
use super::super::store::{CATALOGUE, SUPERBLOCK};
use super::audit::Audit;
use super::repair::{self, Repairs};
use super::volume::{Contents, Volume, id_text};
use super::{Error, Options};
use crate::limit::BLOCK_BYTES;
use crate::unit::{JournalId, TopicId};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

/// Damaged places that are told one by one; all are counted.
const PLACES_TOLD: usize = 100;

/// One place where the store is not what it should be.
#[derive(Debug, Serialize)]
struct Place {
    file: String,
    /// Bytes from the start of the file.
    position: u64,
    what: String,
}

/// What was checked, and what was found.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) segments: u64,
    pub(super) frames: u64,
    pub(super) records: u64,
    /// Of frames, padding included.
    pub(super) bytes: u64,
    /// Damaged places that are recorded as lost: nothing is amiss with them any more.
    pub(super) lost: u64,
    /// What was given up with `--accept-loss` since the store was made, whatever is still there of it:
    /// stretches, and offsets in them that may have been in use.
    losses_accepted: u64,
    offsets_lost: u64,
    /// By journal: every volume tells the same.
    #[serde(skip)]
    losses: BTreeMap<JournalId, LossCounts>,
    damaged: u64,
    places: Vec<Place>,
    #[serde(flatten)]
    repairs: Option<Repairs>,
}

impl Report {
    pub(super) fn damage(&mut self, file: &Path, position: u64, what: String) {
        let file = file.display().to_string();
        // Recovery and the walk may come upon the same place.
        let known = |place: &Place| place.file == file && place.position == position;
        if self
            .places
            .last()
            .is_some_and(|last| known(last) && last.what == what)
        {
            return;
        }
        self.damaged += 1;
        if self.places.len() < PLACES_TOLD {
            self.places.push(Place {
                file,
                position,
                what,
            });
        }
    }

    /// A volume that is behind may know of fewer.
    fn note_losses(&mut self, journal: JournalId, counts: LossCounts) {
        let known = self.losses.entry(journal).or_default();
        known.places = known.places.max(counts.places);
        known.offsets = known.offsets.max(counts.offsets);
    }

    fn sum_up(&mut self) {
        let losses = self.losses.values();
        self.losses_accepted = losses.clone().map(|lost| lost.places).sum();
        self.offsets_lost = losses.fold(0, |sum, lost| sum.saturating_add(lost.offsets));
    }

    fn has(&self, file: &Path, position: u64) -> bool {
        let file = file.display().to_string();
        self.places
            .iter()
            .any(|place| place.file == file && place.position == position)
    }
}

pub(super) fn run(options: &Options, out: &mut dyn Write) -> Result<bool, Error> {
    check(options, Report::default(), out)
}

/// Repairs first.
pub(super) fn after_repair(options: &Options, out: &mut dyn Write) -> Result<bool, Error> {
    let report = Report {
        repairs: Some(repair::run(&options.volumes)?),
        ..Report::default()
    };
    check(options, report, out)
}

fn check(options: &Options, mut report: Report, out: &mut dyn Write) -> Result<bool, Error> {
    if options.volumes.is_empty() {
        return Err(Error::NoVolume);
    }
    for path in &options.volumes {
        let volume = Volume::open(path)?;
        verify(&volume, options, &mut report)?;
    }
    report.sum_up();
    let mut line = serde_json::to_vec(&report).map_err(|error| Error::Output(error.into()))?;
    line.push(b'\n');
    let written = out.write_all(&line).and_then(|()| out.flush());
    written.map_err(Error::Output)?;
    Ok(report.damaged == 0)
}

fn verify(volume: &Volume, options: &Options, report: &mut Report) -> Result<(), Error> {
    verify_superblock(&volume.path, report)?;
    let mut used: BTreeMap<TopicId, JournalId> = BTreeMap::new();
    for journal in volume.journals(options.partition)? {
        let contents = volume.journal(journal)?;
        for topic in verify_journal(volume, contents, report)? {
            used.entry(topic).or_insert(journal);
        }
    }
    // The catalogue comes last: a running store names a topic before it is used.
    let catalogue = volume.catalogue()?;
    let (names, deleted) = (catalogue.names.clone(), catalogue.deleted.clone());
    let is_sound = catalogue.refused.is_none();
    verify_journal(volume, catalogue, report)?;
    let named = |topic: &TopicId| names.contains_key(topic) || deleted.contains(topic);
    let unnamed = used.iter().filter(|(topic, _)| !named(topic));
    for (topic, journal) in unnamed.filter(|_| is_sound) {
        let (id, journal) = (id_text(*topic), journal.0);
        let what = format!(
            "topic {id} of journal {journal} is not in the catalogue: rebuild the catalogue"
        );
        report.damage(&volume.path.join(CATALOGUE), 0, what);
    }
    Ok(())
}

/// Either copy of the superblock may be needed.
fn verify_superblock(volume: &Path, report: &mut Report) -> Result<(), Error> {
    let path = volume.join(SUPERBLOCK);
    let bytes = std::fs::read(&path).map_err(|source| Error::Read {
        path: path.clone(),
        source,
    })?;
    for copy in 0..2u64 {
        let at = copy * BLOCK_BYTES;
        let block = bytes.get(at as usize..).unwrap_or_default();
        if let Err(defect) = Superblock::decode(block) {
            report.damage(&path, at, super::tell(defect));
        }
    }
    Ok(())
}

/// Checks one journal; gives the topics it holds.
fn verify_journal(
    volume: &Volume,
    contents: Contents,
    report: &mut Report,
) -> Result<Vec<TopicId>, Error> {
    let Contents {
        chain,
        extents,
        deleted,
        refused,
        ..
    } = contents;
    report.note_losses(chain.identity.journal, LossCounts::of(&chain.losses));
    let progress = progress(
        "verifying",
        chain.segments.len() as u64 * chain.identity.segment_bytes,
    );
    let mut audit = Audit::new(&chain, &deleted, report, &progress);
    chain.walk(0, &mut audit)?;
    let topics = audit.finish(refused.is_none().then_some(&extents));
    progress.finish_and_clear();
    if let Some(refused) = refused {
        note_refusal(volume, &refused, report)?;
    }
    Ok(topics)
}

/// What stopped recovery is damage, if the walk has not told it already.
fn note_refusal(volume: &Volume, refused: &RecoverError, report: &mut Report) -> Result<(), Error> {
    let (file, position) = match refused {
        RecoverError::Damaged { file, position, .. } => (file, *position),
        RecoverError::Header { file, .. }
        | RecoverError::Gap { file, .. }
        | RecoverError::Unknown { file, .. }
        | RecoverError::Size { file, .. } => (file, 0),
        RecoverError::Disk { deed, source } => {
            return Err(Error::Read {
                path: volume.path.join(deed),
                source: std::io::Error::new(source.kind(), source.to_string()),
            });
        }
    };
    let path = volume.path.join(file);
    if !report.has(&path, position) {
        report.damage(&path, position, refused.to_string());
    }
    Ok(())
}

/// Shown on standard error when that is a terminal, and hidden else.
pub(super) fn progress(deed: &'static str, bytes: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} {bar:30} {bytes}/{total_bytes}");
    let bar = ProgressBar::new(bytes).with_prefix(deed);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
