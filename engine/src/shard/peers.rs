//! The ways between shards: a mailbox each way for every pair.
//!
//! Always:  letters from one shard to another arrive in the order in which they were sent.
//! Core:    made by the control core, connected by the shards.
//! Full:    the sender keeps what finds no room. What mailboxes take grows with the square of the shards:
//!          for 64 of them some 50 MiB.

use super::claims::Letter;
use crate::limit::{PEER_LETTERS_MAX, PEER_LETTERS_MIN, PEER_LETTERS_OF_SHARD};
use crate::rt::mailbox::{Incoming, Outgoing, Receiver, Sender, mailbox};
use futures_util::future::{join, join_all};

/// One shard's ends of the ways to all others.
#[derive(Debug, Default)]
pub struct Ends(Vec<(u16, Sender<Letter>, Receiver<Letter>)>);

/// A connected way: letters to and from another shard.
pub(super) type Way = (Outgoing<Letter>, Incoming<Letter>);

/// The ends for each of so many shards.
pub fn between(shards: usize) -> Vec<Ends> {
    let depth = (PEER_LETTERS_OF_SHARD / shards.max(1)).clamp(PEER_LETTERS_MIN, PEER_LETTERS_MAX);
    let mut ends: Vec<Ends> = (0..shards).map(|_| Ends::default()).collect();
    for one in 0..shards {
        for other in 0..one {
            let (to_one, at_one) = mailbox(depth);
            let (to_other, at_other) = mailbox(depth);
            ends[one].0.push((other as u16, to_other, at_one));
            ends[other].0.push((one as u16, to_one, at_other));
        }
    }
    ends
}

impl Ends {
    /// Resolves when the other shards have connected theirs.
    pub(super) async fn connect(self) -> Vec<(u16, Way)> {
        let ways = self.0.into_iter();
        let ways = ways.map(|(shard, sender, receiver)| async move {
            (shard, join(sender.connect(), receiver.connect()).await)
        });
        join_all(ways).await
    }
}
