//! Who is connected to one shard's doors, so that all can be told to finish.
//!
//! Core:    one table for each shard.
//! Cancel:  a dropped [`Line`] leaves the table.
//! Full:    one row for each connection; the limit of open files bounds them.

use crate::rt::notify::Notify;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};

/// The connections of one shard.
#[derive(Debug, Default)]
pub(super) struct Lines {
    rows: RefCell<Rows>,
    live: Cell<usize>,
    draining: Cell<bool>,
    drain_begins: Notify,
    last_ended: Notify,
}

#[derive(Debug, Default)]
struct Rows {
    wakers: Vec<Option<Waker>>,
    free: Vec<u32>,
}

/// One connection's row.
#[derive(Debug)]
pub(super) struct Line {
    lines: Rc<Lines>,
    row: u32,
}

impl Lines {
    pub(super) fn enter(self: &Rc<Self>) -> Line {
        let mut rows = self.rows.borrow_mut();
        let row = rows.free.pop().unwrap_or_else(|| {
            rows.wakers.push(None);
            (rows.wakers.len() - 1) as u32
        });
        self.live.set(self.live.get() + 1);
        Line {
            lines: Rc::clone(self),
            row,
        }
    }

    pub(super) fn live(&self) -> usize {
        self.live.get()
    }

    pub(super) fn draining(&self) -> bool {
        self.draining.get()
    }

    /// Tells every connection to finish.
    pub(super) fn drain(&self) {
        self.draining.set(true);
        self.drain_begins.wake_all();
        let mut rows = self.rows.borrow_mut();
        rows.wakers
            .iter_mut()
            .filter_map(Option::take)
            .for_each(Waker::wake);
    }

    /// Resolves when the connections are told to finish.
    pub(super) async fn told_to_drain(&self) {
        while !self.draining.get() {
            self.drain_begins.wait().await;
        }
    }

    /// Resolves when no connection is left.
    pub(super) async fn all_ended(&self) {
        while self.live.get() > 0 {
            self.last_ended.wait().await;
        }
    }
}

impl Line {
    pub(super) fn draining(&self) -> bool {
        self.lines.draining()
    }

    /// Wakes the connection's task when it is to finish.
    pub(super) fn listen(&self, context: &Context<'_>) {
        let slot = &mut self.lines.rows.borrow_mut().wakers[self.row as usize];
        match slot {
            Some(waker) => waker.clone_from(context.waker()),
            None => *slot = Some(context.waker().clone()),
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let mut rows = self.lines.rows.borrow_mut();
        rows.wakers[self.row as usize] = None;
        rows.free.push(self.row);
        self.lines.live.set(self.lines.live.get() - 1);
        if self.lines.live.get() == 0 {
            self.lines.last_ended.wake_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn rows_are_used_again_and_the_last_to_leave_is_noticed() {
        let lines = Rc::new(Lines::default());
        let (first, second) = (lines.enter(), lines.enter());
        let row = first.row;
        drop(first);
        assert_eq!(lines.enter().row, row);
        let mut ended = Box::pin(lines.all_ended());
        assert_eq!((&mut ended).now_or_never(), None);
        drop(second);
        assert_eq!(ended.now_or_never(), Some(()));
    }
}
