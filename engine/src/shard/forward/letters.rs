//! Dead letters: durable in the log before the cursor passes them.

use super::super::clock::Clock as _;
use super::Forwarder;
use super::send::Senders;
use crate::kafka::Fault;
use crate::log::Origin;
use crate::log::format::batch::Batch;
use crate::log::format::frame::SectionKind;
use crate::log::format::origin::{Door, OriginRow, Origins};
use crate::log::journal::{AppendError, FollowError, Follower, Journal, Request, RoutedEvent};
use crate::shard::intake::Core;
use crate::shard::volumes::Disk;
use crate::spool::letter::{self, Dead, Said, Sender};
use crate::spool::window::{Parked, Place};
use crate::unit::{JournalId, Micros, Ticket, TopicIndex};

/// Letters that are written before other tasks may go first.
const LETTERS_AT_ONCE: usize = 64;

/// An event that Kafka will never take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Letter {
    pub(super) part: u32,
    pub(super) event: u16,
    pub(super) why: Fault,
}

impl Forwarder {
    /// Appends letters to the journal; `false` when there is none, or no room for one just now.
    pub(super) async fn write_letters(
        &self,
        follower: &mut Follower<Disk>,
    ) -> Result<bool, FollowError> {
        let mut worked = false;
        for _ in 0..LETTERS_AT_ONCE {
            let Some(letter) = self.state.borrow().letters.front().copied() else {
                break;
            };
            let topic = self.core.table.borrow().find(&self.settings.letters);
            let Some(topic) = topic.filter(|topic| self.journal.knows(*topic)) else {
                break;
            };
            let Some(ticket) = self.write_letter(follower, letter, topic).await? else {
                break;
            };
            let mut state = self.state.borrow_mut();
            state.letters.pop_front();
            state.staged.push_back((ticket, letter));
            worked = true;
        }
        Ok(worked)
    }

    /// `None` when there is no room for it now.
    async fn write_letter(
        &self,
        follower: &mut Follower<Disk>,
        letter: Letter,
        topic: TopicIndex,
    ) -> Result<Option<Ticket>, FollowError> {
        let found = self.state.borrow().window.find(letter.part, letter.event);
        let found = found.expect("a dead event stays in the window until it is settled");
        match follower.again(&found.spot).await {
            Err(FollowError::Gone { .. }) if self.drops_oldest() => {
                self.drop_event(letter.part, letter.event);
                return Ok(Some(Ticket::NONE));
            }
            brought => brought?,
        }
        let frame = follower.frame().expect("the follower has checked it");
        let batches = frame.batches().expect("the follower has checked it");
        let (row, bytes) = batches[found.batch as usize];
        let Some(target) = self.target(row.topic) else {
            return Ok(Some(self.skip_letter(letter)));
        };
        let batch = Batch::check(bytes).expect("the follower has checked it");
        let record = batch.records().nth(found.record as usize);
        let record = record.expect("the window counts what the batch holds");
        let origins = frame.section(SectionKind::ORIGINS).map(Origins::read);
        let origins = origins.and_then(Result::ok);
        let (sender, received) = sender_of(origins.as_ref(), &found);
        let (source, lengths) = letter::write(&Dead {
            topic: &target.name,
            journal: self.id,
            offset: record.offset,
            // Not when a retry brought it to the log.
            received_ms: received.map_or(record.timestamp_ms, Micros::millis),
            reason: letter.why.text(),
            sender,
            value: record.value,
        });
        Ok(append(
            &self.core,
            (self.id, &self.journal),
            topic,
            (&source, &lengths),
        ))
    }

    /// Its topic was deleted: nothing is kept of it.
    fn skip_letter(&self, letter: Letter) -> Ticket {
        let mut state = self.state.borrow_mut();
        if state.window.set(letter.part, letter.event, Place::Settled) {
            state.cursor.totals.skipped += 1;
        }
        Ticket::NONE
    }
}

/// Appends one letter to the journal; `None` when there is no room for it now.
pub(super) fn append(
    core: &Core,
    (id, journal): (JournalId, &Journal<Disk>),
    topic: TopicIndex,
    (source, lengths): (&[u8], &[u32]),
) -> Option<Ticket> {
    let now = core.clock.now();
    let mut start = 0;
    let events = lengths.iter().map(|bytes| {
        start += bytes;
        RoutedEvent {
            topic,
            start: start - bytes,
            bytes: *bytes,
        }
    });
    let events: Vec<RoutedEvent> = events.collect();
    let nobody = OriginRow {
        door: Door::Rest,
        received: now,
        sent: None,
        conn_id: &[],
        conn_group: &[],
        guid: &[],
    };
    let keeps = core.settings.log.origin != Origin::None;
    let request = Request {
        source,
        events: &events,
        origin: keeps.then_some(nobody),
        kinds: &[],
    };
    match journal.append_reserved(now, &request) {
        Ok(ticket) => Some(ticket),
        Err(AppendError::Full | AppendError::Refused(_)) => None,
        Err(error @ AppendError::TooLarge { .. }) => {
            tracing::error!("journal {}: a dead letter waits: {error}", id.0);
            None
        }
    }
}

/// What the frame tells of who sent this event, and when it was received.
fn sender_of(origins: Option<&Origins<'_>>, event: &Parked) -> (Sender, Option<Micros>) {
    let mut senders = Senders::of(origins, event.batch);
    let mut found = senders.next();
    for _ in 0..event.record {
        found = senders.next();
    }
    said_of(&found)
}

/// What a record's origin tells.
pub(super) fn said_of(found: &super::send::Sender<'_>) -> (Sender, Option<Micros>) {
    let row = found.row;
    let sender = Sender {
        conn_id: row.map_or_else(Said::default, |row| Said::new(row.conn_id)),
        conn_group: row.map_or_else(Said::default, |row| Said::new(row.conn_group)),
        req_guid: row.map_or_else(Said::default, |row| Said::new(row.guid)),
        event_type: found.kind.map(Said::new),
    };
    (sender, row.map(|row| row.received))
}
