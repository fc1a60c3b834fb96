//! Bits turn over in full log files while the program serves. On one of two volumes: the scrubber restores them.
//! On both: it says where, in every place that tells of volumes, and nobody is ever given what was there.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ringtail_tests::client::{Client, Heard, payload};
use ringtail_tests::http::Response;
use ringtail_tests::journal;
use ringtail_tests::metrics;
use ringtail_tests::program::{self, Finished};
use ringtail_tests::scratch::Scratch;
use ringtail_tests::server::{Server, Setup};
use ringtail_tests::wait;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

const SEGMENT_BYTES: usize = 32 << 20;
const EVENTS: usize = 40;
const EVENT_BYTES: usize = 10_000;
/// One full file, and the next begun.
const REQUESTS: usize = SEGMENT_BYTES * 5 / 4 / (EVENTS * EVENT_BYTES);
const TOPIC: &str = "clickstream-decay-log";
const SCRUB_SECONDS: u32 = 180;

fn event(request: usize, index: usize) -> Vec<u8> {
    payload(0, request, index, EVENT_BYTES)
}

fn send(client: &mut Client, request: usize) {
    let events: Vec<_> = (0..EVENTS).map(|index| event(request, index)).collect();
    assert!(client.send("", "decay", &events));
    let heard = client.hear();
    let is_success = matches!(&heard, Heard::Answer(answer) if answer.is_success());
    assert!(is_success, "{heard:?}");
}

/// One bit of the first event of a request, in the log file of each volume that holds it.
struct Bit {
    /// Relative to the volume.
    file: PathBuf,
    at: u64,
    good: u8,
}

impl Bit {
    fn of(volume: &Path, request: usize) -> Self {
        let wanted = event(request, 0);
        let folder = volume.join("journal-0");
        for entry in fs::read_dir(&folder)
            .expect("the volume is there")
            .flatten()
        {
            let bytes = fs::read(entry.path()).expect("a log file can be read");
            let mut parts = bytes.windows(64);
            if let Some(at) = parts.position(|part| part == &wanted[..64]) {
                let at = at + 100;
                return Self {
                    file: Path::new("journal-0").join(entry.file_name()),
                    at: at as u64,
                    good: bytes[at],
                };
            }
        }
        panic!("request {request} is in no log file");
    }

    fn is_good(&self, volume: &Path) -> bool {
        let file = fs::File::open(volume.join(&self.file)).expect("a log file can be opened");
        let mut byte = [0];
        file.read_exact_at(&mut byte, self.at)
            .expect("it is long enough");
        byte[0] == self.good
    }

    fn turn_over(&self, volume: &Path) {
        let file = fs::File::options()
            .write(true)
            .open(volume.join(&self.file));
        let file = file.expect("a log file can be opened");
        file.write_all_at(&[self.good ^ 1], self.at)
            .expect("it can be written");
        file.sync_all().expect("it can be flushed");
    }
}

fn volumes(server: &Server) -> Value {
    server.ask("/volumes").json()
}

/// `ringtail volumes` of the running engine.
fn shown(server: &Server, scratch: &Scratch) -> Finished {
    let mut command = program::clean(&program::built("ringtail"));
    command.args(["volumes", "--admin", &format!("localhost:{}", server.admin)]);
    program::run(command, scratch.path(), 60)
}

fn sum(server: &Server, name: &str) -> u64 {
    metrics::sum(&metrics::page(server), name, |_| true) as u64
}

fn read(server: &Server, offset: usize) -> Response {
    let path = format!("/topics/{TOPIC}/partitions/0/records?offset={offset}&limit=1");
    server.ask(&path)
}

fn assert_served(server: &Server, request: usize) {
    let row = read(server, request * EVENTS).json();
    let value = row["value_base64"].as_str().expect("a record has a value");
    let value = BASE64_STANDARD.decode(value).expect("it is base64");
    assert!(
        value == event(request, 0),
        "request {request} is not what was sent"
    );
}

/// Turns a bit over on one of the two volumes, and waits until it is as it was.
fn hurt_one(server: &Server, both: &[PathBuf; 2], scratch: &Scratch) {
    let hurt = Bit::of(&both[0], 7);
    hurt.turn_over(&both[0]);
    let seen = wait::until("the repair", SCRUB_SECONDS, || {
        Some(volumes(server)).filter(|seen| seen["pieces_repaired"] != 0)
    });
    assert!(hurt.is_good(&both[0]) && hurt.is_good(&both[1]), "{seen}");
    let counts = (&seen["pieces_repaired"], &seen["pieces_lost"]);
    assert_eq!(counts, (&1.into(), &0.into()));
    assert_eq!(sum(server, "ringtail_pieces_repaired_total"), 1);
    assert_served(server, 7);
    let told = shown(server, scratch);
    assert_eq!(told.code, Some(0), "{told:?}");
    let line = "Damaged pieces repaired: 1, lost: 0";
    assert!(told.stdout.contains(line), "{told:?}");
    wait::until("the line of the repair", 60, || {
        let said = server.said();
        let mut lines = said.lines();
        let line = lines.find(|line| line.contains("restored from another copy"))?;
        line.contains(&*hurt.file.to_string_lossy()).then_some(())
    });
}

/// Turns a bit over on both volumes, and waits until that is told everywhere; gives the file.
fn hurt_both(server: &Server, both: &[PathBuf; 2], scratch: &Scratch) -> PathBuf {
    let lost = Bit::of(&both[0], 20);
    let seen = wait::until("the damage to be told", SCRUB_SECONDS, || {
        // The scrubber may come between the two, and repair the first.
        for volume in both.iter().filter(|volume| lost.is_good(volume)) {
            lost.turn_over(volume);
        }
        Some(volumes(server)).filter(|seen| seen["pieces_lost"] == 2)
    });
    let is_hurt = both.iter().all(|volume| !lost.is_good(volume));
    assert!(is_hurt, "{seen}");
    // It counts from nothing in each scrub.
    wait::until("the gauge", SCRUB_SECONDS, || {
        (sum(server, "ringtail_pieces_lost") == 2).then_some(())
    });
    wait::until("the word of ringtail volumes", SCRUB_SECONDS, || {
        let told = shown(server, scratch);
        (told.code == Some(1) && told.stdout.contains("lost: 2")).then_some(())
    });
    wait::until("the lines of the damage", 60, || {
        let said = server.said();
        let lines = said
            .lines()
            .filter(|line| line.contains("no copy is whole"));
        let named = lines.filter(|line| line.contains(&*lost.file.to_string_lossy()));
        (named.count() == 2).then_some(())
    });
    lost.file
}

#[test]
fn on_one_volume_it_is_repaired_and_on_both_it_is_told_and_never_served() {
    let scratch = Scratch::new("decay");
    let both = ["v1", "v2"].map(|name| scratch.join(name));
    let list = both.each_ref().map(|path| path.display().to_string());
    let setup = Setup::new(&scratch)
        .set("RINGTAIL_LOG_VOLUMES", list.join(","))
        .set("RINGTAIL_LOG_SCRUB_BYTES_PER_SECOND", "1GiB");
    let server = setup.start();
    let mut client = Client::connect(server.port, "device");
    (0..REQUESTS).for_each(|request| send(&mut client, request));

    hurt_one(&server, &both, &scratch);
    let file = hurt_both(&server, &both, &scratch);
    let answer = read(&server, 20 * EVENTS);
    let is_told = answer.status != 200 && answer.text().contains("damaged");
    assert!(is_told, "{}", answer.text());
    for request in [0, 7, 19, 21, REQUESTS - 1] {
        assert_served(&server, request);
    }
    // New events are still taken.
    send(&mut client, REQUESTS);
    server.stop();

    let report = journal::run("verify", &both[1]);
    let name = file.file_name().expect("a file has a name");
    assert_ne!(report.code, Some(0), "{report:?}");
    let is_named = report.stdout.contains(&*name.to_string_lossy());
    assert!(is_named, "{report:?}");
}
