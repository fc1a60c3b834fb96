//! Segments that are rewritten on several volumes.

use super::super::super::format::segment::Kind;
use super::super::super::reconcile::{Permissions, Reconciled, reconcile};
use super::volumes::*;
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

/// Much of topic 0, which is deleted, and a little of topic 1; and the tidier at work.
fn filled(seed: u64, count: u32) -> Volumes {
    let mut world = Volumes::new(seed, 3, rules(2, (seed % 3) as u32), with_repack());
    tend(&mut world);
    for number in 0..count {
        let mut value = number.to_le_bytes().to_vec();
        value.resize(20_000, 9);
        world.store(0, value);
        world.store(1, number.to_le_bytes().to_vec());
    }
    let journal = world.journal.clone();
    world.wait(journal.delete(&[TopicId(1000)])).unwrap();
    world
}

fn tend(world: &mut Volumes) {
    let mut tidier = world.journal.tidier(pace(2));
    world.executor.spawn(async move { tidier.run().await });
}

fn tidy(world: &mut Volumes, rounds: u64) {
    for round in 1..=rounds {
        let now = 1_600_000_000_000_000 + round * 100_000_000;
        world.journal.tidy(Micros(now));
        world.executor.settle();
    }
}

fn sorted(disk: &SimulatedDisk) -> Vec<String> {
    let found = look(disk, &with_repack()).unwrap().sealed.into_iter();
    let sorted = found.filter(|segment| segment.kind == Kind::Sorted);
    sorted.map(|segment| segment.name).collect()
}

/// The values of topic 1 as this volume alone has them.
fn alone(disk: &SimulatedDisk, seed: u64) -> Vec<Vec<u8>> {
    let disk = disk.copy_after_crash(&mut Random::new(seed));
    World::start(seed, disk, with_repack(), TOPICS as usize).values(1)
}

fn all(count: u32) -> Vec<Vec<u8>> {
    (0..count)
        .map(|number| number.to_le_bytes().to_vec())
        .collect()
}

fn start(seed: u64, disks: &BTreeMap<u32, SimulatedDisk>) -> Reconciled<SimulatedDisk> {
    let identity = Identity {
        store: settings().store,
        journal: settings().journal,
        segment_bytes: settings().segment_bytes,
    };
    let members = disks.iter().map(|(volume, disk)| member(*volume, disk));
    let (members, permissions) = (members.collect(), Permissions::default());
    let started = reconcile(members, FOLDER, identity, rules(2, 0), &permissions);
    let started = Executor::new(seed)
        .wait(started)
        .expect("it comes to an end");
    started.unwrap_or_else(|reason| panic!("SEED={seed}: {reason}"))
}

fn assert_alike(disks: &BTreeMap<u32, SimulatedDisk>, seed: u64) {
    let first = &disks[&0];
    for other in disks.values() {
        assert_eq!(first.paths(), other.paths(), "SEED={seed}");
        for name in sorted(first) {
            let same = first.contents(&name) == other.contents(&name);
            assert!(same, "SEED={seed}: {name}");
        }
        assert_eq!(sorted(first), sorted(other), "SEED={seed}");
    }
}

#[test]
fn a_segment_is_rewritten_on_all_volumes_alike() {
    for seed in seeds(6) {
        let mut world = filled(seed, 60);
        tidy(&mut world, 30);
        assert_eq!(world.mirror.members().len(), 3, "SEED={seed}");
        assert!(1 < world.journal.size().tidied.repacked, "SEED={seed}");
        assert_alike(&world.disks, seed);
        for disk in world.disks.values() {
            assert_eq!(alone(disk, seed), all(60), "SEED={seed}");
        }
    }
}

#[test]
fn what_decays_in_a_rewritten_segment_is_repaired_from_another_volume() {
    for seed in seeds(30) {
        let mut random = Random::new(seed);
        let mut world = filled(seed, 60);
        tidy(&mut world, 30);
        let names = sorted(&world.disks[&0]);
        let name = &names[random.below(names.len() as u64) as usize];
        let good = world.disks[&1].contents(name).unwrap();
        let end = good.len() as u64;
        // The header, the first two frames, the batches, the footer.
        let byte = match random.below(4) {
            0 => random.below(64),
            1 => 4096 + random.below(120),
            2 => 3 * 4096 + random.below(120),
            _ => end - 4096 + random.below(64),
        };
        assert!(world.disks[&0].flip(name, byte * 8 + random.below(8)));
        let journal = world.journal.clone();
        let scrubbed = world.wait(async { journal.scrub(&pace(1)).await });
        assert_eq!(
            (scrubbed.lost, scrubbed.repaired),
            (0, 1),
            "SEED={seed} byte {byte}"
        );
        assert!(
            world.disks[&0].contents(name) == Some(good),
            "SEED={seed} byte {byte}"
        );
    }
}

/// A volume that was taken for whole at the start, but for one rewritten segment.
#[test]
fn a_damaged_rewritten_segment_is_made_again_at_a_start() {
    for seed in seeds(20) {
        let mut random = Random::new(seed);
        let mut world = filled(seed, 60);
        tidy(&mut world, 30);
        world.journal.stop();
        world.executor.settle();
        let disks = crash(&world.disks, &mut random);
        let name = sorted(&disks[&0]).pop().unwrap();
        let end = disks[&0].contents(&name).unwrap().len() as u64;
        let byte = [random.below(64), end - 4096 + random.below(64)][random.below(2) as usize];
        assert!(disks[&0].flip(&name, byte * 8));
        let started = start(seed, &disks);
        assert!(started.to_rebuild.is_empty(), "SEED={seed}");
        assert!(
            started.notes.iter().any(|note| note.contains(&name)),
            "SEED={seed}"
        );
        assert_alike(&disks, seed);
        assert_eq!(alone(&disks[&0], seed), all(60), "SEED={seed}");
    }
}

fn crash(
    disks: &BTreeMap<u32, SimulatedDisk>,
    random: &mut Random,
) -> BTreeMap<u32, SimulatedDisk> {
    let crash = |(volume, disk): (&u32, &SimulatedDisk)| (*volume, disk.copy_after_crash(random));
    disks.iter().map(crash).collect()
}

/// How many volumes have a segment that is written beside another.
fn beside(world: &Volumes) -> usize {
    let has = |disk: &&SimulatedDisk| disk.paths().iter().any(|path| path.ends_with(".sorted"));
    world.disks.values().filter(has).count()
}

fn step(world: &mut Volumes, polls: u64) {
    let never = std::future::pending::<()>();
    let _ = world.executor.wait_at_most(polls, never);
}

#[test]
fn a_crash_in_the_middle_of_a_swap_leaves_all_volumes_the_same() {
    let (mut differed, mut swapped) = (0, 0);
    for seed in seeds(80) {
        let mut random = Random::new(seed);
        let mut world = filled(seed, 40);
        world.journal.tidy(Micros(1_600_001_000_000_000));
        // On the way to the new name, on some volumes or on all.
        while beside(&world) < 3 {
            step(&mut world, 1);
        }
        while beside(&world) == 3 {
            step(&mut world, 1);
        }
        step(&mut world, random.below(12));
        let disks = crash(&world.disks, &mut random);
        let before: Vec<_> = disks.values().map(sorted).collect();
        differed += u32::from(before.iter().any(|one| *one != before[0]));
        let started = start(seed, &disks);
        assert!(started.to_rebuild.is_empty(), "SEED={seed}");
        drop(started);
        assert_alike(&disks, seed);
        let most = before.iter().map(Vec::len).max();
        // What one volume has rewritten is not undone.
        assert_eq!(Some(sorted(&disks[&0]).len()), most, "SEED={seed}");
        swapped += most.unwrap();
        for disk in disks.values() {
            assert_eq!(alone(disk, seed), all(40), "SEED={seed}");
        }
    }
    let replay = std::env::var_os("SEED").is_some();
    assert!(
        replay || (3 < differed && 5 < swapped),
        "{differed} {swapped}"
    );
}

#[test]
fn a_file_that_only_some_volumes_have_fences_nobody() {
    let mut world = Volumes::new(1, 3, rules(2, 0), with_repack());
    // The next ones may be made just now.
    let next = world.journal.inner.borrow().next_file + 3;
    let leftovers = [
        (0, format!("{FOLDER}/00000000.seg.sorted")),
        (2, format!("{FOLDER}/{next:08x}.seg.new")),
    ];
    for (volume, path) in &leftovers {
        let disk = world.disks[volume].clone();
        let made = world.wait(async {
            let file = disk.create(path).await?;
            disk.close(file).await
        });
        made.unwrap();
    }
    tend(&mut world);
    for number in 0..100_u32 {
        world.store(1, vec![number as u8; 20_000]);
    }
    assert!(next < world.journal.inner.borrow().next_file);
    assert_eq!(world.mirror.members(), [0, 1, 2]);
    for (volume, path) in &leftovers {
        assert_eq!(world.disks[volume].contents(path), None, "{path}");
    }
}

#[test]
fn a_rebuilt_volume_has_what_is_rewritten_while_it_is_filled() {
    for seed in seeds(20) {
        let mut random = Random::new(seed);
        let mut world = filled(seed, 60);
        world.mirror.fence(1, "it was pulled out");
        world.executor.settle();
        world.journal.tidy(Micros(1_600_001_000_000_000));
        step(&mut world, random.below(1_000));
        let fresh = new_disk(seed + 7_000);
        let (journal, to) = (world.journal.clone(), member(3, &fresh));
        world.disks.remove(&1);
        world.disks.insert(3, fresh);
        world
            .wait(async { journal.rebuild(&to, &pace(2)).await })
            .unwrap();
        tidy(&mut world, 30);
        assert_eq!(world.mirror.members(), [0, 2, 3], "SEED={seed}");
        assert!(0 < world.journal.size().tidied.repacked, "SEED={seed}");
        assert_alike(&world.disks, seed);
        assert_eq!(alone(&world.disks[&3], seed), all(60), "SEED={seed}");
    }
}
