use super::*;

const NOW: Micros = Micros(1_000_000_000);

fn at(later_us: u64) -> Micros {
    Micros(NOW.0 + later_us)
}

fn settings(secret: &Secret) -> Settings {
    Settings {
        in_connection: true,
        across_connections: true,
        window: Duration::from_secs(10),
        batches_max: 3,
        secret: secret.clone(),
    }
}

/// Two shards, and the words between them.
struct Pair([Dedupe; 2]);

impl Pair {
    fn new() -> Self {
        let secret = Secret::default();
        let of = |id| Dedupe::new(ShardId(id), 2, settings(&secret));
        Self([of(0), of(1)])
    }

    /// A key that this shard owns.
    fn key_of(&self, owner: u32) -> Key {
        let keys = (0..).map(|number: u32| {
            let guid = number.to_le_bytes();
            self.0[0].key(None, "group", b"id", &guid).unwrap()
        });
        let mut owned = keys.filter(|key| key.owner == ShardId(owner));
        owned.next().unwrap()
    }

    /// Everything that was said is heard.
    fn talk(&mut self, now: Micros) {
        loop {
            let mut silent = true;
            for from in 0..2 {
                while let Some((to, word)) = self.0[from].words.pop_front() {
                    silent = false;
                    let to = &mut self.0[to.0 as usize];
                    to.hear(ShardId(from as u32), word, now);
                }
            }
            if silent {
                return;
            }
        }
    }

    /// What this shard sees once everything was heard.
    fn see(&mut self, shard: usize, key: Key) -> Sight {
        match self.0[shard].see(key, NOW) {
            Sight::Wait => {
                self.talk(NOW);
                self.0[shard].see(key, NOW)
            }
            sight => sight,
        }
    }
}

#[test]
fn keys_tell_clients_guids_and_connections_apart() {
    let pair = Pair::new();
    let key = |connection, group, id: &str, guid: &str| {
        pair.0[0].key(connection, group, id.as_bytes(), guid.as_bytes())
    };
    let one = key(Some(1), "g", "id", "guid");
    assert_eq!(
        one,
        key(Some(2), "g", "id", "guid"),
        "whatever the connection"
    );
    assert_eq!(
        one,
        pair.0[1].key(None, "g", b"id", b"guid"),
        "whatever the shard"
    );
    for other in [
        key(None, "h", "id", "guid"),
        key(None, "g", "idg", "uid"),
        key(None, "g", "id", "guid2"),
    ] {
        assert!(other.is_some() && other != one);
    }
    assert_eq!(
        key(Some(1), "g", "id", ""),
        None,
        "an empty guid is never a duplicate"
    );
    assert_eq!(key(None, "g", "", "guid"), None, "nobody in particular");
    let (own, others) = (key(Some(1), "g", "", "guid"), key(Some(2), "g", "", "guid"));
    assert!(own.is_some() && own != others);
    assert_eq!(own.unwrap().owner, ShardId(0));
}

#[test]
fn a_request_is_known_only_when_it_is_durable() {
    for shard in [0, 1] {
        let mut pair = Pair::new();
        let key = pair.key_of(0);
        assert_eq!(pair.see(shard, key), Sight::First);
        let taken = pair.0[shard].take(key);
        assert_eq!(taken, Some(key));
        for other in [0, 1] {
            let seen = pair.see(other, key);
            let in_front = shard == 0 && other == 0;
            let wanted = if in_front {
                Sight::Repeats
            } else {
                Sight::Wait
            };
            assert_eq!(seen, wanted, "{shard} has it, {other} looks");
        }
        assert!(!pair.0[0].is_durable(key));
        pair.0[shard].settle(key, true, NOW);
        pair.talk(NOW);
        for other in [0, 1] {
            assert_eq!(
                pair.see(other, key),
                Sight::Known,
                "{shard} had it, {other} looks"
            );
        }
    }
}

#[test]
fn a_request_that_failed_does_not_swallow_the_next() {
    for (shard, other) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let mut pair = Pair::new();
        let key = pair.key_of(0);
        assert_eq!(pair.see(shard, key), Sight::First);
        pair.0[shard].take(key);
        // The other asks before, and is told when it has failed.
        assert_ne!(pair.see(other, key), Sight::First);
        pair.0[shard].settle(key, false, NOW);
        pair.talk(NOW);
        assert_eq!(pair.see(other, key), Sight::First);
        let retaken = pair.0[other].take(key);
        assert_eq!(retaken, Some(key));
        pair.0[other].settle(key, true, NOW);
        pair.talk(NOW);
        assert_eq!(pair.see(shard, key), Sight::Known);
    }
}

#[test]
fn a_refused_request_frees_its_guid_at_once() {
    let mut pair = Pair::new();
    let key = pair.key_of(0);
    assert_eq!(pair.see(1, key), Sight::First);
    pair.0[1].refuse(key);
    pair.talk(NOW);
    assert_eq!(pair.see(0, key), Sight::First);
}

#[test]
fn a_leave_that_nobody_used_is_given_back() {
    let mut pair = Pair::new();
    let key = pair.key_of(0);
    assert_eq!(pair.see(1, key), Sight::First);
    assert_eq!(pair.see(0, key), Sight::Wait);
    pair.0[1].sweep(at(LEAVE_US + 1));
    pair.talk(NOW);
    assert_eq!(pair.see(0, key), Sight::First);
    assert!(pair.0[1].asked.is_empty());
}

#[test]
fn an_owner_that_does_not_answer_holds_nobody_up() {
    for gone in [false, true] {
        let mut pair = Pair::new();
        let key = pair.key_of(0);
        assert_eq!(pair.0[1].see(key, NOW), Sight::Wait);
        if gone {
            pair.0[1].lose(ShardId(0));
        } else {
            pair.0[1].sweep(at(ANSWER_US + 1));
        }
        assert_eq!(pair.0[1].see(key, NOW), Sight::First);
        assert_eq!(pair.0[1].take(key), None, "there is nothing to settle");
        assert_eq!(pair.0[1].unasked, 1);
        // The answer that comes late is not kept for ever.
        pair.talk(NOW);
        assert_eq!(pair.see(0, key), Sight::First);
    }
}

#[test]
fn what_is_known_is_bounded_in_number_and_in_time() {
    let secret = Secret::default();
    let mut one = Dedupe::new(ShardId(0), 1, settings(&secret));
    let mut keys = Vec::new();
    for number in 0..5_u8 {
        let key = one.key(None, "g", b"id", &[number]).unwrap();
        assert_eq!(one.see(key, NOW), Sight::First);
        one.take(key);
        one.settle(key, true, at(u64::from(number)));
        keys.push(key);
    }
    let seen: Vec<bool> = keys.iter().map(|key| one.is_durable(*key)).collect();
    assert_eq!(seen, [false, false, true, true, true]);
    one.sweep(at(3 + 10_000_000));
    let seen: Vec<bool> = keys.iter().map(|key| one.is_durable(*key)).collect();
    assert_eq!(seen, [false, false, false, true, true]);
    one.sweep(at(100_000_000));
    assert!(one.known.is_empty() && one.order.is_empty());
}

#[test]
fn only_the_shard_that_has_a_request_can_settle_it() {
    let mut pair = Pair::new();
    let key = pair.key_of(0);
    assert_eq!(pair.see(0, key), Sight::First);
    pair.0[0].take(key);
    let (name, durable) = (Name(key), true);
    pair.0[0].hear(ShardId(1), Word::Settled { name, durable }, NOW);
    assert!(!pair.0[0].is_durable(key));
}
