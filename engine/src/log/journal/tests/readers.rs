//! What reading costs: counted in reads of the disk, and told apart from what it gives.

use super::super::super::simulated::Operation;
use super::*;
use crate::limit::BLOCK_BYTES;
use futures_util::FutureExt as _;
use std::time::Duration;

impl World {
    fn reads(&self) -> u64 {
        let tally = self.disk.tally();
        tally.get(&Operation::Read).map_or(0, |tally| tally.begun)
    }

    fn read(&mut self, topic: u32, offset: u64, records_max: usize) -> Vec<ReadRecord> {
        let journal = self.journal.clone();
        let read = journal.read(TopicIndex(topic), Offset(offset), records_max, usize::MAX);
        self.executor.wait(read).unwrap().unwrap()
    }

    /// Reads a topic from its start to its end in pages, as a consumer does.
    fn consume(&mut self, topic: u32, records_max: usize) -> Vec<Vec<u8>> {
        let mut values = Vec::new();
        let mut next = 0;
        loop {
            let page = self.read(topic, next, records_max);
            next += page.len() as u64;
            if page.is_empty() {
                return values;
            }
            values.extend(page.into_iter().map(|record| record.value));
        }
    }

    fn segment_paths(&self) -> Vec<String> {
        let mut paths = self.disk.paths();
        paths.retain(|path| path.contains(".seg"));
        paths.sort();
        paths
    }
}

/// Commits one event of each of so many topics, again and again; an event says its number and its topic.
fn store_rounds(world: &mut World, topics: u32, rounds: u32, bytes: usize) {
    for round in 0..rounds {
        let events: Vec<Event> = (0..topics)
            .map(|topic| numbered(topic, round, bytes))
            .collect();
        world.store(&events);
    }
}

fn numbered(topic: u32, round: u32, bytes: usize) -> Event {
    let mut value = vec![topic as u8; bytes];
    value[..4].copy_from_slice(&round.to_le_bytes());
    event(topic, value)
}

fn rounds_of(topic: u32, rounds: u32, bytes: usize) -> Vec<Vec<u8>> {
    (0..rounds)
        .map(|round| numbered(topic, round, bytes).1)
        .collect()
}

#[test]
fn a_reader_that_keeps_up_asks_the_disk_for_nothing() {
    let mut world = World::new(1);
    store_rounds(&mut world, 3, 10, 500);
    assert_eq!(world.consume(1, 100), rounds_of(1, 10, 500));
    let (before, files) = (world.reads(), world.segment_paths().len());
    let mut next = 10;
    for round in 10..300 {
        let events: Vec<Event> = (0..3).map(|topic| numbered(topic, round, 2_000)).collect();
        world.store(&events);
        let page = world.read(1, next, 100);
        next += page.len() as u64;
        assert_eq!(page.len(), 1);
        assert_eq!(page[0].value, numbered(1, round, 2_000).1);
        assert!(world.read(1, next, 100).is_empty());
    }
    // The disk counts a look into a folder as a read, and each new segment takes one.
    let made = (world.segment_paths().len() - files + 1) as u64;
    let reads = world.reads() - before;
    assert!(
        reads <= made && made < 290 / 10,
        "{reads} reads, {made} segments"
    );
    assert!(
        3 < in_use(
            &world.disk.copy_after_crash(&mut Random::new(1)),
            &settings()
        )
    );
}

#[test]
fn what_is_no_longer_in_memory_comes_from_the_disk() {
    let mut world = World::new(2);
    assert!(world.read(0, 0, 1).is_empty());
    store_rounds(&mut world, 2, 300, 2_000);
    let before = world.reads();
    assert_eq!(world.consume(0, 7), rounds_of(0, 300, 2_000));
    assert!(before < world.reads());
}

#[test]
fn an_old_offset_is_found_in_a_few_reads() {
    let mut world = World::new(3);
    store_rounds(&mut world, 2, 2_500, 2_000);
    // A topic that few segments hold anything of.
    world.store(&[event(5, "rare")]);
    store_rounds(&mut world, 1, 2_500, 2_000);
    let segments = u64::from(world.segment_paths().len() as u32);
    assert!(30 < segments);
    let mut world = world.crash_and_start(3, settings(), 8);
    for (topic, offset) in [(0, 1_234), (1, 77), (0, 4_321), (5, 0), (1, 2_400)] {
        let before = world.reads();
        let found = world.read(topic, offset, 1);
        assert_eq!((found.len(), found[0].offset.0), (1, offset));
        // The halves, each two reads at most; footer and index; the batch.
        let halves = u64::from(segments.ilog2() + 1);
        let reads = world.reads() - before;
        assert!(
            reads <= 2 * halves + 3,
            "{reads} reads for {segments} segments"
        );
    }
}

#[test]
fn a_sequential_reader_reads_neighbours_together() {
    let mut world = World::new(4);
    store_rounds(&mut world, 1, 400, 3_000);
    let mut world = world.crash_and_start(4, settings(), 8);
    // Each event is a frame of one block, and each page asks for one event. Reads are shorter while others commit.
    for (pause_us, one_in) in [(0, 6), (1_000_000, 10)] {
        world.clock.set(world.clock.get() + pause_us);
        let before = world.reads();
        assert_eq!(world.consume(0, 1), rounds_of(0, 400, 3_000));
        let reads = world.reads() - before;
        assert!(reads < 400 / one_in, "{reads} reads");
    }
}

#[test]
fn a_topic_among_many_is_read_in_order_whatever_the_pages() {
    for page in [1, 3, 100] {
        let mut world = World::new(5);
        store_rounds(&mut world, 8, 250, 900);
        let mut world = world.crash_and_start(5, settings(), 8);
        for topic in [0, 3, 7] {
            let before = world.reads();
            assert_eq!(world.consume(topic, page), rounds_of(topic, 250, 900));
            let reads = world.reads() - before;
            assert!(reads < 250, "{reads} reads, pages of {page}");
        }
    }
}

#[test]
fn a_checkpoint_that_cannot_be_read_hides_nothing() {
    let mut world = World::new(6);
    store_rounds(&mut world, 2, 600, 2_000);
    let mut world = world.crash_and_start(6, settings(), 8);
    let paths = world.segment_paths();
    assert!(4 < paths.len());
    for path in &paths {
        // A bit of the opening frame's header, which is the second block of each segment.
        world.disk.flip(path, (BLOCK_BYTES + 200) * 8);
    }
    for offset in [599, 3, 300, 150] {
        let found = world.read(1, offset, 2);
        assert_eq!(found[0].value, numbered(1, offset as u32, 2_000).1);
    }
}

#[test]
fn readers_and_the_writer_and_retention_go_on_together() {
    for seed in seeds(10) {
        let mut chosen = settings();
        chosen.retention_bytes = Some(6 * SEGMENT_BYTES);
        let mut world = World::start(seed, new_disk(seed), chosen, 8);
        let mut random = Random::new(seed);
        for round in 0..600 {
            let events: Vec<Event> = (0..4).map(|topic| numbered(topic, round, 1_500)).collect();
            world.store(&events);
            let topic = random.below(4) as u32;
            let extent = world.journal.extent(TopicIndex(topic));
            let offset = extent.low.0 + random.below(extent.next.0 - extent.low.0);
            let journal = world.journal.clone();
            let read = journal.read(TopicIndex(topic), Offset(offset), 5, usize::MAX);
            match world.executor.wait(read).unwrap() {
                Ok(page) => {
                    for (record, round) in page.iter().zip(offset as u32..) {
                        assert_eq!(record.value, numbered(topic, round, 1_500).1, "SEED={seed}");
                    }
                    assert!(!page.is_empty(), "SEED={seed}");
                }
                Err(error) => assert!(matches!(error, ReadError::Gone { .. }), "{error}"),
            }
        }
        assert!(0 < world.journal.size().recycled);
    }
}

#[test]
fn one_topic_of_a_large_index_is_read_alone_and_checked() {
    let mut chosen = settings();
    chosen.segment_bytes = 4 << 20;
    let mut world = World::start(7, new_disk(7), chosen.clone(), 8);
    store_rounds(&mut world, 8, 1_100, 4);
    let disk = world.disk.copy_after_crash(&mut Random::new(7));
    let mut world = World::start(7, disk, chosen.clone(), 8);
    assert_eq!(world.consume(3, 100), rounds_of(3, 1_100, 4));
    let sealed = world.segment_paths().remove(0);
    let footer = world.disk.contents(&sealed).unwrap();
    let index_bytes =
        u64::from_le_bytes(*footer[footer.len() - 4096 + 72..].first_chunk().unwrap());
    assert!(crate::limit::READ_BYTES_MAX < index_bytes, "{index_bytes}");
    let start = footer.len() as u64 - 4096 - index_bytes;
    // Its own head and places, another topic's, and the count.
    for byte in [
        8 + 3 * 48 + 2,
        8 + 3 * 48 + 40,
        8 + 40,
        8 + 48,
        0,
        index_bytes / 2 - 5,
    ] {
        let mut damaged = World::start(
            7,
            world.disk.copy_after_crash(&mut Random::new(7)),
            chosen.clone(),
            8,
        );
        assert!(damaged.disk.flip(&sealed, (start + byte) * 8 + 1));
        assert_eq!(
            damaged.consume(3, 100),
            rounds_of(3, 1_100, 4),
            "byte {byte}"
        );
    }
}

#[test]
fn readers_leave_the_disk_to_commits_and_have_it_when_there_are_none() {
    const RATE: u64 = 1 << 20;
    let mut world = World::new(9);
    store_rounds(&mut world, 2, 1_000, 2_000);
    let slept = Rc::new(Cell::new(0));
    let (clock, sum) = (world.clock.clone(), slept.clone());
    let sleep = move |time: Duration| {
        let micros = time.as_micros() as u64;
        clock.set(clock.get() + micros);
        sum.set(sum.get() + micros);
        pause(40).boxed_local()
    };
    world.journal.pace_readers(RATE, Rc::new(sleep));
    // A minute after the last commit the disk is the readers'.
    world.clock.set(world.clock.get() + 60_000_000);
    assert_eq!(world.consume(0, 50), rounds_of(0, 1_000, 2_000));
    assert_eq!(slept.get(), 0);
    // Beside commits they have the rate, and no more than twice what is written with it.
    let over = Rc::new(Cell::new(false));
    let (journal, until) = (world.journal.clone(), over.clone());
    world.executor.spawn(async move {
        while !until.get() {
            offer(&journal, &[event(7, vec![7; 100])]).unwrap();
            pause(200).await;
        }
    });
    assert_eq!(world.consume(1, 50), rounds_of(1, 1_000, 2_000));
    over.set(true);
    world.settle();
    let written = world.consume(7, 1_000).len() as u64 * BLOCK_BYTES;
    let saved = 1 << 20;
    let most = RATE * slept.get() / 1_000_000 + 2 * written + saved;
    assert!(2_000_000 <= most, "{written}: {}", slept.get());
}
