//! Damage on one volume is repaired from another, and a copy that is behind gets what it lacks.

use super::super::super::format::segment::SegmentHeader;
use super::*;

#[test]
fn volumes_damaged_in_different_frames_heal_each_other() {
    let mut healed = 0;
    for seed in seeds(16) {
        let mut random = Random::new(seed);
        let (mut volumes, _, model) = some_history(seed, 3);
        volumes.remove(&(seed as u32 % 3));
        let all = frames(volumes.values().next().unwrap());
        if all.len() < 6 {
            continue;
        }
        healed += 1;
        // The last frame is not proven, and a tear there is no damage.
        let (one, two) = all[..all.len() - 2].split_at(all.len() / 2);
        for (disk, frames) in volumes.values().zip([one, two]) {
            for _ in 0..=random.below(3) {
                let chosen = &frames[random.below(frames.len() as u64) as usize];
                damage(disk, chosen, &mut random);
            }
        }
        let mut world = start(seed, &volumes, &Permissions::default())
            .unwrap_or_else(|reason| panic!("SEED={seed}: {reason}"));
        assert!(!world.notes.is_empty());
        assert!(world.to_rebuild.is_empty());
        world.check(&model, seed);
        assert_same_end(&world.crash(&mut random));
    }
    assert!(5 < healed, "{healed}");
}

#[test]
fn a_damaged_header_is_repaired_from_another_copy_or_from_its_first_frame() {
    for count in [1, 2] {
        let (volumes, _, model) = some_history(38, count);
        let name = look(&volumes[&0])
            .walked
            .last()
            .unwrap()
            .segment
            .name
            .clone();
        assert!(volumes[&0].flip(&name, 50 * 8));
        let mut world = start(1, &volumes, &Permissions::default()).unwrap();
        assert!(world.notes[0].contains(&name), "{:?}", world.notes);
        world.check(&model, 1);
    }
}

/// As a disk leaves it that loses the write of a segment's header and says that it is done.
#[test]
fn a_header_that_was_not_written_is_repaired_from_another_copy_or_from_its_first_frame() {
    let mut healed = 0;
    for count in [1, 2] {
        let (volumes, _, model) = some_history(38, count);
        let found = look(&volumes[&0]);
        let sealed = found.sealed.into_iter();
        let walked = found.walked.into_iter().map(|walked| walked.segment);
        let mut names: Vec<_> = sealed.chain(walked).map(|one| one.name).collect();
        names.reverse();
        for name in names {
            let mut volumes = volumes.clone();
            for disk in volumes.values_mut() {
                *disk = disk.copy();
            }
            let block = volumes[&0].contents(&name).unwrap();
            let mut header = SegmentHeader::decode(&block).unwrap();
            header.opening = None;
            let mut block = vec![0; BLOCK];
            header.encode(&mut block);
            assert!(volumes[&0].put(&name, 0, &block));
            let mut world = start(1, &volumes, &Permissions::default()).unwrap();
            assert!(world.notes[0].contains(&name), "{:?}", world.notes);
            world.check(&model, 1);
            healed += 1;
        }
    }
    assert!(2 < healed, "{healed}");
}

/// Order in the configuration, and having more files, count for nothing.
#[test]
fn a_volume_that_missed_the_last_frames_never_wins() {
    for seed in seeds(12) {
        let mut random = Random::new(seed);
        let (now, older, model) = some_history(seed, 3);
        let behind = seed as u32 % 3;
        let mut volumes = now;
        volumes.insert(behind, older[&behind].clone());
        // It is longer than the others: another file in reserve.
        let found = look(&volumes[&behind]);
        let last = format!("{FOLDER}/{:08x}.seg", found.file_max.unwrap() + 7);
        let disk = volumes[&behind].clone();
        let source = disk.contents(&found.spare.first().unwrap().name).unwrap();
        let made = Executor::new(1).wait(async {
            let file = disk.create(&last).await?;
            disk.write(&file, 0, Rc::new(source)).await?;
            disk.flush(&file).await?;
            disk.flush_folder(FOLDER).await
        });
        made.unwrap().unwrap();
        let mut world = start(seed, &volumes, &Permissions::default())
            .unwrap_or_else(|reason| panic!("SEED={seed}: {reason}"));
        world.check(&model, seed);
        world.store(&mut model.clone(), &mut random, 3);
        world.executor.settle();
        let mut after = world.crash(&mut random);
        if world_is_whole(&after) {
            assert_same_end(&after);
        }
        // The one that was behind is as good as the others now.
        let dropped = (behind + 1) % 3;
        after.remove(&dropped);
        start(seed, &after, &Permissions::default())
            .unwrap_or_else(|reason| panic!("SEED={seed}: {reason}"))
            .check(&model, seed);
    }
}

fn world_is_whole(volumes: &Volumes) -> bool {
    volumes.values().all(|disk| {
        Executor::new(0)
            .wait(recover(disk, FOLDER, IDENTITY))
            .unwrap()
            .is_ok()
    })
}

#[test]
fn a_volume_far_behind_is_left_to_a_rebuild() {
    let mut random = Random::new(5);
    let (mut world, mut model) = (World::new(5, 3), Model::new());
    world.store(&mut model, &mut random, 10);
    let old = world.volumes[&1].copy_after_crash(&mut random);
    world.store(&mut model, &mut random, 400);
    let mut volumes = world.crash(&mut random);
    let before = old.paths();
    volumes.insert(1, old.clone());
    let mut world = start(5, &volumes, &Permissions::default()).unwrap();
    assert_eq!(world.to_rebuild, [1]);
    world.check(&model, 5);
    assert_eq!(old.paths(), before);
    // It is no member any more: alone it does not start, whatever is allowed of the others.
    let after = world.crash(&mut random);
    let alone = Volumes::from([(1, after[&1].clone())]);
    assert!(start(5, &alone, &Permissions::default()).is_err());
}

#[test]
fn a_lost_segment_file_is_made_again_from_another_copy() {
    for seed in seeds(6) {
        let (volumes, _, model) = some_history(seed, 3);
        let found = look(&volumes[&2]);
        let walked = found.walked.iter().map(|walked| &walked.segment);
        let all: Vec<String> = found
            .sealed
            .iter()
            .chain(walked)
            .chain(&found.spare)
            .map(|segment| segment.name.clone())
            .collect();
        let chosen = &all[seed as usize % all.len()];
        let removed = Executor::new(1).wait(async {
            volumes[&2].remove(chosen).await?;
            volumes[&2].flush_folder(FOLDER).await
        });
        removed.unwrap().unwrap();
        let mut world = start(seed, &volumes, &Permissions::default()).unwrap();
        assert!(world.to_rebuild.is_empty(), "SEED={seed}");
        world.check(&model, seed);
        let mut after = world.crash(&mut Random::new(seed));
        after.remove(&0);
        start(seed, &after, &Permissions::default())
            .unwrap_or_else(|reason| panic!("SEED={seed}: {reason}"))
            .check(&model, seed);
    }
}

#[test]
fn what_is_acknowledged_is_found_when_no_copy_has_all_of_it() {
    let mut met = 0;
    for seed in seeds(30) {
        let Some((volumes, model)) = scattered(seed) else {
            continue;
        };
        met += 1;
        let started = start(seed, &volumes, &Permissions::default());
        let mut world = started.unwrap_or_else(|reason| panic!("SEED={seed}: {reason}"));
        world.check(&model, seed);
    }
    assert!(0 < met, "two frames are in flight at times");
}
