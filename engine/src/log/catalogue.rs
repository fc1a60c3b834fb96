//! The catalogue of topics: a journal whose frames hold definitions and tombstones, and nothing else.
//!
//! Always:  a topic's definition is durable here before any shard hears of the topic.
//! Core:    the control core.

use super::disk::Disk;
use super::format::StoreId;
use super::journal::{
    AppendError, Committer, Journal, Keeping, Preparer, Settings, StartError, Step,
};
use super::recover::{Identity, RecoverError, Recovered, recover};
use super::store::{CATALOGUE, CATALOGUE_JOURNAL, CATALOGUE_SEGMENT_BYTES};
use super::{Flush, Origin};
use crate::limit::FRAME_BYTES_MAX;
use crate::unit::{Micros, TopicId};
use futures_util::future;
use std::rc::Rc;
use std::sync::Arc;

/// A topic's id and name.
pub type Named = (TopicId, Arc<str>);

#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    #[error("could not recover the catalogue of topics: {0}")]
    Recover(#[from] RecoverError),
    #[error("could not take up the catalogue of topics: {0}")]
    Start(#[from] StartError),
}

/// Every topic of the store, by name.
pub struct Catalogue<D: Disk> {
    journal: Journal<D>,
}

/// Does the catalogue's writing; to be run beside it for as long as it is used.
pub struct Driver<D: Disk> {
    committer: Committer<D>,
    preparer: Preparer<D>,
}

impl<D: Disk> Catalogue<D> {
    /// Opens the catalogue of the store: the catalogue, what does its writing, and the topics in it.
    pub async fn open(
        disk: D,
        store: StoreId,
        clock: Rc<dyn Fn() -> Micros>,
    ) -> Result<(Self, Driver<D>, Vec<Named>), CatalogueError> {
        Self::open_with(disk, settings(store), clock).await
    }

    /// As [`Catalogue::open`], for a store whose catalogue has segments of another size.
    pub async fn open_with(
        disk: D,
        settings: Settings,
        clock: Rc<dyn Fn() -> Micros>,
    ) -> Result<(Self, Driver<D>, Vec<Named>), CatalogueError> {
        let identity = Identity {
            store: settings.store,
            journal: CATALOGUE_JOURNAL,
            segment_bytes: settings.segment_bytes,
        };
        let recovered = recover(&disk, CATALOGUE, identity).await?;
        Self::take_up(disk, settings, recovered, clock).await
    }

    /// Opens the catalogue as its recovery found it.
    pub async fn take_up(
        disk: D,
        settings: Settings,
        mut recovered: Recovered<D::File>,
        clock: Rc<dyn Fn() -> Micros>,
    ) -> Result<(Self, Driver<D>, Vec<Named>), CatalogueError> {
        let names = std::mem::take(&mut recovered.names);
        let mut topics: Vec<Named> = names
            .into_iter()
            .map(|(id, name)| (id, Arc::from(name)))
            .collect();
        topics.sort_by(|one, other| one.1.cmp(&other.1));
        let table = topics.iter().cloned();
        let folder = CATALOGUE.to_owned();
        let started = Journal::start(disk, folder, settings, recovered, table, clock).await?;
        let (journal, committer, preparer) = started;
        Ok((
            Self { journal },
            Driver {
                committer,
                preparer,
            },
            topics,
        ))
    }

    /// The journal that it is.
    pub fn journal(&self) -> &Journal<D> {
        &self.journal
    }

    /// Makes topics known for ever; returns when that is durable.
    pub async fn add(&self, topics: &[Named]) -> Result<(), AppendError> {
        self.journal.define(topics).await
    }

    /// Deletes topics for ever; returns when that is durable. Their tombstones stay until [`Self::release`].
    pub async fn remove(&self, topics: &[TopicId]) -> Result<(), AppendError> {
        self.journal.delete(topics).await
    }

    /// Deleted topics that a journal may still hold something of without knowing that they were deleted.
    pub fn removed(&self) -> Vec<TopicId> {
        self.journal.buried()
    }

    /// Every journal has a tombstone of its own of these.
    pub fn release(&self, topics: &[TopicId]) {
        self.journal.release(topics);
    }

    /// To be called a few times a second, as the journals'.
    pub fn tick(&self) {
        self.journal.tick();
    }

    /// To be called every few seconds: a full disk is tried again.
    pub fn try_again(&self) {
        self.journal.try_again();
    }

    /// Why no topic can be added, if none can.
    pub fn fault(&self) -> Option<Arc<str>> {
        self.journal.fault()
    }

    /// Ends the driver when all is written.
    pub fn stop(&self) {
        self.journal.stop();
    }
}

/// Which journal the catalogue is.
pub fn identity(store: StoreId) -> Identity {
    Identity {
        store,
        journal: CATALOGUE_JOURNAL,
        segment_bytes: CATALOGUE_SEGMENT_BYTES,
    }
}

/// A small journal: one segment in use, one in reserve, the older ones recycled at once.
pub fn settings(store: StoreId) -> Settings {
    Settings {
        store,
        journal: CATALOGUE_JOURNAL,
        segment_bytes: CATALOGUE_SEGMENT_BYTES,
        prepared: 0,
        retention_bytes: Some(0),
        keeping: Keeping::default(),
        origin: Origin::None,
        commit_wait_us: 0,
        frame_bytes: 64 << 10,
        frame_bytes_max: FRAME_BYTES_MAX / 2,
        frames_in_flight: 1,
        flush: Flush::DataSync,
        tail_bytes: 0,
    }
}

impl<D: Disk> Driver<D> {
    /// Returns when the catalogue was stopped, or with the reason why it can write no more.
    pub async fn run(mut self) -> Result<(), Arc<str>> {
        let commits = async {
            loop {
                match self.committer.step().await {
                    Step::Durable(_) | Step::Discarded { .. } => {}
                    Step::Stopped => return Ok(()),
                    Step::Failed(reason) => return Err(reason),
                }
            }
        };
        let (ended, ()) = future::join(commits, self.preparer.run()).await;
        ended
    }
}
