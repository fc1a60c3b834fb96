//! Dead letters are sent again: their events go to the end of the journal, where the forwarder finds them.
//!
//! Always:  a letter goes when its event is durable again, and not before. Letters that stay are written anew behind
//!          those that are there, for a topic's records go from its beginning only; a crash in between leaves both.
//! Core:    the journal's shard.
//! Cancel:  what is durable again may be sent once more by the next retry.
//! Full:    so many letters are taken at once; a journal that takes nothing more ends the retry, with its reason.

use super::super::clock::Clock as _;
use super::PAUSE;
use crate::limit::{SPOOL_RETRY_BYTES, SPOOL_RETRY_LETTERS};
use crate::log::Origin;
use crate::log::format::origin::{Door, OriginRow};
use crate::log::journal::{AppendError, Journal, ReadError, Request, RoutedEvent};
use crate::rt::executor::yield_if_needed;
use crate::rt::notify::Notify;
use crate::rt::timer;
use crate::shard::intake::Core;
use crate::shard::volumes::Disk;
use crate::spool::letter::{self, Head};
use crate::spool::retry::{Piece, Retried, Retry, pieces};
use crate::unit::{JournalId, Micros, Offset, Ticket, TopicIndex};
use std::cell::Cell;
use std::rc::Rc;

const STOPPING: &str = "the engine is about to end";
const LOST: &str = "what was to be sent again could not be made durable";

/// What sends the dead letters of one journal again, whichever way it is forwarded.
pub(super) struct Retrier {
    core: Rc<Core>,
    id: JournalId,
    journal: Journal<Disk>,
    /// The topic of dead letters.
    letters: Box<str>,
    news: Notify,
    stopping: Cell<bool>,
    /// The forwarder has ended: nothing is waited for any more.
    has_ended: Cell<bool>,
    /// A retry is at work.
    busy: Cell<bool>,
    /// The first and the last commit that is waited for.
    tickets: Cell<Option<(Ticket, Ticket)>>,
    /// Some of it was discarded.
    lost: Cell<bool>,
    sent: Cell<u64>,
}

impl Retrier {
    pub(super) fn new(
        core: &Rc<Core>,
        (id, journal): (JournalId, &Journal<Disk>),
        letters: &str,
    ) -> Self {
        Self {
            core: core.clone(),
            id,
            journal: journal.clone(),
            letters: letters.into(),
            news: Notify::new(),
            stopping: Cell::new(false),
            has_ended: Cell::new(false),
            busy: Cell::new(false),
            tickets: Cell::new(None),
            lost: Cell::new(false),
            sent: Cell::new(0),
        }
    }

    /// Letters that were sent again since the start.
    pub(super) fn sent(&self) -> u64 {
        self.sent.get()
    }

    /// Records in the topic of dead letters.
    pub(super) fn letters_kept(&self) -> u64 {
        let topic = self.core.table.borrow().find(&self.letters);
        let extent = topic.map(|topic| self.journal.extent(topic));
        extent.map_or(0, |extent| extent.next.0 - extent.low.0)
    }

    /// Something became durable, or is about to end.
    pub(super) fn wake(&self) {
        self.news.wake_all();
    }

    pub(super) fn stop(&self) {
        self.stopping.set(true);
        self.news.wake_all();
    }

    pub(super) fn end(&self) {
        self.has_ended.set(true);
        self.news.wake_all();
    }

    /// Commits up to this one, and after the durable one, were discarded.
    pub(super) fn discarded(&self, upto: Ticket) {
        if let Some((first, last)) = self.tickets.get()
            && first <= upto
            && self.journal.durable() < Some(last)
        {
            self.lost.set(true);
        }
    }

    fn note(&self, ticket: Ticket) {
        let (first, last) = self.tickets.get().unwrap_or((ticket, ticket));
        self.tickets
            .set(Some((first.min(ticket), last.max(ticket))));
    }
}

/// What the letter's sender said.
struct Said {
    received: Micros,
    conn_id: Vec<u8>,
    conn_group: Vec<u8>,
    guid: Vec<u8>,
    kind: Option<Vec<u8>>,
}

impl Said {
    fn of(head: &Head) -> Self {
        let sender = &head.sender;
        Self {
            received: Micros(
                u64::try_from(head.received_ms)
                    .unwrap_or(0)
                    .saturating_mul(1_000),
            ),
            conn_id: sender.conn_id.bytes(),
            conn_group: sender.conn_group.bytes(),
            guid: sender.req_guid.bytes(),
            kind: sender.event_type.as_ref().map(letter::Said::bytes),
        }
    }
}

impl Retrier {
    /// Sends the dead letters again that are there now, or only counts them; so long as it is not `until`. `renew` is
    /// called for each topic that something goes to.
    pub(super) async fn retry(
        &self,
        asked: &Retry,
        until: Micros,
        renew: &dyn Fn(TopicIndex),
    ) -> Retried {
        let mut retried = Retried::default();
        let done = if self.busy.replace(true) {
            Err("letters are being sent again already".to_owned())
        } else {
            let done = self.retry_all(asked, until, &mut retried, renew).await;
            self.busy.set(false);
            done
        };
        if let Err(why) = done {
            retried.faults.push(format!("journal {}: {why}", self.id.0));
        }
        retried
    }

    async fn retry_all(
        &self,
        asked: &Retry,
        until: Micros,
        retried: &mut Retried,
        renew: &dyn Fn(TopicIndex),
    ) -> Result<(), String> {
        let letters = self.core.table.borrow().find(&self.letters);
        let Some(letters) = letters.filter(|topic| self.journal.knows(*topic)) else {
            return Ok(());
        };
        let upto = self.journal.extent(letters).next;
        let count = Retry {
            dry_run: true,
            ..asked.clone()
        };
        let mut found = Retried::default();
        self.pass((letters, upto), &count, until, (&mut found, renew))
            .await?;
        if asked.dry_run || found.sent == 0 {
            *retried = found;
            return Ok(());
        }
        self.pass((letters, upto), asked, until, (retried, renew))
            .await
    }

    /// Goes through the letters before `upto`, once.
    async fn pass(
        &self,
        (letters, upto): (TopicIndex, Offset),
        asked: &Retry,
        until: Micros,
        (retried, renew): (&mut Retried, &dyn Fn(TopicIndex)),
    ) -> Result<(), String> {
        let mut at = self.journal.extent(letters).low;
        while at < upto {
            if until <= self.core.clock.now() {
                retried.left += upto.0 - at.0;
                return Ok(());
            }
            let records = self.read_letters(letters, &mut at, upto).await?;
            let end = Offset(at.0 + records.len() as u64);
            let (pieces, taken) = pieces(&records, end == upto);
            at = Offset(at.0 + taken as u64);
            self.tickets.set(None);
            self.lost.set(false);
            let mut sent = 0;
            for piece in &pieces {
                let topic = self.sort(piece, asked, retried);
                sent += u64::from(topic.is_some());
                if !asked.dry_run {
                    topic.into_iter().for_each(renew);
                    self.write_piece(letters, piece, topic).await?;
                }
                yield_if_needed().await;
            }
            if !asked.dry_run {
                self.retire(letters, at).await?;
                self.sent.set(self.sent.get() + sent);
            }
        }
        Ok(())
    }

    /// Some letters from `at` on, which moves to the first of them.
    async fn read_letters(
        &self,
        letters: TopicIndex,
        at: &mut Offset,
        upto: Offset,
    ) -> Result<Vec<Vec<u8>>, String> {
        let (records_max, bytes_max) = (SPOOL_RETRY_LETTERS, SPOOL_RETRY_BYTES);
        let read = self.journal.read(letters, *at, records_max, bytes_max);
        match read.await {
            Ok(mut records) => {
                records.retain(|record| record.offset < upto);
                *at = records.first().map_or(upto, |first| first.offset);
                Ok(records.into_iter().map(|record| record.value).collect())
            }
            Err(ReadError::Gone { low: next } | ReadError::Lost { next }) => {
                *at = next;
                Ok(Vec::new())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// Counts the piece; the topic that it is sent to, if it is.
    fn sort(&self, piece: &Piece<'_>, asked: &Retry, retried: &mut Retried) -> Option<TopicIndex> {
        let Some((head, _)) = &piece.letter else {
            retried.unsendable += 1;
            return None;
        };
        if asked
            .topic
            .as_ref()
            .is_some_and(|topic| **topic != *head.topic)
        {
            retried.kept += 1;
            return None;
        }
        let topic = self.core.table.borrow().find(&head.topic);
        let topic = topic.filter(|topic| self.journal.has_topic(*topic));
        match topic {
            Some(_) => retried.note_sent(&head.topic),
            None => retried.unsendable += 1,
        }
        topic
    }

    /// Puts a letter's event into its topic, or the letter as it is behind the others.
    async fn write_piece(
        &self,
        letters: TopicIndex,
        piece: &Piece<'_>,
        topic: Option<TopicIndex>,
    ) -> Result<(), String> {
        let (Some(topic), Some((head, value))) = (topic, &piece.letter) else {
            let lengths: Vec<u32> = piece.records.iter().map(|one| one.len() as u32).collect();
            return self
                .write(letters, &piece.records.concat(), &lengths, None)
                .await;
        };
        let said = Said::of(head);
        self.write(topic, value, &[value.len() as u32], Some(&said))
            .await
    }

    async fn write(
        &self,
        topic: TopicIndex,
        source: &[u8],
        lengths: &[u32],
        said: Option<&Said>,
    ) -> Result<(), String> {
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
        let kind = said.and_then(|said| said.kind.as_deref());
        loop {
            let room = self.news.wait();
            let now = self.core.clock.now();
            let request = Request {
                source,
                events: &events,
                origin: self.origin_of(said, now),
                kinds: kind.as_slice(),
            };
            match self.journal.append(now, &request) {
                Ok(ticket) => {
                    self.note(ticket);
                    return Ok(());
                }
                Err(AppendError::Full) if self.stopping.get() => return Err(STOPPING.to_owned()),
                Err(AppendError::Full) => drop(timer::timeout(PAUSE, room).await),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    fn origin_of<'a>(&self, said: Option<&'a Said>, now: Micros) -> Option<OriginRow<'a>> {
        let keeps = self.core.settings.log.origin != Origin::None;
        keeps.then(|| OriginRow {
            door: Door::Rest,
            received: said.map_or(now, |said| said.received),
            sent: None,
            conn_id: said.map_or(&[], |said| &said.conn_id),
            conn_group: said.map_or(&[], |said| &said.conn_group),
            guid: said.map_or(&[], |said| &said.guid),
        })
    }

    /// Lets the letters before `at` go, as soon as all that was written in their place is durable.
    async fn retire(&self, letters: TopicIndex, at: Offset) -> Result<(), String> {
        loop {
            let news = self.news.wait();
            // Before the durable mark: it rises over what was discarded, too.
            if self.lost.get() {
                return Err(LOST.to_owned());
            }
            let last = self.tickets.get().map(|(_, last)| last);
            if last <= self.journal.durable() {
                break;
            }
            if let Some(why) = self.journal.fault() {
                return Err(format!("{LOST}: {why}"));
            }
            if self.has_ended.get() {
                return Err(STOPPING.to_owned());
            }
            let _news = timer::timeout(PAUSE, news).await;
        }
        let cut = self.journal.truncate(letters, at, None).await;
        cut.map(drop).map_err(|why| why.to_string())
    }
}
