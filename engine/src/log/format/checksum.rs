//! The two checksums of the format: CRC-64/NVME for what is ours, CRC-32C for Kafka's.

use crc_fast::CrcAlgorithm;

/// CRC-64/NVME (NVM Express NVM Command Set 1.0, 5.2.1.3.4; also called CRC-64/Rocksoft).
pub fn crc64(bytes: &[u8]) -> u64 {
    crc_fast::checksum(CrcAlgorithm::Crc64Nvme, bytes)
}

/// CRC-32C (Castagnoli; RFC 3720, B.4), as in Kafka's record batches.
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check values of the CRC catalogue (reveng), and RFC 3720's for 32 zero bytes.
    #[test]
    fn published_vectors_come_out() {
        assert_eq!(crc64(b"123456789"), 0xae8b_1486_0a79_9888);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    }

    /// The fast paths start at different lengths; a bitwise one has none.
    #[test]
    fn every_length_agrees_with_the_definition() {
        let bytes: Vec<u8> = (0..700u32).map(|index| (index * 7 + 3) as u8).collect();
        for length in 0..bytes.len() {
            assert_eq!(crc64(&bytes[..length]), bitwise_crc64(&bytes[..length]));
            assert_eq!(crc32c(&bytes[..length]), bitwise_crc32c(&bytes[..length]));
        }
    }

    fn bitwise_crc64(bytes: &[u8]) -> u64 {
        let mut crc = !0u64;
        for byte in bytes {
            crc ^= u64::from(*byte);
            for _ in 0..8 {
                crc = (crc >> 1) ^ (0x9a6c_9329_ac4b_c9b5 * (crc & 1));
            }
        }
        !crc
    }

    fn bitwise_crc32c(bytes: &[u8]) -> u32 {
        let mut crc = !0u32;
        for byte in bytes {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = (crc >> 1) ^ (0x82f6_3b78 * (crc & 1));
            }
        }
        !crc
    }
}
