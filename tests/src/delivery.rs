//! Load on an engine that publishes to Kafka, and the full account: sent, acknowledged, delivered, twice, in order.

use crate::client::{Client, Heard, payload};
use crate::kafka::Record;
use crate::wait;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

/// Events of each request.
const EVENTS: usize = 5;
const EVENT_BYTES: usize = 300;
/// Requests of one connection that wait for their answers.
const WINDOW: usize = 8;
/// A broker may be away for as long as its start takes on a busy machine.
const PATIENCE_SECONDS: u64 = 280;

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    Unanswered,
    Acknowledged,
    Failed(String),
}

/// One request, as its connection remembers it.
#[derive(Clone, Debug)]
pub struct Sent {
    pub connection: usize,
    pub request: usize,
    pub kind: String,
    pub fate: Fate,
}

/// Connections that send until they are told to stop.
pub struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Vec<Sent>>>,
}

impl Load {
    /// Starts so many connections, numbered from `first`; each sends requests of these types in turn.
    pub fn start(port: u16, connections: std::ops::Range<usize>, kinds: &[&str]) -> Self {
        Self::start_slowly(port, connections, kinds, 0)
    }

    /// The same, with so many milliseconds between two requests of a connection: where answers never wait, a
    /// broker that is away for long would else be sent more than anybody wants to read back.
    pub fn start_slowly(
        port: u16,
        connections: std::ops::Range<usize>,
        kinds: &[&str],
        pause_ms: u64,
    ) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let failed = Arc::default();
        let kinds: Vec<String> = kinds.iter().map(ToString::to_string).collect();
        let thread = |connection| {
            let counts = [Arc::clone(&answered), Arc::clone(&failed)];
            let (stop, kinds) = (Arc::clone(&stop), kinds.clone());
            thread::spawn(move || send((port, connection), &kinds, pause_ms, (&stop, &counts)))
        };
        let threads = connections.map(thread).collect();
        Self {
            stop,
            answered,
            failed,
            threads,
        }
    }

    /// Answers so far.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Answers so far that were refusals.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Sends no more, hears what is missing, and gives every request.
    ///
    /// # Panics
    /// When a connection did.
    pub fn finish(self) -> Vec<Sent> {
        self.stop.store(true, Ordering::Relaxed);
        let threads = self.threads.into_iter();
        threads
            .flat_map(|thread| thread.join().expect("a connection fared well"))
            .collect()
    }
}

fn send(
    (port, connection): (u16, usize),
    kinds: &[String],
    pause_ms: u64,
    (stop, [answered, failed]): (&AtomicBool, &[Arc<AtomicU64>; 2]),
) -> Vec<Sent> {
    let mut client = Client::connect(port, &format!("device-{connection}"));
    client.be_patient(PATIENCE_SECONDS);
    let mut all: Vec<Sent> = Vec::new();
    let mut waiting = 0;
    loop {
        let stopping = stop.load(Ordering::Relaxed);
        if stopping && waiting == 0 {
            return all;
        }
        if !stopping && waiting < WINDOW {
            if 0 < pause_ms {
                wait::some_milliseconds(pause_ms);
            }
            let request = all.len();
            let kind = &kinds[request % kinds.len()];
            if !client.send(&request.to_string(), kind, &payloads(connection, request)) {
                return all;
            }
            all.push(Sent {
                connection,
                request,
                kind: kind.clone(),
                fate: Fate::Unanswered,
            });
            waiting += 1;
            continue;
        }
        // Answers leave as they come: the guid says whose it is.
        let Heard::Answer(answer) = client.hear() else {
            return all;
        };
        let request: usize = answer.guid().parse().expect("a guid comes back as sent");
        assert_eq!(all[request].fate, Fate::Unanswered, "answered twice");
        all[request].fate = if answer.is_success() {
            Fate::Acknowledged
        } else {
            failed.fetch_add(1, Ordering::Relaxed);
            Fate::Failed(answer.reason)
        };
        waiting -= 1;
        answered.fetch_add(1, Ordering::Relaxed);
    }
}

fn payloads(connection: usize, request: usize) -> Vec<Vec<u8>> {
    let one = |index| payload(connection, request, index, EVENT_BYTES);
    (0..EVENTS).map(one).collect()
}

/// The account in numbers, of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    pub sent: usize,
    pub acknowledged: usize,
    pub failed: usize,
    pub delivered: usize,
    pub duplicates: usize,
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} events sent, {} acknowledged, {} failed, {} delivered, {} of them twice or more",
            self.sent, self.acknowledged, self.failed, self.delivered, self.duplicates
        )
    }
}

/// Compares what was sent with what Kafka has.
///
/// # Panics
/// When something acknowledged is missing, something is there that was not sent so, or one connection's events are
/// out of order within a partition.
pub fn account(sent: &[Sent], records: &[Record]) -> Account {
    let mut known: HashMap<(&str, Vec<u8>), (usize, usize, usize)> = HashMap::new();
    let mut account = Account::default();
    let topics: Vec<String> = sent.iter().map(|one| topic(&one.kind)).collect();
    for (one, topic) in sent.iter().zip(&topics) {
        account.sent += EVENTS;
        for (index, bytes) in payloads(one.connection, one.request)
            .into_iter()
            .enumerate()
        {
            known.insert((topic, bytes), (one.connection, one.request, index));
        }
    }
    let mut seen: BTreeMap<(usize, usize, usize), usize> = BTreeMap::new();
    let mut last: HashMap<(&str, i32, usize), (usize, usize)> = HashMap::new();
    for record in records {
        let place = known.get(&(record.topic.as_str(), record.value.clone()));
        let place = *place.unwrap_or_else(|| panic!("nobody sent this to it: {record:?}"));
        let times = seen.entry(place).or_default();
        *times += 1;
        if *times == 1 {
            let (connection, request, index) = place;
            let line = (record.topic.as_str(), record.partition, connection);
            let before = last.insert(line, (request, index));
            let in_order = before.is_none_or(|before| before < (request, index));
            assert!(
                in_order,
                "{before:?} came before {request}/{index}: {line:?}"
            );
        } else {
            account.duplicates += 1;
        }
    }
    account.delivered = seen.len();
    for one in sent {
        match one.fate {
            Fate::Acknowledged => {
                account.acknowledged += EVENTS;
                for index in 0..EVENTS {
                    let place = (one.connection, one.request, index);
                    assert!(
                        seen.contains_key(&place),
                        "acknowledged and missing: {one:?}"
                    );
                }
            }
            Fate::Failed(_) => account.failed += EVENTS,
            Fate::Unanswered => {}
        }
    }
    account
}

/// Where events of a type go by default.
pub fn topic(kind: &str) -> String {
    format!("clickstream-{kind}-log")
}
