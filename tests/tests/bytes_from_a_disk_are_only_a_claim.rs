//! The kept corpus of each decoder of bytes from a disk: what is whole is read, and what is cut off or has a bit
//! turned over is answered, not panicked at.
//!
//! The corpus is what fuzzers begin with, too: `cargo bolero test -p ringtail
//! log::format::frame::tests::any_bytes_are_only_a_claim`, and so for each of `DECODERS`.

use ringtail::limit::BLOCK_BYTES;
use ringtail::log::format::batch::Batch;
use ringtail::log::format::checksum::crc64;
use ringtail::log::format::footer::{Footer, read_index};
use ringtail::log::format::frame::{self, FrameHeader};
use ringtail::log::format::loss::read_losses;
use ringtail::log::format::origin::Origins;
use ringtail::log::format::section;
use ringtail::log::format::segment::SegmentHeader;
use ringtail::log::format::superblock::Superblock;
use ringtail_tests::simulation::corpus::folder;
use std::fs;

/// Reads a piece of this kind; whether it was good.
type Decode = fn(&[u8]) -> bool;

/// Each decoder, the kinds of pieces kept for it, and what reads them.
const DECODERS: &[(&str, &[(&str, Decode)])] = &[
    (
        "superblock",
        &[("superblock", |bytes| Superblock::decode(bytes).is_ok())],
    ),
    (
        "segment",
        &[("header", |bytes| {
            let block = sealed::<{ BLOCK_BYTES as usize }>(*b"RTLSEGMT", bytes);
            SegmentHeader::decode(&block).is_ok()
        })],
    ),
    (
        "frame",
        &[("header", |bytes| {
            let block = sealed::<{ frame::HEADER_BYTES }>(*b"RTLFRAME", bytes);
            FrameHeader::decode(&block).is_ok()
        })],
    ),
    (
        "section",
        &[
            ("frame", |bytes| section::Frame::check(bytes).is_ok()),
            ("batches", |bytes| section::read_batches(bytes).is_ok()),
            ("topics", |bytes| section::read_topics(bytes).is_ok()),
            ("checkpoint", |bytes| {
                section::read_checkpoint(bytes).is_ok()
            }),
            ("membership", |bytes| {
                section::read_membership(bytes).is_ok()
            }),
        ],
    ),
    (
        "batch",
        &[("batch", |bytes| {
            Batch::check(bytes).is_ok_and(|batch| 0 < batch.records().count())
        })],
    ),
    ("origin", &[("rows", |bytes| Origins::read(bytes).is_ok())]),
    (
        "footer",
        &[
            ("footer", |bytes| Footer::decode(bytes).is_ok()),
            ("index", |bytes| read_index(bytes).is_ok()),
        ],
    ),
    ("loss", &[("losses", |bytes| read_losses(bytes).is_ok())]),
];

/// A header as it lies on the disk, with a checksum that fits.
fn sealed<const BYTES: usize>(magic: [u8; 8], bytes: &[u8]) -> Vec<u8> {
    let mut block = vec![0; BYTES];
    block[..8].copy_from_slice(&magic);
    let count = bytes.len().min(BYTES - 16);
    block[16..16 + count].copy_from_slice(&bytes[..count]);
    let checksum = crc64(&block[16..]);
    block[8..16].copy_from_slice(&checksum.to_le_bytes());
    block
}

#[test]
fn every_piece_that_is_kept_is_read_and_every_broken_one_is_answered() {
    for (decoder, kinds) in DECODERS {
        for (kind, decode) in *kinds {
            let entries = fs::read_dir(folder(decoder)).expect("a corpus is kept");
            let paths = entries.map(|entry| entry.expect("it can be listed").path());
            let is_kind = |path: &std::path::PathBuf| {
                let name = path.file_name();
                name.is_some_and(|name| name.to_string_lossy().starts_with(kind))
            };
            let mut pieces = 0;
            for path in paths.filter(is_kind) {
                let piece = fs::read(&path).expect("it can be read");
                assert!(decode(&piece), "{} is not read", path.display());
                harm(&piece, *decode);
                pieces += 1;
            }
            assert!(0 < pieces, "nothing is kept of {decoder}: {kind}");
        }
    }
}

/// Cuts a piece off everywhere, and turns over each bit of its first bytes and some behind.
fn harm(piece: &[u8], decode: Decode) {
    for length in (0..piece.len().min(600)).chain([piece.len() - 1]) {
        decode(&piece[..length]);
    }
    let behind = (600..piece.len()).step_by(61);
    let mut bytes = piece.to_vec();
    for at in (0..piece.len().min(600)).chain(behind) {
        for bit in 0..8 {
            bytes[at] ^= 1 << bit;
            decode(&bytes);
            bytes[at] ^= 1 << bit;
        }
    }
}
