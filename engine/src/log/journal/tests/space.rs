//! Segments: rolled over, sealed, retired, used again.

use super::*;
use crate::limit::BLOCK_BYTES;
use crate::unit::Sequence;

fn with_retention() -> Settings {
    Settings {
        retention_bytes: Some(5 * SEGMENT_BYTES),
        ..settings()
    }
}

fn fill(world: &mut World, from: u32, count: u32) {
    for number in from..from + count {
        let mut value = number.to_le_bytes().to_vec();
        value.resize(30_000, 9);
        world.store(&[event(number % 2, value)]);
    }
}

#[test]
fn a_full_segment_is_sealed_and_the_next_goes_on() {
    let mut world = World::new(1);
    fill(&mut world, 0, 60);
    world.settle();
    assert!(
        4 <= in_use(
            &world.disk.copy_after_crash(&mut Random::new(1)),
            &settings()
        )
    );
    assert_eq!(world.values(0).len(), 30);
    let mut world = world.crash_and_start(1, settings(), 8);
    assert_eq!(world.values(1).len(), 30);
    assert_eq!(
        look(&world.disk, &settings()).unwrap().walked.len(),
        1,
        "the others have footers"
    );
}

#[test]
fn the_membership_is_known_wherever_the_walk_begins() {
    let mut world = World::new(1);
    fill(&mut world, 0, 60);
    world.settle();
    let found = look(
        &world.disk.copy_after_crash(&mut Random::new(1)),
        &settings(),
    )
    .unwrap();
    let walked = found.walked.first().expect("something is walked");
    assert!(
        Sequence::FIRST < walked.opening.first,
        "the epoch's own frame lies before the walk"
    );
    assert_eq!(found.membership.map(|known| known.members), Some(vec![0]));
}

/// Finds the sealed segments' files, oldest first.
fn sealed_names(disk: &SimulatedDisk) -> Vec<String> {
    let found = look(disk, &settings()).unwrap();
    found
        .sealed
        .into_iter()
        .map(|segment| segment.name)
        .collect()
}

#[test]
fn a_sealed_segment_without_a_footer_is_still_read() {
    let mut world = World::new(1);
    fill(&mut world, 0, 60);
    world.settle();
    let disk = world.disk.crash(&mut Random::new(1));
    let names = sealed_names(&disk);
    let zeros = [0; BLOCK_BYTES as usize];
    for name in &names {
        assert!(disk.put(name, SEGMENT_BYTES - BLOCK_BYTES, &zeros));
    }
    // It is sealed anew at the start.
    let mut after = World::start(2, disk, settings(), 8);
    assert_eq!(after.values(0).len(), 30);
    after.settle();
    assert_eq!(sealed_names(&after.disk), names);
    // While the journal runs, it walks the segment instead.
    for name in &names {
        assert!(after.disk.put(name, SEGMENT_BYTES - BLOCK_BYTES, &zeros));
    }
    assert_eq!(after.values(1).len(), 30);
}

#[test]
fn an_index_is_read_once() {
    use super::super::super::simulated::Operation;
    let mut world = World::new(1);
    fill(&mut world, 0, 60);
    world.settle();
    world.values(0);
    let reads = |world: &World| world.disk.tally()[&Operation::Read].begun;
    let before = reads(&world);
    let read = world.journal.read(TopicIndex(0), Offset(0), 1, 1);
    world.executor.wait(read).unwrap().unwrap();
    assert_eq!(reads(&world) - before, 1);
}

#[test]
fn retention_keeps_the_store_within_its_bound() {
    let mut world = World::start(1, new_disk(1), with_retention(), 8);
    fill(&mut world, 0, 300);
    world.settle();
    let size = world.journal.size();
    assert!(10 < size.recycled, "{size:?}");
    assert!(size.bytes <= 6 * SEGMENT_BYTES, "{size:?}");
    let files = world.disk.paths().len() as u64;
    assert_eq!(files, size.segments);
}

#[test]
fn in_the_steady_state_no_file_is_made() {
    let mut world = World::start(1, new_disk(1), with_retention(), 8);
    fill(&mut world, 0, 150);
    world.settle();
    let before = (world.disk.paths(), world.journal.size().recycled);
    fill(&mut world, 150, 150);
    world.settle();
    assert_eq!(world.disk.paths(), before.0);
    assert!(before.1 + 5 < world.journal.size().recycled);
}

#[test]
fn a_store_that_may_take_less_gives_its_files_back() {
    let mut world = World::new(1);
    fill(&mut world, 0, 200);
    world.settle();
    assert!(8 * SEGMENT_BYTES < world.journal.size().bytes);
    let mut world = world.crash_and_start(1, with_retention(), 8);
    world.settle();
    let size = world.journal.size();
    assert!(size.bytes <= 6 * SEGMENT_BYTES, "{size:?}");
    let files = world.disk.paths().len() as u64;
    assert_eq!(files, size.segments);
    assert!(Offset(0) < world.journal.extent(TopicIndex(0)).low);
}

#[test]
fn what_was_retired_is_gone_and_stays_so() {
    let mut world = World::start(1, new_disk(1), with_retention(), 8);
    fill(&mut world, 0, 200);
    world.settle();
    let journal = world.journal.clone();
    let extent = journal.extent(TopicIndex(0));
    assert!(Offset(0) < extent.low);
    let read = world
        .executor
        .wait(journal.read(TopicIndex(0), Offset(0), 1, 1));
    assert!(matches!(read.unwrap(), Err(ReadError::Gone { low }) if low == extent.low));
    let kept = world.values(0);
    assert_eq!(kept.len() as u64, extent.next.0 - extent.low.0);
    let mut world = world.crash_and_start(3, with_retention(), 8);
    let after = world.journal.extent(TopicIndex(0));
    assert_eq!((after.low, after.next), (extent.low, extent.next));
    assert_eq!(world.values(0), kept);
}

#[test]
fn frames_of_an_older_life_mean_nothing() {
    let mut world = World::start(1, new_disk(1), with_retention(), 8);
    fill(&mut world, 0, 200);
    world.stop();
    // Every file but the newest is full of older frames behind what was written last.
    let disk = world.disk.crash(&mut Random::new(1));
    let found = look(&disk, &with_retention()).unwrap();
    assert_eq!(found.extents[&TopicId(1000)].next, Offset(100));
    let mut world = World::start(1, disk, with_retention(), 8);
    fill(&mut world, 200, 3);
    assert_eq!(world.journal.extent(TopicIndex(0)).next, Offset(102));
}

/// A topic that no table names any more must not be left with a low watermark in a retired segment.
#[test]
fn retention_counts_for_topics_without_a_name() {
    let mut world = World::start(1, new_disk(1), with_retention(), 8);
    for _ in 0..5 {
        world.store(&[event(5, "old")]);
    }
    let mut world = world.crash_and_start(1, with_retention(), 2);
    assert_eq!(world.journal.unnamed(), [TopicId(1005)]);
    fill(&mut world, 0, 200);
    world.settle();
    let world = world.crash_and_start(1, with_retention(), 8);
    let extent = world.journal.extent(TopicIndex(5));
    assert_eq!((extent.low, extent.next), (Offset(5), Offset(5)));
}

#[test]
fn a_stop_commits_what_is_staged_and_closes() {
    for seed in seeds(30) {
        let mut world = World::new(seed);
        for _ in 0..seed {
            offer(&world.journal, &[event(0, vec![1; 1_500])]).unwrap();
        }
        world.stop();
        assert!(matches!(
            offer(&world.journal, &[event(0, "late")]),
            Err(AppendError::Refused(_))
        ));
        let disk = world.disk.crash(&mut Random::new(seed));
        let found = look(&disk, &settings()).unwrap();
        let next = found
            .extents
            .get(&TopicId(1000))
            .map_or(0, |extent| extent.next.0);
        assert_eq!(next, seed, "SEED={seed}");
        let last = found.walked.last().unwrap();
        let bytes = disk.contents(&last.segment.name).unwrap();
        let closing = &bytes[last.end as usize - BLOCK_BYTES as usize..last.end as usize];
        let (header, _) = super::super::super::format::frame::FrameHeader::decode(closing).unwrap();
        assert!(
            header.sections.is_empty(),
            "SEED={seed}: the last frame is a closing one"
        );
    }
}

#[test]
fn a_stop_that_needs_another_segment_gets_one() {
    for seed in seeds(40) {
        let mut world = World::new(seed);
        fill(&mut world, 0, (seed % 20) as u32);
        for number in 0..=seed % 3 {
            let _ = offer(&world.journal, &[event(0, vec![number as u8; 28_000])]);
        }
        let last = world.journal.last_ticket();
        world.stop();
        assert!(
            Some(last) <= world.journal.durable().or(Some(Ticket::NONE)),
            "SEED={seed}"
        );
    }
}

#[test]
fn an_idle_journal_writes_one_closing_frame() {
    let mut world = World::new(1);
    world.store(&[event(0, "a")]);
    world.tick();
    let end = |world: &World| look(&world.disk, &settings()).unwrap().last;
    let closed = end(&world);
    world.tick();
    world.tick();
    assert_eq!(end(&world), closed);
}

#[test]
fn retiring_a_damaged_segment_leaves_no_offset_that_nobody_answers_for() {
    let mut world = World::start(1, new_disk(1), with_retention(), 8);
    fill(&mut world, 0, 40);
    world.settle();
    let copy = world.disk.copy_after_crash(&mut Random::new(1));
    let oldest = sealed_names(&copy).remove(0);
    // Its index is lost, and what it could be made from again ends in the middle.
    let zeros = [0; BLOCK_BYTES as usize];
    assert!(world.disk.put(&oldest, SEGMENT_BYTES - BLOCK_BYTES, &zeros));
    assert!(world.disk.put(&oldest, SEGMENT_BYTES / 2, &[7; 8 << 10]));
    fill(&mut world, 40, 80);
    world.settle();
    assert!(0 < world.journal.size().recycled);
    for topic in 0..2 {
        let low = world.journal.extent(TopicIndex(topic)).low;
        assert!(Offset(0) < low);
        assert!(!world.read_all(topic).is_empty());
    }
}

#[test]
fn a_frame_does_not_wait_for_the_clock_of_its_requests() {
    let waits = Settings {
        commit_wait_us: 60,
        ..settings()
    };
    let mut world = World::start(1, new_disk(1), waits, 8);
    let request = Request {
        source: b"early",
        events: &[RoutedEvent {
            topic: TopicIndex(0),
            start: 0,
            bytes: 5,
        }],
        origin: None,
        kinds: &[],
    };
    let later = Micros(2_000_000_000_000_000);
    let ticket = world.journal.append(later, &request).unwrap();
    for _ in 0..100 {
        world.journal.end_wait();
        world.settle();
    }
    assert_eq!(world.journal.durable(), Some(ticket));
}
