//! A disk without room, and a disk that fails.

use super::super::super::simulated::Operation;
use super::*;

fn bounded(segments: u64) -> Behaviour {
    Behaviour {
        capacity: Some(segments * SEGMENT_BYTES),
        ..Behaviour::default()
    }
}

/// Fills the disk until the journal refuses; gives what was taken and became durable.
fn fill_up(world: &mut World) -> usize {
    for taken in 0..200 {
        let value = vec![taken as u8; 20_000];
        let Ok(ticket) = world.append(&[event(0, value)]) else {
            return taken;
        };
        world.settle();
        if world.journal.durable() < Some(ticket) {
            return taken;
        }
    }
    panic!("the disk never became full");
}

#[test]
fn a_full_disk_refuses_with_the_reason_and_harms_nothing() {
    for seed in seeds(10) {
        let disk = new_disk(seed);
        disk.set_behaviour(bounded(4));
        let mut world = World::start(seed, disk, settings(), 2);
        let taken = fill_up(&mut world);
        let reason = world.journal.fault().expect("a reason");
        assert!(reason.contains("full"), "{reason}");
        assert!(matches!(
            offer(&world.journal, &[event(0, "x")]),
            Err(AppendError::Refused(_))
        ));
        assert_eq!(world.values(0).len(), taken, "SEED={seed}");
        // Space returns.
        world.disk.set_behaviour(bounded(8));
        world.tick();
        assert_eq!(world.journal.fault(), None);
        world.journal.append_and_wait(&mut world.executor);
        assert_eq!(world.values(0).len(), taken + 1, "SEED={seed}");
        let mut world = world.crash_and_start(seed, settings(), 2);
        assert_eq!(world.values(0).len(), taken + 1, "SEED={seed}");
    }
}

impl Journal<SimulatedDisk> {
    fn append_and_wait(&self, executor: &mut Executor) {
        let ticket = offer(self, &[event(0, "more")]).unwrap();
        executor.settle();
        assert!(Some(ticket) <= self.durable());
    }
}

#[test]
fn what_is_staged_on_a_full_disk_is_discarded_and_its_offsets_given_back() {
    let mut discarded = 0;
    for seed in seeds(40) {
        let disk = new_disk(seed);
        // Segments so small that they fill faster than it takes to find the disk full.
        let chosen = Settings {
            segment_bytes: SEGMENT_BYTES / 4,
            ..settings()
        };
        disk.set_behaviour(bounded(1));
        let mut world = World::start(seed, disk, chosen, 2);
        let mut tickets = Vec::new();
        while let Ok(ticket) = world.append(&[event(0, vec![1; 5_000 + seed as usize * 900])]) {
            tickets.push(ticket);
            let _ = world.executor.wait_at_most(seed % 9, pause(u64::MAX));
        }
        world.settle();
        let durable = world.journal.durable();
        let kept = tickets
            .iter()
            .filter(|ticket| Some(**ticket) <= durable)
            .count();
        for step in world.steps.borrow().iter() {
            if let Step::Discarded { upto, reason } = step {
                assert!(
                    durable < Some(*upto) && reason.contains("full"),
                    "SEED={seed}"
                );
                discarded += 1;
            }
        }
        assert_eq!(world.values(0).len(), kept, "SEED={seed}");
        world.disk.set_behaviour(bounded(6));
        world.tick();
        world.journal.append_and_wait(&mut world.executor);
        assert_eq!(world.values(0).len(), kept + 1, "SEED={seed}");
        // A request without events waits for nothing that will never come.
        assert!(Some(world.journal.last_ticket()) <= world.journal.durable());
    }
    assert!(0 < discarded || std::env::var_os("SEED").is_some());
}

#[test]
fn a_full_disk_does_not_keep_a_journal_from_stopping_or_starting() {
    for seed in seeds(20) {
        let disk = new_disk(seed);
        disk.set_behaviour(bounded(3));
        let mut world = World::start(seed, disk, settings(), 2);
        let taken = fill_up(&mut world);
        world.stop();
        let disk = world.disk.crash(&mut Random::new(seed));
        let mut world = World::start(seed, disk, settings(), 2);
        assert_eq!(world.values(0).len(), taken, "SEED={seed}");
    }
}

#[test]
fn retention_frees_a_full_disk() {
    let disk = new_disk(1);
    disk.set_behaviour(bounded(4));
    let chosen = Settings {
        retention_bytes: Some(4 * SEGMENT_BYTES),
        ..settings()
    };
    let mut world = World::start(1, disk, chosen, 2);
    for number in 0..200u32 {
        world.store(&[event(0, vec![number as u8; 20_000])]);
    }
    assert_eq!(world.journal.fault(), None);
}

/// Files are given to other uses oldest first, or frames would be missing between those that are in use.
#[test]
fn whichever_write_finds_the_disk_full_the_journal_starts_again() {
    let (mut went_on, mut failed) = (0, 0);
    for others in 0..60 {
        let chosen = Settings {
            retention_bytes: Some(5 * SEGMENT_BYTES),
            ..settings()
        };
        let mut world = World::start(others, new_disk(others), chosen.clone(), 2);
        let mut tickets = Vec::new();
        let mut fill = |world: &mut World, count| {
            for _ in 0..count {
                let ticket = world.append(&[event(0, vec![1; 30_000])]);
                tickets.extend(ticket.ok());
                world.settle();
                world.tick();
            }
        };
        fill(&mut world, 100);
        world.disk.full_after(Operation::WriteDurable, others);
        fill(&mut world, 60);
        let failed_now = matches!(world.last_step(), Some(Step::Failed(_)));
        failed += u64::from(failed_now);
        went_on += u64::from(!failed_now && world.journal.fault().is_none());
        let durable = world.journal.durable();
        let kept = tickets.iter().filter(|one| Some(**one) <= durable).count();
        for seed in 0..8 {
            let disk = world.disk.copy_after_crash(&mut Random::new(seed));
            let after = World::start(seed, disk, chosen.clone(), 2);
            let next = after.journal.extent(TopicIndex(0)).next;
            assert!(kept as u64 <= next.0, "{others} writes before, SEED={seed}");
        }
    }
    assert!(0 < went_on && 0 < failed, "{went_on} {failed}");
}

#[test]
fn a_failed_write_is_final() {
    for (seed, flush) in [
        (1, Flush::WriteThrough),
        (2, Flush::DataSync),
        (3, Flush::DataSync),
    ] {
        let chosen = Settings {
            flush,
            ..settings()
        };
        let mut world = World::start(seed, new_disk(seed), chosen.clone(), 2);
        world.store(&[event(0, "kept")]);
        world.settle();
        let operation = match seed {
            1 => Operation::WriteDurable,
            2 => Operation::Write,
            _ => Operation::Flush,
        };
        world.disk.fail_after(operation, 0);
        let ticket = world.append(&[event(0, "lost")]).unwrap();
        world.settle();
        assert!(
            matches!(world.last_step(), Some(Step::Failed(_))),
            "{:?}",
            world.steps
        );
        assert!(world.journal.durable() < Some(ticket));
        assert_eq!(world.executor.running(), 0, "both tasks have ended");
        assert!(matches!(
            offer(&world.journal, &[event(0, "x")]),
            Err(AppendError::Refused(_))
        ));
        let defined = world.executor.wait(world.journal.clone().define(&table(3)));
        assert!(defined.unwrap().is_err());
        world.tick();
        world.settle();
        assert!(
            world.journal.durable() < Some(ticket),
            "a flush is never retried into success"
        );
        assert_eq!(world.values(0), [b"kept"]);
        let mut world = world.crash_and_start(seed, chosen, 2);
        assert!(world.values(0).starts_with(&[b"kept".to_vec()]));
    }
}

/// The machine stays on, so what a failed flush has left behind can still be read, and is on no disk.
#[test]
fn what_a_failed_flush_has_left_is_made_durable_before_it_counts() {
    let mut kept = 0;
    for seed in seeds(20) {
        let chosen = Settings {
            flush: Flush::DataSync,
            ..settings()
        };
        let mut world = World::start(seed, new_disk(seed), chosen.clone(), 2);
        world.store(&[event(0, "first")]);
        world.settle();
        world.disk.fail_after(Operation::Flush, 0);
        world.append(&[event(0, "unanswered")]).unwrap();
        world.settle();
        let disk = world.disk.kill(&mut Random::new(seed));
        let mut world = World::start(seed, disk, chosen.clone(), 2);
        let mut expected = world.values(0);
        kept += expected.len() - 1;
        world.store(&[event(0, "last")]);
        expected.push(b"last".to_vec());
        let mut world = world.crash_and_start(seed, chosen, 2);
        assert_eq!(world.values(0), expected, "SEED={seed}");
    }
    assert!(0 < kept || std::env::var_os("SEED").is_some());
}

#[test]
fn errors_at_any_moment_lose_nothing_that_was_acknowledged() {
    for seed in seeds(80) {
        let disk = new_disk(seed);
        let mut random = Random::new(seed);
        let mut world = World::start(seed, disk, settings(), 2);
        world.disk.set_behaviour(Behaviour {
            error_one_in: Some(60),
            ..Behaviour::default()
        });
        let mut tickets = Vec::new();
        while let Ok(ticket) = world.append(&[event(0, [tickets.len() as u8; 3_000])]) {
            tickets.push(ticket);
            let _ = world
                .executor
                .wait_at_most(random.below(20), pause(u64::MAX));
        }
        world.settle();
        assert!(
            matches!(world.last_step(), Some(Step::Failed(_))),
            "SEED={seed}"
        );
        let durable = world.journal.durable();
        let kept = tickets
            .iter()
            .filter(|ticket| Some(**ticket) <= durable)
            .count();
        let disk = world.disk.crash(&mut random);
        disk.set_behaviour(Behaviour::default());
        let mut world = World::start(seed, disk, settings(), 2);
        let found = world.values(0);
        assert!(
            kept <= found.len() && found.len() <= tickets.len(),
            "SEED={seed}"
        );
        assert!(
            found
                .iter()
                .enumerate()
                .all(|(index, value)| value[0] == index as u8),
            "SEED={seed}"
        );
    }
}
