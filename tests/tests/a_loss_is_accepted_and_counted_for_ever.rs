//! Damage of which no whole copy is left: the start stops and says what is gone; with `--accept-loss` it goes on
//! without it, says so in every place, and never forgets.

use ringtail_tests::client::{payload, request_json};
use ringtail_tests::decay::segments;
use ringtail_tests::http::Http;
use ringtail_tests::journal;
use ringtail_tests::metrics;
use ringtail_tests::scratch::Scratch;
use ringtail_tests::server::{Server, Setup};
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

const REQUESTS: usize = 40;
/// The one that decays.
const HIT: usize = 17;
const EVENT_BYTES: usize = 2_000;
const TOPIC: &str = "clickstream-loss-log";

fn event(request: usize) -> Vec<u8> {
    payload(0, request, 0, EVENT_BYTES)
}

fn send(server: &Server, request: usize) {
    let mut http = Http::connect(server.port).expect("the engine accepts");
    let body = request_json(&request.to_string(), "loss", &[event(request)]);
    let answer = http.post_events(&body).expect("the engine answers");
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// Turns a bit over in the payload of one event, wherever it lies; gives the file.
fn decay(store: &Path, request: usize) -> PathBuf {
    let wanted = event(request);
    for path in segments(store) {
        let bytes = fs::read(&path).expect("a log file can be read");
        let found = bytes.windows(wanted.len()).position(|part| part == wanted);
        let Some(at) = found else { continue };
        let file = fs::File::options().write(true).open(&path);
        let file = file.expect("a log file can be opened");
        let byte = [bytes[at + 100] ^ 1];
        file.write_all_at(&byte, at as u64 + 100)
            .expect("it can be written");
        return path;
    }
    panic!("request {request} is in no log file");
}

/// What the running program says was lost: stretches, and offsets.
fn told(server: &Server) -> (u64, u64) {
    let page = metrics::page(server);
    let sum = |name| metrics::sum(&page, name, |_| true) as u64;
    let losses = sum("ringtail_losses_accepted_total");
    let offsets = sum("ringtail_offsets_lost_total");
    let seen = server.ask("/volumes").json();
    assert_eq!(seen["losses_accepted"], losses, "{seen}");
    assert_eq!(seen["offsets_lost"], offsets, "{seen}");
    (losses, offsets)
}

#[test]
fn a_loss_is_named_accepted_and_never_forgotten() {
    let scratch = Scratch::new("loss");
    let store = scratch.join("store");
    let setup = Setup::new(&scratch).volume(&store);
    let server = setup.start();
    assert_eq!(told(&server), (0, 0));
    for request in 0..REQUESTS {
        send(&server, request);
    }
    server.kill();
    let hurt = decay(&store, HIT);

    let refused = setup.refused();
    assert_ne!(refused.code, Some(0), "{refused:?}");
    let name = hurt.file_name().expect("a file has a name");
    let offset = HIT.to_string();
    for word in [&*name.to_string_lossy(), TOPIC, &offset, "--accept-loss"] {
        assert!(refused.stderr.contains(word), "no {word} in {refused:?}");
    }

    let server = setup.clone().word("--accept-loss").start();
    let (losses, offsets) = told(&server);
    assert_eq!(losses, 1);
    assert!((1..REQUESTS as u64).contains(&offsets), "{offsets}");
    send(&server, REQUESTS);
    server.kill();

    // Nobody has to accept it again, and nobody forgets it.
    for _ in 0..2 {
        let server = setup.start();
        assert_eq!(told(&server), (losses, offsets));
        server.stop();
    }

    // What was not hit is there, at its place; what was is not served.
    let (mut served, mut next) = (0, 0);
    journal::cat(&store, |row| {
        assert_eq!(row.topic, TOPIC);
        assert!(next <= row.offset, "an offset came twice");
        next = row.offset + 1;
        served += 1;
        let request = row.offset as usize;
        // Offsets that nobody could tell of were skipped before the last request.
        let request = request.min(REQUESTS);
        assert_ne!(request, HIT, "damaged bytes were served");
        assert!(row.value() == event(request), "offset {}", row.offset);
    });
    assert_eq!(served, REQUESTS, "all but one, and the one after");
}
