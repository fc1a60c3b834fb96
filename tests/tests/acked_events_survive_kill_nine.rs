//! `kill -9` at a random moment under load, again and again on one store: every event that was
//! acknowledged is there exactly as sent and in its connection's order, and every request that was
//! not answered is there whole or not at all.

use ringtail_tests::account::Account;
use ringtail_tests::client::{draw, seed};
use ringtail_tests::journal;
use ringtail_tests::scratch::Scratch;
use ringtail_tests::server::Setup;

const ROUNDS: usize = 20;
/// Time under load before the kill, at most.
const LOAD_MS_MAX: u64 = 100;

#[test]
fn twenty_kills_on_one_store_lose_nothing() {
    let scratch = Scratch::new("kill-nine");
    let store = scratch.join("store");
    let setup = Setup::new(&scratch).set("RINGTAIL_SHARDS", 2);
    let account = Account::new(&scratch);
    let mut random = seed();
    for round in 1..=ROUNDS {
        let after_ms = draw(&mut random) % LOAD_MS_MAX;
        account.load_and_kill(&setup, after_ms, |_| {});
        // As the crash left it, and as recovery leaves it.
        journal::verify(&store);
        let recovered = setup.start();
        match draw(&mut random) % 3 {
            0 => recovered.stop(),
            _ => recovered.kill(),
        }
        let found = journal::verify(&store);
        account.assert_kept_by(&store);
        println!("round {round} of {ROUNDS}: killed after {after_ms} ms: {found}");
    }
}
