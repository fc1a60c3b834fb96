//! Over real sockets, with shards that only answer letters.

use super::*;
use crate::control::config::{Configuration, Layers};
use crate::control::fleet::tests::with_fleet;
use crate::rt::executor::blocking;
use crate::shard::mail::Order;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

fn settings() -> Settings {
    let found = Configuration::resolve(Layers::default()).unwrap();
    found.settings().unwrap()
}

/// Status and body of a request.
async fn ask(address: SocketAddr, method: &'static str, path: &'static str) -> (u16, String) {
    send(address, method, path, "").await
}

async fn send(
    address: SocketAddr,
    method: &'static str,
    path: &'static str,
    body: &'static str,
) -> (u16, String) {
    blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        let bytes = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {bytes}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    })
    .await
}

fn with_port<F: Future<Output = ()>>(body: impl FnOnce(Rc<Fleet>, SocketAddr) -> F) {
    with_port_of(&settings(), body);
}

fn with_port_of<F: Future<Output = ()>>(
    settings: &Settings,
    body: impl FnOnce(Rc<Fleet>, SocketAddr) -> F,
) {
    with_fleet(async |fleet| {
        let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = listener.local_address().unwrap();
        let _served = serve(listener, Rc::clone(&fleet), settings);
        body(fleet, address).await;
    });
}

#[test]
fn readiness_follows_the_shards() {
    with_port(async |fleet: Rc<Fleet>, address| {
        assert_eq!(ask(address, "GET", "/healthz").await, (200, "ok\n".into()));
        let (status, why) = ask(address, "GET", "/readyz").await;
        assert_eq!(status, 503);
        assert!(why.starts_with("starting: "), "{why}");
        fleet.order_all(|| Order::Serve).await;
        fleet
            .reached(crate::control::fleet::Stage::Serving)
            .await
            .unwrap();
        assert_eq!(
            ask(address, "GET", "/readyz").await,
            (200, "ready\n".into())
        );
        fleet.drain();
        assert_eq!(
            ask(address, "GET", "/readyz").await,
            (503, "draining\n".into())
        );
    });
}

#[test]
fn topics_are_listed_with_their_partitions() {
    with_port(async |_, address| {
        let (status, body) = ask(address, "GET", "/topics").await;
        assert_eq!(status, 200);
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        let partitions = serde_json::json!([
            { "partition": 0, "first": 3, "next": 5, "dead_bytes": 7 },
            { "partition": 1, "first": 3, "next": 6, "dead_bytes": 7 },
        ]);
        assert_eq!(body[0]["name"], "x");
        assert_eq!(body[0]["partitions"], partitions);
    });
}

#[test]
fn records_are_read_and_bad_questions_told_apart() {
    with_port(async |_, address| {
        let line = "{\"offset\":4,\"timestamp_ms\":1,\"value_base64\":\"MQ==\"}\n";
        let read = |path| ask(address, "GET", path);
        let (status, body) = read("/topics/x/partitions/1/records?offset=4&limit=1").await;
        assert_eq!((status, body.as_str()), (200, line));
        assert_eq!(read("/topics/x/partitions/0/records").await.0, 200);
        assert_eq!(read("/topics/y/partitions/0/records").await.0, 404);
        assert_eq!(read("/topics/x/partitions/7/records").await.0, 404);
        assert_eq!(read("/topics/x/partitions/z/records").await.0, 400);
        assert_eq!(read("/topics/x/partitions/0/records?limit=0").await.0, 400);
        let (status, body) = read("/topics/x/partitions/0/records?offset=2").await;
        assert_eq!(status, 416);
        assert!(body.contains("\"first\":3,\"next\":5"), "{body}");
        assert_eq!(read("/nothing").await.0, 404);
        assert_eq!(ask(address, "POST", "/topics").await.0, 405);
    });
}

#[test]
fn topics_are_truncated_on_every_shard_or_on_one() {
    with_port(async |_, address| {
        let patch = |body| send(address, "PATCH", "/topics/x", body);
        let (status, body) = patch(r#"{"truncate": 4}"#).await;
        assert_eq!(status, 200, "{body}");
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (&body["minOffset"], &body["maxOffset"]),
            (&4.into(), &9.into())
        );
        assert_eq!(body["partitions"].as_array().unwrap().len(), 2);
        let (_, body) = patch(r#"{"before": "1970-01-01T00:00:06Z", "partition": 1}"#).await;
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["minOffset"], 6);
        assert_eq!(body["partitions"][0]["partition"], 1);
        assert_eq!(patch(r#"{"truncate": 0}"#).await.0, 204);
        assert_eq!(patch("{").await.0, 400);
        assert_eq!(patch(r#"{"truncate": 1, "partition": 7}"#).await.0, 404);
        assert_eq!(send(address, "PATCH", "/topics/y", "{}").await.0, 404);
        assert_eq!(ask(address, "DELETE", "/topics").await.0, 405);
    });
}

/// Opens one connection more than there may be; gives what the metrics then say of it.
fn overfill(address: SocketAddr) -> u64 {
    let open = || TcpStream::connect(address).unwrap();
    let mut held: Vec<_> = (0..limit::ADMIN_CONNECTIONS_MAX).map(|_| open()).collect();
    let mut nothing = Vec::new();
    // It ends, with or without an error.
    let _ended = open().read_to_end(&mut nothing);
    assert!(nothing.is_empty());
    let mut text = String::new();
    let question = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let told = held[0].write_all(question);
    let told = told.and_then(|()| held[0].read_to_string(&mut text));
    let name = "ringtail_admin_connections_refused_total ";
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    told.ok().and(line).map_or(0, |line| line.parse().unwrap())
}

#[test]
fn who_finds_the_port_full_is_counted() {
    with_port(async |_, address| {
        // On a machine that stands still those that are held run out of time before the last has come.
        for _ in 0..5 {
            if 1 <= blocking(move || overfill(address)).await {
                return;
            }
        }
        panic!("nobody was counted");
    });
}

#[test]
fn metrics_come_from_every_shard() {
    with_port(async |_, address| {
        let (status, body) = ask(address, "GET", "/metrics").await;
        assert_eq!(status, 200);
        for shard in ["0", "1"] {
            let line = format!("\nringtail_events_accepted_total{{shard=\"{shard}\"}} 10\n");
            assert!(body.contains(&line), "{body}");
        }
    });
}

#[test]
fn dead_letters_are_sent_again_where_there_is_a_spool() {
    with_port(async |_, address| {
        let (status, why) = ask(address, "POST", "/spool/retry").await;
        assert_eq!(status, 409);
        assert!(why.contains("publisher.type is not spool"), "{why}");
    });
    let variable = |name: &str, value: &str| (name.into(), value.into());
    let spool = Configuration::resolve(Layers {
        environment: vec![
            variable("PUBLISHER_TYPE", "spool"),
            variable("PUBLISHER_KAFKA_CLIENT_BOOTSTRAP_SERVERS", "b:1"),
        ],
        ..Layers::default()
    });
    with_port_of(&spool.unwrap().settings().unwrap(), async |_, address| {
        let post = async |body| {
            let (status, text) = send(address, "POST", "/spool/retry", body).await;
            let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
            (status, answer)
        };
        // Two shards, with one and two letters.
        let (status, answer) = post("").await;
        assert_eq!(
            (status, &answer["sent"], &answer["left"]),
            (200, &3.into(), &0.into())
        );
        let (_, answer) = post(r#"{"dry_run": true}"#).await;
        assert_eq!(answer["left"], 2);
        // What did not come to its end is no success.
        let (status, answer) = post(r#"{"topic": "click"}"#).await;
        assert_eq!((status, &answer["faults"][1]), (503, &"click".into()));
        let (status, answer) = post(r#"{"tropic": "click"}"#).await;
        assert_eq!(status, 400);
        assert!(answer["error"].to_string().contains("tropic"), "{answer}");
        assert_eq!(ask(address, "GET", "/spool/retry").await.0, 404);
        assert_eq!(ask(address, "DELETE", "/spool/retry").await.0, 405);
    });
}
