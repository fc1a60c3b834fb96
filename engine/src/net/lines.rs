//! Who is connected to one shard's doors, so that each can be woken when something of its is due, and
//! all can be told to finish.
//!
//! Always:  one list of moments in their order for all connections, and one timer. A moment that is put
//!          off is not moved: the connection is woken at the old one and names the new.
//! Core:    one table for each shard.
//! Cancel:  a dropped [`Line`] leaves the table.
//! Full:    one row for each connection; the limit of open files bounds them. Moments of connections that
//!          have gone are cleared away when they are the greater part.

use crate::limit::{DRAIN_STEP, LINES_MAX, PULSE};
use crate::rt::notify::Notify;
use crate::rt::timer::{Moment, sleep, timeout};
use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

/// The connections of one shard.
#[derive(Debug, Default)]
pub(super) struct Lines {
    rows: RefCell<Rows>,
    live: Cell<usize>,
    draining: Cell<bool>,
    drain_begins: Notify,
    last_ended: Notify,
    /// A moment was named that comes before all others.
    earlier: Notify,
}

#[derive(Debug, Default)]
struct Rows {
    all: Vec<Row>,
    free: Vec<u32>,
    /// The earliest first. A moment that is not its row's any more is passed over.
    moments: BinaryHeap<Reverse<Entry>>,
}

#[derive(Debug)]
struct Row {
    waker: Option<Waker>,
    /// When the connection is to be woken.
    due: Moment,
    is_due: bool,
    is_live: bool,
    /// It is its turn to leave.
    must_leave: bool,
}

/// A moment (the upper bits) and a row, in one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry(u64);

/// The list of moments is cleared of the dead when it has so many more than there are connections.
const DEAD_MAX: usize = 1_024;

impl Row {
    const FREE: Self = Self {
        waker: None,
        due: Moment::NEVER,
        is_due: false,
        is_live: false,
        must_leave: false,
    };
}

impl Entry {
    fn new(moment: Moment, row: u32) -> Self {
        Self(moment.millis() * LINES_MAX as u64 + u64::from(row))
    }

    fn moment(self) -> Moment {
        Moment::from_millis(self.0 / LINES_MAX as u64)
    }

    fn row(self) -> usize {
        self.0 as usize % LINES_MAX
    }
}

impl Rows {
    fn is_current(rows: &[Row], entry: Entry) -> bool {
        rows[entry.row()].due == entry.moment()
    }

    /// Wakes whoever is due, and tells when the next is.
    fn ring(&mut self, now: Moment) -> Option<Moment> {
        while let Some(Reverse(entry)) = self.moments.peek().copied() {
            if Self::is_current(&self.all, entry) {
                if now < entry.moment() {
                    return Some(entry.moment());
                }
                let row = &mut self.all[entry.row()];
                row.due = Moment::NEVER;
                row.is_due = true;
                row.waker.take().into_iter().for_each(Waker::wake);
            }
            self.moments.pop();
        }
        None
    }

    /// Says whether the moment comes before all others.
    fn wake_at(&mut self, row: u32, moment: Moment) -> bool {
        let own = &mut self.all[row as usize];
        if own.due <= moment {
            return false;
        }
        own.due = moment;
        let entry = Entry::new(moment, row);
        let first = self.moments.peek().is_none_or(|first| entry < first.0);
        self.moments.push(Reverse(entry));
        if DEAD_MAX + 2 * self.all.len() < self.moments.len() {
            let rows = &self.all;
            self.moments
                .retain(|Reverse(entry)| Self::is_current(rows, *entry));
        }
        first
    }
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
            assert!(rows.all.len() < LINES_MAX, "a shard has too many files");
            rows.all.push(Row::FREE);
            (rows.all.len() - 1) as u32
        });
        rows.all[row as usize].is_live = true;
        rows.all[row as usize].must_leave = self.draining.get();
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

    /// Tells every connection that no new ones are taken, and to finish unless it is a WebSocket.
    pub(super) fn drain(&self) {
        self.draining.set(true);
        self.drain_begins.wake_all();
        let mut rows = self.rows.borrow_mut();
        rows.all
            .iter_mut()
            .filter_map(|row| row.waker.take())
            .for_each(Waker::wake);
    }

    /// Tells the WebSockets to finish, one after the other, so that their clients do not all come back
    /// at once. Resolves when all were told, at the latest after `window`.
    pub(super) async fn dismiss(&self, window: Duration) {
        let live = |(row, state): (u32, &Row)| state.is_live.then_some(row);
        let all: Vec<u32> = (0..)
            .zip(&self.rows.borrow().all)
            .filter_map(live)
            .collect();
        let steps = (window.as_millis() / DRAIN_STEP.as_millis()).max(1) as usize;
        let mut told = 0;
        for step in 1..=steps {
            let upto = (all.len() * step).div_ceil(steps);
            for row in &all[told..upto] {
                self.tell_to_leave(*row);
            }
            told = upto;
            if told == all.len() || self.live.get() == 0 {
                return;
            }
            sleep(DRAIN_STEP).await;
        }
    }

    fn tell_to_leave(&self, row: u32) {
        let row = &mut self.rows.borrow_mut().all[row as usize];
        row.must_leave = true;
        row.waker.take().into_iter().for_each(Waker::wake);
    }

    /// Wakes connections when what they named is due, for ever.
    pub(super) async fn keep_time(&self) {
        loop {
            let earlier = self.earlier.wait();
            let next = self.rows.borrow_mut().ring(Moment::now());
            match next {
                None => earlier.await,
                Some(next) => {
                    let time = next.since(Moment::now()).max(PULSE);
                    let _sooner = timeout(time, earlier).await;
                }
            }
        }
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

    /// Whether it is this WebSocket's turn to finish.
    pub(super) fn must_leave(&self) -> bool {
        self.lines.rows.borrow().all[self.row as usize].must_leave
    }

    /// Wakes the connection's task when it is to finish.
    pub(super) fn listen(&self, context: &Context<'_>) {
        let slot = &mut self.lines.rows.borrow_mut().all[self.row as usize].waker;
        match slot {
            Some(waker) => waker.clone_from(context.waker()),
            None => *slot = Some(context.waker().clone()),
        }
    }

    /// Has the connection woken at `moment`, or earlier if that was asked for before.
    pub(super) fn wake_at(&self, moment: Moment) {
        let is_first = self.lines.rows.borrow_mut().wake_at(self.row, moment);
        if is_first {
            self.lines.earlier.wake_all();
        }
    }

    /// Whether the moment has come, once.
    pub(super) fn take_due(&self) -> bool {
        let row = &mut self.lines.rows.borrow_mut().all[self.row as usize];
        std::mem::take(&mut row.is_due)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let mut rows = self.lines.rows.borrow_mut();
        rows.all[self.row as usize] = Row::FREE;
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
    fn connections_are_woken_in_the_order_of_their_moments() {
        let lines = Rc::new(Lines::default());
        let (one, other) = (lines.enter(), lines.enter());
        let at = Moment::from_millis;
        one.wake_at(at(30));
        other.wake_at(at(20));
        // What is later than what was asked for changes nothing, what is earlier does.
        other.wake_at(at(50));
        one.wake_at(at(10));
        let ring = |ms| lines.rows.borrow_mut().ring(at(ms));
        assert_eq!(ring(9), Some(at(10)));
        assert_eq!(ring(10), Some(at(20)));
        assert!(one.take_due() && !one.take_due() && !other.take_due());
        one.wake_at(at(40));
        assert_eq!(ring(25), Some(at(40)));
        assert!(other.take_due() && !one.take_due());
        drop(one);
        assert_eq!(ring(60), None);
    }

    #[test]
    fn moments_of_those_who_went_do_not_pile_up() {
        let lines = Rc::new(Lines::default());
        for ms in 0..100_000 {
            lines.enter().wake_at(Moment::from_millis(1_000_000 + ms));
        }
        assert!(lines.rows.borrow().moments.len() <= DEAD_MAX + 2);
    }

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
