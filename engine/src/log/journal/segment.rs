//! The segments of a journal in their states: prepared → open → closing → sealed → spare → prepared.

use super::super::disk::Disk;
use super::super::format::footer::{self, Claim, FOOTER_BYTES, Footer, Index, IndexTopic, Place};
use super::super::format::segment::{HEADER_BYTES, Kind, Opening, SegmentHeader};
use super::super::format::{Features, checksum};
use super::super::planted::{self, Planted};
use super::super::walk::read_whole;
use super::Settings;
use super::living::Look;
use crate::limit::BLOCK_BYTES;
use crate::unit::{Life, Sequence, TopicId};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;

/// A file with zeros or an older life's frames behind its header, ready to be used.
pub(super) struct Prepared<F> {
    pub(super) name: String,
    pub(super) file: Rc<F>,
    pub(super) life: Life,
}

/// The segment that frames are written to, or one that just was.
pub(super) struct OpenSegment<F> {
    pub(super) name: String,
    pub(super) file: Rc<F>,
    pub(super) life: Life,
    pub(super) opening: Opening,
    /// Where the next frame goes.
    pub(super) position: u64,
    pub(super) last: Sequence,
    pub(super) chain_out: u64,
    pub(super) records: u64,
    /// Batches that are in flight or durable here; bounds the footer.
    pub(super) batches: usize,
    /// Durable batches, by topic.
    pub(super) index: HashMap<TopicId, Vec<Place>>,
    /// The header says that the segment is in use, or will with the first frame.
    pub(super) header_written: bool,
}

/// A segment that will not be written to again.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a step of its own, and they come in any order"
)]
pub(super) struct SealedSegment<F> {
    pub(super) name: String,
    pub(super) file: Rc<F>,
    pub(super) life: Life,
    pub(super) opening: Opening,
    /// Its index, as long as its footer is on its way.
    pub(super) index: Option<Rc<Index>>,
    /// Its footer is on its way to the disk.
    pub(super) being_sealed: bool,
    pub(super) kind: Kind,
    /// Of its file: a rewritten one is as small as what it holds.
    pub(super) file_bytes: u64,
    /// What the latest look at its index told.
    pub(super) look: Option<Look>,
    /// Its batches are counted in their topics' ledgers.
    pub(super) counted: bool,
    /// It is about to be retired, or to be replaced by its rewritten form: nobody else may touch it.
    pub(super) held: bool,
    /// It could not be read to its end, so it stays as it is.
    pub(super) unfit: bool,
    /// It says nothing of topics whose last frame came before this one and that were deleted.
    pub(super) clean_to: Sequence,
}

impl<F> SealedSegment<F> {
    /// A segment whose frames are all durable.
    pub(super) fn new(segment: Prepared<F>, opening: Opening, file_bytes: u64) -> Self {
        Self {
            name: segment.name,
            file: segment.file,
            life: segment.life,
            opening,
            index: None,
            being_sealed: false,
            kind: Kind::Journal,
            file_bytes,
            look: None,
            counted: false,
            held: false,
            unfit: false,
            clean_to: opening.first,
        }
    }

    /// A segment that was open until now.
    pub(super) fn of(closing: OpenSegment<F>, file_bytes: u64, index: Option<Index>) -> Self {
        let segment = Prepared {
            name: closing.name,
            file: closing.file,
            life: closing.life,
        };
        Self {
            being_sealed: true,
            index: index.map(Rc::new),
            counted: true,
            ..Self::new(segment, closing.opening, file_bytes)
        }
    }
}

impl<F> OpenSegment<F> {
    pub(super) fn enter(prepared: Prepared<F>, opening: Opening) -> Self {
        Self {
            name: prepared.name,
            file: prepared.file,
            life: prepared.life,
            opening,
            position: HEADER_BYTES as u64,
            last: opening.first,
            chain_out: opening.chain_in,
            records: 0,
            batches: 0,
            index: HashMap::new(),
            header_written: false,
        }
    }

    /// What index and footer take when `batches` more are added, each of a topic of its own at worst.
    fn footer_bytes(&self, batches: usize) -> u64 {
        let places = self.batches + batches;
        let index = footer::index_bytes(places, places) as u64;
        index.next_multiple_of(BLOCK_BYTES) + FOOTER_BYTES as u64
    }

    /// Whether a frame of `bytes` with `batches` fits before the footer.
    pub(super) fn fits(&self, bytes: u64, batches: usize, segment_bytes: u64) -> bool {
        self.position + bytes + self.footer_bytes(batches) <= segment_bytes
    }

    pub(super) fn header(&self, settings: &Settings) -> SegmentHeader {
        SegmentHeader {
            kind: Kind::Journal,
            store: settings.store,
            journal: settings.journal,
            life: self.life,
            segment_bytes: settings.segment_bytes,
            opening: Some(self.opening),
            features: Features::default(),
        }
    }

    /// Index and footer as they go to the end of the file: their position and bytes, and where the index
    /// begins among them.
    pub(super) fn seal(&self, settings: &Settings) -> (u64, Vec<u8>, usize) {
        let mut topics: Vec<_> = self
            .index
            .iter()
            .map(|(topic, places)| IndexTopic {
                topic: *topic,
                places: places.clone(),
            })
            .collect();
        topics.sort_by_key(|topic| topic.topic);
        let footer = Footer {
            store: settings.store,
            journal: settings.journal,
            life: self.life,
            last: self.last,
            chain_out: self.chain_out,
            end: self.position,
            index_bytes: 0,
            index_checksum: 0,
            records: self.records,
            features: Features::default(),
        };
        let (bytes, index_at) = encode_tail(&topics, footer);
        let position = settings.segment_bytes - bytes.len() as u64;
        (position, bytes, index_at)
    }
}

/// Index and footer, as they end a segment's file: whole blocks; and where the index begins among them.
pub(super) fn encode_tail(topics: &[IndexTopic], footer: Footer) -> (Vec<u8>, usize) {
    let mut bytes = Vec::new();
    footer::write_index(topics, &mut bytes);
    let footer = Footer {
        index_bytes: bytes.len() as u64,
        index_checksum: checksum::crc64(&bytes),
        ..footer
    };
    let padded = bytes.len().next_multiple_of(BLOCK_BYTES as usize);
    // The index ends where the footer begins, so the padding comes first.
    let padding = padded - bytes.len();
    let mut block = [0; FOOTER_BYTES];
    footer.encode(&mut block);
    bytes.splice(0..0, std::iter::repeat_n(0, padding));
    bytes.extend_from_slice(&block);
    (bytes, padding)
}

/// Reads the footer of a sealed segment; `None` when there is none of this life.
pub(in super::super) async fn read_footer<D: Disk>(
    disk: &D,
    file: &D::File,
    life: Life,
    segment_bytes: u64,
) -> io::Result<Option<Footer>> {
    // A file is as long as its header says, which may be too short to have one.
    let Some(at) = segment_bytes.checked_sub(FOOTER_BYTES as u64) else {
        return Ok(None);
    };
    let block = read_whole(disk, file, at, FOOTER_BYTES).await?;
    let footer = Footer::decode(block.as_ref()).ok();
    let right = |footer: &Footer| footer.life == life || planted::is(Planted::BelieveAnOldFooter);
    Ok(footer.filter(|footer| right(footer) && footer.index_bytes <= at))
}

/// Reads the index that a footer tells of; `None` when it is damaged.
pub(super) async fn read_index<D: Disk>(
    disk: &D,
    file: &D::File,
    footer: &Footer,
    segment_bytes: u64,
) -> io::Result<Option<Index>> {
    let end = segment_bytes - FOOTER_BYTES as u64;
    let bytes = read_between(disk, file, end - footer.index_bytes..end).await?;
    let index = (checksum::crc64(&bytes) == footer.index_checksum).then_some(bytes);
    Ok(index.and_then(|bytes| Index::check(bytes).ok()))
}

/// Reads one topic's places out of a large index, without the others'; `None` when it does not say.
pub(super) async fn read_places<D: Disk>(
    disk: &D,
    file: &D::File,
    footer: &Footer,
    segment_bytes: u64,
    topic: TopicId,
) -> io::Result<Option<Vec<Place>>> {
    let end = segment_bytes - FOOTER_BYTES as u64;
    let start = end - footer.index_bytes;
    let first = footer.index_bytes.min(HEADS_BYTES);
    let mut heads = read_between(disk, file, start..start + first).await?;
    let heads_bytes = Claim::heads_bytes(&heads).unwrap_or(0);
    if first < heads_bytes && heads_bytes <= footer.index_bytes {
        heads = read_between(disk, file, start..start + heads_bytes).await?;
    }
    let inside = |claim: &Claim| claim.places.end <= footer.index_bytes;
    let Some(claim) = Claim::find(&heads, topic).filter(inside) else {
        return Ok(None);
    };
    let places = start + claim.places.start..start + claim.places.end;
    let places = read_between(disk, file, places).await?;
    Ok(claim.read(&places))
}

/// Read at first of a large index: the heads of a thousand topics.
const HEADS_BYTES: u64 = 64 << 10;

/// Bytes from anywhere to anywhere.
async fn read_between<D: Disk>(
    disk: &D,
    file: &D::File,
    range: std::ops::Range<u64>,
) -> io::Result<Vec<u8>> {
    let start = range.start / BLOCK_BYTES * BLOCK_BYTES;
    let end = range.end.next_multiple_of(BLOCK_BYTES);
    if range.is_empty() {
        return Ok(Vec::new());
    }
    let buffer = read_whole(disk, file, start, (end - start) as usize).await?;
    let (skip, bytes) = (range.start - start, range.end - range.start);
    Ok(buffer.as_ref()[skip as usize..][..bytes as usize].to_vec())
}
