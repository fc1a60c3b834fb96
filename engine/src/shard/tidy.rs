//! What a shard does in the background with its journals, and what operators ask of topics.

use super::clock::Clock as _;
use super::mail::{Place, Report};
use super::run::Life;
use super::volumes::Disk;
use crate::limit::SPOOL_RETRY_TIME;
use crate::log::journal::{Extent, Journal};
use crate::spool::retry::{Retried, Retry};
use crate::unit::{JournalId, Micros, Offset, TopicId, TopicIndex};
use std::rc::Rc;
use std::sync::Arc;

/// A partition as the admin port tells it.
pub(super) fn place(
    (id, journal): (JournalId, &Journal<Disk>),
    topic: TopicIndex,
    extent: Extent,
) -> Place {
    Place {
        topic,
        journal: id,
        first: extent.low,
        next: extent.next,
        dead_bytes: journal.dead_bytes(topic),
    }
}

impl Life {
    /// Has every journal remember that topics were deleted, and says so when that is durable.
    pub(super) async fn forget(self: Rc<Self>, ticket: u64, topics: Vec<TopicId>) {
        let mut places = Ok(Vec::new());
        for kept in &self.journals {
            if let Err(why) = kept.journal.delete(&topics).await {
                places = Err(why.to_string());
            }
        }
        self.core.post(Report::Changed { ticket, places });
    }

    /// Truncates a topic in this shard's journals, and says so when that is durable.
    pub(super) async fn truncate(
        self: Rc<Self>,
        ticket: u64,
        (topic, chosen): (TopicIndex, Option<JournalId>),
        offset: Offset,
        before_ms: Option<i64>,
    ) {
        let mut places = Ok(Vec::new());
        for kept in &self.journals {
            let (id, journal) = (kept.id, &kept.journal);
            if chosen.is_some_and(|chosen| chosen != id) || !journal.knows(topic) {
                continue;
            }
            let truncated = journal.truncate(topic, offset, before_ms).await;
            match (truncated, &mut places) {
                (Ok(extent), Ok(places)) => places.push(place((id, journal), topic, extent)),
                (Err(why), _) => places = Err(why.to_string()),
                _ => {}
            }
        }
        self.core.post(Report::Changed { ticket, places });
    }

    /// Sends this shard's dead letters again, and says what came of it.
    pub(super) async fn retry(self: Rc<Self>, ticket: u64, retry: Arc<Retry>) {
        let now = self.core.clock.now();
        let until = Micros(now.0 + SPOOL_RETRY_TIME.as_micros() as u64);
        let mut retried = Retried::default();
        for forwarder in &self.forwarders {
            retried.add(forwarder.retry(&retry, until).await);
        }
        self.core.post(Report::Retried { ticket, retried });
    }
}
