//! `kill -9` at a random moment under load, again and again on one store: every event that was
//! acknowledged is there exactly as sent and in its connection's order, and every request that was
//! not answered is there whole or not at all.
//!
//! The account is kept by the load driver, outside of the engine, in a file that is written before
//! anything that follows from it reaches a socket.

use ringtail_tests::client::{draw, seed};
use ringtail_tests::journal;
use ringtail_tests::program;
use ringtail_tests::scratch::Scratch;
use ringtail_tests::server::{Server, Setup};
use ringtail_tests::wait;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

const ROUNDS: usize = 20;
/// Time under load before the kill, at most.
const LOAD_MS_MAX: u64 = 100;
/// What the driver's exit code says when the server went away, as it should here.
const SERVER_GONE: i32 = 3;

fn driver(word: &str, record: &Path) -> Command {
    let mut command = program::clean(&program::built("ringtail-bench"));
    command.arg(word).arg("--record").arg(record);
    command
}

fn start_load(server: &Server, record: &Path, scratch: &Scratch) -> Child {
    let said = fs::File::create(scratch.join("load.said")).expect("the scratch folder takes files");
    let same = said.try_clone().expect("a file can be held twice");
    driver("load", record)
        .args([
            "--url",
            &format!("ws://127.0.0.1:{}/api/v1/events", server.port),
        ])
        .args(["--connections", "8", "--window", "4"])
        .args(["--events", "7", "--bytes", "1200", "--types", "3"])
        .args(["--warmup", "0", "--seconds", "600"])
        .stdout(said)
        .stderr(same)
        .spawn()
        .expect("the driver was found")
}

/// One round: load, kill, and the driver's word that the server went away.
fn load_and_kill(setup: &Setup, record: &Path, scratch: &Scratch, after_ms: u64) {
    let known = fs::metadata(record).map_or(0, |data| data.len());
    let server = setup.start();
    let mut load = start_load(&server, record, scratch);
    // The run's own line is shorter than this: something was sent.
    wait::until("the driver to send", 30, || {
        let length = fs::metadata(record).map_or(0, |data| data.len());
        (length > known + 200).then_some(())
    });
    wait::some_milliseconds(after_ms);
    server.kill();
    let status = wait::until("the driver to see that the server is gone", 30, || {
        load.try_wait().expect("our own child can be waited for")
    });
    let said = fs::read_to_string(scratch.join("load.said")).unwrap_or_default();
    assert_eq!(
        status.code(),
        Some(SERVER_GONE),
        "the driver: {status}: {said}"
    );
}

/// Compares the record with what `log cat` prints.
fn assert_account(store: &Path, record: &Path, scratch: &Scratch) {
    let mut cat = journal::command("cat", store)
        .args(["--format", "json"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program was found");
    let mut check = driver("check", record);
    check.stdin(cat.stdout.take().expect("it is piped"));
    let finished = program::run(check, scratch.path(), 120);
    let status = cat.wait().expect("our own child can be waited for");
    assert!(status.success(), "log cat: {status}");
    assert_eq!(
        finished.code,
        Some(0),
        "{}{}",
        finished.stdout,
        finished.stderr
    );
}

#[test]
fn twenty_kills_on_one_store_lose_nothing() {
    let scratch = Scratch::new("kill-nine");
    let (store, record) = (scratch.join("store"), scratch.join("record"));
    let setup = Setup::new(&scratch).set("RINGTAIL_SHARDS", 2);
    let mut random = seed();
    for round in 1..=ROUNDS {
        let after_ms = draw(&mut random) % LOAD_MS_MAX;
        load_and_kill(&setup, &record, &scratch, after_ms);
        // As the crash left it, and as recovery leaves it.
        journal::verify(&store);
        let recovered = setup.start();
        match draw(&mut random) % 3 {
            0 => recovered.stop(),
            _ => recovered.kill(),
        }
        let found = journal::verify(&store);
        assert_account(&store, &record, &scratch);
        println!("round {round} of {ROUNDS}: killed after {after_ms} ms: {found}");
    }
}
