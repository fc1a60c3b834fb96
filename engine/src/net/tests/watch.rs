//! Deadlines, and what the shard tells connections.

use super::*;
use prost::Message as _;
use ringtail_proto::SendEventResponse;
use std::io::Write;

/// Pings often; everything else has the patience of the test.
fn patient() -> Settings {
    Settings {
        ping_interval: Duration::from_millis(10),
        pong_wait: PATIENCE,
        write_wait: PATIENCE,
        proof_wait: PATIENCE,
        head_wait: PATIENCE,
        message_wait: PATIENCE,
        ..settings()
    }
}

const SOON: Duration = Duration::from_millis(100);

fn is_ping(seen: &Seen) -> bool {
    *seen == Seen::Ping(b"--ping--".to_vec())
}

/// Sees nothing but pings, and then the end without a close frame.
async fn ends_without_a_word(client: &mut Client) {
    loop {
        match client.seen().await {
            Seen::End => return,
            seen => assert!(is_ping(&seen), "{seen:?}"),
        }
    }
}

#[test]
fn who_answers_no_ping_is_dropped_without_a_word() {
    let settings = Settings {
        pong_wait: SOON,
        ..patient()
    };
    World::run_with(settings, async |world| {
        let mut client = world.upgraded().await;
        assert!(is_ping(&client.seen().await));
        ends_without_a_word(&mut client).await;
        assert!(world.echo.noted(Note::Cut(Cut::NoPong)));
        world
            .wait_until(|it| Rc::strong_count(&it.echo.0.places) == 1)
            .await;
    });
}

#[test]
fn data_does_not_stand_for_pongs() {
    let settings = Settings {
        pong_wait: SOON,
        write_wait: SOON,
        ..patient()
    };
    World::run_with(settings, async |world| {
        let mut client = world.upgraded().await;
        loop {
            // The engine may have closed it already.
            let _gone = client.stream.send_all(&binary(b"data")).await;
            match client.seen().await {
                Seen::End => break,
                Seen::Binary(_) | Seen::Ping(_) => {}
                seen => panic!("{seen:?}"),
            }
        }
        assert!(world.echo.noted(Note::Cut(Cut::NoPong)));
    });
}

#[test]
fn who_is_not_read_for_want_of_room_is_not_dropped_for_a_missing_pong() {
    let settings = Settings {
        pong_wait: SOON,
        ..patient()
    };
    World::run_with(settings, async |world| {
        let mut client = world.upgraded().await;
        world.echo.0.full.set(true);
        client.send(&binary(b"waits")).await;
        for _ in 0..30 {
            assert!(is_ping(&client.seen().await));
        }
        world.echo.make_room();
        let mut seen = client.seen().await;
        while is_ping(&seen) {
            seen = client.seen().await;
        }
        assert_eq!(seen, Seen::Binary(b"waits".to_vec()));
    });
}

#[test]
fn a_message_that_trickles_is_cut_off() {
    let settings = Settings {
        message_wait: SOON,
        ..patient()
    };
    World::run_with(settings, async |world| {
        let whole = binary(b"never whole");
        let fragments = [frame(0x02, b"one"), frame(0x00, b"two")].concat();
        for beginning in [&whole[..1], &whole[..9], &fragments] {
            world.echo.0.notes.borrow_mut().clear();
            let mut client = world.upgraded().await;
            client.send(beginning).await;
            ends_without_a_word(&mut client).await;
            assert!(world.echo.noted(Note::Cut(Cut::SlowMessage)));
        }
    });
}

#[test]
fn who_reads_no_answers_is_cut_off() {
    let settings = Settings {
        write_wait: SOON,
        ..patient()
    };
    World::run_with(settings, async |world| {
        let address = world.doors.local_address().unwrap();
        let mut client = std::net::TcpStream::connect(address).unwrap();
        let sending = std::thread::spawn(move || {
            client.write_all(upgrade("").as_bytes()).unwrap();
            let part = binary(&vec![9; 100_000]);
            while client.write_all(&part).is_ok() {}
        });
        world
            .wait_until(|it| it.echo.noted(Note::Cut(Cut::SlowReader)))
            .await;
        world.wait_until(|it| it.doors.connections() == 0).await;
        sending.join().unwrap();
    });
}

#[test]
fn a_pong_that_the_client_does_not_take_is_counted() {
    let settings = Settings {
        write_wait: SOON,
        ..patient()
    };
    World::run_with(settings, async |world| {
        let address = world.doors.local_address().unwrap();
        let mut client = std::net::TcpStream::connect(address).unwrap();
        let sending = std::thread::spawn(move || {
            client.write_all(upgrade("").as_bytes()).unwrap();
            let mut part = binary(&vec![9; 10_000]);
            // A masked ping without a payload.
            part.extend_from_slice(&[0x89, 0x80, 1, 2, 3, 4]);
            while client.write_all(&part).is_ok() {}
        });
        world.wait_until(|it| it.echo.noted(Note::PongFailed)).await;
        world.wait_until(|it| it.doors.connections() == 0).await;
        sending.join().unwrap();
        assert!(!world.echo.noted(Note::Cut(Cut::NoPong)));
    });
}

#[test]
fn a_head_that_trickles_is_cut_off_and_an_idle_connection_is_let_go() {
    let settings = Settings {
        head_wait: SOON,
        ..patient()
    };
    World::run_with(settings, async |world| {
        let mut idle = world.call().await;
        idle.send(b"GET /ping HTTP/1.1\r\nHost: here\r\n\r\n").await;
        assert_eq!(idle.reply().await.1, b"pong");
        while idle.more().await {}
        assert!(!world.echo.noted(Note::Cut(Cut::SlowHead)));
        let mut slow = world.call().await;
        slow.send(b"GET /ping HT").await;
        while slow.more().await {}
        assert!(world.echo.noted(Note::Cut(Cut::SlowHead)));
    });
}

#[test]
fn a_body_that_trickles_is_refused() {
    let settings = Settings {
        message_wait: SOON,
        ..patient()
    };
    World::run_with(settings, async |world| {
        let mut slow = world.call().await;
        let head = "POST /api/v1/events HTTP/1.1\r\nHost: here\r\n\
                    Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
        slow.send(head.as_bytes()).await;
        assert!(slow.reply().await.0.starts_with("HTTP/1.1 408 "));
        assert!(world.echo.noted(Note::Cut(Cut::SlowBody)));
    });
}

#[test]
fn a_holder_that_answers_the_ping_has_shown_that_it_lives() {
    let settings = Settings {
        ping_interval: PATIENCE,
        pong_wait: 2 * PATIENCE,
        ..patient()
    };
    World::run_with(settings, async |world| {
        let mut client = world.upgraded().await;
        world
            .wait_until(|it| !it.echo.0.outboxes.borrow().is_empty())
            .await;
        world.echo.0.outboxes.borrow()[0].tell(Told::ProveLife);
        assert!(is_ping(&client.seen().await));
        assert_eq!(world.echo.0.proofs.get(), 0);
        client.send(&frame(0x8a, b"--ping--")).await;
        world.wait_until(|it| it.echo.0.proofs.get() == 1).await;
    });
}

#[test]
fn a_holder_that_is_not_heard_for_want_of_room_keeps_its_place() {
    let settings = Settings {
        ping_interval: PATIENCE,
        pong_wait: 2 * PATIENCE,
        proof_wait: SOON,
        ..patient()
    };
    World::run_with(settings, async |world| {
        let mut client = world.upgraded().await;
        world.echo.0.full.set(true);
        client.send(&binary(b"waits")).await;
        world.wait_until(|it| it.echo.0.waits.get() > 0).await;
        world.echo.0.outboxes.borrow()[0].tell(Told::ProveLife);
        world.wait_until(|it| it.echo.0.proofs.get() == 1).await;
    });
}

#[test]
fn a_holder_that_does_not_gives_way() {
    let settings = Settings {
        ping_interval: PATIENCE,
        pong_wait: 2 * PATIENCE,
        proof_wait: SOON,
        ..patient()
    };
    World::run_with(settings, async |world| {
        let mut client = world.upgraded().await;
        world
            .wait_until(|it| !it.echo.0.outboxes.borrow().is_empty())
            .await;
        world.echo.0.outboxes.borrow()[0].tell(Told::ProveLife);
        ends_without_a_word(&mut client).await;
        assert!(world.echo.noted(Note::Cut(Cut::Superseded)));
        assert_eq!(world.echo.0.proofs.get(), 0);
    });
}

#[test]
fn a_holder_that_was_replaced_is_answered_and_closed() {
    World::run(async |world| {
        world.echo.0.holds.set(true);
        let mut client = world.upgraded().await;
        client.send(&binary(b"owed")).await;
        world
            .wait_until(|it| !it.echo.0.held.borrow().is_empty())
            .await;
        world.echo.0.outboxes.borrow()[0].tell(Told::Leave);
        world.echo.release();
        assert_eq!(client.seen().await, Seen::Binary(b"owed".to_vec()));
        assert_eq!(client.seen().await, Seen::Close(Some(1008)));
        assert!(world.echo.noted(Note::Replaced));
    });
}

#[test]
fn who_is_not_welcome_is_told_so_and_closed() {
    World::run(async |world| {
        let cases = [
            (
                Unwelcome::Duplicate,
                5,
                "duplicated connection: [us] m\u{fffd}e,",
            ),
            (Unwelcome::Full, 4, "max connection reached"),
        ];
        for (why, code, reason) in cases {
            world.echo.0.unwelcome.set(Some(why));
            let mut client = world.call().await;
            let mut bytes = upgrade("X-User-ID: m\u{fffd}e\r\nX-Group: us\r\n").into_bytes();
            // What it sends is not taken.
            bytes.extend_from_slice(&binary(b"early"));
            client.send(&bytes).await;
            assert!(client.head().await.starts_with("HTTP/1.1 101 "));
            let Seen::Binary(answer) = client.seen().await else {
                panic!("no answer came before the close");
            };
            let answer = SendEventResponse::decode(&answer[..]).unwrap();
            assert_eq!((answer.status, answer.code), (2, code));
            assert_eq!(answer.reason, reason);
            assert!(answer.data.is_empty() && answer.sent_time > 0);
            assert_eq!(client.seen().await, Seen::Close(Some(1008)));
            assert!(world.echo.noted(Note::TurnedAway(why)));
        }
        assert!(!world.echo.noted(Note::Connected));
        assert_eq!(world.echo.received(), 0);
    });
}
