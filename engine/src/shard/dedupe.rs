//! Which requests have been taken already.
//!
//! ```text
//! a shard with a request ── Ask ──► the owner of its key     Fresh: take it, then say what became of it
//!                       ◄─ Fresh ─                           Known: it is durable, answer it
//!                       ◄─ Known ─
//!                       ── Settled ─►
//! ```
//!
//! Always:  a key is known only once its request is durable; of requests with one key only one is in hand
//!          at a time, on all shards together. A request that failed is forgotten.
//! Core:    each key has one owner: by its hash, or the shard of its connection. An owner's own requests
//!          ask nobody.
//! Cancel:  a leave to take that nobody used is given back after `LEAVE_US`.
//! Full:    keys that are known are bounded in number and in time, the oldest go first. When an owner does
//!          not answer, requests are taken unasked and counted: they may then be stored twice.

use crate::unit::{Micros, ShardId};
use std::collections::hash_map::{Entry, RandomState};
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::num::NonZeroU64;
use std::time::Duration;

/// How long an owner may take to answer, and a leave to take may lie unused, in microseconds.
const ANSWER_US: u64 = 2_000_000;
const LEAVE_US: u64 = 2_000_000;
/// Keys that one shard may be asking others about at a time.
const ASKED_MAX: usize = 65_536;

/// What a shard needs to know requests again.
#[derive(Clone, Debug)]
pub struct Settings {
    /// One connection's guids (`SERVER_BATCH_DEDUP_IN_CONNECTION_ENABLED`).
    pub in_connection: bool,
    /// Guids of one id and group, whatever their connection and shard.
    pub across_connections: bool,
    /// How long a durable request is known.
    pub window: Duration,
    /// How many durable requests each shard knows.
    pub batches_max: usize,
    pub secret: Secret,
}

/// Makes keys that no client can foresee. The same for all shards of a process.
#[derive(Clone, Debug, Default)]
pub struct Secret([RandomState; 2]);

/// What stands for a request: 127 bits of a keyed hash, so that two requests are never taken for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    high: NonZeroU64,
    low: u64,
    owner: ShardId,
}

/// Whose guid it is.
pub(super) enum Whose<'a> {
    /// The connection of this number, on this shard.
    Connection(u64),
    Client {
        group: &'a str,
        id: &'a [u8],
    },
}

/// What two shards say about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    Ask(Name),
    /// Take it, and say what became of it.
    Fresh(Name),
    /// It is durable.
    Known(Name),
    Settled {
        name: Name,
        durable: bool,
    },
}

/// A key on its way between shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name(Key);

/// What is known of a request that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    First,
    /// It is durable: answer it.
    Known,
    /// The one before is in hand here, in front of it.
    Repeats,
    /// It is in hand elsewhere, or its owner has not answered: offer it again.
    Wait,
}

/// An owner's word on a key.
#[derive(Debug)]
enum State {
    InHand {
        by: ShardId,
        /// Shards that asked meanwhile.
        waiting: Vec<ShardId>,
    },
    Durable,
}

/// What became of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Pending,
    Fresh,
    Known,
    /// Nobody answered.
    Unasked,
}

/// One shard's part.
pub(super) struct Dedupe {
    id: ShardId,
    shards: u32,
    settings: Settings,
    known: HashMap<Key, State>,
    /// Durable keys, the oldest first.
    order: VecDeque<(Key, Micros)>,
    asked: HashMap<Key, (Asked, Micros)>,
    /// What is to be said, to whom.
    pub(super) words: VecDeque<(ShardId, Word)>,
    /// Requests that were taken though their owner was not asked or did not answer.
    pub(super) unasked: u64,
}

impl Dedupe {
    pub(super) fn new(id: ShardId, shards: u32, settings: Settings) -> Self {
        assert!(id.0 < shards);
        Self {
            id,
            shards,
            settings,
            known: HashMap::new(),
            order: VecDeque::new(),
            asked: HashMap::new(),
            words: VecDeque::new(),
            unasked: 0,
        }
    }

    /// The key of a request; `None` when it is not to be known again. A client without an id is
    /// nobody in particular, and an empty guid tells nothing.
    pub(super) fn key(
        &self,
        connection: Option<u64>,
        group: &str,
        id: &[u8],
        guid: &[u8],
    ) -> Option<Key> {
        if guid.is_empty() {
            return None;
        }
        let whose = if self.settings.across_connections && !id.is_empty() {
            Whose::Client { group, id }
        } else if self.settings.in_connection {
            Whose::Connection(connection?)
        } else {
            return None;
        };
        let hash = |state: &RandomState| match whose {
            Whose::Connection(number) => state.hash_one((0_u8, number, guid)),
            Whose::Client { group, id } => state.hash_one((1_u8, group.as_bytes(), id, guid)),
        };
        let [high, low] = &self.settings.secret.0;
        let (high, low) = (hash(high), hash(low));
        let owner = match whose {
            Whose::Connection(_) => self.id,
            Whose::Client { .. } => ShardId((low % u64::from(self.shards)) as u32),
        };
        Some(Key {
            high: NonZeroU64::MIN.saturating_add(high >> 1),
            low,
            owner,
        })
    }

    /// Looks at a request that came, and asks its owner when that is another shard.
    pub(super) fn see(&mut self, key: Key, now: Micros) -> Sight {
        if key.owner == self.id {
            return match self.known.get(&key) {
                None => Sight::First,
                Some(State::Durable) => Sight::Known,
                Some(State::InHand { by, .. }) if *by == self.id => Sight::Repeats,
                Some(State::InHand { .. }) => Sight::Wait,
            };
        }
        let is_full = ASKED_MAX <= self.asked.len();
        match self.asked.entry(key) {
            Entry::Occupied(asked) => match asked.get().0 {
                Asked::Pending => Sight::Wait,
                Asked::Fresh | Asked::Unasked => Sight::First,
                Asked::Known => {
                    asked.remove();
                    Sight::Known
                }
            },
            Entry::Vacant(_) if is_full => Sight::First,
            Entry::Vacant(free) => {
                free.insert((Asked::Pending, now));
                self.words.push_back((key.owner, Word::Ask(Name(key))));
                Sight::Wait
            }
        }
    }

    /// The request was taken: gives the key that has to be settled.
    pub(super) fn take(&mut self, key: Key) -> Option<Key> {
        if key.owner == self.id {
            let by = self.id;
            let waiting = Vec::new();
            self.known.insert(key, State::InHand { by, waiting });
            return Some(key);
        }
        let asked = self.asked.remove(&key);
        if matches!(asked, Some((Asked::Fresh, _))) {
            return Some(key);
        }
        self.unasked += 1;
        None
    }

    /// The request was refused, so its guid is free again.
    pub(super) fn refuse(&mut self, key: Key) {
        if let Some((Asked::Fresh, _)) = self.asked.remove(&key) {
            self.say_settled(key, false);
        }
    }

    /// A request that was taken is durable, or never will be.
    pub(super) fn settle(&mut self, key: Key, durable: bool, now: Micros) {
        if key.owner == self.id {
            self.settle_own(self.id, key, durable, now);
        } else {
            self.say_settled(key, durable);
        }
    }

    /// Whether the request that another one repeats became durable.
    pub(super) fn is_durable(&self, key: Key) -> bool {
        matches!(self.known.get(&key), Some(State::Durable))
    }

    /// Hears another shard.
    pub(super) fn hear(&mut self, from: ShardId, word: Word, now: Micros) {
        match word {
            Word::Ask(Name(key)) => self.be_asked(from, key),
            Word::Fresh(Name(key)) => match self.asked.get_mut(&key) {
                Some(asked) if asked.0 == Asked::Pending => *asked = (Asked::Fresh, now),
                // It came too late: nobody will take it by this leave.
                _ => self.say_settled(key, false),
            },
            Word::Known(Name(key)) => {
                if let Some(asked) = self.asked.get_mut(&key) {
                    *asked = (Asked::Known, now);
                }
            }
            Word::Settled { name, durable } => self.settle_own(from, name.0, durable, now),
        }
    }

    /// Nobody is there any more to answer for this shard's keys.
    pub(super) fn lose(&mut self, owner: ShardId) {
        for (key, asked) in &mut self.asked {
            if key.owner == owner && asked.0 == Asked::Pending {
                asked.0 = Asked::Unasked;
            }
        }
    }

    /// Forgets what is too old. To be called now and then.
    pub(super) fn sweep(&mut self, now: Micros) {
        self.forget_old(now);
        let mut given_back = Vec::new();
        self.asked.retain(|key, (asked, since)| {
            let waited_us = now.since(*since);
            match asked {
                Asked::Pending if ANSWER_US < waited_us => *asked = Asked::Unasked,
                Asked::Fresh if LEAVE_US < waited_us => {
                    given_back.push(*key);
                    return false;
                }
                Asked::Known if LEAVE_US < waited_us => return false,
                Asked::Unasked if ANSWER_US + LEAVE_US < waited_us => return false,
                _ => {}
            }
            true
        });
        for key in given_back {
            self.say_settled(key, false);
        }
    }

    fn say_settled(&mut self, key: Key, durable: bool) {
        let name = Name(key);
        let word = Word::Settled { name, durable };
        self.words.push_back((key.owner, word));
    }

    fn be_asked(&mut self, by: ShardId, key: Key) {
        match self.known.entry(key) {
            Entry::Vacant(free) => {
                let waiting = Vec::new();
                free.insert(State::InHand { by, waiting });
                self.words.push_back((by, Word::Fresh(Name(key))));
            }
            Entry::Occupied(mut known) => match known.get_mut() {
                State::Durable => self.words.push_back((by, Word::Known(Name(key)))),
                State::InHand { waiting, .. } => {
                    if !waiting.contains(&by) {
                        waiting.push(by);
                    }
                }
            },
        }
    }

    fn settle_own(&mut self, holder: ShardId, key: Key, durable: bool, now: Micros) {
        let waiting = match self.known.get_mut(&key) {
            Some(State::InHand { by, waiting }) if *by == holder => waiting,
            _ => return,
        };
        let mut waiting = std::mem::take(waiting);
        self.known.remove(&key);
        if durable {
            self.known.insert(key, State::Durable);
            self.order.push_back((key, now));
            let told = waiting.into_iter();
            self.words
                .extend(told.map(|shard| (shard, Word::Known(Name(key)))));
            self.forget_old(now);
        } else if !waiting.is_empty() {
            let by = waiting.remove(0);
            self.known.insert(key, State::InHand { by, waiting });
            self.words.push_back((by, Word::Fresh(Name(key))));
        }
    }

    fn forget_old(&mut self, now: Micros) {
        let window_us = self.settings.window.as_micros() as u64;
        while let Some((key, since)) = self.order.front() {
            let is_old = window_us < now.since(*since);
            if !is_old && self.order.len() <= self.settings.batches_max {
                return;
            }
            self.known.remove(key);
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
#[path = "dedupe_tests.rs"]
mod tests;
