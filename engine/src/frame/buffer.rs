//! Receive buffers, and the pool that lends them.
//!
//! Layout:  used | unread | free, in one allocation; `taken` and `filled` are the borders.
//! Always:  taken <= filled <= capacity, and capacity <= `limit::BUFFER_BYTES_MAX`.
//! Core:    a pool and what it lends live and die on one shard.
//! Cancel:  dropping a buffer loses the unread bytes with it; nothing else refers to them.
//! Full:    the pool always lends; what it keeps of returned buffers is bounded.
//!
//! A connection borrows a buffer while it has bytes to read, and parks what is left of an
//! unfinished message when it has not. An idle connection so holds no buffer:
//!
//! ```text
//! let mut buffer = pool.resume(parked);
//! loop {
//!     let needed = decode_all(&mut buffer);   // what the next message takes, from the cursor
//!     if nothing_to_read { break parked = pool.park(buffer, needed); }
//!     buffer.make_room(needed);
//!     let read = receive(buffer.space());
//!     buffer.advance(read);
//! }
//! ```

use std::cell::RefCell;

use crate::limit::{BUFFER_BYTES_MAX, PARKED_BYTES_MAX, RECEIVE_BUFFER_BYTES};

/// Bytes as they come from a socket, with cursors.
pub struct Buffer {
    bytes: Box<[u8]>,
    /// Both at most [`BUFFER_BYTES_MAX`]; narrow, because every connection has room for two buffers.
    taken: u32,
    filled: u32,
}

impl Buffer {
    fn with_capacity(bytes: usize) -> Self {
        assert!(bytes <= BUFFER_BYTES_MAX);
        Self {
            bytes: vec![0; bytes].into(),
            taken: 0,
            filled: 0,
        }
    }

    fn holding(unread: &[u8], capacity: usize) -> Self {
        let mut buffer = Self::with_capacity(capacity);
        buffer.space()[..unread.len()].copy_from_slice(unread);
        buffer.advance(unread.len());
        buffer
    }

    /// Where the socket may write next. Never empty after [`Buffer::make_room`].
    pub fn space(&mut self) -> &mut [u8] {
        &mut self.bytes[self.filled as usize..]
    }

    /// Says that the first `bytes` of [`Buffer::space`] were written.
    ///
    /// # Panics
    /// When that is more than the space.
    pub fn advance(&mut self, bytes: usize) {
        assert!(bytes <= self.bytes.len() - self.filled as usize);
        self.filled += bytes as u32;
    }

    /// The unread bytes, to be decoded (and unmasked) in place.
    pub fn filled_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.taken as usize..self.filled as usize]
    }

    /// Says that the first `bytes` of [`Buffer::filled_mut`] are used up.
    ///
    /// # Panics
    /// When that is more than the unread bytes.
    pub fn consume(&mut self, bytes: usize) {
        assert!(bytes <= self.len());
        self.taken += bytes as u32;
        if self.taken == self.filled {
            self.taken = 0;
            self.filled = 0;
        }
    }

    /// Unread bytes.
    pub fn len(&self) -> usize {
        (self.filled - self.taken) as usize
    }

    pub fn is_empty(&self) -> bool {
        self.taken == self.filled
    }

    /// Bytes that this buffer can hold.
    pub fn capacity(&self) -> usize {
        self.bytes.len()
    }

    /// Makes room for more of a message of `needed` bytes, counted from the first unread one, by
    /// moving the unread bytes; or by growing, once the buffer is full of this one message. A buffer
    /// of the pool's size grows to exactly `needed`: who sent so much has shown that they mean it. A
    /// smaller one at most doubles, so that a mere claim of a large message costs no memory.
    ///
    /// # Panics
    /// When `needed` is not more than what is unread, or more than [`BUFFER_BYTES_MAX`]: the decoder
    /// refuses such a message first.
    pub fn make_room(&mut self, needed: usize) {
        assert!(self.len() < needed);
        assert!(needed <= BUFFER_BYTES_MAX);
        let capacity = self.capacity();
        let (taken, filled) = (self.taken as usize, self.filled as usize);
        if taken > 0 {
            let fits = needed <= capacity - taken;
            // Many bytes for each call to the kernel are worth moving a few.
            let roomy = capacity / 2 <= capacity - filled;
            if !(fits && roomy) {
                self.bytes.copy_within(taken..filled, 0);
                self.filled -= self.taken;
                self.taken = 0;
            }
        } else if filled == capacity && capacity >= RECEIVE_BUFFER_BYTES {
            self.grow(needed);
        } else if filled == capacity {
            self.grow(needed.min(2 * capacity.max(1)));
        }
        debug_assert!((self.filled as usize) < self.capacity());
    }

    /// Moves a full buffer into a larger allocation.
    fn grow(&mut self, capacity: usize) {
        let mut bytes = vec![0; capacity].into_boxed_slice();
        bytes[..self.bytes.len()].copy_from_slice(&self.bytes);
        self.bytes = bytes;
    }
}

/// What a connection keeps of an unfinished message while it waits for the rest.
#[derive(Default)]
pub enum Parked {
    #[default]
    Nothing,
    /// A few bytes, in an allocation of exactly their size.
    Few(Box<[u8]>),
    /// So many that copying them at each wake would cost too much: they stay where they are.
    Many(Buffer),
}

impl Parked {
    /// Unread bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Few(bytes) => bytes.len(),
            Self::Many(buffer) => buffer.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Parks bytes that came some other way, such as behind the head of an upgrade.
    ///
    /// # Panics
    /// When they are more than [`BUFFER_BYTES_MAX`].
    pub fn from_bytes(bytes: &[u8]) -> Self {
        match bytes.len() {
            0 => Self::Nothing,
            1..=PARKED_BYTES_MAX => Self::Few(bytes.into()),
            _ => Self::Many(Buffer::holding(bytes, bytes.len())),
        }
    }
}

/// Lends buffers of [`RECEIVE_BUFFER_BYTES`]; the one returned last, which the cache still knows,
/// goes out first.
pub struct Pool {
    idle: RefCell<Vec<Buffer>>,
    idle_max: usize,
}

impl Pool {
    /// A pool that keeps at most `idle_max` returned buffers and frees the others.
    pub fn new(idle_max: usize) -> Self {
        Self {
            idle: RefCell::new(Vec::with_capacity(idle_max)),
            idle_max,
        }
    }

    /// An empty buffer.
    pub fn lend(&self) -> Buffer {
        let idle = self.idle.borrow_mut().pop();
        idle.unwrap_or_else(|| Buffer::with_capacity(RECEIVE_BUFFER_BYTES))
    }

    /// Takes a buffer back, whatever is in it. One of another size is freed.
    pub fn give_back(&self, mut buffer: Buffer) {
        let mut idle = self.idle.borrow_mut();
        if buffer.capacity() == RECEIVE_BUFFER_BYTES && idle.len() < self.idle_max {
            buffer.taken = 0;
            buffer.filled = 0;
            idle.push(buffer);
        }
    }

    /// A buffer that starts with what was parked. It may be full: decode before receiving.
    pub fn resume(&self, parked: Parked) -> Buffer {
        match parked {
            Parked::Nothing => self.lend(),
            Parked::Few(bytes) => {
                let mut buffer = self.lend();
                buffer.make_room(bytes.len());
                buffer.space()[..bytes.len()].copy_from_slice(&bytes);
                buffer.advance(bytes.len());
                buffer
            }
            Parked::Many(buffer) => buffer,
        }
    }

    /// Takes the buffer back from a connection that must wait, and keeps its unread bytes; `needed`
    /// is what the message that they begin takes in all, as far as is known.
    pub fn park(&self, mut buffer: Buffer, needed: usize) -> Parked {
        let unread = buffer.len();
        if unread == 0 {
            self.give_back(buffer);
            return Parked::Nothing;
        }
        if unread <= PARKED_BYTES_MAX {
            let bytes = buffer.filled_mut().into();
            self.give_back(buffer);
            return Parked::Few(bytes);
        }
        if buffer.capacity() != RECEIVE_BUFFER_BYTES {
            return Parked::Many(buffer);
        }
        // The pool's buffer goes back; the rest grows in one of its own, at most twice its size.
        let capacity = needed.clamp(unread + 1, 2 * unread);
        let own = Buffer::holding(buffer.filled_mut(), capacity);
        self.give_back(buffer);
        Parked::Many(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(buffer: &mut Buffer, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            buffer.make_room(buffer.len() + rest.len());
            let part = rest.len().min(buffer.space().len());
            buffer.space()[..part].copy_from_slice(&rest[..part]);
            buffer.advance(part);
            rest = &rest[part..];
        }
    }

    fn pattern(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|index| (index % 251) as u8).collect()
    }

    #[test]
    fn what_was_received_is_read_once_and_in_order() {
        let mut buffer = Pool::new(1).lend();
        fill(&mut buffer, b"abcdef");
        assert_eq!(buffer.filled_mut(), b"abcdef");
        buffer.consume(2);
        assert_eq!(buffer.filled_mut(), b"cdef");
        buffer.consume(4);
        assert!(buffer.is_empty());
        assert_eq!(buffer.space().len(), RECEIVE_BUFFER_BYTES);
    }

    #[test]
    fn an_idle_connection_holds_no_buffer() {
        let pool = Pool::new(4);
        let mut buffer = pool.lend();
        fill(&mut buffer, b"half");
        let parked = pool.park(buffer, 100);
        assert!(matches!(&parked, Parked::Few(bytes) if **bytes == *b"half"));
        assert_eq!(pool.idle.borrow().len(), 1);
        let mut buffer = pool.resume(parked);
        assert!(pool.idle.borrow().is_empty());
        assert_eq!(buffer.filled_mut(), b"half");
        buffer.consume(4);
        assert!(matches!(pool.park(buffer, 2), Parked::Nothing));
    }

    #[test]
    fn a_pool_keeps_no_more_than_it_may() {
        let pool = Pool::new(2);
        let lent = [pool.lend(), pool.lend(), pool.lend()];
        for buffer in lent {
            pool.give_back(buffer);
        }
        assert_eq!(pool.idle.borrow().len(), 2);
    }

    #[test]
    fn a_returned_buffer_comes_back_empty() {
        let pool = Pool::new(1);
        let mut buffer = pool.lend();
        fill(&mut buffer, b"someone else's");
        pool.give_back(buffer);
        assert!(pool.lend().is_empty());
    }

    #[test]
    fn a_large_message_gets_a_buffer_of_its_size() {
        let pool = Pool::new(1);
        let mut buffer = pool.lend();
        let message = pattern(BUFFER_BYTES_MAX);
        fill(&mut buffer, &message[..RECEIVE_BUFFER_BYTES]);
        buffer.make_room(message.len());
        assert_eq!(buffer.capacity(), message.len());
        fill(&mut buffer, &message[RECEIVE_BUFFER_BYTES..]);
        assert!(buffer.filled_mut() == message);
        pool.give_back(buffer);
        assert!(pool.idle.borrow().is_empty());
    }

    #[test]
    fn a_claim_costs_no_more_than_twice_what_came() {
        let pool = Pool::new(1);
        let message = pattern(BUFFER_BYTES_MAX);
        let (mut sent, mut parked) = (0, Parked::Nothing);
        while sent < message.len() {
            let mut buffer = pool.resume(parked);
            buffer.make_room(message.len());
            let part = buffer.space().len().min(20_000).min(message.len() - sent);
            buffer.space()[..part].copy_from_slice(&message[sent..sent + part]);
            buffer.advance(part);
            sent += part;
            parked = pool.park(buffer, message.len());
            if let Parked::Many(buffer) = &parked
                && buffer.len() < RECEIVE_BUFFER_BYTES
            {
                assert!(buffer.capacity() <= 2 * sent);
            }
        }
        assert!(pool.resume(parked).filled_mut() == message);
    }

    #[test]
    fn bytes_behind_a_head_are_read_first() {
        let pool = Pool::new(1);
        for bytes in [0, 1, PARKED_BYTES_MAX + 1, RECEIVE_BUFFER_BYTES + 1] {
            let bytes = pattern(bytes);
            let parked = Parked::from_bytes(&bytes);
            assert_eq!(parked.len(), bytes.len());
            assert!(pool.resume(parked).filled_mut() == bytes);
        }
    }

    #[test]
    fn a_tail_at_the_end_is_moved_to_the_start() {
        let mut buffer = Pool::new(1).lend();
        fill(&mut buffer, &pattern(RECEIVE_BUFFER_BYTES));
        buffer.consume(RECEIVE_BUFFER_BYTES - 3);
        let tail = buffer.filled_mut().to_vec();
        buffer.make_room(10);
        assert_eq!(buffer.filled_mut(), tail);
        assert_eq!(buffer.space().len(), RECEIVE_BUFFER_BYTES - 3);
    }
}
