//! What an event of ours holds, so that a reader can tell who sent it and whether it is whole.
//!
//! Layout: a `ringtail.bench.v1.FleetEvent` (its .proto is in `proto/`): 28 bytes of label (run,
//! connection, index in its batch, batch, each behind its key), what the device tells of itself,
//! samples up to the wanted size, and a seal. All of it follows from the label, so an event that was
//! mixed up with another, or changed, or cut, is seen.
//! An event too short for a whole message holds the label and samples without their key; one that is
//! shorter than the label holds the label's beginning: good for load, not for a record.

use crate::protobuf::{self, BYTES, FIXED32, FIXED64, VARINT};

/// Bytes of the label at the head of each event.
pub(crate) const LABEL_BYTES: usize = 28;

/// From this size on an event is a whole `FleetEvent`.
pub(crate) const WHOLE_BYTES: usize = 48;

const SEAL_BYTES: usize = 9;
const SAMPLES: u64 = 14;
const SEAL: u64 = 15;

const MODELS: [&str; 8] = [
    "SM-A546E",
    "Pixel 8a",
    "CPH2591",
    "RMX3933",
    "iPhone14,5",
    "2312DRA50G",
    "TRK-204",
    "V2318",
];
const SYSTEMS: [&str; 4] = ["android-13", "android-14", "ios-17.4", "tracker-2.9"];
const VERSIONS: [&str; 4] = ["5.31.0", "5.32.0", "5.32.1", "5.33.0-beta2"];

/// Which event this is, among all that were ever sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    /// One run of the driver: random.
    pub(crate) run: u64,
    /// From 0.
    pub(crate) connection: u32,
    /// From 1 on each connection.
    pub(crate) batch: u64,
    /// The event's place in its batch, from 0.
    pub(crate) index: u32,
}

impl Label {
    /// Appends an event of `bytes` bytes.
    pub(crate) fn write(self, bytes: usize, out: &mut Vec<u8>) {
        let (start, end) = (out.len(), out.len() + bytes);
        out.extend_from_slice(&self.head());
        let mut noise = self.noise();
        if bytes < WHOLE_BYTES {
            fill(end, &mut noise, out);
            out.truncate(end);
            return;
        }
        let seal = noise.next();
        let body_end = end - SEAL_BYTES;
        self.tell(body_end, out);
        put_samples(body_end, &mut noise, out);
        put_fixed64(SEAL, seal, out);
        assert_eq!(out.len(), start + bytes);
    }

    /// The label of `payload`, if it is long enough to bear one. What it says is only a claim.
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let (run, rest) = keyed(payload, 1, FIXED64)?.split_first_chunk()?;
        let (connection, rest) = keyed(rest, 2, FIXED32)?.split_first_chunk()?;
        let (index, rest) = keyed(rest, 3, FIXED32)?.split_first_chunk()?;
        let (batch, _) = keyed(rest, 4, FIXED64)?.split_first_chunk()?;
        Some(Self {
            run: u64::from_le_bytes(*run),
            connection: u32::from_le_bytes(*connection),
            index: u32::from_le_bytes(*index),
            batch: u64::from_le_bytes(*batch),
        })
    }

    /// Whether `payload` is, byte for byte, what [`Label::write`] makes of this label.
    pub(crate) fn made(self, payload: &[u8], bytes: usize) -> bool {
        if payload.len() != bytes || bytes < LABEL_BYTES {
            return false;
        }
        let mut same = Vec::with_capacity(bytes);
        self.write(bytes, &mut same);
        same == payload
    }

    /// A number that follows from the label, for choices that a reader must be able to repeat.
    pub(crate) fn draw(self) -> u64 {
        let mut noise = self.noise();
        noise.next();
        noise.next()
    }

    fn head(self) -> [u8; LABEL_BYTES] {
        let mut head = [0; LABEL_BYTES];
        head[0] = protobuf::key(1, FIXED64);
        head[1..9].copy_from_slice(&self.run.to_le_bytes());
        head[9] = protobuf::key(2, FIXED32);
        head[10..14].copy_from_slice(&self.connection.to_le_bytes());
        head[14] = protobuf::key(3, FIXED32);
        head[15..19].copy_from_slice(&self.index.to_le_bytes());
        head[19] = protobuf::key(4, FIXED64);
        head[20..].copy_from_slice(&self.batch.to_le_bytes());
        head
    }

    /// What the device tells of itself, as far as there is room up to `end`.
    fn tell(self, end: usize, out: &mut Vec<u8>) {
        let device = Noise(self.run ^ u64::from(self.connection)).next();
        let of = |names: &[&'static str], turn: u32| names[(device >> turn) as usize % names.len()];
        let moved = self.batch as f64 * 1e-5 + f64::from(self.index) * 1e-6;
        let latitude = (device % 120) as f64 - 60.0 + moved;
        let longitude = (device % 341) as f64 - 170.0 - moved;
        // What was read from a log may claim any number.
        let second = self.batch % 1_000_000_000;
        let time_ms = 1_700_000_000_000 + second * 1_000 + u64::from(self.index);
        let mut field = Field { end, out };
        field.text(5, &format!("{device:016x}"));
        field.text(6, of(&MODELS, 8));
        field.text(7, of(&SYSTEMS, 16));
        field.text(8, of(&VERSIONS, 24));
        field.number(9, time_ms);
        field.fixed(10, &latitude.to_le_bytes());
        field.fixed(11, &longitude.to_le_bytes());
        field.fixed(12, &((device % 33) as f32).to_le_bytes());
        field.number(13, 100 - self.batch.wrapping_add(device) % 100);
    }

    fn noise(self) -> Noise {
        let place = u64::from(self.connection) << 32 | u64::from(self.index);
        let mut seed = Noise(self.run ^ place.rotate_left(17));
        Noise(seed.next() ^ self.batch)
    }
}

/// What stands behind a key of one byte, if it is that key.
fn keyed(bytes: &[u8], field: u64, kind: u64) -> Option<&[u8]> {
    let (first, rest) = bytes.split_first()?;
    (*first == protobuf::key(field, kind)).then_some(rest)
}

/// Appends fields for which there is room. One byte alone is never left over: nothing fits there.
struct Field<'a> {
    end: usize,
    out: &'a mut Vec<u8>,
}

impl Field<'_> {
    fn fits(&self, bytes: usize) -> bool {
        let room = self.end - self.out.len();
        bytes <= room && room - bytes != 1
    }

    fn text(&mut self, field: u64, text: &str) {
        if self.fits(protobuf::field_bytes(text.len())) {
            protobuf::put_head(field, text.len(), self.out);
            self.out.extend_from_slice(text.as_bytes());
        }
    }

    fn number(&mut self, field: u64, number: u64) {
        if self.fits(1 + protobuf::varint_bytes(number)) {
            self.out.push(protobuf::key(field, VARINT));
            protobuf::put_varint(number, self.out);
        }
    }

    fn fixed(&mut self, field: u64, bytes: &[u8]) {
        if self.fits(1 + bytes.len()) {
            let kind = if bytes.len() == 8 { FIXED64 } else { FIXED32 };
            self.out.push(protobuf::key(field, kind));
            self.out.extend_from_slice(bytes);
        }
    }
}

fn put_fixed64(field: u64, number: u64, out: &mut Vec<u8>) {
    out.push(protobuf::key(field, FIXED64));
    out.extend_from_slice(&number.to_le_bytes());
}

/// Fills up to `end` with samples. Where no length of them comes out even, their length is written
/// with one byte more than it needs, which every reader takes.
fn put_samples(end: usize, noise: &mut Noise, out: &mut Vec<u8>) {
    let room = end - out.len();
    if room == 0 {
        return;
    }
    let width = protobuf::varint_bytes(room as u64 - 2);
    let length = room - 1 - width;
    out.push(protobuf::key(SAMPLES, BYTES));
    let mut rest = length as u64;
    for _ in 1..width {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
    fill(end, noise, out);
    out.truncate(end);
}

fn fill(end: usize, noise: &mut Noise, out: &mut Vec<u8>) {
    while out.len() < end {
        out.extend_from_slice(&noise.next().to_le_bytes());
    }
}

/// SplitMix64: any seed will do, and it is as fast as a copy.
#[derive(Debug)]
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number from 0 to below 1.
    pub(crate) fn part(&mut self) -> f64 {
        part_of(self.next())
    }
}

/// Makes a part, from 0 to below 1, of a random number.
pub(crate) fn part_of(number: u64) -> f64 {
    (number >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use ringtail_proto::bench::FleetEvent;

    use super::*;

    const LABEL: Label = Label {
        run: 7,
        connection: 3,
        batch: 900,
        index: 2,
    };

    #[test]
    fn a_label_is_read_back_from_its_event() {
        for bytes in [LABEL_BYTES, 29, 31, 32, 47, 48, 200, 257] {
            let mut event = vec![0xee];
            LABEL.write(bytes, &mut event);
            assert_eq!(event.len(), 1 + bytes);
            assert_eq!(Label::read(&event[1..]), Some(LABEL));
            assert!(LABEL.made(&event[1..], bytes));
        }
    }

    #[test]
    fn an_event_is_what_its_schema_says_at_every_size() {
        let mut event = Vec::new();
        for bytes in (WHOLE_BYTES..600).chain(16_300..16_700) {
            event.clear();
            LABEL.write(bytes, &mut event);
            let fleet = FleetEvent::decode(&event[..]).unwrap();
            assert_eq!((fleet.run, fleet.connection), (7, 3), "{bytes}");
            assert_eq!((fleet.batch, fleet.index), (900, 2), "{bytes}");
            assert_ne!(fleet.seal, 0, "{bytes}");
        }
        let fleet = FleetEvent::decode(&event[..]).unwrap();
        assert!(MODELS.contains(&fleet.model.as_str()));
        assert_eq!(fleet.time_ms, 1_700_000_900_002);
        assert!((-60.0..61.0).contains(&fleet.latitude));
        assert!((1..=100).contains(&fleet.battery_percent));
        assert!(16_000 < fleet.samples.len());
    }

    #[test]
    fn an_event_shorter_than_its_label_bears_none() {
        let mut event = Vec::new();
        LABEL.write(10, &mut event);
        assert_eq!((event.len(), Label::read(&event)), (10, None));
        assert!(!LABEL.made(&event, 10));
    }

    #[test]
    fn one_changed_byte_is_seen() {
        for bytes in [40, 60, 300] {
            let mut event = Vec::new();
            LABEL.write(bytes, &mut event);
            for place in 0..event.len() {
                event[place] ^= 1;
                let sound = Label::read(&event).is_some_and(|label| label.made(&event, bytes));
                assert!(!sound, "byte {place} of {bytes}");
                event[place] ^= 1;
            }
            assert!(!LABEL.made(&event[..bytes - 1], bytes));
        }
    }

    #[test]
    fn two_batches_share_neither_samples_nor_seal() {
        let other = Label {
            batch: 901,
            ..LABEL
        };
        let (mut one, mut two) = (Vec::new(), Vec::new());
        LABEL.write(300, &mut one);
        other.write(300, &mut two);
        let one = FleetEvent::decode(&one[..]).unwrap();
        let two = FleetEvent::decode(&two[..]).unwrap();
        assert_ne!(one.seal, two.seal);
        assert_ne!(one.samples, two.samples);
        assert_eq!(one.device_id, two.device_id);
    }
}
