//! Damage that no copy can repair: named, given up only when allowed, recorded, never served.

use super::super::super::format::forwarded::Forwarded;
use super::super::super::format::loss::{Loss, Losses, LostRange};
use super::super::super::format::section::Frame;
use super::super::super::journal::Followed;
use super::super::super::simulated::Chances;
use super::*;
use crate::unit::Epoch;

/// What a frame holds, by its table.
fn ranges(disk: &SimulatedDisk, (name, header): &(String, FrameHeader)) -> Vec<LostRange> {
    let bytes = disk.contents(name).unwrap();
    let frame = Frame::check(&bytes[header.position as usize..]).unwrap();
    let batches = frame.batches().unwrap().into_iter();
    let range = |row: super::super::super::format::section::BatchRow| {
        LostRange::new(row.topic, row.base_offset, row.next())
    };
    batches.map(|(row, _)| range(row)).collect()
}

fn carries(frame: &(String, FrameHeader)) -> bool {
    use super::super::super::format::frame::SectionKind;
    frame.1.place(SectionKind::PAYLOAD).is_some()
}

const ACCEPT: Permissions = Permissions {
    without_unknown: 0,
    without: Vec::new(),
    accept_loss: true,
};

/// Turns the same bit over on all volumes.
fn damage_all(volumes: &Volumes, (name, frame): &(String, FrameHeader), byte: u64) {
    for disk in volumes.values() {
        assert!(disk.flip(name, (frame.position + byte) * 8));
    }
}

/// All frames of the walk that carry events and are not the last.
fn data_frames(volumes: &Volumes) -> Vec<(String, FrameHeader)> {
    let all = frames(&volumes[&0]);
    let upto = all.len().saturating_sub(2);
    all.into_iter().take(upto).filter(carries).collect()
}

/// Everything is read, but for these; nothing else is.
fn check_but(world: &mut World, model: &Model, lost: &[LostRange], seed: u64) {
    let is_lost = |topic: u32, offset: u64| {
        lost.iter().any(|range| {
            range.topic == id_of(topic) && range.first.0 <= offset && offset < range.next.0
        })
    };
    for (topic, values) in model {
        let found = world.read(*topic);
        for (offset, value) in (0..).zip(values) {
            let wanted = (!is_lost(*topic, offset)).then_some(value);
            assert_eq!(
                found.get(&offset),
                wanted,
                "SEED={seed} topic {topic}: {offset}"
            );
        }
        let next = world.journal.extent(TopicIndex(*topic)).next;
        assert!(
            values.len() as u64 <= next.0,
            "SEED={seed}: an offset is used twice"
        );
    }
}

#[test]
fn damage_without_a_good_copy_is_named_exactly_and_nothing_is_changed() {
    for count in [1, 3] {
        let (volumes, _, _) = some_history(30, count);
        let frame = data_frames(&volumes).pop().unwrap();
        let range = ranges(&volumes[&0], &frame)[0];
        damage_all(&volumes, &frame, 700);
        let before: Vec<_> = volumes.values().map(SimulatedDisk::paths).collect();
        let error = try_reconcile(members(&volumes), &Permissions::default()).err();
        let Some(ReconcileError::Damaged(damage)) = error else {
            panic!("{:?}", error.map(|error| error.to_string()));
        };
        let (name, header) = &frame;
        let wound = &damage.wounds[0];
        assert_eq!(&wound.file, name);
        let end = header.position + header.padded_bytes() as u64;
        assert_eq!((wound.from, wound.to), (header.position, end));
        assert_eq!(
            (wound.loss.first, wound.loss.last),
            (header.sequence, header.sequence)
        );
        assert_eq!(wound.loss.topics, [range]);
        let topic = range.topic.0 - 1000;
        let (first, next) = (range.first.0, range.next.0);
        let told = format!("topic-{topic} from offset {first} to before {next}");
        assert!(damage.to_string().contains(&told), "{damage}");
        let after: Vec<_> = volumes.values().map(SimulatedDisk::paths).collect();
        assert_eq!(before, after);
    }
}

#[test]
fn an_accepted_loss_keeps_what_is_sound_and_never_serves_the_lost() {
    let mut given_up = 0;
    for seed in seeds(30) {
        let mut random = Random::new(seed);
        let (volumes, _, mut model) = some_history(seed, if seed % 2 == 0 { 1 } else { 3 });
        let mut all = data_frames(&volumes);
        if all.len() < 4 {
            continue;
        }
        given_up += 1;
        let mut lost = Vec::new();
        for _ in 0..=random.below(2) {
            let frame = all.remove(random.below(all.len() as u64) as usize);
            lost.extend(ranges(&volumes[&0], &frame));
            // In its header, its table or its payload.
            let end = frame.1.bytes() as u64;
            let byte = [40, 600, end - 20][random.below(3) as usize];
            damage_all(&volumes, &frame, byte);
        }
        assert!(start(seed, &volumes, &Permissions::default()).is_err());
        let mut world =
            start(seed, &volumes, &ACCEPT).unwrap_or_else(|reason| panic!("SEED={seed}: {reason}"));
        assert!(world.notes.iter().any(|note| note.contains("given up")));
        assert!(world.to_rebuild.is_empty(), "SEED={seed}");
        let recorded = world.journal.losses().told.len();
        assert!(0 < recorded);
        // Offsets that nothing can tell of are given up, too, and so they begin later.
        for topic in 0..TOPICS {
            let next = world.journal.extent(TopicIndex(topic)).next.0 as usize;
            let values = model.entry(topic).or_default();
            let first = Offset(values.len() as u64);
            let (topic, next) = (id_of(topic), Offset(next.max(values.len()) as u64));
            values.resize(next.0 as usize, Vec::new());
            lost.push(LostRange::new(topic, first, next));
        }
        check_but(&mut world, &model, &lost, seed);
        world.store(&mut model, &mut random, 6);
        check_but(&mut world, &model, &lost, seed);
        for count in [0, 60, 0] {
            world.store(&mut model, &mut random, count);
            world.close();
            let volumes = world.crash(&mut random);
            world = start(seed, &volumes, &Permissions::default())
                .unwrap_or_else(|reason| panic!("SEED={seed}: {reason}"));
            assert_eq!(world.journal.losses().told.len(), recorded, "SEED={seed}");
            check_but(&mut world, &model, &lost, seed);
            let journal = world.journal.clone();
            let pace: Pace = Rc::new(|_| Box::pin(pause(1)));
            let scrubbing = async { journal.scrub(&pace).await };
            let scrubbed = world.executor.wait(scrubbing).unwrap();
            assert_eq!(
                scrubbed.lost, 0,
                "SEED={seed}: what was accepted is counted as damage"
            );
            assert_eq!(journal.take_decay(), [], "SEED={seed}");
        }
    }
    assert!(10 < given_up, "{given_up}");
}

#[test]
fn a_crash_while_a_loss_is_given_up_does_not_forget_it() {
    for seed in seeds(8) {
        let mut random = Random::new(seed);
        let (volumes, _, model) = some_history(seed + 10, 1);
        let Some(frame) = data_frames(&volumes).pop() else {
            continue;
        };
        let lost = ranges(&volumes[&0], &frame);
        damage_all(&volumes, &frame, 700);
        for steps in (0..400).step_by(9) {
            let copies = crash(&volumes, &mut random);
            let mut executor = Executor::new(random.draw());
            let starting = async {
                let all = members(&copies);
                let reconciled = reconcile(all, FOLDER, IDENTITY, rules(1), &ACCEPT).await;
                let found = reconciled.unwrap_or_else(|error| panic!("{error}"));
                let table = std::iter::empty();
                let (folder, clock) = (FOLDER.to_owned(), Rc::new(|| Micros(9)));
                let started = Journal::start(
                    found.mirror,
                    folder,
                    settings(),
                    found.recovered,
                    table,
                    clock,
                );
                let (_, mut committer, _) = started.await.unwrap_or_else(|error| panic!("{error}"));
                loop {
                    committer.step().await;
                }
            };
            let _: Result<(), Halt> = executor.wait_at_most(steps, starting);
            let after = crash(&copies, &mut random);
            // Either it is damaged still, or it is recorded.
            let mut world = match start(seed, &after, &Permissions::default()) {
                Ok(world) => world,
                Err(_) => start(seed, &after, &ACCEPT).unwrap(),
            };
            assert_eq!(
                world.journal.losses().told.len(),
                1,
                "SEED={seed} step {steps}"
            );
            check_but(&mut world, &model, &lost, seed);
        }
    }
}

#[test]
fn a_lost_segment_is_given_up_and_what_follows_is_kept() {
    let (mut world, mut model) = (World::new(7, 1), Model::new());
    let mut random = Random::new(7);
    world.store(&mut model, &mut random, 200);
    world.executor.settle();
    let volumes = world.crash(&mut random);
    let found = look(&volumes[&0]);
    assert!(2 < found.sealed.len());
    let gone = &found.sealed[1];
    let bytes = volumes[&0].contents(&gone.name).unwrap();
    let mut lost = Vec::new();
    for at in (0..bytes.len()).step_by(BLOCK) {
        if let Ok((header, _)) = FrameHeader::decode(&bytes[at..])
            && header.life == gone.life
        {
            lost.extend(ranges(&volumes[&0], &(gone.name.clone(), header)));
        }
    }
    let removed = Executor::new(1).wait(async {
        volumes[&0].remove(&gone.name).await?;
        volumes[&0].flush_folder(FOLDER).await
    });
    removed.unwrap().unwrap();
    assert!(start(7, &volumes, &Permissions::default()).is_err());
    let mut world = start(7, &volumes, &ACCEPT).unwrap();
    check_but(&mut world, &model, &lost, 7);
    world.executor.settle();
    let volumes = world.crash(&mut random);
    let mut world = start(7, &volumes, &Permissions::default()).unwrap();
    assert_eq!(world.journal.losses().told.len(), 1);
    check_but(&mut world, &model, &lost, 7);
}

#[test]
fn what_is_lost_stays_lost_when_space_is_given_back() {
    let mut rewritten = 0;
    for seed in seeds(8) {
        let mut random = Random::new(seed);
        let (volumes, _, mut model) = some_history(seed, if seed % 2 == 0 { 1 } else { 3 });
        let Some(frame) = data_frames(&volumes).pop() else {
            continue;
        };
        damage_all(&volumes, &frame, 700);
        let mut world = start(seed, &volumes, &ACCEPT).unwrap();
        // The bit may lie in padding, which means nothing.
        let Some(lost) = world
            .journal
            .losses()
            .told
            .first()
            .map(|loss| loss.topics.clone())
        else {
            continue;
        };
        world.store(&mut model, &mut random, 120);
        let journal = world.journal.clone();
        let end = journal.extent(TopicIndex(0)).next;
        let truncated = journal.truncate(TopicIndex(0), end, None);
        world.executor.wait(truncated).unwrap().unwrap();
        let end = journal.extent(TopicIndex(1)).next;
        let truncated = journal.truncate(TopicIndex(1), end, None);
        world.executor.wait(truncated).unwrap().unwrap();
        let mut tidier = journal.tidier(Rc::new(|_| Box::pin(pause(1))));
        world.executor.spawn(async move { tidier.run().await });
        for round in 1..30 {
            let now = 1_600_000_000_000_000 + round * 100_000_000;
            journal.tidy(Micros(now));
            world.executor.settle();
        }
        rewritten += journal.size().tidied.repacked;
        model.retain(|topic, _| 2 == *topic);
        check_but(&mut world, &model, &lost, seed);
        let volumes = world.crash(&mut random);
        let mut world = start(seed, &volumes, &Permissions::default())
            .unwrap_or_else(|reason| panic!("SEED={seed}: {reason}"));
        check_but(&mut world, &model, &lost, seed);
    }
    assert!(0 < rewritten || std::env::var_os("SEED").is_some());
}

/// A journal that has accepted several losses apart from each other, off; what was stored, and what is lost.
fn losses_apart(seed: u64, random: &mut Random) -> (Volumes, Model, Vec<LostRange>) {
    let count = if seed.is_multiple_of(2) { 1 } else { 3 };
    let (mut volumes, _, mut model) = some_history(seed, count);
    let mut lost = Vec::new();
    for round in 1..6 {
        if let Some(frame) = data_frames(&volumes).pop() {
            lost.extend(ranges(&volumes[&0], &frame));
            damage_all(&volumes, &frame, 700);
        }
        // Each round has times of its own.
        let mut world = start(seed + 100 * round, &volumes, &ACCEPT).unwrap();
        world.store(&mut model, random, 9);
        world.close();
        volumes = world.crash(random);
    }
    (volumes, model, lost)
}

#[test]
fn losses_that_share_a_row_stay_lost_and_what_lies_between_is_served() {
    let mut shared = 0;
    for seed in seeds(8) {
        let mut random = Random::new(seed);
        let (volumes, mut model, lost) = losses_apart(seed, &mut random);
        let mut counts = None;
        let mut world = start_with(seed, &volumes, &Permissions::default(), |losses| {
            let before = (losses.places(), losses.offsets());
            losses.join_rows(1 + (seed % 2) as usize);
            losses.join_ranges(3);
            assert_eq!((losses.places(), losses.offsets()), before);
            counts = Some(before);
        })
        .unwrap_or_else(|reason| panic!("SEED={seed}: {reason}"));
        let is_shared = |loss: &Loss| !loss.is_exact();
        shared += world
            .journal
            .losses()
            .told
            .iter()
            .filter(|loss| is_shared(loss))
            .count();
        check_but(&mut world, &model, &lost, seed);
        for count in [12, 60, 0] {
            world.store(&mut model, &mut random, count);
            world.close();
            let volumes = world.crash(&mut random);
            world = start(seed, &volumes, &Permissions::default())
                .unwrap_or_else(|reason| panic!("SEED={seed}: {reason}"));
            let losses = world.journal.losses();
            assert_eq!(
                Some((losses.places(), losses.offsets())),
                counts,
                "SEED={seed}"
            );
            check_but(&mut world, &model, &lost, seed);
        }
    }
    assert!(4 < shared || std::env::var_os("SEED").is_some(), "{shared}");
}

#[test]
fn a_time_that_falls_among_losses_in_one_row_is_found() {
    for seed in seeds(8) {
        let mut random = Random::new(seed);
        let (volumes, ..) = losses_apart(seed, &mut random);
        let account = |losses: &mut Losses| {
            losses.join_rows(1);
            losses.join_ranges(3);
        };
        let world = start_with(seed + 900, &volumes, &Permissions::default(), account);
        let mut world = world.unwrap_or_else(|reason| panic!("SEED={seed}: {reason}"));
        for topic in (0..TOPICS).map(TopicIndex) {
            let times = times(&mut world, topic);
            for (offset, time) in &times {
                let journal = world.journal.clone();
                let truncating = journal.truncate(topic, Offset(0), Some(*time));
                let extent = world.executor.wait(truncating).unwrap();
                let low = extent
                    .unwrap_or_else(|error| panic!("SEED={seed}: {error}"))
                    .low;
                let first = times.iter().find(|(_, other)| time <= other);
                let first = first.map(|(first, _)| *first);
                assert_eq!(Some(low), first, "SEED={seed} for the time of {offset:?}");
            }
        }
    }
}

/// When the records of a topic that are there were received.
fn times(world: &mut World, topic: TopicIndex) -> Vec<(Offset, i64)> {
    let journal = world.journal.clone();
    let (mut times, mut next) = (Vec::new(), journal.extent(topic).low);
    while next < journal.extent(topic).next {
        let reading = journal.read(topic, next, usize::MAX, usize::MAX);
        match world.executor.wait(reading).unwrap() {
            Ok(records) => {
                let all = records.iter().map(|one| (one.offset, one.timestamp_ms));
                times.extend(all);
                next = Offset(times.last().unwrap().0.0 + 1);
            }
            Err(ReadError::Lost { next: after }) => next = after,
            Err(error) => panic!("{error}"),
        }
    }
    times
}

/// The frames behind the cursor that can be had.
fn followed(world: &mut World, cursor: Forwarded) -> Vec<Followed> {
    let mut follower = world.journal.follow(cursor).unwrap();
    let mut all = Vec::new();
    loop {
        let next = world.executor.wait(follower.next()).unwrap();
        match next.unwrap_or_else(|error| panic!("{error}")) {
            Some(followed) => all.push(followed),
            None => return all,
        }
    }
}

#[test]
fn a_forwarder_goes_on_behind_what_is_lost_wherever_it_begins() {
    for seed in seeds(8) {
        let mut random = Random::new(seed);
        let (volumes, ..) = losses_apart(seed, &mut random);
        let account = |losses: &mut Losses| losses.join_rows(if seed < 5 { 1 } else { 100 });
        let world = start_with(seed + 900, &volumes, &Permissions::default(), account);
        let mut world = world.unwrap_or_else(|reason| panic!("SEED={seed}: {reason}"));
        let mut begin = world.journal.begin_to_forward();
        (begin.epoch, begin.upto, begin.chain) = (Epoch(1), None, 0);
        world.executor.settle();
        let all = followed(&mut world, begin);
        let losses = world.journal.losses();
        let lost: u64 = losses.told.iter().map(|loss| loss.frames).sum();
        let last = world.journal.last_durable().unwrap().get();
        assert!(0 < lost, "SEED={seed}");
        assert_eq!(all.len() as u64, last - lost, "SEED={seed}");
        for (at, from) in all.iter().enumerate().step_by(3) {
            let cursor = Forwarded {
                epoch: from.epoch,
                upto: Some(from.spot.sequence),
                chain: from.chain,
                ..begin
            };
            let rest = followed(&mut world, cursor);
            assert_eq!(
                rest,
                all[at + 1..],
                "SEED={seed} behind {}",
                from.spot.sequence.get()
            );
        }
    }
}

#[test]
fn what_a_sound_copy_has_is_not_given_up_when_another_cannot_be_repaired() {
    for damaged in [0, 1] {
        let (volumes, _, model) = some_history(30, 2);
        let frame = data_frames(&volumes).pop().unwrap();
        let (name, header) = &frame;
        assert!(volumes[&damaged].flip(name, (header.position + 700) * 8));
        let failing = |chances| Behaviour {
            errors: Chances {
                write_durable: chances,
                ..Chances::NEVER
            },
            ..Behaviour::default()
        };
        volumes[&damaged].set_behaviour(failing(1));
        let error = try_reconcile(members(&volumes), &Permissions::default()).err();
        let Some(ReconcileError::Absent { absent, .. }) = error else {
            panic!("{:?}", error.map(|error| error.to_string()));
        };
        assert!(absent.contains(&format!("volume {damaged}")), "{absent}");
        let mut world = start(1, &volumes, &ACCEPT).unwrap();
        assert!(world.journal.losses().is_empty());
        assert_eq!(world.to_rebuild, [damaged]);
        world.check(&model, 1);
    }
}
