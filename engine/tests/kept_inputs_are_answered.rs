//! Inputs that once were, or might be, trouble: each is read in one piece and byte by byte, to the same end,
//! without a panic and within its bounds. Names of files say what is in them.
//!
//! What a fuzzer finds is added to `corpus/`, beside the mending. gRPC's prefix is not public: its inputs
//! are read by a test beside it.

use ringtail::event::Batch;
use ringtail::frame::Encoding;
use ringtail::frame::websocket::{Decoder, Fault, Inflater, Item};
use std::fs;
use std::path::Path;
use std::rc::Rc;

const BYTES_MAX: usize = 100_000;

/// The inputs of one kind, with their names.
fn inputs(kind: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let files = fs::read_dir(folder.join(kind)).expect("the corpus is there");
    let inputs = files.map(|file| {
        let path = file.expect("the folder can be read").path();
        let name = path.file_name().expect("it is a file").to_string_lossy();
        let bytes = fs::read(&path).expect("the file can be read");
        (name.into_owned(), bytes)
    });
    let inputs: Vec<_> = inputs.collect();
    assert!(inputs.len() > 5, "the corpus of {kind} was not found");
    inputs
}

/// Messages, and how it ended.
fn frames(bytes: &[u8], piece: usize) -> (Vec<Vec<u8>>, Option<Fault>) {
    let inflater = Rc::new(Inflater::new(BYTES_MAX));
    let mut decoder = Decoder::new(BYTES_MAX).inflating(inflater);
    let (mut messages, mut held) = (Vec::new(), Vec::new());
    for part in bytes.chunks(piece) {
        held.extend_from_slice(part);
        loop {
            let (item, consumed) = match decoder.next(&mut held) {
                Ok(next) => next,
                Err(fault) => return (messages, Some(fault)),
            };
            let more = matches!(item, Item::More { .. });
            if let Item::Message { payload, .. } = item {
                assert!(payload.len() <= BYTES_MAX);
                messages.push(payload.to_vec());
            }
            held.drain(..consumed);
            if more {
                break;
            }
        }
    }
    (messages, None)
}

#[test]
fn websocket_frames_plain_and_compressed() {
    let mut faults = 0;
    for (name, bytes) in inputs("websocket") {
        let whole = frames(&bytes, bytes.len());
        assert_eq!(whole, frames(&bytes, 1), "{name}");
        faults += usize::from(whole.1.is_some());
        let (mut batch, encodings) = (Batch::default(), [Encoding::Protobuf, Encoding::Json]);
        for message in &whole.0 {
            for encoding in encodings {
                let _any_end = batch.decode(encoding, message);
            }
        }
    }
    assert!(faults > 5, "some of these break the protocol");
}

#[test]
fn requests_in_protobuf_and_json() {
    for (kind, encoding) in [("protobuf", Encoding::Protobuf), ("json", Encoding::Json)] {
        let (mut taken, mut refused) = (0, 0);
        for (name, bytes) in inputs(kind) {
            // A message is whole when it comes here, but it may have been cut anywhere before.
            for length in 0..=bytes.len() {
                let mut batch = Batch::default();
                match batch.decode(encoding, &bytes[..length]) {
                    Ok(()) => {
                        let source = batch.source(&bytes[..length]);
                        for event in &batch.events {
                            let bytes =
                                event.payload.of(source).len() + event.kind.of(source).len();
                            assert!(bytes <= source.len(), "{name} cut to {length}");
                        }
                        taken += 1;
                    }
                    Err(refusal) => {
                        assert!(!refusal.reason.is_empty(), "{name} cut to {length}");
                        refused += 1;
                    }
                }
            }
        }
        assert!(taken > 0 && refused > 0, "{kind}");
    }
}
