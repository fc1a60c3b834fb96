//! Bytes decay on one volume, or on all.

use super::volumes::*;
use super::*;
use crate::limit::BLOCK_BYTES;

/// A journal on three volumes with several sealed segments, and the names of these.
fn filled(seed: u64, retention: Option<u64>) -> (Volumes, Vec<String>) {
    let settings = Settings {
        segment_bytes: 160 << 10,
        retention_bytes: retention,
        ..settings()
    };
    let mut world = Volumes::new(seed, 3, rules(2, 0), settings);
    for number in 0..40_u32 {
        let mut value = number.to_le_bytes().to_vec();
        value.resize(12_000, 7);
        world.store(number % TOPICS, value);
    }
    let names: Vec<_> = {
        let inner = world.journal.inner.borrow();
        let sealed = inner.sealed.iter();
        sealed.map(|sealed| sealed.name.clone()).collect()
    };
    assert!(1 < names.len());
    (world, names)
}

fn scrub(world: &mut Volumes) -> super::super::Scrubbed {
    let journal = world.journal.clone();
    let scrubbed = world.wait(async { journal.scrub(&pace(1)).await });
    world.executor.settle();
    scrubbed
}

#[test]
fn what_decays_on_one_volume_is_repaired_from_another() {
    for seed in seeds(40) {
        let mut random = Random::new(seed);
        let (mut world, names) = filled(seed, None);
        let good: Vec<_> = names
            .iter()
            .map(|name| world.disks[&0].contents(name))
            .collect();
        for _ in 0..=random.below(4) {
            let volume = random.below(3) as u32;
            let name = &names[random.below(names.len() as u64) as usize];
            match random.below(4) {
                // A header, a footer, any bit of the frames, or whole blocks.
                0 => world.disks[&volume].flip(name, random.below(64 * 8)),
                1 => {
                    let end = world.settings.segment_bytes * 8;
                    world.disks[&volume].flip(name, end - 4096 * 8 + random.below(64 * 8))
                }
                2 => world.disks[&volume].flip(name, (4096 + random.below(100_000)) * 8),
                _ => {
                    let block = 1 + random.below(24);
                    world.disks[&volume].put(name, block * BLOCK_BYTES, &[0x5a; 4096])
                }
            };
            let first = scrub(&mut world);
            assert_eq!(first.lost, 0, "SEED={seed}");
        }
        for (name, good) in names.iter().zip(&good) {
            let Some(good) = good else { continue };
            for volume in 0..3 {
                let now = world.disks[&volume].contents(name).unwrap();
                let same = now
                    .iter()
                    .zip(good)
                    .filter(|(now, good)| now != good)
                    .count();
                // A bit that means nothing, in padding behind a footer's index, is nobody's.
                assert!(same <= 1, "SEED={seed}: {name} on volume {volume}: {same}");
            }
        }
        let again = scrub(&mut world);
        assert_eq!(again.repaired, world.journal.scrubbed().repaired);
        assert_eq!(world.mirror.members(), [0, 1, 2]);
    }
}

#[test]
fn a_place_that_cannot_be_read_is_written_anew() {
    let (mut world, _) = filled(1, None);
    world.disks[&1].fail_after(super::super::super::simulated::Operation::Read, 1);
    let scrubbed = scrub(&mut world);
    assert_eq!(
        (scrubbed.repaired, scrubbed.lost, scrubbed.passes),
        (1, 0, 1)
    );
    assert!(3 * 2 * (100 << 10) < scrubbed.bytes);
}

#[test]
fn what_is_damaged_everywhere_is_counted_and_never_served() {
    let (mut world, names) = filled(1, None);
    for volume in 0..3 {
        world.disks[&volume].put(&names[0], 10 * BLOCK_BYTES, &[0x5a; 4096]);
    }
    for _ in 0..2 {
        let scrubbed = scrub(&mut world);
        assert_eq!(
            (scrubbed.repaired, scrubbed.lost),
            (0, 3),
            "one for each copy"
        );
    }
    let told = world.journal.take_decay();
    let told: Vec<_> = told
        .iter()
        .map(|one| (one.volume, one.file.as_str(), one.position, one.is_repaired))
        .collect();
    let frame = told[0].2;
    assert!(frame <= 10 * BLOCK_BYTES);
    let each = |volume| (volume, names[0].as_str(), frame, false);
    assert_eq!(told, [0, 1, 2].map(each), "each is told once");
    let journal = world.journal.clone();
    let mut damaged = 0;
    for topic in 0..TOPICS {
        let read = world.wait(journal.read(TopicIndex(topic), Offset(0), 100, 1 << 20));
        damaged += u32::from(matches!(read, Err(ReadError::Damaged(_))));
    }
    assert_eq!(damaged, 1);
}

#[test]
fn a_reader_takes_the_good_copy_and_has_the_bad_one_repaired() {
    for seed in seeds(20) {
        let mut random = Random::new(seed);
        let (mut world, names) = filled(seed, None);
        let block = 3 + random.below(20);
        for volume in [0, 1] {
            world.disks[&volume].put(&names[0], block * BLOCK_BYTES, &[0x5a; 4096]);
        }
        let journal = world.journal.clone();
        for topic in 0..TOPICS {
            let read = world.wait(journal.read(TopicIndex(topic), Offset(0), 100, 1 << 20));
            assert_eq!(
                read.unwrap().len(),
                14 - usize::from(topic > 0),
                "SEED={seed}"
            );
        }
        assert_eq!(journal.suspects(), 1);
        world.wait(async { journal.repair_suspects(&pace(1)).await });
        assert_eq!(journal.suspects(), 0);
        assert_eq!(journal.scrubbed().repaired, 2, "SEED={seed}");
        let told = journal.take_decay();
        assert!(
            told.iter()
                .all(|one| one.is_repaired && one.file == names[0])
        );
        assert_eq!(
            told.iter().map(|one| one.volume).collect::<Vec<_>>(),
            [0, 1]
        );
        let copies = (0..3).map(|volume| world.disks[&volume].contents(&names[0]));
        let copies: Vec<_> = copies.collect();
        assert!(copies.windows(2).all(|pair| pair[0] == pair[1]));
    }
}

#[test]
fn segments_that_go_while_they_are_scrubbed_are_not_lost() {
    for seed in seeds(20) {
        let (mut world, names) = filled(seed, Some(5 * (160 << 10)));
        // What is damaged there is of no use any more when its file has gone to another.
        for block in 2..30 {
            world.disks[&1].put(&names[0], block * BLOCK_BYTES, &[0x5a; 16]);
        }
        let journal = world.journal.clone();
        let scrub = async { journal.scrub(&pace(seed * 9)).await };
        let load = async {
            for number in 0..120_u32 {
                let event = event(number % TOPICS, vec![3; 12_000]);
                append(&journal, &[event]).await.unwrap();
                pause(10).await;
            }
        };
        let both = futures_util::future::join(scrub, load);
        let (scrubbed, ()) = world.wait(both);
        assert_eq!(scrubbed.lost, 0, "SEED={seed}");
        assert!(4 < world.journal.size().recycled);
        world.executor.settle();
        let (first, second) = (&world.disks[&0], &world.disks[&1]);
        for sealed in &world.journal.inner.borrow().sealed {
            let same = first.contents(&sealed.name) == second.contents(&sealed.name);
            assert!(same, "SEED={seed}: {}", sealed.name);
        }
    }
}
