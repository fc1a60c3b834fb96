//! Kafka record batches, format v2 (big-endian), as Kafka's protocol guide draws them
//! (<https://kafka.apache.org/documentation/#recordbatch>).
//!
//! | batch | bytes | |
//! |---|---|---|
//! | 0  | 8 | base offset |
//! | 8  | 4 | length of what follows |
//! | 12 | 4 | partition leader epoch: 0 |
//! | 16 | 1 | magic: 2 |
//! | 17 | 4 | CRC-32C of what follows |
//! | 21 | 2 | attributes: 0 (no compression, create time) |
//! | 23 | 4 | last offset delta |
//! | 27 | 8 | base timestamp, ms |
//! | 35 | 8 | maximum timestamp, ms |
//! | 43 | 8 | producer id: −1 |
//! | 51 | 2 | producer epoch: −1 |
//! | 53 | 4 | base sequence: −1 |
//! | 57 | 4 | records |
//!
//! A record: length, attributes `0`, timestamp delta, offset delta, key length −1, value length, value,
//! headers 0; all numbers are zigzag varints but the attributes, which are one byte.

use super::Defect;
use super::checksum::crc32c;
use crate::limit::RECORD_BATCH_BYTES_MAX;
use crate::unit::Offset;

const WHAT: &str = "record batch";
pub const HEADER_BYTES: usize = 61;
const CRC_AT: usize = 17;
const COVERED_AT: usize = 21;
/// What one record takes beside its value, at most.
pub const RECORD_OVERHEAD_MAX: usize = 5 + 1 + 10 + 5 + 1 + 5 + 1;

/// The parts of a batch's header that differ from batch to batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    pub base_offset: Offset,
    pub records: u32,
    pub base_timestamp_ms: i64,
    pub max_timestamp_ms: i64,
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn varint_bytes(value: u64) -> usize {
    (70 - (value | 1).leading_zeros() as usize) / 7
}

/// What a record takes in all.
pub fn record_bytes(timestamp_delta_ms: i64, offset_delta: u32, value_bytes: usize) -> usize {
    let body = record_body_bytes(timestamp_delta_ms, offset_delta, value_bytes);
    varint_bytes(zigzag(body as i64)) + body
}

fn record_body_bytes(timestamp_delta_ms: i64, offset_delta: u32, value_bytes: usize) -> usize {
    3 + varint_bytes(zigzag(timestamp_delta_ms))
        + varint_bytes(zigzag(i64::from(offset_delta)))
        + varint_bytes(zigzag(value_bytes as i64))
        + value_bytes
}

fn put_varint(out: &mut [u8], at: &mut usize, mut value: u64) {
    while 0x7f < value {
        out[*at] = value as u8 | 0x80;
        *at += 1;
        value >>= 7;
    }
    out[*at] = value as u8;
    *at += 1;
}

/// Writes one record at the start of `out` and returns its length. Panics when `out` is shorter
/// than [`record_bytes`].
pub fn write_record(
    out: &mut [u8],
    timestamp_delta_ms: i64,
    offset_delta: u32,
    value: &[u8],
) -> usize {
    let body = record_body_bytes(timestamp_delta_ms, offset_delta, value.len());
    let mut at = 0;
    put_varint(out, &mut at, zigzag(body as i64));
    out[at] = 0;
    at += 1;
    put_varint(out, &mut at, zigzag(timestamp_delta_ms));
    put_varint(out, &mut at, zigzag(i64::from(offset_delta)));
    out[at] = 1;
    at += 1;
    put_varint(out, &mut at, zigzag(value.len() as i64));
    out[at..at + value.len()].copy_from_slice(value);
    at += value.len();
    out[at] = 0;
    at + 1
}

/// Completes a batch whose records are written: fills in the header and returns the CRC-32C.
pub fn finish(batch: &mut [u8], header: &BatchHeader) -> u32 {
    assert!(HEADER_BYTES < batch.len());
    assert!(batch.len() <= RECORD_BATCH_BYTES_MAX);
    assert!(0 < header.records);
    let length = batch.len() as u32 - 12;
    batch[0..8].copy_from_slice(&header.base_offset.0.to_be_bytes());
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[12..16].fill(0);
    batch[16] = 2;
    batch[21..23].fill(0);
    batch[23..27].copy_from_slice(&(header.records - 1).to_be_bytes());
    batch[27..35].copy_from_slice(&header.base_timestamp_ms.to_be_bytes());
    batch[35..43].copy_from_slice(&header.max_timestamp_ms.to_be_bytes());
    batch[43..57].fill(0xff);
    batch[57..61].copy_from_slice(&header.records.to_be_bytes());
    let crc = crc32c(&batch[COVERED_AT..]);
    batch[CRC_AT..COVERED_AT].copy_from_slice(&crc.to_be_bytes());
    crc
}

/// How many records the header of the batch that fills `bytes` speaks of; `None` when that is no batch with any. Nothing
/// else of it is checked.
pub fn records_of(bytes: &[u8]) -> Option<u32> {
    let length = u32::from_be_bytes(*bytes.get(8..)?.first_chunk()?);
    let records = u32::from_be_bytes(*bytes.get(57..)?.first_chunk()?);
    let is_whole = bytes.len() as u64 == u64::from(length) + 12 && HEADER_BYTES < bytes.len();
    (is_whole && bytes[16] == 2 && 0 < records).then_some(records)
}

/// One record of a batch that was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordView<'a> {
    pub offset: Offset,
    pub timestamp_ms: i64,
    pub value: &'a [u8],
}

/// A batch whose checksum and shape are right.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    header: BatchHeader,
    crc: u32,
    records: &'a [u8],
}

impl<'a> Batch<'a> {
    /// Checks the batch that fills `bytes`: length, constants, CRC-32C, and every record's shape.
    pub fn check(bytes: &'a [u8]) -> Result<Self, Defect> {
        if bytes.len() < HEADER_BYTES || RECORD_BATCH_BYTES_MAX < bytes.len() || bytes[16] != 2 {
            return Err(Defect::Absent(WHAT));
        }
        let crc = be_u32(bytes, CRC_AT);
        if crc != crc32c(&bytes[COVERED_AT..]) {
            return Err(Defect::Checksum(WHAT));
        }
        let header = BatchHeader {
            base_offset: Offset(be_u64(bytes, 0)),
            records: be_u32(bytes, 57),
            base_timestamp_ms: be_u64(bytes, 27) as i64,
            max_timestamp_ms: be_u64(bytes, 35) as i64,
        };
        let batch = Self {
            header,
            crc,
            records: &bytes[HEADER_BYTES..],
        };
        let shape = be_u32(bytes, 8) as usize == bytes.len() - 12
            && bytes[12..16] == [0; 4]
            && bytes[21..23] == [0; 2]
            && header.records.checked_sub(1) == Some(be_u32(bytes, 23))
            && header
                .base_offset
                .0
                .checked_add(u64::from(header.records))
                .is_some();
        if shape && batch.walks_to_its_end() {
            Ok(batch)
        } else {
            Err(Defect::Malformed(WHAT))
        }
    }

    pub fn header(&self) -> BatchHeader {
        self.header
    }

    pub fn crc32c(&self) -> u32 {
        self.crc
    }

    fn walks_to_its_end(&self) -> bool {
        let mut rest = self.records;
        for index in 0..self.header.records {
            match read_record(&mut rest, &self.header) {
                Some(record) if record.offset.0 == self.header.base_offset.0 + u64::from(index) => {
                }
                _ => return false,
            }
        }
        rest.is_empty()
    }

    /// Its records in order.
    pub fn records(&self) -> impl Iterator<Item = RecordView<'a>> + use<'a> {
        let (mut rest, header) = (self.records, self.header);
        std::iter::from_fn(move || read_record(&mut rest, &header))
    }
}

fn be_u32(bytes: &[u8], at: usize) -> u32 {
    bytes[at..]
        .first_chunk()
        .copied()
        .map_or(0, u32::from_be_bytes)
}

fn be_u64(bytes: &[u8], at: usize) -> u64 {
    bytes[at..]
        .first_chunk()
        .copied()
        .map_or(0, u64::from_be_bytes)
}

fn take_varint(rest: &mut &[u8]) -> Option<i64> {
    let mut value = 0u64;
    for (index, byte) in rest.iter().take(10).enumerate() {
        let part = u64::from(byte & 0x7f);
        if index == 9 && 1 < part {
            return None;
        }
        value |= part << (7 * index);
        if byte & 0x80 == 0 {
            *rest = &rest[index + 1..];
            return Some((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    None
}

/// Reads a record that has no key and no headers, as all of ours.
fn read_record<'a>(rest: &mut &'a [u8], batch: &BatchHeader) -> Option<RecordView<'a>> {
    let length = usize::try_from(take_varint(rest)?).ok()?;
    let (mut body, after) = rest.split_at_checked(length)?;
    let (attributes, tail) = body.split_first()?;
    body = tail;
    let timestamp_delta = take_varint(&mut body)?;
    let offset_delta = u64::try_from(take_varint(&mut body)?).ok()?;
    let key_bytes = take_varint(&mut body)?;
    let value_bytes = usize::try_from(take_varint(&mut body)?).ok()?;
    let (value, tail) = body.split_at_checked(value_bytes)?;
    if *attributes != 0 || key_bytes != -1 || tail != [0] {
        return None;
    }
    *rest = after;
    Some(RecordView {
        offset: Offset(batch.base_offset.0.checked_add(offset_delta)?),
        timestamp_ms: batch.base_timestamp_ms.checked_add(timestamp_delta)?,
        value,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn build(base_offset: u64, base_ms: i64, values: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES];
        let mut max = base_ms;
        for (index, (delta, value)) in values.iter().enumerate() {
            let at = bytes.len();
            let length = record_bytes(i64::from(*delta), index as u32, value.len());
            bytes.resize(at + length, 0xee);
            let written = write_record(&mut bytes[at..], i64::from(*delta), index as u32, value);
            assert_eq!(written, length);
            assert!(length <= value.len() + RECORD_OVERHEAD_MAX);
            max = max.max(base_ms + i64::from(*delta));
        }
        let header = BatchHeader {
            base_offset: Offset(base_offset),
            records: values.len() as u32,
            base_timestamp_ms: base_ms,
            max_timestamp_ms: max,
        };
        let crc = finish(&mut bytes, &header);
        let checked = Batch::check(&bytes).unwrap();
        assert_eq!((checked.header(), checked.crc32c()), (header, crc));
        bytes
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(
            base in 0u64..1 << 60,
            ms in 0i64..4_000_000_000_000,
            values in proptest::collection::vec((any::<u16>(), proptest::collection::vec(any::<u8>(), 0..300)), 1..80),
        ) {
            let bytes = build(base, ms, &values);
            let read: Vec<_> = Batch::check(&bytes).unwrap().records().collect();
            prop_assert_eq!(read.len(), values.len());
            for (index, (record, (delta, value))) in read.iter().zip(&values).enumerate() {
                prop_assert_eq!(record.offset, Offset(base + index as u64));
                prop_assert_eq!(record.timestamp_ms, ms + i64::from(*delta));
                prop_assert_eq!(record.value, &value[..]);
            }
        }
    }

    /// One record `hello` at offset 0 and time 0, written out by hand from the drawing.
    #[test]
    fn the_drawing_is_what_is_written() {
        let bytes = build(0, 0, &[(0, b"hello".to_vec())]);
        let record = [22, 0, 0, 0, 1, 10, b'h', b'e', b'l', b'l', b'o', 0];
        assert_eq!(bytes[HEADER_BYTES..], record);
        assert_eq!(
            bytes[..17],
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 61, 0, 0, 0, 0, 2]
        );
        assert_eq!(bytes[43..57], [0xff; 14]);
    }

    #[test]
    fn damage_anywhere_under_the_checksum_is_noticed() {
        let mut bytes = build(5, 1_000, &[(0, vec![1; 50]), (3, vec![2; 70])]);
        for bit in 16 * 8..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Batch::check(&bytes).is_err(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn any_bytes_are_only_a_claim() {
        let good = build(5, 1_000, &[(0, vec![1; 50]), (3, vec![2; 70])]);
        bolero::check!()
            .with_iterations(5_000)
            .for_each(|claim: &[u8]| {
                let _ = Batch::check(claim);
                let mut bytes = good.clone();
                for (index, byte) in claim.iter().enumerate() {
                    let at = (index * 31 + usize::from(*byte)) % (bytes.len() - 21) + 21;
                    bytes[at] ^= byte;
                }
                let crc = crc32c(&bytes[COVERED_AT..]);
                bytes[CRC_AT..COVERED_AT].copy_from_slice(&crc.to_be_bytes());
                if let Ok(batch) = Batch::check(&bytes) {
                    assert_eq!(batch.records().count(), batch.header().records as usize);
                }
            });
    }
}
