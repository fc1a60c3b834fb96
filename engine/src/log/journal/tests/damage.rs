//! Damage at rest is found, named, and never served or taken for a crash.

use super::super::super::format::Features;
use super::super::super::format::frame::FrameHeader;
use super::super::super::format::segment::SegmentHeader;
use super::*;
use crate::limit::BLOCK_BYTES;

const BLOCK: usize = BLOCK_BYTES as usize;

/// Whole frame headers in a file, by position.
fn frames(disk: &SimulatedDisk, name: &str) -> Vec<FrameHeader> {
    let bytes = disk.contents(name).unwrap();
    let decode = |block: &[u8]| FrameHeader::decode(block).ok().map(|(header, _)| header);
    bytes.chunks(BLOCK).filter_map(decode).collect()
}

fn open_name(disk: &SimulatedDisk) -> String {
    let found = look(disk, &settings()).unwrap();
    found.walked.last().unwrap().segment.name.clone()
}

/// A journal with some frames in its first segment, off.
fn some_frames(count: u8) -> SimulatedDisk {
    let mut world = World::new(1);
    for number in 0..count {
        world.store(&[event(0, [number; 100])]);
    }
    world.settle();
    world.disk.crash(&mut Random::new(1))
}

#[test]
fn damage_to_an_acknowledged_frame_stops_the_start() {
    let disk = some_frames(10);
    let name = open_name(&disk);
    let frames = frames(&disk, &name);
    for frame in &frames[..frames.len() - 2] {
        // In its header, and in what it carries if it does.
        let last = frame
            .sections
            .last()
            .and_then(|last| frame.place(last.kind));
        let end = last.map_or(500, |(_, place)| place.end as u64);
        for byte in [40, end - 1] {
            let bit = (frame.position + byte) * 8;
            assert!(disk.flip(&name, bit));
            let error = look(&disk, &settings()).err().expect("damage");
            let RecoverError::Damaged {
                file,
                position,
                sequence,
                ..
            } = &error
            else {
                panic!("{error}");
            };
            assert_eq!(
                (file, *position, *sequence),
                (&name, frame.position, frame.sequence.get())
            );
            assert!(World::try_start(1, disk.clone(), settings(), 8).is_err());
            assert!(disk.flip(&name, bit));
        }
    }
    assert!(look(&disk, &settings()).is_ok());
}

#[test]
fn a_torn_last_frame_is_dropped() {
    let disk = some_frames(10);
    let name = open_name(&disk);
    let frames = frames(&disk, &name);
    let last = frames.last().unwrap();
    assert!(disk.flip(&name, (last.position + 600) * 8));
    let mut world = World::start(1, disk, settings(), 8);
    assert_eq!(world.values(0).len(), 9);
    world.store(&[event(0, "next")]);
    assert_eq!(world.values(0).len(), 10);
}

#[test]
fn after_a_closing_frame_damage_to_the_last_data_frame_is_no_tear() {
    let mut world = World::new(1);
    world.store(&[event(0, "last")]);
    world.tick();
    let disk = world.disk.crash(&mut Random::new(1));
    let name = open_name(&disk);
    let frames = frames(&disk, &name);
    let data = &frames[frames.len() - 2];
    assert!(disk.flip(&name, (data.position + 600) * 8));
    assert!(matches!(
        look(&disk, &settings()),
        Err(RecoverError::Damaged { .. })
    ));
}

/// Several segments, with what the oldest holds.
fn some_segments() -> (SimulatedDisk, Vec<String>) {
    let mut world = World::new(1);
    for number in 0..60u32 {
        world.store(&[event(number % 2, vec![number as u8; 30_000])]);
    }
    world.settle();
    let disk = world.disk.crash(&mut Random::new(1));
    let found = look(&disk, &settings()).unwrap();
    let sealed = found.sealed.into_iter().map(|segment| segment.name);
    let walked = found.walked.into_iter().map(|walked| walked.segment.name);
    let names = sealed.chain(walked).collect();
    (disk, names)
}

#[test]
fn a_damaged_header_of_a_segment_in_use_stops_the_start() {
    let (disk, names) = some_segments();
    for name in &names {
        assert!(disk.flip(name, 50 * 8));
        let error = look(&disk, &settings())
            .err()
            .unwrap_or_else(|| panic!("{name} of {names:?}"));
        assert!(
            error.to_string().contains(name.as_str())
                || matches!(error, RecoverError::Damaged { .. }),
            "{error}"
        );
        assert!(disk.flip(name, 50 * 8));
    }
}

#[test]
fn a_damaged_header_of_a_segment_not_in_use_loses_nothing() {
    let (disk, names) = some_segments();
    let spare: Vec<String> = disk
        .paths()
        .into_iter()
        .filter(|path| !names.contains(path))
        .collect();
    assert!(!spare.is_empty());
    for name in &spare {
        assert!(disk.flip(name, 50 * 8));
    }
    let mut world = World::start(1, disk, settings(), 8);
    assert_eq!(world.values(0).len(), 30);
}

#[test]
fn damage_to_an_older_segment_is_found_when_it_is_read() {
    let (disk, names) = some_segments();
    let frame = frames(&disk, &names[0])[4].clone();
    assert!(disk.flip(&names[0], (frame.position + 700) * 8));
    let mut world = World::start(1, disk, settings(), 8);
    let journal = world.journal.clone();
    let mut damaged = 0;
    for topic in 0..2 {
        let read = journal.read(TopicIndex(topic), Offset(0), usize::MAX, usize::MAX);
        let read = world.executor.wait(read).unwrap();
        damaged += u32::from(matches!(read, Err(ReadError::Damaged(_))));
    }
    assert_eq!(damaged, 1);
}

#[test]
fn a_missing_segment_stops_the_start() {
    let (disk, names) = some_segments();
    for name in &names[1..] {
        let copy = disk.copy_after_crash(&mut Random::new(1));
        Executor::new(1)
            .wait(super::super::super::disk::Disk::remove(&copy, name))
            .unwrap()
            .unwrap();
        let found = look(&copy, &settings());
        // The newest one, when nothing behind it proves that it was there, cannot be missed.
        let is_last = Some(name) == names.last();
        assert!(
            is_last || matches!(found, Err(RecoverError::Gap { .. })),
            "{name} of {names:?}"
        );
    }
}

#[test]
fn an_unknown_incompatible_feature_stops_with_its_bit() {
    let disk = some_frames(3);
    let name = open_name(&disk);
    let bytes = disk.contents(&name).unwrap();
    let unknown = Features {
        incompatible: 1 << 40,
        ..Features::default()
    };

    let mut frame = frames(&disk, &name).pop().unwrap();
    let position = frame.position;
    frame.features = unknown;
    let mut block = bytes[position as usize..][..BLOCK].to_vec();
    frame.encode(&mut block);
    let copy = disk.copy_after_crash(&mut Random::new(1));
    copy.put(&name, position, &block);
    let error = look(&copy, &settings()).err().expect("it is unknown");
    assert!(
        matches!(error, RecoverError::Unknown { .. })
            && error.to_string().contains("0x10000000000"),
        "{error}"
    );

    let mut header = SegmentHeader::decode(&bytes[..BLOCK]).unwrap();
    header.features = unknown;
    let mut block = bytes[..BLOCK].to_vec();
    header.encode(&mut block);
    disk.put(&name, 0, &block);
    let error = look(&disk, &settings()).err().expect("it is unknown");
    assert!(matches!(error, RecoverError::Unknown { .. }), "{error}");
}

#[test]
fn another_stores_segment_is_refused() {
    let disk = some_frames(3);
    let other = Settings {
        store: StoreId(7),
        ..settings()
    };
    assert!(matches!(
        look(&disk, &other),
        Err(RecoverError::Unknown { .. })
    ));
    let other = Settings {
        segment_bytes: SEGMENT_BYTES * 2,
        ..settings()
    };
    assert!(matches!(
        look(&disk, &other),
        Err(RecoverError::Size { .. })
    ));
}
