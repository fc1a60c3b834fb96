//! What a sealed segment says of itself: its end, and the index from topics to places.
//!
//! The footer is the last block of the file; the index ends where the footer begins.
//!
//! | footer | bytes | |
//! |---|---|---|
//! | 0  | 8  | magic `RTLFOOTR` |
//! | 8  | 8  | CRC-64 of bytes 16..4096 |
//! | 16 | 16 | store |
//! | 32 | 4  | journal |
//! | 36 | 2  | version |
//! | 38 | 2  | zero |
//! | 40 | 8  | life: a footer of another life means nothing |
//! | 48 | 8  | last sequence |
//! | 56 | 8  | chain-out: the chain value of the last frame |
//! | 64 | 8  | end: position after the last frame |
//! | 72 | 8  | index bytes |
//! | 80 | 8  | CRC-64 of the index |
//! | 88 | 8  | records in the segment |
//! | 96 | 24 | feature bits |
//!
//! ```text
//! index   topics u32, 0 u32, then each: topic u128, first offset u64, next offset u64,
//!         newest time ms u64, places u32, 0 u32; then the places of each topic in that order:
//!         base offset u64, position u64, newest time ms u64, bytes u32, records u32
//! ```

use super::cursor::{Append, Reader, Writer};
use super::{Defect, Features, StoreId, VERSION, checksum};
use crate::limit::BLOCK_BYTES;
use crate::unit::{JournalId, Life, Offset, Sequence, TopicId};

const MAGIC: &[u8; 8] = b"RTLFOOTR";
const WHAT: &str = "segment footer";
pub const FOOTER_BYTES: usize = BLOCK_BYTES as usize;
pub const TOPIC_BYTES: usize = 48;
pub const PLACE_BYTES: usize = 32;

/// Where one record batch lies in its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub base_offset: Offset,
    /// Bytes from the start of the segment to the batch.
    pub position: u64,
    pub newest_ms: i64,
    pub bytes: u32,
    pub records: u32,
}

impl Place {
    /// The offset after the batch's last record.
    pub fn next(&self) -> Offset {
        Offset(self.base_offset.0 + u64::from(self.records))
    }
}

/// One topic's places in a segment, by offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexTopic {
    pub topic: TopicId,
    pub places: Vec<Place>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footer {
    pub store: StoreId,
    pub journal: JournalId,
    pub life: Life,
    pub last: Sequence,
    pub chain_out: u64,
    pub end: u64,
    pub index_bytes: u64,
    pub index_checksum: u64,
    pub records: u64,
    pub features: Features,
}

impl Footer {
    pub fn encode(&self, block: &mut [u8]) {
        assert_eq!(block.len(), FOOTER_BYTES);
        let mut out = Writer::new(block);
        out.bytes(MAGIC);
        out.u64(0);
        out.u128(self.store.0);
        out.u32(self.journal.0);
        out.u16(VERSION);
        out.u16(0);
        out.u64(self.life.0);
        out.u64(self.last.get());
        out.u64(self.chain_out);
        out.u64(self.end);
        out.u64(self.index_bytes);
        out.u64(self.index_checksum);
        out.u64(self.records);
        self.features.write(&mut out);
        out.zero_until(FOOTER_BYTES);
        let checksum = checksum::crc64(&block[16..]);
        block[8..16].copy_from_slice(&checksum.to_le_bytes());
    }

    pub fn decode(block: &[u8]) -> Result<Self, Defect> {
        let block = block.get(..FOOTER_BYTES).ok_or(Defect::Absent(WHAT))?;
        let mut from = Reader::new(block);
        if from.bytes(8) != Some(MAGIC) {
            return Err(Defect::Absent(WHAT));
        }
        if from.u64() != Some(checksum::crc64(&block[16..])) {
            return Err(Defect::Checksum(WHAT));
        }
        Self::fields(&mut from).ok_or(Defect::Malformed(WHAT))?
    }

    fn fields(from: &mut Reader<'_>) -> Option<Result<Self, Defect>> {
        let (store, journal) = (StoreId(from.u128()?), JournalId(from.u32()?));
        let version = from.u16()?;
        if version != VERSION {
            return Some(Err(Defect::Version(version)));
        }
        from.u16()?;
        let footer = Self {
            store,
            journal,
            life: Life(from.u64()?),
            last: Sequence::new(from.u64()?)?,
            chain_out: from.u64()?,
            end: from.u64()?,
            index_bytes: from.u64()?,
            index_checksum: from.u64()?,
            records: from.u64()?,
            features: Features::read(from)?,
        };
        Some(footer.features.check().map(|()| footer))
    }
}

/// What an index of so many topics and places takes.
pub fn index_bytes(topics: usize, places: usize) -> usize {
    8 + topics * TOPIC_BYTES + places * PLACE_BYTES
}

pub fn write_index(topics: &[IndexTopic], out: &mut Vec<u8>) {
    out.put_u32(topics.len() as u32);
    out.put_u32(0);
    for topic in topics {
        let first = topic
            .places
            .first()
            .map_or(Offset(0), |place| place.base_offset);
        let next = topic.places.last().map_or(Offset(0), Place::next);
        let newest_ms = topic.places.last().map_or(0, |place| place.newest_ms);
        out.put_u128(topic.topic.0);
        out.put_u64(first.0);
        out.put_u64(next.0);
        out.put_u64(newest_ms as u64);
        out.put_u32(topic.places.len() as u32);
        out.put_u32(0);
    }
    for place in topics.iter().flat_map(|topic| &topic.places) {
        out.put_u64(place.base_offset.0);
        out.put_u64(place.position);
        out.put_u64(place.newest_ms as u64);
        out.put_u32(place.bytes);
        out.put_u32(place.records);
    }
}

pub fn read_index(bytes: &[u8]) -> Result<Vec<IndexTopic>, Defect> {
    parse_index(bytes).ok_or(Defect::Malformed("segment index"))
}

fn parse_index(bytes: &[u8]) -> Option<Vec<IndexTopic>> {
    let mut from = Reader::new(bytes);
    let count = from.u32()? as usize;
    from.u32()?;
    let mut heads = Reader::new(from.bytes(count.checked_mul(TOPIC_BYTES)?)?);
    let mut topics = Vec::new();
    for _ in 0..count {
        let topic = TopicId(heads.u128()?);
        heads.bytes(24)?;
        let places = heads.u32()? as usize;
        heads.u32()?;
        let mut own = Reader::new(from.bytes(places.checked_mul(PLACE_BYTES)?)?);
        let places = (0..places)
            .map(|_| read_place(&mut own))
            .collect::<Option<_>>()?;
        topics.push(IndexTopic { topic, places });
    }
    from.rest().is_empty().then_some(topics)
}

fn read_place(from: &mut Reader<'_>) -> Option<Place> {
    let place = Place {
        base_offset: Offset(from.u64()?),
        position: from.u64()?,
        newest_ms: from.u64()? as i64,
        bytes: from.u32()?,
        records: from.u32()?,
    };
    place.base_offset.0.checked_add(u64::from(place.records))?;
    Some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(offset: u64) -> Place {
        Place {
            base_offset: Offset(offset),
            position: 512,
            newest_ms: 3,
            bytes: 70,
            records: 2,
        }
    }

    #[test]
    fn what_goes_in_comes_out() {
        let footer = Footer {
            store: StoreId(1),
            journal: JournalId(2),
            life: Life(3),
            last: Sequence::FIRST,
            chain_out: 4,
            end: 5,
            index_bytes: 6,
            index_checksum: 7,
            records: 8,
            features: Features::default(),
        };
        let mut block = [9; FOOTER_BYTES];
        footer.encode(&mut block);
        assert_eq!(Footer::decode(&block), Ok(footer));
        for bit in (0..FOOTER_BYTES * 8).step_by(43) {
            block[bit / 8] ^= 1 << (bit % 8);
            assert!(Footer::decode(&block).is_err());
            block[bit / 8] ^= 1 << (bit % 8);
        }
        let topics = vec![
            IndexTopic {
                topic: TopicId(1),
                places: vec![place(0), place(2)],
            },
            IndexTopic {
                topic: TopicId(2),
                places: vec![place(7)],
            },
        ];
        let mut out = Vec::new();
        write_index(&topics, &mut out);
        assert_eq!(out.len(), index_bytes(2, 3));
        assert_eq!(read_index(&out), Ok(topics));
    }

    #[test]
    fn any_bytes_are_only_a_claim() {
        bolero::check!()
            .with_iterations(5_000)
            .for_each(|bytes: &[u8]| {
                let _ = read_index(bytes);
                let _ = Footer::decode(bytes);
            });
    }
}
