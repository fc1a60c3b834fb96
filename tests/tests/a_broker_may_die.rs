//! `kill -9` of the broker under load: it starts again, the load goes on, and nothing acknowledged is missing,
//! doubled or out of order. A broker that is away from the beginning keeps the engine alive and not ready.

use ringtail_tests::delivery::{Load, account, topic};
use ringtail_tests::kafka::Cluster;
use ringtail_tests::scratch::Scratch;
use ringtail_tests::server::{Setup, free_ports};
use ringtail_tests::wait;

#[test]
fn nothing_acknowledged_is_lost_with_the_broker() {
    let scratch = Scratch::new("kafka-kill");
    // A broker that says that it has something has it on disk, for this one has no others to ask.
    let mut cluster = Cluster::start(&scratch, 1);
    cluster.create(&topic("one"), 1, &[1]);
    cluster.create(&topic("many"), 3, &[1]);
    let server = Setup::new(&scratch)
        .set("RINGTAIL_SHARDS", 2)
        .set(
            "PUBLISHER_KAFKA_CLIENT_BOOTSTRAP_SERVERS",
            cluster.bootstrap(),
        )
        .start();
    let load = Load::start(server.port, 0..4, &["one", "many"]);
    let answers = |more: u64| {
        let before = load.answered();
        wait::until("answers", 240, || {
            (load.answered() >= before + more).then_some(())
        });
    };
    for round in 1..=2 {
        answers(200);
        cluster.kill(1);
        wait::until("the engine to miss its broker", 120, || {
            (server.ask("/readyz").status == 503).then_some(())
        });
        cluster.start_again(1);
        answers(200);
        wait::until("the engine to see its broker again", 120, || {
            (server.ask("/readyz").status == 200).then_some(())
        });
        println!("round {round}: {} answers", load.answered());
    }
    let sent = load.finish();
    server.stop();
    let records = cluster.consume(&[&topic("one"), &topic("many")]);
    let found = account(&sent, &records);
    println!("{found}");
    assert_eq!((found.failed, found.duplicates), (0, 0));
    assert_eq!(found.acknowledged, found.sent);
}

#[test]
fn without_a_broker_the_engine_waits_and_says_so() {
    let scratch = Scratch::new("kafka-none");
    let [nobody, admin] = free_ports();
    let [port, _] = free_ports();
    let setup = Setup::new(&scratch)
        .set(
            "PUBLISHER_KAFKA_CLIENT_BOOTSTRAP_SERVERS",
            format!("127.0.0.1:{nobody}"),
        )
        .set("SERVER_WEBSOCKET_PORT", port)
        .set("RINGTAIL_ADMIN_PORT", admin);
    let mut child = setup
        .command()
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the program was found");
    let why = wait::until("a word about the cluster", 60, || {
        let mut http = ringtail_tests::http::Http::connect(admin).ok()?;
        let answer = http.get("/readyz").ok()?;
        let text = answer.text();
        (answer.status == 503 && text.contains("Kafka")).then_some(text)
    });
    println!("{why}");
    assert!(child.try_wait().expect("our own child").is_none());
    let _ = child.kill();
    let _ = child.wait();
}
