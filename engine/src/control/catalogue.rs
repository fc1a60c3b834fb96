//! Keeps the catalogue of topics: opens it, makes the topics that shards want, ends it.
//!
//! Core:    the control core's.
//! Always:  one round of wants at a time; each is answered by a table or by a refusal.
//! Cancel:  a dropped `serve` may leave topics that are durable and not yet told; the next start
//!          finds them.

use super::fleet::{Deletion, Fleet, NotDeleted};
use super::topics;
use crate::limit;
use crate::log::catalogue::{self, Catalogue, CatalogueError, Driver, identity};
use crate::log::format::StoreId;
use crate::log::mirror::Member;
use crate::log::reconcile::{ReconcileError, reconcile};
use crate::log::report::VolumeReport;
use crate::log::store::{CATALOGUE, CATALOGUE_JOURNAL};
use crate::route::{Table, Topic};
use crate::rt::executor::{Task, spawn_local};
use crate::rt::file::Volume;
use crate::rt::timer::{self, Interval};
use crate::shard;
use crate::shard::background::Background;
use crate::shard::clock::{Clock, MachineClock};
use crate::shard::mail::Order;
use crate::shard::volumes::{self, Disk, LastScrub, Volumes};
use crate::unit::TopicId;
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

/// Why there is no catalogue.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the catalogue of topics: {0}")]
    Volumes(#[from] ReconcileError),
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
}

/// The catalogue with what drives it.
pub(super) struct Keeper {
    catalogue: Catalogue<Disk>,
    mirror: Disk,
    /// Folders that cannot be used, with the reason.
    unusable: Vec<(String, String)>,
    settings: shard::Settings,
    /// Filling and scrubbing volumes, here and elsewhere in the control core.
    pub(super) background: Background,
    last_scrub: LastScrub,
    /// Volumes that want a whole copy, until it is at work.
    to_rebuild: Cell<Vec<Member<Volume>>>,
    clock: Rc<MachineClock>,
    topics_max: usize,
    /// The topic of dead letters, when it is to be made.
    letters: Cell<Option<Box<str>>>,
    /// Until it is at work.
    driver: Cell<Option<Driver<Disk>>>,
    writing: Cell<Option<Task<()>>>,
}

impl Keeper {
    /// Recovers the catalogue; gives the table of its topics as well.
    pub(super) async fn open(
        store: StoreId,
        settings: &shard::Settings,
        volumes: &Volumes,
    ) -> Result<(Self, Table), Error> {
        let clock = Rc::new(MachineClock::start());
        let route = &settings.route;
        let (members, unusable) = volumes.open(settings).await;
        let rules = volumes::rules(settings.log.copies);
        let permissions = &volumes.permissions;
        let found = reconcile(members, CATALOGUE, identity(store), rules, permissions).await?;
        for note in &found.notes {
            tracing::warn!("the catalogue of topics: {note}");
        }
        let (mirror, read) = (found.mirror.clone(), Rc::clone(&clock));
        spawn_local(found.tender.run()).detach();
        let clock_of = Rc::new(move || read.now());
        let opened = Catalogue::take_up(
            found.mirror,
            catalogue::settings(store),
            found.recovered,
            clock_of,
        )
        .await?;
        let (catalogue, driver, named) = opened;
        let topics = named.into_iter().map(|(id, name)| Topic { id, name });
        let mut table = Table::new(route.pattern.clone(), Arc::clone(&route.reserved), topics);
        table.buried = catalogue.removed();
        topics::close_if_full(&mut table, route.client_topics_max);
        let keeper = Self {
            catalogue,
            mirror,
            unusable,
            settings: settings.clone(),
            background: Background::default(),
            last_scrub: LastScrub::default(),
            to_rebuild: Cell::new(
                found
                    .to_rebuild
                    .into_iter()
                    .map(|(member, _)| member)
                    .collect(),
            ),
            clock,
            topics_max: route.client_topics_max,
            letters: Cell::new(None),
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
            self.fill(self.to_rebuild.take());
            let keeper = Rc::clone(&self);
            self.background.start(|rest| async move {
                let journal = keeper.catalogue.journal();
                let (settings, last) = (&keeper.settings, &keeper.last_scrub);
                volumes::scrub(CATALOGUE_JOURNAL, journal, settings, last, &rest).await;
            });
        }
        loop {
            let wants = fleet.wants.wait();
            if let Some(letters) = self.letters.take() {
                self.make_letters(&fleet, &letters).await;
            }
            let wanted = fleet.take_wanted();
            let deletions = fleet.take_deletions();
            if wanted.is_empty() && deletions.is_empty() {
                wants.await;
                continue;
            }
            for deletion in deletions {
                self.delete(&fleet, deletion).await;
            }
            for round in wanted.chunks(limit::TOPICS_AT_ONCE_MAX) {
                self.make(&fleet, round).await;
            }
        }
    }

    /// Has the topic of dead letters made, where there is a spool. To be called once, when every shard serves.
    pub(super) fn want_letters(&self, fleet: &Fleet) {
        if let Some(spool) = &self.settings.spool {
            self.letters.set(Some(spool.letters.clone()));
            fleet.wants.wake_all();
        }
    }

    async fn make_letters(&self, fleet: &Fleet, name: &str) {
        let table = fleet.table();
        if table.find(name).is_some() {
            return;
        }
        let round = vec![(topics::fresh_id(), Arc::from(name))];
        if let Err(why) = self.catalogue.add(&round).await {
            tracing::error!("topic {name} could not be made: {why}");
            return;
        }
        let table = topics::settle(&table, round, self.topics_max);
        fleet.publish(Arc::new(table)).await;
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

    /// Deletes a topic: durably here, then for all shards, then durably in every journal.
    async fn delete(&self, fleet: &Fleet, deletion: Deletion) {
        let table = fleet.table();
        let Some(row) = table.find(&deletion.name) else {
            return fleet.settle_deletion(&deletion, Err(NotDeleted::Absent));
        };
        let topics: Vec<TopicId> = table.topic(row).map(|topic| topic.id).into_iter().collect();
        if let Err(why) = self.catalogue.remove(&topics).await {
            tracing::error!("topic {} could not be deleted: {why}", deletion.name);
            let failed = NotDeleted::Failed(why.to_string());
            return fleet.settle_deletion(&deletion, Err(failed));
        }
        tracing::info!("topic {} was deleted", deletion.name);
        let table = topics::without(&table, row, self.topics_max);
        fleet.publish(Arc::new(table)).await;
        self.bury(fleet, topics).await;
        fleet.settle_deletion(&deletion, Ok(()));
    }

    /// Has the journals remember that topics were deleted; until they all do, the catalogue does.
    async fn bury(&self, fleet: &Fleet, topics: Vec<TopicId>) {
        if fleet.forget(&topics).await {
            self.catalogue.release(&topics);
        }
    }

    /// To be called once, when every shard serves: what was deleted before the start.
    pub(super) async fn bury_earlier(&self, fleet: &Fleet) {
        let topics = self.catalogue.removed();
        if !topics.is_empty() {
            self.bury(fleet, topics).await;
        }
    }

    async fn tick(self: Rc<Self>, fleet: Rc<Fleet>) {
        let mut interval = Interval::new(TICK);
        let mut ticks = 0u32;
        loop {
            interval.tick().await;
            ticks = ticks.wrapping_add(1);
            self.clock.follow_wall();
            self.catalogue.tick();
            self.mirror
                .watch(self.clock.now(), limit::VOLUME_ANSWER_US_MAX);
            if ticks.is_multiple_of(TICKS_TO_TELL) {
                fleet.take_catalogue_volumes(self.volumes());
            }
            if ticks.is_multiple_of(TICKS_TO_TRY_AGAIN) {
                self.catalogue.try_again();
            }
        }
    }

    fn volumes(&self) -> Vec<VolumeReport> {
        let journal = self.catalogue.journal();
        volumes::reports(CATALOGUE_JOURNAL, journal, &self.unusable, &self.last_scrub)
    }

    /// Fills a volume that is fit for use again.
    pub(super) async fn take_back(self: &Rc<Self>, place: volumes::Place) {
        if self.mirror.members().contains(&place.volume) {
            return;
        }
        match volumes::open(&place, &self.settings).await {
            Ok(member) => self.fill(vec![member]),
            Err(why) => tracing::warn!("{why}"),
        }
    }

    fn fill(self: &Rc<Self>, members: Vec<Member<Volume>>) {
        let keeper = Rc::clone(self);
        self.background.start(|rest| async move {
            for member in members {
                let journal = keeper.catalogue.journal();
                volumes::fill(CATALOGUE_JOURNAL, journal, member, &keeper.settings, &rest).await;
            }
        });
    }

    /// Writes what is left and ends.
    pub(super) async fn stop(&self) {
        self.background.stop().await;
        self.catalogue.stop();
        if let Some(writing) = self.writing.take()
            && timer::timeout(STOP_WAIT, writing).await.is_none()
        {
            tracing::error!("the catalogue of topics did not end in time");
        }
    }
}

/// Does the catalogue's writing, and tells when it can write no more.
async fn write(driver: Driver<Disk>, fleet: Rc<Fleet>) {
    if let Err(reason) = driver.run().await {
        fleet.catalogue_failed(&reason);
    }
}
