//! What an event of ours holds, so that a reader can tell who sent it and whether it is whole.
//!
//! Layout (little-endian): run u64, connection u32, index in its batch u32, batch u64, then filler
//! up to the event's size. The filler follows from all four numbers, so an event that was mixed up
//! with another, or changed, or cut, is seen.

/// Bytes of the label at the head of each event.
pub(crate) const LABEL_BYTES: usize = 24;

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
    /// Appends an event of `bytes` bytes. One that is shorter than the label holds only the
    /// label's beginning: good for load, not for a record.
    pub(crate) fn write(self, bytes: usize, out: &mut Vec<u8>) {
        let end = out.len() + bytes;
        out.extend_from_slice(&self.head());
        let mut filler = self.filler();
        while out.len() < end {
            out.extend_from_slice(&filler.next_word());
        }
        out.truncate(end);
    }

    /// The label of `payload`, if it is long enough to bear one. What it says is only a claim.
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let (run, rest) = payload.split_first_chunk()?;
        let (connection, rest) = rest.split_first_chunk()?;
        let (index, rest) = rest.split_first_chunk()?;
        let (batch, _) = rest.split_first_chunk()?;
        Some(Self {
            run: u64::from_le_bytes(*run),
            connection: u32::from_le_bytes(*connection),
            index: u32::from_le_bytes(*index),
            batch: u64::from_le_bytes(*batch),
        })
    }

    /// Whether `payload` is, byte for byte, what [`Label::write`] makes of this label.
    pub(crate) fn made(self, payload: &[u8], bytes: usize) -> bool {
        if payload.len() != bytes {
            return false;
        }
        let Some((head, rest)) = payload.split_first_chunk() else {
            return false;
        };
        let mut filler = self.filler();
        *head == self.head()
            && rest
                .chunks(8)
                .all(|part| part == &filler.next_word()[..part.len()])
    }

    fn head(self) -> [u8; LABEL_BYTES] {
        let mut head = [0; LABEL_BYTES];
        head[..8].copy_from_slice(&self.run.to_le_bytes());
        head[8..12].copy_from_slice(&self.connection.to_le_bytes());
        head[12..16].copy_from_slice(&self.index.to_le_bytes());
        head[16..].copy_from_slice(&self.batch.to_le_bytes());
        head
    }

    fn filler(self) -> Filler {
        let place = u64::from(self.connection) << 32 | u64::from(self.index);
        let mut seed = Filler(self.run ^ place.rotate_left(17));
        Filler(seed.next() ^ self.batch)
    }
}

/// SplitMix64: any seed will do, and it is as fast as a copy.
struct Filler(u64);

impl Filler {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    fn next_word(&mut self) -> [u8; 8] {
        self.next().to_le_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABEL: Label = Label {
        run: 7,
        connection: 3,
        batch: 900,
        index: 2,
    };

    #[test]
    fn a_label_is_read_back_from_its_event() {
        for bytes in [LABEL_BYTES, 25, 31, 32, 200, 257] {
            let mut event = vec![0xee];
            LABEL.write(bytes, &mut event);
            assert_eq!(event.len(), 1 + bytes);
            assert_eq!(Label::read(&event[1..]), Some(LABEL));
            assert!(LABEL.made(&event[1..], bytes));
        }
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
        let mut event = Vec::new();
        LABEL.write(60, &mut event);
        for place in 0..event.len() {
            event[place] ^= 1;
            assert!(!LABEL.made(&event, 60), "byte {place}");
            event[place] ^= 1;
        }
        assert!(!LABEL.made(&event[..59], 60));
    }

    #[test]
    fn two_batches_have_different_filler() {
        let other = Label {
            batch: 901,
            ..LABEL
        };
        let (mut one, mut two) = (Vec::new(), Vec::new());
        LABEL.write(64, &mut one);
        other.write(64, &mut two);
        assert_ne!(one[LABEL_BYTES..], two[LABEL_BYTES..]);
    }
}
