//! What the mirror promises, on simulated disks. Every test with many runs is a function of its seeds.

mod order;

use super::super::disk::Disk;
use super::super::simulated::{Behaviour, Executor, Operation, Random, SimulatedDisk, run};
use super::{Member, Mirror, MirrorFile, Rules, State, is_too_few};
use std::io;
use std::rc::Rc;

const BLOCK: usize = 4096;
const PATH: &str = "folder/file";

type Files = MirrorFile<SimulatedDisk>;

struct World {
    executor: Executor,
    disks: Vec<SimulatedDisk>,
    mirror: Mirror<SimulatedDisk>,
}

fn rules(volumes_min: u32, durable_volumes: u32) -> Rules {
    Rules {
        volumes_min,
        durable_volumes,
        lag_bytes_max: 1 << 30,
    }
}

fn name(volume: usize) -> Rc<str> {
    format!("/v{volume}").into()
}

fn member(volume: usize, disk: &SimulatedDisk) -> Member<SimulatedDisk> {
    Member {
        volume: volume as u32,
        name: name(volume),
        disk: disk.clone(),
    }
}

impl World {
    fn new(seed: u64, volumes: u64, rules: Rules) -> Self {
        let new = |volume| SimulatedDisk::new(seed * 31 + volume, Behaviour::default());
        let disks: Vec<_> = (0..volumes).map(new).collect();
        let members = disks.iter().enumerate();
        let members = members.map(|(volume, disk)| member(volume, disk));
        let (mirror, tender) = Mirror::new(members.collect(), rules);
        let mut executor = Executor::new(seed);
        executor.spawn(tender.run());
        executor.settle();
        Self {
            executor,
            disks,
            mirror,
        }
    }

    fn wait<T>(&mut self, future: impl Future<Output = T>) -> T {
        self.executor.wait(future).expect("it comes to an end")
    }

    /// A file of so many blocks of zeros, durable on all.
    fn file(&mut self, blocks: usize) -> Rc<Files> {
        let mirror = self.mirror.clone();
        let made = self.wait(async {
            mirror.make_folder("folder").await?;
            let file = mirror.create(PATH).await?;
            let zeros = bytes(&mirror, 0, blocks);
            mirror.write(&file, 0, zeros).await?;
            mirror.flush_folder("folder").await?;
            mirror.flush(&file).await?;
            Ok::<_, io::Error>(file)
        });
        self.executor.settle();
        Rc::new(made.unwrap())
    }

    fn write(&mut self, file: &Files, block: u64, value: u8) -> io::Result<()> {
        let mirror = self.mirror.clone();
        self.wait(write(&mirror, file, block, value))
    }

    fn read(&mut self, file: &Files, block: u64) -> u8 {
        let mirror = self.mirror.clone();
        let read = self.wait(mirror.read(file, block * BLOCK as u64, BLOCK));
        read.unwrap()[0]
    }

    /// The first byte of each block, as this volume would have it after a crash.
    fn after_crash(&self, volume: usize, seed: u64) -> Vec<u8> {
        let disk = self.disks[volume].copy_after_crash(&mut Random::new(seed));
        values(&disk)
    }

    fn states(&self) -> Vec<State> {
        let standing = self.mirror.standing();
        standing.into_iter().map(|member| member.state).collect()
    }

    fn slow_down(&self, volume: usize, polls_max: u64) {
        self.disks[volume].set_behaviour(Behaviour {
            polls_max,
            ..Behaviour::default()
        });
    }
}

fn values(disk: &SimulatedDisk) -> Vec<u8> {
    let contents = disk.contents(PATH).unwrap_or_default();
    contents.chunks(BLOCK).map(|block| block[0]).collect()
}

fn bytes(mirror: &Mirror<SimulatedDisk>, value: u8, blocks: usize) -> Rc<Vec<u8>> {
    let mut buffer = mirror.buffer(blocks * BLOCK);
    buffer.fill(value);
    mirror.freeze(buffer, blocks * BLOCK)
}

async fn write(
    mirror: &Mirror<SimulatedDisk>,
    file: &Files,
    block: u64,
    value: u8,
) -> io::Result<()> {
    let one = bytes(mirror, value, 1);
    mirror.write_durable(file, block * BLOCK as u64, one).await
}

fn is_fenced(state: &State) -> bool {
    matches!(state, State::Fenced { .. })
}

/// As a crash of the simulation drops everything.
#[test]
fn a_call_that_outlives_the_tender_keeps_nothing_alive() {
    let disks: Vec<_> = (0..2)
        .map(|seed| SimulatedDisk::new(seed, Behaviour::default()))
        .collect();
    let members = disks.iter().enumerate();
    let members = members.map(|(volume, disk)| member(volume, disk));
    let (mirror, tender) = Mirror::new(members.collect(), rules(2, 0));
    let held = Rc::downgrade(&mirror.shared);
    let mut call = Box::pin(async move { mirror.make_folder("folder").await });
    let begun = Executor::new(1).wait_at_most(1, &mut call);
    assert!(begun.is_err(), "it is on its way");
    drop(tender);
    drop(call);
    assert!(held.upgrade().is_none());
}

#[test]
fn an_error_on_one_member_fences_it_and_the_rest_acknowledges() {
    for operation in [Operation::WriteDurable, Operation::Name, Operation::Flush] {
        let mut world = World::new(1, 3, rules(2, 0));
        let file = world.file(4);
        world.disks[1].fail_after(operation, 0);
        let mirror = world.mirror.clone();
        let shift = mirror.shift();
        let done = world.wait(async {
            write(&mirror, &file, 1, 7).await?;
            mirror.rename(PATH, "folder/other").await?;
            mirror.rename("folder/other", PATH).await?;
            mirror.flush(&file).await
        });
        done.unwrap();
        assert!(shift < mirror.shift());
        assert_eq!(mirror.members(), [0, 2]);
        let state = &world.states()[1];
        assert!(matches!(state, State::Fenced { reason } if reason.contains("os error 5")));
        assert!(file.on(1).is_none(), "its handles are gone");
        world.write(&file, 2, 8).unwrap();
        for volume in [0, 2] {
            assert_eq!(world.after_crash(volume, 3), [0, 7, 8, 0]);
        }
        assert_ne!(world.after_crash(1, 3)[2], 8);
    }
}

#[test]
fn when_all_are_full_nobody_is_fenced() {
    let mut world = World::new(2, 3, rules(2, 0));
    let file = world.file(4);
    for disk in &world.disks {
        disk.set_behaviour(Behaviour {
            capacity: Some(4 * BLOCK as u64),
            ..Behaviour::default()
        });
    }
    let full = world.write(&file, 4, 1).unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    assert_eq!(world.states(), vec![State::InService; 3]);
    world.write(&file, 3, 1).unwrap();
}

#[test]
fn one_member_alone_is_a_plain_disk() {
    let mut world = World::new(3, 1, rules(1, 0));
    let file = world.file(2);
    world.write(&file, 1, 9).unwrap();
    assert_eq!(world.read(&file, 1), 9);
    world.disks[0].fail_after(Operation::WriteDurable, 0);
    let failed = world.write(&file, 1, 10).unwrap_err();
    assert_eq!(failed.raw_os_error(), Some(5));
    assert_eq!(world.states(), [State::InService]);
    world.mirror.fence(0, "wanted");
    assert_eq!(world.states(), [State::InService], "the last one stays");
    world.wait(world.mirror.clone().remove(PATH)).unwrap();
    assert_eq!(file.path(), None);
}

#[test]
fn too_few_members_acknowledge_nothing_and_are_named() {
    let mut world = World::new(4, 3, rules(2, 0));
    let file = world.file(2);
    world.mirror.fence(0, "pulled out");
    world.write(&file, 0, 1).unwrap();
    world.disks[1].fail_after(Operation::WriteDurable, 0);
    for value in [2, 3] {
        let refused = world.write(&file, 0, value).unwrap_err();
        assert!(is_too_few(&refused));
        let text = refused.to_string();
        assert!(text.contains("only 1 of 3 volumes") && text.contains("log.min_volumes is 2"));
        // It is there all the same, so that the volume that comes back gets it.
        assert_eq!(world.after_crash(2, 1)[0], value);
    }
    assert_eq!(world.read(&file, 0), 3, "reads go on");
}

#[test]
fn reads_ask_the_next_volume_when_one_cannot_answer() {
    let mut world = World::new(5, 3, rules(2, 0));
    let file = world.file(2);
    world.write(&file, 1, 5).unwrap();
    world.disks[0].fail_after(Operation::Read, 0);
    assert_eq!(world.read(&file, 1), 5);
    assert_eq!(world.states(), vec![State::InService; 3]);
    world.disks[1].put(PATH, BLOCK as u64, &[99]);
    let mirror = world.mirror.clone();
    assert_eq!(mirror.copies(), 3);
    let copies: Vec<u8> = (0..3)
        .map(|copy| world.wait(mirror.read_copy(copy, &file, BLOCK as u64, BLOCK)))
        .map(|read| read.unwrap()[0])
        .collect();
    assert_eq!(copies, [5, 99, 5]);
}

#[test]
fn a_volume_that_returns_has_every_open_file() {
    let mut world = World::new(6, 2, rules(1, 0));
    let file = world.file(2);
    world.mirror.fence(1, "pulled out");
    world.write(&file, 0, 1).unwrap();
    let fresh = world.disks[0].copy_after_crash(&mut Random::new(1));
    let mirror = world.mirror.clone();
    let admitted = world.wait(async {
        let hold = mirror.hold(0).await;
        mirror.admit(&hold, member(7, &fresh)).await
    });
    admitted.unwrap();
    assert_eq!(mirror.members(), [0, 7]);
    assert_eq!(world.states().len(), 3);
    world.write(&file, 1, 2).unwrap();
    assert_eq!(values(&fresh), [1, 2]);
    assert_eq!(values(&world.disks[1]), [0, 0]);
}

#[test]
fn nothing_begins_while_the_mirror_is_held() {
    let mut world = World::new(7, 2, rules(1, 1));
    let file = world.file(2);
    world.slow_down(1, 500);
    world.write(&file, 0, 1).unwrap();
    let mirror = world.mirror.clone();
    let hold = world.wait(mirror.hold(1));
    assert_eq!(values(&world.disks[1]), [1, 0], "it has caught up");
    let later = {
        let (mirror, file) = (mirror.clone(), file.clone());
        async move { write(&mirror, &file, 1, 2).await.unwrap() }
    };
    world.executor.spawn(later);
    world.executor.settle();
    assert_eq!(values(&world.disks[0]), [1, 0]);
    drop(hold);
    world.executor.settle();
    assert_eq!(values(&world.disks[0]), [1, 2]);
    assert_eq!(values(&world.disks[1]), [1, 2]);
}

#[test]
fn the_tender_ends_with_the_mirror() {
    let mut world = World::new(8, 2, rules(1, 1));
    let file = world.file(2);
    world.slow_down(1, 500);
    world.write(&file, 0, 1).unwrap();
    let World {
        mut executor,
        disks,
        mirror,
    } = world;
    drop((mirror, file));
    executor.settle();
    assert_eq!(executor.running(), 0);
    assert_eq!(
        values(&disks[1]),
        [1, 0],
        "and has done what was left to it"
    );
}

#[test]
fn files_are_closed_on_all() {
    run(9, async {
        let disk = SimulatedDisk::new(1, Behaviour::default());
        let (mirror, _tender) = Mirror::new(
            vec![member(0, &disk), member(1, &disk.clone())],
            rules(1, 0),
        );
        // Both are one disk here, so that the second cannot create what the first has.
        let refused = mirror.create("file").await;
        assert!(refused.is_ok());
        assert!(
            mirror
                .standing()
                .iter()
                .any(|member| is_fenced(&member.state))
        );
        mirror.close(refused.unwrap()).await.unwrap();
    });
}

#[test]
fn a_volume_counts_only_when_its_membership_is_durable() {
    let mut world = World::new(10, 2, rules(2, 1));
    let file = world.file(2);
    world.mirror.fence(1, "pulled out");
    assert!(is_too_few(&world.write(&file, 0, 1).unwrap_err()));
    let fresh = world.disks[0].copy_after_crash(&mut Random::new(1));
    let mirror = world.mirror.clone();
    let admitted = world.wait(async {
        let hold = mirror.hold(0).await;
        mirror.admit(&hold, member(2, &fresh)).await
    });
    admitted.unwrap();
    let shift = mirror.shift();
    fresh.set_behaviour(Behaviour {
        polls_max: 1_000,
        ..Behaviour::default()
    });
    assert!(is_too_few(&world.write(&file, 0, 2).unwrap_err()));
    assert_eq!(values(&fresh)[0], 2, "it was waited for");
    mirror.confirm(shift - 1);
    assert!(mirror.shortage().is_some(), "that was an older record");
    mirror.confirm(shift);
    world.write(&file, 0, 3).unwrap();
    assert_eq!(values(&fresh)[0], 2, "it may lag now");
}

#[test]
fn a_file_that_lost_its_name_to_another_is_not_opened_by_that_name() {
    let mut world = World::new(1, 2, rules(1, 0));
    let old = world.file(1);
    let mirror = world.mirror.clone();
    let new = world.wait(async {
        let beside = mirror.create("folder/beside").await?;
        mirror.write(&beside, 0, bytes(&mirror, 7, 1)).await?;
        mirror.flush(&beside).await?;
        mirror.rename("folder/beside", PATH).await?;
        Ok::<_, io::Error>(beside)
    });
    let new = new.unwrap();
    assert_eq!((old.path(), new.path().as_deref()), (None, Some(PATH)));
    assert_eq!((world.read(&old, 0), world.read(&new, 0)), (0, 7));
}

#[test]
fn what_only_some_members_have_is_removed_and_fences_nobody() {
    let mut world = World::new(1, 3, rules(1, 0));
    world.file(1);
    let (one, mirror) = (world.disks[1].clone(), world.mirror.clone());
    world.wait(one.remove(PATH)).unwrap();
    world.wait(mirror.remove(PATH)).unwrap();
    let gone = world.wait(mirror.remove(PATH)).unwrap_err();
    assert_eq!(gone.kind(), io::ErrorKind::NotFound);
    assert_eq!(world.mirror.members(), [0, 1, 2]);
}
