//! The faults that one life, or one start, has to live with.

use super::plan::Plan;
use ringtail::log::simulated::{Behaviour, Chances, Random, SimulatedDisk};

/// How the disk behaves for a while.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    pub behaviour: Behaviour,
    /// The power goes after so many polls.
    pub steps: Option<u64>,
}

impl Weather {
    pub fn calm(plan: &Plan) -> Self {
        Self {
            behaviour: plan.calm(),
            steps: None,
        }
    }

    /// Mostly fine; sometimes a start meets errors, a full disk, or the next crash.
    pub fn of_a_start(random: &mut Random, plan: &Plan, disk: &SimulatedDisk) -> Self {
        let mut weather = Self::calm(plan);
        match random.below(10) {
            0 => weather.steps = Some(random.below(600)),
            1 => weather.behaviour = bad(random, plan, disk, 30),
            _ => {}
        }
        weather
    }

    /// What a life meets at some time, if anything.
    pub fn of_a_life(random: &mut Random, plan: &Plan, disk: &SimulatedDisk) -> Self {
        let mut weather = Self::calm(plan);
        if plan.volumes == 1 && plan.retention_bytes.is_none() && random.one_in(2) {
            // Where nothing is retired a disk fills.
            weather.behaviour.capacity = Some(disk.used());
        } else if !random.one_in(3) {
            weather.behaviour = bad(random, plan, disk, 40);
        }
        weather
    }
}

/// Faults of one kind, about one in `rarity` operations.
fn bad(random: &mut Random, plan: &Plan, disk: &SimulatedDisk, rarity: u64) -> Behaviour {
    let mut behaviour = Weather::calm(plan).behaviour;
    let one_in = 2 + random.below(rarity);
    match random.below(7) {
        0 => behaviour.errors = chances(random, one_in),
        1 => behaviour.full = chances(random, one_in),
        2 | 3 => {
            let segments = random.below(2) * plan.segment_bytes;
            behaviour.capacity = Some(disk.used() + segments);
        }
        4 => behaviour.short_reads = one_in,
        5 => behaviour.error_one_in = Some(10 + one_in),
        _ => behaviour.polls_max = 60,
    }
    behaviour
}

fn chances(random: &mut Random, one_in: u64) -> Chances {
    let mut chances = Chances::NEVER;
    match random.below(5) {
        0 => chances.read = one_in,
        1 => chances.write = one_in,
        2 => chances.write_durable = one_in,
        3 => chances.flush = 1 + one_in / 4,
        _ => chances.name = 1 + one_in / 8,
    }
    chances
}
