//! The open frame: events are copied here once, as records of their topics' batches.
//!
//! Layout:  one topic, the *direct* one, grows in place behind the frame's header; the batches of other
//!          topics grow aside and are put behind it when the frame closes. The direct topic is the one
//!          that filled most of the frame before.
//! Always:  HEADER_BYTES <= payload_end, and `used() <= capacity`.
//! Core:    one shard.
//! Full:    `append` answers `false` and changes nothing.

mod close;

use super::super::format::batch;
use super::super::format::footer::Place;
use super::super::format::frame::{HEADER_BYTES, Section};
use super::super::format::origin::{self, OriginRow, Run};
use super::super::format::section::{self, BATCH_ROW_BYTES, BatchRow};
use super::topic::Topics;
use crate::limit::{BLOCK_BYTES, RECORD_BATCH_BYTES_MAX};
use crate::unit::{Micros, Offset, TopicIndex};

/// One event of a request that was routed: its topic, and its payload's stretch of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoutedEvent {
    pub topic: TopicIndex,
    pub start: u32,
    pub bytes: u32,
}

/// A request as the log takes it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// What the events' stretches point into.
    pub source: &'a [u8],
    pub events: &'a [RoutedEvent],
    /// What to keep of where it came from; `None` keeps nothing.
    pub origin: Option<OriginRow<'a>>,
    /// For each event its type, when topics do not say it; else empty.
    pub kinds: &'a [&'a [u8]],
}

/// A record batch that still grows.
#[derive(Debug, Default)]
struct OpenBatch {
    topic: Option<TopicIndex>,
    base_offset: Offset,
    records: u32,
    base_ms: i64,
    max_ms: i64,
    /// Where in the frame it starts, when it is direct.
    direct_at: Option<usize>,
    /// Its bytes, when it is not.
    aside: Vec<u8>,
    runs: Vec<Run>,
}

/// Room that may be needed for one more batch beside its records.
const BATCH_OVERHEAD: usize = batch::HEADER_BYTES + BATCH_ROW_BYTES + 8;
/// Room for the sections that every frame may have: their padding and counts.
const FIXED_OVERHEAD: usize = HEADER_BYTES + 256;
/// Batches whose memory is kept from frame to frame.
const KEPT_BATCHES: usize = 256;
const KEPT_ASIDE_BYTES: usize = 64 << 10;

/// What a frame brings when it is closed, beside its bytes.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) sections: Vec<Section>,
    /// The end of the last section, from the start of the frame.
    pub(super) end: usize,
    /// Positions are relative to the frame.
    pub(super) places: Vec<(TopicIndex, Place)>,
    pub(super) events: u64,
    pub(super) event_bytes: u64,
}

#[derive(Debug)]
pub(super) struct Staging {
    capacity: usize,
    payload_end: usize,
    aside_bytes: usize,
    batches: Vec<OpenBatch>,
    /// How many of `batches` belong to this frame; the rest are kept for their memory.
    open: usize,
    direct: Option<TopicIndex>,
    rows: Vec<u8>,
    row_count: u32,
    run_bytes: usize,
    kinds: Vec<Box<[u8]>>,
    kind_bytes: usize,
    definition_bytes: usize,
    scratch: Vec<u8>,
    /// While a frame is closed: its batches' order, and what each became.
    order: Vec<usize>,
    finished: Vec<BatchRow>,
    /// Contents of frames that are done, empty, kept for their memory.
    spare: Vec<Contents>,
    events: u64,
    event_bytes: u64,
    last_ms: i64,
}

impl Staging {
    /// `capacity` bounds the frame, header and padding included.
    /// Record times begin at `last_ms`, where the journal's last ones ended, and never go back.
    pub(super) fn new(capacity: usize, last_ms: i64) -> Self {
        assert!(capacity.is_multiple_of(BLOCK_BYTES as usize));
        Self {
            capacity,
            payload_end: HEADER_BYTES,
            aside_bytes: 0,
            batches: Vec::new(),
            open: 0,
            direct: None,
            rows: Vec::new(),
            row_count: 0,
            run_bytes: 0,
            kinds: Vec::new(),
            kind_bytes: 0,
            definition_bytes: 0,
            scratch: Vec::new(),
            order: Vec::new(),
            finished: Vec::new(),
            spare: Vec::new(),
            events: 0,
            event_bytes: 0,
            last_ms,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.row_count == 0
    }

    /// Bytes that the frame would take now, a little more at most.
    pub(super) fn used(&self) -> usize {
        FIXED_OVERHEAD
            + self.payload_end
            + self.aside_bytes
            + self.open * (BATCH_ROW_BYTES + 8)
            + self.rows.len()
            + self.run_bytes
            + self.kind_bytes
            + self.definition_bytes
    }

    /// Record batches in the frame.
    pub(super) fn batches(&self) -> usize {
        self.open
    }

    /// Room that `request` can need at most.
    pub(super) fn need(request: &Request<'_>, topics: &Topics) -> usize {
        let mut payload = 0;
        let (mut runs, mut names, mut last) = (0, 0, None);
        for event in request.events {
            payload += event.bytes as usize;
            if last != Some(event.topic) {
                last = Some(event.topic);
                runs += 1;
                names += section::topic_bytes(topics.name(event.topic));
            }
        }
        let batches = runs.min(topics.len()) + payload / (RECORD_BATCH_BYTES_MAX / 2) + 1;
        let kinds: usize = request.kinds.iter().map(|kind| kind.len() + 2).sum();
        payload
            + request.events.len() * batch::RECORD_OVERHEAD_MAX
            + batches * BATCH_OVERHEAD
            + names
            + (runs + request.kinds.len()) * origin::RUN_BYTES
            + kinds
            + request.origin.as_ref().map_or(0, origin::row_bytes)
    }

    pub(super) fn fits(&self, need: usize) -> bool {
        self.used() + need <= self.capacity
    }

    /// Copies the request's events into their batches in `frame`. The caller has asked `fits`.
    pub(super) fn append(
        &mut self,
        frame: &mut [u8],
        topics: &mut Topics,
        now: Micros,
        request: &Request<'_>,
    ) {
        let row = self.row_count;
        self.row_count += 1;
        if let Some(origin) = &request.origin {
            origin::write_row(origin, &mut self.rows);
        }
        self.last_ms = self.last_ms.max(now.millis());
        let mut first = 0;
        while first < request.events.len() {
            let end = run_end(request, first);
            let kind = request.kinds.get(first).map(|kind| self.kind_row(kind));
            let run = &request.events[first..end];
            self.append_run(frame, topics, request.source, run, (row, kind));
            first = end;
        }
    }

    fn append_run(
        &mut self,
        frame: &mut [u8],
        topics: &mut Topics,
        source: &[u8],
        events: &[RoutedEvent],
        (row, kind): (u32, Option<u32>),
    ) {
        let topic = events[0].topic;
        let mut index = self.batch_of(topics, topic);
        let mut records_before = self.batches[index].records;
        for event in events {
            let value = &source[event.start as usize..][..event.bytes as usize];
            let most = value.len() + batch::RECORD_OVERHEAD_MAX;
            if RECORD_BATCH_BYTES_MAX < self.batch_bytes(index) + most {
                self.note_run(index, records_before, (row, kind));
                index = self.open_batch(topics, topic);
                records_before = 0;
            }
            self.write(frame, index, value);
            self.event_bytes += u64::from(event.bytes);
        }
        self.note_run(index, records_before, (row, kind));
        self.events += events.len() as u64;
        topics.take_offsets(topic, events.len() as u64, self.last_ms);
    }

    fn batch_bytes(&self, index: usize) -> usize {
        let batch = &self.batches[index];
        batch
            .direct_at
            .map_or(batch.aside.len(), |start| self.payload_end - start)
    }

    fn note_run(&mut self, index: usize, before: u32, (row, kind): (u32, Option<u32>)) {
        let batch = &mut self.batches[index];
        let records = batch.records - before;
        if 0 < records {
            batch.runs.push(Run { row, kind, records });
            self.run_bytes += origin::RUN_BYTES;
        }
    }

    fn write(&mut self, frame: &mut [u8], index: usize, value: &[u8]) {
        let batch = &mut self.batches[index];
        let delta = self.last_ms - batch.base_ms;
        batch.max_ms = self.last_ms;
        if batch.direct_at.is_some() {
            let room = &mut frame[self.payload_end..];
            self.payload_end += batch::write_record(room, delta, batch.records, value);
        } else {
            let start = batch.aside.len();
            let bytes = batch::record_bytes(delta, batch.records, value.len());
            batch.aside.resize(start + bytes, 0);
            batch::write_record(&mut batch.aside[start..], delta, batch.records, value);
            self.aside_bytes += bytes;
        }
        batch.records += 1;
    }

    fn batch_of(&mut self, topics: &mut Topics, topic: TopicIndex) -> usize {
        if let Some(index) = topics.open_batch(topic) {
            return index;
        }
        if !topics.is_defined(topic) {
            self.definition_bytes += section::topic_bytes(topics.name(topic));
        }
        self.open_batch(topics, topic)
    }

    /// Begins another batch of `topic` in this frame.
    fn open_batch(&mut self, topics: &mut Topics, topic: TopicIndex) -> usize {
        let index = self.open;
        if index == self.batches.len() {
            self.batches.push(OpenBatch::default());
        }
        let already = topics
            .open_batch(topic)
            .map_or(0, |open| self.batches[open].records);
        let before = topics
            .open_batch(topic)
            .map(|open| self.batches[open].base_offset);
        let base_offset = match before {
            Some(base) => Offset(base.0 + u64::from(already)),
            None => topics.next(topic),
        };
        let is_direct = self.direct == Some(topic) || (self.open == 0 && self.direct.is_none());
        let batch = &mut self.batches[index];
        batch.topic = Some(topic);
        batch.base_offset = base_offset;
        batch.records = 0;
        batch.base_ms = self.last_ms;
        batch.max_ms = self.last_ms;
        batch.runs.clear();
        batch.aside.clear();
        batch.direct_at = is_direct.then_some(self.payload_end);
        if is_direct {
            self.direct = Some(topic);
            self.payload_end += batch::HEADER_BYTES;
        } else {
            batch.aside.resize(batch::HEADER_BYTES, 0);
            self.aside_bytes += batch::HEADER_BYTES;
        }
        self.open += 1;
        topics.set_open_batch(topic, index);
        index
    }

    fn kind_row(&mut self, kind: &[u8]) -> u32 {
        let found = self.kinds.iter().rposition(|known| **known == *kind);
        let row = found.unwrap_or_else(|| {
            self.kind_bytes += kind.len() + 2;
            self.kinds.push(kind.into());
            self.kinds.len() - 1
        });
        row as u32
    }

    /// Forgets what is staged and gives its offsets back: it will never be committed.
    pub(super) fn discard(&mut self, topics: &mut Topics) {
        for batch in self.batches[..self.open].iter().rev() {
            if let Some(topic) = batch.topic {
                topics.give_back(topic, batch.base_offset);
            }
        }
        self.reset();
    }

    fn reset(&mut self) {
        for batch in &mut self.batches[..self.open] {
            if KEPT_ASIDE_BYTES < batch.aside.capacity() {
                batch.aside = Vec::new();
            }
        }
        self.batches.truncate(KEPT_BATCHES);
        self.order.clear();
        self.order.shrink_to(KEPT_BATCHES);
        self.finished.clear();
        self.finished.shrink_to(KEPT_BATCHES);
        self.payload_end = HEADER_BYTES;
        self.aside_bytes = 0;
        self.open = 0;
        self.rows.clear();
        self.row_count = 0;
        self.run_bytes = 0;
        self.kinds.clear();
        self.kind_bytes = 0;
        self.definition_bytes = 0;
        self.events = 0;
        self.event_bytes = 0;
    }
}

/// The end of the run of events that go to one topic, with one type.
fn run_end(request: &Request<'_>, first: usize) -> usize {
    let topic = request.events[first].topic;
    let kind = request.kinds.get(first);
    let same =
        |index: &usize| request.events[*index].topic == topic && request.kinds.get(*index) == kind;
    (first + 1..request.events.len())
        .find(|index| !same(index))
        .unwrap_or(request.events.len())
}
