//! A journal that starts while one of its volumes fails.

use super::super::super::simulated::Operation;
use super::volumes::{Volumes, rules};
use super::*;

/// Whichever operation of the start is the one that the second volume fails at.
#[test]
fn a_volume_that_goes_during_a_start_leaves_it_to_readers() {
    let mut short = 0;
    for kind in [
        Operation::Write,
        Operation::WriteDurable,
        Operation::Flush,
        Operation::Name,
    ] {
        for others in 0..12 {
            let mut world = Volumes::new(1, 2, rules(2, 0), settings());
            world.store(0, b"kept".to_vec());
            world.stop();
            let disks: BTreeMap<_, _> = world
                .disks
                .iter()
                .map(|(volume, disk)| (*volume, disk.crash(&mut Random::new(1))))
                .collect();
            disks[&1].fail_after(kind, others);
            let mut world = Volumes::start(2, disks, rules(2, 0), settings());
            world.executor.settle();
            short += u32::from(world.journal.fault().is_some());
            let journal = world.journal.clone();
            let read = world.wait(journal.read(TopicIndex(0), Offset(0), 10, 1 << 20));
            assert_eq!(read.unwrap()[0].value, b"kept", "{kind:?} after {others}");
            if world.mirror.members().contains(&1) {
                // It would fail later than at the start.
                continue;
            }
            world.rebuild(2, &new_disk(others + 7_000)).unwrap();
            world.store(0, b"more".to_vec());
            world.stop();
        }
    }
    assert!(0 < short, "some start has lost a volume");
}
