//! Topics that are deleted and truncated: asked for by the admin port, done by the catalogue's keeper and
//! the shards.

use super::{Fleet, Unanswered, wait};
use crate::limit::SPOOL_RETRY_ANSWER_WAIT;
use crate::shard::mail::{Order, Place};
use crate::spool::retry::{Retried, Retry};
use crate::unit::{JournalId, Offset, TopicId, TopicIndex};
use std::mem;
use std::sync::Arc;

/// A topic that is to be deleted.
#[derive(Debug)]
pub(in super::super) struct Deletion {
    pub(in super::super) name: Box<str>,
    ticket: u64,
}

/// Why a topic was not deleted.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum NotDeleted {
    Absent,
    Failed(String),
}

/// What became of changing a topic on one shard's journals: its partitions there, or why not.
pub(in super::super) type Changed = Result<Vec<Place>, String>;

impl Fleet {
    /// Has a topic deleted.
    pub(in super::super) async fn delete(
        &self,
        name: &str,
    ) -> Result<Result<(), NotDeleted>, Unanswered> {
        let ticket = self.deleted.open(1).ok_or(Unanswered::Busy)?;
        self.deletions.borrow_mut().push(Deletion {
            name: name.into(),
            ticket: ticket.number(),
        });
        self.wants.wake_all();
        wait(ticket).await.pop().ok_or(Unanswered::Late)
    }

    /// The topics that are to be deleted; none are left behind.
    pub(in super::super) fn take_deletions(&self) -> Vec<Deletion> {
        mem::take(&mut *self.deletions.borrow_mut())
    }

    pub(in super::super) fn settle_deletion(
        &self,
        deletion: &Deletion,
        outcome: Result<(), NotDeleted>,
    ) {
        self.deleted.settle(deletion.ticket, outcome);
    }

    /// Has every journal remember for good that topics were deleted; whether all do.
    pub(in super::super) async fn forget(&self, topics: &[TopicId]) -> bool {
        let order = |ticket| Order::Forget {
            ticket,
            topics: topics.to_vec(),
        };
        let answers = self.ask_all(&self.changed_places, order).await;
        answers.is_ok_and(|(answers, whole)| whole && answers.iter().all(Result::is_ok))
    }

    /// Lets a topic's records go that are below `offset`, or were received before `before_ms`, in one
    /// partition or in all. Gives these partitions as they are then.
    pub(in super::super) async fn truncate(
        &self,
        topic: TopicIndex,
        journal: Option<JournalId>,
        offset: Offset,
        before_ms: Option<i64>,
    ) -> Result<Changed, Unanswered> {
        let order = |ticket| Order::Truncate {
            ticket,
            topic,
            journal,
            offset,
            before_ms,
        };
        let (answers, whole) = self.ask_all(&self.changed_places, order).await?;
        if !whole {
            return Err(Unanswered::Late);
        }
        let places: Changed = answers.into_iter().try_fold(Vec::new(), |mut all, one| {
            all.extend(one?);
            Ok(all)
        });
        Ok(places.map(|mut places| {
            places.sort_by_key(|place| place.journal);
            places
        }))
    }

    /// Has every shard send its dead letters again, or count them.
    pub(in super::super) async fn retry(&self, retry: Retry) -> Result<Retried, Unanswered> {
        let retry = Arc::new(retry);
        let order = |ticket| Order::Retry {
            ticket,
            retry: Arc::clone(&retry),
        };
        let asked = self.ask_patiently(&self.retried, order, SPOOL_RETRY_ANSWER_WAIT);
        let (answers, whole) = asked.await?;
        if !whole {
            return Err(Unanswered::Late);
        }
        let mut all = Retried::default();
        for one in answers {
            all.add(one);
        }
        Ok(all)
    }
}
