//! What each decoder of bytes from a disk is fed first when it is fuzzed: the pieces that it has to read, taken
//! from a store that the simulation has left behind. Kept in `engine/src/log/format/__fuzz__`, where the harnesses
//! beside the decoders find them by themselves.

use super::evidence::is_segment;
use ringtail::limit::BLOCK_BYTES;
use ringtail::log::format::footer::{FOOTER_BYTES, Footer, read_index};
use ringtail::log::format::frame::{FrameHeader, HEADER_BYTES, SectionKind};
use ringtail::log::format::loss::{Loss, Losses, LostRange, write_losses};
use ringtail::log::format::section::Frame;
use ringtail::log::format::segment::SegmentHeader;
use ringtail::log::simulated::SimulatedDisk;
use ringtail::unit::{Offset, Sequence, TopicId};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Pieces of each kind that are kept.
const PIECES_MAX: usize = 3;
/// Longer ones are not kept: a fuzzer is slow with them.
const PIECE_BYTES_MAX: usize = 8 << 10;
/// Magic and checksum, which the harnesses of headers put there themselves.
const SEAL_BYTES: usize = 16;

/// Where the pieces for one decoder lie.
pub fn folder(decoder: &str) -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let format = tests.join("../engine/src/log/format/__fuzz__");
    format.join(format!(
        "log__format__{decoder}__tests__any_bytes_are_only_a_claim/corpus"
    ))
}

/// By decoder and kind.
#[derive(Default)]
struct Pieces(BTreeMap<(&'static str, &'static str), Vec<Vec<u8>>>);

impl Pieces {
    fn keep(&mut self, decoder: &'static str, kind: &'static str, piece: &[u8]) {
        let kept = self.0.entry((decoder, kind)).or_default();
        let is_new = kept.iter().all(|other| other.len() != piece.len());
        if kept.len() < PIECES_MAX && is_new && !piece.is_empty() && piece.len() <= PIECE_BYTES_MAX
        {
            kept.push(piece.to_vec());
        }
    }

    fn take_segment(&mut self, bytes: &[u8]) {
        if let Some(header) = bytes.get(..BLOCK_BYTES as usize)
            && SegmentHeader::decode(header).is_ok()
        {
            self.keep("segment", "header", trimmed(&header[SEAL_BYTES..]));
        }
        for at in (0..bytes.len()).step_by(BLOCK_BYTES as usize) {
            let rest = &bytes[at..];
            if let Ok((header, _)) = FrameHeader::decode(rest) {
                let sealed = &rest[SEAL_BYTES..HEADER_BYTES];
                self.keep("frame", "header", trimmed(sealed));
                if let Ok(frame) = Frame::check(rest) {
                    self.keep("section", "frame", &rest[..header.padded_bytes()]);
                    self.take_frame(&frame);
                }
            }
        }
        let Some(at) = bytes.len().checked_sub(FOOTER_BYTES) else {
            return;
        };
        if let Ok(footer) = Footer::decode(&bytes[at..]) {
            self.keep("footer", "footer", &bytes[at..]);
            let start = at.checked_sub(footer.index_bytes as usize);
            let index = start.and_then(|start| bytes.get(start..at));
            if let Some(index) = index.filter(|index| read_index(index).is_ok()) {
                self.keep("footer", "index", index);
            }
        }
    }

    fn take_frame(&mut self, frame: &Frame<'_>) {
        let kinds = [
            ("section", "batches", SectionKind::BATCHES),
            ("section", "topics", SectionKind::TOPICS),
            ("section", "checkpoint", SectionKind::CHECKPOINT),
            ("section", "membership", SectionKind::MEMBERSHIP),
            ("origin", "rows", SectionKind::ORIGINS),
        ];
        for (decoder, kind, section) in kinds {
            self.keep(decoder, kind, frame.section(section).unwrap_or_default());
        }
        for (_, batch) in frame.batches().unwrap_or_default() {
            self.keep("batch", "batch", batch);
        }
    }

    /// The simulation accepts no loss, so these are made up.
    fn take_losses(&mut self) {
        let range = |topic: u128| LostRange {
            topic: TopicId(topic),
            first: Offset(topic as u64),
            next: Offset(9),
            lost: (9 - topic as u64) / 2,
        };
        for count in [0, 1, 5] {
            let loss = |first: u64| Loss {
                first: Sequence::new(first).expect("not 0"),
                last: Sequence::new(first + 1).expect("not 0"),
                frames: 1 + first % 2,
                topics: (0..u128::from(first)).map(range).collect(),
                untold: first as u32 % 2,
            };
            let losses = Losses {
                told: (1..=count).map(loss).collect(),
                untold: count as u32 / 2,
                untold_offsets: count * 3,
            };
            let mut piece = Vec::new();
            write_losses(&losses, &mut piece);
            self.keep("loss", "losses", &piece);
        }
    }
}

fn trimmed(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().rev().take_while(|byte| **byte == 0).count();
    &bytes[..bytes.len() - zeros]
}

/// Writes the pieces of what these disks hold, for every decoder.
pub fn write(disks: &[SimulatedDisk]) -> io::Result<()> {
    let mut pieces = Pieces::default();
    pieces.take_losses();
    for disk in disks {
        for path in disk.paths() {
            let bytes = disk.contents(&path).unwrap_or_default();
            if is_segment(&path) {
                pieces.take_segment(&bytes);
            } else if path == "superblock" {
                let first = bytes.get(..BLOCK_BYTES as usize).unwrap_or_default();
                pieces.keep("superblock", "superblock", first);
            }
        }
    }
    for ((decoder, kind), kept) in pieces.0 {
        let folder = folder(decoder);
        fs::create_dir_all(&folder)?;
        for (number, piece) in kept.into_iter().enumerate() {
            fs::write(folder.join(format!("{kind}-{number}")), piece)?;
        }
    }
    Ok(())
}
