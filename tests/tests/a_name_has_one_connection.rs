//! Who is connected, over two shards: one WebSocket for each id and group, as many as the limit allows,
//! and nothing is left of those that died, in whatever state.

use ringtail_tests::client::{Client, Heard, draw, payload, seed};
use ringtail_tests::journal;
use ringtail_tests::metrics;
use ringtail_tests::program;
use ringtail_tests::scratch::Scratch;
use ringtail_tests::server::{Server, Setup};
use ringtail_tests::wait;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

const LIMIT: usize = 60;
const NAMES: u64 = 25;
const KILLED: usize = 3_000;

fn two_shards(scratch: &Scratch) -> Setup {
    Setup::new(scratch)
        .set("RINGTAIL_SHARDS", 2)
        .set("SERVER_WEBSOCKET_CONN_GROUP_HEADER", "X-Group")
}

fn is_served(client: &mut Client) -> bool {
    client.send("served?", "served", &[payload(1, 1, 1, 20)])
        && matches!(client.hear(), Heard::Answer(answer) if answer.is_success())
}

/// A refusal: an answer in protobuf, then a close for reasons of policy.
fn is_refused(client: &mut Client) -> bool {
    matches!(client.hear(), Heard::Binary(_)) && matches!(client.hear(), Heard::Closed(Some(1008)))
}

#[test]
fn a_second_connection_of_a_name_is_refused_on_any_shard_and_the_first_goes_on() {
    let scratch = Scratch::new("one-name");
    // The first has all the time of the test to show that it lives.
    let server = two_shards(&scratch)
        .set("RINGTAIL_DUPLICATE_WAIT_MS", 600_000)
        .start();
    for number in 0..64 {
        let name = format!("device-{number}");
        let mut first = Client::connect(server.port, &name);
        assert!(is_served(&mut first));
        let mut second = Client::connect(server.port, &name);
        // Whatever it sends shows that it lives; the question may come after the first of it.
        let mut rounds = 0;
        let refused = std::thread::scope(|scope| {
            let second = scope.spawn(|| is_refused(&mut second));
            while !second.is_finished() {
                assert!(is_served(&mut first));
                rounds += 1;
            }
            second.join().expect("it saw no wrong")
        });
        assert!(refused, "{name} was not refused in {rounds} rounds");
        assert!(is_served(&mut first));
        drop(first);
        let mut third = Client::connect(server.port, &name);
        assert!(is_served(&mut third), "the place of {name} is not free");
    }
    let page = metrics::page(&server);
    let refused = metrics::sum(&page, "user_connection_failure_total", |sample| {
        sample.label("reason") == Some("exists")
    });
    assert!((refused - 64.0).abs() < 0.5, "{refused} were refused");
    server.stop();
}

#[test]
fn a_newer_connection_replaces_the_older_when_that_is_wanted() {
    let scratch = Scratch::new("replaced");
    let server = two_shards(&scratch)
        .set("RINGTAIL_ON_DUPLICATE", "replace")
        .start();
    let mut holder = Client::connect(server.port, "device");
    for _ in 0..32 {
        assert!(is_served(&mut holder));
        let mut next = Client::connect(server.port, "device");
        assert!(matches!(holder.hear(), Heard::Closed(Some(1008))));
        assert!(is_served(&mut next));
        holder = next;
    }
    server.stop();
}

/// Opens a connection under a name and ends it in a state that chance chooses.
fn kill_one(port: u16, name: u64, state: &mut u64) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the engine accepts");
    let request = format!(
        "GET /api/v1/events HTTP/1.1\r\nHost: here\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         X-User-ID: killed-{name}\r\n\r\n"
    );
    let request = request.as_bytes();
    // A whole empty request in binary, and the beginning of another.
    let messages = [&[0x82, 0x80, 1, 2, 3, 4][..], &[0x82, 0xfe, 1]].concat();
    let how = draw(state) % 8;
    let sent = match how {
        0 => Ok(()),
        1 => stream.write_all(&request[..request.len() / 2]),
        2 => stream.write_all(request),
        3 => stream.write_all(&[request, &messages].concat()),
        4 => stream.write_all(&[request, &messages[..6]].concat()),
        _ => stream.write_all(request).and_then(|()| {
            let mut head = [0; 64];
            stream.read_exact(&mut head)?;
            stream.write_all(&messages[..(how as usize - 5) * 4])
        }),
    };
    // A refusal may have come first.
    drop(sent);
    match draw(state) % 3 {
        // Unread answers make this a reset.
        0 => None,
        1 => {
            let _gone = stream.shutdown(Shutdown::Write);
            None
        }
        _ => Some(stream),
    }
}

fn connections(server: &Server) -> f64 {
    metrics::sum(
        &metrics::page(server),
        "ringtail_connections_current",
        |_| true,
    )
}

#[test]
fn nothing_is_left_of_connections_that_were_killed_in_every_state() {
    let scratch = Scratch::new("killed");
    let server = two_shards(&scratch)
        .set("SERVER_WEBSOCKET_MAX_CONN", LIMIT)
        .set("RINGTAIL_DUPLICATE_WAIT_MS", 50)
        .start();
    let mut state = seed();
    let mut lingering = Vec::new();
    for _ in 0..KILLED {
        let name = draw(&mut state) % NAMES;
        lingering.extend(kill_one(server.port, name, &mut state));
        if lingering.len() > 20 {
            let victim = draw(&mut state) as usize % lingering.len();
            lingering.swap_remove(victim);
        }
    }
    drop(lingering);
    wait::until("the end of all killed connections", 60, || {
        (connections(&server) < 0.5).then_some(())
    });
    // Every credit is there again, and every name.
    let connect = |number| Client::connect(server.port, &format!("killed-{number}"));
    let mut all: Vec<Client> = (0..LIMIT).map(connect).collect();
    for (number, client) in all.iter_mut().enumerate() {
        assert!(is_served(client), "connection {number} of {LIMIT}");
    }
    let mut over = Client::connect(server.port, "over the limit");
    assert!(is_refused(&mut over));
    drop(all.pop());
    wait::until("a place below the limit", 60, || {
        let mut again = Client::connect(server.port, "over the limit");
        is_served(&mut again).then_some(())
    });
    assert!(!server.said().contains("panicked"), "{}", server.said());
    drop(all);
    server.stop();
    journal::verify(&scratch.join("store"));
}

#[test]
fn foreign_clients_meet_identity_limits_and_deadlines() {
    let scratch = Scratch::new("deadlines");
    let server = two_shards(&scratch)
        .set("SERVER_WEBSOCKET_MAX_CONN", 40)
        .set("SERVER_WEBSOCKET_PING_INTERVAL_MS", 200)
        .set("SERVER_WEBSOCKET_PONG_WAIT_INTERVAL_MS", 5_000)
        .set("SERVER_WEBSOCKET_WRITE_WAIT_INTERVAL_MS", 1_000)
        .set("RINGTAIL_DUPLICATE_WAIT_MS", 2_000)
        .set("RINGTAIL_HEAD_WAIT_MS", 3_000)
        .set("RINGTAIL_MESSAGE_WAIT_MS", 3_000)
        .start();
    let mut pytest = program::clean(&program::python());
    pytest
        .args(["-B", "-m", "pytest", "-q", "--color=no"])
        .args(["-p", "no:cacheprovider"])
        .arg(program::repository().join("tests/python/connections.py"))
        .current_dir(scratch.path())
        .env("RINGTAIL_PORT", server.port.to_string())
        .env("RINGTAIL_ADMIN", server.admin.to_string())
        .env("RINGTAIL_LIMIT", "40")
        .env("RINGTAIL_PROMISED", scratch.join("promised.json"))
        .env("RINGTAIL_PROTO", program::repository().join("proto"));
    let finished = program::run(pytest, scratch.path(), 300);
    println!("{}", finished.stdout);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert!(!server.said().contains("panicked"), "{}", server.said());
    server.stop();
}
