//! Noise, half-open connections, resets in every state, and many idle connections under load: the server
//! lives and serves others meanwhile, its memory comes back, every refusal is counted, and the log is
//! clean.
//!
//! `HOSTILE_STREAMS` says how many streams each door gets (10 000), `HOSTILE_IDLE` how many connections
//! are idle (300; a host of its own takes 15 000).

use ringtail_tests::client::{Client, Heard, draw, request_json, seed};
use ringtail_tests::hostile::{self, Door};
use ringtail_tests::http::Http;
use ringtail_tests::journal;
use ringtail_tests::metrics;
use ringtail_tests::scratch::Scratch;
use ringtail_tests::server::{Server, Setup, free_ports};
use ringtail_tests::wait;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

const STREAMS: usize = 10_000;
const IDLE: usize = 300;
const THREADS: usize = 4;
/// What memory may keep of a crowd that has gone: buffers for the next one, and what the allocator holds.
const MEMORY_TOLERANCE: u64 = 64 << 20;
const PATIENCE_SECONDS: u32 = 60;

fn from_environment(name: &str, default: usize) -> usize {
    let set = std::env::var(name).ok();
    set.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A server with every door open, and the port of gRPC.
fn start(scratch: &Scratch) -> (Server, u16) {
    let [grpc, _] = free_ports();
    let server = Setup::new(scratch)
        .set("SERVER_GRPC_PORT", grpc)
        .set("RINGTAIL_WEBSOCKET_DEFLATE", true)
        .set("RINGTAIL_POLICY_TOPICS_MAX", 50)
        .set("LOG_LEVEL", "warn")
        .start();
    (server, grpc)
}

/// Bytes of memory that are the process's own now.
fn resident(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid()));
    let status = status.expect("the engine lives");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    let kib: u64 = kib.and_then(|kib| kib.parse().ok()).expect("it is told");
    kib << 10
}

fn counted(server: &Server, name: &str, reason: &str) -> f64 {
    metrics::sum(&metrics::page(server), name, |sample| {
        reason.is_empty() || sample.label("reason") == Some(reason)
    })
}

/// Nobody is connected any more, as the server sees it.
fn wait_until_alone(server: &Server) {
    wait::until("the end of every connection", PATIENCE_SECONDS, || {
        let current = counted(server, "ringtail_connections_current", "");
        (current < 0.5).then_some(())
    });
}

fn wait_for_memory(server: &Server, base: u64) {
    wait::until("memory that was given back", PATIENCE_SECONDS, || {
        (resident(server) <= base + MEMORY_TOLERANCE).then_some(())
    });
}

/// The server ends in order, said nothing of a panic, and its log is clean.
fn end(server: Server, scratch: &Scratch) {
    let said = server.said();
    assert!(!said.contains("panicked"), "{said}");
    server.stop();
    journal::verify(&scratch.join("store"));
}

/// So many streams for one door, shared by some threads.
fn storm(door: Door, port: u16, streams: usize, seed: u64) {
    thread::scope(|scope| {
        for part in 0..THREADS {
            scope.spawn(move || {
                let mut random = seed ^ ((part as u64 + 1) << 32) ^ port_free(door);
                for number in (part..streams).step_by(THREADS) {
                    let id = format!("storm-{part}-{number}");
                    let bytes = hostile::bytes_for(door, &mut random, &id);
                    hostile::misbehave(port, &bytes, &mut random);
                }
            });
        }
    });
}

/// Something of the door for its seed; ports differ from run to run.
fn port_free(door: Door) -> u64 {
    match door {
        Door::Http => 1,
        Door::Grpc => 2,
        Door::Admin => 3,
    }
}

/// A client that does everything right until it is told to stop; gives what was acknowledged.
fn behave(port: u16, stop: &AtomicBool) -> usize {
    let mut client = Client::connect(port, "well-behaved");
    let mut acked = 0;
    while !stop.load(Ordering::Relaxed) {
        let payload = format!("good {acked}").into_bytes();
        assert!(client.send(&acked.to_string(), "good", &[payload]));
        match client.hear() {
            Heard::Answer(answer) => assert!(answer.is_success(), "{answer:?}"),
            other => panic!("the well-behaved client heard {other:?}"),
        }
        acked += 1;
    }
    acked
}

#[test]
fn noise_at_every_door_harms_nobody() {
    let scratch = Scratch::new("worst-noise");
    let seed = seed();
    let streams = from_environment("HOSTILE_STREAMS", STREAMS);
    let (server, grpc) = start(&scratch);
    let doors = [
        (Door::Http, server.port),
        (Door::Grpc, grpc),
        (Door::Admin, server.admin),
    ];
    // What is allocated once is allocated before the base is taken.
    for (door, port) in doors {
        storm(door, port, streams / 10, seed);
    }
    wait_until_alone(&server);
    let base = resident(&server);
    let stop = AtomicBool::new(false);
    let acked = thread::scope(|scope| {
        let good = scope.spawn(|| behave(server.port, &stop));
        for (door, port) in doors {
            storm(door, port, streams, seed.wrapping_mul(31));
        }
        stop.store(true, Ordering::Relaxed);
        good.join().expect("the well-behaved client was served")
    });
    wait_until_alone(&server);
    wait_for_memory(&server, base);
    println!(
        "{base} bytes before, {} after, {acked} good batches",
        resident(&server)
    );
    assert!(acked > 0);
    for (name, reason) in [
        ("batches_read_total", "serde"),
        ("batches_read_total", "closeerror"),
        ("user_connection_failure_total", "ugfailure"),
        ("ringtail_requests_refused_total", "broken_http"),
        ("ringtail_requests_refused_total", "not_served"),
    ] {
        assert!(counted(&server, name, reason) > 0.5, "{name} {reason}");
    }
    end(server, &scratch);
    let stored = journal::values(&scratch.join("store"));
    let good = stored
        .iter()
        .filter(|((topic, _), _)| topic.contains("-good-"));
    assert_eq!(good.map(|(_, values)| values.len()).sum::<usize>(), acked);
}

/// An upgraded connection, and what came behind the head.
fn upgraded(port: u16, id: &str) -> TcpStream {
    let mut stream = hostile::connect(port);
    stream
        .write_all(&hostile::upgrade(id))
        .expect("the engine reads");
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("the engine answers");
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    stream
}

/// Connections that are reset, one in each state that there is.
fn reset_in_every_state(server: &Server, grpc: u16, round: usize) {
    let request = hostile::request("guid", "reset", b"payload");
    let message = hostile::frame(0x82, &request);
    let send = |stream: &mut TcpStream, bytes: &[u8]| {
        stream.write_all(bytes).expect("the engine reads");
    };
    let http = || hostile::connect(server.port);
    let socket = |state: &str| upgraded(server.port, &format!("{state}-{round}"));
    let body = request_json("guid", "reset", &[b"payload".to_vec()]);
    let post = hostile::post("Content-Type: application/json\r\n", body.as_bytes());
    let call = hostile::call("reset", &request);

    let mut streams = vec![http()];
    for (mut stream, bytes) in [
        // In the head, in the body, before the answer.
        (http(), &hostile::upgrade("cut")[..40]),
        (http(), &post[..post.len() - 5]),
        (http(), &post[..]),
        // Upgraded: with nothing said, within a header, a payload, a fragmented message.
        (socket("silent"), &[][..]),
        (socket("header"), &message[..4]),
        (socket("payload"), &message[..10]),
        (socket("fragments"), &hostile::frame(0x02, &request[..9])),
        // With answers outstanding, and while closing.
        (socket("owed"), &message.repeat(100)),
        (
            socket("closing"),
            &hostile::frame(0x88, &1000_u16.to_be_bytes()),
        ),
        (
            socket("owed-closing"),
            &[message.repeat(9), hostile::frame(0x88, b"")].concat(),
        ),
        (socket("fault"), &hostile::frame(0x83, b"")),
        // gRPC: in the preface, the head, the message, before the answer.
        (hostile::connect(grpc), &call[..10]),
        (hostile::connect(grpc), &call[..60]),
        (hostile::connect(grpc), &call[..call.len() - 3]),
        (hostile::connect(grpc), &call[..]),
        (hostile::connect(server.admin), b"GET /met"),
        (
            hostile::connect(server.admin),
            b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
        ),
    ] {
        send(&mut stream, bytes);
        streams.push(stream);
    }
    if round % 2 == 1 {
        // The server gets its turn first.
        wait::pause();
    }
    for stream in streams {
        hostile::reset(stream);
    }
}

#[test]
fn a_reset_in_any_state_leaves_nothing_behind() {
    let scratch = Scratch::new("worst-resets");
    let (server, grpc) = start(&scratch);
    for round in 0..5 {
        reset_in_every_state(&server, grpc, round);
    }
    wait_until_alone(&server);
    let base = resident(&server);
    for round in 5..40 {
        reset_in_every_state(&server, grpc, round);
    }
    wait_until_alone(&server);
    wait_for_memory(&server, base);
    let mut client = Client::connect(server.port, "silent-1");
    assert!(client.send("after", "after", &[b"after".to_vec()]));
    assert!(matches!(client.hear(), Heard::Answer(answer) if answer.is_success()));
    drop(client);
    end(server, &scratch);
}

#[test]
fn half_open_connections_hold_up_nobody() {
    let scratch = Scratch::new("worst-half-open");
    let (server, grpc) = start(&scratch);
    let mut held = Vec::new();
    for number in 0..50 {
        // They said nothing, half of something, or that they will say nothing more.
        for port in [server.port, grpc] {
            held.push(hostile::connect(port));
            let mut half = hostile::connect(port);
            half.write_all(b"POST /api").expect("the engine reads");
            held.push(half);
            let silent = hostile::connect(port);
            silent.shutdown(Shutdown::Write).expect("it was open");
            held.push(silent);
        }
        let mut half = upgraded(server.port, &format!("half-{number}"));
        half.write_all(&hostile::frame(0x82, b"half")[..7])
            .expect("the engine reads");
        held.push(half);
    }
    let mut http = Http::connect(server.port).expect("the engine accepts");
    let answer = http.post_events(&request_json("guid", "good", &[b"good".to_vec()]));
    assert_eq!(answer.expect("the engine answers").status, 200);
    let mut client = Client::connect(server.port, "good");
    assert!(client.send("guid", "good", &[b"good".to_vec()]));
    assert!(matches!(client.hear(), Heard::Answer(answer) if answer.is_success()));
    drop((held, client, http));
    wait_until_alone(&server);
    end(server, &scratch);
}

/// Asks the host for as many open files as it gives.
fn raise_limits() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let _as_it_is = setrlimit(Resource::Nofile, raised);
}

#[test]
fn many_idle_connections_and_load_are_served_together() {
    let scratch = Scratch::new("worst-idle");
    raise_limits();
    let wanted = from_environment("HOSTILE_IDLE", IDLE);
    let (server, _) = start(&scratch);
    let first = upgraded(server.port, "first");
    let base = resident(&server);
    let mut idle: Vec<TcpStream> = (0..wanted)
        .map(|number| upgraded(server.port, &format!("idle-{number}")))
        .collect();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| behave(server.port, &stop));
        for client in 0..THREADS {
            let port = server.port;
            scope.spawn(move || {
                let mut random = client as u64 + 1;
                let mut client = Client::connect(port, &format!("load-{client}"));
                for number in 0..200_u32 {
                    let payload = draw(&mut random).to_le_bytes().repeat(100);
                    assert!(client.send(&number.to_string(), "load", &[payload]));
                }
                for _ in 0..200 {
                    assert!(matches!(client.hear(), Heard::Answer(answer) if answer.is_success()));
                }
            });
        }
        // Every idle one is there, and is answered while others are busy.
        for stream in &mut idle {
            stream
                .write_all(&hostile::frame(0x89, b"alive?"))
                .expect("the engine reads");
            let mut pong = [0; 8];
            stream.read_exact(&mut pong).expect("the engine answers");
            assert_eq!(&pong, b"\x8a\x06alive?");
        }
        stop.store(true, Ordering::Relaxed);
    });
    let current = counted(&server, "ringtail_connections_current", "");
    assert!(current >= wanted as f64, "{current} of {wanted} are there");
    drop((idle, first));
    wait_until_alone(&server);
    wait_for_memory(&server, base);
    end(server, &scratch);
}

/// Bytes for a port that are refused, the counter that says so, and its reason.
type Refusal = (u16, Vec<u8>, &'static str, &'static str);

const BATCHES: &str = "batches_read_total";
const REQUESTS: &str = "ringtail_requests_refused_total";

fn refused_by_websocket(port: u16) -> Vec<Refusal> {
    let upgraded = |bytes: &[u8]| [&hostile::upgrade("one")[..], bytes].concat();
    let upgrade = String::from_utf8(hostile::upgrade("one")).expect("it is text");
    let foreign = upgrade.replace("\r\n\r\n", "\r\nOrigin: http://elsewhere\r\n\r\n");
    let undecodable = hostile::frame(0x82, b"\xff");
    let reserved = hostile::frame(0x83, b"");
    let inflates_not = hostile::frame(0xc2, b"\xff");
    let torn = &hostile::frame(0x82, b"torn")[..8];
    let failure = "user_connection_failure_total";
    vec![
        (port, upgraded(&undecodable), BATCHES, "serde"),
        (port, upgraded(&reserved), BATCHES, "closeerror"),
        (port, upgraded(&inflates_not), BATCHES, "closeerror"),
        (port, upgraded(torn), BATCHES, "readerr"),
        (port, foreign.into_bytes(), failure, "ugfailure"),
    ]
}

fn refused_by_http(port: u16) -> Vec<Refusal> {
    let json = "Content-Type: application/json\r\n";
    let large = vec![b' '; (1 << 20) + 1];
    let mut torn = hostile::post(json, b"{}");
    torn.pop();
    let nowhere = b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n".to_vec();
    let noise = b"\x00\x01 no HTTP\r\n\r\n".to_vec();
    vec![
        (port, hostile::post(json, b"{"), BATCHES, "serde"),
        (port, torn, BATCHES, "readerr"),
        (port, hostile::post("", b"{}"), BATCHES, "unknowncontentype"),
        (port, hostile::post(json, &large), REQUESTS, "too_large"),
        (port, nowhere, REQUESTS, "not_served"),
        (port, noise, REQUESTS, "broken_http"),
    ]
}

fn refused_by_grpc(port: u16) -> Vec<Refusal> {
    let noise = b"no HTTP/2 at all, and enough of it".to_vec();
    let mut nameless = hostile::call("one", b"");
    let name = b"x-user-id";
    let at = nameless.windows(name.len()).position(|part| part == name);
    nameless[at.expect("a call bears an id")] = b'y';
    vec![
        (port, noise, REQUESTS, "broken_http"),
        (port, nameless, REQUESTS, "call"),
    ]
}

#[test]
fn every_refusal_has_its_counter() {
    let scratch = Scratch::new("worst-counters");
    let (server, grpc) = start(&scratch);
    let http = server.port;
    let all = [
        refused_by_websocket(http),
        refused_by_http(http),
        refused_by_grpc(grpc),
    ];
    for (port, bytes, name, reason) in all.into_iter().flatten() {
        let before = counted(&server, name, reason);
        let mut stream = hostile::connect(port);
        // A refusal may come before all is sent.
        let _refused_early = stream.write_all(&bytes);
        let _ended = stream.shutdown(Shutdown::Write);
        wait::until(&format!("{name} {reason}"), PATIENCE_SECONDS, || {
            (counted(&server, name, reason) > before + 0.5).then_some(())
        });
    }
    end(server, &scratch);
}
