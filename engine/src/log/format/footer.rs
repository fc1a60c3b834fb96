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
//!         newest time ms u64, places u32, check u32; then the places of each topic in that order:
//!         base offset u64, position u64, newest time ms u64, bytes u32, records u32
//! check   CRC-32C of the 44 bytes before it and the CRC-32C of the topic's places: who wants one topic
//!         of many need not read the whole index
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
/// Where in a topic's head its check stands.
const CHECK_AT: usize = TOPIC_BYTES - 4;

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
    let heads = out.len();
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
    for (number, topic) in topics.iter().enumerate() {
        let own = out.len();
        for place in &topic.places {
            out.put_u64(place.base_offset.0);
            out.put_u64(place.position);
            out.put_u64(place.newest_ms as u64);
            out.put_u32(place.bytes);
            out.put_u32(place.records);
        }
        let (before, places) = out.split_at_mut(own);
        let head = &mut before[heads + number * TOPIC_BYTES..][..TOPIC_BYTES];
        let check = check_of(head, places);
        head[CHECK_AT..].copy_from_slice(&check.to_le_bytes());
    }
}

/// What stands in a topic's head to tell that head and places belong together.
fn check_of(head: &[u8], places: &[u8]) -> u32 {
    let mut covered = [0; TOPIC_BYTES];
    covered[..CHECK_AT].copy_from_slice(&head[..CHECK_AT]);
    covered[CHECK_AT..].copy_from_slice(&checksum::crc32c(places).to_le_bytes());
    checksum::crc32c(&covered)
}

/// Where in the index one topic's places lie, as a stretch of its heads says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Bytes from the start of the index.
    pub places: std::ops::Range<u64>,
    head: [u8; TOPIC_BYTES],
}

impl Claim {
    /// Bytes that count and heads take at the start of an index that begins with `bytes`.
    pub fn heads_bytes(bytes: &[u8]) -> Option<u64> {
        let topics = Reader::new(bytes).u32()?;
        Some(8 + u64::from(topics) * TOPIC_BYTES as u64)
    }

    /// Looks for a topic in an index of which `bytes` holds count and heads.
    pub fn find(bytes: &[u8], topic: TopicId) -> Option<Self> {
        let heads_end = Self::heads_bytes(bytes)?;
        let heads = bytes.get(8..usize::try_from(heads_end).ok()?)?;
        let mut before = heads_end;
        for bytes in heads.chunks_exact(TOPIC_BYTES) {
            let head = read_head(&mut Reader::new(bytes))?;
            let end = before + (head.places * PLACE_BYTES) as u64;
            if head.topic == topic {
                let head = bytes.try_into().ok()?;
                let places = before..end;
                return Some(Self { places, head });
            }
            before = end;
        }
        None
    }

    /// The places in `bytes`, which lie where this says; `None` when they are not those of the topic.
    pub fn read(&self, bytes: &[u8]) -> Option<Vec<Place>> {
        let check = u32::from_le_bytes(*self.head[CHECK_AT..].first_chunk()?);
        if check != check_of(&self.head, bytes) {
            return None;
        }
        let mut own = Reader::new(bytes);
        let count = bytes.len() / PLACE_BYTES;
        (0..count).map(|_| read_place(&mut own)).collect()
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

/// An index as it lies on the disk, whose shape is right. A topic's places are found without reading the others'.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    bytes: Box<[u8]>,
    topics: usize,
}

impl Index {
    /// Checks that the topics' places fill `bytes` to its end. The checksum is the caller's to compare.
    pub fn check(bytes: Vec<u8>) -> Result<Self, Defect> {
        let topics = Self::shape(&bytes).ok_or(Defect::Malformed("segment index"))?;
        let bytes = bytes.into();
        Ok(Self { bytes, topics })
    }

    fn shape(bytes: &[u8]) -> Option<usize> {
        let mut from = Reader::new(bytes);
        let topics = from.u32()? as usize;
        from.u32()?;
        let mut heads = Reader::new(from.bytes(topics.checked_mul(TOPIC_BYTES)?)?);
        let mut places = 0usize;
        while let Some(head) = read_head(&mut heads) {
            places = places.checked_add(head.places)?;
        }
        (from.rest().len() == places.checked_mul(PLACE_BYTES)?).then_some(topics)
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.topics == 0
    }

    fn heads(&self) -> impl Iterator<Item = Head> + '_ {
        let mut heads = Reader::new(&self.bytes[8..][..self.topics * TOPIC_BYTES]);
        std::iter::from_fn(move || read_head(&mut heads))
    }

    /// Each topic with the offset after its last record here.
    pub fn ends(&self) -> impl Iterator<Item = (TopicId, Offset)> + '_ {
        self.heads().map(|head| (head.topic, head.next))
    }

    /// All of it; none when it cannot be.
    pub fn topics(&self) -> Vec<IndexTopic> {
        parse_index(&self.bytes).unwrap_or_default()
    }

    /// The places of one topic, by offset; none when it has none, or they cannot be.
    pub fn places(&self, topic: TopicId) -> Vec<Place> {
        let mut before = 0;
        for head in self.heads() {
            if head.topic == topic {
                let at = 8 + self.topics * TOPIC_BYTES + before * PLACE_BYTES;
                let mut own = Reader::new(&self.bytes[at..]);
                let places = (0..head.places).map(|_| read_place(&mut own));
                return places.collect::<Option<_>>().unwrap_or_default();
            }
            before += head.places;
        }
        Vec::new()
    }
}

struct Head {
    topic: TopicId,
    next: Offset,
    places: usize,
}

fn read_head(from: &mut Reader<'_>) -> Option<Head> {
    let topic = TopicId(from.u128()?);
    from.u64()?;
    let next = Offset(from.u64()?);
    from.u64()?;
    let places = from.u32()? as usize;
    from.u32()?;
    Some(Head {
        topic,
        next,
        places,
    })
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
        let index = Index::check(out.clone()).unwrap();
        let ends: Vec<_> = index.ends().collect();
        assert_eq!(ends, [(TopicId(1), Offset(4)), (TopicId(2), Offset(9))]);
        for topic in &topics {
            assert_eq!(index.places(topic.topic), topic.places);
        }
        assert_eq!(index.places(TopicId(3)), []);
        for topic in &topics {
            let mut heads = out.clone();
            let claim = Claim::find(&heads, topic.topic).unwrap();
            let (start, end) = (claim.places.start as usize, claim.places.end as usize);
            assert_eq!(claim.read(&out[start..end]), Some(topic.places.clone()));
            for bit in (8 + 3) * 8..(start + 40).min(out.len()) * 8 {
                heads[bit / 8] ^= 1 << (bit % 8);
                let claim = Claim::find(&heads, topic.topic);
                let stretch =
                    |claim: &Claim| claim.places.start as usize..claim.places.end as usize;
                let places = claim.and_then(|claim| claim.read(heads.get(stretch(&claim))?));
                // A bit of another topic's head or place may be no matter to this one.
                assert!(places.is_none_or(|places| places == topic.places));
                heads[bit / 8] ^= 1 << (bit % 8);
            }
        }
        assert_eq!(Claim::find(&out, TopicId(3)), None);
        assert_eq!(read_index(&out), Ok(topics));
        out.push(0);
        assert!(Index::check(out).is_err());
    }

    #[test]
    fn any_bytes_are_only_a_claim() {
        bolero::check!()
            .with_iterations(5_000)
            .for_each(|bytes: &[u8]| {
                if let Some(claim) = Claim::find(bytes, TopicId(0)) {
                    let _ = claim.read(bytes);
                }
                let read = read_index(bytes);
                if let Ok(index) = Index::check(bytes.to_vec()) {
                    let ends: Vec<_> = index.ends().collect();
                    let places = ends.iter().map(|(topic, _)| index.places(*topic).len());
                    assert!(places.sum::<usize>() <= bytes.len() * ends.len());
                } else {
                    assert!(read.is_err());
                }
                let _ = Footer::decode(bytes);
            });
    }
}
