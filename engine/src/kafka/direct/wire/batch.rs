//! What is written into a record batch before it leaves; see <https://kafka.apache.org/documentation/#recordbatch>.

/// What a sent batch has of its own, in the log's batch of the same form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kafka::direct) struct Stamp {
    pub(in crate::kafka::direct) producer: i64,
    pub(in crate::kafka::direct) epoch: i16,
    pub(in crate::kafka::direct) sequence: i32,
}

pub(in crate::kafka::direct) const BATCH_HEADER_BYTES: usize = 61;
const LENGTH_AT: usize = 8;
const MAGIC_AT: usize = 16;
const MAGIC: u8 = 2;
const CRC_AT: usize = 17;
const COVERED_AT: usize = 21;
/// The lower byte of the attributes.
const ATTRIBUTES_AT: usize = 22;
const TRANSACTIONAL: u8 = 0x10;
const TIMES_AT: usize = 27;
const PRODUCER_AT: usize = 43;
const COUNT_AT: usize = 57;

/// Makes a record batch of the log a producer's: offsets from 0 on, and whose it is.
///
/// # Panics
/// When it is shorter than a batch's header.
pub(in crate::kafka::direct) fn stamp(batch: &mut [u8], stamp: Stamp) {
    assert!(BATCH_HEADER_BYTES <= batch.len());
    batch[0..8].fill(0);
    batch[12..16].fill(0xff);
    batch[PRODUCER_AT..51].copy_from_slice(&stamp.producer.to_be_bytes());
    batch[51..53].copy_from_slice(&stamp.epoch.to_be_bytes());
    batch[53..57].copy_from_slice(&stamp.sequence.to_be_bytes());
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &batch[COVERED_AT..]);
    batch[CRC_AT..COVERED_AT].copy_from_slice(&(crc as u32).to_be_bytes());
}

/// Makes a record batch part of a transaction. Its checksum is made anew when it is stamped.
///
/// # Panics
/// When it is shorter than a batch's header.
pub(in crate::kafka::direct) fn mark_transactional(batch: &mut [u8]) {
    assert!(BATCH_HEADER_BYTES <= batch.len());
    batch[ATTRIBUTES_AT] |= TRANSACTIONAL;
}

/// A batch of one record, that is to be stamped. Without a key where that is empty.
pub(in crate::kafka::direct) fn batch_of_one(
    key: &[u8],
    value: &[u8],
    timestamp_ms: i64,
) -> Vec<u8> {
    // Attributes, and the distances from the batch's time and offset.
    let mut record = vec![0, 0, 0];
    if key.is_empty() {
        varint(&mut record, -1);
    } else {
        varint(&mut record, key.len() as i64);
        record.extend_from_slice(key);
    }
    varint(&mut record, value.len() as i64);
    record.extend_from_slice(value);
    // It has no headers.
    record.push(0);
    let mut batch = vec![0; BATCH_HEADER_BYTES];
    batch[MAGIC_AT] = MAGIC;
    batch[TIMES_AT..35].copy_from_slice(&timestamp_ms.to_be_bytes());
    batch[35..PRODUCER_AT].copy_from_slice(&timestamp_ms.to_be_bytes());
    batch[COUNT_AT..].copy_from_slice(&1_i32.to_be_bytes());
    varint(&mut batch, record.len() as i64);
    batch.extend_from_slice(&record);
    let length = i32::try_from(batch.len() - 12).expect("events are shorter than 2 GiB");
    batch[LENGTH_AT..12].copy_from_slice(&length.to_be_bytes());
    batch
}

/// A number of signed varint, as records have them.
fn varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while 0x80 <= rest {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CRC-32C again, bit by bit (Castagnoli; RFC 3720, B.4).
    fn crc32c(bytes: &[u8]) -> u32 {
        let mut crc = !0_u32;
        for byte in bytes {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
            }
        }
        !crc
    }

    #[test]
    fn a_stamped_batch_is_the_producers_and_whole() {
        let mut batch: Vec<u8> = (0..100).collect();
        let mine = Stamp {
            producer: 0x0102_0304_0506_0708,
            epoch: 9,
            sequence: 10,
        };
        stamp(&mut batch, mine);
        assert_eq!(batch[0..8], [0; 8]);
        assert_eq!(batch[8..12], [8, 9, 10, 11], "its length is as it was");
        assert_eq!(batch[43..57], [1, 2, 3, 4, 5, 6, 7, 8, 0, 9, 0, 0, 0, 10]);
        assert_eq!(batch[57..], (57..100).collect::<Vec<u8>>());
        assert_eq!(batch[17..21], crc32c(&batch[21..]).to_be_bytes());
    }

    #[test]
    fn a_batch_of_one_is_as_kafka_draws_it() {
        let mut batch = batch_of_one(b"k", b"value", 0x0102);
        mark_transactional(&mut batch);
        assert_eq!(batch[8..12], [0, 0, 0, 62]);
        assert_eq!(batch[16], 2);
        assert_eq!(batch[21..23], [0, 0x10]);
        // The last of its offsets, and both times.
        let mut rest = vec![0; 4];
        for _ in 0..2 {
            rest.extend_from_slice(&0x0102_i64.to_be_bytes());
        }
        assert_eq!(batch[23..43], rest);
        assert_eq!(batch[57..61], [0, 0, 0, 1]);
        assert_eq!(batch[61..], *b"\x18\0\0\0\x02k\x0avalue\0");
        let batch = batch_of_one(b"", b"v", 1);
        assert_eq!(batch[61..], *b"\x0e\0\0\0\x01\x02v\0");
        let batch = batch_of_one(b"", &[1; 300], 1);
        assert_eq!(batch[61..70], [0xe6, 4, 0, 0, 0, 1, 0xd8, 4, 1]);
    }
}
