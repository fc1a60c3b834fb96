//! One journal: every topic's events in one sequence of frames, group-committed.
//!
//! Layout:  see `log::format`. Events are staged in the open frame ([`staging`]); the [`commit`] task
//!          writes frames, several in flight; the [`prepare`] task keeps segments ready and retires old ones.
//! Always:  durable <= submitted <= staged. Nothing above the contiguous durable prefix is shown to anyone.
//! Core:    born, lives and dies on one shard; the handle is an `Rc`.
//! Cancel:  dropping a task loses what it had not made durable, which nobody was told of.
//! Full:    `append` answers `Full` and changes nothing.

mod bells;
mod commit;
mod delete;
mod examine;
mod follow;
mod forward;
mod keeping;
mod ledger;
mod living;
mod prepare;
mod read;
mod rebuild;
mod repack;
mod retire;
mod scrub;
mod segment;
mod settle;
mod size;
mod sorted;
mod staging;
mod start;
mod tail;
mod tidy;
mod topic;

#[cfg(test)]
mod tests;

pub use commit::{Committer, Step};
pub use delete::TruncateError;
pub use follow::{FollowError, Followed, Follower, Spot};
pub use forward::{Load, Overflow};
pub use prepare::Preparer;
pub use read::{ReadError, ReadRecord, Sleep};
pub use rebuild::RebuildError;
pub use scrub::{Decay, Pace, Scrubbed};
pub use size::{Size, Tidied};
pub use staging::{Request, RoutedEvent};
pub use start::StartError;
pub use tidy::Tidier;
pub use topic::Extent;

use super::disk::Disk;
use super::format::StoreId;
use super::format::frame::SectionKind;
use super::format::loss::Losses;
use super::retention::Rules;
use super::wake::Receipt;
use super::{Flush, Origin};
use crate::limit::{BATCH_EVENTS_MAX, BLOCK_BYTES, FRAME_BYTES_MAX};
use crate::unit::{Epoch, JournalId, Micros, Offset, Sequence, Ticket, TopicId, TopicIndex};
use bells::Bells;
use forward::Forwarding;
use keeping::Roll;
use read::Reading;
use retire::Retired;
use scrub::Scrubbing;
pub(super) use segment::read_footer;
use segment::{OpenSegment, Prepared, SealedSegment};
use staging::Staging;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use tail::Tail;
use topic::Topics;

/// What one journal needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    pub store: StoreId,
    pub journal: JournalId,
    pub segment_bytes: u64,
    /// Segments kept ready beside the reserved one.
    pub prepared: usize,
    /// Bytes the journal's segments may take before the oldest goes; `None` keeps all.
    pub retention_bytes: Option<u64>,
    pub keeping: Keeping,
    pub origin: Origin,
    /// How long an idle journal waits for company before it commits; 0 commits at once.
    pub commit_wait_us: u64,
    /// A frame is closed at this size while others are in flight.
    pub frame_bytes: usize,
    /// The largest frame: one request always fits.
    pub frame_bytes_max: usize,
    pub frames_in_flight: usize,
    pub flush: Flush,
    /// The newest frames that are kept in memory while there are readers for them; 0 keeps none.
    pub tail_bytes: usize,
}

/// How long records stay, and when the space of dead ones is given back.
#[derive(Clone, Debug, Default)]
pub struct Keeping {
    pub rules: Rules,
    /// A sealed segment is rewritten when less than this part of its batches is alive, in percent; 0 for
    /// never.
    pub repack_below: u32,
    /// The journal is forwarded: what is not yet forwarded stays, or goes last.
    pub spool: Option<Overflow>,
}

impl Settings {
    /// The largest frame that requests of `message_bytes_max` call for.
    pub fn frame_capacity(frame_bytes: usize, message_bytes_max: usize) -> usize {
        let request = message_bytes_max + BATCH_EVENTS_MAX * 32 + (1 << 20);
        (4 * frame_bytes)
            .max(request)
            .next_power_of_two()
            .min(FRAME_BYTES_MAX)
            .next_multiple_of(BLOCK_BYTES as usize)
    }
}

/// Why a request was not appended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Wait for a commit and offer it again; nothing was changed.
    #[error("the open frame is full")]
    Full,
    /// Refuse this request for good.
    #[error("the request needs {bytes} bytes of log, more than a commit's {bytes_max}")]
    TooLarge { bytes: usize, bytes_max: usize },
    /// The log takes nothing now; tell the client why.
    #[error("{0}")]
    Refused(Arc<str>),
}

/// One commit that became durable.
#[derive(Clone, Copy, Debug)]
pub struct Commit {
    pub bytes: u64,
    pub flush_us: u64,
    pub events: u64,
    pub event_bytes: u64,
}

/// A frame between its submission and the contiguous prefix.
struct InFlight {
    sequence: Sequence,
    ticket: Option<Ticket>,
    receipt: Option<Rc<Receipt>>,
    raised: Vec<(TopicId, Offset)>,
    contents: staging::Contents,
    bytes: u64,
    position: u64,
    submitted: Micros,
    flush_us: Option<u64>,
    /// It is on every volume in service, but they are too few for it to count as durable.
    short: bool,
}

/// Sections that the log itself wants to commit.
#[derive(Default)]
struct SystemFrame {
    sections: Vec<(SectionKind, Vec<u8>)>,
    /// For who waits until it is durable.
    receipt: Option<Rc<Receipt>>,
    /// Low watermarks that it raises: they are shown when it is durable.
    raised: Vec<(TopicId, Offset)>,
}

struct Inner<D: Disk> {
    settings: Settings,
    disk: D,
    folder: String,
    clock: Rc<dyn Fn() -> Micros>,
    epoch: Epoch,
    /// Everything that was ever lost, as the next opening frame says.
    losses: Rc<Losses>,
    /// Footers are written when a frame after this one is durable: before, a loss in them may not be recorded.
    seal_after: Option<Sequence>,
    topics: Topics,
    keeping: Roll,
    scrubbing: Scrubbing,
    forwarding: Forwarding,

    staging: Staging,
    /// The buffer of the open frame; `None` while nothing is staged.
    buffer: Option<D::Buffer>,
    staged_since: Micros,
    /// The ticket of the open frame.
    ticket: Ticket,
    system: VecDeque<SystemFrame>,

    next_sequence: Sequence,
    chain: u64,
    durable: Option<Sequence>,
    durable_ticket: Option<Ticket>,
    tail: Tail,
    reading: Reading<D>,
    in_flight: VecDeque<InFlight>,
    commits: Vec<Commit>,
    /// The last frame carried something, so an idle journal still owes a closing frame.
    owes_closing: bool,

    open: Option<OpenSegment<D::File>>,
    /// Rolled over, waiting for their frames to be durable and their footers to be written.
    closing: VecDeque<OpenSegment<D::File>>,
    sealed: VecDeque<SealedSegment<D::File>>,
    prepared: VecDeque<Prepared<D::File>>,
    /// Files whose contents nobody needs, to be used again.
    spare: VecDeque<Prepared<D::File>>,
    /// Files that nobody needs and that have another size: they go.
    doomed: VecDeque<Prepared<D::File>>,
    /// Segments that are retired and whose files still say that they are in use, oldest first.
    retired: VecDeque<Retired<D::File>>,
    /// Counts the segments that were replaced by their rewritten form.
    swaps: u64,
    tidied: Tidied,
    /// When the tidier was last called, and whether it has heard of that.
    tidy_at: Micros,
    next_life: u64,
    next_file: u32,
    recycled: u64,

    /// Why nothing more can be written, for good.
    fault: Option<Arc<str>>,
    /// Why no segment can be prepared just now: the disk is full.
    full: Option<Arc<str>>,
    stopping: bool,
    /// The committer has ended: nothing is waited for any more.
    ended: bool,
}

/// A handle to one journal; cheap to clone.
pub struct Journal<D: Disk> {
    inner: Rc<RefCell<Inner<D>>>,
    bells: Rc<Bells>,
}

impl<D: Disk> Clone for Journal<D> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            bells: self.bells.clone(),
        }
    }
}

impl<D: Disk> Journal<D> {
    /// Puts a request into the open frame. Its events are durable when [`Journal::durable`] has
    /// reached the ticket that this returns.
    pub fn append(&self, now: Micros, request: &Request<'_>) -> Result<Ticket, AppendError> {
        let mut inner = self.inner.borrow_mut();
        let inner = &mut *inner;
        if let Some(reason) = inner.refusal_of_new() {
            return Err(AppendError::Refused(reason));
        }
        self.stage(inner, now, request)
    }

    fn stage(
        &self,
        inner: &mut Inner<D>,
        now: Micros,
        request: &Request<'_>,
    ) -> Result<Ticket, AppendError> {
        if request.events.is_empty() {
            return Ok(inner.last_ticket());
        }
        let need = Staging::need(request, &inner.topics);
        if !inner.staging.fits(need) {
            return Err(inner.no_room(need));
        }
        if inner.buffer.is_none() {
            inner.buffer = Some(inner.disk.buffer(inner.settings.frame_bytes_max));
            // Requests may have another clock than the wait.
            inner.staged_since = (inner.clock)();
        }
        if let Some(buffer) = &mut inner.buffer {
            inner
                .staging
                .append(buffer.as_mut(), &mut inner.topics, now, request);
        }
        let ticket = inner.ticket;
        self.bells.commit.ring();
        Ok(ticket)
    }

    /// Whether the open frame is likely to hold another message of so many bytes. `append` decides.
    pub fn has_room(&self, message_bytes: usize) -> bool {
        let inner = self.inner.borrow();
        inner.staging.is_empty() || inner.staging.fits(message_bytes + message_bytes / 8 + 1024)
    }

    /// Every request whose ticket is not above this one is on stable storage.
    pub fn durable(&self) -> Option<Ticket> {
        self.inner.borrow().durable_ticket
    }

    /// The ticket of the newest commit that carries requests: open, in flight or durable.
    pub fn last_ticket(&self) -> Ticket {
        self.inner.borrow().last_ticket()
    }

    pub fn settings(&self) -> Settings {
        self.inner.borrow().settings.clone()
    }

    /// Takes the topics of the table; those known already come first, in the same order.
    pub fn learn(&self, table: impl Iterator<Item = (TopicId, Arc<str>)>) {
        self.inner.borrow_mut().topics.learn(table);
    }

    pub fn knows(&self, topic: TopicIndex) -> bool {
        self.inner.borrow().topics.knows(topic)
    }

    /// Topics that the journal holds and no table names.
    pub fn unnamed(&self) -> Vec<TopicId> {
        self.inner.borrow().topics.unnamed().collect()
    }

    /// The readable range of a topic: from its low watermark to its end, both as they are durably.
    pub fn extent(&self, topic: TopicIndex) -> Extent {
        let inner = self.inner.borrow();
        if inner.topics.knows(topic) {
            inner.topics.durable(topic)
        } else {
            Extent::default()
        }
    }

    /// Bytes below the topic's low watermark that still take space, as of the latest look at all segments.
    pub fn dead_bytes(&self, topic: TopicIndex) -> u64 {
        let inner = self.inner.borrow();
        if inner.topics.knows(topic) {
            inner.topics.dead_bytes(topic)
        } else {
            0
        }
    }

    /// Every topic that has ever held a durable record here.
    pub fn extents(&self) -> Vec<(TopicIndex, Extent)> {
        let inner = self.inner.borrow();
        let all = inner
            .topics
            .indices()
            .map(|topic| (topic, inner.topics.durable(topic)));
        let lives = |topic: &TopicIndex| !inner.topics.is_deleted(*topic);
        all.filter(|(topic, extent)| extent.next != Offset(0) && lives(topic))
            .collect()
    }

    /// Defines topics in the chain without an event, which is how the catalogue writes; returns when they
    /// are durable.
    pub async fn define(&self, topics: &[(TopicId, Arc<str>)]) -> Result<(), AppendError> {
        let receipt = Rc::new(Receipt::default());
        {
            let mut inner = self.inner.borrow_mut();
            if let Some(reason) = inner.refusal_of_new() {
                return Err(AppendError::Refused(reason));
            }
            inner.topics.learn_more(topics.iter().cloned());
            let sections = vec![(SectionKind::TOPICS, start::definitions(topics))];
            inner.system.push_back(SystemFrame {
                sections,
                receipt: Some(receipt.clone()),
                ..SystemFrame::default()
            });
        }
        self.bells.commit.ring();
        if receipt.wait().await {
            return Ok(());
        }
        let reason = self.fault().unwrap_or_else(|| STOPPED.into());
        Err(AppendError::Refused(reason))
    }

    /// To be called a few times a second: an idle journal writes its closing frame.
    pub fn tick(&self) {
        let mut inner = self.inner.borrow_mut();
        let idle = inner.in_flight.is_empty() && inner.staging.is_empty();
        if idle && inner.owes_closing && inner.system.is_empty() && inner.refusal().is_none() {
            inner.system.push_back(SystemFrame::default());
            self.bells.commit.ring();
        }
    }

    /// To be called every few seconds: a full disk is tried again.
    pub fn try_again(&self) {
        if self.inner.borrow().full.is_some() {
            self.bells.prepare.ring();
        }
    }

    /// To be called about every [`Settings::commit_wait_us`], when there is such a wait: what is staged for
    /// that long is committed.
    pub fn end_wait(&self) {
        if !self.inner.borrow().staging.is_empty() {
            self.bells.commit.ring();
        }
    }

    /// Everything that was ever lost and accepted.
    pub fn losses(&self) -> Rc<Losses> {
        self.inner.borrow().losses.clone()
    }

    /// Why new events are refused, if they are.
    pub fn fault(&self) -> Option<Arc<str>> {
        self.inner.borrow().refusal()
    }

    /// Hands over what became durable since the last call.
    pub fn take_commits(&self, mut each: impl FnMut(Commit)) {
        for commit in self.inner.borrow_mut().commits.drain(..) {
            each(commit);
        }
    }

    /// Takes nothing more, commits what is staged, then a closing frame; the committer ends after it.
    pub fn stop(&self) {
        self.inner.borrow_mut().stopping = true;
        self.bells.commit.ring();
        self.bells.tidy.ring();
        self.bells.prepare.ring();
    }
}

impl<D: Disk> Inner<D> {
    fn refusal(&self) -> Option<Arc<str>> {
        let shortage = || self.keeping.shortage.clone();
        self.trouble().or_else(shortage)
    }

    /// Why not even the log's own sections can be written.
    fn trouble(&self) -> Option<Arc<str>> {
        self.fault
            .clone()
            .or_else(|| self.full.clone().filter(|_| !self.can_go_on()))
    }

    /// Why nothing more is taken in.
    fn refusal_of_new(&self) -> Option<Arc<str>> {
        let stopped = || self.stopping.then(|| STOPPED.into());
        self.refusal().or_else(stopped)
    }

    /// There is room for ordinary frames even though no new segment can be had.
    fn can_go_on(&self) -> bool {
        let frame = self.settings.frame_bytes_max as u64;
        let room = self
            .open
            .as_ref()
            .is_some_and(|open| open.fits(frame, 0, self.settings.segment_bytes));
        room || RESERVED < self.prepared.len()
    }

    fn last_ticket(&self) -> Ticket {
        if !self.staging.is_empty() {
            return self.ticket;
        }
        // Not the ticket before the next one: that may have been discarded, and never becomes durable.
        let mut flying = self.in_flight.iter().rev();
        let last = flying.find_map(|frame| frame.ticket);
        last.or(self.durable_ticket).unwrap_or(Ticket::NONE)
    }

    fn no_room(&self, need: usize) -> AppendError {
        if self.staging.is_empty() {
            let bytes_max = self.settings.frame_bytes_max;
            AppendError::TooLarge {
                bytes: need,
                bytes_max,
            }
        } else {
            AppendError::Full
        }
    }
}

const STOPPED: &str = "the journal was stopped";

/// Prepared segments that only the log's own sections may use.
const RESERVED: usize = 1;
