//! What tests of a spool ask it, whichever way it delivers.

use crate::client::{Client, Heard};
use crate::delivery::{Load, topic};
use crate::kafka::Cluster;
use crate::metrics;
use crate::program;
use crate::scratch::Scratch;
use crate::server::{Server, Setup};
use crate::wait;

/// A busy machine may take so long for all that a test sends.
const PATIENCE_SECONDS: u32 = 280;

/// An engine that writes to its log, and from there to this cluster.
pub fn setup(scratch: &Scratch, cluster: &Cluster) -> Setup {
    Setup::new(scratch).set("PUBLISHER_TYPE", "spool").set(
        "PUBLISHER_KAFKA_CLIENT_BOOTSTRAP_SERVERS",
        cluster.bootstrap(),
    )
}

/// A metric's value, of all journals together.
pub fn number(server: &Server, name: &str) -> u64 {
    metrics::sum(&metrics::page(server), name, |_| true) as u64
}

/// # Panics
/// When something still waits after a long time.
pub fn wait_until_drained(server: &Server) {
    wait::until("Kafka to have everything", PATIENCE_SECONDS, || {
        (number(server, "ringtail_spool_backlog_events") == 0).then_some(())
    });
}

/// Waits until nothing waits, so many letters were written since the first day, and so many are kept.
///
/// # Panics
/// When that is not so after a long time.
pub fn wait_for_letters(server: &Server, written: u64, kept: u64) {
    wait::until("everything to have its place", PATIENCE_SECONDS, || {
        let is = |name: &str, wanted| number(server, name) == wanted;
        let all = is("ringtail_spool_backlog_events", 0)
            && is("ringtail_spool_dead_letters_total", written)
            && is("ringtail_spool_letters_kept", kept);
        all.then_some(())
    });
}

/// Waits until a load has so many more answers.
///
/// # Panics
/// When it does not get them.
pub fn wait_for_answers(load: &Load, more: u64) {
    let before = load.answered();
    wait::until("answers", PATIENCE_SECONDS, || {
        (load.answered() >= before + more).then_some(())
    });
}

/// What `ringtail spool retry` prints.
///
/// # Panics
/// When it does not succeed.
pub fn retry(scratch: &Scratch, server: &Server) -> String {
    let mut command = program::clean(&program::built("ringtail"));
    let admin = format!("127.0.0.1:{}", server.admin);
    command.args(["spool", "retry", "--admin", &admin]);
    let finished = program::run(command, scratch.path(), 180);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    finished.stdout
}

/// Sends one request and has it acknowledged.
///
/// # Panics
/// When it is not.
pub fn send(client: &mut Client, guid: &str, kind: &str, events: &[Vec<u8>]) {
    assert!(client.send(guid, kind, events));
    let Heard::Answer(answer) = client.hear() else {
        panic!("the connection ended")
    };
    assert!(answer.is_success(), "{}", answer.reason);
}

/// The events of a type that Kafka has, each partition's in order.
pub fn values(cluster: &Cluster, kind: &str) -> Vec<Vec<u8>> {
    let records = cluster.consume(&[&topic(kind)]);
    records.into_iter().map(|record| record.value).collect()
}
