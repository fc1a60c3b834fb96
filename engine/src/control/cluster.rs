//! Watches over the Kafka cluster: whether it answers, which topics it has, and makes those that shards want.
//!
//! Core:    the control core's; each question to the cluster is asked on its helper thread.
//! Always:  a topic that shards want gets its row whether Kafka has it or not, as in Raccoon: what is sent to a topic
//!          that does not exist fails event by event, with Kafka's words.
//! Full:    at the operator's bound of topics the table is closed, as with the log.

use super::fleet::Fleet;
use super::topics;
use crate::kafka::cluster::{Cluster, Metadata};
use crate::kafka::{Error, Settings};
use crate::limit;
use crate::route::{self, Table};
use crate::rt::executor::spawn_local;
use crate::rt::timer::Interval;
use crate::shard::mail::Order;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// How often the cluster is asked, and how long it may take to answer.
const LOOK: Duration = Duration::from_secs(2);
const ANSWER_WAIT_MS: i32 = 4_000;
const CREATE_WAIT_MS: i32 = 10_000;
/// One broker of several may be silent while the others take everything that is theirs: so many questions in a row
/// stay without an answer before the cluster is called gone.
const SILENCES: u32 = 3;
/// Before the first answer.
const SILENT: &str = "the Kafka cluster has not answered yet";

/// The control core's part of publishing to Kafka.
pub(super) struct Watch {
    cluster: Cluster,
    create: Option<(i32, i32)>,
    topics_max: usize,
    /// What the cluster said last.
    seen: RefCell<Metadata>,
    /// Whether it answered when it was asked last; `None` before.
    answered: Cell<Option<bool>>,
    /// Questions without an answer, in a row.
    silences: Cell<u32>,
}

impl Watch {
    /// Starts a client of its own; nothing is asked yet.
    pub(super) fn open(
        settings: &Settings,
        cpus: &[usize],
        topics_max: usize,
    ) -> Result<Self, Error> {
        Ok(Self {
            cluster: Cluster::open(&settings.properties, cpus)?,
            create: settings.create,
            topics_max,
            seen: RefCell::default(),
            answered: Cell::new(None),
            silences: Cell::new(0),
        })
    }

    /// The table before any shard has asked for a topic.
    pub(super) fn table(&self, route: &route::Settings) -> Table {
        let mut table = Table::new(route.pattern.clone(), Arc::clone(&route.reserved), []);
        topics::close_if_full(&mut table, self.topics_max);
        table
    }

    /// Answers what shards want and looks after the cluster, until it is dropped.
    pub(super) async fn serve(self: Rc<Self>, fleet: Rc<Fleet>) {
        fleet.tell_fault(Some(SILENT.to_owned()));
        let _looking = spawn_local(Rc::clone(&self).look(Rc::clone(&fleet)));
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

    /// Looks after the cluster of a spool, until it is dropped: whether it answers is told, and is no reason to
    /// refuse events.
    pub(super) async fn serve_spool(self: Rc<Self>, fleet: Rc<Fleet>, letters: Box<str>) {
        let mut interval = Interval::new(LOOK);
        loop {
            let fault = self.ask(&fleet).await;
            let fault = fault.map(|why| format!("{why}; events wait in the log"));
            if self.is_news(fault.as_deref()) {
                self.say(fault.as_deref());
            }
            if fault.is_none() {
                self.make_missing(&fleet, &letters).await;
            }
            interval.tick().await;
        }
    }

    /// Makes the topics of the log that the cluster does not have, where operators want that.
    async fn make_missing(&self, fleet: &Fleet, letters: &str) {
        let Some(shape) = self.create else { return };
        let table = fleet.table();
        let rows = (0..).map(crate::unit::TopicIndex).zip(table.topics());
        let living = rows.filter(|(row, topic)| !table.is_deleted(*row) && *topic.name != *letters);
        let mut missing = self.missing(living.map(|(_, topic)| &*topic.name));
        missing.truncate(limit::TOPICS_AT_ONCE_MAX);
        if !missing.is_empty() {
            self.create(missing, shape).await;
        }
    }

    /// Asks once, and takes what the cluster says; why it does not, in case.
    async fn ask(&self, fleet: &Fleet) -> Option<String> {
        match self.cluster.metadata(ANSWER_WAIT_MS).await {
            Ok(metadata) => {
                fleet.tell_cluster(metadata.brokers, metadata.topics.len());
                self.seen.replace(metadata);
                self.silences.set(0);
                None
            }
            Err(fault) => {
                self.silences.set(self.silences.get() + 1);
                Some(format!(
                    "the Kafka cluster does not answer: {}",
                    fault.text()
                ))
            }
        }
    }

    /// Whether the last answer, or its absence, is news of which there is no doubt.
    fn is_news(&self, fault: Option<&str>) -> bool {
        let sure = fault.is_none() || SILENCES <= self.silences.get();
        sure && self.answered.replace(Some(fault.is_none())) != Some(fault.is_none())
    }

    fn say(&self, fault: Option<&str>) {
        match fault {
            None => {
                let seen = self.seen.borrow();
                let (brokers, topics) = (seen.brokers, seen.topics.len());
                tracing::info!("the Kafka cluster answers: {brokers} brokers, {topics} topics");
            }
            Some(why) => tracing::error!("{why}"),
        }
    }

    async fn make(&self, fleet: &Fleet, wanted: &[Box<str>]) {
        let table = fleet.table();
        let round = topics::plan(&table, wanted, self.topics_max, topics::fresh_id);
        if let Some(shape) = self.create {
            let missing = self.missing(round.iter().map(|(_, name)| &**name));
            if !missing.is_empty() {
                self.create(missing, shape).await;
            }
        }
        let table = topics::settle(&table, round, self.topics_max);
        fleet.publish(Arc::new(table)).await;
    }

    /// Those of `names` that the cluster did not have when it was asked last.
    fn missing<'a>(&self, names: impl Iterator<Item = &'a str>) -> Vec<String> {
        let seen = self.seen.borrow();
        let known: HashMap<&str, u32> = seen
            .topics
            .iter()
            .map(|(name, parts)| (&**name, *parts))
            .collect();
        let missing = names.filter(|name| !known.contains_key(name));
        missing.map(str::to_owned).collect()
    }

    /// Events for a topic that could not be made fail one by one, with Kafka's words.
    async fn create(&self, names: Vec<String>, shape: (i32, i32)) {
        match self
            .cluster
            .create(names.clone(), shape, CREATE_WAIT_MS)
            .await
        {
            Err(why) => tracing::error!("{} topics could not be made: {why}", names.len()),
            Ok(refused) => {
                for name in &names {
                    let found = refused.iter().find(|(other, _)| other == name);
                    if let Some((_, why)) = found {
                        tracing::error!("topic {name} could not be made: {why}");
                    } else {
                        tracing::info!("new topic {name}");
                    }
                }
            }
        }
    }

    async fn look(self: Rc<Self>, fleet: Rc<Fleet>) {
        let mut interval = Interval::new(LOOK);
        loop {
            let fault = self.ask(&fleet).await;
            if self.is_news(fault.as_deref()) {
                self.tell(&fleet, fault).await;
            }
            interval.tick().await;
        }
    }

    /// Says that the cluster is gone, or back.
    async fn tell(&self, fleet: &Fleet, fault: Option<String>) {
        self.say(fault.as_deref());
        fleet.tell_fault(fault.clone());
        let fault: Option<Arc<str>> = fault.map(Into::into);
        let order = || Order::Cluster {
            fault: fault.clone(),
        };
        fleet.order_all(order).await;
    }
}
