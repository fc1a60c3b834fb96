//! The simulation finds bugs: each of these is planted, and found within a bounded number of seeds.
//!
//! What a release build has no place for is planted in the log itself; the rest at its seam with the disk.

use ringtail_tests::simulation::run::Options;
use ringtail_tests::simulation::sabotage::BUGS;
use ringtail_tests::simulation::{Broken, simulate};

/// Seeds that each bug may take to be found.
const SEEDS_MAX: u64 = 1_000;

/// The first seed that finds the bug.
fn find(options: Options, seeds_max: u64) -> Option<Broken> {
    (1..=seeds_max).find_map(|seed| simulate(seed, options).err())
}

fn bites(name: &str) {
    let (_, bug, planted) = BUGS.iter().find(|bug| bug.0 == name).expect("a known bug");
    let options = Options {
        bug: *bug,
        planted: *planted,
        ..Options::default()
    };
    let found =
        find(options, SEEDS_MAX).unwrap_or_else(|| panic!("{SEEDS_MAX} seeds do not find: {name}"));
    println!("{name}: seed {}: {}", found.seed, found.promise);
    let without = simulate(found.seed, Options::default());
    assert!(
        without.is_ok(),
        "the seed is sound without the bug: {without:?}"
    );
}

macro_rules! bites {
    ($($test:ident: $name:literal,)*) => {
        $(#[test]
        fn $test() {
            bites($name);
        })*

        #[test]
        fn every_bug_that_can_be_planted_is_here() {
            let here = [$($name),*];
            for (name, ..) in BUGS {
                assert!(here.contains(name), "{name} is proven nowhere");
            }
        }
    };
}

bites! {
    a_skipped_flush_is_found: "skip a flush",
    an_early_acknowledgement_is_found: "acknowledge early",
    a_flush_retried_into_success_is_found: "retry a flush",
    a_folder_that_is_not_flushed_is_found: "skip a folder's flush",
    a_lost_write_of_the_catalogue_is_found: "lose a catalogue write",
    write_errors_that_nobody_looks_at_are_found: "ignore write errors",
    short_reads_that_nobody_looks_at_are_found: "ignore short reads",
    an_acknowledgement_beyond_the_prefix_is_found: "acknowledge beyond the prefix",
    a_chain_that_nobody_looks_at_is_found: "ignore the chain",
    offsets_that_are_not_given_back_are_found: "keep refused offsets",
    a_silent_cut_is_found: "cut off silently",
    trust_in_a_files_length_is_found: "trust a file's length",
    an_index_off_by_one_is_found: "index off by one",
    repair_in_the_wrong_direction_is_found: "repair from the bad copy",
    a_segment_recycled_early_is_found: "recycle early",
    trust_in_what_a_crash_has_left_is_found: "trust what was found",
    a_footer_of_an_older_life_that_is_believed_is_found: "believe an old footer",
    retired_segments_that_stay_in_use_are_found: "leave retired segments in use",
    a_segment_rewritten_before_what_is_dead_is_durably_so_is_found: "repack early",
    trust_in_the_longest_copy_is_found: "trust the longest",
    a_rewritten_segment_that_is_not_flushed_is_found: "name before flush",
    a_living_record_that_is_left_out_is_found: "leave out the last",
    tombstones_that_are_forgotten_are_found: "forget tombstones",
    a_truncation_answered_early_is_found: "truncate early",
    offsets_used_again_after_a_truncation_are_found: "forget empty topics",
    records_that_go_too_young_are_found: "let go too young",
    a_volume_put_into_service_too_early_is_found: "admit too early",
}
