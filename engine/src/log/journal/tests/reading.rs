//! What goes in comes out.

use super::*;

#[test]
fn what_is_durable_is_read_back_equal() {
    for seed in seeds(20) {
        let mut world = World::new(seed);
        let mut random = Random::new(seed);
        let mut model = Model::new();
        for _ in 0..60 {
            let one = |_| {
                let topic = random.below(8) as u32;
                event(topic, vec![random.draw() as u8; random.below(500) as usize])
            };
            let events: Vec<Event> = (0..=seed % 7).map(one).collect();
            world.append(&events).unwrap();
            add(&mut model, &events);
        }
        world.until_durable(world.journal.last_ticket());
        for (topic, values) in &model {
            assert_eq!(&world.values(*topic), values, "SEED={seed} topic {topic}");
        }
        let mut world = world.crash_and_start(seed, settings(), 8);
        for (topic, values) in &model {
            assert_eq!(&world.values(*topic), values, "SEED={seed} topic {topic}");
        }
    }
}

#[test]
fn a_read_begins_anywhere_and_ends_at_its_bounds() {
    let mut world = World::new(3);
    for number in 0..50u8 {
        world
            .append(&[event(0, [number]), event(1, [number, number])])
            .unwrap();
    }
    world.until_durable(world.journal.last_ticket());
    let journal = world.journal.clone();
    for start in 0..52u64 {
        let read = journal.read(TopicIndex(0), Offset(start), 3, usize::MAX);
        let records = world.executor.wait(read).unwrap().unwrap();
        let values: Vec<u64> = records
            .iter()
            .map(|record| u64::from(record.value[0]))
            .collect();
        let expected: Vec<u64> = (start..50).take(3).collect();
        assert_eq!(values, expected);
    }
    let read = journal.read(TopicIndex(1), Offset(0), usize::MAX, 9);
    assert_eq!(world.executor.wait(read).unwrap().unwrap().len(), 5);
}

#[test]
fn batches_over_a_megabyte_are_split() {
    let mut chosen = settings();
    chosen.frame_bytes_max = 4 << 20;
    chosen.segment_bytes = 16 << 20;
    let mut world = World::start(1, new_disk(1), chosen, 3);
    let value = |index: u32| vec![index as u8; 90_000];
    // Topic 0 grows in place, topic 1 aside.
    let events: Vec<Event> = (0..36)
        .map(|index| event(index % 2, value(index)))
        .collect();
    world.store(&events);
    for topic in 0..2 {
        let expected: Vec<_> = (0..36)
            .filter(|index| index % 2 == topic)
            .map(value)
            .collect();
        assert_eq!(world.values(topic), expected);
    }
    let read = world.journal.read(TopicIndex(0), Offset(17), 1, 1);
    let records = world.executor.wait(read).unwrap().unwrap();
    assert_eq!(records[0].value, value(34));
}

#[test]
fn a_request_without_events_waits_for_those_before_it() {
    let mut world = World::new(1);
    assert_eq!(world.append(&[]), Ok(Ticket::NONE));
    let first = world.append(&[event(0, "a")]).unwrap();
    assert_eq!(world.append(&[]), Ok(first));
    world.until_durable(first);
    assert_eq!(world.append(&[]), Ok(first));
}

#[test]
fn a_request_larger_than_a_frame_is_refused_for_good() {
    let mut world = World::new(1);
    let large: Vec<Event> = (0..70).map(|_| event(0, vec![1; 1_000])).collect();
    assert!(matches!(
        world.append(&large),
        Err(AppendError::TooLarge {
            bytes_max: 65_536,
            ..
        })
    ));
    world.store(&[event(0, "small")]);
    assert_eq!(world.values(0), [b"small"]);
}

#[test]
fn a_full_frame_has_room_again_after_a_commit() {
    let world = World::new(1);
    let mut taken = 0;
    let events = [event(0, vec![7; 2_000])];
    let mut world = world;
    let refused = loop {
        match offer(&world.journal, &events) {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused, AppendError::Full);
    assert!(20 < taken);
    world.settle();
    assert!(offer(&world.journal, &events).is_ok());
    world.settle();
    assert_eq!(world.values(0).len(), taken + 1);
}

#[test]
fn nothing_above_the_durable_mark_is_shown() {
    let mut world = World::new(4);
    world.store(&[event(0, "a")]);
    offer(&world.journal, &[event(0, "b")]).unwrap();
    assert_eq!(world.journal.extent(TopicIndex(0)).next, Offset(1));
    // The committer does not run beside this read.
    let read = world.journal.read(TopicIndex(0), Offset(0), 9, 9);
    let records = Executor::new(1).wait(read).unwrap().unwrap();
    assert_eq!(records.len(), 1);
    world.settle();
    assert_eq!(world.values(0), [b"a", b"b"]);
}

#[test]
fn record_times_do_not_go_back_over_a_restart() {
    let mut world = World::new(1);
    let request = |events: &[RoutedEvent]| {
        let request = Request {
            source: b"x",
            events,
            origin: None,
            kinds: &[],
        };
        world
            .journal
            .append(Micros(1_800_000_000_000_000), &request)
            .unwrap()
    };
    let ticket = request(&[RoutedEvent {
        topic: TopicIndex(0),
        start: 0,
        bytes: 1,
    }]);
    world.until_durable(ticket);
    let mut world = world.crash_and_start(1, settings(), 8);
    world.store(&[event(0, "y")]);
    assert_eq!(world.values(0).len(), 2);
}

#[test]
fn short_reads_are_errors_and_not_the_end() {
    let mut world = World::new(2);
    for _ in 0..20 {
        world.store(&[event(0, vec![1; 9_000])]);
    }
    let disk = world.disk.crash(&mut Random::new(1));
    disk.shorten_reads(true);
    for _ in 0..10 {
        match look(&disk, &settings()) {
            Ok(found) => assert_eq!(found.extents[&TopicId(1000)].next, Offset(20)),
            Err(error) => assert!(matches!(error, RecoverError::Disk { .. }), "{error}"),
        }
    }
    disk.shorten_reads(false);
    let mut world = World::start(2, disk, settings(), 8);
    world.disk.shorten_reads(true);
    let journal = world.journal.clone();
    for _ in 0..10 {
        match world
            .executor
            .wait(journal.read(TopicIndex(0), Offset(0), 1, 1))
            .unwrap()
        {
            Ok(records) => assert_eq!(records.len(), 1),
            Err(error) => assert!(matches!(error, ReadError::Disk(_)), "{error}"),
        }
    }
}

#[test]
fn a_topic_made_later_gets_its_own_offsets() {
    let mut world = World::start(1, new_disk(1), settings(), 2);
    world.store(&[event(1, "a")]);
    world.journal.learn(table(4).into_iter());
    world.store(&[event(3, "b"), event(1, "c")]);
    assert_eq!(world.values(3), [b"b"]);
    assert_eq!(world.values(1), [b"a", b"c"]);
    let mut world = world.crash_and_start(2, settings(), 2);
    assert_eq!(world.journal.unnamed(), [TopicId(1003)]);
    world.journal.learn(table(4).into_iter());
    assert_eq!(world.values(3), [b"b"]);
}

#[test]
fn definitions_are_found_again() {
    let mut world = World::start(1, new_disk(1), settings(), 0);
    let journal = world.journal.clone();
    world
        .executor
        .wait(journal.define(&table(3)))
        .unwrap()
        .unwrap();
    let disk = world.disk.crash(&mut Random::new(1));
    let names = look(&disk, &settings()).unwrap().names;
    assert_eq!(names.len(), 3);
    assert_eq!(names[&TopicId(1002)], "topic-2");
}
