//! Compressed bodies made whole, within a bound.
//!
//! Always:  what comes out is never larger than its bound, whatever the compressed bytes claim;
//!          memory grows with what has come out, and is never set aside for a claim.
//! Core:    inflating a body of some megabytes takes some milliseconds of its shard.

use std::io::{self, Read};

/// Largest window that a zstd frame may ask for, as a power of two: 8 MiB, which every decoder
/// must offer (RFC 8878, 3.1.1.1.2).
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// How much of a body is inflated at a time.
const STEP_BYTES: usize = 16 << 10;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    /// The zlib format, which HTTP and gRPC call deflate.
    Deflate,
    Zstd,
}

/// Why a body was not had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    TooLarge,
    Broken,
}

/// The whole of what `bytes` hold, if that is at most `bytes_max`.
pub(super) fn inflate(coding: Coding, bytes: &[u8], bytes_max: usize) -> Result<Vec<u8>, Trouble> {
    match coding {
        Coding::Gzip => drain(flate2::read::MultiGzDecoder::new(bytes), bytes_max),
        Coding::Deflate => drain(flate2::read::ZlibDecoder::new(bytes), bytes_max),
        Coding::Zstd => {
            let mut decoder =
                zstd::stream::read::Decoder::with_buffer(bytes).map_err(|_| Trouble::Broken)?;
            let bounded = decoder.window_log_max(ZSTD_WINDOW_LOG_MAX);
            bounded.map_err(|_| Trouble::Broken)?;
            drain(decoder, bytes_max)
        }
    }
}

fn drain(mut source: impl Read, bytes_max: usize) -> Result<Vec<u8>, Trouble> {
    let mut whole = Vec::new();
    let mut step = [0; STEP_BYTES];
    loop {
        let bytes = match source.read(&mut step) {
            Ok(0) => return Ok(whole),
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return Err(Trouble::Broken),
        };
        if bytes_max - whole.len() < bytes {
            return Err(Trouble::TooLarge);
        }
        whole.extend_from_slice(&step[..bytes]);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::io::Write;

    const ALL: [Coding; 3] = [Coding::Gzip, Coding::Deflate, Coding::Zstd];

    pub(in crate::net) fn deflate(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        let level = flate2::Compression::default();
        match coding {
            Coding::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Coding::Deflate => {
                let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Coding::Zstd => zstd::encode_all(bytes, 3).unwrap(),
        }
    }

    #[test]
    fn what_was_compressed_comes_back() {
        for coding in ALL {
            for bytes in [0, 1, STEP_BYTES, 100_000] {
                let plain: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
                let inflated = inflate(coding, &deflate(coding, &plain), bytes);
                assert!(inflated == Ok(plain), "{coding:?}, {bytes} bytes");
            }
        }
    }

    #[test]
    fn a_bomb_is_stopped_at_the_bound() {
        for coding in ALL {
            let bomb = deflate(coding, &vec![0; 64 << 20]);
            assert!(bomb.len() < 100_000);
            assert_eq!(inflate(coding, &bomb, 1 << 20), Err(Trouble::TooLarge));
        }
    }

    #[test]
    fn a_torn_or_foreign_body_is_broken() {
        for coding in ALL {
            let packed = deflate(coding, b"some bytes that are worth packing");
            let torn = &packed[..packed.len() - 1];
            assert_eq!(inflate(coding, torn, 1 << 20), Err(Trouble::Broken));
            assert_eq!(inflate(coding, b"{}", 1 << 20), Err(Trouble::Broken));
        }
    }

    #[test]
    fn a_zstd_frame_that_claims_a_huge_window_is_refused() {
        // Magic number, no content size, a window of 2 GiB, one empty last block.
        let frame = [0x28, 0xB5, 0x2F, 0xFD, 0x00, 21 << 3, 1, 0, 0];
        assert_eq!(inflate(Coding::Zstd, &frame, 1 << 20), Err(Trouble::Broken));
    }

    /// For long: `cargo bolero test -p ringtail net::inflate::tests::any_bytes_are_answered`.
    #[test]
    fn any_bytes_are_answered() {
        bolero::check!()
            .with_type::<(u8, Vec<(u16, u8)>)>()
            .with_iterations(5_000)
            .for_each(|(which, changes)| {
                let coding = ALL[usize::from(*which) % ALL.len()];
                let mut packed = deflate(coding, &b"event after event ".repeat(50));
                for (at, byte) in changes {
                    let at = usize::from(*at) % packed.len();
                    packed[at] = *byte;
                }
                if let Ok(whole) = inflate(coding, &packed, 1 << 16) {
                    assert!(whole.len() <= 1 << 16);
                }
            });
    }
}
