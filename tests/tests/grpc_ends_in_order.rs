//! TERM while gRPC clients call: what was acknowledged is stored, calls under way are answered, and a
//! watcher of the server's health is told before it is let go.

use ringtail_tests::journal;
use ringtail_tests::program;
use ringtail_tests::scratch::Scratch;
use ringtail_tests::server::{Setup, free_ports};
use ringtail_tests::wait;
use std::collections::HashSet;
use std::fs;

#[test]
fn a_drain_answers_the_calls_and_keeps_what_it_acknowledged() {
    let scratch = Scratch::new("grpc-drain");
    let [grpc, _] = free_ports();
    let server = Setup::new(&scratch)
        .set("SERVER_GRPC_PORT", grpc)
        .set("RINGTAIL_SHARDS", 2)
        .start();
    let mut clients = program::clean(&program::python());
    clients
        .arg("-B")
        .arg(program::repository().join("tests/python/grpc_until_the_end.py"))
        .arg(grpc.to_string())
        .arg(scratch.path());
    let said = scratch.join("clients.stderr");
    let file = fs::File::create(&said).expect("the scratch folder takes files");
    let mut clients = clients.stderr(file).spawn().expect("Python was found");

    let ready = scratch.join("ready");
    let ended = wait::until("clients that were answered", 60, || {
        let ended = clients.try_wait().expect("our own child can be asked");
        (ready.exists() || ended.is_some()).then_some(ended)
    });
    let told = || fs::read_to_string(&said).unwrap_or_default();
    assert!(ended.is_none(), "the clients ended early: {}", told());
    server.stop();
    let status = wait::until("the clients' end", 60, || {
        clients.try_wait().expect("our own child can be asked")
    });
    assert!(status.success(), "{status}: {}", told());

    let acked = fs::read_to_string(scratch.join("acked")).expect("the clients wrote it down");
    journal::verify(&scratch.join("store"));
    let stored: HashSet<Vec<u8>> = journal::values(&scratch.join("store"))
        .into_values()
        .flatten()
        .collect();
    assert!(acked.lines().count() >= 6);
    for payload in acked.lines() {
        assert!(stored.contains(payload.as_bytes()), "{payload} is lost");
    }
}
