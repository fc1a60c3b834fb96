//! How long records stay: by age and by bytes, for the store and by topic.

use super::super::super::retention::{Bound, Rule, Rules, Wildcard};
use super::*;

fn rule(pattern: &str, age_ms: Bound, bytes: Bound) -> Rule {
    Rule {
        pattern: Wildcard::parse(pattern).unwrap(),
        age_ms,
        bytes,
    }
}

fn keeping(age_ms: Option<u64>, rules: Vec<Rule>) -> Settings {
    let rules = Rules {
        age_ms,
        topics: rules.into(),
    };
    Settings {
        keeping: Keeping {
            rules,
            repack_below: 0,
            spool: None,
        },
        ..settings()
    }
}

/// Events of topics 0 and 1 by turns, received one second after the other.
fn fill(world: &mut World, from: u64, count: u64) {
    for number in from..from + count {
        let journal = world.journal.clone();
        let mut value = number.to_le_bytes().to_vec();
        value.resize(30_000, 9);
        let source = value;
        let request = Request {
            source: &source,
            events: &[RoutedEvent {
                topic: TopicIndex((number % 2) as u32),
                start: 0,
                bytes: 30_000,
            }],
            origin: None,
            kinds: &[],
        };
        let now = Micros(1_600_000_000_000_000 + number * 1_000_000);
        let ticket = journal.append(now, &request).unwrap();
        world.until_durable(ticket);
    }
}

fn lows(world: &World) -> (u64, u64) {
    let low = |topic| world.journal.extent(TopicIndex(topic)).low.0;
    (low(0), low(1))
}

#[test]
fn records_that_are_too_old_go_batch_by_batch() {
    let chosen = keeping(Some(50_000), Vec::new());
    let mut world = World::start(1, new_disk(1), chosen.clone(), 8);
    fill(&mut world, 0, 100);
    world.tidy(49);
    assert_eq!(lows(&world), (0, 0));
    // Those received in seconds 0 to 20 are 50 seconds old or more.
    world.tidy(70);
    assert_eq!(lows(&world), (11, 10));
    assert_eq!(world.values(0).len(), 39);
    let mut world = world.crash_and_start(2, chosen, 8);
    assert_eq!(lows(&world), (11, 10));
    assert_eq!(world.values(1).len(), 40);
}

#[test]
fn whole_segments_that_are_too_old_are_given_back() {
    let chosen = keeping(Some(50_000), Vec::new());
    let mut world = World::start(1, new_disk(1), chosen, 8);
    fill(&mut world, 0, 200);
    let before = world.disk.paths().len();
    world.tidy(1_000);
    let size = world.journal.size();
    assert_eq!(lows(&world), (100, 100));
    assert!(10 <= size.recycled, "{size:?}");
    assert!(world.disk.paths().len() + 8 <= before);
    assert_eq!(world.disk.paths().len() as u64, size.segments);
}

#[test]
fn a_topic_keeps_what_its_rule_says_and_others_what_the_store_says() {
    let rules = vec![rule("topic-1", Bound::None, Bound::Store)];
    let chosen = keeping(Some(50_000), rules);
    let mut world = World::start(1, new_disk(1), chosen, 8);
    fill(&mut world, 0, 100);
    world.tidy(1_000);
    assert_eq!(lows(&world), (50, 0));
    assert_eq!(world.values(1).len(), 50);
}

#[test]
fn a_topic_keeps_its_bytes_and_little_more() {
    let bytes = 600_000;
    let rules = vec![rule("topic-0", Bound::Store, Bound::At(bytes))];
    let chosen = keeping(None, rules);
    let mut world = World::start(1, new_disk(1), chosen.clone(), 8);
    let kept = |world: &World| {
        let extent = world.journal.extent(TopicIndex(0));
        (extent.next.0 - extent.low.0) * 30_000
    };
    for round in 0..10 {
        fill(&mut world, round * 20, 20);
        world.tidy(1_000 + round);
        assert!(bytes.min((round + 1) * 300_000) <= kept(&world) + 30_000);
        assert!(kept(&world) <= bytes + 60_000);
    }
    assert_eq!(world.journal.extent(TopicIndex(1)).low, Offset(0));
    // What was there before the start counts, although it lies in sealed segments.
    let mut world = world.crash_and_start(3, chosen, 8);
    fill(&mut world, 200, 20);
    world.tidy(2_000);
    assert!(bytes <= kept(&world) + 30_000 && kept(&world) <= bytes + 60_000);
    assert_eq!(world.values(0).len() as u64 * 30_000, kept(&world));
}

#[test]
fn a_bound_that_is_new_counts_for_what_is_there() {
    let mut world = World::new(1);
    fill(&mut world, 0, 100);
    let rules = vec![rule("topic-*", Bound::Store, Bound::At(300_000))];
    let mut world = world.crash_and_start(2, keeping(None, rules), 8);
    world.tidy(1_000);
    assert_eq!(lows(&world), (40, 40));
}

#[test]
fn watermarks_never_go_back_whenever_the_power_goes() {
    for seed in seeds(30) {
        let mut random = Random::new(seed);
        let chosen = keeping(Some(20_000), Vec::new());
        let mut disk = new_disk(seed);
        let (mut number, mut least) = (0, (0, 0));
        for _ in 0..4 {
            let mut world = World::start(random.draw(), disk, chosen.clone(), 8);
            let found = lows(&world);
            assert!(least.0 <= found.0 && least.1 <= found.1, "SEED={seed}");
            let count = 10 + random.below(40);
            fill(&mut world, number, count);
            number += count;
            world
                .journal
                .tidy(Micros(1_600_000_000_000_000 + number * 1_000_000));
            let _ = world
                .executor
                .wait_at_most(random.below(400), std::future::pending::<()>());
            let journal = world.journal.clone();
            if random.one_in(2) {
                let low = journal.extent(TopicIndex(0)).low;
                let next = Offset(low.0 + 1);
                let done = world
                    .executor
                    .wait(journal.truncate(TopicIndex(0), next, None));
                done.unwrap().unwrap();
            }
            for topic in 0..2 {
                world.read_all(topic);
            }
            least = lows(&world);
            disk = world.disk.crash(&mut random);
        }
    }
}
