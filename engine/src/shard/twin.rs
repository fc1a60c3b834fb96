//! Requests that were there before: how they are found, answered, and told of between shards.
//!
//! Always:  a repeated request is answered with success only when the one before it is durable, in its turn
//!          among the answers of its connection; with Kafka, when the one before it is answered.
//! Core:    one shard; words for others leave through bounded mailboxes.
//! Full:    a full mailbox makes the words wait here; they are bounded by what is in hand.

use super::answer::{To, Verdict, give};
use super::dedupe::{Key, Sight, Word};
use super::destination::Destination;
use super::intake::{Arrival, Core, Stop, Work};
use super::settle::Waiter;
use crate::net::Wait;
use crate::rt::executor::spawn_local;
use crate::rt::mailbox::{Incoming, Receiver, Sender, mailbox};
use crate::shard::Acknowledge;
use crate::shard::clock::Clock;
use crate::unit::{Micros, ShardId};
use futures_util::future::join_all;
use std::rc::Rc;

/// Words that may be under way from one shard to another.
const MAILBOX_DEPTH: usize = 1024;

/// The way to and from another shard.
pub struct Neighbour {
    shard: ShardId,
    to: Sender<Word>,
    from: Receiver<Word>,
}

/// Ways between all of so many shards: for each, its neighbours.
pub fn neighbourhood(shards: usize) -> Vec<Vec<Neighbour>> {
    let mut all: Vec<Vec<Neighbour>> = (0..shards).map(|_| Vec::new()).collect();
    for one in 0..shards {
        for other in one + 1..shards {
            let (to, heard) = mailbox(MAILBOX_DEPTH);
            let (back, from) = mailbox(MAILBOX_DEPTH);
            all[one].push(Neighbour {
                shard: ShardId(other as u32),
                to,
                from,
            });
            all[other].push(Neighbour {
                shard: ShardId(one as u32),
                to: back,
                from: heard,
            });
        }
    }
    all
}

/// What a waiter has to do with other requests of its key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Twin {
    /// It is the one that counts: its end settles the key.
    First(Key),
    /// The one before is durable.
    Known,
    /// The one before is in front of it.
    Repeats(Key),
}

impl Core {
    /// Looks whether the request was there before. Gives its key, when it is to be known again.
    pub(super) fn look_back(
        &self,
        work: &mut Work,
        arrival: &Arrival<'_>,
        now: Micros,
    ) -> Result<Option<Key>, Stop> {
        let Some(dedupe) = &mut work.dedupe else {
            return Ok(None);
        };
        let guid = work.batch.guid.of(work.batch.source(arrival.message));
        let peer = arrival.peer;
        let Some(key) = dedupe.key(arrival.connection, &peer.conn_group, &peer.conn_id, guid)
        else {
            return Ok(None);
        };
        let sight = dedupe.see(key, now);
        if !dedupe.words.is_empty() {
            self.said.wake_all();
        }
        match sight {
            Sight::First => Ok(Some(key)),
            Sight::Known => Err(Stop::Repeated(Twin::Known)),
            Sight::Repeats => Err(Stop::Repeated(Twin::Repeats(key))),
            Sight::Wait => Err(Stop::Wait(Wait::Twin)),
        }
    }

    /// The guid of a request that was refused is free again.
    pub(super) fn free_guid(&self, work: &mut Work, key: Option<Key>) {
        if let (Some(dedupe), Some(key)) = (&mut work.dedupe, key) {
            dedupe.refuse(key);
            self.said.wake_all();
        }
    }

    /// Answers a request that was there before, at once or in its turn.
    pub(super) fn repeat(
        &self,
        work: &mut Work,
        arrival: &Arrival<'_>,
        to: To,
        (twin, now): (Twin, Micros),
    ) {
        let group = work.probe.census.group(&arrival.peer.conn_group);
        work.probe.census.counts(group).duplicates += 1;
        let source = work.batch.source(arrival.message);
        let guid = std::str::from_utf8(work.batch.guid.of(source)).unwrap_or_default();
        let has_turn = self.destination.last_ticket().is_some() && !to.is_free();
        let waits = matches!(twin, Twin::Repeats(_)) || has_turn;
        let at_once = self.settings.ack == Acknowledge::Received || !waits;
        if at_once {
            give(&to, arrival.encoding, guid, Verdict::Accepted, (now, false));
            return;
        }
        if let To::Socket(outbox) = &to {
            outbox.expect_answer();
        }
        work.in_flight_bytes += arrival.message.len();
        let waiter = Waiter::repeated(arrival, to, guid, (twin, group, now));
        match (&self.destination, twin) {
            (Destination::Journal(journal), _) => work.ledger.push(journal.last_ticket(), waiter),
            (Destination::Kafka(delivery), Twin::Repeats(key)) => delivery.follow(key, waiter),
            (Destination::Kafka(_), _) => unreachable!("with Kafka it is answered at once"),
        }
    }

    /// Requests that were taken though nobody could say whether they were there before.
    pub(super) fn unasked_guids(&self) -> u64 {
        let work = self.work.borrow();
        work.dedupe.as_ref().map_or(0, |dedupe| dedupe.unasked)
    }

    /// Forgets what is too old.
    pub(super) fn sweep_guids(&self) {
        if let Some(dedupe) = &mut self.work.borrow_mut().dedupe {
            dedupe.sweep(self.clock.now());
            self.said.wake_all();
            self.twins.wake_all();
        }
    }

    /// Starts to speak with the other shards.
    pub(super) fn meet(self: &Rc<Self>, neighbours: Vec<Neighbour>) {
        if neighbours.is_empty() {
            return;
        }
        let mut ways = Vec::new();
        for Neighbour { shard, to, from } in neighbours {
            ways.push(async move { (shard, to.connect().await) });
            let core = Rc::clone(self);
            spawn_local(async move { core.listen(shard, from.connect().await).await }).detach();
        }
        let core = Rc::clone(self);
        spawn_local(async move {
            let ways = join_all(ways).await;
            loop {
                let wait = core.said.wait();
                let word = core.next_word();
                let Some((shard, word)) = word else {
                    wait.await;
                    continue;
                };
                let way = ways.iter().find(|(to, _)| *to == shard);
                let sent = match way {
                    Some((_, way)) => way.send(word).await.is_ok(),
                    None => false,
                };
                if !sent {
                    core.lose(shard);
                }
            }
        })
        .detach();
    }

    async fn listen(&self, shard: ShardId, mut words: Incoming<Word>) {
        while let Some(word) = words.recv().await {
            if let Some(dedupe) = &mut self.work.borrow_mut().dedupe {
                dedupe.hear(shard, word, self.clock.now());
            }
            self.said.wake_all();
            self.twins.wake_all();
        }
        self.lose(shard);
    }

    fn next_word(&self) -> Option<(ShardId, Word)> {
        let mut work = self.work.borrow_mut();
        work.dedupe.as_mut()?.words.pop_front()
    }

    fn lose(&self, shard: ShardId) {
        if let Some(dedupe) = &mut self.work.borrow_mut().dedupe {
            dedupe.lose(shard);
        }
        self.twins.wake_all();
    }
}
