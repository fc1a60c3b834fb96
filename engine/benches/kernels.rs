//! The kernels of the data path, each beside a plain copy of the same bytes and beside what others offer.
//!
//! Run with `cargo bench -p ringtail --bench kernels`. Throughput is in bytes of what comes in (for encoders:
//! of what goes out). Each one checks its answer before it is measured.

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use prost::Message as _;
use quick_protobuf::BytesReader;
use ringtail::ack::Ledger;
use ringtail::event::Batch;
use ringtail::event::answer::{Answer, Code, Status, encode};
use ringtail::frame::Encoding;
use ringtail::frame::websocket::{Decoder, Item, unmask, write_masked, write_message_with};
use ringtail::limit::MESSAGE_BYTES_DEFAULT;
use ringtail::log::format::batch;
use ringtail::log::format::checksum::{crc32c, crc64};
use ringtail::unit::{Offset, Ticket};
use ringtail_proto::{Event, SendEventRequest, SendEventResponse, Timestamp};
use std::hint::black_box;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Events and the bytes of each: one small batch, and two as the targets have them.
const SHAPES: [(usize, usize); 3] = [(1, 200), (10, 200), (50, 256)];
const MASK: [u8; 4] = [0x5a, 0xc3, 0x17, 0x88];

fn pattern(bytes: usize, seed: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at * 7 + seed) as u8).collect()
}

fn request(events: usize, bytes: usize) -> SendEventRequest {
    let event = |index| Event {
        event_bytes: pattern(bytes, index),
        r#type: "click".to_owned(),
    };
    SendEventRequest {
        req_guid: "0f8fad5b-d9cb-469f-a165-70867728950e".to_owned(),
        sent_time: Some(Timestamp {
            seconds: 1_790_000_000,
            nanos: 5,
        }),
        events: (0..events).map(event).collect(),
    }
}

fn json(request: &SendEventRequest) -> Vec<u8> {
    use base64::Engine as _;
    let engine = base64::engine::general_purpose::STANDARD;
    let event = |event: &Event| serde_json::json!({"type": event.r#type, "event_bytes": engine.encode(&event.event_bytes)});
    let events: Vec<_> = request.events.iter().map(event).collect();
    let value = serde_json::json!({
        "req_guid": request.req_guid, "sent_time": {"seconds": 1_790_000_000_i64, "nanos": 5},
        "events": events,
    });
    value.to_string().into_bytes()
}

/// A group for one size, with the plain copy that everything in it is to be read against.
fn group<'c>(
    criterion: &'c mut Criterion,
    name: &str,
    shape: &str,
    bytes: &[u8],
) -> BenchmarkGroup<'c, WallTime> {
    let mut group = criterion.benchmark_group(format!("{name}/{shape}"));
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    let mut to = vec![0; bytes.len()];
    group.bench_function("copy", |bencher| {
        bencher.iter(|| black_box(&mut to[..]).copy_from_slice(black_box(bytes)));
    });
    group
}

fn each_shape(mut work: impl FnMut(&str, SendEventRequest)) {
    for (events, bytes) in SHAPES {
        work(&format!("{events}x{bytes}"), request(events, bytes));
    }
}

fn unmasking(criterion: &mut Criterion) {
    for bytes in [256, 4096, 65_536] {
        let plain = pattern(bytes, 1);
        let mut masked = plain.clone();
        unmask(&mut masked, MASK);
        let by_hand: Vec<u8> = plain
            .iter()
            .zip(MASK.iter().cycle())
            .map(|(byte, mask)| byte ^ mask)
            .collect();
        assert_eq!(masked, by_hand);
        let mut group = group(criterion, "unmask", &bytes.to_string(), &plain);
        group.bench_function("ours", |bencher| {
            bencher.iter(|| unmask(black_box(&mut masked), black_box(MASK)));
        });
    }
}

fn frame_decode(criterion: &mut Criterion) {
    each_shape(|shape, request| {
        let payload = request.encode_to_vec();
        let mut frame = Vec::new();
        write_masked(Encoding::Protobuf, &payload, MASK, &mut frame);
        let mut bytes = frame.clone();
        let mut decoder = Decoder::new(MESSAGE_BYTES_DEFAULT);
        let whole =
            |item: &Item<'_>| matches!(item, Item::Message { payload: got, .. } if *got == payload);
        assert!(decoder.next(&mut bytes).is_ok_and(|(item, _)| whole(&item)));
        let mut group = group(criterion, "frame-decode", shape, &frame);
        // It unmasks in place, so each round needs the bytes as they came: one copy is in the figure.
        group.bench_function("ours, and a copy", |bencher| {
            bencher.iter(|| {
                bytes.copy_from_slice(black_box(&frame));
                decoder.next(black_box(&mut bytes)).map(|(_, used)| used)
            });
        });
    });
}

/// What quick-protobuf's generated code does with borrowed fields.
#[derive(Default)]
struct Borrowed<'a> {
    guid: &'a str,
    events: Vec<(&'a [u8], &'a str)>,
}

fn by_quick_protobuf(bytes: &[u8]) -> quick_protobuf::Result<Borrowed<'_>> {
    let mut reader = BytesReader::from_bytes(bytes);
    let mut found = Borrowed::default();
    while !reader.is_eof() {
        match reader.next_tag(bytes)? {
            10 => found.guid = reader.read_string(bytes)?,
            26 => found
                .events
                .push(reader.read_bytes(bytes).and_then(borrowed_event)?),
            tag => reader.read_unknown(bytes, tag)?,
        }
    }
    Ok(found)
}

fn borrowed_event(bytes: &[u8]) -> quick_protobuf::Result<(&[u8], &str)> {
    let mut reader = BytesReader::from_bytes(bytes);
    let (mut payload, mut kind) = (&bytes[..0], "");
    while !reader.is_eof() {
        match reader.next_tag(bytes)? {
            10 => payload = reader.read_bytes(bytes)?,
            18 => kind = reader.read_string(bytes)?,
            tag => reader.read_unknown(bytes, tag)?,
        }
    }
    Ok((payload, kind))
}

fn check_batch(batch: &Batch, message: &[u8], request: &SendEventRequest) {
    let source = batch.source(message);
    assert_eq!(batch.guid.of(source), request.req_guid.as_bytes());
    assert_eq!(batch.events.len(), request.events.len());
    for (event, wanted) in batch.events.iter().zip(&request.events) {
        assert_eq!(event.payload.of(source), wanted.event_bytes);
        assert_eq!(event.kind.of(source), wanted.r#type.as_bytes());
    }
}

fn protobuf(criterion: &mut Criterion) {
    each_shape(|shape, request| {
        let message = request.encode_to_vec();
        let mut batch = Batch::default();
        assert!(batch.decode(Encoding::Protobuf, &message).is_ok());
        check_batch(&batch, &message, &request);
        let borrowed = by_quick_protobuf(&message).expect("it reads what prost writes");
        assert_eq!(borrowed.guid, request.req_guid);
        let theirs = borrowed
            .events
            .iter()
            .map(|(payload, kind)| (*payload, *kind));
        let wanted = request
            .events
            .iter()
            .map(|event| (&event.event_bytes[..], &event.r#type[..]));
        assert!(theirs.eq(wanted));
        let mut group = group(criterion, "protobuf", shape, &message);
        group.bench_function("ours", |bencher| {
            bencher.iter(|| {
                batch
                    .decode(Encoding::Protobuf, black_box(&message))
                    .is_ok()
            });
        });
        group.bench_function("quick-protobuf", |bencher| {
            bencher.iter(|| by_quick_protobuf(black_box(&message)).map(|found| found.events.len()));
        });
        group.bench_function("prost", |bencher| {
            bencher.iter(|| SendEventRequest::decode(black_box(&message[..])));
        });
    });
}

fn json_decode(criterion: &mut Criterion) {
    each_shape(|shape, request| {
        let message = json(&request);
        let mut batch = Batch::default();
        assert!(batch.decode(Encoding::Json, &message).is_ok());
        check_batch(&batch, &message, &request);
        let mut group = group(criterion, "json", shape, &message);
        group.bench_function("ours", |bencher| {
            bencher.iter(|| batch.decode(Encoding::Json, black_box(&message)).is_ok());
        });
        group.bench_function("serde_json, a tree, no base64", |bencher| {
            bencher.iter(|| serde_json::from_slice::<serde_json::Value>(black_box(&message)));
        });
    });
}

fn write_batch(out: &mut [u8], events: &[Event]) -> usize {
    let mut end = batch::HEADER_BYTES;
    for (index, event) in (0..).zip(events) {
        end += batch::write_record(&mut out[end..], 0, index, &event.event_bytes);
    }
    let header = batch::BatchHeader {
        base_offset: Offset(0),
        records: events.len() as u32,
        base_timestamp_ms: 1_790_000_000_000,
        max_timestamp_ms: 1_790_000_000_000,
    };
    batch::finish(&mut out[..end], &header);
    end
}

fn record_batch(criterion: &mut Criterion) {
    each_shape(|shape, request| {
        let mut out = vec![0; 1 << 16];
        let end = write_batch(&mut out, &request.events);
        let read = batch::Batch::check(&out[..end]).expect("it was just written");
        let values = read.records().map(|record| record.value);
        assert!(values.eq(request.events.iter().map(|event| &event.event_bytes[..])));
        let written = out[..end].to_vec();
        let mut group = group(criterion, "record-batch-encode", shape, &written);
        group.bench_function("ours", |bencher| {
            bencher.iter(|| write_batch(black_box(&mut out), black_box(&request.events)));
        });
    });
}

fn checksums(criterion: &mut Criterion) {
    assert_eq!(crc64(b"123456789"), 0xae8b_1486_0a79_9888);
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    for bytes in [300, 4096, 524_288] {
        let data = pattern(bytes, 3);
        let mut group = group(criterion, "checksum", &bytes.to_string(), &data);
        group.bench_function("CRC-64/NVME", |bencher| {
            bencher.iter(|| crc64(black_box(&data)));
        });
        group.bench_function("CRC-32C", |bencher| {
            bencher.iter(|| crc32c(black_box(&data)));
        });
    }
}

fn frame_encode(criterion: &mut Criterion) {
    let answer = Answer {
        status: Status::Success,
        code: Code::Ok,
        sent_time: 1_790_000_000,
        reason: "",
        guid: Some("0f8fad5b-d9cb-469f-a165-70867728950e"),
        events: &[],
    };
    let write = |out: &mut Vec<u8>| {
        out.clear();
        write_message_with(Encoding::Protobuf, out, |out| {
            encode(Encoding::Protobuf, &answer, out);
        });
    };
    let mut out = Vec::new();
    write(&mut out);
    let told = SendEventResponse::decode(&out[2..]).expect("an answer is protobuf");
    assert_eq!(
        told.data["req_guid"],
        "0f8fad5b-d9cb-469f-a165-70867728950e"
    );
    let written = out.clone();
    let mut group = group(criterion, "frame-encode", "answer", &written);
    group.bench_function("ours", |bencher| {
        bencher.iter(|| write(black_box(&mut out)));
    });
    let theirs = SendEventResponse {
        sent_time: 1_790_000_000,
        ..told
    };
    group.bench_function("prost, without a frame", |bencher| {
        bencher.iter(|| {
            out.clear();
            black_box(&theirs).encode(&mut out)
        });
    });
}

fn settle(criterion: &mut Criterion) {
    const WAITING: u64 = 512;
    type Waiter = [u64; 8];
    let waiters: Vec<u8> = vec![0; WAITING as usize * size_of::<(Ticket, Waiter)>()];
    let mut ledger = Ledger::default();
    let round = |ledger: &mut Ledger<Waiter>| {
        for index in 0..WAITING {
            ledger.push(Ticket(index / 64 + 1), [index; 8]);
        }
        let mut settled = 0;
        while let Some(waiter) = ledger.pop(Ticket(WAITING)) {
            settled += u64::from(waiter[0] < WAITING);
        }
        settled
    };
    assert_eq!(round(&mut ledger), WAITING);
    let mut group = group(criterion, "ledger-settle", "512", &waiters);
    group.bench_function("ours", |bencher| {
        bencher.iter(|| round(black_box(&mut ledger)));
    });
}

criterion_group! {
    name = kernels;
    config = Criterion::default();
    targets = unmasking, frame_decode, protobuf, json_decode, record_batch, checksums, frame_encode, settle
}
criterion_main!(kernels);
