//! Making the catalogue anew from the names that the segments define.
//!
//! The new catalogue is written beside the old one, flushed, and put in its place; the old one is kept under
//! another name. A crash on the way leaves nothing that a second run does not mend.

use super::super::Flush;
use super::super::Origin;
use super::super::disk::Disk as _;
use super::super::format::StoreId;
use super::super::format::section::Frame;
use super::super::journal::{Journal, Keeping, Settings, StartError, Step};
use super::super::recover::{self, Identity};
use super::super::store::{CATALOGUE, CATALOGUE_JOURNAL, CATALOGUE_SEGMENT_BYTES, LOCK};
use super::Error;
use super::chain::{Segment, Visitor};
use super::plain::{PlainDisk, block_on};
use super::volume::Volume;
use crate::limit::FRAME_BYTES_MAX;
use crate::unit::{Micros, TopicId};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

const UNFINISHED: &str = "catalogue.new";

pub(super) fn run(volumes: &[PathBuf], out: &mut dyn Write) -> Result<bool, Error> {
    if volumes.is_empty() {
        return Err(Error::NoVolume);
    }
    let locks: Vec<_> = volumes
        .iter()
        .map(|path| lock(path))
        .collect::<Result<_, _>>()?;
    let mut clean = true;
    for path in volumes {
        clean &= rebuild(path, out)?;
    }
    drop(locks);
    Ok(clean)
}

/// The lock that the engine takes.
pub(super) fn lock(volume: &Path) -> Result<File, Error> {
    // Says what is wrong with the folder before anything is made in it.
    Volume::open(volume)?;
    let path = volume.join(LOCK);
    let failed = |source| Error::Change {
        deed: "lock the store",
        path: volume.into(),
        source,
    };
    let mut options = File::options();
    let file = options.write(true).create(true).truncate(false).open(path);
    let file = file.map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::InUse {
            path: volume.into(),
        }),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

fn rebuild(path: &Path, out: &mut dyn Write) -> Result<bool, Error> {
    // Nobody writes while the lock is held, and it is ours.
    let volume = Volume::stopped(path)?;
    let mut names = Collector::default();
    let catalogue = volume.catalogue()?;
    for journal in volume.journals(None)? {
        let contents = volume.journal(journal)?;
        names.clean &= contents.refused.is_none();
        contents.chain.walk(0, &mut names)?;
    }
    let clean = names.clean;
    let is_sound = catalogue.refused.is_none();
    let lacks = names
        .names
        .keys()
        .filter(|topic| !names.deleted.contains(topic))
        .filter(|topic| !catalogue.names.contains_key(topic) && !catalogue.deleted.contains(topic))
        .count();
    catalogue.chain.walk(0, &mut names)?;
    names.take(catalogue.names);
    names.deleted.extend(catalogue.deleted);
    names.forget_deleted();
    let (path_text, count) = (path.display(), names.names.len());
    let said = if is_sound && lacks == 0 {
        format!("{path_text}: the catalogue is whole: {count} topics")
    } else {
        let disk = PlainDisk::read_write(path);
        write_anew(&disk, path, volume.superblock.store, &names)?;
        format!(
            "{path_text}: the catalogue was written anew: {count} topics, {lacks} of them lost before"
        )
    };
    writeln!(out, "{said}").map_err(Error::Output)?;
    Ok(clean)
}

/// Takes the names from every frame that can be read, damaged neighbours or not.
struct Collector {
    names: BTreeMap<TopicId, Arc<str>>,
    deleted: BTreeSet<TopicId>,
    clean: bool,
}

impl Default for Collector {
    fn default() -> Self {
        Self {
            names: BTreeMap::new(),
            deleted: BTreeSet::new(),
            clean: true,
        }
    }
}

impl Collector {
    fn forget_deleted(&mut self) {
        let deleted = &self.deleted;
        self.names.retain(|topic, _| !deleted.contains(topic));
    }

    fn take(&mut self, names: impl IntoIterator<Item = (TopicId, String)>) {
        for (topic, name) in names {
            self.names.entry(topic).or_insert_with(|| name.into());
        }
    }
}

impl Visitor for Collector {
    fn frame(&mut self, _: &Segment, _: u64, frame: &Frame<'_>) -> Result<ControlFlow<()>, Error> {
        for (topic, name) in frame.topics().unwrap_or_default() {
            self.names.entry(topic).or_insert_with(|| name.into());
        }
        let tombstones = frame.tombstones().unwrap_or_default();
        self.deleted.extend(tombstones.iter().map(|row| row.topic));
        Ok(ControlFlow::Continue(()))
    }

    fn damage(&mut self, _: &Segment, _: u64, _: String) -> Result<(), Error> {
        self.clean = false;
        Ok(())
    }
}

fn write_anew(
    disk: &PlainDisk,
    volume: &Path,
    store: StoreId,
    names: &Collector,
) -> Result<(), Error> {
    let failed = |deed| {
        move |source| Error::Change {
            deed,
            path: volume.into(),
            source,
        }
    };
    block_on(empty_folder(disk)).map_err(failed("make a new catalogue"))?;
    let written = block_on(write_names(disk, store, names));
    written.map_err(|source| Error::Catalogue {
        path: volume.into(),
        source,
    })?;
    block_on(swap(disk)).map_err(failed("put the new catalogue in its place"))
}

/// The folder of the new catalogue, without what an earlier attempt left.
async fn empty_folder(disk: &PlainDisk) -> io::Result<()> {
    disk.make_folder(UNFINISHED).await?;
    for name in disk.list(UNFINISHED).await? {
        disk.remove(&format!("{UNFINISHED}/{name}")).await?;
    }
    disk.flush_folder(UNFINISHED).await
}

/// A catalogue whose opening frame names every topic.
async fn write_names(
    disk: &PlainDisk,
    store: StoreId,
    names: &Collector,
) -> Result<(), StartError> {
    let identity = Identity {
        store,
        journal: CATALOGUE_JOURNAL,
        segment_bytes: CATALOGUE_SEGMENT_BYTES,
    };
    let refused = |error: &dyn std::fmt::Display| StartError::Refused(error.to_string().into());
    let empty = recover::recover(disk, UNFINISHED, identity).await;
    let empty = empty.map_err(|error| refused(&error))?;
    let table = names
        .names
        .iter()
        .map(|(topic, name)| (*topic, name.clone()));
    let folder = UNFINISHED.to_owned();
    let started = Journal::start(
        disk.clone(),
        folder,
        settings(store),
        empty,
        table,
        Rc::new(now),
    );
    let (journal, mut committer, _preparer) = started.await?;
    let deleted: Vec<TopicId> = names.deleted.iter().copied().collect();
    let buried = journal.bury(&deleted);
    buried.map_err(|error| refused(&error))?;
    journal.stop();
    loop {
        match committer.step().await {
            Step::Stopped => return Ok(()),
            Step::Failed(reason) | Step::Discarded { reason, .. } => {
                return Err(StartError::Refused(reason));
            }
            Step::Durable(_) => {}
        }
    }
}

fn settings(store: StoreId) -> Settings {
    Settings {
        store,
        journal: CATALOGUE_JOURNAL,
        segment_bytes: CATALOGUE_SEGMENT_BYTES,
        prepared: 0,
        retention_bytes: None,
        keeping: Keeping::default(),
        origin: Origin::None,
        commit_wait_us: 0,
        frame_bytes: FRAME_BYTES_MAX,
        frame_bytes_max: FRAME_BYTES_MAX,
        frames_in_flight: 1,
        flush: Flush::DataSync,
        tail_bytes: 0,
    }
}

async fn swap(disk: &PlainDisk) -> io::Result<()> {
    let names = disk.list("").await?;
    if names.iter().any(|name| name == CATALOGUE) {
        let mut kept = (0..).map(|number: u32| format!("{CATALOGUE}.old-{number}"));
        let kept = kept.find(|kept| !names.contains(kept));
        disk.rename(CATALOGUE, &kept.expect("a folder has fewer entries"))
            .await?;
    }
    disk.rename(UNFINISHED, CATALOGUE).await?;
    disk.flush_folder("").await
}

#[expect(
    clippy::disallowed_methods,
    reason = "an offline command has no shard whose clock it could take"
)]
pub(super) fn now() -> Micros {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Micros(now.map_or(0, |since| since.as_micros() as u64))
}
