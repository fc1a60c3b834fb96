//! An acknowledged event is on stable storage: seen from outside the program, by the kernel's
//! count of the flushes that the device has completed.
//!
//! `kill -9` cannot show this, because the page cache outlives a process. So: one request at a
//! time, and between its sending and its answer the device must have completed a flush. The same
//! measurement with flushing taken out (`RINGTAIL_LOG_FLUSH=never`) must come out the other way,
//! or it would show nothing.
//!
//! The store lies on a loop device of its own where that can be had, so that the count is not
//! raised by others. Else it is the disk under the target folder.

use ringtail_tests::client::{payload, request_json};
use ringtail_tests::device::{FlushCount, OwnDisk};
use ringtail_tests::http::Http;
use ringtail_tests::journal;
use ringtail_tests::scratch::Scratch;
use ringtail_tests::server::Setup;

const REQUESTS: usize = 200;
const DISK_BYTES: u64 = 512 << 20;

/// For how many of the requests the device completed a flush before the answer came.
fn flushed_before_answer(setup: &Setup, count: &FlushCount) -> usize {
    let server = setup.start();
    let mut http = Http::connect(server.port).expect("the engine accepts");
    let mut flushed = 0;
    for request in 0..REQUESTS {
        let body = request_json("", "flushed", &[payload(0, request, 0, 100)]);
        let before = count.read();
        let answer = http.post_events(&body).expect("the engine answers");
        let after = count.read();
        assert_eq!(answer.status, 200, "{}", answer.text());
        flushed += usize::from(after > before);
    }
    server.stop();
    flushed
}

#[test]
fn each_acknowledgement_comes_after_a_completed_flush() {
    let scratch = Scratch::new("flush");
    let disk = OwnDisk::new(&scratch, DISK_BYTES);
    let volume = match &disk {
        Ok(disk) => disk.path().join("store"),
        Err(reason) => {
            println!("no disk of our own ({reason}): measuring the one under the target folder");
            scratch.join("store")
        }
    };
    let folder = volume.parent().expect("a store lies in a folder");
    let count = FlushCount::of(folder).unwrap_or_else(|reason| {
        panic!("whether flushes happen cannot be seen here: {reason}");
    });
    let setup = Setup::new(&scratch).volume(&volume);

    let mut ways = vec!["data-sync"];
    if count.writes_through() {
        println!("the device writes through without flushes (FUA): only data-sync can be counted");
    } else {
        ways.push("write-through");
    }
    for way in ways {
        let flushed = flushed_before_answer(&setup.clone().set("RINGTAIL_LOG_FLUSH", way), &count);
        println!("{way}: {flushed} of {REQUESTS} answers came after a flush");
        assert_eq!(flushed, REQUESTS, "{way} answered before a flush");
    }
    let flushed = flushed_before_answer(&setup.set("RINGTAIL_LOG_FLUSH", "never"), &count);
    println!("never: {flushed} of {REQUESTS} answers came after a flush");
    assert!(
        flushed < REQUESTS / 2,
        "{flushed} of {REQUESTS} without flushing: the count shows others' flushes, and proves nothing"
    );
    journal::verify(&volume);
}

#[test]
fn the_default_is_to_flush() {
    let scratch = Scratch::new("flush-default");
    let disk = OwnDisk::new(&scratch, DISK_BYTES);
    let volume = disk
        .as_ref()
        .map_or(scratch.join("store"), |disk| disk.path().join("store"));
    let folder = volume.parent().expect("a store lies in a folder");
    let count = FlushCount::of(folder).unwrap_or_else(|reason| {
        panic!("whether flushes happen cannot be seen here: {reason}");
    });
    if count.writes_through() {
        println!("the device writes through without flushes (FUA): nothing to count by default");
        return;
    }
    let flushed = flushed_before_answer(&Setup::new(&scratch).volume(&volume), &count);
    assert_eq!(flushed, REQUESTS);
}
