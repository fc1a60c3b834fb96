//! Who is connected, over all shards: a name has one WebSocket, and the server has so many.
//!
//! ```text
//! connection -> purse (a credit of the server's limit; the bank is on shard 0)
//!            -> owner (shard hash(id, group) mod N) -> granted | refused
//! ```
//!
//! Layout:  a name is the hash of id and group under keys that no client knows; a claim is a shard, a
//!          slot in its table, and the slot's generation, so that a late letter never meets the wrong
//!          connection.
//! Always:  a name has at most one holder. Free, lent and spent credits together are the limit. What a
//!          connection has taken goes back when its [`Place`] is dropped, in whatever state that was.
//! Core:    each shard has its own `Claims`; they speak by letters. A name that its own shard owns
//!          needs none, any other one hop there and one back.
//! Cancel:  dropping [`Claimant::admit`] takes the claim back.
//! Full:    letters that find a mailbox full wait in the sender, in order. A connection has at most a
//!          few on their way, so the waiting are bounded by the connections.

mod bank;
mod desk;
mod name;
mod owner;
#[cfg(test)]
mod tests;

pub use name::NameKeys;

use super::peers::Ends;
use crate::net::{Outbox, Unwelcome};
use crate::rt::executor::{spawn_local, yield_if_needed};
use crate::rt::mailbox::{Incoming, Outgoing};
use crate::rt::notify::Notify;
use crate::unit::ShardId;
use desk::{Desk, Stage};
use name::Name;
use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

/// What becomes of a second connection of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDuplicate {
    /// It is refused, unless the first turns out to be dead.
    Refuse,
    /// The first is closed, and it takes its place.
    Replace,
}

/// A connection, as shards speak of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Claim {
    shard: u16,
    slot: u32,
    generation: u32,
}

/// From one shard's claims to another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Letter(Word);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    /// To the owner of a name: may this connection have it?
    Ask {
        name: Name,
        claim: Claim,
    },
    /// To the owner: this connection has ended, or wants the name no more.
    Release {
        name: Name,
        claim: Claim,
    },
    /// To the owner: the holder was asked whether it lives, and does.
    Alive {
        name: Name,
        claim: Claim,
    },
    Granted(Claim),
    Refused(Claim),
    /// To a holder's shard: another connection wants its name.
    Contested(Claim),
    /// To the bank.
    Borrow,
    Repay {
        credits: u32,
        is_recalled: bool,
    },
    /// From the bank; 0 when the server is full.
    Lend {
        credits: u32,
    },
    /// From the bank: give back what is not spent.
    Recall,
}

/// What the claims of one shard are told at its start.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) shard: ShardId,
    pub(super) shards: usize,
    /// WebSockets of the whole server.
    pub(super) connections_max: u32,
    pub(super) on_duplicate: OnDuplicate,
    pub(super) keys: NameKeys,
}

/// One shard's claims.
pub(super) struct Claims {
    desk: RefCell<Desk>,
    /// By shard: there are letters for it.
    posted: Vec<Notify>,
}

/// Held by a WebSocket while it is served.
pub(super) struct Place {
    claims: Rc<Claims>,
    slot: u32,
}

impl Claims {
    pub(super) fn new(terms: &Terms) -> Rc<Self> {
        Rc::new(Self {
            desk: RefCell::new(Desk::new(terms)),
            posted: (0..terms.shards).map(|_| Notify::new()).collect(),
        })
    }

    /// Connects to the other shards; resolves when all of them have done the same.
    pub(super) async fn connect(self: &Rc<Self>, ends: Ends) {
        for (shard, (sender, receiver)) in ends.connect().await {
            spawn_local(Rc::clone(self).send(shard, sender)).detach();
            spawn_local(Rc::clone(self).hear(shard, receiver)).detach();
        }
    }

    /// Takes a place for a connection, as soon as it is sure that it may have one.
    pub(super) async fn admit(self: &Rc<Self>, outbox: &Rc<Outbox>) -> Result<Place, Unwelcome> {
        let slot = self.act(|desk| desk.enter(outbox));
        let claims = Rc::clone(self);
        let place = Place { claims, slot };
        poll_fn(|context| match self.desk.borrow().stage(slot) {
            Stage::Held => Poll::Ready(Ok(())),
            Stage::Refused(why) => Poll::Ready(Err(why)),
            Stage::Free | Stage::WantsCredit | Stage::Asked => {
                outbox.listen(context);
                Poll::Pending
            }
        })
        .await?;
        Ok(place)
    }

    /// Does something and has the letters that came of it sent.
    fn act<T>(&self, act: impl FnOnce(&mut Desk) -> T) -> T {
        let mut desk = self.desk.borrow_mut();
        let done = act(&mut desk);
        desk.take_posted(|shard| self.posted[usize::from(shard)].wake_all());
        done
    }

    async fn send(self: Rc<Self>, shard: u16, sender: Outgoing<Letter>) {
        loop {
            let posted = self.posted[usize::from(shard)].wait();
            loop {
                let letter = self.desk.borrow_mut().next_letter(shard);
                let Some(letter) = letter else { break };
                if sender.send(Letter(letter)).await.is_err() {
                    // That shard has ended, and with it whatever it was to be told.
                    self.desk.borrow_mut().forget(shard);
                    return;
                }
            }
            posted.await;
        }
    }

    async fn hear(self: Rc<Self>, shard: u16, mut letters: Incoming<Letter>) {
        while let Some(Letter(word)) = letters.recv().await {
            self.act(|desk| desk.hear(shard, word));
            yield_if_needed().await;
        }
    }
}

impl Place {
    /// The connection was asked whether it lives, and does.
    pub(super) fn is_alive(&self) {
        self.claims.act(|desk| desk.alive(self.slot));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.claims.act(|desk| desk.leave(self.slot));
    }
}
