//! Keeps the catalogue of topics: opens it, makes the topics that shards want, ends it.
//!
//! Core:    the control core's.
//! Always:  one round of wants at a time; each is answered by a table or by a refusal.
//! Cancel:  a dropped `serve` may leave topics that are durable and not yet told; the next start
//!          finds them.

use super::fleet::Fleet;
use super::topics;
use crate::limit;
use crate::log::catalogue::{Catalogue, CatalogueError, Driver};
use crate::log::format::StoreId;
use crate::log::report::{ScrubCounts, VolumeReport, VolumeState};
use crate::log::store::CATALOGUE_JOURNAL;
use crate::route::{Settings, Table, Topic};
use crate::rt::executor::{Task, spawn_local};
use crate::rt::file::Volume;
use crate::rt::timer::{self, Interval};
use crate::shard::clock::{Clock, MachineClock};
use crate::shard::mail::Order;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// How often the catalogue and its clock look around.
const TICK: Duration = Duration::from_millis(100);
/// A full disk is tried again this often, in ticks.
const TICKS_TO_TRY_AGAIN: u32 = 30;
/// How it sees the volumes is told this often, in ticks.
const TICKS_TO_TELL: u32 = 5;
/// How long the last write of the catalogue may take at the end.
const STOP_WAIT: Duration = Duration::from_secs(5);

/// The catalogue with what drives it.
pub(super) struct Keeper {
    catalogue: Catalogue<Volume>,
    folder: String,
    clock: Rc<MachineClock>,
    topics_max: usize,
    /// Until it is at work.
    driver: Cell<Option<Driver<Volume>>>,
    writing: Cell<Option<Task<()>>>,
}

impl Keeper {
    /// Recovers the catalogue; gives the table of its topics as well.
    pub(super) async fn open(
        disk: Volume,
        store: StoreId,
        route: &Settings,
    ) -> Result<(Self, Table), CatalogueError> {
        let clock = Rc::new(MachineClock::start());
        let folder = disk.root().display().to_string();
        let read = Rc::clone(&clock);
        let opened = Catalogue::open(disk, store, Rc::new(move || read.now())).await?;
        let (catalogue, driver, named) = opened;
        let topics = named.into_iter().map(|(id, name)| Topic { id, name });
        let mut table = Table::new(route.pattern.clone(), topics);
        topics::close_if_full(&mut table, route.client_topics_max);
        let keeper = Self {
            catalogue,
            folder,
            clock,
            topics_max: route.client_topics_max,
            driver: Cell::new(Some(driver)),
            writing: Cell::new(None),
        };
        Ok((keeper, table))
    }

    /// Makes the topics that shards want, until it is dropped.
    pub(super) async fn serve(self: Rc<Self>, fleet: Rc<Fleet>) {
        let _ticks = spawn_local(Rc::clone(&self).tick(Rc::clone(&fleet)));
        if let Some(driver) = self.driver.take() {
            let writing = spawn_local(write(driver, Rc::clone(&fleet)));
            self.writing.set(Some(writing));
        }
        loop {
            let wants = fleet.wants.wait();
            let wanted = fleet.take_wanted();
            if wanted.is_empty() {
                wants.await;
                continue;
            }
            for round in wanted.chunks(limit::TOPICS_AT_ONCE_MAX) {
                self.make(&fleet, round).await;
            }
        }
    }

    async fn make(&self, fleet: &Fleet, wanted: &[Box<str>]) {
        let table = fleet.table();
        let round = topics::plan(&table, wanted, self.topics_max, topics::fresh_id);
        if !round.is_empty()
            && let Err(why) = self.catalogue.add(&round).await
        {
            tracing::error!("{} topics could not be made: {why}", round.len());
            let reason: Arc<str> = format!("the topic could not be made: {why}").into();
            let refuse = || Order::TopicsRefused {
                kinds: wanted.to_vec(),
                reason: Arc::clone(&reason),
            };
            return fleet.order_all(refuse).await;
        }
        for (_, name) in &round {
            tracing::info!("new topic {name}");
        }
        // Also when there is nothing new: who asked waits for an answer.
        let table = topics::settle(&table, round, self.topics_max);
        fleet.publish(Arc::new(table)).await;
    }

    async fn tick(self: Rc<Self>, fleet: Rc<Fleet>) {
        let mut interval = Interval::new(TICK);
        let mut ticks = 0u32;
        loop {
            interval.tick().await;
            ticks = ticks.wrapping_add(1);
            self.clock.follow_wall();
            self.catalogue.tick();
            if ticks.is_multiple_of(TICKS_TO_TELL) {
                fleet.take_catalogue_volumes(vec![self.volume()]);
            }
            if ticks.is_multiple_of(TICKS_TO_TRY_AGAIN) {
                self.catalogue.try_again();
            }
        }
    }

    fn volume(&self) -> VolumeReport {
        VolumeReport {
            journal: CATALOGUE_JOURNAL,
            volume: Some(0),
            folder: self.folder.clone(),
            state: match self.catalogue.fault() {
                None => VolumeState::InService,
                Some(reason) => VolumeState::Fenced {
                    reason: reason.to_string(),
                },
            },
            scrub: ScrubCounts::default(),
        }
    }

    /// Writes what is left and ends.
    pub(super) async fn stop(&self) {
        self.catalogue.stop();
        if let Some(writing) = self.writing.take()
            && timer::timeout(STOP_WAIT, writing).await.is_none()
        {
            tracing::error!("the catalogue of topics did not end in time");
        }
    }
}

/// Does the catalogue's writing, and tells when it can write no more.
async fn write(driver: Driver<Volume>, fleet: Rc<Fleet>) {
    if let Err(reason) = driver.run().await {
        fleet.catalogue_failed(&reason);
    }
}
