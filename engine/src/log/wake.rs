//! One task waits, others wake it. Needs no runtime.
//!
//! Always:  a call to `wake` is never lost: the next `wait` sees it.
//! Core:    one; nothing here crosses threads.
//! Cancel:  dropping `wait` keeps a pending call for the next one.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

#[derive(Debug, Default)]
pub struct Bell {
    rung: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Bell {
    pub fn ring(&self) {
        self.rung.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Resolves once for any number of rings since it last resolved.
    pub fn wait(&self) -> impl Future<Output = ()> + '_ {
        poll_fn(|context| {
            if self.rung.replace(false) {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
    }
}

/// Many tasks wait, each for something that it looks at itself.
#[derive(Debug, Default)]
pub struct Gong {
    waiting: RefCell<Vec<Waker>>,
}

impl Gong {
    /// Lets everyone who waits look again.
    pub fn ring(&self) {
        let mut waiting = self.waiting.take();
        for waker in waiting.drain(..) {
            waker.wake();
        }
        // The memory is kept, unless somebody has begun to wait meanwhile.
        let mut now = self.waiting.borrow_mut();
        if now.is_empty() {
            *now = waiting;
        }
    }

    /// Has this task woken by the next ring.
    pub fn register(&self, waker: &Waker) {
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.iter().any(|known| known.will_wake(waker)) {
            waiting.push(waker.clone());
        }
    }

    /// Resolves when `holds` does; it is asked at once and after each ring.
    pub fn until(&self, mut holds: impl FnMut() -> bool) -> impl Future<Output = ()> {
        poll_fn(move |context| {
            if holds() {
                return Poll::Ready(());
            }
            self.register(context.waker());
            Poll::Pending
        })
    }
}

/// Says once that something has come to its end, to the one who waits for it.
#[derive(Debug, Default)]
pub struct Receipt {
    outcome: Cell<Option<bool>>,
    bell: Bell,
}

impl Receipt {
    /// `good` says whether what was waited for has happened or never will.
    pub fn give(&self, good: bool) {
        self.outcome.set(Some(good));
        self.bell.ring();
    }

    pub async fn wait(&self) -> bool {
        loop {
            if let Some(outcome) = self.outcome.get() {
                return outcome;
            }
            self.bell.wait().await;
        }
    }
}
