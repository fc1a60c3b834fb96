//! A WebSocket client that sends the JSON form and reads answers, one thread for each connection.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::json;
use std::collections::HashMap;
use std::net::TcpStream;
use std::time::Duration;
use tungstenite::client::ClientRequestBuilder;
use tungstenite::protocol::CloseFrame;
use tungstenite::{Error, Message, WebSocket};

const PATIENCE: Duration = Duration::from_secs(60);

pub struct Client {
    socket: WebSocket<TcpStream>,
}

/// `SendEventResponse` as JSON.
#[derive(Debug, Deserialize)]
pub struct Answer {
    pub status: i32,
    pub code: i32,
    pub sent_time: i64,
    #[serde(default)]
    pub reason: String,
    #[serde(default)]
    pub data: HashMap<String, String>,
}

impl Answer {
    pub fn is_success(&self) -> bool {
        (self.status, self.code) == (1, 1)
    }

    /// The guid of the request that is answered.
    pub fn guid(&self) -> &str {
        self.data.get("req_guid").map_or("", String::as_str)
    }
}

/// What a client met.
#[derive(Debug)]
pub enum Heard {
    Answer(Answer),
    /// A message in protobuf, which only refusals of connections are here.
    Binary(Vec<u8>),
    /// A close frame with its code, if it had one.
    Closed(Option<u16>),
    /// The connection ended without a close frame.
    Gone(String),
}

impl Client {
    /// Opens a connection under an id.
    ///
    /// # Panics
    /// When it is not upgraded.
    pub fn connect(port: u16, id: &str) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the engine accepts");
        stream.set_nodelay(true).expect("a socket takes options");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a socket takes options");
        let uri = format!("ws://127.0.0.1:{port}/api/v1/events");
        let uri = uri.parse().expect("it is a plain address");
        let request = ClientRequestBuilder::new(uri).with_header("X-User-ID", id);
        let (socket, _) = tungstenite::client(request, stream).expect("the engine upgrades");
        Self { socket }
    }

    /// How long an answer may take from now on.
    ///
    /// # Panics
    /// When the socket takes no such option.
    pub fn be_patient(&self, seconds: u64) {
        let patience = Some(Duration::from_secs(seconds));
        let set = self.socket.get_ref().set_read_timeout(patience);
        set.expect("a socket takes options");
    }

    /// Sends one request; `false` when the connection has ended.
    pub fn send(&mut self, guid: &str, kind: &str, payloads: &[Vec<u8>]) -> bool {
        let text = request_json(guid, kind, payloads);
        self.socket.send(Message::text(text)).is_ok()
    }

    /// The next answer, or the end.
    ///
    /// # Panics
    /// When what comes is neither.
    pub fn hear(&mut self) -> Heard {
        match self.socket.read() {
            Ok(Message::Text(text)) => {
                let answer = serde_json::from_str(&text);
                Heard::Answer(answer.unwrap_or_else(|error| panic!("{error}: {text}")))
            }
            Ok(Message::Binary(bytes)) => Heard::Binary(bytes.to_vec()),
            // The library answers it.
            Ok(Message::Ping(_)) => self.hear(),
            Ok(Message::Close(frame)) => {
                Heard::Closed(frame.map(|CloseFrame { code, .. }| code.into()))
            }
            Ok(other) => panic!("a text was answered with {other:?}"),
            Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {
                let patience = self.socket.get_ref().read_timeout();
                panic!("no answer came in {patience:?}")
            }
            Err(error) => Heard::Gone(error.to_string()),
        }
    }
}

/// The JSON form of a request whose events are all of one type.
pub fn request_json(guid: &str, kind: &str, payloads: &[Vec<u8>]) -> String {
    let events: Vec<_> = payloads
        .iter()
        .map(|payload| json!({"event_bytes": BASE64_STANDARD.encode(payload), "type": kind}))
        .collect();
    let sent = json!({"seconds": 1_700_000_000, "nanos": 5});
    json!({"req_guid": guid, "sent_time": sent, "events": events}).to_string()
}

/// Event `index` of request `request` of connection `client`: tells its place, and fills `bytes`.
pub fn payload(client: usize, request: usize, index: usize, bytes: usize) -> Vec<u8> {
    let mut payload = format!("{client}/{request}/{index}/").into_bytes();
    let mut state = (client * 31 + request * 7 + index + 1) as u64;
    let wanted = bytes.max(payload.len());
    while payload.len() < wanted {
        payload.extend_from_slice(&draw(&mut state).to_le_bytes());
    }
    payload.truncate(wanted);
    payload
}

/// Xorshift: the next number from a seed that is not 0.
pub fn draw(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// The seed of this run: `SEED` from the environment, else a new one. Printed, so that a red run
/// can be had again.
pub fn seed() -> u64 {
    let given = std::env::var("SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| {
        use std::hash::{BuildHasher, Hasher};
        std::hash::RandomState::new().build_hasher().finish()
    });
    println!("SEED={seed}");
    seed.max(1)
}
