//! The segments of a journal in their states: prepared → open → closing → sealed → spare → prepared.

use super::super::disk::Disk;
use super::super::format::footer::{self, FOOTER_BYTES, Footer, IndexTopic, Place};
use super::super::format::segment::{HEADER_BYTES, Kind, Opening, SegmentHeader};
use super::super::format::{Features, checksum};
use super::super::planted::{self, Planted};
use super::super::walk::read_whole;
use super::Settings;
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
pub(super) struct SealedSegment<F> {
    pub(super) name: String,
    pub(super) file: Rc<F>,
    pub(super) life: Life,
    pub(super) opening: Opening,
    /// Its index, read when it is needed. It is there as long as the footer is not.
    pub(super) index: Option<Rc<Vec<IndexTopic>>>,
    /// Its footer is on its way to the disk.
    pub(super) being_sealed: bool,
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

    /// Index and footer as they go to the end of the file: their position and bytes; and the index.
    pub(super) fn seal(&self, settings: &Settings) -> (u64, Vec<u8>, Vec<IndexTopic>) {
        let mut topics: Vec<_> = self
            .index
            .iter()
            .map(|(topic, places)| IndexTopic {
                topic: *topic,
                places: places.clone(),
            })
            .collect();
        topics.sort_by_key(|topic| topic.topic);
        let mut bytes = Vec::new();
        footer::write_index(&topics, &mut bytes);
        let footer = Footer {
            store: settings.store,
            journal: settings.journal,
            life: self.life,
            last: self.last,
            chain_out: self.chain_out,
            end: self.position,
            index_bytes: bytes.len() as u64,
            index_checksum: checksum::crc64(&bytes),
            records: self.records,
            features: Features::default(),
        };
        let padded = bytes.len().next_multiple_of(BLOCK_BYTES as usize);
        // The index ends where the footer begins, so the padding comes first.
        let padding = padded - bytes.len();
        let mut block = [0; FOOTER_BYTES];
        footer.encode(&mut block);
        bytes.splice(0..0, std::iter::repeat_n(0, padding));
        bytes.extend_from_slice(&block);
        let position = settings.segment_bytes - bytes.len() as u64;
        (position, bytes, topics)
    }
}

/// Reads the footer of a sealed segment; `None` when there is none of this life.
pub(in super::super) async fn read_footer<D: Disk>(
    disk: &D,
    file: &D::File,
    life: Life,
    segment_bytes: u64,
) -> io::Result<Option<Footer>> {
    let at = segment_bytes - FOOTER_BYTES as u64;
    let block = read_whole(disk, file, at, FOOTER_BYTES).await?;
    let footer = Footer::decode(block.as_ref()).ok();
    let right = |footer: &Footer| footer.life == life || planted::is(Planted::BelieveAnOldFooter);
    Ok(footer.filter(|footer| right(footer) && footer.index_bytes <= at))
}

/// Reads the footer and the index of a sealed segment; `None` when there is none of this life.
pub(super) async fn read_index<D: Disk>(
    disk: &D,
    file: &D::File,
    life: Life,
    segment_bytes: u64,
) -> io::Result<Option<(Footer, Vec<IndexTopic>)>> {
    let at = segment_bytes - FOOTER_BYTES as u64;
    let Some(footer) = read_footer(disk, file, life, segment_bytes).await? else {
        return Ok(None);
    };
    let start = (at - footer.index_bytes) / BLOCK_BYTES * BLOCK_BYTES;
    let bytes = read_whole(disk, file, start, (at - start) as usize).await?;
    let skip = (at - footer.index_bytes - start) as usize;
    let Some(index) = bytes.as_ref().get(skip..skip + footer.index_bytes as usize) else {
        return Ok(None);
    };
    if checksum::crc64(index) != footer.index_checksum {
        return Ok(None);
    }
    Ok(footer::read_index(index).ok().map(|index| (footer, index)))
}
