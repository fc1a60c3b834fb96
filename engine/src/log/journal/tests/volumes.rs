//! A journal on several volumes: they fail, are taken away, come back empty, and nothing acknowledged is lost.

use super::super::super::mirror::{Member, Mirror, Rules, State};
use super::super::super::simulated::Operation;
use super::super::{Pace, RebuildError};
use super::*;
use futures_util::FutureExt as _;

pub(super) const TOPICS: u32 = 3;

pub(super) struct Sent {
    ticket: Ticket,
    topic: u32,
    value: Vec<u8>,
}

/// A journal on several volumes with its tasks, and perhaps a load.
pub(super) struct Volumes {
    pub(super) executor: Executor,
    /// By their numbers.
    pub(super) disks: BTreeMap<u32, SimulatedDisk>,
    pub(super) mirror: Mirror<SimulatedDisk>,
    pub(super) journal: Journal<Mirror<SimulatedDisk>>,
    pub(super) steps: Rc<RefCell<Vec<Step>>>,
    pub(super) sent: Rc<RefCell<Vec<Sent>>>,
    loading: Rc<Cell<bool>>,
    pub(super) settings: Settings,
}

pub(super) fn rules(volumes_min: u32, durable_volumes: u32) -> Rules {
    Rules {
        volumes_min,
        durable_volumes,
        lag_bytes_max: 1 << 20,
    }
}

pub(super) fn member(volume: u32, disk: &SimulatedDisk) -> Member<SimulatedDisk> {
    Member {
        volume,
        name: format!("/v{volume}").into(),
        disk: disk.clone(),
    }
}

pub(super) fn pace(polls: u64) -> Pace {
    Rc::new(move |_| pause(polls).boxed_local())
}

/// Sends until it is told to stop; what is refused is tried again later.
async fn load(
    journal: Journal<Mirror<SimulatedDisk>>,
    sent: Rc<RefCell<Vec<Sent>>>,
    loading: Rc<Cell<bool>>,
    mut random: Random,
) {
    let mut number = 0_u32;
    while loading.get() {
        number += 1;
        let topic = random.below(u64::from(TOPICS)) as u32;
        let mut value = format!("{number} ").into_bytes();
        value.resize(value.len() + random.below(9_000) as usize, b'y');
        if let Ok(ticket) = append(&journal, &[event(topic, value.clone())]).await {
            let one = Sent {
                ticket,
                topic,
                value,
            };
            sent.borrow_mut().push(one);
        }
        journal.tick();
        pause(random.below(30)).await;
    }
}

impl Volumes {
    pub(super) fn start(
        seed: u64,
        disks: BTreeMap<u32, SimulatedDisk>,
        rules: Rules,
        settings: Settings,
    ) -> Self {
        let mut executor = Executor::new(seed);
        let members = disks.iter().map(|(volume, disk)| member(*volume, disk));
        let (mirror, tender) = Mirror::new(members.collect(), rules);
        let clock = Rc::new(Cell::new(1_700_000_000_000_000));
        let started = take_up(mirror.clone(), settings.clone(), TOPICS as usize, clock);
        let started = executor.wait(started).expect("it comes to an end");
        let (journal, committer, mut preparer) = started.unwrap();
        let steps = Rc::new(RefCell::new(Vec::new()));
        executor.spawn(tender.run());
        executor.spawn(drive(committer, steps.clone()));
        executor.spawn(async move { preparer.run().await });
        Self {
            executor,
            disks,
            mirror,
            journal,
            steps,
            sent: Rc::default(),
            loading: Rc::default(),
            settings,
        }
    }

    pub(super) fn new(seed: u64, volumes: u32, rules: Rules, settings: Settings) -> Self {
        let disk = |volume| (volume, new_disk(seed * 101 + u64::from(volume)));
        Self::start(seed, (0..volumes).map(disk).collect(), rules, settings)
    }

    fn begin_load(&mut self, seed: u64) {
        self.loading.set(true);
        let (sent, loading) = (self.sent.clone(), self.loading.clone());
        let load = load(self.journal.clone(), sent, loading, Random::new(seed));
        self.executor.spawn(load);
    }

    /// Lets everything go on for so many polls.
    fn run(&mut self, polls: u64) {
        let _ = self.executor.wait_at_most(polls, pause(u64::MAX));
    }

    pub(super) fn wait<T>(&mut self, future: impl Future<Output = T>) -> T {
        self.executor.wait(future).expect("it comes to an end")
    }

    pub(super) fn rebuild(
        &mut self,
        volume: u32,
        disk: &SimulatedDisk,
    ) -> Result<(), RebuildError> {
        self.disks.insert(volume, disk.clone());
        let journal = self.journal.clone();
        let member = member(volume, disk);
        self.wait(async { journal.rebuild(&member, &pace(2)).await })
    }

    pub(super) fn store(&mut self, topic: u32, value: Vec<u8>) {
        let journal = self.journal.clone();
        let ticket = self.wait(append(&journal, &[event(topic, value.clone())]));
        let ticket = ticket.unwrap();
        self.sent.borrow_mut().push(Sent {
            ticket,
            topic,
            value,
        });
        self.executor.settle();
        assert!(Some(ticket) <= self.journal.durable());
    }

    pub(super) fn stop(&mut self) {
        self.loading.set(false);
        self.executor.settle();
        self.journal.stop();
        self.executor.settle();
        assert_eq!(self.steps.borrow().last(), Some(&Step::Stopped));
    }

    /// What the requests were told so far: those that were acknowledged.
    fn acknowledged(&self) -> Vec<bool> {
        let sent = self.sent.borrow();
        let mut told = vec![None; sent.len()];
        for step in &*self.steps.borrow() {
            let (upto, good) = match step {
                Step::Durable(upto) => (*upto, true),
                Step::Discarded { upto, .. } => (*upto, false),
                _ => continue,
            };
            for (sent, told) in sent.iter().zip(&mut told) {
                if sent.ticket <= upto && told.is_none() {
                    *told = Some(good);
                }
            }
        }
        told.into_iter().map(|told| told == Some(true)).collect()
    }

    /// What this volume alone would bring back holds everything acknowledged, in order, and nothing else; but
    /// what retention has removed.
    fn check_alone(&self, volume: u32, seed: u64) {
        let disk = self.disks[&volume].copy_after_crash(&mut Random::new(seed));
        let mut settings = self.settings.clone();
        let bounded = settings.retention_bytes.take().is_some();
        let alone = World::try_start(seed, disk, settings, TOPICS as usize);
        let mut alone =
            alone.unwrap_or_else(|reason| panic!("SEED={seed}: volume {volume} alone: {reason}"));
        let acknowledged = self.acknowledged();
        for topic in 0..TOPICS {
            let found = alone.values(topic);
            let mut found = found.into_iter().peekable();
            let mut removed = bounded;
            for (sent, acknowledged) in self.sent.borrow().iter().zip(&acknowledged) {
                if sent.topic != topic {
                    continue;
                }
                let is_there = found.next_if(|value| *value == sent.value).is_some();
                removed &= !is_there;
                assert!(
                    is_there || removed || !acknowledged,
                    "SEED={seed}: volume {volume} has lost an event of topic {topic}"
                );
            }
            assert_eq!(found.next(), None, "SEED={seed}: nothing is invented");
        }
    }

    /// The files of all volumes in service are the same, name by name and byte by byte.
    fn check_same(&self, seed: u64) {
        let members = self.mirror.members();
        let first = &self.disks[&members[0]];
        for volume in &members[1..] {
            let other = &self.disks[volume];
            assert_eq!(first.paths(), other.paths(), "SEED={seed}: {members:?}");
            for path in first.paths() {
                let same = first.contents(&path) == other.contents(&path);
                assert!(same, "SEED={seed}: {path} differs on volume {volume}");
            }
        }
    }

    fn recorded(&self, volume: u32, seed: u64) -> Vec<u32> {
        let disk = self.disks[&volume].copy_after_crash(&mut Random::new(seed));
        let found = look(&disk, &self.settings).unwrap();
        found.membership.expect("each epoch records it").members
    }
}

fn chosen(random: &mut Random) -> Settings {
    Settings {
        segment_bytes: [160 << 10, 256 << 10][random.below(2) as usize],
        retention_bytes: random.one_in(2).then_some(6 * (256 << 10)),
        flush: [Flush::WriteThrough, Flush::DataSync][random.below(2) as usize],
        ..settings()
    }
}

#[test]
fn a_volume_fails_under_load_and_comes_back_empty() {
    let mut recycled = 0;
    for seed in seeds(30) {
        let mut random = Random::new(seed);
        let wanted = random.below(3) as u32;
        let mut world = Volumes::new(seed, 3, rules(2, wanted), chosen(&mut random));
        world.begin_load(seed);
        world.run(random.below(4_000));
        let gone = random.below(3) as u32;
        let kinds = [Operation::Write, Operation::WriteDurable, Operation::Flush];
        if random.one_in(3) {
            world.mirror.fence(gone, "it was pulled out");
        } else {
            world.disks[&gone].fail_after(kinds[random.below(3) as usize], random.below(3));
        }
        world.run(3_000 + random.below(6_000));
        if world.mirror.members().len() == 3 {
            // The operation that was to fail has not come.
            world.mirror.fence(gone, "it was pulled out");
        }
        assert!(!world.mirror.members().contains(&gone), "SEED={seed}");
        let fresh = new_disk(seed + 7_000);
        let before = world.sent.borrow().len();
        world.rebuild(3, &fresh).unwrap();
        let during = world.sent.borrow().len() - before;
        assert!(0 < during, "SEED={seed}: the load went on");
        world.run(random.below(3_000));
        world.stop();
        recycled += world.journal.size().recycled;
        assert_eq!(world.mirror.members().len(), 3);
        let acknowledged = world.acknowledged();
        assert!(acknowledged.iter().all(|told| *told), "SEED={seed}");
        world.check_same(seed);
        for volume in world.mirror.members() {
            world.check_alone(volume, seed);
            assert_eq!(world.recorded(volume, seed), world.mirror.members());
        }
    }
    assert!(20 < recycled || std::env::var_os("SEED").is_some());
}

#[test]
fn a_crash_during_a_rebuild_leaves_the_good_copies_good() {
    let (mut early, mut before, mut after) = (0, 0, 0);
    for seed in seeds(60) {
        let mut random = Random::new(seed);
        let mut world = Volumes::new(seed, 3, rules(2, 0), chosen(&mut random));
        world.begin_load(seed);
        world.run(2_000 + random.below(4_000));
        world.mirror.fence(1, "it was pulled out");
        let soon = random.one_in(3);
        let most = if soon { 300 } else { 12_000 };
        if soon {
            // The record that the volume has gone takes its time.
            let slow = Behaviour {
                polls_max: 150,
                ..Behaviour::default()
            };
            for volume in [0, 2] {
                world.disks[&volume].set_behaviour(slow);
            }
        } else {
            world.run(random.below(300));
        }
        // The same number again: whatever it held before is overwritten.
        let disk = world.disks[&1].clone();
        let member = member(1, &disk);
        let journal = world.journal.clone();
        let steps = random.below(most);
        let _ = world
            .executor
            .wait_at_most(steps, async { journal.rebuild(&member, &pace(2)).await });
        let named = world.recorded(0, seed).contains(&1);
        for volume in [0, 2] {
            world.check_alone(volume, seed);
            assert!(world.recorded(volume, seed).contains(&0));
        }
        if named {
            let in_service = world.mirror.members().contains(&1);
            if in_service {
                after += 1;
                world.check_alone(1, seed);
            } else {
                // The record that it is no member is not durable yet: it may be asked for.
                early += 1;
                let untouched = look(&world.disks[&1], &world.settings);
                assert!(untouched.unwrap().membership.is_some(), "SEED={seed}");
            }
        } else {
            before += 1;
        }
    }
    let replay = std::env::var_os("SEED").is_some();
    let each = 3 < early && 5 < before && 5 < after;
    assert!(replay || each, "{early} {before} {after}");
}

#[test]
fn too_few_volumes_refuse_with_the_reason_and_go_on_later() {
    for seed in seeds(30) {
        let mut random = Random::new(seed);
        let mut world = Volumes::new(seed, 3, rules(2, random.below(3) as u32), settings());
        world.begin_load(seed);
        world.run(2_000);
        world.disks[&0].fail_after(Operation::WriteDurable, random.below(4));
        world.disks[&1].fail_after(Operation::WriteDurable, random.below(4));
        world.run(6_000);
        assert_eq!(world.mirror.members(), [2], "SEED={seed}");
        let reason = world.journal.fault().expect("a reason");
        assert!(reason.contains("only 1 of 3 volumes"), "{reason}");
        let refused = offer(&world.journal, &[event(0, "x")]);
        assert!(matches!(refused, Err(AppendError::Refused(_))));
        let journal = world.journal.clone();
        let read = world.wait(journal.read(
            TopicIndex(0),
            journal.extent(TopicIndex(0)).low,
            10,
            1 << 20,
        ));
        assert!(!read.unwrap().is_empty(), "reads go on");
        world.check_alone(2, seed);
        let fresh = new_disk(seed + 7_000);
        world.rebuild(3, &fresh).unwrap();
        assert_eq!(world.journal.fault(), None, "SEED={seed}");
        let before = world.sent.borrow().len();
        world.run(4_000);
        world.stop();
        assert!(before < world.sent.borrow().len());
        assert!(world.acknowledged().last().copied().unwrap_or_default());
        world.check_same(seed);
        for volume in [2, 3] {
            world.check_alone(volume, seed);
            assert_eq!(world.recorded(volume, seed), [2, 3]);
        }
    }
}

/// Whichever of the writes around it is the one that the second volume fails at.
#[test]
fn a_segment_that_is_entered_with_too_few_volumes_lacks_no_frame() {
    for others in 0..16 {
        let mut world = Volumes::new(others, 2, rules(2, 0), settings());
        for number in 0..12 {
            world.store(0, vec![number; 30_000]);
        }
        world.disks[&1].fail_after(Operation::WriteDurable, others);
        for number in 12..24 {
            let value = vec![number; 30_000];
            if let Ok(ticket) = offer(&world.journal, &[event(0, value.clone())]) {
                let topic = 0;
                let one = Sent {
                    ticket,
                    topic,
                    value,
                };
                world.sent.borrow_mut().push(one);
            }
            world.executor.settle();
        }
        assert_eq!(world.mirror.members(), [0], "{others} writes before");
        world.rebuild(2, &new_disk(others + 7_000)).unwrap();
        world.store(0, b"last".to_vec());
        world.stop();
        for volume in [0, 2] {
            world.check_alone(volume, others);
        }
    }
}

/// Frames behind one that a volume fails at may be on all of them by then.
#[test]
fn a_journal_stops_whichever_frame_too_few_volumes_have() {
    for others in 0..120 {
        let chosen = Settings {
            frames_in_flight: 5,
            frame_bytes: 4096,
            ..settings()
        };
        let mut world = Volumes::new(others, 2, rules(2, 0), chosen);
        world.disks[&1].fail_after(Operation::WriteDurable, others % 12);
        world.begin_load(others);
        world.run(1_500);
        world.stop();
        assert_eq!(world.mirror.members(), [0], "{others} writes before");
    }
}

#[test]
fn a_journal_with_too_few_volumes_starts_for_readers_and_stops() {
    let mut world = Volumes::new(1, 2, rules(1, 0), settings());
    world.store(0, b"kept".to_vec());
    world.stop();
    let disk = world.disks[&1].crash(&mut Random::new(1));
    let disks = BTreeMap::from([(1, disk)]);
    let mut world = Volumes::start(2, disks, rules(2, 0), settings());
    let journal = world.journal.clone();
    let refused = offer(&journal, &[event(0, "x")]).unwrap_err();
    assert!(
        refused.to_string().contains("only 1 of 1 volumes"),
        "{refused}"
    );
    let read = world.wait(journal.read(TopicIndex(0), Offset(0), 10, 1 << 20));
    assert_eq!(read.unwrap()[0].value, b"kept");
    let fresh = new_disk(9);
    world.rebuild(5, &fresh).unwrap();
    world.store(0, b"more".to_vec());
    world.mirror.fence(5, "it was pulled out");
    world.executor.settle();
    assert!(world.journal.fault().is_some());
    world.stop();
}

#[test]
fn one_rebuild_at_a_time_and_none_of_who_is_there() {
    let mut world = Volumes::new(1, 3, rules(1, 0), settings());
    world.store(0, b"kept".to_vec());
    let disk = world.disks[&1].clone();
    assert!(matches!(
        world.rebuild(1, &disk),
        Err(RebuildError::InService(_))
    ));
    world.mirror.fence(1, "it was pulled out");
    let journal = world.journal.clone();
    let (one, other) = (member(1, &disk), member(3, &new_disk(4)));
    let both = world.wait(async {
        let never: Pace = Rc::new(|_| std::future::pending().boxed_local());
        let paused = journal.rebuild(&one, &never);
        let other = async {
            pause(300).await;
            journal.rebuild(&other, &pace(0)).await
        };
        let other = std::pin::pin!(other);
        match futures_util::future::select(std::pin::pin!(paused), other).await {
            futures_util::future::Either::Right((other, _)) => other,
            futures_util::future::Either::Left(_) => panic!("it cannot come to an end"),
        }
    });
    assert!(matches!(both, Err(RebuildError::Busy)));
    let standing = world.mirror.standing();
    assert!(
        matches!(standing[1].state, State::Absent { .. }),
        "{standing:?}"
    );
    world.rebuild(1, &disk).unwrap();
    assert_eq!(world.mirror.members(), [0, 1, 2]);
}
