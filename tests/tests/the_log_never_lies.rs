//! The whole log on simulated disks: thousands of seeds, each with hundreds of operations, crashes and faults,
//! and an independent account of what must be there.
//!
//! `SEED=n` runs one seed; `SEEDS=n` as many. For long: `cargo run --release -p ringtail-tests --bin simulate`.

use ringtail_tests::simulation::plan::{CRASHES_MIN, OPERATIONS_MIN};
use ringtail_tests::simulation::run::Options;
use ringtail_tests::simulation::{simulate, simulate_many};

const SEEDS: u64 = 2_000;

/// What a run of all seeds must have met, so that nobody takes silence for soundness.
const LEAST: &[(&str, u64)] = &[
    ("crash", CRASHES_MIN * SEEDS),
    ("kill", 500),
    ("operations", OPERATIONS_MIN * SEEDS),
    ("fault: LostInCrash", 200),
    ("fault: TornInCrash", 200),
    ("fault: KeptInCrash", 200),
    ("fault: ReorderedInCrash", 200),
    ("fault: NameLostInCrash", 50),
    ("fault: BitFlip", 500),
    ("fault: LostWrite", 100),
    ("fault: MisdirectedWrite", 100),
    ("fault: ShortRead", 300),
    ("fault: Error(Read)", 200),
    ("fault: Error(Write)", 50),
    ("fault: Error(WriteDurable)", 50),
    ("fault: Error(Flush)", 100),
    ("fault: Error(Name)", 20),
    ("fault: NoSpace(Write)", 20),
    ("fault: NoSpace(Name)", 50),
    ("fault: a slow disk", 100),
    ("fault: Stalled", 5_000),
    ("fault: a volume replaced by an empty one", 100),
    ("fault: a volume replaced by an older one", 20),
    ("recovery: started", 5_000),
    ("recovery: started with damage", 300),
    ("recovery: started without a volume", 100),
    ("recovery: started on an older state of the volume", 2_000),
    ("recovery: stopped and started", 500),
    ("recovery: crash during the start", 200),
    ("recovery: stopped, damaged frame", 100),
    ("recovery: stopped, disk", 50),
    ("recovery: stopped, absent volume", 100),
    ("recovery: excused an absent volume", 50),
    ("recovery: a volume that was ahead was left out", 50),
    ("recovery: went on apart, as the operator said", 20),
    ("recovery: refused, too few volumes", 500),
    ("recovery: full, discarded and refused", 40),
    ("recovery: scrubs", 5_000),
    ("offline: damage found by verify", 50),
    ("offline: verified as it was left", 200),
    ("offline: verified and printed when stopped", 500),
    ("recovery: damaged batch not served", 500),
    ("recovery: journal failed and refused", 100),
    ("recovery: read failed", 1),
    ("recovery: segments recycled", 1_000),
    ("recovery: segments rewritten", 3_000),
    ("recovery: crash while a segment was rewritten", 300),
    ("recovery: a segment rewritten before an answer", 20),
    ("recovery: truncations stay", 5_000),
    ("recovery: deleted topics stay away", 20_000),
    ("operation: truncate", 10_000),
    ("operation: delete a topic", 5_000),
    ("operation: tombstones released", 5_000),
    ("operation: gone by age", 2_000),
    ("operation: gone by bytes", 2_000),
    ("recovery: repairs at a start", 1_000),
    ("recovery: volumes rebuilt", 500),
    ("recovery: pieces repaired by a scrub", 200),
    ("recovery: unanswered requests kept", 500),
    ("recovery: unanswered requests dropped", 2_000),
];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn nothing_acknowledged_is_lost_nothing_invented_and_every_stop_has_its_reason() {
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..number("SEEDS").unwrap_or(SEEDS) + 1,
    };
    let all = seeds == (1..SEEDS + 1);
    let (report, broken) = simulate_many(seeds, 2, Options::default());
    println!("{report}");
    assert!(broken.is_empty(), "{broken:#?}");
    if !all {
        return;
    }
    for (what, least) in LEAST {
        let count = report.of(what);
        assert!(*least <= count, "{what}: {count}, not {least}");
    }
}

#[test]
fn a_seed_replays_exactly() {
    for seed in 1..12 {
        let options = Options::default();
        assert_eq!(simulate(seed, options), simulate(seed, options));
    }
}
