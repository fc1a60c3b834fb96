//! Headers of segments that are damaged, or that the disk has not written: what is needed is missed, and what
//! was let go of is not.

use super::super::super::format::segment::{HEADER_BYTES, SegmentHeader};
use super::super::super::simulated::Operation;
use super::*;
use crate::unit::Sequence;

fn with_retention() -> Settings {
    Settings {
        retention_bytes: Some(5 * SEGMENT_BYTES),
        ..settings()
    }
}

fn fill(world: &mut World, topics: u32, count: u32) {
    for number in 0..count {
        world.store(&[event(number % topics, vec![number as u8; 30_000])]);
    }
    world.settle();
}

/// Files in use, oldest first, and the others.
fn files(disk: &SimulatedDisk, settings: &Settings) -> (Vec<String>, Vec<String>) {
    let found = look(disk, settings).unwrap();
    let sealed = found.sealed.into_iter().map(|segment| segment.name);
    let walked = found.walked.into_iter().map(|walked| walked.segment.name);
    let spare = found.spare.into_iter().map(|spare| spare.name);
    (sealed.chain(walked).collect(), spare.collect())
}

fn header(disk: &SimulatedDisk, name: &str) -> SegmentHeader {
    SegmentHeader::decode(&disk.contents(name).unwrap()).unwrap()
}

fn put_header(disk: &SimulatedDisk, name: &str, header: SegmentHeader) {
    let mut block = [0; HEADER_BYTES];
    header.encode(&mut block);
    assert!(disk.put(name, 0, &block));
}

fn flip_header(disk: &SimulatedDisk, name: &str) {
    assert!(disk.flip(name, 50 * 8));
}

#[test]
fn a_batch_that_a_watermark_cuts_in_two_is_missed_with_its_segments_header() {
    let mut world = World::new(1);
    for number in 0..60 {
        let value = vec![number; 15_000];
        world.store(&[event(0, value.clone()), event(0, value)]);
    }
    world.settle();
    let (names, _) = files(&world.disk, &settings());
    let ends = world.executor.wait(world.journal.ends_of_oldest());
    let (_, end) = ends.unwrap().unwrap()[0];
    let journal = world.journal.clone();
    let cut = journal.truncate(TopicIndex(0), Offset(end.0 - 1), None);
    assert!(world.executor.wait(cut).unwrap().is_ok());
    let disk = world.disk.crash(&mut Random::new(1));
    flip_header(&disk, &names[0]);
    let error = look(&disk, &settings()).err().expect("it is missed");
    assert!(matches!(&error, RecoverError::Header { file, .. } if *file == names[0]));
}

/// A file of a life in which there was a topic more: the journal as it is has never heard of it, as if its tombstone had been
/// let go of long ago.
#[test]
fn frames_of_a_topic_that_is_forgotten_are_not_missed() {
    let mut before = World::start(1, new_disk(1), with_retention(), 8);
    fill(&mut before, 2, 60);
    let (names, _) = files(&before.disk, &with_retention());
    let old = before.disk.contents(&names[0]).unwrap();
    let mut world = World::start(1, new_disk(1), with_retention(), 8);
    fill(&mut world, 1, 240);
    world.tidy(10_000);
    fill(&mut world, 1, 240);
    let disk = world.disk.crash(&mut Random::new(1));
    let found = look(&disk, &with_retention()).unwrap();
    let topics: Vec<_> = found.extents.keys().copied().collect();
    assert_eq!(topics, [TopicId(1000)]);
    let (_, spare) = files(&disk, &with_retention());
    assert!(disk.put(&spare[0], 0, &old));
    flip_header(&disk, &spare[0]);
    let found = look(&disk, &with_retention());
    assert!(found.is_ok(), "{:?}", found.err());
}

#[test]
fn frames_that_lie_elsewhere_are_not_missed() {
    let mut world = World::new(1);
    fill(&mut world, 2, 60);
    let disk = world.disk.crash(&mut Random::new(1));
    let (names, spare) = files(&disk, &settings());
    for name in &names {
        let disk = disk.copy();
        assert!(disk.put(&spare[0], 0, &disk.contents(name).unwrap()));
        flip_header(&disk, &spare[0]);
        let found = look(&disk, &settings());
        assert!(found.is_ok(), "{:?}", found.err());
    }
}

/// Many small frames that are in no use any more, in a file whose header is bad: each of them is looked at, and
/// each byte is read no more than a few times.
#[test]
fn a_file_without_a_header_is_read_once_however_many_frames_are_in_it() {
    let mut world = World::start(1, new_disk(1), with_retention(), 8);
    for number in 0..200u32 {
        world.store(&[event(number % 2, number.to_le_bytes())]);
    }
    world.settle();
    let (names, _) = files(&world.disk, &with_retention());
    let old = world.disk.contents(&names[0]).unwrap();
    fill(&mut world, 2, 120);
    let disk = world.disk.crash(&mut Random::new(1));
    let (_, spare) = files(&disk, &with_retention());
    let reads = |disk: &SimulatedDisk| {
        let before = disk.tally()[&Operation::Read].begun;
        let found = look(disk, &with_retention());
        assert!(found.is_ok(), "{:?}", found.err());
        disk.tally()[&Operation::Read].begun - before
    };
    assert!(disk.put(&spare[0], 0, &old));
    let with_header = reads(&disk);
    flip_header(&disk, &spare[0]);
    let without = reads(&disk);
    assert!(without < with_header + 10, "{with_header} {without}");
}

#[test]
fn a_segment_that_lacks_the_header_of_its_use_is_missed() {
    let mut world = World::new(1);
    fill(&mut world, 2, 60);
    let disk = world.disk.crash(&mut Random::new(1));
    let (names, _) = files(&disk, &settings());
    for name in &names {
        let disk = disk.copy();
        let waiting = SegmentHeader {
            opening: None,
            ..header(&disk, name)
        };
        put_header(&disk, name, waiting);
        let error = look(&disk, &settings()).err();
        let error = error.unwrap_or_else(|| panic!("{name} of {names:?} is not missed"));
        let is_it = matches!(&error, RecoverError::Header { file, .. } if file == name);
        assert!(is_it, "{name} of {names:?}: {error}");
    }
}

#[test]
fn the_only_segment_is_missed_when_it_lacks_the_header_of_its_use() {
    let mut world = World::new(1);
    fill(&mut world, 2, 5);
    let disk = world.disk.crash(&mut Random::new(1));
    let (names, _) = files(&disk, &settings());
    let waiting = SegmentHeader {
        opening: None,
        ..header(&disk, &names[0])
    };
    put_header(&disk, &names[0], waiting);
    assert!(matches!(
        look(&disk, &settings()),
        Err(RecoverError::Header { .. })
    ));
}

/// A crash may leave the first frames of a segment without its header; none of them was acknowledged.
#[test]
fn a_first_frame_without_its_header_alone_is_no_damage() {
    let mut world = World::new(1);
    fill(&mut world, 2, 60);
    let disk = world.disk.crash(&mut Random::new(1));
    let (names, _) = files(&disk, &settings());
    let name = names.last().unwrap();
    let before = look(&disk, &settings()).unwrap();
    let walked = before.walked.last().unwrap();
    let at = HEADER_BYTES as u64;
    let first = super::super::super::format::frame::FrameHeader::decode(
        &disk.contents(name).unwrap()[HEADER_BYTES..],
    );
    let behind = at + first.unwrap().0.padded_bytes() as u64;
    assert!(disk.put(name, behind, &vec![0; (walked.end - behind) as usize]));
    let waiting = SegmentHeader {
        opening: None,
        ..header(&disk, name)
    };
    put_header(&disk, name, waiting);
    let found = look(&disk, &settings()).unwrap();
    let last = Sequence::new(walked.opening.first.get() - 1);
    assert_eq!(found.last, last);
}

#[test]
fn a_retired_segment_that_says_that_it_is_in_use_is_passed_over() {
    let mut world = World::start(1, new_disk(1), with_retention(), 8);
    fill(&mut world, 2, 60);
    let (names, _) = files(&world.disk, &with_retention());
    let old = world.disk.contents(&names[0]).unwrap();
    fill(&mut world, 2, 120);
    let disk = world.disk.crash(&mut Random::new(1));
    let before = look(&disk, &with_retention()).unwrap();
    let (_, spare) = files(&disk, &with_retention());
    assert!(disk.put(&spare[0], 0, &old));
    let found = look(&disk, &with_retention());
    let found = found.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((found.last, found.chain), (before.last, before.chain));
    let mut world = World::start(2, disk, with_retention(), 8);
    assert!(!world.values(0).is_empty());
    fill(&mut world, 2, 60);
    let disk = world.disk.crash(&mut Random::new(1));
    World::start(3, disk, with_retention(), 8).values(1);
}

/// The same where one that stands before the gap is needed.
#[test]
fn a_segment_before_a_gap_is_missed_when_its_records_are_not_let_go_of() {
    let mut world = World::new(1);
    fill(&mut world, 2, 60);
    let disk = world.disk.crash(&mut Random::new(1));
    let (names, _) = files(&disk, &settings());
    let removed = Executor::new(1).wait(Disk::remove(&disk, &names[1]));
    removed.unwrap().unwrap();
    assert!(matches!(
        look(&disk, &settings()),
        Err(RecoverError::Gap { .. })
    ));
}
