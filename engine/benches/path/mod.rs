//! A batch's way from the bytes of a socket to its acknowledgement, without sockets and disk, for
//! counting what it takes: decode, route, append, commit, answer, as a shard strings them together.

mod memory;

use memory::Memory;
use prost::Message as _;
use ringtail::ack::Ledger;
use ringtail::event::Batch;
use ringtail::event::answer::{Answer, Code, Status, encode};
use ringtail::frame::Encoding;
use ringtail::frame::buffer::{Buffer, Pool};
use ringtail::frame::websocket::{Decoder, Item, write_masked, write_message_with};
use ringtail::limit::MESSAGE_BYTES_DEFAULT;
use ringtail::log::format::StoreId;
use ringtail::log::format::origin::{Door, OriginRow};
use ringtail::log::journal::{Committer, Journal, Keeping, Request, RoutedEvent, Settings, Step};
use ringtail::log::recover::{Identity, recover};
use ringtail::log::{Flush, Origin};
use ringtail::route::{Pattern, Reserved, Table, Topic};
use ringtail::unit::{JournalId, Micros, Ticket, TopicId};
use ringtail_proto::{Event, SendEventRequest, Timestamp};
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

const NOW: Micros = Micros(1_790_000_000_000_000);
const GUID_BYTES: usize = 36;
const SEGMENT_BYTES: u64 = 32 << 20;

/// A request of so many events of so many bytes, as a client sends it: masked, in one binary frame.
pub(crate) fn request(events: usize, bytes: usize) -> Vec<u8> {
    let event = |index: usize| Event {
        event_bytes: (0..bytes).map(|at| (at * 7 + index) as u8).collect(),
        r#type: "click".to_owned(),
    };
    let request = SendEventRequest {
        req_guid: "0f8fad5b-d9cb-469f-a165-70867728950e".to_owned(),
        sent_time: Some(Timestamp {
            seconds: 1_790_000_000,
            nanos: 5,
        }),
        events: (0..events).map(event).collect(),
    };
    let mut frame = Vec::new();
    let mask = [0x5a, 0xc3, 0x17, 0x88];
    write_masked(
        Encoding::Protobuf,
        &request.encode_to_vec(),
        mask,
        &mut frame,
    );
    frame
}

/// Runs a future whose every wait is over at once.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..1_000_000 {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
    }
    panic!("memory makes nobody wait");
}

/// Who waits for a commit: the guid of an answer.
type Waiter = [u8; GUID_BYTES];

/// One connection and one journal.
pub(crate) struct Path {
    buffer: Buffer,
    decoder: Decoder,
    batch: Batch,
    table: Table,
    routed: Vec<RoutedEvent>,
    journal: Journal<Memory>,
    committer: Committer<Memory>,
    ledger: Ledger<Waiter>,
    /// Answers, as they would be sent.
    pub(crate) outbox: Vec<u8>,
}

impl Path {
    pub(crate) fn open() -> Self {
        let pattern = Pattern::parse("clickstream-%s-log").expect("the pattern is legal");
        let topic = Topic {
            id: TopicId(7),
            name: "clickstream-click-log".into(),
        };
        let settings = Settings {
            store: StoreId(1),
            journal: JournalId(0),
            segment_bytes: SEGMENT_BYTES,
            prepared: 1,
            retention_bytes: None,
            keeping: Keeping::default(),
            tail_bytes: 0,
            origin: Origin::Full,
            commit_wait_us: 0,
            frame_bytes: 512 << 10,
            frame_bytes_max: Settings::frame_capacity(512 << 10, MESSAGE_BYTES_DEFAULT),
            frames_in_flight: 4,
            flush: Flush::WriteThrough,
        };
        let (journal, committer) = start(settings, &topic);
        Self {
            buffer: Pool::new(1).lend(),
            decoder: Decoder::new(MESSAGE_BYTES_DEFAULT),
            batch: Batch::default(),
            table: Table::new(pattern, Reserved::default(), [topic]),
            routed: Vec::new(),
            journal,
            committer,
            ledger: Ledger::default(),
            outbox: Vec::new(),
        }
    }

    /// Takes one request in, as far as the open frame. The copy stands for the kernel's.
    pub(crate) fn take(&mut self, frame: &[u8]) {
        self.buffer.make_room(self.buffer.len() + frame.len());
        self.buffer.space()[..frame.len()].copy_from_slice(frame);
        self.buffer.advance(frame.len());
        let (item, used) = self
            .decoder
            .next(self.buffer.filled_mut())
            .expect("the frame is whole");
        let Item::Message { encoding, payload } = item else {
            panic!("the frame holds a message");
        };
        let decoded = self.batch.decode(encoding, payload);
        assert!(decoded.is_ok(), "the request is well-formed");
        let source = self.batch.source(payload);
        route(&self.batch, &self.table, source, &mut self.routed);
        let guid = self.batch.guid.of(source);
        let request = Request {
            source,
            events: &self.routed,
            origin: Some(OriginRow {
                door: Door::WebSocket,
                received: NOW,
                sent: self.batch.sent_time.map(|sent| (sent.seconds, sent.nanos)),
                conn_id: b"phone-0000000001",
                conn_group: b"--default--",
                guid,
            }),
            kinds: &[],
        };
        let ticket = self.journal.append(NOW, &request).expect("there is room");
        let waiter = guid.try_into().expect("the guid is of that length");
        self.ledger.push(ticket, waiter);
        self.buffer.consume(used);
    }

    /// Commits what was taken and answers it. Returns how many requests were answered.
    pub(crate) fn commit(&mut self) -> usize {
        self.outbox.clear();
        let upto = match at_once(self.committer.step()) {
            Step::Durable(ticket) => ticket,
            other => panic!("the commit became {other:?}"),
        };
        self.journal.take_commits(|_| ());
        self.answer(upto)
    }

    fn answer(&mut self, upto: Ticket) -> usize {
        let mut answered = 0;
        while let Some(guid) = self.ledger.pop(upto) {
            answered += 1;
            let guid = std::str::from_utf8(&guid).expect("it was checked when it was decoded");
            write_message_with(Encoding::Protobuf, &mut self.outbox, |out| {
                let answer = Answer {
                    status: Status::Success,
                    code: Code::Ok,
                    sent_time: NOW.seconds(),
                    reason: "",
                    guid: Some(guid),
                    events: &[],
                };
                encode(Encoding::Protobuf, &answer, out);
            });
        }
        answered
    }
}

fn start(settings: Settings, topic: &Topic) -> (Journal<Memory>, Committer<Memory>) {
    let disk = Memory::default();
    let identity = Identity {
        store: settings.store,
        journal: settings.journal,
        segment_bytes: settings.segment_bytes,
    };
    let recovered = at_once(recover(&disk, "journal-0", identity));
    let recovered = recovered.unwrap_or_else(|error| panic!("an empty disk was refused: {error}"));
    let started = at_once(Journal::start(
        disk,
        "journal-0".to_owned(),
        settings,
        recovered,
        [(topic.id, topic.name.clone())].into_iter(),
        Rc::new(|| NOW),
    ));
    let (journal, committer, _preparer) =
        started.unwrap_or_else(|error| panic!("the journal did not start: {error}"));
    (journal, committer)
}

/// As a shard does it: the table is asked once for each run of one type.
fn route(batch: &Batch, table: &Table, source: &[u8], routed: &mut Vec<RoutedEvent>) {
    routed.clear();
    let mut last: Option<(&[u8], RoutedEvent)> = None;
    for event in &batch.events {
        let kind = event.kind.of(source);
        let topic = match &last {
            Some((known, routed)) if *known == kind => routed.topic,
            _ => table.route(kind).expect("the type has a topic"),
        };
        let event = RoutedEvent {
            topic,
            start: event.payload.start,
            bytes: event.payload.bytes,
        };
        routed.push(event);
        last = Some((kind, event));
    }
}
