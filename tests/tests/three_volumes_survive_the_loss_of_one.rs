//! Three volumes under load and `kill -9`, and one of them removed, emptied, zeroed, flipped in places, or put
//! back as it was earlier, between the runs: nothing acknowledged is missing, the volume is filled again while
//! new events are taken, and afterwards each volume alone holds everything.

use ringtail_tests::account::Account;
use ringtail_tests::client::{draw, seed};
use ringtail_tests::decay::{flip, segments};
use ringtail_tests::journal;
use ringtail_tests::scratch::Scratch;
use ringtail_tests::server::{Server, Setup};
use ringtail_tests::wait;
use serde_json::Value;
use std::fs;
use std::path::Path;

const ROUNDS: usize = 5;
const LOAD_MS_MAX: u64 = 100;
const REBUILD_SECONDS: u32 = 120;

/// What happens to a volume while nobody uses it.
#[derive(Clone, Copy, Debug)]
enum Mishap {
    Removed,
    Emptied,
    Zeroed,
    Flipped,
    Older,
}

const MISHAPS: [Mishap; 5] = [
    Mishap::Removed,
    Mishap::Emptied,
    Mishap::Zeroed,
    Mishap::Flipped,
    Mishap::Older,
];

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the scratch folder takes folders");
    for entry in fs::read_dir(from).expect("the folder is there").flatten() {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy_all(&source, &target);
        } else {
            fs::copy(&source, &target).expect("the disk has room");
        }
    }
}

fn suffer(mishap: Mishap, volume: &Path, earlier: &Path, random: &mut u64) {
    match mishap {
        Mishap::Removed => fs::remove_dir_all(volume).expect("it was there"),
        Mishap::Emptied => {
            fs::remove_dir_all(volume).expect("it was there");
            fs::create_dir(volume).expect("its parent is there");
        }
        Mishap::Zeroed => {
            for file in segments(volume) {
                let bytes = fs::metadata(&file).expect("it is there").len();
                fs::write(&file, vec![0; bytes as usize]).expect("it can be written");
            }
        }
        Mishap::Flipped => segments(volume).iter().for_each(|file| flip(file, random)),
        Mishap::Older => {
            fs::remove_dir_all(volume).expect("it was there");
            copy_all(earlier, volume);
        }
    }
}

/// The answer of `GET /volumes`, when every volume is in service.
fn all_in_service(server: &Server) -> Option<Value> {
    let answer = server.ask("/volumes");
    let seen: Value = serde_json::from_slice(&answer.body).ok()?;
    let volumes = seen["volumes"].as_array()?;
    let all = volumes.len() == 3 && volumes.iter().all(|row| row["state"] == "in-service");
    all.then_some(seen)
}

fn wait_for_all(server: &Server) {
    wait::until("three volumes in service", REBUILD_SECONDS, || {
        all_in_service(server)
    });
}

/// Until everything that was there was read again, and repaired.
fn wait_for_scrub(server: &Server) {
    let seen = wait::until("a scrub", REBUILD_SECONDS, || {
        all_in_service(server).filter(|seen| !seen["last_scrub_ms"].is_null())
    });
    assert_eq!(seen["pieces_lost"], 0, "{seen}");
}

#[test]
fn a_volume_may_be_lost_or_damaged_between_any_two_runs() {
    let scratch = Scratch::new("three-volumes");
    let volumes = ["v1", "v2", "v3"].map(|name| scratch.join(name));
    let list = volumes.each_ref().map(|path| path.display().to_string());
    let setup = Setup::new(&scratch)
        .set("RINGTAIL_LOG_VOLUMES", list.join(","))
        .set("RINGTAIL_LOG_REBUILD_BYTES_PER_SECOND", "1GiB")
        .set("RINGTAIL_LOG_SCRUB_BYTES_PER_SECOND", "1GiB")
        .set("RINGTAIL_SHARDS", 2);
    let account = Account::new(&scratch);
    let mut random = seed();
    let earlier = scratch.join("earlier");
    for round in 0..ROUNDS {
        let after_ms = draw(&mut random) % LOAD_MS_MAX;
        // The volume that the round before hurt is filled again under load.
        let was_flipped =
            0 < round && matches!(MISHAPS[(round - 1) % MISHAPS.len()], Mishap::Flipped);
        account.load_and_kill(&setup, after_ms, |server| {
            wait_for_all(server);
            if was_flipped {
                wait_for_scrub(server);
            }
        });
        for volume in &volumes {
            journal::verify(volume);
        }
        let hurt = &volumes[(draw(&mut random) % 3) as usize];
        let mishap = MISHAPS[round % MISHAPS.len()];
        if round == 0 {
            copy_all(hurt, &earlier);
        }
        suffer(mishap, hurt, &earlier, &mut random);
        let server = setup.start();
        if draw(&mut random).is_multiple_of(2) {
            wait_for_all(&server);
        }
        server.kill();
        let whole = volumes.iter().find(|volume| *volume != hurt);
        account.assert_kept_by(whole.expect("two are left"));
        println!("round {round}: {} was {mishap:?}", hurt.display());
    }
    let server = setup.start();
    wait_for_scrub(&server);
    server.stop();
    for volume in &volumes {
        journal::verify(volume);
        account.assert_kept_by(volume);
    }
}
