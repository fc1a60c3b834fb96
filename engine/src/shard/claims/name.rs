//! Names of connections: what is left of an id and a group when they need not be read any more.

use crate::net::Peer;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};

/// An id and a group, hashed. 128 bits under secret keys: two names never meet, whoever chooses them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Name([u32; 4]);

/// The keys of one run of the program; every shard has the same.
#[derive(Clone, Debug, Default)]
pub struct NameKeys([RandomState; 2]);

impl NameKeys {
    pub(super) fn name(&self, peer: &Peer) -> Name {
        let half = |keys: &RandomState| {
            let mut hasher = keys.build_hasher();
            peer.conn_group.hash(&mut hasher);
            peer.conn_id.hash(&mut hasher);
            hasher.finish()
        };
        let [first, second] = &self.0;
        let (first, second) = (half(first), half(second));
        let parts = [first, first >> 32, second, second >> 32];
        Name(parts.map(|part| part as u32))
    }
}

impl Name {
    /// The shard that says who has this name.
    pub(super) fn owner(self, shards: usize) -> u16 {
        (self.0[0] as usize % shards) as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_pair_and_not_what_it_spells() {
        let keys = NameKeys::default();
        let name = |id: &[u8], group: &str| {
            keys.name(&Peer {
                conn_id: id.into(),
                conn_group: group.into(),
            })
        };
        assert_eq!(name(b"a", "b"), name(b"a", "b"));
        assert_eq!(keys.clone().name(&Peer::default()), name(b"", ""));
        let others = [
            name(b"b", "a"),
            name(b"", "ab"),
            name(b"ab", ""),
            name(b"a", ""),
        ];
        assert!(others.iter().all(|other| *other != name(b"a", "b")));
        assert_ne!(NameKeys::default().name(&Peer::default()), name(b"", ""));
    }

    #[test]
    fn names_are_spread_over_all_shards() {
        let keys = NameKeys::default();
        let mut owned = [0_u32; 4];
        for number in 0..4_000 {
            let peer = Peer {
                conn_id: format!("device-{number}").into_bytes().into(),
                ..Peer::default()
            };
            owned[usize::from(keys.name(&peer).owner(4))] += 1;
        }
        assert!(
            owned.iter().all(|count| (700..1_300).contains(count)),
            "{owned:?}"
        );
    }
}
