//! What was acknowledged is there after a crash, exactly; what was not is there whole or not at all.

use super::*;
use crate::log::format::checksum::crc64;
use crate::log::format::footer::{FOOTER_BYTES, Footer};
use crate::log::format::segment::{HEADER_BYTES, SegmentHeader};
use crate::log::recover::segment_number;
use std::future::pending;

/// A request as the workload remembers it.
#[derive(Clone)]
struct Sent {
    ticket: Ticket,
    events: Vec<Event>,
}

/// What is known to be in the log, over several lives of the machine.
#[derive(Default)]
struct Ledger {
    /// What was found after the last crash.
    settled: Model,
    /// Appended since then, in order.
    sent: Vec<Sent>,
    number: u64,
}

impl Ledger {
    fn compose(&mut self, random: &mut Random, topics: u32) -> Vec<Event> {
        self.number += 1;
        let count = 1 + random.below(6);
        let large = random.one_in(9);
        let one = |index| {
            let topic = random.below(u64::from(topics)) as u32;
            let bytes = random.below(if large { 7_000 } else { 300 }) as usize;
            let mut value = format!("{}.{index} ", self.number).into_bytes();
            value.resize(value.len() + bytes, b'x');
            event(topic, value)
        };
        (0..count).map(one).collect()
    }

    /// Compares what is there with what was sent; the requests upto `durable` must be.
    fn check(&mut self, world: &mut World, topics: u32, durable: Option<Ticket>, seed: u64) {
        let found: Model = (0..topics)
            .map(|topic| (topic, world.values(topic)))
            .collect();
        let mut expected: Model = (0..topics).map(|topic| (topic, Vec::new())).collect();
        for (topic, values) in &self.settled {
            expected.insert(*topic, values.clone());
        }
        let mut rest = self.sent.iter();
        // Frames are dropped from the end only, so what is there is a whole number of requests from the first.
        for sent in rest.by_ref() {
            if Some(sent.ticket) > durable && expected == found {
                break;
            }
            add(&mut expected, &sent.events);
        }
        let lengths = |model: &Model| model.values().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(
            lengths(&found),
            lengths(&expected),
            "SEED={seed}: acknowledged upto {durable:?}"
        );
        assert!(found == expected, "SEED={seed}: the contents differ");
        self.settled = found;
        self.sent.clear();
    }
}

fn settings_of(random: &mut Random) -> Settings {
    let mut chosen = settings();
    chosen.flush = if random.one_in(2) {
        Flush::WriteThrough
    } else {
        Flush::DataSync
    };
    chosen.frames_in_flight = 1 + random.below(6) as usize;
    chosen.prepared = 1 + random.below(3) as usize;
    chosen.frame_bytes = 4096 << random.below(4);
    chosen.segment_bytes = [160 << 10, 256 << 10, SEGMENT_BYTES][random.below(3) as usize];
    chosen
}

/// One life of the machine: a workload until some step, then the power goes.
fn live(world: &mut World, ledger: &mut Ledger, random: &mut Random, topics: u32) {
    let steps = 20 + random.below(3_000);
    let journal = world.journal.clone();
    let ticks = random.below(40) + 2;
    let mut seen = None;
    let workload = async {
        loop {
            let events = ledger.compose(random, topics);
            let Ok(ticket) = append(&journal, &events).await else {
                return;
            };
            ledger.sent.push(Sent { ticket, events });
            assert!(seen <= journal.durable());
            seen = journal.durable();
            if random.one_in(ticks) {
                journal.tick();
                journal.try_again();
            }
            let rest = if random.one_in(8) { 60 } else { 4 };
            pause(random.below(rest)).await;
        }
    };
    let _ = world.executor.wait_at_most(steps, workload);
}

#[test]
fn a_crash_at_any_step_keeps_what_was_acknowledged() {
    const TOPICS: u32 = 5;
    for seed in seeds(50) {
        let mut random = Random::new(seed);
        let chosen = settings_of(&mut random);
        let mut disk = new_disk(seed);
        let mut ledger = Ledger::default();
        for _ in 0..4 {
            let mut world =
                World::start(random.draw(), disk.clone(), chosen.clone(), TOPICS as usize);
            ledger.check(&mut world, TOPICS, None, seed);
            live(&mut world, &mut ledger, &mut random, TOPICS);
            let durable = world.journal.durable();
            disk = world.disk.crash(&mut random);
            let mut after =
                World::try_start(random.draw(), disk.clone(), chosen.clone(), TOPICS as usize)
                    .unwrap_or_else(|reason| panic!("SEED={seed}: {reason}"));
            ledger.check(&mut after, TOPICS, durable, seed);
            disk = after.disk.crash(&mut random);
        }
    }
}

/// Crashes while it starts, again and again, do not harm either.
#[test]
fn a_crash_during_the_start_keeps_what_was_acknowledged() {
    const TOPICS: u32 = 3;
    for seed in seeds(40) {
        let mut random = Random::new(seed);
        let chosen = settings_of(&mut random);
        let mut ledger = Ledger::default();
        let mut world = World::start(seed, new_disk(seed), chosen.clone(), TOPICS as usize);
        live(&mut world, &mut ledger, &mut random, TOPICS);
        let durable = world.journal.durable();
        let mut disk = world.disk.crash(&mut random);
        for _ in 0..6 {
            let clock = Rc::new(Cell::new(random.draw() >> 12));
            let start = take_up(disk.clone(), chosen.clone(), TOPICS as usize, clock);
            let steps = random.below(120);
            let started = Executor::new(random.draw()).wait_at_most(steps, start);
            if let Ok(Err(reason)) = started {
                panic!("SEED={seed}: {reason}");
            }
            disk = disk.crash(&mut random);
        }
        let mut world = World::start(random.draw(), disk, chosen, TOPICS as usize);
        ledger.check(&mut world, TOPICS, durable, seed);
    }
}

#[test]
fn a_ticket_is_durable_only_when_a_crash_keeps_it() {
    for seed in seeds(25) {
        let mut random = Random::new(seed);
        let mut world = World::start(seed, new_disk(seed), settings_of(&mut random), 2);
        let mut expected = Vec::new();
        let mut waiting: Vec<(Ticket, Vec<u8>)> = Vec::new();
        for number in 0..40u32 {
            let value = vec![number as u8; random.below(3_000) as usize];
            let ticket = world.append(&[event(1, value.clone())]).unwrap();
            assert!(waiting.last().is_none_or(|(last, _)| *last <= ticket));
            waiting.push((ticket, value));
            let _ = world
                .executor
                .wait_at_most(random.below(30), pause(u64::MAX));
            let durable = world.journal.durable();
            let done = waiting.partition_point(|(ticket, _)| Some(*ticket) <= durable);
            let done: Vec<_> = waiting.drain(..done).map(|(_, value)| value).collect();
            if done.is_empty() {
                continue;
            }
            expected.extend(done);
            let copy = world.disk.copy_after_crash(&mut random);
            let mut after = World::start(seed, copy, world.journal.settings(), 2);
            let found = after.values(1);
            assert!(
                found.starts_with(&expected),
                "SEED={seed} {} of {}",
                found.len(),
                expected.len()
            );
        }
    }
}

#[test]
fn crashes_with_retention_keep_what_is_left_in_order() {
    const TOPICS: u32 = 3;
    for seed in seeds(25) {
        let mut random = Random::new(seed);
        let mut chosen = settings_of(&mut random);
        chosen.retention_bytes = Some(5 * chosen.segment_bytes);
        let mut disk = new_disk(seed);
        let mut sent: Model = Model::new();
        for _ in 0..3 {
            let mut world = World::start(random.draw(), disk, chosen.clone(), TOPICS as usize);
            let journal = world.journal.clone();
            for number in 0..120u32 {
                let topic = random.below(u64::from(TOPICS)) as u32;
                let mut value = number.to_le_bytes().to_vec();
                value.resize(8_000 + random.below(20_000) as usize, 1);
                let events = [event(topic, value)];
                world.append(&events).unwrap();
                add(&mut sent, &events);
            }
            world.until_durable(journal.last_ticket());
            let _ = world
                .executor
                .wait_at_most(random.below(400), pause(u64::MAX));
            let lows: Vec<_> = (0..TOPICS)
                .map(|topic| journal.extent(TopicIndex(topic)).low)
                .collect();
            disk = world.disk.crash(&mut random);
            let mut after =
                World::start(random.draw(), disk.clone(), chosen.clone(), TOPICS as usize);
            let extents: Vec<_> = (0..TOPICS)
                .map(|topic| after.journal.extent(TopicIndex(topic)))
                .collect();
            for (topic, extent) in (0..TOPICS).zip(extents) {
                let all = sent.entry(topic).or_default();
                assert!(extent.low <= lows[topic as usize], "SEED={seed}");
                assert_eq!(
                    extent.next,
                    offset_of(all.len() as u64),
                    "SEED={seed} topic {topic}"
                );
                let found = after.values(topic);
                assert!(all.ends_with(&found), "SEED={seed} topic {topic}");
            }
            disk = after.disk.crash(&mut random);
        }
    }
}

#[test]
fn watermarks_are_durable_before_a_segment_is_used_again() {
    for seed in seeds(12) {
        let mut random = Random::new(seed);
        let mut chosen = settings_of(&mut random);
        chosen.segment_bytes = 160 << 10;
        chosen.retention_bytes = Some(0);
        let mut world = World::start(seed, new_disk(seed), chosen.clone(), 2);
        for number in 0..60u8 {
            world
                .append(&[event(u32::from(number % 2), vec![number; 15_000])])
                .unwrap();
            let steps = random.below(40);
            let _ = world.executor.wait_at_most(steps, pause(u64::MAX));
            let copy = world.disk.copy_after_crash(&mut random);
            let mut after = World::start(seed, copy, chosen.clone(), 2);
            for topic in 0..2 {
                // Whatever is not gone can be read.
                let read = after.read_all(topic).len() as u64;
                let extent = after.journal.extent(TopicIndex(topic));
                assert!(extent.next.0 - extent.low.0 <= read, "SEED={seed}");
            }
        }
    }
}

/// The footer of a file's own life, if there is one; its index must be whole.
fn check_footer(bytes: &[u8]) -> bool {
    let header = SegmentHeader::decode(&bytes[..HEADER_BYTES]);
    let (rest, block) = bytes.split_at(bytes.len() - FOOTER_BYTES);
    let (Ok(header), Ok(footer)) = (header, Footer::decode(block)) else {
        return false;
    };
    if header.life != footer.life {
        return false;
    }
    let index = &rest[rest.len() - footer.index_bytes as usize..];
    assert_eq!(crc64(index), footer.index_checksum);
    true
}

#[test]
fn a_footer_that_a_crash_leaves_has_its_index() {
    let mut footers = 0;
    for seed in seeds(6) {
        let mut random = Random::new(seed);
        let mut chosen = settings_of(&mut random);
        chosen.segment_bytes = 160 << 10;
        let mut world = World::start(seed, new_disk(seed), chosen, 1);
        for _ in 0..500 {
            let _ = world.append(&[event(0, vec![b'x'; 8_000])]);
            let _ = world.executor.wait_at_most(4, pending::<()>());
            let disk = world.disk.copy_after_crash(&mut random);
            let paths = disk.paths();
            let is_segment = |path: &&String| {
                let (_, name) = path.rsplit_once('/').unwrap_or_default();
                segment_number(name).is_some()
            };
            let segments = paths.iter().filter(is_segment);
            let contents = segments.filter_map(|path| disk.contents(path));
            let whole = contents.filter(|bytes| HEADER_BYTES + FOOTER_BYTES <= bytes.len());
            footers += whole.filter(|bytes| check_footer(bytes)).count();
        }
    }
    assert!(0 < footers);
}
