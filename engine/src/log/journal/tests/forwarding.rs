//! A journal that is forwarded: frames in order behind a cursor, which a crash sets back at most, and what waits
//! for it stays.

use super::super::super::format::forwarded::Forwarded;
use super::super::{FollowError, Followed, Follower, Load, Overflow};
use super::*;
use crate::limit::{BLOCK_BYTES, READ_AHEAD_BYTES, READ_BYTES_AT_ONCE};

type Reader = Follower<SimulatedDisk>;

fn spool(overflow: Overflow, segments: Option<u64>) -> Settings {
    Settings {
        retention_bytes: segments.map(|segments| segments * SEGMENT_BYTES),
        keeping: Keeping {
            spool: Some(overflow),
            ..Keeping::default()
        },
        ..settings()
    }
}

fn begin(world: &World) -> Reader {
    let cursor = world.journal.begin_to_forward();
    world.journal.follow(cursor).unwrap()
}

fn next(world: &mut World, reader: &mut Reader) -> Result<Option<Followed>, FollowError> {
    world.executor.wait(reader.next()).expect("a read ends")
}

/// The events of the frames that are durable and were not read, with the last frame.
fn read_on(world: &mut World, reader: &mut Reader) -> (Vec<Vec<u8>>, Option<Followed>) {
    let (mut values, mut last) = (Vec::new(), None);
    while let Some(followed) = next(world, reader).unwrap() {
        let before = values.len();
        for (_, bytes) in reader.frame().unwrap().batches().unwrap() {
            let batch = super::super::super::format::batch::Batch::check(bytes).unwrap();
            values.extend(batch.records().map(|record| record.value.to_vec()));
        }
        assert_eq!(followed.load.events as usize, values.len() - before);
        last = Some(followed);
    }
    (values, last)
}

fn cursor_at(before: Forwarded, followed: &Followed) -> Forwarded {
    Forwarded {
        epoch: followed.epoch,
        upto: Some(followed.spot.sequence),
        chain: followed.chain,
        ..before
    }
}

fn value(number: u64) -> Vec<u8> {
    let mut value = number.to_le_bytes().to_vec();
    value.resize(30_000, 7);
    value
}

fn fill(world: &mut World, numbers: std::ops::Range<u64>) -> Vec<Vec<u8>> {
    let values: Vec<_> = numbers.map(value).collect();
    for one in &values {
        world.store(&[event(0, one.clone())]);
    }
    values
}

#[test]
fn frames_come_in_order_from_memory_and_from_the_disk() {
    let mut world = World::start(1, new_disk(1), spool(Overflow::Refuse, None), 8);
    let mut reader = begin(&world);
    assert_eq!(read_on(&mut world, &mut reader).0, Vec::<Vec<u8>>::new());
    // More than memory keeps, over several segments.
    let values = fill(&mut world, 0..60);
    let (read, last) = read_on(&mut world, &mut reader);
    assert!(read == values);
    assert_eq!(
        last.map(|last| last.spot.sequence),
        world.journal.last_durable()
    );
    let more = fill(&mut world, 60..63);
    assert!(read_on(&mut world, &mut reader).0 == more);
}

/// A journal with frames of which some are larger than what is read at once, and few end where that does.
fn large_frames() -> (World, Reader, Vec<Vec<u8>>) {
    let settings = Settings {
        segment_bytes: 16 << 20,
        frame_bytes: 1 << 20,
        frame_bytes_max: 1 << 20,
        ..spool(Overflow::Refuse, None)
    };
    let mut world = World::start(1, new_disk(1), settings, 8);
    let reader = begin(&world);
    let mut stored = Vec::new();
    for number in 0..20 {
        let count = [1, 9, 20][number as usize % 3];
        let events: Vec<_> = (0..count).map(|_| event(0, value(number))).collect();
        world.store(&events);
        stored.extend((0..count).map(|_| value(number)));
    }
    (world, reader, stored)
}

#[test]
fn no_byte_is_read_twice_however_large_frames_are() {
    let (mut world, mut reader, stored) = large_frames();
    let (mut values, mut bytes) = (Vec::new(), 0);
    while let Some(followed) = next(&mut world, &mut reader).unwrap() {
        bytes += followed.load.bytes;
        for (_, batch) in reader.frame().unwrap().batches().unwrap() {
            let batch = super::super::super::format::batch::Batch::check(batch).unwrap();
            values.extend(batch.records().map(|record| record.value.to_vec()));
        }
    }
    assert!(values == stored);
    assert!(READ_AHEAD_BYTES < bytes);
    // What the journal says of itself at its start is read on the way to the cursor.
    let read = reader.take_read();
    assert!(
        (bytes..bytes + 4 * BLOCK_BYTES).contains(&read),
        "{read} of {bytes}"
    );
}

#[test]
fn the_next_piece_comes_in_while_frames_are_at_work_and_nobody_waits_for_its_reader() {
    let (mut world, mut reader, _) = large_frames();
    next(&mut world, &mut reader).unwrap().unwrap();
    let journal = world.journal.clone();
    let others = || journal.bells.readers.enter(READ_BYTES_AT_ONCE);
    let is_held = world.executor.wait_at_most(1_000, others()).is_err();
    assert!(is_held, "a piece is on its way");
    // It is not asked for, and comes in all the same.
    let waited = world.executor.wait_at_most(1_000, reader.keep_reading());
    assert!(waited.is_err());
    world
        .executor
        .wait(others())
        .map(drop)
        .expect("its turn came");
    assert_eq!(reader.take_read(), READ_AHEAD_BYTES);
    next(&mut world, &mut reader).unwrap().unwrap();
}

#[test]
fn forwarding_begins_where_the_journal_stood_and_never_before() {
    let mut world = World::new(1);
    fill(&mut world, 0..5);
    let mut world = world.crash_and_start(2, spool(Overflow::Refuse, None), 8);
    let mut reader = begin(&world);
    let values = fill(&mut world, 5..8);
    assert!(read_on(&mut world, &mut reader).0 == values);
    // Nothing was noted, so that all of it comes again.
    let mut world = world.crash_and_start(3, spool(Overflow::Refuse, None), 8);
    let mut reader = begin(&world);
    assert!(read_on(&mut world, &mut reader).0 == values);
}

#[test]
fn a_noted_cursor_outlives_crashes_and_many_segments() {
    let chosen = spool(Overflow::Refuse, None);
    let mut world = World::start(1, new_disk(1), chosen.clone(), 8);
    let mut reader = begin(&world);
    fill(&mut world, 0..10);
    let (_, last) = read_on(&mut world, &mut reader);
    let cursor = cursor_at(world.journal.begin_to_forward(), &last.unwrap());
    let receipt = world.journal.note_forwarded(cursor);
    assert_eq!(world.executor.wait(receipt.wait()), Ok(true));
    let values = fill(&mut world, 10..70);
    let mut world = world.crash_and_start(2, chosen.clone(), 8);
    assert_eq!(world.journal.begin_to_forward(), cursor);
    let mut reader = begin(&world);
    assert!(read_on(&mut world, &mut reader).0 == values);
    world.stop();
    let mut world = World::start(3, world.disk, chosen, 8);
    let mut reader = begin(&world);
    assert!(read_on(&mut world, &mut reader).0 == values);
}

/// A cursor whose frame a crash tears leaves the one before it.
#[test]
fn a_torn_cursor_leaves_the_older_one_and_nothing_is_passed_over() {
    let mut older = 0;
    for seed in seeds(60) {
        let chosen = spool(Overflow::Refuse, None);
        let mut random = Random::new(seed);
        let mut world = World::start(seed, new_disk(seed), chosen.clone(), 8);
        let mut reader = begin(&world);
        let values = fill(&mut world, 0..10);
        let first = next(&mut world, &mut reader).unwrap();
        let mut cursors = vec![world.journal.begin_to_forward()];
        let mut followed = first;
        while let Some(now) = followed {
            if 0 < now.load.events {
                cursors.push(cursor_at(cursors[0], &now));
                world.journal.note_forwarded(*cursors.last().unwrap());
                let _ = world
                    .executor
                    .wait_at_most(random.below(20), std::future::pending::<()>());
            }
            if cursors.len() == 6 {
                break;
            }
            followed = next(&mut world, &mut reader).unwrap();
        }
        let mut world = world.crash_and_start(seed, chosen, 8);
        let found = world.journal.begin_to_forward();
        let at = cursors.iter().position(|cursor| *cursor == found);
        let at = at.unwrap_or_else(|| panic!("SEED={seed}: a cursor that nobody noted: {found}"));
        older += usize::from(at < cursors.len() - 1);
        let mut reader = begin(&world);
        assert!(
            read_on(&mut world, &mut reader).0 == values[at..],
            "SEED={seed}"
        );
    }
    assert!(0 < older, "no crash came before a cursor was durable");
}

#[test]
fn a_cursor_of_another_log_is_refused_with_both_names() {
    let mut world = World::start(1, new_disk(1), spool(Overflow::Refuse, None), 8);
    let cursor = world.journal.begin_to_forward();
    fill(&mut world, 0..3);
    let other = Forwarded {
        chain: cursor.chain ^ 1,
        ..cursor
    };
    let mut reader = world.journal.follow(other).unwrap();
    let refused = next(&mut world, &mut reader).unwrap_err().to_string();
    assert!(refused.contains("do not agree"), "{refused}");
    assert!(
        refused.contains(&format!("{:016x}", cursor.chain)),
        "{refused}"
    );
    assert!(
        refused.contains(&format!("{:016x}", other.chain)),
        "{refused}"
    );
    let beyond = Forwarded {
        upto: crate::unit::Sequence::new(1_000_000),
        ..cursor
    };
    let refused = world.journal.follow(beyond).err().unwrap().to_string();
    assert!(refused.contains("1000000"), "{refused}");
}

#[test]
fn what_waits_stays_and_new_events_are_refused_until_it_went() {
    let mut world = World::start(1, new_disk(1), spool(Overflow::Refuse, Some(6)), 8);
    let mut reader = begin(&world);
    let (mut taken, mut refusal) = (0, None);
    for number in 0..500 {
        world.settle();
        if let Some(reason) = world.journal.fault() {
            refusal = Some(reason);
            break;
        }
        taken += fill(&mut world, number..number + 1).len() as u64;
    }
    let refusal = refusal.expect("the bound is reached");
    assert!(refusal.contains("spool is full"), "{refusal}");
    assert!(
        world.journal.size().segments <= 6,
        "{:?}",
        world.journal.size()
    );
    assert_eq!(world.journal.size().recycled, 0);
    let (read, last) = read_on(&mut world, &mut reader);
    assert!(read.into_iter().eq((0..taken).map(value)));
    let cursor = cursor_at(world.journal.begin_to_forward(), &last.unwrap());
    world.journal.note_forwarded(cursor);
    world.settle();
    assert_eq!(world.journal.fault(), None);
    let more = fill(&mut world, taken..taken + 20);
    assert!(read_on(&mut world, &mut reader).0 == more);
    assert!(0 < world.journal.size().recycled);
}

#[test]
fn the_oldest_goes_and_is_counted_where_operators_want_that() {
    let mut world = World::start(1, new_disk(1), spool(Overflow::DropOldest, Some(6)), 8);
    let mut reader = begin(&world);
    fill(&mut world, 0..200);
    world.settle();
    assert_eq!(world.journal.fault(), None);
    let gone = next(&mut world, &mut reader).unwrap_err();
    assert!(matches!(gone, FollowError::Gone { .. }), "{gone}");
    let (read, _) = read_on(&mut world, &mut reader);
    let dropped = world.journal.dropped();
    assert_eq!(dropped + read.len() as u64, 200);
    assert!(read.into_iter().eq((dropped..200).map(value)));
}

#[test]
fn what_is_too_old_is_forwarded_all_the_same() {
    let mut chosen = spool(Overflow::Refuse, None);
    chosen.keeping.rules.age_ms = Some(1_000);
    chosen.keeping.repack_below = 90;
    let mut world = World::start(1, new_disk(1), chosen, 8);
    let mut reader = begin(&world);
    let values = fill(&mut world, 0..60);
    world.tidy(1_000_000);
    world.settle();
    assert_eq!(world.journal.size().recycled, 0);
    let (read, last) = read_on(&mut world, &mut reader);
    assert!(read == values);
    let cursor = cursor_at(world.journal.begin_to_forward(), &last.unwrap());
    world.journal.note_forwarded(cursor);
    world.settle();
    world.tidy(1_000_100);
    assert!(0 < world.journal.size().recycled);
}

#[test]
fn what_lies_behind_the_cursor_is_measured_at_a_start() {
    let chosen = spool(Overflow::Refuse, None);
    let mut world = World::start(1, new_disk(1), chosen.clone(), 8);
    let mut reader = begin(&world);
    fill(&mut world, 0..30);
    for _ in 0..12 {
        next(&mut world, &mut reader).unwrap();
    }
    let followed = next(&mut world, &mut reader).unwrap().unwrap();
    let cursor = cursor_at(world.journal.begin_to_forward(), &followed);
    world.journal.note_forwarded(cursor);
    fill(&mut world, 30..70);
    let mut world = world.crash_and_start(2, chosen, 8);
    let mut reader = begin(&world);
    let (measured, passed) = behind(&mut world, &mut reader);
    assert!(0 < passed.events);
    let first = next(&mut world, &mut reader).unwrap().unwrap();
    let (rest, _) = read_on(&mut world, &mut reader);
    assert_eq!(reader.passed(), passed);
    let events = measured.events - passed.events;
    assert_eq!(events, first.load.events + rest.len() as u64);
    let bytes = measured.bytes - passed.bytes;
    assert!(
        (events * 30_000..events * 45_000).contains(&bytes),
        "{bytes}"
    );
}

/// What the journal holds from the segment of the reader's cursor on, and what of it lies before the cursor.
fn behind(world: &mut World, reader: &mut Reader) -> (Load, Load) {
    world.executor.wait(reader.reach()).expect("reading ends");
    let measured = world.executor.wait(reader.measure()).unwrap();
    (measured.unwrap(), reader.passed())
}

/// Wherever in a journal of many segments a cursor stands, and however young the segment is.
#[test]
fn what_lies_before_a_cursor_is_not_behind_it() {
    let mut world = World::start(1, new_disk(1), spool(Overflow::Refuse, None), 8);
    let mut reader = begin(&world);
    fill(&mut world, 0..70);
    let begun = world.journal.begin_to_forward();
    let (mut sent, mut segments) = (0, std::collections::BTreeSet::new());
    while let Some(followed) = next(&mut world, &mut reader).unwrap() {
        sent += followed.load.events;
        segments.insert(followed.spot.life());
        let cursor = cursor_at(begun, &followed);
        let mut other = world.journal.follow(cursor).unwrap();
        let (measured, passed) = behind(&mut world, &mut other);
        assert_eq!(measured.events - passed.events, 70 - sent);
    }
    assert_eq!(sent, 70);
    assert!(2 < segments.len());
}
