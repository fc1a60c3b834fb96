//! What was counted since the last sending goes out before the end.

use ringtail_tests::client::{Client, Heard};
use ringtail_tests::scratch::Scratch;
use ringtail_tests::server::Setup;
use std::net::UdpSocket;
use std::time::Duration;

#[test]
fn a_drain_sends_what_the_next_period_would_have_sent() {
    let statsd = UdpSocket::bind("127.0.0.1:0").expect("a free port exists");
    let patience = Some(Duration::from_secs(30));
    statsd.set_read_timeout(patience).expect("it is not zero");
    let address = statsd.local_addr().expect("it is bound");

    let scratch = Scratch::new("statsd");
    let server = Setup::new(&scratch)
        .set("METRIC_STATSD_ENABLED", true)
        .set("METRIC_STATSD_ADDRESS", address)
        .set("METRIC_STATSD_FLUSH_PERIOD_MS", 3_600_000)
        .start();
    let mut client = Client::connect(server.port, "device");
    assert!(client.send("", "ride", &[b"payload".to_vec()]));
    let heard = client.hear();
    assert!(matches!(&heard, Heard::Answer(answer) if answer.is_success()));
    server.stop();

    let wanted = "events_rx_total,conn_group=--default--,event_type=ride:1|c";
    let mut datagram = [0; 2048];
    loop {
        let bytes = statsd.recv(&mut datagram).expect("the last numbers come");
        let lines = String::from_utf8_lossy(&datagram[..bytes]);
        if lines.lines().any(|line| line == wanted) {
            return;
        }
    }
}
