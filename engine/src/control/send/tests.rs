//! Against a server of a few lines, over real sockets.

use super::*;
use ringtail_proto::{Code, Status};
use std::net::TcpListener;
use std::thread::{self, JoinHandle};

/// Answers each batch; refuses those whose guid is in `refused`. Returns what came.
fn serve(refused: &'static [&'static str]) -> (String, JoinHandle<Vec<SendEventRequest>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/api/v1/events", listener.local_addr().unwrap());
    let served = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut socket = tungstenite::accept(stream).unwrap();
        let mut requests = Vec::new();
        while let Ok(message) = socket.read() {
            if let Message::Binary(bytes) = message {
                let request = SendEventRequest::decode(bytes.as_ref()).unwrap();
                let answer = answer(&request, refused).encode_to_vec();
                requests.push(request);
                socket.send(Message::binary(answer)).unwrap();
            }
        }
        requests
    });
    (url, served)
}

fn answer(request: &SendEventRequest, refused: &[&str]) -> SendEventResponse {
    let mut answer = SendEventResponse::default();
    answer
        .data
        .insert("req_guid".into(), request.req_guid.clone());
    if refused.contains(&request.req_guid.as_str()) {
        answer.set_status(Status::Error);
        answer.set_code(Code::BadRequest);
        answer.reason = "not this one".into();
    } else {
        answer.set_status(Status::Success);
        answer.set_code(Code::Ok);
    }
    answer
}

fn options(url: String) -> Options {
    Options {
        url,
        kind: "click".into(),
        count: Some(25),
        batch_events: 10,
        window_batches: 2,
        event_bytes: 50,
        id_header: "X-User-ID".into(),
        id: None,
    }
}

#[test]
fn every_event_is_sent_and_every_answer_counted() {
    let (url, served) = serve(&[]);
    let summary = run(&options(url)).unwrap();
    let requests = served.join().unwrap();
    let counts: Vec<usize> = requests.iter().map(|one| one.events.len()).collect();
    assert_eq!(counts, [10, 10, 5]);
    assert!(
        requests[0]
            .events
            .iter()
            .all(|event| event.r#type == "click")
    );
    assert!(summary.is_clean());
    assert!(
        summary
            .to_string()
            .starts_with("25 events in 3 batches acknowledged")
    );
}

#[test]
fn a_refused_batch_is_told_with_its_reason() {
    let (url, served) = serve(&["send-2"]);
    let summary = run(&options(url)).unwrap();
    served.join().unwrap();
    assert!(!summary.is_clean());
    let text = summary.to_string();
    assert!(text.starts_with("15 events in 2 batches"), "{text}");
    assert!(
        text.contains("1 × CODE_BAD_REQUEST: not this one"),
        "{text}"
    );
}

#[test]
fn a_server_that_goes_away_leaves_batches_unanswered() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let gone = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        drop(tungstenite::accept(stream).unwrap());
    });
    let error = run(&options(url)).unwrap_err();
    gone.join().unwrap();
    assert!(matches!(error, Error::Broken { .. }), "{error}");
}

#[test]
fn what_is_no_url_of_ours_is_a_usage_error() {
    for url in ["", "nonsense", "http://localhost/", "wss://localhost/"] {
        let error = run(&options(url.into())).unwrap_err();
        assert!(matches!(error, Error::Usage { .. }), "{url}: {error}");
    }
    let bad = Options {
        id: Some("a\nb".into()),
        ..options("ws://localhost/".into())
    };
    assert!(matches!(run(&bad), Err(Error::Usage { flag: "--id", .. })));
}
