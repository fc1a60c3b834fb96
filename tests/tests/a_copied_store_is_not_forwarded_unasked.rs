//! A store that is not the one that Kafka remembers is not forwarded: both sides are named, until an operator gives
//! it a name of its own.

use ringtail_tests::delivery::{Load, Sent, account, topic};
use ringtail_tests::kafka::Cluster;
use ringtail_tests::program;
use ringtail_tests::scratch::Scratch;
use ringtail_tests::server::{Server, Setup};
use ringtail_tests::spool::{self, number, wait_until_drained};
use ringtail_tests::wait;
use std::fs;
use std::path::Path;

fn setup(scratch: &Scratch, cluster: &Cluster, store: &Path) -> Setup {
    spool::setup(scratch, cluster)
        .volume(store)
        .set("RINGTAIL_SPOOL_DELIVERY", "exactly-once")
}

/// Sends some, and waits until they were answered.
fn send(server: &Server, connection: usize) -> Vec<Sent> {
    let load = Load::start_slowly(server.port, connection..connection + 1, &["one"], 1);
    wait::until("answers", 120, || (30 < load.answered()).then_some(()));
    load.finish()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the scratch folder takes folders");
    for entry in fs::read_dir(from).expect("the store is there") {
        let entry = entry.expect("its folder can be read");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("the scratch folder takes files");
        }
    }
}

fn adopt(scratch: &Scratch, store: &Path) {
    let mut command = program::clean(&program::built("ringtail"));
    command.args(["spool", "adopt", "--volumes"]).arg(store);
    let adopted = program::run(command, scratch.path(), 60);
    assert_eq!(adopted.code, Some(0), "{}", adopted.stderr);
    assert!(adopted.stdout.starts_with("journal 0: ringtail-"));
}

#[test]
fn until_it_has_a_name_of_its_own() {
    let scratch = Scratch::new("exactly-copy");
    let cluster = Cluster::start(&scratch, 1);
    cluster.create(&topic("one"), 1, &[1]);
    let (first, second) = (scratch.join("store"), scratch.join("copy"));
    let original = setup(&scratch, &cluster, &first);
    let copied = setup(&scratch, &cluster, &second);
    let server = original.start();
    let mut sent = send(&server, 0);
    wait_until_drained(&server);
    server.stop();
    copy(&first, &second);
    // The original goes on, so Kafka knows what the copy does not.
    let server = original.start();
    sent.extend(send(&server, 1));
    wait_until_drained(&server);
    server.stop();
    // The copy answers its clients, and keeps to itself what it has.
    let server = copied.start();
    sent.extend(send(&server, 2));
    wait::until("forwarding to stop", 120, || {
        (number(&server, "ringtail_spool_stopped") == 1).then_some(())
    });
    let (page, said) = (server.ask("/readyz").text(), server.said());
    for told in [&page, &said] {
        assert!(told.contains("journal 0 is no longer forwarded"), "{told}");
        assert!(told.contains("Kafka's cursor of ringtail-"), "{told}");
        assert!(told.contains("the log's own cursor is store"), "{told}");
        assert!(told.contains("ringtail spool adopt"), "{told}");
    }
    assert_eq!(number(&server, "ringtail_spool_backlog_events") % 5, 0);
    assert!(0 < number(&server, "ringtail_spool_backlog_events"));
    server.stop();
    let before = cluster.consume(&[&topic("one")]).len();
    adopt(&scratch, &second);
    let server = copied.start();
    wait_until_drained(&server);
    server.stop();
    // The original is who it was.
    let server = original.start();
    wait_until_drained(&server);
    assert_eq!(number(&server, "ringtail_spool_stopped"), 0);
    server.stop();
    let records = cluster.consume(&[&topic("one")]);
    assert!(before < records.len());
    let found = account(&sent, &records);
    println!("{found}");
    assert_eq!(found.duplicates, 0);
    assert_eq!(found.delivered, found.acknowledged);
}

#[test]
fn nor_are_both_while_both_run() {
    let scratch = Scratch::new("exactly-two");
    let cluster = Cluster::start(&scratch, 1);
    cluster.create(&topic("one"), 1, &[1]);
    let stores = [scratch.join("store"), scratch.join("copy")];
    let server = setup(&scratch, &cluster, &stores[0]).start();
    let mut sent = send(&server, 0);
    wait_until_drained(&server);
    server.stop();
    copy(&stores[0], &stores[1]);
    let setups = stores
        .clone()
        .map(|store| setup(&scratch, &cluster, &store));
    let servers = [setups[0].start(), setups[1].start()];
    let mut of_each = [send(&servers[0], 1), send(&servers[1], 2)];
    let stopped = |server: &Server| number(server, "ringtail_spool_stopped") == 1;
    wait::until("one of them to stop", 240, || {
        // One that was fenced hears of it when it has something to send.
        for (server, sent) in servers.iter().zip(&mut of_each) {
            if number(server, "ringtail_spool_backlog_events") == 0 {
                let connection = 3 + sent.len();
                sent.extend(send(server, connection * 2 + sent[0].connection % 2));
            }
        }
        servers.iter().any(stopped).then_some(())
    });
    let loser = usize::from(stopped(&servers[1]));
    wait_until_drained(&servers[1 - loser]);
    assert!(!stopped(&servers[1 - loser]), "both have stopped");
    let page = servers[loser].ask("/readyz").text();
    // It was fenced at work, or had not yet begun.
    let told = ["another engine forwards under this name", "do not agree"];
    assert!(told.iter().any(|told| page.contains(told)), "{page}");
    // Nothing of the one that stopped is there.
    sent.append(&mut of_each[1 - loser]);
    let found = account(&sent, &cluster.consume(&[&topic("one")]));
    assert_eq!((found.duplicates, found.delivered), (0, found.acknowledged));
    for server in servers {
        server.stop();
    }
    adopt(&scratch, &stores[loser]);
    let server = setups[loser].start();
    wait_until_drained(&server);
    server.stop();
    sent.append(&mut of_each[loser]);
    let found = account(&sent, &cluster.consume(&[&topic("one")]));
    println!("{found}");
    assert_eq!((found.duplicates, found.delivered), (0, found.acknowledged));
}
