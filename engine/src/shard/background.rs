//! Work in the background that ends in order: volumes are filled and scrubbed at a pace, and stop at it.
//!
//! Always:  work is only dropped where it waits for its pace, with no call to the disk under way: the executor's
//!          helper must not end in the middle of one.
//! Core:    the executor that it is made on.
//! Cancel:  [`Background::stop`] resolves when all work has ended or waits.

use crate::log::journal::Pace;
use crate::rt::executor::{Task, spawn_local};
use crate::rt::notify::Notify;
use crate::rt::timer;
use futures_util::future::{self, Either};
use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

/// All work in the background of one executor. Cheap to clone.
#[derive(Clone, Default)]
pub struct Background {
    shared: Rc<Shared>,
}

#[derive(Default)]
struct Shared {
    stopping: Cell<bool>,
    stop: Notify,
    tasks: RefCell<Vec<Task<()>>>,
}

/// Where one piece of work waits.
#[derive(Clone)]
pub struct Rest {
    shared: Rc<Shared>,
    parked: Rc<Parked>,
}

#[derive(Default)]
struct Parked {
    here: Cell<bool>,
    told: Notify,
}

impl Background {
    /// Starts work, which is given the place where it may rest.
    pub fn start<F: Future<Output = ()> + 'static>(&self, work: impl FnOnce(Rest) -> F) {
        if self.shared.stopping.get() {
            return;
        }
        let parked = Rc::new(Parked::default());
        let work = work(Rest {
            shared: Rc::clone(&self.shared),
            parked: Rc::clone(&parked),
        });
        let task = spawn_local(async move {
            let stopped = pin!(parked.wait());
            future::select(pin!(work), stopped).await;
        });
        self.shared.tasks.borrow_mut().push(task);
    }

    /// Stops all work where it rests next.
    pub async fn stop(&self) {
        self.shared.stopping.set(true);
        self.shared.stop.wake_all();
        let tasks = self.shared.tasks.take();
        future::join_all(tasks).await;
    }
}

impl Parked {
    async fn wait(&self) {
        let told = self.told.wait();
        if !self.here.get() {
            told.await;
        }
    }
}

impl Rest {
    /// Waits so long; for ever when all is to stop.
    pub async fn sleep(&self, time: Duration) {
        let stop = self.shared.stop.wait();
        if !self.shared.stopping.get() {
            let sleep = pin!(timer::sleep(time));
            let slept = matches!(future::select(sleep, stop).await, Either::Left(_));
            if slept && !self.shared.stopping.get() {
                return;
            }
        }
        self.parked.here.set(true);
        self.parked.told.wake_all();
        future::pending::<()>().await;
    }

    /// Rests after so many bytes as long as `bytes_per_second` asks for.
    pub fn pace(&self, bytes_per_second: u64) -> Pace {
        let rest = self.clone();
        Rc::new(move |bytes| {
            let micros = bytes.saturating_mul(1_000_000) / bytes_per_second.max(1);
            let rest = rest.clone();
            Box::pin(async move { rest.sleep(Duration::from_micros(micros)).await })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt::executor::{Plan, block_on};

    #[test]
    fn work_is_stopped_where_it_rests_and_nowhere_else() {
        let plan = Plan::small("background");
        let (steps, whole) = block_on(&plan, async {
            let background = Background::default();
            let (steps, whole) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(true)));
            let (counted, at_rest) = (Rc::clone(&steps), Rc::clone(&whole));
            background.start(|rest| async move {
                let pace = rest.pace(1_000_000);
                loop {
                    at_rest.set(false);
                    // Stands for a call to the disk: other tasks run meanwhile.
                    timer::sleep(Duration::from_millis(1)).await;
                    counted.set(counted.get() + 1);
                    at_rest.set(true);
                    pace(100).await;
                }
            });
            while steps.get() < 3 {
                timer::sleep(Duration::from_millis(1)).await;
            }
            background.stop().await;
            (steps.get(), whole.get())
        })
        .unwrap();
        assert!(3 <= steps);
        assert!(whole, "work was dropped in the middle of a call");
    }

    #[test]
    fn work_that_has_ended_or_rests_long_does_not_hold_up_the_end() {
        block_on(&Plan::small("background"), async {
            let background = Background::default();
            background.start(|_| async {});
            background.start(|rest| async move { rest.sleep(Duration::from_secs(3600)).await });
            background.stop().await;
            let mut begun = false;
            background.start(|_| {
                begun = true;
                async {}
            });
            assert!(!begun, "work was begun after the end");
        })
        .unwrap();
    }
}
