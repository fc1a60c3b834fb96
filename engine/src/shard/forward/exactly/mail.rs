//! What the shard and the thread of transactions say to each other.

use crate::log::format::forwarded::Forwarded;
use crate::log::journal::{Followed, Load};
use crate::unit::TopicIndex;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

/// Some records of a frame that are for Kafka: one batch.
pub(super) struct Lot {
    /// The batch in its frame.
    pub(super) batch: u32,
    pub(super) topic: TopicIndex,
    pub(super) name: Arc<str>,
    /// The event type that the topic says, where headers want one.
    pub(super) kind: Option<Arc<str>>,
}

/// One frame, with what is to be sent of it.
pub(super) struct Parcel {
    pub(super) followed: Followed,
    /// The frame, checked.
    pub(super) frame: Vec<u8>,
    pub(super) lots: Vec<Lot>,
    /// Events in the lots.
    pub(super) events: u64,
    /// Events of topics that were deleted.
    pub(super) skipped: u64,
}

/// A dead letter: its records end to end, each with its length.
#[derive(Clone)]
pub(super) struct Letter {
    pub(super) source: Rc<[u8]>,
    pub(super) lengths: Rc<[u32]>,
}

/// To the thread.
pub(super) enum Command {
    /// What comes lies behind this cursor.
    Begin(Forwarded),
    Parcel(Box<Parcel>),
    /// All dead letters so far are durable.
    LettersDurable,
    /// Kafka may want these topics by now.
    Renew(BTreeSet<TopicIndex>),
}

/// What a transaction brought.
pub(super) struct Committed {
    pub(super) cursor: Forwarded,
    pub(super) parcels: usize,
    /// Of the frames.
    pub(super) load: Load,
    pub(super) delivered: u64,
    /// Of those, in whole batches.
    pub(super) whole: u64,
    /// Events that were sent more than once for it.
    pub(super) repeated: u64,
}

/// Nobody else forwards under this name any more.
#[derive(Clone, Copy)]
pub(super) struct Ready {
    /// What Kafka has of the journal; `None`: it was never told.
    pub(super) found: Option<Forwarded>,
}

/// From the thread.
pub(super) enum Word {
    Ready(Ready),
    Committed(Committed),
    /// Events that Kafka will never take, as [`crate::spool::letter`] writes them.
    Letters(Vec<(Vec<u8>, Vec<u32>)>),
    Statistics(Box<str>),
    /// Nothing more is forwarded, and why.
    Stopped(String),
    Ended,
}
