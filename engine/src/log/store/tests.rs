use super::super::simulated::{Behaviour, Executor, Halt, Random, SimulatedDisk};
use super::*;

const SEGMENT: u64 = 1 << 20;

fn open_on(disk: &SimulatedDisk, journals: u32, seed: u64) -> Result<Superblock, StoreError> {
    let opened = Executor::new(seed).wait(open(disk, journals, SEGMENT, || u128::from(seed) + 1));
    opened.expect("opening comes to its end")
}

#[test]
fn a_store_opened_again_is_the_same() {
    let disk = SimulatedDisk::new(1, Behaviour::default());
    let first = open_on(&disk, 2, 1).unwrap();
    let disk = disk.crash(&mut Random::new(1));
    assert_eq!(open_on(&disk, 2, 2).unwrap(), first);
    assert_eq!(
        open_on(&disk, 1, 2).unwrap(),
        first,
        "journals are never given up"
    );
    let error = Executor::new(1).wait(open(&disk, 2, 2 * SEGMENT, || 1));
    assert!(matches!(error, Ok(Err(StoreError::SegmentBytes { .. }))));
}

/// Opens with ever more journals, and the power goes at any step, several times.
#[test]
fn a_superblock_torn_while_it_is_written_is_never_lost() {
    for seed in 1..400 {
        let mut random = Random::new(seed);
        let mut disk = SimulatedDisk::new(seed, Behaviour::default());
        let made = (1 < seed % 4).then(|| open_on(&disk, 1, seed).unwrap());
        let mut journals = made.map_or(0, |made| made.journals);
        for round in 2..9 {
            let steps = random.below(90);
            let opening = open(&disk, round, SEGMENT, || u128::from(seed) + 1);
            match Executor::new(random.draw()).wait_at_most(steps, opening) {
                Ok(opened) => journals = opened.expect("a superblock").journals,
                Err(halt) => assert_eq!(halt, Halt::Steps),
            }
            disk = disk.crash(&mut random);
            let found = Executor::new(seed).wait(read_superblock(&disk)).unwrap();
            let found = found.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            assert!(
                journals <= found.map_or(0, |found| found.journals),
                "seed {seed}"
            );
        }
    }
}

#[test]
fn a_damaged_copy_is_mended_from_the_other() {
    for copy in 0..2 {
        let disk = SimulatedDisk::new(1, Behaviour::default());
        let made = open_on(&disk, 1, 1).unwrap();
        assert!(disk.flip(SUPERBLOCK, (copy * BLOCK_BYTES + 40) * 8));
        assert_eq!(open_on(&disk, 1, 1).unwrap(), made);
        assert!(disk.flip(SUPERBLOCK, ((1 - copy) * BLOCK_BYTES + 40) * 8));
        assert_eq!(open_on(&disk, 1, 1).unwrap(), made);
    }
}

#[test]
fn two_damaged_copies_stop_the_start() {
    let disk = SimulatedDisk::new(1, Behaviour::default());
    open_on(&disk, 1, 1).unwrap();
    assert!(disk.flip(SUPERBLOCK, 40 * 8));
    assert!(disk.flip(SUPERBLOCK, (BLOCK_BYTES + 40) * 8));
    assert!(matches!(
        open_on(&disk, 1, 1),
        Err(StoreError::Superblock(_))
    ));
}

#[test]
fn an_unknown_feature_in_either_copy_stops_the_start() {
    for copy in 0..2 {
        let disk = SimulatedDisk::new(1, Behaviour::default());
        let mut newer = open_on(&disk, 1, 1).unwrap();
        newer.generation += 1;
        newer.features.incompatible = 1 << 9;
        let mut block = vec![0; BLOCK_BYTES as usize];
        newer.encode(&mut block);
        assert!(disk.put(SUPERBLOCK, copy * BLOCK_BYTES, &block));
        let error = open_on(&disk, 1, 1).unwrap_err();
        assert!(matches!(
            error,
            StoreError::Superblock(Defect::UnknownFeature { bits: 512 })
        ));
    }
}
