//! A volume that cannot be read for a moment, at any step of a start: it alone answers for that.

use super::super::super::simulated::{Fault, Operation};
use super::*;

fn errors(disk: &SimulatedDisk) -> u64 {
    let faults = disk.faults();
    let errors = faults.get(&Fault::Error(Operation::Read));
    errors.copied().unwrap_or(0)
}

/// Starts as often as `failing` is read, with another one of its reads failing each time. Gives how many of the
/// starts went on.
fn fail_each_read(seed: u64, volumes: &Volumes, failing: u32, model: &Model) -> u64 {
    let mut random = Random::new(seed);
    let mut went_on = 0;
    for others in 0.. {
        let copies = crash(volumes, &mut random);
        let disk = &copies[&failing];
        let before = errors(disk);
        disk.fail_after(Operation::Read, others);
        let started = start(seed, &copies, &Permissions::default());
        if errors(disk) == before {
            return went_on;
        }
        let place = format!("SEED={seed} volume {failing}, after {others} reads");
        match started {
            Ok(mut world) => {
                went_on += 1;
                let left_out = world.to_rebuild.iter();
                let blamed: Vec<_> = left_out.filter(|volume| **volume != failing).collect();
                assert!(blamed.is_empty(), "{place}: {:?}", world.reasons);
                world.check(model, seed);
            }
            Err(reason) => assert!(reason.contains("could not"), "{place}: {reason}"),
        }
    }
    unreachable!("a start has an end");
}

#[test]
fn a_read_error_is_charged_to_the_volume_that_had_it() {
    for seed in seeds(4) {
        for count in [2, 3] {
            let (mut volumes, older, model) = some_history(seed, count);
            let behind = seed as u32 % count;
            volumes.insert(behind, older[&behind].clone());
            let all = crash(&volumes, &mut Random::new(seed));
            let undisturbed = start(seed, &all, &Permissions::default());
            let undisturbed = undisturbed.unwrap_or_else(|reason| panic!("SEED={seed}: {reason}"));
            if !undisturbed.to_rebuild.is_empty() {
                // It is too far behind for anyone to copy to it.
                continue;
            }
            for failing in 0..count {
                let went_on = fail_each_read(seed, &volumes, failing, &model);
                assert!(0 < went_on, "SEED={seed} volume {failing}");
            }
        }
    }
}

/// Each of two has something acknowledged that the other has not: with a third absent neither may be passed over.
#[test]
fn who_cannot_be_read_may_have_what_was_acknowledged() {
    let mut met = 0;
    for seed in seeds(30) {
        let Some((volumes, model)) = scattered(seed) else {
            continue;
        };
        met += 1;
        for failing in [1, 2] {
            fail_each_read(seed, &volumes, failing, &model);
        }
    }
    assert!(0 < met, "two frames are in flight at times");
}
