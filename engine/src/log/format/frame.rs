//! The header of a frame, with its directory of sections. Drawn in [`super`].

use super::cursor::{Reader, Writer};
use super::{Defect, Features, StoreId, VERSION, checksum};
use crate::limit::{BLOCK_BYTES, FRAME_BYTES_MAX};
use crate::unit::{Epoch, JournalId, Life, Micros, Sequence};

const MAGIC: &[u8; 8] = b"RTLFRAME";
const WHAT: &str = "frame header";
pub const HEADER_BYTES: usize = 512;
const DIRECTORY_AT: usize = 128;
const ENTRY_BYTES: usize = 16;
/// Sections that one frame may have.
pub const SECTIONS_MAX: usize = (HEADER_BYTES - DIRECTORY_AT) / ENTRY_BYTES;

/// What a section holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SectionKind(pub u16);

impl SectionKind {
    /// Record batches end to end. Its checksum in the directory is 0: `BATCHES` covers it.
    pub const PAYLOAD: Self = Self(1);
    /// The table of the record batches in `PAYLOAD`.
    pub const BATCHES: Self = Self(2);
    pub const ORIGINS: Self = Self(3);
    pub const TOPICS: Self = Self(4);
    pub const CHECKPOINT: Self = Self(5);
    pub const MEMBERSHIP: Self = Self(6);
    /// How far a forwarder has come: drawn in [`super::forwarded`].
    pub const CURSOR: Self = Self(7);
    /// What was lost and is recorded for ever: drawn in [`super::loss`].
    pub const LOSS: Self = Self(8);
    /// Set aside for what may come.
    pub const LEDGER: Self = Self(9);
    pub const TRANSACTION: Self = Self(10);
    pub const DEDUPE: Self = Self(11);
    /// Topics that were deleted: nothing of them is shown any more.
    pub const TOMBSTONES: Self = Self(12);

    const KNOWN_MAX: u16 = 12;

    pub fn is_known(self) -> bool {
        (1..=Self::KNOWN_MAX).contains(&self.0)
    }
}

/// One entry of the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    pub kind: SectionKind,
    /// A program that does not know the kind may go on without it.
    pub may_skip: bool,
    pub bytes: u32,
    pub checksum: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    pub store: StoreId,
    pub journal: JournalId,
    pub epoch: Epoch,
    pub life: Life,
    /// Bytes from the start of the segment to this header.
    pub position: u64,
    pub sequence: Sequence,
    pub durable_upto: Option<Sequence>,
    /// The chain value of the frame before.
    pub chain: u64,
    pub time: Micros,
    pub features: Features,
    pub sections: Vec<Section>,
}

/// Where sections start within their frame.
pub fn section_align(bytes: usize) -> usize {
    bytes.next_multiple_of(8)
}

impl FrameHeader {
    /// Length of header and sections, without the padding.
    pub fn bytes(&self) -> usize {
        self.sections.iter().fold(HEADER_BYTES, |at, section| {
            section_align(at + section.bytes as usize)
        })
    }

    /// What the frame takes of its segment.
    pub fn padded_bytes(&self) -> usize {
        self.bytes().next_multiple_of(BLOCK_BYTES as usize)
    }

    /// Where in the frame the contents of the section of `kind` lie; `None` when it has none.
    pub fn place(&self, kind: SectionKind) -> Option<(Section, std::ops::Range<usize>)> {
        let mut at = HEADER_BYTES;
        for section in &self.sections {
            let end = at + section.bytes as usize;
            if section.kind == kind {
                return Some((*section, at..end));
            }
            at = section_align(end);
        }
        None
    }

    /// Writes the header into the first 512 bytes of `frame` and returns its chain value.
    pub fn encode(&self, frame: &mut [u8]) -> u64 {
        assert!(self.sections.len() <= SECTIONS_MAX);
        assert!(self.padded_bytes() <= FRAME_BYTES_MAX);
        let head = &mut frame[..HEADER_BYTES];
        let mut out = Writer::new(head);
        out.bytes(MAGIC);
        out.u64(0);
        out.u128(self.store.0);
        out.u32(self.journal.0);
        out.u16(VERSION);
        out.u16(self.sections.len() as u16);
        out.u64(self.epoch.0);
        out.u64(self.life.0);
        out.u64(self.position);
        out.u64(self.sequence.get());
        out.u64(self.durable_upto.map_or(0, Sequence::get));
        out.u64(self.chain);
        out.u64(self.time.0);
        out.u32(self.bytes() as u32);
        out.u32(0);
        self.features.write(&mut out);
        assert_eq!(out.position(), DIRECTORY_AT);
        for section in &self.sections {
            out.u16(section.kind.0);
            out.u16(u16::from(section.may_skip));
            out.u32(section.bytes);
            out.u64(section.checksum);
        }
        out.zero_until(HEADER_BYTES);
        let chain_value = checksum::crc64(&head[16..]);
        head[8..16].copy_from_slice(&chain_value.to_le_bytes());
        chain_value
    }

    /// Reads the header at the start of `frame` and returns it with its chain value.
    pub fn decode(frame: &[u8]) -> Result<(Self, u64), Defect> {
        let head = frame.get(..HEADER_BYTES).ok_or(Defect::Absent(WHAT))?;
        let mut from = Reader::new(head);
        if from.bytes(8) != Some(MAGIC) {
            return Err(Defect::Absent(WHAT));
        }
        let chain_value = checksum::crc64(&head[16..]);
        if from.u64() != Some(chain_value) {
            return Err(Defect::Checksum(WHAT));
        }
        let header = Self::fields(&mut from).ok_or(Defect::Malformed(WHAT))??;
        header.features.check()?;
        match header
            .sections
            .iter()
            .find(|section| !section.kind.is_known() && !section.may_skip)
        {
            Some(section) => Err(Defect::UnknownFeature {
                bits: u64::from(section.kind.0),
            }),
            None => Ok((header, chain_value)),
        }
    }

    fn fields(from: &mut Reader<'_>) -> Option<Result<Self, Defect>> {
        let store = StoreId(from.u128()?);
        let journal = JournalId(from.u32()?);
        let version = from.u16()?;
        if version != VERSION {
            return Some(Err(Defect::Version(version)));
        }
        let sections = usize::from(from.u16()?);
        let epoch = Epoch(from.u64()?);
        let life = Life(from.u64()?);
        let position = from.u64()?;
        let sequence = Sequence::new(from.u64()?)?;
        let durable_upto = Sequence::new(from.u64()?);
        let chain = from.u64()?;
        let time = Micros(from.u64()?);
        let bytes = from.u32()? as usize;
        from.u32()?;
        let features = Features::read(from)?;
        let sections = read_directory(from, sections)?;
        let header = Self {
            store,
            journal,
            epoch,
            life,
            position,
            sequence,
            durable_upto,
            chain,
            time,
            features,
            sections,
        };
        let sound = durable_upto < Some(sequence)
            && position.is_multiple_of(BLOCK_BYTES)
            && header.bytes() == bytes
            && header.padded_bytes() <= FRAME_BYTES_MAX;
        sound.then_some(Ok(header))
    }
}

fn read_directory(from: &mut Reader<'_>, count: usize) -> Option<Vec<Section>> {
    if SECTIONS_MAX < count {
        return None;
    }
    let mut sections = Vec::with_capacity(count);
    for _ in 0..count {
        let kind = SectionKind(from.u16()?);
        let may_skip = from.u16()? & 1 == 1;
        let bytes = from.u32()?;
        if FRAME_BYTES_MAX < bytes as usize {
            return None;
        }
        sections.push(Section {
            kind,
            may_skip,
            bytes,
            checksum: from.u64()?,
        });
    }
    Some(sections)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> FrameHeader {
        let section = |kind, bytes| Section {
            kind,
            may_skip: false,
            bytes,
            checksum: 77,
        };
        FrameHeader {
            store: StoreId(1 << 90),
            journal: JournalId(2),
            epoch: Epoch(3),
            life: Life(4),
            position: 3 * BLOCK_BYTES,
            sequence: Sequence::new(12).unwrap(),
            durable_upto: Sequence::new(11),
            chain: 0xdead_beef,
            time: Micros(1_700_000_000_000_000),
            features: Features::default(),
            sections: vec![
                section(SectionKind::PAYLOAD, 1001),
                section(SectionKind::BATCHES, 48),
            ],
        }
    }

    #[test]
    fn what_goes_in_comes_out() {
        let mut bytes = [0xcc; HEADER_BYTES];
        let chain = example().encode(&mut bytes);
        assert_eq!(FrameHeader::decode(&bytes), Ok((example(), chain)));
    }

    #[test]
    fn fields_lie_where_the_drawing_says() {
        let mut bytes = [0; HEADER_BYTES];
        let chain = example().encode(&mut bytes);
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        assert_eq!(&bytes[..8], b"RTLFRAME");
        assert_eq!(u64_at(8), chain);
        assert_eq!(u64_at(40), 3);
        assert_eq!(u64_at(48), 4);
        assert_eq!(u64_at(56), 3 * BLOCK_BYTES);
        assert_eq!(u64_at(64), 12);
        assert_eq!(u64_at(72), 11);
        assert_eq!(u64_at(80), 0xdead_beef);
        assert_eq!(u64_at(128), 1 | 1001 << 32);
        assert_eq!(u64_at(136), 77);
    }

    #[test]
    fn sections_start_at_multiples_of_eight() {
        let (_, payload) = example().place(SectionKind::PAYLOAD).unwrap();
        let (_, batches) = example().place(SectionKind::BATCHES).unwrap();
        assert_eq!(payload, 512..1513);
        assert_eq!(batches, 1520..1568);
        assert_eq!(example().padded_bytes(), 4096);
        assert_eq!(example().place(SectionKind::TOPICS), None);
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let mut bytes = [0; HEADER_BYTES];
        example().encode(&mut bytes);
        for bit in 0..HEADER_BYTES * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(FrameHeader::decode(&bytes).is_err(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn an_unknown_section_stops_unless_it_may_be_skipped() {
        let mut header = example();
        header.sections[1].kind = SectionKind(900);
        let mut bytes = [0; HEADER_BYTES];
        header.encode(&mut bytes);
        assert_eq!(
            FrameHeader::decode(&bytes),
            Err(Defect::UnknownFeature { bits: 900 })
        );
        header.sections[1].may_skip = true;
        header.encode(&mut bytes);
        assert!(FrameHeader::decode(&bytes).is_ok());
    }

    #[test]
    fn any_bytes_are_only_a_claim() {
        bolero::check!()
            .with_iterations(5_000)
            .for_each(|claim: &[u8]| {
                let mut bytes = [0; HEADER_BYTES];
                bytes[..8].copy_from_slice(MAGIC);
                let count = claim.len().min(HEADER_BYTES - 16);
                bytes[16..16 + count].copy_from_slice(&claim[..count]);
                let checksum = checksum::crc64(&bytes[16..]);
                bytes[8..16].copy_from_slice(&checksum.to_le_bytes());
                if let Ok((header, _)) = FrameHeader::decode(&bytes) {
                    assert!(header.padded_bytes() <= FRAME_BYTES_MAX);
                }
            });
    }
}
