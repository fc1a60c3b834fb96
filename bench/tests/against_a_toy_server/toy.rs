//! A toy server: answers every batch, keeps its events, and breaks a promise when told to.

use std::{
    collections::HashMap,
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use prost::Message as _;
use tungstenite::{Message, WebSocket};

#[derive(Clone, PartialEq, prost::Message)]
struct Event {
    #[prost(bytes = "vec", tag = "1")]
    event_bytes: Vec<u8>,
    #[prost(string, tag = "2")]
    kind: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Request {
    #[prost(string, tag = "1")]
    req_guid: String,
    #[prost(message, repeated, tag = "3")]
    events: Vec<Event>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Response {
    #[prost(int32, tag = "1")]
    status: i32,
    #[prost(int32, tag = "2")]
    code: i32,
    #[prost(string, tag = "4")]
    reason: String,
    #[prost(map = "string, string", tag = "5")]
    data: HashMap<String, String>,
}

/// What the toy does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Refuses each batch of this ordinal's multiples.
    Refuse(u64),
    /// Closes every connection at this batch, unanswered.
    Leave(u64),
    /// Acknowledges this batch and does not keep it.
    Forget(u64),
}

pub(crate) struct Toy {
    pub(crate) url: String,
    state: Arc<State>,
}

struct State {
    fault: Fault,
    batches: AtomicU64,
    pongs: AtomicU64,
    /// Type and payload, in the order of arrival.
    events: Mutex<Vec<(String, Vec<u8>)>>,
}

impl Toy {
    pub(crate) fn start(fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}/api/v1/events", listener.local_addr().unwrap());
        let state = Arc::new(State {
            fault,
            batches: AtomicU64::new(0),
            pongs: AtomicU64::new(0),
            events: Mutex::default(),
        });
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for socket in listener.incoming() {
                let state = Arc::clone(&shared);
                thread::spawn(move || state.serve(socket.unwrap()));
            }
        });
        Self { url, state }
    }

    pub(crate) fn pongs(&self) -> u64 {
        self.state.pongs.load(Ordering::SeqCst)
    }

    /// What was kept, as `ringtail log cat --format json` would tell it.
    pub(crate) fn cat(&self) -> String {
        let mut next = HashMap::new();
        let events = self.state.events.lock().unwrap();
        let lines = events.iter().map(|(kind, payload)| {
            let offset: &mut u64 = next.entry(kind.clone()).or_default();
            *offset += 1;
            format!(
                "{{\"topic\":\"{kind}\",\"partition\":0,\"offset\":{},\"timestamp_ms\":0,\
                 \"value_base64\":\"{}\"}}\n",
                *offset - 1,
                STANDARD.encode(payload)
            )
        });
        lines.collect()
    }
}

impl State {
    fn serve(&self, socket: TcpStream) {
        let mut socket = tungstenite::accept(socket).unwrap();
        let _ = socket.send(Message::Ping("--ping--".into()));
        while let Ok(message) = socket.read() {
            match message {
                Message::Binary(bytes) if !self.take(&bytes, &mut socket) => break,
                Message::Pong(_) => {
                    self.pongs.fetch_add(1, Ordering::SeqCst);
                }
                _ => {}
            }
        }
    }

    /// Keeps and answers one batch; `false` when the toy leaves.
    fn take(&self, bytes: &[u8], socket: &mut WebSocket<TcpStream>) -> bool {
        let request = Request::decode(bytes).unwrap();
        let number = 1 + self.batches.fetch_add(1, Ordering::SeqCst);
        let refuses = matches!(self.fault, Fault::Refuse(each) if number.is_multiple_of(each));
        if matches!(self.fault, Fault::Leave(last) if last <= number) {
            return false;
        }
        if self.fault != Fault::Forget(number) && !refuses {
            let kept = request.events.into_iter();
            let mut events = self.events.lock().unwrap();
            events.extend(kept.map(|event| (event.kind, event.event_bytes)));
        }
        let (status, code, reason) = if refuses {
            (2, 3, "cannot publish events: toy")
        } else {
            (1, 1, "")
        };
        let response = Response {
            status,
            code,
            reason: reason.to_owned(),
            data: HashMap::from([("req_guid".to_owned(), request.req_guid)]),
        };
        socket
            .send(Message::Binary(response.encode_to_vec().into()))
            .is_ok()
    }
}

/// A file of this test that does not exist yet.
pub(crate) fn new_file(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let path = folder.join(format!("{name}-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

/// Runs the program with words split at blanks, and `input` on its standard input.
pub(crate) fn bench(words: &str, input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ringtail-bench"))
        .args(words.split_whitespace())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // The program may end before it reads all: then it has seen enough.
    thread::spawn(move || std::io::Write::write_all(&mut stdin, input.as_bytes()));
    child.wait_with_output().unwrap()
}
