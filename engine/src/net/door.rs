//! What all connections of one shard share: the intake, the buffers, the table of lines.
//!
//! Core:    one for each shard.
//! Full:    a shard without room has `PAUSED_BUFFERS_MAX` seats for connections that wait with
//!          their buffers in hand; when they are taken, nobody receives. Bodies of REST and gRPC that
//!          were not taken yet hold a bounded number of bytes together; the one that would pass it is
//!          refused.

use super::lines::Lines;
use super::{Intake, Settings};
use crate::frame::buffer::Pool;
use crate::frame::websocket::Inflater;
use crate::limit::{BODIES_BYTES_MAX, PAUSED_BUFFERS_MAX, POOL_BUFFERS_IDLE_MAX};
use std::cell::Cell;
use std::rc::Rc;

pub(super) struct Door<I> {
    pub(super) settings: Settings,
    pub(super) intake: I,
    pub(super) pool: Pool,
    pub(super) lines: Rc<Lines>,
    /// When WebSockets may be compressed.
    pub(super) inflater: Option<Rc<Inflater>>,
    seats_taken: Cell<u32>,
    /// Connections that could not be accepted, most often for want of descriptors.
    pub(super) accept_failures: Cell<u64>,
    held_bytes: Cell<usize>,
}

/// What one request's body holds before it is taken.
pub(super) struct Held<'a> {
    all: &'a Cell<usize>,
    own: usize,
}

impl Held<'_> {
    /// `false` when there is no room for so many bytes more.
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        let all = self.all.get() + bytes;
        if BODIES_BYTES_MAX < all {
            return false;
        }
        self.all.set(all);
        self.own += bytes;
        true
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.all.set(self.all.get() - self.own);
    }
}

/// Held by a connection that waits for room with a buffer in hand.
pub(super) struct Seat<'a> {
    taken: &'a Cell<u32>,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.taken.set(self.taken.get() - 1);
    }
}

impl<I: Intake> Door<I> {
    pub(super) fn new(settings: Settings, intake: I) -> Self {
        let inflater = settings
            .websocket_deflate
            .then(|| Rc::new(Inflater::new(settings.message_bytes_max)));
        Self {
            settings,
            intake,
            inflater,
            pool: Pool::new(POOL_BUFFERS_IDLE_MAX),
            lines: Rc::default(),
            seats_taken: Cell::new(0),
            accept_failures: Cell::new(0),
            held_bytes: Cell::new(0),
        }
    }

    /// So many wait for room that nobody may receive more.
    pub(super) fn is_crowded(&self) -> bool {
        self.seats_taken.get() >= PAUSED_BUFFERS_MAX
    }

    /// For a body that is about to be received.
    pub(super) fn hold(&self) -> Held<'_> {
        Held {
            all: &self.held_bytes,
            own: 0,
        }
    }

    /// `None` when it is crowded.
    pub(super) fn take_seat(&self) -> Option<Seat<'_>> {
        if self.is_crowded() {
            return None;
        }
        self.seats_taken.set(self.seats_taken.get() + 1);
        let taken = &self.seats_taken;
        Some(Seat { taken })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_would_pass_the_bound_is_refused_and_what_is_let_go_is_free_again() {
        let all = Cell::new(0);
        let hold = || Held { all: &all, own: 0 };
        let (mut one, mut other) = (hold(), hold());
        assert!(one.grow(BODIES_BYTES_MAX - 1));
        assert!(other.grow(1));
        assert!(!other.grow(1));
        drop(one);
        assert!(other.grow(1));
        drop(other);
        assert_eq!(all.get(), 0);
    }
}
