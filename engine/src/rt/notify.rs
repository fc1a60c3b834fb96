//! Waking tasks of the same executor: all that wait, or the one that waits longest.
//!
//! Always:  a [`Wait`] made before a wake-up is woken by it, polled or not: "look, then wait" loses
//!          nothing if the wait is made before the look.
//! Core:    one executor; nothing here is `Send`.
//! Cancel:  a dropped wait leaves no trace; what [`Notify::wake_one`] gave to it goes to the next.
//! Full:    one row for each waiting task.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// Where tasks wait.
#[derive(Debug, Default)]
pub struct Notify {
    table: RefCell<Table>,
}

#[derive(Debug, Default)]
struct Table {
    rows: Vec<Row>,
    free: Vec<usize>,
    /// Waiting rows, longest first. A row that is no longer waiting is skipped when met.
    order: VecDeque<(usize, u64)>,
    /// Tells a row's uses apart.
    uses: u64,
}

#[derive(Debug)]
struct Row {
    used: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    Free,
    Waiting(Option<Waker>),
    WokenWithAll,
    /// If the waiter goes without having seen it, another is woken in its stead.
    WokenAlone,
}

/// Resolves after the next wake-up.
#[derive(Debug)]
pub struct Wait<'a> {
    notify: &'a Notify,
    row: usize,
}

impl Notify {
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts to wait, from now on and not from the first poll.
    pub fn wait(&self) -> Wait<'_> {
        let row = self.table.borrow_mut().enter();
        Wait { notify: self, row }
    }

    /// Wakes every task that waits now.
    pub fn wake_all(&self) {
        let mut table = self.table.borrow_mut();
        table.order.clear();
        for row in &mut table.rows {
            if let State::Waiting(waker) = &mut row.state {
                let waker = waker.take();
                row.state = State::WokenWithAll;
                waker.into_iter().for_each(Waker::wake);
            }
        }
    }

    /// Wakes the task that has waited longest. `false` when none waits; then nothing is kept.
    pub fn wake_one(&self) -> bool {
        let mut table = self.table.borrow_mut();
        while let Some((index, used)) = table.order.pop_front() {
            let row = &mut table.rows[index];
            if row.used != used {
                continue;
            }
            if let State::Waiting(waker) = &mut row.state {
                let waker = waker.take();
                row.state = State::WokenAlone;
                waker.into_iter().for_each(Waker::wake);
                return true;
            }
        }
        false
    }

    /// Tasks that wait and have not been woken.
    pub fn waiting(&self) -> usize {
        let table = self.table.borrow();
        let waiting = |row: &&Row| matches!(row.state, State::Waiting(_));
        table.rows.iter().filter(waiting).count()
    }
}

impl Table {
    fn enter(&mut self) -> usize {
        self.uses += 1;
        let row = Row {
            used: self.uses,
            state: State::Waiting(None),
        };
        let index = self.free.pop().unwrap_or(self.rows.len());
        if index == self.rows.len() {
            self.rows.push(row);
        } else {
            self.rows[index] = row;
        }
        self.order.push_back((index, self.uses));
        index
    }

    fn leave(&mut self, index: usize) -> State {
        self.free.push(index);
        let left = std::mem::replace(&mut self.rows[index].state, State::Free);
        // Rows that left in the middle stay in the order until they come to its front.
        while let Some((front, used)) = self.order.front() {
            let row = &self.rows[*front];
            if row.used == *used && matches!(row.state, State::Waiting(_)) {
                break;
            }
            self.order.pop_front();
        }
        if self.order.len() > 2 * self.rows.len() {
            let rows = &self.rows;
            let waits = |(index, used): &(usize, u64)| {
                rows[*index].used == *used && matches!(rows[*index].state, State::Waiting(_))
            };
            self.order.retain(waits);
        }
        left
    }
}

impl Future for Wait<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut table = self.notify.table.borrow_mut();
        match &mut table.rows[self.row].state {
            State::Waiting(waker) => {
                match waker {
                    Some(known) => known.clone_from(context.waker()),
                    None => *waker = Some(context.waker().clone()),
                }
                Poll::Pending
            }
            seen => {
                *seen = State::WokenWithAll;
                Poll::Ready(())
            }
        }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let left = self.notify.table.borrow_mut().leave(self.row);
        if matches!(left, State::WokenAlone) {
            self.notify.wake_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn a_wake_up_before_the_first_poll_is_not_lost() {
        let notify = Notify::new();
        let wait = notify.wait();
        notify.wake_all();
        assert_eq!(wait.now_or_never(), Some(()));
    }

    #[test]
    fn a_wait_made_after_the_wake_up_waits() {
        let notify = Notify::new();
        notify.wake_all();
        assert!(!notify.wake_one());
        assert_eq!(notify.wait().now_or_never(), None);
        assert_eq!(notify.waiting(), 0);
    }

    #[test]
    fn the_longest_wait_is_woken_first() {
        let notify = Notify::new();
        let (mut first, mut second) = (notify.wait(), notify.wait());
        assert!(notify.wake_one());
        assert_eq!((&mut second).now_or_never(), None);
        assert_eq!((&mut first).now_or_never(), Some(()));
        drop(first);
        assert!(notify.wake_one());
        assert_eq!(second.now_or_never(), Some(()));
    }

    #[test]
    fn a_wake_up_given_to_a_dropped_wait_goes_to_the_next() {
        let notify = Notify::new();
        let (first, second) = (notify.wait(), notify.wait());
        notify.wake_one();
        drop(first);
        assert_eq!(second.now_or_never(), Some(()));
    }

    #[test]
    fn rows_are_used_again() {
        let notify = Notify::new();
        let keep = notify.wait();
        for _ in 0..1_000 {
            drop(notify.wait());
        }
        let table = notify.table.borrow();
        assert!(table.rows.len() <= 2 && table.order.len() <= 4);
        drop(table);
        drop(keep);
    }
}
