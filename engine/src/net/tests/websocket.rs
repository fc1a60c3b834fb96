//! WebSockets from the first byte to the last.

use super::*;
use crate::rt::executor::blocking;
use std::io::{Read, Write};

#[test]
fn a_message_in_the_same_segment_as_the_upgrade_is_answered() {
    World::run(async |world| {
        let mut client = world.call().await;
        let mut bytes = upgrade("X-User-ID: me\r\n").into_bytes();
        bytes.extend_from_slice(&binary(b"early"));
        bytes.extend_from_slice(&binary(&vec![7; 40_000])[..30_000]);
        client.send(&bytes).await;
        let head = client.head().await;
        assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        assert_eq!(client.seen().await, Seen::Binary(b"early".to_vec()));
        client.send(&binary(&vec![7; 40_000])[30_000..]).await;
        assert_eq!(client.seen().await, Seen::Binary(vec![7; 40_000]));
    });
}

#[test]
fn a_fragmented_message_with_a_ping_inside_is_one_message() {
    World::run(async |world| {
        let mut client = world.upgraded().await;
        for part in [frame(0x01, b"Hel"), frame(0x89, b"!"), frame(0x80, b"lo")] {
            client.send(&part).await;
        }
        assert_eq!(client.seen().await, Seen::Pong(b"!".to_vec()));
        assert_eq!(client.seen().await, Seen::Text(b"Hello".to_vec()));
    });
}

#[test]
fn a_message_that_comes_byte_by_byte_arrives() {
    World::run(async |world| {
        let mut client = world.upgraded().await;
        for byte in binary(b"slow") {
            client.send(&[byte]).await;
            take_turns().await;
        }
        assert_eq!(client.seen().await, Seen::Binary(b"slow".to_vec()));
    });
}

#[test]
fn messages_of_every_size_come_back_as_they_were() {
    World::run(async |world| {
        let mut client = world.upgraded().await;
        for bytes in [
            0,
            1,
            125,
            126,
            65_535,
            65_536,
            300_000,
            MESSAGE_BYTES_DEFAULT,
        ] {
            let payload: Vec<u8> = (0..bytes).map(|index| (index % 251) as u8).collect();
            client.send(&binary(&payload)).await;
            assert_eq!(client.seen().await, Seen::Binary(payload));
        }
    });
}

#[test]
fn many_messages_in_one_segment_are_answered_in_order() {
    World::run(async |world| {
        let mut client = world.upgraded().await;
        let all: Vec<u8> = (0..=255).flat_map(|byte| binary(&[byte; 20])).collect();
        client.send(&all).await;
        for byte in 0..=255 {
            assert_eq!(client.seen().await, Seen::Binary(vec![byte; 20]));
        }
    });
}

#[test]
fn a_close_is_echoed_after_the_answers_that_are_owed() {
    World::run(async |world| {
        world.echo.0.holds.set(true);
        let mut client = world.upgraded().await;
        let mut bytes = binary(b"owed");
        bytes.extend_from_slice(&frame(0x88, &1000_u16.to_be_bytes()));
        client.send(&bytes).await;
        world
            .wait_until(|it| !it.echo.0.held.borrow().is_empty())
            .await;
        world.echo.release();
        assert_eq!(client.seen().await, Seen::Binary(b"owed".to_vec()));
        assert_eq!(client.seen().await, Seen::Close(Some(1000)));
        assert_eq!(client.seen().await, Seen::End);
        drop(client);
        world.wait_until(|it| it.doors.connections() == 0).await;
        assert!(world.echo.noted(Note::Disconnected { lived_us: 0 }));
    });
}

#[test]
fn faults_are_told_by_their_codes_after_earlier_answers() {
    let mut oversized = vec![0x82, 0xff];
    oversized.extend_from_slice(&(MESSAGE_BYTES_DEFAULT as u64 + 1).to_be_bytes());
    oversized.extend_from_slice(&[0; 4]);
    let cases = [
        (vec![0x82, 1, 0], 1002),           // without a mask
        (frame(0xc2, b"x"), 1002),          // a reserved bit
        (frame(0x83, b"x"), 1002),          // a reserved opcode
        (frame(0x80, b"x"), 1002),          // a continuation of nothing
        (frame(0x81, &[0xff, 0xfe]), 1007), // text that is none
        (oversized, 1009),
    ];
    World::run(async |world| {
        for (bytes, code) in &cases {
            let mut client = world.upgraded().await;
            client.send(&[&binary(b"before")[..], bytes].concat()).await;
            assert_eq!(client.seen().await, Seen::Binary(b"before".to_vec()));
            assert_eq!(client.seen().await, Seen::Close(Some(*code)));
            assert_eq!(client.seen().await, Seen::End);
            assert!(world.echo.noted(Note::ProtocolError { code: *code }));
        }
    });
}

#[test]
fn a_message_that_was_not_taken_is_offered_again_when_there_is_room() {
    World::run(async |world| {
        let mut client = world.upgraded().await;
        world.echo.0.full.set(true);
        let fragments = [frame(0x02, b"in "), frame(0x80, b"parts")].concat();
        client
            .send(&[binary(b"first"), fragments, binary(b"last")].concat())
            .await;
        world.wait_until(|it| it.echo.0.waits.get() > 0).await;
        world.echo.make_room();
        for expected in ["first", "in parts", "last"] {
            assert_eq!(client.seen().await, Seen::Binary(expected.into()));
        }
    });
}

#[test]
fn answers_leave_while_their_connection_waits_for_room() {
    World::run(async |world| {
        world.echo.0.holds.set(true);
        let mut client = world.upgraded().await;
        client.send(&binary(b"taken")).await;
        world
            .wait_until(|it| !it.echo.0.held.borrow().is_empty())
            .await;
        world.echo.0.full.set(true);
        client.send(&binary(b"waits")).await;
        world.wait_until(|it| it.echo.0.waits.get() > 0).await;
        world.echo.release();
        assert_eq!(client.seen().await, Seen::Binary(b"taken".to_vec()));
        world.echo.make_room();
        assert_eq!(client.seen().await, Seen::Binary(b"waits".to_vec()));
    });
}

#[test]
fn a_client_that_does_not_read_its_answers_is_not_read() {
    const MESSAGES: usize = 640;
    World::run(async |world| {
        let address = world.doors.local_address().unwrap();
        let mut client = std::net::TcpStream::connect(address).unwrap();
        let mut writer = client.try_clone().unwrap();
        let all = binary(&vec![9; 100_000]).repeat(MESSAGES);
        let total = all.len() as u64;
        let sending = std::thread::spawn(move || {
            writer.write_all(upgrade("").as_bytes()).unwrap();
            writer.write_all(&all).unwrap();
        });
        // Without a reader every buffer on the way fills, and then nothing is taken any more.
        let (mut received, mut quiet) = (0, 0);
        while received == 0 || quiet < 100 {
            take_turns().await;
            quiet = if received == world.echo.received() {
                quiet + 1
            } else {
                0
            };
            received = world.echo.received();
        }
        assert!(
            received < total / 2,
            "{received} of {total} bytes were read"
        );
        let answers = (MESSAGES * 100_010) as u64;
        let reading = blocking(move || {
            let head = b"\r\n\r\n".len();
            let mut buffer = vec![0; 1 << 20];
            let (mut seen, mut bytes) = (Vec::new(), 0);
            while seen.windows(head).all(|it| it != b"\r\n\r\n") {
                let more = client.read(&mut buffer).unwrap();
                seen.extend_from_slice(&buffer[..more]);
            }
            let end = seen.windows(head).position(|it| it == b"\r\n\r\n").unwrap();
            bytes += (seen.len() - end - head) as u64;
            while bytes < answers {
                bytes += client.read(&mut buffer).unwrap() as u64;
            }
            bytes
        });
        assert_eq!(reading.await, answers);
        sending.join().unwrap();
        assert_eq!(world.echo.received(), total);
    });
}

#[test]
fn an_idle_connection_holds_no_buffer() {
    World::run(async |world| {
        let at_the_top = || {
            let pool = &world.doors.door_for_tests().pool;
            let mut buffer = pool.lend();
            let place = buffer.space().as_ptr();
            pool.give_back(buffer);
            place
        };
        let before = at_the_top();
        let mut clients = Vec::new();
        for _ in 0..50 {
            let mut client = world.upgraded().await;
            client.send(&binary(b"ping")).await;
            assert_eq!(client.seen().await, Seen::Binary(b"ping".to_vec()));
            // Half a message is parked, not left in a buffer.
            client.send(&binary(b"half")[..7]).await;
            clients.push(client);
        }
        take_turns().await;
        assert_eq!(at_the_top(), before);
        for mut client in clients {
            client.send(&binary(b"half")[7..]).await;
            assert_eq!(client.seen().await, Seen::Binary(b"half".to_vec()));
        }
    });
}

#[test]
fn a_drain_answers_what_was_taken_and_says_1001() {
    World::run(async |world| {
        world.echo.0.holds.set(true);
        let (mut busy, mut idle) = (world.upgraded().await, world.upgraded().await);
        let mut silent = world.call().await;
        busy.send(&binary(b"owed")).await;
        world
            .wait_until(|it| !it.echo.0.held.borrow().is_empty())
            .await;
        let mut drain = Box::pin(world.doors.drain(Duration::ZERO, PATIENCE));
        assert!(futures_util::FutureExt::now_or_never(&mut drain).is_none());
        assert_eq!(idle.seen().await, Seen::Close(Some(1001)));
        assert!(!silent.more().await);
        let address = world.doors.local_address().unwrap();
        assert!(Stream::connect(address).await.is_err());
        world.echo.release();
        assert_eq!(busy.seen().await, Seen::Binary(b"owed".to_vec()));
        assert_eq!(busy.seen().await, Seen::Close(Some(1001)));
        drop((busy, idle, silent));
        assert_eq!(drain.await, 0);
    });
}

#[test]
fn a_drain_says_goodbye_to_one_after_the_other_and_serves_the_others_meanwhile() {
    World::run(async |world| {
        let (mut first, mut last) = (world.upgraded().await, world.upgraded().await);
        // The second's turn never comes while this test has patience.
        let mut drain = Box::pin(world.doors.drain(100 * PATIENCE, PATIENCE));
        let client = async {
            assert_eq!(first.seen().await, Seen::Close(Some(1001)));
            last.send(&binary(b"still served")).await;
            assert_eq!(last.seen().await, Seen::Binary(b"still served".to_vec()));
            drop((first, last));
        };
        assert_eq!(futures_util::future::join(&mut drain, client).await.0, 0);
    });
}

#[test]
fn who_was_let_in_by_the_kernel_alone_is_answered_before_the_doors_are_closed() {
    World::run(async |world| {
        let address = world.doors.local_address().unwrap();
        // No turn of the executor comes between these and the drain.
        let call = |_| {
            let mut client = std::net::TcpStream::connect(address).unwrap();
            let request = b"GET /ping HTTP/1.1\r\nHost: here\r\n\r\n";
            client.write_all(request).unwrap();
            client
        };
        let clients: Vec<_> = (0..5).map(call).collect();
        assert_eq!(world.doors.drain(Duration::ZERO, PATIENCE).await, 0);
        for mut client in clients {
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            assert!(answer.ends_with("pong"), "{answer:?}");
        }
    });
}

#[test]
fn a_drain_gives_up_when_its_grace_is_over() {
    World::run(async |world| {
        world.echo.0.holds.set(true);
        let mut stuck = world.upgraded().await;
        stuck.send(&binary(b"never answered")).await;
        world
            .wait_until(|it| !it.echo.0.held.borrow().is_empty())
            .await;
        assert_eq!(
            world
                .doors
                .drain(Duration::ZERO, Duration::from_millis(1))
                .await,
            1
        );
        world.echo.release();
    });
}

#[test]
fn answers_to_a_vanished_client_are_dropped() {
    World::run(async |world| {
        world.echo.0.holds.set(true);
        let mut client = world.upgraded().await;
        client.send(&binary(b"question")).await;
        world
            .wait_until(|it| !it.echo.0.held.borrow().is_empty())
            .await;
        let outbox = Rc::clone(&world.echo.0.held.borrow()[0].0);
        drop(client);
        world.wait_until(|_| outbox.is_gone()).await;
        world.echo.release();
        assert_eq!((outbox.unanswered(), outbox.take_unsent().len()), (0, 0));
    });
}

#[test]
fn a_page_from_another_host_is_refused() {
    World::run(async |world| {
        let mut client = world.call().await;
        client
            .send(upgrade("Origin: http://elsewhere\r\n").as_bytes())
            .await;
        assert!(client.reply().await.0.starts_with("HTTP/1.1 403 "));
        assert!(world.echo.noted(Note::UpgradeFailed));
        client
            .send(upgrade("Origin: http://here:1\r\n").as_bytes())
            .await;
        assert!(client.head().await.starts_with("HTTP/1.1 101 "));
    });
}

#[test]
fn an_idle_websocket_takes_little_memory() {
    let connection = listener::connection_bytes_for_tests::<Echo>();
    // With the socket's row, the outbox, the name and its claim, about 1 KiB.
    assert!(
        connection <= 450,
        "the task of a connection takes {connection} bytes"
    );
}

// ---- permessage-deflate ----

const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";

/// The head of the answer to an upgrade with this header.
async fn agreed(world: &World, header: &str) -> (Client, String) {
    let mut client = world.call().await;
    client.send(upgrade(header).as_bytes()).await;
    let head = client.head().await.to_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    (client, head)
}

#[test]
fn compressed_messages_are_taken_where_that_was_agreed() {
    World::run(async |world| {
        let (mut client, head) = agreed(&world, OFFER).await;
        assert!(
            head.contains("\r\nsec-websocket-extensions: permessage-deflate;"),
            "{head}"
        );
        // "Hello" as RFC 7692 (7.2.3.1) has it, and in two fragments.
        let packed = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        let fragments = [frame(0x42, &packed[..2]), frame(0x80, &packed[2..])].concat();
        client
            .send(&[frame(0xc1, &packed), fragments, binary(b"plain")].concat())
            .await;
        assert_eq!(client.seen().await, Seen::Text(b"Hello".to_vec()));
        assert_eq!(client.seen().await, Seen::Binary(b"Hello".to_vec()));
        assert_eq!(client.seen().await, Seen::Binary(b"plain".to_vec()));
        client.send(&frame(0xc1, b"\xff\xff")).await;
        assert_eq!(client.seen().await, Seen::Close(Some(1007)));
    });
}

#[test]
fn a_compressed_message_that_was_not_taken_is_offered_again() {
    World::run(async |world| {
        let (mut client, _) = agreed(&world, OFFER).await;
        world.echo.0.full.set(true);
        let packed = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        client.send(&frame(0xc1, &packed)).await;
        world.wait_until(|it| it.echo.0.waits.get() > 0).await;
        world.echo.make_room();
        assert_eq!(client.seen().await, Seen::Text(b"Hello".to_vec()));
    });
}

#[test]
fn without_an_offer_that_can_be_honoured_nothing_is_agreed() {
    World::run(async |world| {
        for header in ["", "Sec-WebSocket-Extensions: permessage-bzip2\r\n"] {
            let (mut client, head) = agreed(&world, header).await;
            assert!(!head.contains("extensions"), "{head}");
            client.send(&frame(0xc1, b"")).await;
            assert_eq!(client.seen().await, Seen::Close(Some(1002)));
        }
    });
}
