//! Two shards: both take connections, both write, and each thread stays on its core.

use ringtail_tests::client::{Client, Heard, payload};
use ringtail_tests::journal;
use ringtail_tests::metrics;
use ringtail_tests::scratch::Scratch;
use ringtail_tests::server::{Server, Setup};
use std::collections::BTreeMap;
use std::fs;

const CONNECTIONS: usize = 64;

/// The processors that each shard's thread may run on, by the kernel's word.
fn shard_threads(server: &Server) -> BTreeMap<String, String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).expect("the server runs");
    let threads = tasks.flatten().filter_map(|task| {
        let name = fs::read_to_string(task.path().join("comm"))
            .ok()?
            .trim()
            .to_owned();
        let status = fs::read_to_string(task.path().join("status")).ok()?;
        let cpus = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
        let is_shard = name
            .strip_prefix("shard-")
            .is_some_and(|number| number.parse::<u32>().is_ok());
        is_shard.then(|| (name, cpus.trim().to_owned()))
    });
    threads.collect()
}

#[test]
fn both_shards_take_connections_and_commit() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    assert!(
        cores >= 2,
        "this promise needs two processors, here is {cores}"
    );
    let scratch = Scratch::new("two-shards");
    let server = Setup::new(&scratch).set("RINGTAIL_SHARDS", 2).start();

    let connect = |number: usize| Client::connect(server.port, &format!("device-{number}"));
    let mut clients: Vec<_> = (0..CONNECTIONS).map(connect).collect();
    for round in 0..4 {
        for (number, client) in clients.iter_mut().enumerate() {
            assert!(client.send("", "shared", &[payload(number, round, 0, 100)]));
        }
        for client in &mut clients {
            let heard = client.hear();
            assert!(
                matches!(&heard, Heard::Answer(answer) if answer.is_success()),
                "{heard:?}"
            );
        }
    }

    let page = metrics::page(&server);
    for name in ["ringtail_events_durable_total", "ringtail_commits_total"] {
        for shard in ["0", "1"] {
            let of_shard = metrics::sum(&page, name, |sample| sample.label("shard") == Some(shard));
            assert!(of_shard > 0.0, "{name} of shard {shard} is {of_shard}");
        }
    }
    let all = metrics::sum(&page, "ringtail_events_durable_total", |_| true);
    assert!(
        (all - (CONNECTIONS * 4) as f64).abs() < 0.5,
        "{all} events durable"
    );

    let threads = shard_threads(&server);
    assert_eq!(threads.keys().collect::<Vec<_>>(), ["shard-0", "shard-1"]);
    let single = |cpus: &String| cpus.parse::<u32>().is_ok();
    assert!(threads.values().all(single), "not pinned: {threads:?}");
    assert_ne!(
        threads["shard-0"], threads["shard-1"],
        "one core for two shards"
    );

    server.stop();
    journal::verify(&scratch.join("store"));
    let values = journal::values(&scratch.join("store"));
    assert_eq!(values.len(), 2, "one partition for each journal");
    assert_eq!(
        values.values().map(Vec::len).sum::<usize>(),
        CONNECTIONS * 4
    );
}
