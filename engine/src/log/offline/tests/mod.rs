//! The commands against real stores, written by the journal itself through plain files.

mod adopting;
mod catalogue;
mod damage;
mod loss;
mod reading;
mod running;

use super::super::format::segment::{HEADER_BYTES, SegmentHeader};
use super::super::format::{StoreId, frame::FrameHeader};
use super::super::journal::{Journal, Keeping, Request, RoutedEvent, Settings, Step};
use super::super::recover::{self, Identity};
use super::super::store::{self, CATALOGUE, CATALOGUE_JOURNAL, CATALOGUE_SEGMENT_BYTES, LOCK};
use super::super::{Flush, Origin};
use super::plain::{PlainDisk, block_on};
use super::*;
use crate::unit::{JournalId, Micros, Ticket, TopicId, TopicIndex};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::future::{self, Either, LocalBoxFuture};
use std::cell::Cell;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

const SEGMENT_BYTES: u64 = 256 << 10;
const TOPICS: [(u128, &str); 2] = [(7, "click"), (9, "view \"quoted\"")];

/// A volume in a folder that goes away with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ringtail-offline-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn options(&self) -> Options {
        Options {
            volumes: vec![self.0.clone()],
            format: Format::Json,
            ..Options::default()
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A journal at work, with its tasks.
struct Work {
    journal: Journal<PlainDisk>,
    tasks: LocalBoxFuture<'static, ()>,
}

fn table() -> Vec<(TopicId, Arc<str>)> {
    let topics = TOPICS.iter();
    topics
        .map(|(id, name)| (TopicId(*id), (*name).into()))
        .collect()
}

fn open_store(volume: &Path, journals: u32) -> (PlainDisk, StoreId) {
    let disk = PlainDisk::read_write(volume);
    let opened = block_on(store::open(&disk, journals, SEGMENT_BYTES, || 0xabcd));
    (disk, opened.unwrap().store)
}

fn settings(identity: Identity, retention_bytes: Option<u64>) -> Settings {
    Settings {
        store: identity.store,
        journal: identity.journal,
        segment_bytes: identity.segment_bytes,
        prepared: 1,
        retention_bytes,
        keeping: Keeping::default(),
        origin: Origin::Full,
        commit_wait_us: 0,
        frame_bytes: 8 << 10,
        frame_bytes_max: 64 << 10,
        frames_in_flight: 2,
        flush: Flush::Never,
        tail_bytes: 0,
    }
}

fn start(
    disk: &PlainDisk,
    folder: &str,
    identity: Identity,
    retention_bytes: Option<u64>,
    table: Vec<(TopicId, Arc<str>)>,
) -> Work {
    let settings = settings(identity, retention_bytes);
    let time = Cell::new(1_700_000_000_000_000);
    let clock = Rc::new(move || Micros(time.replace(time.get() + 1_000)));
    let recovered = block_on(recover::recover(disk, folder, identity)).unwrap();
    let folder = folder.to_owned();
    let started = Journal::start(
        disk.clone(),
        folder,
        settings,
        recovered,
        table.into_iter(),
        clock,
    );
    let (journal, mut committer, mut preparer) = block_on(started).unwrap();
    let tasks = async move {
        let commit = async { while committer.step().await != Step::Stopped {} };
        future::join(commit, preparer.run()).await;
    };
    let tasks = Box::pin(tasks);
    Work { journal, tasks }
}

impl Work {
    fn begin(disk: &PlainDisk, store: StoreId, journal: u32, retention: Option<u64>) -> Self {
        let journal = JournalId(journal);
        let folder = store::journal_folder(journal);
        let identity = Identity {
            store,
            journal,
            segment_bytes: SEGMENT_BYTES,
        };
        start(disk, &folder, identity, retention, table())
    }

    /// Runs both tasks until `wanted` has resolved.
    fn until<T>(&mut self, wanted: impl Future<Output = T>) -> T {
        match block_on(future::select(pin!(wanted), &mut self.tasks)) {
            Either::Left((value, _)) => value,
            Either::Right(_) => unreachable!("the tasks end when the journal is stopped"),
        }
    }

    fn append(&mut self, number: u64, topic: usize, values: &[&[u8]]) {
        let source = values.concat();
        let mut start = 0;
        let events = values.iter().map(|value| {
            let event = RoutedEvent {
                topic: TopicIndex(topic as u32),
                start,
                bytes: value.len() as u32,
            };
            start += event.bytes;
            event
        });
        let events: Vec<_> = events.collect();
        let request = Request {
            source: &source,
            events: &events,
            origin: None,
            kinds: &[],
        };
        let now = Micros(1_700_000_000_000_000 + number * 1_000);
        let ticket = self.journal.append(now, &request).unwrap();
        self.wait(ticket);
    }

    fn wait(&mut self, ticket: Ticket) {
        let journal = self.journal.clone();
        let durable = async move {
            while journal.durable() < Some(ticket) {
                yield_once().await;
            }
        };
        self.until(durable);
    }

    /// Stops as on a signal: what is in hand is durable, then a closing frame.
    fn stop(self) {
        self.journal.stop();
        block_on(self.tasks);
    }
}

async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        context.waker().wake_by_ref();
        if std::mem::replace(&mut yielded, true) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
}

/// The value of one record; long, so that segments fill.
fn value(journal: u32, number: u64) -> Vec<u8> {
    let mut value = format!("journal {journal} event {number} ").into_bytes();
    value.resize(
        900 + (number % 50) as usize * 90,
        b'a' + (number % 26) as u8,
    );
    value.push((number % 256) as u8);
    value
}

fn catalogue_identity(store: StoreId) -> Identity {
    Identity {
        store,
        journal: CATALOGUE_JOURNAL,
        segment_bytes: CATALOGUE_SEGMENT_BYTES,
    }
}

fn write_catalogue(disk: &PlainDisk, store: StoreId) {
    let mut catalogue = start(disk, CATALOGUE, catalogue_identity(store), None, Vec::new());
    let journal = catalogue.journal.clone();
    catalogue
        .until(async { journal.define(&table()).await })
        .unwrap();
    catalogue.stop();
}

/// Two journals with `records` events each, alternating between both topics, and a catalogue.
fn store_with(records: u64, retention: Option<u64>) -> Scratch {
    let scratch = Scratch::new();
    let (disk, store) = open_store(&scratch.0, 2);
    write_catalogue(&disk, store);
    for journal in 0..2 {
        let mut work = Work::begin(&disk, store, journal, retention);
        fill(&mut work, journal, 0..records);
        work.stop();
    }
    scratch
}

fn fill(work: &mut Work, journal: u32, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let value = value(journal, number);
        work.append(number, (number % 2) as usize, &[&value]);
    }
}

fn cat_rows(options: &Options) -> Vec<serde_json::Value> {
    let mut out = Vec::new();
    assert!(cat(options, &mut out).unwrap());
    let text = String::from_utf8(out).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn verified(options: &Options) -> (bool, serde_json::Value) {
    let mut out = Vec::new();
    let clean = verify(options, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text.lines().count(), 1);
    (clean, serde_json::from_str(&text).unwrap())
}

fn assert_clean(scratch: &Scratch) -> serde_json::Value {
    let (clean, report) = verified(&scratch.options());
    assert!(clean, "{report}");
    report
}

/// The segments of journal 0 that are in use, each with the end of every frame's meaning bytes.
fn frames_of(volume: &Path) -> Vec<(PathBuf, Vec<(u64, u64)>)> {
    let mut segments = Vec::new();
    let mut files: Vec<_> = fs::read_dir(volume.join("journal-0"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    for path in files {
        let bytes = fs::read(&path).unwrap();
        let header = SegmentHeader::decode(&bytes).unwrap();
        if header.opening.is_none() {
            continue;
        }
        let mut frames = Vec::new();
        let mut at = HEADER_BYTES;
        while let Ok((frame, _)) = FrameHeader::decode(&bytes[at..]) {
            if frame.life != header.life {
                break;
            }
            let end = frame.sections.last().map_or(512, |_| frame.bytes());
            frames.push((at as u64, at as u64 + end as u64));
            at += frame.padded_bytes();
        }
        segments.push((path, frames));
    }
    segments
}

fn flip(path: &Path, at: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    byte[0] ^= 0x10;
    file.write_all_at(&byte, at).unwrap();
}
