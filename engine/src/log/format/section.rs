//! The sections of a frame, but for record batches and origins.
//!
//! ```text
//! batches     count u32, 0 u32, then 48 bytes each, in the order of the payload:
//!             topic u128, base offset u64, newest time ms u64, bytes u32, records u32,
//!             CRC-32C u32 (the batch's own), 0 u32
//! topics      count u32, then each: topic u128, name bytes u16, name
//! checkpoint  count u32, whole u32 (1: names every topic of the journal), then 40 bytes each:
//!             topic u128, low watermark u64, next offset u64, newest time ms u64
//! membership  epoch u64, volumes required to start u32, copies for an acknowledgement u32 (0: all),
//!             count u32, then each member's volume number u32
//! tombstones  count u32, 0 u32, then 24 bytes each: topic u128, u64: from this sequence on no frame
//!             holds anything of the topic; 0 while such frames may still come
//! ```

use super::batch::Batch;
use super::cursor::{Append, Reader};
use super::frame::{FrameHeader, Section, SectionKind};
use super::{Defect, checksum};
use crate::limit::TOPIC_NAME_BYTES_MAX;
use crate::unit::{Offset, Sequence, TopicId};

pub const BATCH_ROW_BYTES: usize = 48;
pub const CHECKPOINT_ROW_BYTES: usize = 40;
pub const TOMBSTONE_BYTES: usize = 24;

/// One record batch in a frame, as the table tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchRow {
    pub topic: TopicId,
    pub base_offset: Offset,
    pub newest_ms: i64,
    pub bytes: u32,
    pub records: u32,
    pub crc32c: u32,
}

impl BatchRow {
    /// Whether these bytes are the batch that the row tells of.
    pub fn check(&self, bytes: &[u8]) -> Result<(), Defect> {
        let batch = Batch::check(bytes)?;
        let header = batch.header();
        if batch.crc32c() != self.crc32c
            || header.base_offset != self.base_offset
            || header.records != self.records
            || header.max_timestamp_ms != self.newest_ms
        {
            return Err(Defect::Misplaced("record batch"));
        }
        Ok(())
    }

    /// The offset after its last record.
    pub fn next(&self) -> Offset {
        Offset(self.base_offset.0.saturating_add(u64::from(self.records)))
    }
}

/// What is known of one topic of a journal at one point of its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointRow {
    pub topic: TopicId,
    /// Records before this offset are gone.
    pub low: Offset,
    pub next: Offset,
    pub newest_ms: i64,
}

/// Who keeps copies of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    pub epoch: u64,
    pub volumes_min: u32,
    /// Copies that an acknowledgement waits for; 0 for all members in service.
    pub durable_volumes: u32,
    pub members: Vec<u32>,
}

/// Appends a whole table of batches.
pub fn write_batches(rows: &[BatchRow], out: &mut Vec<u8>) {
    out.put_u32(rows.len() as u32);
    out.put_u32(0);
    for row in rows {
        out.put_u128(row.topic.0);
        out.put_u64(row.base_offset.0);
        out.put_u64(row.newest_ms as u64);
        out.put_u32(row.bytes);
        out.put_u32(row.records);
        out.put_u32(row.crc32c);
        out.put_u32(0);
    }
}

/// Reads a section of `count` equal rows that ends where the rows end.
fn rows<T>(
    from: &mut Reader<'_>,
    count: u32,
    row_bytes: usize,
    mut read: impl FnMut(&mut Reader<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    if from.rest().len() != (count as usize).checked_mul(row_bytes)? {
        return None;
    }
    (0..count).map(|_| read(from)).collect()
}

pub fn read_batches(contents: &[u8]) -> Result<Vec<BatchRow>, Defect> {
    let mut from = Reader::new(contents);
    let read = |from: &mut Reader<'_>| {
        let row = BatchRow {
            topic: TopicId(from.u128()?),
            base_offset: Offset(from.u64()?),
            newest_ms: from.u64()? as i64,
            bytes: from.u32()?,
            records: from.u32()?,
            crc32c: from.u32()?,
        };
        from.u32()?;
        Some(row)
    };
    let table = from
        .u32()
        .zip(from.u32())
        .and_then(|(count, _)| rows(&mut from, count, BATCH_ROW_BYTES, read));
    table.ok_or(Defect::Malformed("table of batches"))
}

/// Appends one definition; the count before the first is the caller's to patch.
pub fn write_topic(id: TopicId, name: &str, out: &mut Vec<u8>) {
    assert!(name.len() <= TOPIC_NAME_BYTES_MAX);
    out.put_u128(id.0);
    out.put_u16(name.len() as u16);
    out.extend_from_slice(name.as_bytes());
}

/// What [`write_topic`] appends.
pub fn topic_bytes(name: &str) -> usize {
    18 + name.len()
}

pub fn read_topics(contents: &[u8]) -> Result<Vec<(TopicId, &str)>, Defect> {
    let mut from = Reader::new(contents);
    let mut read = || {
        let count = from.u32()?;
        let mut topics = Vec::new();
        for _ in 0..count {
            let id = TopicId(from.u128()?);
            let bytes = usize::from(from.u16()?);
            if TOPIC_NAME_BYTES_MAX < bytes {
                return None;
            }
            topics.push((id, from.text(bytes)?));
        }
        from.rest().is_empty().then_some(topics)
    };
    read().ok_or(Defect::Malformed("section of topics"))
}

pub fn write_checkpoint(whole: bool, rows: &[CheckpointRow], out: &mut Vec<u8>) {
    out.put_u32(rows.len() as u32);
    out.put_u32(u32::from(whole));
    for row in rows {
        out.put_u128(row.topic.0);
        out.put_u64(row.low.0);
        out.put_u64(row.next.0);
        out.put_u64(row.newest_ms as u64);
    }
}

/// The rows, and whether they name every topic of the journal.
pub fn read_checkpoint(contents: &[u8]) -> Result<(bool, Vec<CheckpointRow>), Defect> {
    let mut from = Reader::new(contents);
    let read = |from: &mut Reader<'_>| {
        let (topic, low) = (TopicId(from.u128()?), Offset(from.u64()?));
        let (next, newest_ms) = (Offset(from.u64()?), from.u64()? as i64);
        (low <= next).then_some(CheckpointRow {
            topic,
            low,
            next,
            newest_ms,
        })
    };
    let checkpoint = from.u32().zip(from.u32()).and_then(|(count, whole)| {
        Some((
            whole == 1,
            rows(&mut from, count, CHECKPOINT_ROW_BYTES, read)?,
        ))
    });
    checkpoint.ok_or(Defect::Malformed("checkpoint"))
}

pub fn write_membership(membership: &Membership, out: &mut Vec<u8>) {
    out.put_u64(membership.epoch);
    out.put_u32(membership.volumes_min);
    out.put_u32(membership.durable_volumes);
    out.put_u32(membership.members.len() as u32);
    for member in &membership.members {
        out.put_u32(*member);
    }
}

fn read_u32(from: &mut Reader<'_>) -> Option<u32> {
    from.u32()
}

pub fn read_membership(contents: &[u8]) -> Result<Membership, Defect> {
    let mut from = Reader::new(contents);
    let mut read = || {
        let (epoch, volumes_min, durable_volumes) = (from.u64()?, from.u32()?, from.u32()?);
        let count = from.u32()?;
        let members = rows(&mut from, count, 4, read_u32)?;
        Some(Membership {
            epoch,
            volumes_min,
            durable_volumes,
            members,
        })
    };
    read().ok_or(Defect::Malformed("membership"))
}

/// A topic that was deleted. Its id is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tombstone {
    pub topic: TopicId,
    /// From this frame on none holds anything of it; `None` while such frames may still come.
    pub clean_from: Option<Sequence>,
}

pub fn write_tombstones(rows: &[Tombstone], out: &mut Vec<u8>) {
    out.put_u32(rows.len() as u32);
    out.put_u32(0);
    for row in rows {
        out.put_u128(row.topic.0);
        out.put_u64(row.clean_from.map_or(0, Sequence::get));
    }
}

pub fn read_tombstones(contents: &[u8]) -> Result<Vec<Tombstone>, Defect> {
    let mut from = Reader::new(contents);
    let read = |from: &mut Reader<'_>| {
        Some(Tombstone {
            topic: TopicId(from.u128()?),
            clean_from: Sequence::new(from.u64()?),
        })
    };
    let head = from.u32().zip(from.u32());
    let table = head.and_then(|(count, _)| rows(&mut from, count, TOMBSTONE_BYTES, read));
    table.ok_or(Defect::Malformed("section of tombstones"))
}

/// A whole frame in memory whose every byte that means something was checked.
#[derive(Clone, Debug)]
pub struct Frame<'a> {
    pub header: FrameHeader,
    /// What the next frame's `chain` must be.
    pub chain_value: u64,
    bytes: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Checks the frame at the start of `bytes`: header, directory, each section, each record batch.
    /// `bytes` may go on after it.
    pub fn check(bytes: &'a [u8]) -> Result<Self, Defect> {
        let frame = Self::check_but_payload(bytes)?;
        frame.check_batches()?;
        Ok(frame)
    }

    /// As [`Frame::check`], but for the record batches: the table says what they should be.
    pub fn check_but_payload(bytes: &'a [u8]) -> Result<Self, Defect> {
        let (header, chain_value) = FrameHeader::decode(bytes)?;
        let bytes = bytes
            .get(..header.padded_bytes())
            .ok_or(Defect::Absent("whole frame"))?;
        let frame = Self {
            header,
            chain_value,
            bytes,
        };
        for section in &frame.header.sections {
            frame.check_section(section)?;
        }
        Ok(frame)
    }

    fn check_section(&self, section: &Section) -> Result<(), Defect> {
        if section.kind == SectionKind::PAYLOAD {
            return Ok(());
        }
        let contents = self.section(section.kind).unwrap_or_default();
        if contents.len() == section.bytes as usize && checksum::crc64(contents) == section.checksum
        {
            Ok(())
        } else {
            Err(Defect::Checksum("section"))
        }
    }

    fn check_batches(&self) -> Result<(), Defect> {
        let mut end = 0;
        for (row, bytes) in self.batches()? {
            end += bytes.len();
            row.check(bytes)?;
        }
        let payload = self.section(SectionKind::PAYLOAD).unwrap_or_default();
        if end == payload.len() {
            Ok(())
        } else {
            Err(Defect::Malformed("payload"))
        }
    }

    pub fn section(&self, kind: SectionKind) -> Option<&'a [u8]> {
        let (_, place) = self.header.place(kind)?;
        self.bytes.get(place)
    }

    /// The rows of the table, each with the bytes of its batch.
    pub fn batches(&self) -> Result<Vec<(BatchRow, &'a [u8])>, Defect> {
        let Some(table) = self.section(SectionKind::BATCHES) else {
            return Ok(Vec::new());
        };
        let mut payload = self.section(SectionKind::PAYLOAD).unwrap_or_default();
        let mut batches = Vec::new();
        for row in read_batches(table)? {
            let split = payload.split_at_checked(row.bytes as usize);
            let (bytes, rest) = split.ok_or(Defect::Malformed("table of batches"))?;
            payload = rest;
            batches.push((row, bytes));
        }
        Ok(batches)
    }

    /// Bytes from the start of the frame to the first record batch.
    pub fn payload_at(&self) -> usize {
        self.header
            .place(SectionKind::PAYLOAD)
            .map_or(0, |(_, place)| place.start)
    }

    pub fn topics(&self) -> Result<Vec<(TopicId, &'a str)>, Defect> {
        self.section(SectionKind::TOPICS)
            .map_or(Ok(Vec::new()), read_topics)
    }

    pub fn checkpoint(&self) -> Result<(bool, Vec<CheckpointRow>), Defect> {
        self.section(SectionKind::CHECKPOINT)
            .map_or(Ok((false, Vec::new())), read_checkpoint)
    }

    pub fn tombstones(&self) -> Result<Vec<Tombstone>, Defect> {
        self.section(SectionKind::TOMBSTONES)
            .map_or(Ok(Vec::new()), read_tombstones)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_section_comes_out_as_it_went_in() {
        let row = BatchRow {
            topic: TopicId(9),
            base_offset: Offset(1),
            newest_ms: 2,
            bytes: 3,
            records: 4,
            crc32c: 5,
        };
        let mut out = Vec::new();
        write_batches(&[row, row], &mut out);
        assert_eq!(out.len(), 8 + 2 * BATCH_ROW_BYTES);
        assert_eq!(read_batches(&out), Ok(vec![row, row]));

        let mut out = 2u32.to_le_bytes().to_vec();
        write_topic(TopicId(1), "click-log", &mut out);
        write_topic(TopicId(2), "", &mut out);
        assert_eq!(out.len(), 4 + topic_bytes("click-log") + topic_bytes(""));
        assert_eq!(
            read_topics(&out),
            Ok(vec![(TopicId(1), "click-log"), (TopicId(2), "")])
        );

        let row = CheckpointRow {
            topic: TopicId(1),
            low: Offset(2),
            next: Offset(3),
            newest_ms: 4,
        };
        let mut out = Vec::new();
        write_checkpoint(true, &[row], &mut out);
        assert_eq!(out.len(), 8 + CHECKPOINT_ROW_BYTES);
        assert_eq!(read_checkpoint(&out), Ok((true, vec![row])));

        let membership = Membership {
            epoch: 1,
            volumes_min: 2,
            durable_volumes: 0,
            members: vec![0, 1, 2],
        };
        let mut out = Vec::new();
        write_membership(&membership, &mut out);
        assert_eq!(read_membership(&out), Ok(membership));
    }

    /// One tombstone of each kind, written out by hand from the drawing.
    #[test]
    fn tombstones_are_what_the_drawing_says() {
        let rows = [
            Tombstone {
                topic: TopicId(0x0102 << 112 | 7),
                clean_from: Sequence::new(0x0a0b),
            },
            Tombstone {
                topic: TopicId(3),
                clean_from: None,
            },
        ];
        let mut out = Vec::new();
        write_tombstones(&rows, &mut out);
        let mut drawn = vec![2, 0, 0, 0, 0, 0, 0, 0];
        drawn.extend([7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 1]);
        drawn.extend([0x0b, 0x0a, 0, 0, 0, 0, 0, 0]);
        drawn.extend([3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        drawn.extend([0; 8]);
        assert_eq!(out, drawn);
        assert_eq!(read_tombstones(&out), Ok(rows.to_vec()));
        for end in 0..out.len() {
            assert!(read_tombstones(&out[..end]).is_err());
        }
    }

    #[test]
    fn any_bytes_are_only_a_claim() {
        bolero::check!()
            .with_iterations(5_000)
            .for_each(|bytes: &[u8]| {
                let _ = read_batches(bytes);
                let _ = read_topics(bytes);
                let _ = read_checkpoint(bytes);
                let _ = read_membership(bytes);
                let _ = read_tombstones(bytes);
                let _ = Frame::check(bytes);
            });
    }
}
