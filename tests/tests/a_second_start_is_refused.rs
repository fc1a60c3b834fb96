//! One process for each store and each port: whoever comes second is told so and harms nobody.

use ringtail_tests::client::{Client, request_json};
use ringtail_tests::http::Http;
use ringtail_tests::journal;
use ringtail_tests::program::Finished;
use ringtail_tests::scratch::Scratch;
use ringtail_tests::server::{Server, Setup, free_ports};

fn send(server: &Server, guid: &str) {
    let mut http = Http::connect(server.port).expect("the engine accepts");
    let answer = http
        .post_events(&request_json(guid, "start", &[guid.into()]))
        .expect("the engine answers");
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn assert_refused(second: &Finished, wanted: &str) {
    assert!(matches!(second.code, Some(1 | 2)), "{second:?}");
    let lines: Vec<_> = second
        .stderr
        .lines()
        .filter(|line| line.contains(wanted))
        .collect();
    assert!(
        !lines.is_empty(),
        "no line names {wanted}: {}",
        second.stderr
    );
    assert!(!second.stderr.contains("panicked"), "{}", second.stderr);
}

#[test]
fn the_same_store_is_locked() {
    let scratch = Scratch::new("second-store");
    let setup = Setup::new(&scratch);
    let first = setup.start();
    send(&first, "before");

    let [port, admin] = free_ports();
    let second = setup
        .clone()
        .set("SERVER_WEBSOCKET_PORT", port)
        .set("RINGTAIL_ADMIN_PORT", admin)
        .refused();
    assert_refused(&second, &scratch.join("store").display().to_string());

    send(&first, "after");
    first.stop();
    journal::verify(&scratch.join("store"));
    let values = journal::values(&scratch.join("store"));
    let values: Vec<_> = values.into_values().flatten().collect();
    assert_eq!(values, [b"before".to_vec(), b"after".to_vec()]);
}

#[test]
fn the_same_port_is_probed_before_it_is_shared() {
    let scratch = Scratch::new("second-port");
    let setup = Setup::new(&scratch);
    let first = setup.start();
    let other = setup.clone().volume(&scratch.join("other"));

    let [port, admin] = free_ports();
    let same_port = other
        .clone()
        .set("SERVER_WEBSOCKET_PORT", first.port)
        .set("RINGTAIL_ADMIN_PORT", admin);
    assert_refused(&same_port.refused(), &first.port.to_string());
    let same_admin = other
        .set("SERVER_WEBSOCKET_PORT", port)
        .set("RINGTAIL_ADMIN_PORT", first.admin);
    assert_refused(&same_admin.refused(), &first.admin.to_string());

    // Had the second start stolen connections, some of these would have met nobody.
    for round in 0..32 {
        send(&first, &round.to_string());
    }
    first.stop();
}

#[test]
fn a_start_after_a_kill_takes_the_ports_again() {
    let scratch = Scratch::new("after-a-kill");
    let setup = Setup::new(&scratch);
    let mut server = setup.start();
    for round in 0..5 {
        let ports = [server.port, server.admin];
        // Connections keep the killed process's sockets busy.
        let clients: Vec<_> = (0..50)
            .map(|number| Client::connect(server.port, &format!("device-{number}")))
            .collect();
        server.kill();
        server = match setup.start_on(ports) {
            Ok(server) => server,
            Err(said) => panic!("round {round}: {said}"),
        };
        drop(clients);
    }
    server.stop();
}
