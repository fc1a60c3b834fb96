//! What all connections of one shard share: the intake, the buffers, the table of lines.
//!
//! Core:    one for each shard.
//! Full:    a shard without room has `PAUSED_BUFFERS_MAX` seats for connections that wait with
//!          their buffers in hand; when they are taken, nobody receives.

use super::lines::Lines;
use super::{Intake, Settings};
use crate::frame::buffer::Pool;
use crate::limit::{PAUSED_BUFFERS_MAX, POOL_BUFFERS_IDLE_MAX};
use std::cell::Cell;
use std::rc::Rc;

pub(super) struct Door<I> {
    pub(super) settings: Settings,
    pub(super) intake: I,
    pub(super) pool: Pool,
    pub(super) lines: Rc<Lines>,
    seats_taken: Cell<u32>,
    /// Connections that could not be accepted, most often for want of descriptors.
    pub(super) accept_failures: Cell<u64>,
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
        Self {
            settings,
            intake,
            pool: Pool::new(POOL_BUFFERS_IDLE_MAX),
            lines: Rc::default(),
            seats_taken: Cell::new(0),
            accept_failures: Cell::new(0),
        }
    }

    /// So many wait for room that nobody may receive more.
    pub(super) fn is_crowded(&self) -> bool {
        self.seats_taken.get() >= PAUSED_BUFFERS_MAX
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
