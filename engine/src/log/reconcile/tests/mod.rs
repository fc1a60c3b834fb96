//! What becomes of several volumes at a start, on simulated disks. Every test with many runs is a function of
//! its seeds: `SEED=n` runs that one alone, `SEEDS=n` so many times as many.

mod crash;
mod founding;
mod heal;
mod loss;
mod orders;
mod swap;
mod unread;

use super::super::disk::Disk;
use super::super::format::StoreId;
use super::super::format::frame::FrameHeader;
use super::super::format::loss::Losses;
use super::super::journal::{
    AppendError, Journal, Keeping, Pace, ReadError, Request, RoutedEvent, Settings, Step,
};
use super::super::mirror::{Member, Mirror, Rules};
use super::super::recover::{Identity, Recovered, recover};
use super::super::simulated::{Behaviour, Executor, File, Halt, Random, SimulatedDisk, pause};
use super::super::{Flush, Origin};
use super::{Permissions, ReconcileError, Reconciled, reconcile};
use crate::limit::BLOCK_BYTES;
use crate::unit::{JournalId, Micros, Offset, TopicId, TopicIndex};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

const FOLDER: &str = "journal-0";
const SEGMENT_BYTES: u64 = 256 << 10;
const IDENTITY: Identity = Identity {
    store: StoreId(0xbeef),
    journal: JournalId(0),
    segment_bytes: SEGMENT_BYTES,
};
const TOPICS: u32 = 3;
const BLOCK: usize = BLOCK_BYTES as usize;

type Volumes = BTreeMap<u32, SimulatedDisk>;
/// The values of each topic, by offset.
type Model = BTreeMap<u32, Vec<Vec<u8>>>;

/// As they are by default with so many volumes in the configuration: more than half, or one of two.
fn rules(volumes: usize) -> Rules {
    Rules {
        volumes_min: if volumes < 3 { 1 } else { 2 },
        durable_volumes: 0,
        lag_bytes_max: 1 << 30,
    }
}

fn settings() -> Settings {
    Settings {
        store: IDENTITY.store,
        journal: IDENTITY.journal,
        segment_bytes: SEGMENT_BYTES,
        prepared: 1,
        retention_bytes: None,
        keeping: Keeping {
            repack_below: 50,
            spool: None,
            ..Keeping::default()
        },
        origin: Origin::None,
        commit_wait_us: 0,
        frame_bytes: 16 << 10,
        frame_bytes_max: 64 << 10,
        frames_in_flight: 4,
        flush: Flush::WriteThrough,
        tail_bytes: 1 << 20,
    }
}

fn seeds(count: u64) -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..count * number("SEEDS").unwrap_or(1) + 1,
    }
}

fn new_disk(seed: u64) -> SimulatedDisk {
    let disk = SimulatedDisk::new(seed, Behaviour::default());
    let made = Executor::new(seed).wait(disk.make_folder(FOLDER));
    made.unwrap().unwrap();
    disk
}

fn new_volumes(seed: u64, count: u32) -> Volumes {
    (0..count)
        .map(|volume| (volume, new_disk(seed * 97 + u64::from(volume))))
        .collect()
}

fn members(volumes: &Volumes) -> Vec<Member<SimulatedDisk>> {
    let member = |(volume, disk): (&u32, &SimulatedDisk)| Member {
        volume: *volume,
        name: format!("/v{volume}").into(),
        disk: disk.clone(),
    };
    volumes.iter().map(member).collect()
}

fn try_reconcile(
    volumes: Vec<Member<SimulatedDisk>>,
    permissions: &Permissions,
) -> Result<Reconciled<SimulatedDisk>, ReconcileError> {
    let rules = rules(volumes.len());
    let reconciling = reconcile(volumes, FOLDER, IDENTITY, rules, permissions);
    Executor::new(1)
        .wait(reconciling)
        .expect("it comes to its end")
}

fn look(disk: &SimulatedDisk) -> Recovered<File> {
    let found = Executor::new(0).wait(recover(disk, FOLDER, IDENTITY));
    found.unwrap().unwrap()
}

fn crash(volumes: &Volumes, random: &mut Random) -> Volumes {
    let crash = |(volume, disk): (&u32, &SimulatedDisk)| (*volume, disk.copy_after_crash(random));
    volumes.iter().map(crash).collect()
}

/// A running journal on some volumes.
struct World {
    executor: Executor,
    volumes: Volumes,
    journal: Journal<Mirror<SimulatedDisk>>,
    to_rebuild: Vec<u32>,
    reasons: Vec<Rc<str>>,
    notes: Vec<String>,
}

fn start(seed: u64, volumes: &Volumes, permissions: &Permissions) -> Result<World, String> {
    start_with(seed, volumes, permissions, |_| {})
}

/// Starts with another account of the losses than was found.
fn start_with(
    seed: u64,
    volumes: &Volumes,
    permissions: &Permissions,
    account: impl FnOnce(&mut Losses),
) -> Result<World, String> {
    let mut executor = Executor::new(seed);
    let rules = rules(volumes.len());
    let reconciling = reconcile(members(volumes), FOLDER, IDENTITY, rules, permissions);
    let reconciled = executor
        .wait(reconciling)
        .map_err(|halt| halt.to_string())?;
    let reconciled = reconciled.map_err(|error| error.to_string())?;
    let Reconciled {
        mirror,
        tender,
        mut recovered,
        to_rebuild,
        notes,
    } = reconciled;
    account(&mut recovered.losses);
    executor.spawn(tender.run());
    let clock = Cell::new(1_700_000_000_000_000 + (seed << 10));
    let now = move || {
        clock.set(clock.get() + 7);
        Micros(clock.get())
    };
    let name = |topic| Arc::from(format!("topic-{topic}"));
    let table = (0..TOPICS).map(|topic| (id_of(topic), name(topic)));
    let folder = FOLDER.to_owned();
    let starting = Journal::start(mirror, folder, settings(), recovered, table, Rc::new(now));
    let started = executor.wait(starting).map_err(|halt| halt.to_string())?;
    let (journal, mut committer, mut preparer) = started.map_err(|error| error.to_string())?;
    executor.spawn(async move {
        while !matches!(committer.step().await, Step::Stopped | Step::Failed(_)) {}
    });
    executor.spawn(async move { preparer.run().await });
    Ok(World {
        executor,
        volumes: volumes.clone(),
        journal,
        reasons: to_rebuild
            .iter()
            .map(|(_, reason)| reason.clone())
            .collect(),
        to_rebuild: to_rebuild.iter().map(|(member, _)| member.volume).collect(),
        notes,
    })
}

fn id_of(topic: u32) -> TopicId {
    TopicId(1000 + u128::from(topic))
}

impl World {
    fn new(seed: u64, count: u32) -> Self {
        let started = start(seed, &new_volumes(seed, count), &Permissions::default());
        started.unwrap_or_else(|reason| panic!("SEED={seed}: {reason}"))
    }

    fn append(&mut self, topic: u32, value: &[u8]) -> Result<(), AppendError> {
        let journal = self.journal.clone();
        let appended = self.executor.wait(async {
            loop {
                let event = RoutedEvent {
                    topic: TopicIndex(topic),
                    start: 0,
                    bytes: value.len() as u32,
                };
                let request = Request {
                    source: value,
                    events: &[event],
                    origin: None,
                    kinds: &[],
                };
                match journal.append(Micros(5), &request) {
                    Err(AppendError::Full) => pause(1).await,
                    other => return other.map(drop),
                }
            }
        });
        appended.expect("room comes")
    }

    /// Appends that many events of a seed's sizes, waiting for each: all of them are acknowledged.
    fn store(&mut self, model: &mut Model, random: &mut Random, count: u32) {
        for _ in 0..count {
            let topic = random.below(u64::from(TOPICS)) as u32;
            let values = model.entry(topic).or_default();
            let mut value = (values.len() as u32).to_le_bytes().to_vec();
            value.resize(4 + random.below(9_000) as usize, topic as u8);
            self.append(topic, &value).unwrap();
            self.until_durable();
            values.push(value);
        }
    }

    fn until_durable(&mut self) {
        let journal = self.journal.clone();
        let ticket = journal.last_ticket();
        let durable = async {
            while journal.durable() < Some(ticket) {
                assert_eq!(journal.fault(), None);
                pause(1).await;
            }
        };
        self.executor.wait(durable).expect("it becomes durable");
    }

    /// Writes the closing frame of an idle journal.
    fn close(&mut self) {
        self.journal.tick();
        self.executor.settle();
    }

    /// Everything that can be read of a topic, by offset; what is lost is passed over.
    fn read(&mut self, topic: u32) -> BTreeMap<u64, Vec<u8>> {
        let journal = self.journal.clone();
        let (mut values, mut next) = (BTreeMap::new(), journal.extent(TopicIndex(topic)).low);
        while next < journal.extent(TopicIndex(topic)).next {
            let reading = journal.read(TopicIndex(topic), next, usize::MAX, usize::MAX);
            match self
                .executor
                .wait(reading)
                .expect("a read comes to its end")
            {
                Ok(records) => {
                    for record in records {
                        assert_eq!(record.offset, next);
                        next = Offset(next.0 + 1);
                        values.insert(record.offset.0, record.value);
                    }
                }
                Err(ReadError::Lost { next: after }) => {
                    assert!(next < after);
                    next = after;
                }
                Err(error) => panic!("{error}"),
            }
        }
        values
    }

    /// What was acknowledged is there, at its offset.
    fn check(&mut self, model: &Model, seed: u64) {
        for (topic, values) in model {
            let found = self.read(*topic);
            for (offset, value) in values.iter().enumerate() {
                let there = found.get(&(offset as u64)) == Some(value);
                assert!(there, "SEED={seed} topic {topic} offset {offset}");
            }
        }
    }

    fn crash(self, random: &mut Random) -> Volumes {
        crash(&self.volumes, random)
    }
}

/// A journal with acknowledged events on so many volumes, off; and an older copy of each.
fn some_history(seed: u64, count: u32) -> (Volumes, Volumes, Model) {
    let mut random = Random::new(seed);
    let (mut world, mut model) = (World::new(seed, count), Model::new());
    world.store(&mut model, &mut random, 20 + (seed % 40) as u32);
    let older = crash(&world.volumes, &mut random);
    world.store(&mut model, &mut random, 12);
    world.close();
    (world.crash(&mut random), older, model)
}

/// Whole frame headers of a volume's newest segments, by file: only those of the walk.
fn frames(disk: &SimulatedDisk) -> Vec<(String, FrameHeader)> {
    let mut all = Vec::new();
    for walked in look(disk).walked {
        let name = walked.segment.name;
        let bytes = disk.contents(&name).unwrap();
        let frames = bytes[..walked.end as usize].chunks(BLOCK);
        let frames = frames.filter_map(|block| FrameHeader::decode(block).ok());
        let own = frames.filter(|(header, _)| header.life == walked.segment.life);
        all.extend(own.map(|(header, _)| (name.clone(), header)));
    }
    all
}

/// Turns a bit over in a frame, in its header or behind it.
fn damage(disk: &SimulatedDisk, (name, frame): &(String, FrameHeader), random: &mut Random) {
    let byte = if frame.sections.is_empty() {
        40
    } else {
        random.below(frame.bytes() as u64)
    };
    // A bit of padding between sections means nothing.
    let byte = if frame.bytes() as u64 - byte < 64 {
        40
    } else {
        byte
    };
    let byte = if (450..520).contains(&byte) { 40 } else { byte };
    assert!(disk.flip(name, (frame.position + byte) * 8));
}

/// Their chains end at the same frame.
fn assert_same_end(volumes: &Volumes) {
    let ends: Vec<_> = volumes
        .values()
        .map(|disk| {
            let found = look(disk);
            (found.epoch, found.last, found.chain)
        })
        .collect();
    assert!(ends.windows(2).all(|pair| pair[0] == pair[1]), "{ends:?}");
}

/// Two volumes of three, of which one has the last frame and the other the one before. `None` when no two frames
/// were in flight.
fn scattered(seed: u64) -> Option<(Volumes, Model)> {
    let (mut world, mut random) = (World::new(seed, 3), Random::new(seed));
    let mut model = Model::new();
    world.store(&mut model, &mut random, 5);
    for byte in [7, 8] {
        let value = vec![byte; 20_000];
        world.append(0, &value).unwrap();
        model.entry(0).or_default().push(value);
    }
    world.until_durable();
    let mut volumes = world.crash(&mut random);
    let all = frames(&volumes[&0]);
    let [.., (place, before), (name, last)] = &all[..] else {
        panic!("SEED={seed}: there are frames");
    };
    if place != name || Some(before.sequence) <= last.durable_upto {
        return None;
    }
    // Their writes were in flight together, and each volume has done another one. The first is gone.
    volumes.remove(&0);
    assert!(volumes[&1].put(name, before.position, &[0; BLOCK]));
    assert!(volumes[&2].put(name, last.position, &[0; BLOCK]));
    Some((volumes, model))
}
