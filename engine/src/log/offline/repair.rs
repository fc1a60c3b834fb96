//! `log verify --repair`: what a start would repair, and one scrub of every segment, without serving.
//!
//! The journals are taken up as a start takes them up and stopped again at once, so each gets an epoch of its own
//! in which nothing was written. Then every sealed segment is read on every volume, and what is damaged is
//! written anew from a copy that is whole. A crash on the way leaves nothing that a second run does not mend.

use super::super::format::StoreId;
use super::super::format::section::Membership;
use super::super::journal::{Committer, Journal, Keeping, Pace, Preparer, Settings, Step};
use super::super::mirror::{Member, Mirror, Rules};
use super::super::reconcile::{Permissions, Reconciled, reconcile};
use super::super::recover::{self, Identity};
use super::super::store::{self, CATALOGUE, CATALOGUE_JOURNAL, CATALOGUE_SEGMENT_BYTES};
use super::super::{Flush, Origin};
use super::Error;
use super::catalogue::{lock, now};
use super::plain::{PlainDisk, block_on};
use super::verify::progress;
use super::volume::Volume;
use crate::limit::FRAME_BYTES_MAX;
use crate::unit::{JournalId, TopicId};
use futures_util::future;
use indicatif::ProgressBar;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

/// What was made good.
#[derive(Debug, Default, Serialize)]
pub(super) struct Repairs {
    /// Frames, headers and footers of sealed segments that were written anew by the scrub.
    repaired: u64,
    /// What a start would have told of.
    repairs: Vec<String>,
}

pub(super) type Names = Vec<(TopicId, Arc<str>)>;

/// The volumes of a store that is not running, locked by the caller.
pub(super) struct Store {
    id: StoreId,
    pub(super) journals: u32,
    segment_bytes: u64,
    members: Vec<Member<PlainDisk>>,
}

pub(super) fn run(volumes: &[PathBuf]) -> Result<Repairs, Error> {
    let locks: Vec<_> = volumes
        .iter()
        .map(|path| lock(path))
        .collect::<Result<_, _>>()?;
    let mut repairs = Repairs::default();
    let store = Store::open(volumes)?;
    let names = store.repair(CATALOGUE_JOURNAL, Vec::new(), &mut repairs)?;
    for journal in 0..store.journals {
        store.repair(JournalId(journal), names.clone(), &mut repairs)?;
    }
    drop(locks);
    Ok(repairs)
}

impl Store {
    pub(super) fn open(volumes: &[PathBuf]) -> Result<Self, Error> {
        let first = Volume::first(volumes)?;
        let places = volumes.iter().map(|path| {
            let name = Rc::from(path.display().to_string());
            (name, PlainDisk::read_write(path))
        });
        let (places, segment_bytes) = (places.collect(), first.superblock.segment_bytes);
        // Every folder has a superblock, or it could not have been locked, so no store is made here.
        let opened = store::open_volumes(places, 0, segment_bytes, || 0);
        let opened = block_on(opened).map_err(|source| Error::Store {
            path: first.path.clone(),
            source,
        })?;
        if let Some((name, reason)) = opened.unusable.first() {
            return Err(Error::Change {
                deed: "open the store",
                path: Path::new(&**name).into(),
                source: std::io::Error::other(reason.to_string()),
            });
        }
        Ok(Self {
            id: first.superblock.store,
            journals: opened.superblock.journals,
            segment_bytes,
            members: opened.members,
        })
    }

    /// Repairs one journal; gives the topics that it defines.
    fn repair(
        &self,
        journal: JournalId,
        names: Names,
        repairs: &mut Repairs,
    ) -> Result<Names, Error> {
        let (folder, identity) = self.place(journal);
        block_on(self.repair_journal(&folder, identity, names, repairs))
    }

    /// A journal's folder, and what it says of itself.
    pub(super) fn place(&self, journal: JournalId) -> (String, Identity) {
        let (folder, segment_bytes) = if journal == CATALOGUE_JOURNAL {
            (CATALOGUE.to_owned(), CATALOGUE_SEGMENT_BYTES)
        } else {
            let folder = store::journal_folder(journal);
            (folder, self.segment_bytes)
        };
        let identity = Identity {
            store: self.id,
            journal,
            segment_bytes,
        };
        (folder, identity)
    }

    async fn repair_journal(
        &self,
        folder: &str,
        identity: Identity,
        names: Names,
        repairs: &mut Repairs,
    ) -> Result<Names, Error> {
        let taken = self.take_up(folder, identity, names).await?;
        let (journal, names, segments) = (taken.journal.clone(), taken.names.clone(), taken.copies);
        let told = taken.notes.iter().map(|note| format!("{folder}: {note}"));
        repairs.repairs.extend(told);
        taken.stop(folder).await?;
        let bar = progress("repairing", segments as u64 * identity.segment_bytes);
        repairs.repaired += journal.scrub(&pace(&bar)).await.repaired;
        bar.finish_and_clear();
        Ok(names)
    }

    /// Takes a journal up as a start does; `names` are those of the catalogue.
    pub(super) async fn take_up(
        &self,
        folder: &str,
        identity: Identity,
        mut names: Names,
    ) -> Result<TakenUp, Error> {
        let rules = self.rules(folder, identity).await;
        let permissions = Permissions::default();
        let found = reconcile(self.members.clone(), folder, identity, rules, &permissions).await;
        let Reconciled {
            mirror,
            recovered,
            to_rebuild,
            mut notes,
            ..
        } = found?;
        for (member, reason) in to_rebuild {
            let name = &member.name;
            notes.push(format!(
                "the volume {name} wants a whole copy ({reason}): start the engine with it"
            ));
        }
        let defined = recovered.names.iter();
        names.extend(defined.map(|(topic, name)| (*topic, Arc::from(name.as_str()))));
        names.sort_unstable();
        names.dedup_by_key(|(topic, _)| *topic);
        let (settings, table) = (settings(identity), names.clone().into_iter());
        let copies = recovered.sealed.len() * mirror.members().len();
        let started = Journal::start(
            mirror,
            folder.to_owned(),
            settings,
            recovered,
            table,
            Rc::new(now),
        );
        let (journal, committer, preparer) = started.await.map_err(|source| {
            let folder = folder.to_owned();
            Error::TakeUp { folder, source }
        })?;
        Ok(TakenUp {
            journal,
            committer,
            preparer,
            names,
            copies,
            notes,
        })
    }

    /// The rules that the journal was last written under: a repair is no reason to change them.
    async fn rules(&self, folder: &str, identity: Identity) -> Rules {
        let mut newest: Option<Membership> = None;
        for member in &self.members {
            let found = recover::recover(&member.disk, folder, identity).await;
            let found = found.ok().and_then(|found| found.membership);
            let is_newer = |found: &Membership| {
                newest
                    .as_ref()
                    .is_none_or(|newest| newest.epoch < found.epoch)
            };
            if let Some(found) = found.filter(is_newer) {
                newest = Some(found);
            }
        }
        let majority = self.members.len() as u32 / 2 + 1;
        Rules {
            volumes_min: newest.as_ref().map_or(majority, |found| found.volumes_min),
            durable_volumes: newest.map_or(0, |found| found.durable_volumes),
            lag_bytes_max: u64::MAX,
        }
    }
}

/// A journal with what drives it.
pub(super) struct TakenUp {
    pub(super) journal: Journal<Mirror<PlainDisk>>,
    committer: Committer<Mirror<PlainDisk>>,
    preparer: Preparer<Mirror<PlainDisk>>,
    /// Topics that are known, those of the journal too.
    pub(super) names: Names,
    /// Sealed segments, on all volumes together.
    copies: usize,
    /// What was done on the way.
    pub(super) notes: Vec<String>,
}

impl TakenUp {
    /// Writes what is staged, and stops.
    pub(super) async fn stop(self, folder: &str) -> Result<(), Error> {
        let (mut committer, mut preparer) = (self.committer, self.preparer);
        self.journal.stop();
        let commits = async {
            loop {
                match committer.step().await {
                    Step::Durable(_) | Step::Discarded { .. } => {}
                    Step::Stopped => return Ok(()),
                    Step::Failed(reason) => return Err(reason),
                }
            }
        };
        let (stopped, ()) = future::join(commits, preparer.run()).await;
        stopped.map_err(|reason| Error::Change {
            deed: "take up a journal",
            path: Path::new(folder).into(),
            source: std::io::Error::other(reason.to_string()),
        })
    }
}

/// Nothing waits for a repair, so it goes as fast as the disks.
fn pace(bar: &ProgressBar) -> Pace {
    let bar = bar.clone();
    Rc::new(move |bytes| {
        bar.inc(bytes);
        Box::pin(future::ready(()))
    })
}

fn settings(identity: Identity) -> Settings {
    Settings {
        store: identity.store,
        journal: identity.journal,
        segment_bytes: identity.segment_bytes,
        prepared: 0,
        retention_bytes: None,
        keeping: Keeping::default(),
        origin: Origin::None,
        commit_wait_us: 0,
        frame_bytes: 64 << 10,
        frame_bytes_max: (FRAME_BYTES_MAX / 2).min(identity.segment_bytes as usize / 4),
        frames_in_flight: 1,
        flush: Flush::DataSync,
        tail_bytes: 0,
    }
}
