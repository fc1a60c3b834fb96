//! Members that lag, calls that are dropped, and errors at random: what each member holds then.

use super::super::super::simulated::{Operation, pause};
use super::*;
use crate::unit::Micros;
use futures_util::future::{Either, select};
use std::pin::pin;

const BLOCKS: usize = 4;

fn seeds(count: u64) -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..count * number("SEEDS").unwrap_or(1) + 1,
    }
}

#[test]
fn a_slow_member_does_not_delay_those_that_are_enough() {
    let mut world = World::new(1, 3, rules(2, 2));
    let file = world.file(BLOCKS);
    world.slow_down(0, 5_000);
    world.write(&file, 1, 7).unwrap();
    assert_eq!(values(&world.disks[0])[1], 0, "it was not waited for");
    assert_eq!(world.after_crash(1, 1)[1], 7);
    assert_eq!(world.after_crash(2, 1)[1], 7);
    // The first volume would answer with what it does not have yet.
    assert_eq!(world.read(&file, 1), 7);
    assert_eq!(values(&world.disks[0])[1], 0);
    world.executor.settle();
    assert_eq!(world.after_crash(0, 1)[1], 7);
    assert_eq!(world.mirror.members(), [0, 1, 2]);
}

#[test]
fn a_member_that_lags_beyond_the_bound_is_fenced() {
    let bound = Rules {
        lag_bytes_max: 3 * BLOCK as u64,
        ..rules(1, 1)
    };
    let mut world = World::new(2, 2, bound);
    let file = world.file(BLOCKS);
    world.slow_down(1, 100_000);
    for value in 1..=3 {
        world.write(&file, 0, value).unwrap();
    }
    assert_eq!(world.mirror.members(), [0, 1]);
    world.write(&file, 0, 4).unwrap();
    assert_eq!(world.mirror.members(), [0]);
    let fenced = &world.states()[1];
    assert!(matches!(fenced, State::Fenced { reason } if reason.contains("lags behind")));
    // What is under way there may still come; the volume does not return before that.
    let mirror = world.mirror.clone();
    let disk = world.disks[1].clone();
    let early = world.wait(async {
        let hold = mirror.hold(0).await;
        mirror.admit(&hold, member(1, &disk)).await
    });
    assert!(early.unwrap_err().to_string().contains("from before"));
    world.executor.settle();
    assert!(
        values(&world.disks[1])[0] < 4,
        "what had not begun never does"
    );
}

#[test]
fn a_member_never_sees_writes_out_of_order() {
    for seed in seeds(300) {
        let mut random = Random::new(seed);
        let mut world = World::new(seed, 3, rules(1, 1 + (seed % 2) as u32));
        let file = world.file(BLOCKS);
        let slow = random.below(3) as usize;
        let all_slow = random.one_in(2);
        for volume in (0..3).filter(|volume| all_slow || *volume == slow) {
            world.slow_down(volume, 60);
        }
        let mut history = vec![vec![0; BLOCKS]];
        for value in 1..40 {
            let block = random.below(BLOCKS as u64);
            world.write(&file, block, value).unwrap();
            let mut state = history.last().unwrap().clone();
            state[block as usize] = value;
            history.push(state);
            assert_eq!(world.read(&file, block), value, "SEED={seed}");
            for volume in 0..3 {
                let now = values(&world.disks[volume]);
                assert!(
                    history.contains(&now),
                    "SEED={seed}: volume {volume}: {now:?}"
                );
            }
        }
        world.executor.settle();
        for volume in 0..3 {
            assert_eq!(world.after_crash(volume, seed), *history.last().unwrap());
        }
        assert_eq!(world.mirror.members(), [0, 1, 2]);
    }
}

#[test]
fn what_is_acknowledged_is_read_even_when_every_member_lags() {
    for seed in seeds(100) {
        let mut world = World::new(seed, 3, rules(1, 1));
        let file = world.file(BLOCKS);
        (0..3).for_each(|volume| world.slow_down(volume, 60));
        let mirror = world.mirror.clone();
        for value in 1..20 {
            // Two at once: each may be on a volume that has not got the other.
            let both = async {
                let (first, second) = (
                    write(&mirror, &file, 0, value),
                    write(&mirror, &file, 1, value),
                );
                futures_util::future::join(first, second).await
            };
            let (first, second) = world.wait(both);
            first.and(second).unwrap();
            let read = (world.read(&file, 0), world.read(&file, 1));
            assert_eq!(read, (value, value), "SEED={seed}");
        }
    }
}

#[test]
fn nothing_is_acknowledged_with_fewer_copies_than_the_rules_ask_for() {
    let mut fenced = 0;
    let mut few = 0;
    for seed in seeds(300) {
        let mut random = Random::new(seed);
        let (volumes_min, wanted) = (1 + random.below(3) as u32, random.below(4) as u32);
        let mut world = World::new(seed, 3, rules(volumes_min, wanted));
        let file = world.file(BLOCKS);
        for disk in &world.disks {
            disk.set_behaviour(Behaviour {
                polls_max: 1 + random.below(40),
                error_one_in: Some(30),
                ..Behaviour::default()
            });
        }
        for value in 1..30 {
            let block = random.below(BLOCKS as u64);
            let written = world.write(&file, block, value);
            let copies = (0..3)
                .filter(|volume| world.mirror.members().contains(volume))
                .filter(|volume| {
                    let crashed = world.after_crash(*volume as usize, random.draw());
                    crashed[block as usize] == value
                })
                .count() as u32;
            match written {
                Ok(()) => {
                    let all = if wanted == 0 { 3 } else { wanted };
                    assert!(
                        volumes_min.min(all) <= copies,
                        "SEED={seed}: {copies} copies"
                    );
                    if wanted == 0 {
                        assert_eq!(copies, world.mirror.members().len() as u32);
                    }
                }
                Err(error) => few += u32::from(is_too_few(&error)),
            }
        }
        fenced += world
            .states()
            .iter()
            .filter(|state| is_fenced(state))
            .count();
    }
    assert!(100 < fenced && 100 < few, "{fenced} fenced, {few} too few");
}

#[test]
fn calls_that_are_dropped_leave_the_members_the_same() {
    let (mut dropped, mut fenced) = (0, 0);
    for seed in seeds(400) {
        let mut random = Random::new(seed);
        let mut world = World::new(seed, 3, rules(1, random.below(3) as u32));
        let file = world.file(BLOCKS);
        let others = random.below(20);
        let failing = [0..0, random.below(3)..3, 0..3][random.below(3) as usize].clone();
        for volume in failing {
            world.disks[volume as usize].fail_after(Operation::WriteDurable, others);
        }
        let mut told = false;
        for value in 1..20 {
            let block = random.below(BLOCKS as u64);
            let (mirror, patience) = (world.mirror.clone(), random.below(12));
            let given_up = world.wait(async {
                let write = pin!(write(&mirror, &file, block, value));
                match select(write, pin!(pause(patience))).await {
                    Either::Left((written, _)) => {
                        told |= written.is_err();
                        false
                    }
                    Either::Right(_) => true,
                }
            });
            dropped += u32::from(given_up);
        }
        if told {
            // All have failed, and the caller knows.
            continue;
        }
        world.executor.settle();
        let members = world.mirror.members();
        fenced += 3 - members.len();
        let mut held: Vec<_> = members
            .iter()
            .map(|volume| world.after_crash(*volume as usize, random.draw()))
            .collect();
        held.dedup();
        assert_eq!(held.len(), 1, "SEED={seed}: {held:?}");
    }
    assert!(
        500 < dropped && 50 < fenced,
        "{dropped} dropped, {fenced} fenced"
    );
}

#[test]
fn an_acknowledged_write_that_the_last_member_cannot_do_is_not_forgotten() {
    let mut world = World::new(3, 2, rules(1, 1));
    let file = world.file(BLOCKS);
    world.slow_down(1, 1_000);
    world.disks[1].fail_after(Operation::WriteDurable, 0);
    world.write(&file, 0, 1).unwrap();
    assert_eq!(world.mirror.members(), [0, 1], "its error is on its way");
    world.mirror.fence(0, "pulled out");
    world.executor.settle();
    assert!(world.mirror.members().is_empty());
    let nobody = world.write(&file, 1, 2).unwrap_err();
    assert!(!is_too_few(&nobody));
    assert!(nobody.to_string().contains("no volume is in service"));
}

#[test]
fn a_volume_that_does_not_answer_is_fenced_and_one_that_is_slow_is_not() {
    const WAIT_US: u64 = 1_000_000;
    let mut world = World::new(4, 3, rules(2, 0));
    let file = world.file(BLOCKS);
    let mirror = world.mirror.clone();
    // All are as slow as each other: nobody is ahead.
    for volume in 0..3 {
        world.slow_down(volume, 1 << 40);
    }
    let writes = async {
        for value in [1, 2] {
            write(&mirror, &file, 0, value).await.unwrap();
        }
    };
    let mut writes = Box::pin(writes);
    let _ = world.executor.wait_at_most(100, &mut writes);
    mirror.watch(Micros(0), WAIT_US);
    mirror.watch(Micros(2 * WAIT_US), WAIT_US);
    assert_eq!(mirror.members(), [0, 1, 2]);
    drop(writes);

    let mut world = World::new(4, 3, rules(2, 0));
    let file = world.file(BLOCKS);
    let mirror = world.mirror.clone();
    world.slow_down(1, 1 << 40);
    let mut write = Box::pin(write(&mirror, &file, 0, 1));
    let _ = world.executor.wait_at_most(100, &mut write);
    mirror.watch(Micros(5), WAIT_US);
    mirror.watch(Micros(WAIT_US), WAIT_US);
    assert_eq!(mirror.members(), [0, 1, 2]);
    mirror.watch(Micros(WAIT_US + 6), WAIT_US);
    assert_eq!(mirror.members(), [0, 2]);
    world.wait(write).unwrap();
}
