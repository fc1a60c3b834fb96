//! Where a shard's new events go: into its journal, or to Kafka.

use super::Settings;
use super::deliver::Delivery;
use super::open::Opened;
use super::volumes::Disk;
use crate::kafka::writer::Writer;
use crate::log::journal::{Commit, Journal};
use crate::rt::wake::Bell;
use crate::unit::{Ticket, TopicId};
use std::sync::Arc;

pub(super) enum Destination {
    Journal(Journal<Disk>),
    Kafka(Box<Delivery>),
}

impl Destination {
    /// Kafka when it is configured, else the first journal.
    pub(super) fn find(
        settings: &Settings,
        kafka_cpus: &[usize],
        opened: &[Opened],
    ) -> Result<(Self, Option<Bell>), String> {
        let Some(kafka) = &settings.kafka else {
            let first = opened.first().ok_or("it has no journal")?;
            return Ok((Self::Journal(first.journal.clone()), None));
        };
        let opened = Writer::open(&kafka.properties, kafka_cpus);
        let (writer, bell) = opened.map_err(|error| error.to_string())?;
        let delivery = Delivery::new(writer, kafka.clone(), settings.in_flight_bytes_max);
        Ok((Self::Kafka(Box::new(delivery)), Some(bell)))
    }

    /// Whether a message of this many bytes can be taken just now, as far as the destination goes.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        match self {
            Self::Journal(journal) => journal.has_room(bytes),
            // The shard's budget says when there is none.
            Self::Kafka(_) => true,
        }
    }

    /// Whether room that is not there will come. A journal that refuses answers at once: nobody waits for it.
    pub(super) fn waits_for_room(&self) -> bool {
        match self {
            Self::Journal(journal) => journal.fault().is_none(),
            Self::Kafka(_) => true,
        }
    }

    /// Why an event sent now would not be acknowledged.
    pub(super) fn fault(&self) -> Option<Arc<str>> {
        match self {
            Self::Journal(journal) => journal.fault(),
            Self::Kafka(delivery) => delivery.fault(),
        }
    }

    /// Behind which commit an answer has to wait to leave in its turn; `None` where answers leave as they come.
    pub(super) fn last_ticket(&self) -> Option<Ticket> {
        match self {
            Self::Journal(journal) => Some(journal.last_ticket()),
            Self::Kafka(_) => None,
        }
    }

    pub(super) fn take_commits(&self, each: impl FnMut(Commit)) {
        if let Self::Journal(journal) = self {
            journal.take_commits(each);
        }
    }

    /// New topics.
    pub(super) fn learn(&self, names: impl Iterator<Item = (TopicId, Arc<str>)>) {
        if let Self::Journal(journal) = self {
            journal.learn(names);
        }
    }

    /// Commits what has waited for company long enough.
    pub(super) fn end_wait(&self) {
        if let Self::Journal(journal) = self {
            journal.end_wait();
        }
    }
}
