use super::super::simulated::{Behaviour, Executor, Halt, Random, SimulatedDisk};
use super::*;
use std::rc::Rc;

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

fn new_disks(count: u64) -> Vec<SimulatedDisk> {
    (0..count)
        .map(|seed| SimulatedDisk::new(seed, Behaviour::default()))
        .collect()
}

fn open_all(
    disks: &[(&str, &SimulatedDisk)],
    seed: u64,
) -> Result<Opened<SimulatedDisk>, StoreError> {
    let places = disks
        .iter()
        .map(|(name, disk)| (Rc::from(*name), (*disk).clone()));
    let opening = open_volumes(places.collect(), 2, SEGMENT, || u128::from(seed) + 1);
    let opened = Executor::new(seed).wait(opening);
    opened.expect("opening comes to its end")
}

fn numbers(opened: &Opened<SimulatedDisk>) -> Vec<u32> {
    opened.members.iter().map(|member| member.volume).collect()
}

/// Every byte of every file.
fn bytes_of(disk: &SimulatedDisk) -> Vec<(String, Option<Vec<u8>>)> {
    let paths = disk.paths().into_iter();
    paths
        .map(|path| (path.clone(), disk.contents(&path)))
        .collect()
}

#[test]
fn a_volume_keeps_its_number_wherever_it_stands() {
    let disks = new_disks(3);
    let (a, b, c) = (&disks[0], &disks[1], &disks[2]);
    let made = open_all(&[("a", a), ("b", b), ("c", c)], 1).unwrap();
    assert_eq!(numbers(&made), [0, 1, 2]);
    let again = open_all(&[("c", c), ("a", a), ("b", b)], 2).unwrap();
    assert_eq!(numbers(&again), [2, 0, 1]);
    assert_eq!(again.superblock.store, made.superblock.store);
}

#[test]
fn a_fresh_volume_gets_a_number_that_none_ever_had() {
    let disks = new_disks(5);
    let (a, b, c, d) = (&disks[0], &disks[1], &disks[2], &disks[3]);
    open_all(&[("a", a), ("b", b)], 1).unwrap();
    let joined = open_all(&[("a", a), ("c", c)], 1).unwrap();
    assert_eq!(numbers(&joined), [0, 2]);
    // Its neighbour is gone, and with it nothing but that: the number is noted elsewhere too.
    let after = open_all(&[("d", d), ("a", a)], 1).unwrap();
    assert_eq!(numbers(&after), [3, 0]);
    let before = |disk| {
        let found = Executor::new(1).wait(read_superblock(disk));
        found.unwrap().unwrap().unwrap().journals_before
    };
    assert_eq!((before(a), before(d)), (0, 2));
}

#[test]
fn another_stores_volume_is_refused_by_name_and_not_written_to() {
    let disks = new_disks(3);
    open_all(&[("/mine", &disks[0])], 1).unwrap();
    open_all(&[("/theirs", &disks[1])], 2).unwrap();
    let before: Vec<_> = disks.iter().map(bytes_of).collect();
    let all = [
        ("/mine", &disks[0]),
        ("/theirs", &disks[1]),
        ("/new", &disks[2]),
    ];
    let error = open_all(&all, 3).err().expect("they are strangers");
    assert!(matches!(error, StoreError::Strangers { .. }));
    let text = error.to_string();
    assert!(text.contains("/mine") && text.contains("/theirs"), "{text}");
    assert_eq!(disks.iter().map(bytes_of).collect::<Vec<_>>(), before);
}

#[test]
fn other_segments_are_refused_by_name_and_not_written_to() {
    let disks = new_disks(2);
    let made = Executor::new(1).wait(open(&disks[0], 1, 2 * SEGMENT, || 9));
    made.unwrap().unwrap();
    let before: Vec<_> = disks.iter().map(bytes_of).collect();
    let error = open_all(&[("/new", &disks[1]), ("/old", &disks[0])], 1)
        .err()
        .unwrap();
    assert!(error.to_string().contains("/old"), "{error}");
    assert_eq!(disks.iter().map(bytes_of).collect::<Vec<_>>(), before);
}

#[test]
fn a_volume_copied_by_hand_is_refused_by_name() {
    let disk = &new_disks(1)[0];
    open_all(&[("/one", disk)], 1).unwrap();
    let copy = disk.copy_after_crash(&mut Random::new(1));
    let error = open_all(&[("/one", disk), ("/copy", &copy)], 1)
        .err()
        .unwrap();
    assert!(
        matches!(error, StoreError::Twins { volume: 0, .. }),
        "{error}"
    );
}

#[test]
fn a_volume_that_cannot_be_read_stops_a_new_store_and_no_other() {
    use super::super::simulated::Operation;
    let disks = new_disks(2);
    let both = [("a", &disks[0]), ("b", &disks[1])];
    disks[1].fail_after(Operation::Read, 0);
    assert!(open_all(&both, 1).is_err());
    open_all(&both, 1).unwrap();
    disks[1].fail_after(Operation::Read, 0);
    let opened = open_all(&both, 1).unwrap();
    assert_eq!(numbers(&opened), [0]);
    assert_eq!(&*opened.unusable[0].0, "b");
}

#[test]
fn an_empty_folder_does_not_take_the_place_of_a_disk_that_is_not_mounted() {
    let disks = new_disks(4);
    let (a, b) = (&disks[0], &disks[1].clone().mounted());
    let made = open_all(&[("a", a), ("b", b)], 1).unwrap();
    assert_eq!(made.superblock.volumes, 2);
    // Its folder, with nothing mounted on it.
    let folder = &disks[2];
    let opened = open_all(&[("a", a), ("b", folder)], 2).unwrap();
    assert_eq!(numbers(&opened), [0]);
    let (name, why) = &opened.unusable[0];
    assert_eq!(&**name, "b");
    for word in ["volume 1", "mount", CONSENT] {
        assert!(why.contains(word), "{why}");
    }
    assert_eq!(folder.paths(), [""; 0], "nothing was written to it");
    // The disk is there again, as if nothing had been; or a new one is mounted in its place.
    assert_eq!(
        numbers(&open_all(&[("a", a), ("b", b)], 2).unwrap()),
        [0, 1]
    );
    let new = &disks[3].clone().mounted();
    assert_eq!(
        numbers(&open_all(&[("a", a), ("b", new)], 2).unwrap()),
        [0, 2]
    );
    // And an operator may say that the folder is meant.
    Executor::new(1)
        .wait(async { folder.create(CONSENT).await })
        .unwrap()
        .unwrap();
    assert_eq!(
        numbers(&open_all(&[("a", a), ("b", folder)], 2).unwrap()),
        [0, 3]
    );
}

#[test]
fn folders_on_the_root_file_system_are_replaced_as_ever() {
    let disks = new_disks(3);
    open_all(&[("a", &disks[0]), ("b", &disks[1])], 1).unwrap();
    let opened = open_all(&[("a", &disks[0]), ("b", &disks[2])], 2).unwrap();
    assert_eq!(numbers(&opened), [0, 2]);
}
