//! Requests and their answers over HTTP.

use super::*;
use crate::net::inflate::Coding;
use crate::net::inflate::tests::deflate;

fn post(content_type: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /api/v1/events HTTP/1.1\r\nHost: here\r\nX-User-ID: me\r\nX-Group: us\r\n\
         Content-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

#[test]
fn posts_are_answered_in_their_own_content_type() {
    World::run(async |world| {
        let mut client = world.call().await;
        let large = vec![5; MESSAGE_BYTES_DEFAULT];
        for (kind, body) in [
            ("application/json; charset=utf-8", &b"{}"[..]),
            ("application/proto", &large),
            ("application/x-protobuf", b""),
        ] {
            client.send(&post(kind, body)).await;
            let (head, answer) = client.reply().await;
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            assert!(
                head.contains(&format!("content-type: {kind}\r\n")),
                "{head}"
            );
            assert!(answer == body);
        }
        let peers = world.echo.0.peers.borrow();
        assert_eq!(
            (&*peers[0].conn_id, &*peers[0].conn_group),
            (&b"me"[..], "us")
        );
    });
}

#[test]
fn a_post_waits_for_room() {
    World::run(async |world| {
        world.echo.0.full.set(true);
        let mut client = world.call().await;
        client.send(&post("application/json", b"{}")).await;
        world.wait_until(|it| it.echo.received() > 0).await;
        world.echo.make_room();
        assert_eq!(client.reply().await.1, b"{}");
    });
}

#[test]
fn who_sends_no_more_is_answered() {
    World::run(async |world| {
        world.echo.0.full.set(true);
        let mut client = world.call().await;
        client.send(&post("application/json", b"{}")).await;
        client.stream.end_sending();
        world.wait_until(|it| it.echo.received() > 0).await;
        take_turns().await;
        world.echo.make_room();
        assert_eq!(client.reply().await.1, b"{}");
        assert!(!client.more().await);
    });
}

#[test]
fn what_is_wrong_with_a_request_is_told_by_its_status() {
    let declared = |bytes: usize| {
        format!(
            "POST /api/v1/events HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n\
             Content-Length: {bytes}\r\n\r\n"
        )
    };
    let chunked = |body: &str| {
        format!(
            "POST /api/v1/events HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n\
             Transfer-Encoding: chunked\r\n\r\n{body}"
        )
    };
    let long = "x".repeat(40_000);
    let cases = [
        (post("text/plain", b"{}"), 400),
        (declared(MESSAGE_BYTES_DEFAULT + 1).into(), 413),
        (chunked("zz\r\n").into(), 400),
        (
            b"PUT /api/v1/events HTTP/1.1\r\nHost: here\r\n\r\n".to_vec(),
            405,
        ),
        (b"POST /ping HTTP/1.1\r\nHost: here\r\n\r\n".to_vec(), 405),
        (
            b"GET /elsewhere HTTP/1.1\r\nHost: here\r\n\r\n".to_vec(),
            404,
        ),
        (
            b"GET /api/v1/events HTTP/1.1\r\nHost: here\r\n\r\n".to_vec(),
            426,
        ),
        (
            format!("GET /ping HTTP/1.1\r\nX: {long}\r\n\r\n").into(),
            431,
        ),
        (b"nonsense\r\n\r\n".to_vec(), 400),
    ];
    World::run(async |world| {
        for (request, status) in &cases {
            let mut client = world.call().await;
            client.send(request).await;
            let head = client.reply().await.0;
            let shown = String::from_utf8_lossy(&request[..request.len().min(80)]);
            assert!(
                head.starts_with(&format!("HTTP/1.1 {status} ")),
                "{shown}: {head}"
            );
        }
        assert!(world.echo.noted(Note::UnknownContentType));
    });
}

fn packed(coding: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /api/v1/events HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n\
         Content-Encoding: {coding}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

#[test]
fn a_compressed_body_is_taken_as_what_it_inflates_to() {
    World::run(async |world| {
        let mut client = world.call().await;
        let plain = vec![b' '; MESSAGE_BYTES_DEFAULT];
        for (name, coding) in [("gzip", Coding::Gzip), ("zstd", Coding::Zstd)] {
            client.send(&packed(name, &deflate(coding, &plain))).await;
            let (head, answer) = client.reply().await;
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            assert!(answer == plain);
        }
    });
}

#[test]
fn a_body_that_inflates_past_the_limit_gets_413() {
    let bomb = vec![b' '; MESSAGE_BYTES_DEFAULT + 1];
    let cases = [
        (packed("gzip", &deflate(Coding::Gzip, &bomb)), 413),
        (packed("zstd", &deflate(Coding::Zstd, &bomb)), 413),
        (packed("gzip", b"not gzip"), 400),
        (packed("br", b"x"), 415),
    ];
    World::run(async |world| {
        for (request, status) in &cases {
            let mut client = world.call().await;
            client.send(request).await;
            let head = client.reply().await.0;
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
            let tells_codings = head.contains("accept-encoding: gzip, deflate, zstd");
            assert_eq!(tells_codings, *status == 415, "{head}");
        }
    });
}

#[test]
fn an_unknown_content_type_is_refused_in_json() {
    World::run(async |world| {
        let mut client = world.call().await;
        client.send(&post("text/plain", b"{}")).await;
        let (head, _) = client.reply().await;
        assert!(
            head.contains("content-type: application/json\r\n"),
            "{head}"
        );
    });
}

#[test]
fn ping_is_answered_with_pong() {
    World::run(async |world| {
        let mut client = world.call().await;
        for _ in 0..2 {
            client
                .send(b"GET /ping HTTP/1.1\r\nHost: here\r\n\r\n")
                .await;
            let (head, body) = client.reply().await;
            assert!(head.starts_with("HTTP/1.1 200 "));
            assert_eq!(body, b"pong");
        }
    });
}
