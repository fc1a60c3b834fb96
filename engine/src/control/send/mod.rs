//! A client for trying out: one WebSocket, batches of protobuf, a window of unanswered ones.
//!
//! Core:    the thread of the program `ringtail send`; blocks.
//! Always:  at most `window_batches` batches are unanswered.
//! Full:    with the window full it reads an answer before it sends on.

mod source;
mod summary;

pub(crate) use summary::Summary;

use indicatif::{ProgressBar, ProgressStyle};
use prost::Message as _;
use ringtail_proto::{Event, SendEventRequest, SendEventResponse, Timestamp};
use source::Source;
use std::collections::HashMap;
use std::io;
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tungstenite::handshake::client::Request;
use tungstenite::http::{HeaderName, HeaderValue, Uri};
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Message, WebSocket};

/// How long the engine may take for one answer, and for the handshake.
const ANSWER_WAIT: Duration = Duration::from_secs(30);
/// What is read of standard input at once.
const READ_BYTES: usize = 64 << 10;
/// Answers are small; more than this is not one.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// What to send, and where to.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) url: String,
    pub(crate) kind: String,
    /// Events to generate; `None` reads lines of standard input.
    pub(crate) count: Option<u64>,
    pub(crate) batch_events: usize,
    pub(crate) window_batches: usize,
    pub(crate) event_bytes: usize,
    pub(crate) id_header: String,
    pub(crate) id: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Say what is wanted instead.
    #[error("{flag} = {value:?}: wanted {wanted}")]
    Usage {
        flag: &'static str,
        value: String,
        wanted: &'static str,
    },
    #[error("cannot connect to {address}: {source}")]
    Connect { address: String, source: io::Error },
    #[error("the server refused the WebSocket: {0}")]
    Upgrade(String),
    #[error("cannot read standard input: {0}")]
    Input(io::Error),
    /// The connection is gone; what was not answered may or may not be there.
    #[error("the connection ended with {unanswered} batches unanswered: {source}")]
    Broken {
        unanswered: usize,
        source: Box<tungstenite::Error>,
    },
    #[error("the server sent what is no answer: {0}")]
    NotAnAnswer(String),
}

/// Sends everything and waits for every answer.
pub(crate) fn run(options: &Options) -> Result<Summary, Error> {
    let socket = connect(options)?;
    let source = match options.count {
        Some(count) => Source::generated(count, options.event_bytes),
        None => Source::lines(io::BufReader::with_capacity(READ_BYTES, io::stdin().lock())),
    };
    Sender {
        socket,
        options,
        unanswered: HashMap::new(),
        batches: 0,
        summary: Summary::new(now()),
        bar: bar(options.count),
    }
    .send_all(source)
}

struct Sender<'a> {
    socket: WebSocket<TcpStream>,
    options: &'a Options,
    /// By guid: events in the batch.
    unanswered: HashMap<String, usize>,
    batches: u64,
    summary: Summary,
    bar: ProgressBar,
}

impl Sender<'_> {
    fn send_all(mut self, mut source: Source<'_>) -> Result<Summary, Error> {
        loop {
            let events = source.next_batch(self.options.batch_events);
            let events = events.map_err(Error::Input)?;
            if events.is_empty() {
                break;
            }
            while self.options.window_batches <= self.unanswered.len() {
                self.read_answer()?;
            }
            self.send(events)?;
        }
        while !self.unanswered.is_empty() {
            self.read_answer()?;
        }
        self.bar.finish_and_clear();
        // Everything is answered; how the connection ends is of no concern.
        let _ = self.socket.close(None).and_then(|()| self.socket.flush());
        self.summary.took = now().duration_since(self.summary.started);
        Ok(self.summary)
    }

    fn send(&mut self, payloads: Vec<Vec<u8>>) -> Result<(), Error> {
        self.batches += 1;
        let guid = format!("send-{}", self.batches);
        let count = payloads.len();
        let event = |event_bytes| Event {
            event_bytes,
            r#type: self.options.kind.clone(),
        };
        let request = SendEventRequest {
            req_guid: guid.clone(),
            sent_time: Some(timestamp()),
            events: payloads.into_iter().map(event).collect(),
        };
        let message = Message::binary(request.encode_to_vec());
        self.unanswered.insert(guid, count);
        let sent = self.socket.send(message);
        sent.map_err(|source| self.broken(source))
    }

    fn read_answer(&mut self) -> Result<(), Error> {
        let message = self.socket.read().map_err(|source| self.broken(source))?;
        let Message::Binary(bytes) = message else {
            // Pings are answered inside `read`; a close ends the next `read` with an error.
            return Ok(());
        };
        let answer = SendEventResponse::decode(bytes.as_ref());
        let answer = answer.map_err(|error| Error::NotAnAnswer(error.to_string()))?;
        let guid = answer.data.get("req_guid").map_or("", String::as_str);
        let Some(events) = self.unanswered.remove(guid) else {
            // A refusal of the connection carries no guid.
            return Err(Error::NotAnAnswer(format!(
                "to {guid:?}, reason {:?}",
                answer.reason
            )));
        };
        self.summary.count(&answer, events);
        self.bar.inc(events as u64);
        Ok(())
    }

    fn broken(&self, source: tungstenite::Error) -> Error {
        self.bar.abandon();
        Error::Broken {
            unanswered: self.unanswered.len(),
            source: Box::new(source),
        }
    }
}

fn connect(options: &Options) -> Result<WebSocket<TcpStream>, Error> {
    let request = request(options)?;
    let (host, port) = address(request.uri())?;
    let address = format!("{host}:{port}");
    let connected = TcpStream::connect((host.as_str(), port)).and_then(|stream| {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_WAIT))?;
        stream.set_write_timeout(Some(ANSWER_WAIT))?;
        Ok(stream)
    });
    let stream = connected.map_err(|source| Error::Connect { address, source })?;
    let bounds = WebSocketConfig::default()
        .max_message_size(Some(ANSWER_BYTES_MAX))
        .max_frame_size(Some(ANSWER_BYTES_MAX));
    let shaken = tungstenite::client::client_with_config(request, stream, Some(bounds));
    match shaken {
        Ok((socket, _response)) => Ok(socket),
        Err(error) => Err(Error::Upgrade(error.to_string())),
    }
}

fn request(options: &Options) -> Result<Request, Error> {
    use tungstenite::client::IntoClientRequest;
    let wrong = |flag, value: &str, wanted| Error::Usage {
        flag,
        value: value.to_owned(),
        wanted,
    };
    let url = &options.url;
    let uri: Uri = url.parse().map_err(|_| {
        wrong(
            "--url",
            url,
            "a URL such as ws://localhost:8080/api/v1/events",
        )
    })?;
    if uri.scheme_str() != Some("ws") || uri.host().is_none() {
        let wanted = "a URL that starts with ws:// (TLS is not built yet)";
        return Err(wrong("--url", url, wanted));
    }
    let mut request = uri.into_client_request().map_err(|_| {
        wrong(
            "--url",
            url,
            "a URL such as ws://localhost:8080/api/v1/events",
        )
    })?;
    let name = &options.id_header;
    let name: HeaderName = name
        .parse()
        .map_err(|_| wrong("--id-header", name, "the name of an HTTP header"))?;
    let id = options.id.clone().unwrap_or_else(fresh_id);
    let value = HeaderValue::from_str(&id)
        .map_err(|_| wrong("--id", &id, "text that an HTTP header can carry"))?;
    request.headers_mut().insert(name, value);
    Ok(request)
}

/// Host without an IPv6 address's brackets, and port.
fn address(uri: &Uri) -> Result<(String, u16), Error> {
    let host = uri.host().unwrap_or_default();
    let plain = host.trim_start_matches('[').trim_end_matches(']');
    if plain.is_empty() {
        return Err(Error::Usage {
            flag: "--url",
            value: uri.to_string(),
            wanted: "a URL with a host",
        });
    }
    Ok((plain.to_owned(), uri.port_u16().unwrap_or(80)))
}

fn fresh_id() -> String {
    let random = getrandom::u64().unwrap_or_default();
    format!("ringtail-send-{}-{random:08x}", std::process::id())
}

fn bar(count: Option<u64>) -> ProgressBar {
    const STYLE: &str = "{bar:40} {pos}/{len} events  {per_sec}  {eta} left";
    const ENDLESS: &str = "{spinner} {pos} events  {per_sec}";
    let (bar, style) = match count {
        Some(count) => (ProgressBar::new(count), STYLE),
        None => (ProgressBar::new_spinner(), ENDLESS),
    };
    let style = ProgressStyle::with_template(style).expect("the template is ours");
    bar.with_style(style)
}

fn timestamp() -> Timestamp {
    #[expect(
        clippy::disallowed_methods,
        reason = "a client has no shard and so no shard's clock"
    )]
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default();
    Timestamp {
        seconds: now.as_secs() as i64,
        nanos: now.subsec_nanos() as i32,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a client has no shard and so no shard's clock"
)]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests;
