//! Topics that are deleted or truncated: gone at once, gone for good.

use super::*;

fn delete(world: &mut World, topics: &[u128]) {
    let journal = world.journal.clone();
    let ids: Vec<_> = topics.iter().map(|topic| TopicId(1000 + topic)).collect();
    world.executor.wait(journal.delete(&ids)).unwrap().unwrap();
}

fn fill(world: &mut World, count: u32) {
    for number in 0..count {
        let mut value = number.to_le_bytes().to_vec();
        value.resize(30_000, 9);
        world.store(&[event(number % 3, value)]);
    }
}

#[test]
fn a_deleted_topic_is_gone_at_once_and_after_a_crash() {
    let mut world = World::new(1);
    fill(&mut world, 60);
    let journal = world.journal.clone();
    delete(&mut world, &[1]);
    let topics: Vec<_> = journal.extents().iter().map(|(topic, _)| topic.0).collect();
    assert_eq!(topics, [0, 2]);
    let read = world
        .executor
        .wait(journal.read(TopicIndex(1), Offset(0), 1, 1));
    assert!(matches!(read.unwrap(), Err(ReadError::Gone { .. })));
    assert_eq!(world.values(0).len(), 20);
    let found = look(&world.disk.crash(&mut Random::new(1)), &settings()).unwrap();
    assert!(!found.extents.contains_key(&TopicId(1001)));
    assert!(!found.names.contains_key(&TopicId(1001)));
    assert!(found.deleted.contains_key(&TopicId(1001)));
}

#[test]
fn what_was_staged_when_its_topic_was_deleted_is_answered_and_gone() {
    let mut world = World::new(1);
    world.store(&[event(0, "a"), event(1, "b")]);
    let ticket = world.append(&[event(0, "c"), event(1, "d")]).unwrap();
    // The tombstone overtakes the open frame, which holds an event of the topic.
    let receipt = world.journal.bury(&[TopicId(1001)]).unwrap();
    world.until_durable(ticket);
    assert!(world.executor.wait(receipt.wait()).unwrap());
    world.store(&[event(0, "e")]);
    let disk = world.disk.crash(&mut Random::new(1));
    let found = look(&disk, &settings()).unwrap();
    assert_eq!(found.extents.len(), 1);
    let mut world = World::start(2, disk, settings(), 1);
    assert!(world.journal.unnamed().is_empty());
    assert_eq!(world.values(0), ["a", "c", "e"].map(Vec::from));
}

#[test]
fn a_journal_that_was_not_told_in_time_is_told_at_the_next_start() {
    let mut world = World::new(1);
    fill(&mut world, 60);
    let disk = world.disk.crash(&mut Random::new(1));
    // The catalogue does not name topic 2 any more.
    let mut world = World::start(2, disk, settings(), 2);
    assert_eq!(world.journal.unnamed(), [TopicId(1002)]);
    delete(&mut world, &[2]);
    assert!(world.journal.unnamed().is_empty());
    let world = world.crash_and_start(3, settings(), 2);
    assert!(world.journal.unnamed().is_empty());
}

#[test]
fn a_tombstone_is_kept_until_no_segment_names_the_topic() {
    let retention = Settings {
        retention_bytes: Some(6 * SEGMENT_BYTES),
        ..settings()
    };
    let mut world = World::start(1, new_disk(1), retention.clone(), 8);
    fill(&mut world, 60);
    delete(&mut world, &[1]);
    for number in 0..200u32 {
        let mut value = number.to_le_bytes().to_vec();
        value.resize(30_000, 9);
        world.store(&[event(0, value)]);
        if number == 20 {
            world.tidy(1_000);
            assert_eq!(world.journal.buried(), [TopicId(1001)]);
            let crashed = world.disk.copy_after_crash(&mut Random::new(1));
            let found = look(&crashed, &retention).unwrap();
            assert!(!found.extents.contains_key(&TopicId(1001)));
        }
    }
    delete(&mut world, &[5]);
    world.tidy(2_000);
    world.tidy(3_000);
    assert_eq!(world.journal.buried(), [TopicId(1005)]);
    assert!(
        !look(&world.disk, &retention)
            .unwrap()
            .extents
            .contains_key(&TopicId(1001))
    );
}

#[test]
fn a_tombstone_goes_with_the_last_segment_that_names_the_topic_though_nothing_else_is_deleted() {
    let retention = Settings {
        retention_bytes: Some(6 * SEGMENT_BYTES),
        ..settings()
    };
    let mut world = World::start(1, new_disk(1), retention, 8);
    fill(&mut world, 60);
    delete(&mut world, &[1]);
    world.tidy(1_000);
    assert_eq!(world.journal.buried(), [TopicId(1001)]);
    for number in 0..200u32 {
        world.store(&[event(0, vec![number as u8; 30_000])]);
    }
    world.tidy(2_000);
    assert_eq!(world.journal.buried(), []);
}

/// Segments of which most is alive would be left as they are, and name topics for ever.
#[test]
fn a_crowd_of_tombstones_goes_and_what_is_alive_stays() {
    let settings = Settings {
        segment_bytes: 4 * SEGMENT_BYTES,
        keeping: Keeping {
            repack_below: 10,
            ..Keeping::default()
        },
        ..settings()
    };
    let mut world = World::start(1, new_disk(1), settings.clone(), 8);
    fill(&mut world, 120);
    let before = world.values(0);
    let few: Vec<u128> = (10_000..10_010).collect();
    delete(&mut world, &few);
    fill(&mut world, 120);
    for seconds in 1..20 {
        world.tidy(seconds * 100);
    }
    assert_eq!(world.journal.size().tidied.repacked, 0, "nothing presses");
    let many: Vec<u128> = (20_000..20_001 + crate::limit::TOMBSTONES_MAX as u128 / 2).collect();
    delete(&mut world, &many);
    // Only now it is noted from where on nothing of them is written any more.
    world.tidy(1_950);
    fill(&mut world, 120);
    for seconds in 20..60 {
        world.tidy(seconds * 100);
    }
    let left = world.journal.buried().len();
    assert!(left < crate::limit::TOMBSTONES_MAX / 2, "{left}");
    let mut world = world.crash_and_start(2, settings, 8);
    assert_eq!(world.values(0)[..before.len()], before);
    assert_eq!(world.values(0).len(), 120);
}

#[test]
fn truncation_lets_go_of_what_is_below_an_offset_or_older_than_a_time() {
    let mut world = World::new(1);
    for number in 0..60u64 {
        let mut value = number.to_le_bytes().to_vec();
        value.resize(7_000, 9);
        let request = Request {
            source: &value,
            events: &[RoutedEvent {
                topic: TopicIndex(0),
                start: 0,
                bytes: 7_000,
            }],
            origin: None,
            kinds: &[],
        };
        let now = Micros(1_600_000_000_000_000 + number * 1_000_000);
        let ticket = world.journal.append(now, &request).unwrap();
        if number % 7 == 6 {
            world.until_durable(ticket);
        }
    }
    let last = world.journal.last_ticket();
    world.until_durable(last);
    let journal = world.journal.clone();
    let mut truncate = |offset, seconds: Option<i64>| {
        let before = seconds.map(|seconds| (1_600_000_000 + seconds) * 1_000);
        let call = journal.truncate(TopicIndex(0), Offset(offset), before);
        world.executor.wait(call).unwrap().unwrap().low.0
    };
    assert_eq!(truncate(5, None), 5);
    assert_eq!(truncate(3, None), 5, "it never goes back");
    assert_eq!(truncate(0, Some(11)), 11, "in the middle of a batch");
    assert_eq!(truncate(0, Some(40)), 40);
    assert_eq!(truncate(45, Some(41)), 45);
    let mut world = world.crash_and_start(2, settings(), 8);
    assert_eq!(world.values(0).len(), 15);
    let journal = world.journal.clone();
    let all = journal.truncate(TopicIndex(0), Offset(u64::MAX), None);
    let extent = world.executor.wait(all).unwrap().unwrap();
    assert_eq!((extent.low, extent.next), (Offset(60), Offset(60)));
    world.store(&[event(0, "after")]);
    assert_eq!(world.values(0), ["after"].map(Vec::from));
}

#[test]
fn a_topic_stays_deleted_whenever_the_power_goes() {
    for seed in seeds(40) {
        let mut random = Random::new(seed);
        let mut world = World::start(random.draw(), new_disk(seed), settings(), 4);
        for number in 0..20 + random.below(30) {
            let value = vec![number as u8; 1 + random.below(20_000) as usize];
            let _ = world.append(&[event(random.below(3) as u32, value), event(3, "x")]);
        }
        let journal = world.journal.clone();
        let steps = random.below(300);
        let deleted = world
            .executor
            .wait_at_most(steps, journal.delete(&[TopicId(1001)]));
        let disk = world.disk.crash(&mut random);
        let found = look(&disk, &settings()).unwrap();
        if deleted.is_ok() {
            assert!(!found.extents.contains_key(&TopicId(1001)), "SEED={seed}");
        }
        let mut world = World::start(random.draw(), disk, settings(), 4);
        for topic in [0, 2, 3] {
            world.read_all(topic);
        }
        assert!(
            deleted.is_err()
                || world
                    .journal
                    .extents()
                    .iter()
                    .all(|(topic, _)| topic.0 != 1),
            "SEED={seed}"
        );
    }
}

#[test]
fn a_truncation_that_changes_nothing_is_answered_when_the_one_before_is_durable() {
    for seed in seeds(40) {
        let mut random = Random::new(seed);
        let mut world = World::start(random.draw(), new_disk(seed), settings(), 4);
        for number in 0..20u8 {
            world.store(&[event(0, vec![number; 100])]);
        }
        let journal = world.journal.clone();
        let answered = std::cell::Cell::new(false);
        let both = async {
            let first = journal.truncate(TopicIndex(0), Offset(9), None);
            let second = async {
                let extent = journal.truncate(TopicIndex(0), Offset(4), None).await;
                answered.set(extent.is_ok_and(|extent| extent.low == Offset(9)));
            };
            futures_util::future::join(first, second).await
        };
        let _ = world.executor.wait_at_most(random.below(60), both);
        let found = look(&world.disk.crash(&mut random), &settings()).unwrap();
        let low = found.extents[&TopicId(1000)].low;
        assert!(!answered.get() || low == Offset(9), "SEED={seed}");
    }
}

#[test]
fn a_tidier_that_is_at_work_ends_when_the_journal_is_stopped() {
    let by_age = Settings {
        keeping: Keeping {
            rules: crate::log::retention::Rules {
                age_ms: Some(1_000),
                ..Default::default()
            },
            repack_below: 90,
            spool: None,
        },
        ..settings()
    };
    for seed in seeds(60) {
        let mut random = Random::new(seed);
        let mut world = World::start(random.draw(), new_disk(seed), by_age.clone(), 4);
        fill(&mut world, 60);
        let disk = world.disk.crash(&mut random);
        let mut world = World::start(random.draw(), disk, by_age.clone(), 4);
        world.journal.tidy(Micros(1_600_000_001_000_000));
        let _ = world
            .executor
            .wait_at_most(random.below(120), pause(u64::MAX));
        world.stop();
    }
}
