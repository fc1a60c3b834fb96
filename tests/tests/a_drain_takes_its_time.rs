//! TERM closes WebSockets one after the other and serves the others meanwhile; a second TERM does not wait.

use ringtail_tests::client::{Client, Heard, payload};
use ringtail_tests::http::Http;
use ringtail_tests::journal;
use ringtail_tests::scratch::Scratch;
use ringtail_tests::server::Setup;
use ringtail_tests::wait;
use std::net::TcpStream;

fn is_served(client: &mut Client, request: usize) -> bool {
    client.send("", "served", &[payload(1, request, 1, 20)])
        && matches!(client.hear(), Heard::Answer(answer) if answer.is_success())
}

#[test]
fn the_last_is_served_while_the_first_is_gone_and_a_second_signal_ends_it() {
    let scratch = Scratch::new("window");
    let server = Setup::new(&scratch)
        .set("RINGTAIL_DRAIN_WINDOW_MS", 600_000)
        .start();
    let connect = |name: &str| {
        let mut client = Client::connect(server.port, name);
        assert!(is_served(&mut client, 0));
        client
    };
    let mut clients = [connect("one"), connect("other")];
    assert_eq!(server.ask("/readyz").status, 200);
    server.terminate();
    // One is told at once; the other's turn is minutes away.
    wait::until("a failing /readyz", 60, || {
        (server.ask("/readyz").status == 503).then_some(())
    });
    assert_eq!(server.ask("/healthz").status, 200);
    let [first, last] = &mut clients;
    assert!(matches!(first.hear(), Heard::Closed(Some(1001))));
    wait::until("a closed port", 60, || {
        TcpStream::connect(("127.0.0.1", server.port)).err()
    });
    for request in 1..20 {
        assert!(is_served(last, request), "request {request}");
    }
    server.terminate();
    let status = server.finished();
    assert_eq!(status.code(), Some(1), "{status}");
    journal::verify(&scratch.join("store"));
    let stored = journal::values(&scratch.join("store"));
    assert_eq!(stored.values().map(Vec::len).sum::<usize>(), 2 + 19);
}

#[test]
fn a_kept_alive_http_connection_is_answered_and_closed() {
    let scratch = Scratch::new("kept-alive");
    let server = Setup::new(&scratch).start();
    let mut http = Http::connect(server.port).expect("the engine accepts");
    assert_eq!(http.get("/ping").expect("it answers").status, 200);
    server.stop();
    assert!(http.get("/ping").is_err());
}
