//! The little of protobuf's encoding that a driver needs, by hand.

pub(crate) const VARINT: u64 = 0;
pub(crate) const FIXED64: u64 = 1;
pub(crate) const BYTES: u64 = 2;
pub(crate) const FIXED32: u64 = 5;

pub(crate) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Fixed,
}

/// The key of a field with a number below 16.
pub(crate) fn key(field: u64, kind: u64) -> u8 {
    assert!(field < 16);
    (field << 3 | kind) as u8
}

/// Takes one field off the front: its number and its value. `None` when the bytes are no message.
pub(crate) fn take_field<'a>(bytes: &mut &'a [u8]) -> Option<(u64, Value<'a>)> {
    let key = take_varint(bytes)?;
    let value = match key & 7 {
        VARINT => Value::Number(take_varint(bytes)?),
        BYTES => {
            let length = usize::try_from(take_varint(bytes)?).ok()?;
            Value::Bytes(bytes.split_off(..length)?)
        }
        FIXED64 => bytes.split_off(..8).map(|_| Value::Fixed)?,
        FIXED32 => bytes.split_off(..4).map(|_| Value::Fixed)?,
        _ => return None,
    };
    Some((key >> 3, value))
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.split_off_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Appends the key and the length of a length-delimited field.
pub(crate) fn put_head(field: u64, length: usize, out: &mut Vec<u8>) {
    put_varint(field << 3 | BYTES, out);
    put_varint(length as u64, out);
}

pub(crate) fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while 0x7f < value {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Bytes of a length-delimited field with a number below 16.
pub(crate) fn field_bytes(length: usize) -> usize {
    1 + varint_bytes(length as u64) + length
}

pub(crate) fn varint_bytes(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}
