//! A crash while a segment is let go of or rewritten: one volume has done it, and another has not.

use super::super::super::format::segment::{Kind, SegmentHeader};
use super::*;

fn header(disk: &SimulatedDisk, name: &str) -> Option<SegmentHeader> {
    let contents = disk.contents(name)?;
    SegmentHeader::decode(&contents[..BLOCK]).ok()
}

/// Puts a file of these contents into the place of the one that there is.
fn replace(disk: &SimulatedDisk, name: &str, contents: Vec<u8>) {
    let beside = format!("{name}.beside");
    let replaced = Executor::new(1).wait(async {
        let file = disk.create(&beside).await?;
        disk.write(&file, 0, Rc::new(contents)).await?;
        disk.flush(&file).await?;
        disk.rename(&beside, name).await?;
        disk.flush_folder(FOLDER).await
    });
    replaced.unwrap().unwrap();
}

/// Two volumes, off, with one segment rewritten on the first and not yet on the second; its name, and what is
/// alive.
fn half_swapped(seed: u64) -> Option<(Volumes, String, Model)> {
    let mut random = Random::new(seed);
    let (mut world, mut model) = (World::new(seed, 2), Model::new());
    world.store(&mut model, &mut random, 150);
    let journal = world.journal.clone();
    for topic in 0..2 {
        let end = journal.extent(TopicIndex(topic)).next;
        let truncated = journal.truncate(TopicIndex(topic), end, None);
        world.executor.wait(truncated).unwrap().unwrap();
        model.remove(&topic);
    }
    world.close();
    let before = crash(&world.volumes, &mut random);
    let mut tidier = journal.tidier(Rc::new(|_| Box::pin(pause(1))));
    world.executor.spawn(async move { tidier.run().await });
    for round in 1..30 {
        journal.tidy(Micros(1_600_000_000_000_000 + round * 100_000_000));
        world.executor.settle();
    }
    let after = world.crash(&mut random);
    let rewritten = |path: &String| {
        let kind = |disk| header(disk, path).map(|header| (header.kind, header.opening));
        let (was, is) = (kind(&before[&1])?, kind(&after[&1])?);
        ((Kind::Journal, Kind::Sorted) == (was.0, is.0) && was.1 == is.1).then(|| path.clone())
    };
    let name = after[&1].paths().iter().find_map(rewritten)?;
    replace(&after[&1], &name, before[&1].contents(&name)?);
    Some((after, name, model))
}

/// A bit of the payload of the last frame with batches.
fn damage_payload(disk: &SimulatedDisk, name: &str) {
    let (contents, life) = (
        disk.contents(name).unwrap(),
        header(disk, name).unwrap().life,
    );
    let blocks = contents.chunks(BLOCK);
    let frames = blocks.filter_map(|block| FrameHeader::decode(block).ok());
    let mut own = frames.filter(|(header, _)| header.life == life && 3000 < header.bytes());
    let (frame, _) = own.next_back().expect("a frame with batches");
    assert!(disk.flip(name, (frame.position + 1500) * 8));
}

#[test]
fn the_damaged_form_of_a_segment_never_takes_the_place_of_a_whole_one() {
    let mut met = 0;
    for seed in seeds(6) {
        for damaged in [0, 1] {
            let Some((volumes, name, model)) = half_swapped(seed) else {
                continue;
            };
            met += 1;
            damage_payload(&volumes[&damaged], &name);
            let mut world = start(seed, &volumes, &Permissions::default())
                .unwrap_or_else(|reason| panic!("SEED={seed}: {reason}"));
            assert!(world.to_rebuild.is_empty(), "{:?}", world.reasons);
            world.check(&model, seed);
            let volumes = world.crash(&mut Random::new(seed));
            for (volume, disk) in &volumes {
                let alone = Volumes::from([(*volume, disk.copy())]);
                let without = Permissions {
                    without: vec![1 - volume],
                    ..Permissions::default()
                };
                start(seed, &alone, &without)
                    .unwrap_or_else(|reason| panic!("SEED={seed}: {reason}"))
                    .check(&model, seed);
            }
        }
    }
    assert!(3 < met, "{met}");
}

/// Two volumes, off, whose oldest segment was taken out of use on the second alone; its name, and the values with
/// the offsets from which on they are kept.
fn half_retired(seed: u64) -> (Volumes, String, Model, Vec<Offset>) {
    let mut random = Random::new(seed);
    let (mut world, mut model) = (World::new(seed, 2), Model::new());
    world.store(&mut model, &mut random, 100);
    let journal = world.journal.clone();
    for topic in 0..TOPICS {
        let end = journal.extent(TopicIndex(topic)).next;
        let truncated = journal.truncate(TopicIndex(topic), end, None);
        world.executor.wait(truncated).unwrap().unwrap();
    }
    world.store(&mut model, &mut random, 60);
    world.close();
    let lows = (0..TOPICS).map(|topic| journal.extent(TopicIndex(topic)).low);
    let lows = lows.collect();
    let volumes = world.crash(&mut random);
    let found = look(&volumes[&1]);
    let name = found.sealed.first().expect("a sealed segment").name.clone();
    let mut unused = header(&volumes[&1], &name).unwrap();
    unused.opening = None;
    unused.life.0 = found.life_max.0 + 1;
    let mut block = vec![0; BLOCK];
    unused.encode(&mut block);
    assert!(volumes[&1].put(&name, 0, &block));
    (volumes, name, model, lows)
}

#[test]
fn a_segment_that_one_volume_has_let_go_of_is_not_brought_back_by_another() {
    for seed in seeds(4) {
        let (volumes, name, model, lows) = half_retired(seed);
        damage_payload(&volumes[&0], &name);
        let mut world = start(seed, &volumes, &Permissions::default())
            .unwrap_or_else(|reason| panic!("SEED={seed}: {reason}"));
        assert!(world.to_rebuild.is_empty(), "{:?}", world.reasons);
        for (volume, disk) in &world.volumes {
            let in_use = header(disk, &name).is_some_and(|header| header.opening.is_some());
            assert!(!in_use, "SEED={seed}: {name} of volume {volume}");
        }
        for (topic, low) in (0..).zip(lows) {
            let found: Vec<_> = world.read(topic).into_iter().collect();
            let values = (0..).zip(model[&topic].clone());
            let kept: Vec<_> = values.skip(low.0 as usize).collect();
            assert!(found == kept, "SEED={seed} topic {topic}");
        }
    }
}
