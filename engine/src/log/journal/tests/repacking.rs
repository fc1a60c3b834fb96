//! Segments that are rewritten without what is dead in them.

use super::super::super::format::footer::FOOTER_BYTES;
use super::super::super::format::segment::Kind;
use super::super::super::simulated::Operation;
use super::*;

fn with_repack() -> Settings {
    Settings {
        keeping: Keeping {
            repack_below: 50,
            spool: None,
            ..Keeping::default()
        },
        ..settings()
    }
}

/// Much of topic 0 and a little of 1 and 2.
fn fill(world: &mut World, count: u32) {
    for number in 0..count {
        let mut value = number.to_le_bytes().to_vec();
        value.resize(20_000, 9);
        world.store(&[
            event(0, value),
            event(1, number.to_le_bytes()),
            event(2, vec![number as u8; 500]),
        ]);
    }
}

fn delete(world: &mut World, id: u128) {
    let journal = world.journal.clone();
    let deleted = world.executor.wait(journal.delete(&[TopicId(id)]));
    deleted.unwrap().unwrap();
}

/// Lets the tidier do all there is to do.
fn tidy_up(world: &mut World) {
    for seconds in 1..40 {
        world.tidy(seconds * 100);
    }
}

fn sorted_files(disk: &SimulatedDisk, settings: &Settings) -> Vec<(String, u64)> {
    let found = look(disk, settings).unwrap().sealed.into_iter();
    let sorted = found.filter(|segment| segment.kind == Kind::Sorted);
    sorted
        .map(|segment| (segment.name, segment.bytes))
        .collect()
}

fn numbers(values: &[Vec<u8>]) -> Vec<u32> {
    let number = |value: &Vec<u8>| u32::from_le_bytes(value[..4].try_into().unwrap());
    values.iter().map(number).collect()
}

#[test]
fn a_segment_of_which_little_is_alive_is_rewritten() {
    let mut world = World::start(1, new_disk(1), with_repack(), 8);
    fill(&mut world, 150);
    world.settle();
    let before = world.journal.size().bytes;
    delete(&mut world, 1000);
    tidy_up(&mut world);
    let size = world.journal.size();
    assert!(4 <= size.tidied.repacked, "{size:?}");
    assert!(size.bytes < before / 2, "{before} {size:?}");
    assert_eq!(size.dead_bytes, 0);
    let all: Vec<u32> = (0..150).collect();
    assert_eq!(numbers(&world.values(1)), all);
    assert_eq!(world.values(2).len(), 150);
    let files = sorted_files(&world.disk, &with_repack());
    assert_eq!(files.len() as u64, size.tidied.repacked);
    assert!(files.iter().all(|(_, bytes)| *bytes < SEGMENT_BYTES / 2));
    let mut world = world.crash_and_start(2, with_repack(), 8);
    assert_eq!(numbers(&world.values(1)), all);
    fill(&mut world, 20);
    assert_eq!(world.values(1).len(), 170);
    assert_eq!(world.journal.size().tidied.repacked, 0);
}

/// The bound that operators are told: a look, and then one segment after the other, one for each tick at least.
#[test]
fn the_space_of_a_deleted_topic_is_back_after_a_tick_for_each_segment() {
    for seed in seeds(10) {
        let mut world = World::start(seed, new_disk(seed), with_repack(), 8);
        fill(&mut world, 150);
        world.settle();
        let sealed = world.journal.inner.borrow().sealed.len() as u64;
        assert!(4 < sealed, "SEED={seed}");
        delete(&mut world, 1000);
        for second in 0..=sealed {
            world.tidy(100 + second);
        }
        let size = world.journal.size();
        assert_eq!(size.dead_bytes, 0, "SEED={seed}");
        // What is left: one small file for each, the segment in use, and those that are prepared.
        let most = sealed * 80_000 + 4 * SEGMENT_BYTES;
        assert!(size.bytes <= most, "SEED={seed} {size:?}");
    }
}

#[test]
fn what_is_rewritten_may_die_too() {
    let mut world = World::start(1, new_disk(1), with_repack(), 8);
    fill(&mut world, 150);
    delete(&mut world, 1000);
    tidy_up(&mut world);
    let once = world.journal.size();
    delete(&mut world, 1002);
    for seconds in 40..80 {
        world.tidy(seconds * 100);
    }
    let twice = world.journal.size();
    assert!(once.tidied.repacked < twice.tidied.repacked);
    assert!(twice.bytes < once.bytes);
    assert_eq!(world.values(1).len(), 150);
    // The last of them: whole segments are given back from the front.
    let journal = world.journal.clone();
    let all = journal.truncate(TopicIndex(1), Offset(u64::MAX), None);
    world.executor.wait(all).unwrap().unwrap();
    for seconds in 80..120 {
        world.tidy(seconds * 100);
    }
    let size = world.journal.size();
    assert!(size.segments <= 5, "{size:?}");
    assert_eq!(world.disk.paths().len() as u64, size.segments);
    world.store(&[event(1, "more")]);
    let mut world = world.crash_and_start(2, with_repack(), 8);
    assert_eq!(world.values(1), ["more"].map(Vec::from));
}

#[test]
fn origins_and_types_stay_with_what_is_alive() {
    use super::super::super::format::origin::Origins;
    use super::super::super::format::section::Frame;
    use super::super::super::format::segment::HEADER_BYTES;
    let mut world = World::start(1, new_disk(1), with_repack(), 8);
    fill(&mut world, 100);
    delete(&mut world, 1000);
    tidy_up(&mut world);
    let files = sorted_files(&world.disk, &with_repack());
    let bytes = world.disk.contents(&files[0].0).unwrap();
    let (mut position, mut records) = (HEADER_BYTES, 0);
    while let Ok(frame) = Frame::check(&bytes[position..]) {
        position += frame.header.padded_bytes();
        let batches = frame.batches().unwrap();
        if batches.is_empty() {
            continue;
        }
        let origins = frame.section(super::super::super::format::frame::SectionKind::ORIGINS);
        let origins = Origins::read(origins.unwrap()).unwrap();
        assert_eq!(origins.batches.len(), batches.len());
        for ((row, _), runs) in batches.iter().zip(&origins.batches) {
            let told: u32 = runs.iter().map(|run| run.records).sum();
            assert_eq!(told, row.records);
            records += told;
        }
        assert!(origins.rows.iter().all(|row| row.conn_id == b"phone"));
    }
    assert!(20 < records);
}

#[test]
fn a_damaged_segment_is_left_as_it_is() {
    let mut world = World::start(1, new_disk(1), with_repack(), 8);
    fill(&mut world, 150);
    world.settle();
    let found = look(&world.disk, &with_repack()).unwrap();
    let name = &found.sealed[1].name;
    assert!(world.disk.flip(name, (SEGMENT_BYTES / 2) * 8));
    delete(&mut world, 1000);
    tidy_up(&mut world);
    let tidied = world.journal.size().tidied;
    assert_eq!(tidied.unfit, 1);
    assert!(3 <= tidied.repacked);
    let files = sorted_files(&world.disk, &with_repack());
    assert!(files.iter().all(|(file, _)| file != name));
    assert_eq!(world.journal.fault(), None);
}

#[test]
fn a_damaged_rewritten_segment_is_told_and_not_served() {
    let mut world = World::start(1, new_disk(1), with_repack(), 8);
    fill(&mut world, 150);
    delete(&mut world, 1000);
    tidy_up(&mut world);
    let disk = world.disk.crash(&mut Random::new(1));
    let files = sorted_files(&disk, &with_repack());
    let (name, bytes) = &files[1];
    assert!(disk.flip(name, (bytes - FOOTER_BYTES as u64 + 20) * 8));
    let Err(error) = look(&disk, &with_repack()) else {
        panic!("it starts without a footer that says where it goes on");
    };
    assert!(error.to_string().contains(name.as_str()), "{error}");
}

#[test]
fn a_full_disk_leaves_the_segment_for_later() {
    let mut world = World::start(1, new_disk(1), with_repack(), 8);
    fill(&mut world, 150);
    world.settle();
    let taken = world.journal.size().bytes;
    world.disk.set_behaviour(Behaviour {
        capacity: Some(taken + 8_192),
        ..Behaviour::default()
    });
    delete(&mut world, 1000);
    world.tidy(100);
    let paths = world.disk.paths();
    assert!(!paths.iter().any(|path| path.ends_with(".sorted")));
    assert_eq!(world.journal.size().tidied.repacked, 0);
    world.disk.set_behaviour(Behaviour::default());
    tidy_up(&mut world);
    assert!(3 <= world.journal.size().tidied.repacked);
    assert_eq!(world.values(1).len(), 150);
}

#[test]
fn readers_do_not_notice() {
    for seed in seeds(10) {
        let mut world = World::start(seed, new_disk(seed), with_repack(), 8);
        fill(&mut world, 100);
        delete(&mut world, 1000);
        let all: Vec<u32> = (0..100).collect();
        for seconds in 1..20 {
            world
                .journal
                .tidy(Micros(1_600_000_000_000_000 + seconds * 100_000_000));
            // The tidier runs while this reads.
            assert_eq!(numbers(&world.values(1)), all, "SEED={seed}");
        }
    }
}

/// Every step of the work is a place for the power to go.
#[test]
fn a_crash_at_any_step_leaves_the_old_or_the_new() {
    let (mut before, mut after) = (0, 0);
    for seed in seeds(60) {
        let mut random = Random::new(seed);
        let mut world = World::start(seed, new_disk(seed), with_repack(), 8);
        fill(&mut world, 60);
        delete(&mut world, 1000);
        let steps = random.below(300);
        world
            .journal
            .tidy(Micros(1_600_000_000_000_000 + 1_000_000_000));
        let never = std::future::pending::<()>();
        let _ = world.executor.wait_at_most(steps, never);
        let disk = world.disk.crash(&mut random);
        if sorted_files(&disk, &with_repack()).is_empty() {
            before += 1;
        } else {
            after += 1;
        }
        let mut world = World::start(random.draw(), disk, with_repack(), 8);
        let all: Vec<u32> = (0..60).collect();
        assert_eq!(numbers(&world.values(1)), all, "SEED={seed}");
        assert_eq!(world.values(2).len(), 60, "SEED={seed}");
        tidy_up(&mut world);
        fill(&mut world, 10);
        assert_eq!(world.values(1).len(), 70, "SEED={seed}");
        let paths = world.disk.paths();
        assert!(
            !paths.iter().any(|path| path.ends_with(".sorted")),
            "{paths:?}"
        );
        assert!(!sorted_files(&world.disk, &with_repack()).is_empty());
    }
    assert!(5 < before && 5 < after, "{before} before, {after} after");
}

#[test]
fn a_failure_on_the_way_harms_nothing() {
    for seed in seeds(60) {
        let mut random = Random::new(seed);
        let mut world = World::start(seed, new_disk(seed), with_repack(), 8);
        fill(&mut world, 60);
        delete(&mut world, 1000);
        let kinds = [
            Operation::Read,
            Operation::Write,
            Operation::Flush,
            Operation::Name,
        ];
        let kind = kinds[random.below(4) as usize];
        world.disk.fail_after(kind, random.below(5));
        world.tidy(1_000);
        let mut disk = world.disk.crash(&mut random);
        // The failure may come at the start, which is then tried again.
        let mut world = loop {
            match World::try_start(random.draw(), disk.clone(), with_repack(), 8) {
                Ok(world) => break world,
                Err(_) => disk = disk.crash(&mut random),
            }
        };
        let all: Vec<u32> = (0..60).collect();
        assert_eq!(numbers(&world.values(1)), all, "SEED={seed} {kind:?}");
    }
}

#[test]
fn retired_segments_leave_in_their_order_whatever_their_size() {
    let mut world = World::start(1, new_disk(1), with_repack(), 8);
    // The first segment stays as it was written, those behind it are rewritten, so they are smaller.
    for number in 0..40u32 {
        world.store(&[event(3, vec![number as u8; 20_000])]);
    }
    fill(&mut world, 100);
    delete(&mut world, 1000);
    tidy_up(&mut world);
    assert!(!sorted_files(&world.disk, &with_repack()).is_empty());
    for topic in [1001, 1002, 1003] {
        delete(&mut world, topic);
    }
    for seconds in 40..60 {
        world.tidy(seconds * 100);
        let crashed = world.disk.copy_after_crash(&mut Random::new(seconds));
        look(&crashed, &with_repack()).unwrap();
    }
    let held = world.journal.inner.borrow().held();
    assert!(held < 3, "all but the newest segments are retired");
    assert_eq!(in_use(&world.disk, &with_repack()), held);
}
