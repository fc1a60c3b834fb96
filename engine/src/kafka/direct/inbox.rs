//! What has come from a broker, cut into whole answers.

use super::wire::{ANSWER_BYTES_MAX, Garbled, Reading};

const BYTES: usize = 64 << 10;

pub(super) struct Inbox {
    bytes: Vec<u8>,
    /// How much of it is filled.
    filled: usize,
    /// What was handed out of it, and goes with the next look.
    taken: usize,
}

impl Default for Inbox {
    fn default() -> Self {
        Self {
            bytes: vec![0; BYTES],
            filled: 0,
            taken: 0,
        }
    }
}

impl Inbox {
    /// Where what comes next is to be put; never nothing.
    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.bytes[self.filled..]
    }

    /// So much was put there.
    pub(super) fn came(&mut self, bytes: usize) {
        self.filled += bytes;
        debug_assert!(self.filled <= self.bytes.len());
    }

    /// Whether there is a whole answer for [`Inbox::last`], which is the one behind the one before. If not, there is room
    /// for more of it.
    pub(super) fn has_answer(&mut self) -> Result<bool, Garbled> {
        if 0 < self.taken {
            self.bytes.copy_within(self.taken..self.filled, 0);
            self.filled -= self.taken;
            self.taken = 0;
        }
        if let Some(length) = self.length()? {
            if 4 + length <= self.filled {
                self.taken = 4 + length;
                return Ok(true);
            }
            let whole = (4 + length).max(BYTES);
            self.bytes.resize(whole.max(self.bytes.len()), 0);
        }
        Ok(false)
    }

    /// How long the answer is that begins the inbox, if that is there.
    fn length(&self) -> Result<Option<usize>, Garbled> {
        let Some(length) = self.bytes[..self.filled].first_chunk() else {
            return Ok(None);
        };
        let length = usize::try_from(i32::from_be_bytes(*length)).map_err(|_| Garbled)?;
        if ANSWER_BYTES_MAX < length {
            return Err(Garbled);
        }
        Ok(Some(length))
    }

    /// The answer that is there: the number of what it answers, and its body.
    pub(super) fn last(&self) -> Result<(i32, Reading<'_>), Garbled> {
        Reading::begin(self.bytes.get(4..self.taken).ok_or(Garbled)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(number: i32, body: usize) -> Vec<u8> {
        let mut answer = (4 + body as i32).to_be_bytes().to_vec();
        answer.extend_from_slice(&number.to_be_bytes());
        answer.resize(8 + body, 0);
        answer
    }

    #[test]
    fn answers_are_whole_and_in_order_however_they_come() {
        let all = [answer(1, 0), answer(2, 3 * BYTES), answer(3, 5)].concat();
        for step in [1, 7, 70_000] {
            let (mut inbox, mut rest, mut seen) = (Inbox::default(), &all[..], Vec::new());
            loop {
                while inbox.has_answer().unwrap() {
                    seen.push(inbox.last().unwrap().0);
                }
                if rest.is_empty() {
                    break;
                }
                let room = inbox.room();
                let bytes = step.min(rest.len()).min(room.len());
                room[..bytes].copy_from_slice(&rest[..bytes]);
                inbox.came(bytes);
                rest = &rest[bytes..];
            }
            assert_eq!(seen, [1, 2, 3], "{step} bytes at a time");
        }
    }

    #[test]
    fn an_answer_that_is_too_long_is_refused() {
        let mut inbox = Inbox::default();
        inbox.room()[..4].copy_from_slice(&i32::MAX.to_be_bytes());
        inbox.came(4);
        assert_eq!(inbox.has_answer(), Err(Garbled));
    }
}
