//! WebSocket (RFC 6455), the server's side, without sockets.
//!
//! Layout:  a header of 2 to 14 bytes, then the payload, masked when it comes from a client.
//! Always:  a payload is unmasked once, in place; what is yielded is whole and, when text, UTF-8.
//! Core:    a decoder belongs to one connection, and so to one shard.
//! Cancel:  nothing waits here; an item that could not be taken is put back and yielded again.
//! Full:    a message above the limit is refused by its header, before its payload comes.

pub mod decode;
pub mod deflate;
pub mod encode;
pub mod upgrade;

pub use decode::{Decoder, Fault, Item};
pub use deflate::{Inflater, accept_deflate};
pub use encode::{write_close, write_masked, write_message, write_message_with, write_ping};
pub use encode::{write_pong, write_refusal};
pub use upgrade::{UpgradeRefusal, accept_upgrade, origin_is_allowed};

/// Close codes (RFC 6455, 7.4.1) that this server sends.
pub mod close_code {
    pub const NORMAL: u16 = 1000;
    pub const GOING_AWAY: u16 = 1001;
    pub const PROTOCOL_ERROR: u16 = 1002;
    pub const INVALID_DATA: u16 = 1007;
    pub const POLICY: u16 = 1008;
    pub const TOO_LARGE: u16 = 1009;
    pub const INTERNAL_ERROR: u16 = 1011;
}

/// Opcodes (RFC 6455, 5.2).
mod opcode {
    pub(super) const TEXT: u8 = 1;
    pub(super) const BINARY: u8 = 2;
    pub(super) const CLOSE: u8 = 8;
    pub(super) const PING: u8 = 9;
    pub(super) const PONG: u8 = 10;
}

/// Masks or unmasks (it is the same) a payload in place. Eight bytes at a time: the compiler makes
/// vector instructions of the loop, whatever the alignment.
pub fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    // Whole words leave the mask where it began.
    for (byte, key) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unmasking_is_byte_for_byte_what_the_rfc_says() {
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        for start in 0..8 {
            for bytes in 0..70 {
                let masked: Vec<u8> = (0..80).map(|index| index * 3).collect();
                let mut unmasked = masked.clone();
                unmask(&mut unmasked[start..start + bytes], mask);
                for (index, byte) in unmasked.iter().enumerate() {
                    let inside = (start..start + bytes).contains(&index);
                    let key = if inside { mask[(index - start) % 4] } else { 0 };
                    assert_eq!(*byte, masked[index] ^ key);
                }
            }
        }
    }
}
