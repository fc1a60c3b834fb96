//! Volumes absent, empty, old, damaged and torn, in every order.

use super::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Whole,
    Absent,
    /// As a volume that was made anew, under a number of its own.
    Empty,
    Older,
    Damaged,
    /// Its last frame is not whole.
    Torn,
}

const FATES: [Fate; 6] = [
    Fate::Whole,
    Fate::Absent,
    Fate::Empty,
    Fate::Older,
    Fate::Damaged,
    Fate::Torn,
];

fn meet(fates: [Fate; 3], now: &Volumes, older: &Volumes, seed: u64) -> Volumes {
    let mut random = Random::new(seed);
    let mut volumes = Volumes::new();
    let all = frames(&now[&0]);
    let third = (all.len() - 2) / 3;
    for (volume, fate) in (0..).zip(fates) {
        let disk = now[&volume].copy_after_crash(&mut random);
        let (number, disk) = match fate {
            Fate::Absent => continue,
            Fate::Empty => (volume + 10, new_disk(seed)),
            Fate::Older => (volume, older[&volume].copy_after_crash(&mut random)),
            Fate::Whole => (volume, disk),
            Fate::Damaged => {
                let at = volume as usize * third + random.below(third as u64) as usize;
                damage(&disk, &all[at], &mut random);
                (volume, disk)
            }
            Fate::Torn => {
                let (name, last) = all.last().unwrap();
                assert!(disk.flip(name, (last.position + 40) * 8));
                (volume, disk)
            }
        };
        volumes.insert(number, disk);
    }
    volumes
}

/// Volumes on which a frame may be missing for ever.
fn bad(fates: [Fate; 3]) -> usize {
    let is_bad = |fate: &&Fate| matches!(fate, Fate::Absent | Fate::Empty);
    fates.iter().filter(is_bad).count()
}

#[test]
fn every_order_starts_with_everything_or_stops() {
    for seed in seeds(1) {
        let (now, older, model) = some_history(seed, 3);
        let mut started = 0;
        for number in 0..FATES.len().pow(3) {
            let pick = |digit: usize| FATES[number / FATES.len().pow(digit as u32) % FATES.len()];
            let fates = [pick(0), pick(1), pick(2)];
            let volumes = meet(fates, &now, &older, seed);
            if bad(fates) == 3 {
                // Nothing says that there was anything.
                continue;
            }
            // An older copy pretends to be sound: two of them outvote what was acknowledged.
            let has_newest = fates
                .iter()
                .any(|fate| matches!(fate, Fate::Whole | Fate::Torn));
            let damaged = fates.iter().filter(|fate| **fate == Fate::Damaged).count();
            match start(seed, &volumes, &Permissions::default()) {
                Ok(mut world) if has_newest || 2 <= damaged => {
                    started += 1;
                    world.check(&model, seed);
                }
                Ok(_) => assert!(fates.contains(&Fate::Older), "SEED={seed} {fates:?}"),
                Err(reason) => {
                    let enough = has_newest && bad(fates) < 2;
                    assert!(!enough, "SEED={seed} {fates:?}: {reason}");
                }
            }
        }
        assert!(90 < started, "{started}");
    }
}

#[test]
fn too_many_absent_members_are_named_and_can_be_excused() {
    let (mut volumes, _, model) = some_history(3, 3);
    volumes.retain(|volume, _| *volume == 1);
    let before: Vec<_> = volumes[&1].paths();
    let reason = start(3, &volumes, &Permissions::default()).err().unwrap();
    assert!(
        reason.contains("volume 0 is absent, volume 2 is absent"),
        "{reason}"
    );
    assert_eq!(volumes[&1].paths(), before);
    let one = Permissions {
        without: vec![2],
        ..Permissions::default()
    };
    let error = try_reconcile(members(&volumes), &one);
    // One that is absent without an excuse is fewer than two.
    error.unwrap_or_else(|error| panic!("{error}"));
    let both = Permissions {
        without: vec![0, 2],
        ..Permissions::default()
    };
    let mirror = try_reconcile(members(&volumes), &both).unwrap();
    assert_eq!(mirror.mirror.members(), [1]);
    drop(model);
}

#[test]
fn a_volume_that_was_taken_out_of_service_does_not_come_back_by_itself() {
    let (volumes, _, mut model) = some_history(4, 3);
    let mut random = Random::new(4);
    let mut two = volumes.clone();
    two.remove(&2);
    let mut world = start(4, &two, &Permissions::default()).unwrap();
    world.store(&mut model, &mut random, 5);
    let mut all = world.crash(&mut random);
    all.insert(2, volumes[&2].clone());
    let mut world = start(4, &all, &Permissions::default()).unwrap();
    assert_eq!(world.to_rebuild, [2]);
    assert_eq!(world.journal.fault(), None);
    world.check(&model, 4);
    // What was acknowledged then is on both members: one of them is enough.
    let last = world.crash(&mut random);
    let some = Volumes::from([(0, last[&0].clone()), (2, last[&2].clone())]);
    start(4, &some, &Permissions::default())
        .unwrap()
        .check(&model, 4);
    let other = Volumes::from([(2, last[&2].clone())]);
    assert!(start(4, &other, &Permissions::default()).is_err());
}

#[test]
fn a_journal_that_was_not_copied_to_a_new_volume_does_not_begin_there() {
    use super::super::super::store::open_volumes;
    let disks = [new_disk(1), new_disk(2)];
    let place = |index: usize| (Rc::from(format!("/v{index}")), disks[index].clone());
    let open = |places| {
        let opened = Executor::new(1).wait(open_volumes(places, 1, SEGMENT_BYTES, || 0xbeef));
        opened.unwrap().unwrap().members
    };
    open(vec![place(0)]);
    let both = open(vec![place(0), place(1)]);
    let begun = try_reconcile(both, &Permissions::default()).unwrap();
    assert_eq!(begun.mirror.members(), [0]);
    let error = try_reconcile(open(vec![place(1)]), &Permissions::default()).err();
    assert!(matches!(error, Some(ReconcileError::NotCopied { .. })));
}

#[test]
fn a_segment_of_another_store_is_refused_by_name_and_not_written_to() {
    let (volumes, _, _) = some_history(6, 2);
    let other = Identity {
        store: StoreId(1),
        ..IDENTITY
    };
    let paths: Vec<_> = volumes[&0].paths();
    let bytes: Vec<_> = paths
        .iter()
        .map(|path| volumes[&0].contents(path))
        .collect();
    let permissions = Permissions::default();
    let reconciling = reconcile(members(&volumes), FOLDER, other, rules(2), &permissions);
    let error = Executor::new(1).wait(reconciling).unwrap().err().unwrap();
    assert!(error.to_string().contains("/v0"), "{error}");
    let after: Vec<_> = paths
        .iter()
        .map(|path| volumes[&0].contents(path))
        .collect();
    assert_eq!(after, bytes);
}
