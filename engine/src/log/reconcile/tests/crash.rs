//! The power goes while volumes are made one.

use super::*;

/// One volume whole, one behind or without a file, one damaged: and a crash at any step, then another start
/// with all of them, or without any one.
#[test]
fn a_crash_at_any_step_leaves_what_was_acknowledged() {
    for seed in seeds(3) {
        let (mut volumes, older, model) = some_history(seed * 5, 3);
        let mut random = Random::new(seed);
        volumes.insert(1, older[&1].clone());
        let all = frames(&volumes[&2]);
        damage(&volumes[&2], &all[all.len() / 2], &mut random);
        let mut steps = 0;
        loop {
            let copies = crash(&volumes, &mut random);
            let permissions = Permissions::default();
            let reconciling = reconcile(members(&copies), FOLDER, IDENTITY, rules(3), &permissions);
            let ended = Executor::new(random.draw()).wait_at_most(steps, reconciling);
            let after = crash(&copies, &mut random);
            start(seed, &crash(&after, &mut random), &Permissions::default())
                .unwrap_or_else(|reason| panic!("SEED={seed} step {steps}: {reason}"))
                .check(&model, seed);
            for left in 0..3 {
                let mut two = crash(&after, &mut random);
                two.remove(&left);
                let started = start(seed, &two, &Permissions::default());
                // It may stop and ask, but not go on without what was acknowledged.
                if let Ok(mut world) = started {
                    world.check(&model, seed);
                }
            }
            match ended {
                Ok(reconciled) => {
                    reconciled.unwrap();
                    break;
                }
                Err(halt) => assert_eq!(halt, Halt::Steps),
            }
            steps += 3 + random.below(30);
        }
        assert!(100 < steps, "{steps}");
    }
}

#[test]
fn unacknowledged_tails_of_different_length_become_one() {
    for seed in seeds(20) {
        let mut random = Random::new(seed);
        let (mut world, mut model) = (World::new(seed, 3), Model::new());
        world.store(&mut model, &mut random, 10 + (seed % 30) as u32);
        for number in 0..6u8 {
            let topic = random.below(u64::from(TOPICS)) as u32;
            world.append(topic, &vec![number; 8_000]).unwrap();
            let steps = random.below(30);
            let _ = world.executor.wait_at_most(steps, pause(u64::MAX));
        }
        let mut volumes = world.crash(&mut random);
        for _ in 0..3 {
            let mut world = start(seed, &volumes, &Permissions::default())
                .unwrap_or_else(|reason| panic!("SEED={seed}: {reason}"));
            assert!(
                world.to_rebuild.is_empty(),
                "SEED={seed} {:?}",
                world.reasons
            );
            world.check(&model, seed);
            let _ = world
                .executor
                .wait_at_most(random.below(60), pause(u64::MAX));
            volumes = world.crash(&mut random);
        }
    }
}
