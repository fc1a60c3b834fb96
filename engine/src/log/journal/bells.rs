//! How the tasks of one journal wake each other, and let each other go first.

use super::super::wake::{Bell, Gate, Gong};
use crate::limit::READ_BYTES_AT_ONCE;

pub(super) struct Bells {
    pub(super) commit: Bell,
    pub(super) prepare: Bell,
    /// A membership record has reached its members, or a frame was refused.
    pub(super) members: Gong,
    pub(super) tidy: Bell,
    /// What readers have on its way from the disk at once, in bytes: commits share the disk with them.
    pub(super) readers: Gate,
    /// Held by the reader that waits for the readers' share of the disk.
    pub(super) share: Gate,
    /// Held by the reader that works.
    pub(super) turn: Gate,
}

impl Default for Bells {
    fn default() -> Self {
        Self {
            commit: Bell::default(),
            prepare: Bell::default(),
            members: Gong::default(),
            tidy: Bell::default(),
            readers: Gate::new(READ_BYTES_AT_ONCE),
            share: Gate::new(1),
            turn: Gate::new(1),
        }
    }
}
