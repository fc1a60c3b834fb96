//! One task waits, others wake it. Needs no runtime.
//!
//! Always:  a call to `wake` is never lost: the next `wait` sees it.
//! Core:    one; nothing here crosses threads.
//! Cancel:  dropping `wait` keeps a pending call for the next one.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

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

    /// What was given, if anything was.
    pub fn given(&self) -> Option<bool> {
        self.outcome.get()
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

/// Lets the other tasks of the core go first, once.
pub fn yield_now() -> impl Future<Output = ()> {
    let mut yielded = false;
    poll_fn(move |context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
}

/// Lets so much through at once; who comes later waits in line.
///
/// Always:  passes that are held never weigh more than the gate is wide, but for a single one that weighs more,
///          and for those from before it was made narrower.
/// Cancel:  who leaves the line, or drops a pass, lets the next one through.
#[derive(Debug)]
pub struct Gate {
    inside: Cell<usize>,
    width: Cell<usize>,
    line: RefCell<VecDeque<(u64, Waker)>>,
    next: Cell<u64>,
}

/// Held by who is through.
#[derive(Debug)]
pub struct Pass<'a> {
    gate: &'a Gate,
    weight: usize,
}

struct InLine<'a> {
    gate: &'a Gate,
    number: u64,
    weight: usize,
}

impl Gate {
    pub fn new(width: usize) -> Self {
        Self {
            inside: Cell::new(0),
            width: Cell::new(width),
            line: RefCell::new(VecDeque::new()),
            next: Cell::new(0),
        }
    }

    /// Waits for its turn, and until there is room for `weight`.
    pub fn enter(&self, weight: usize) -> impl Future<Output = Pass<'_>> {
        let number = self.next.replace(self.next.get() + 1);
        InLine {
            gate: self,
            number,
            weight,
        }
    }

    /// Lets so much through at once from now on.
    pub fn set_width(&self, width: usize) {
        if self.width.replace(width) < width {
            self.wake_first();
        }
    }

    fn wake_first(&self) {
        if let Some((_, waker)) = self.line.borrow().front() {
            waker.wake_by_ref();
        }
    }
}

impl<'a> Future for InLine<'a> {
    type Output = Pass<'a>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Pass<'a>> {
        let gate = self.gate;
        let mut line = gate.line.borrow_mut();
        let first = line.front().is_none_or(|(first, _)| *first == self.number);
        let inside = gate.inside.get();
        if first && (inside == 0 || inside + self.weight <= gate.width.get()) {
            gate.inside.set(inside + self.weight);
            let weight = self.weight;
            // Its drop takes it out of the line and wakes the next one.
            return Poll::Ready(Pass { gate, weight });
        }
        let waker = context.waker().clone();
        match line.iter_mut().find(|(number, _)| *number == self.number) {
            Some(place) => place.1 = waker,
            None => line.push_back((self.number, waker)),
        }
        Poll::Pending
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        let mut line = self.gate.line.borrow_mut();
        line.retain(|(number, _)| *number != self.number);
        drop(line);
        self.gate.wake_first();
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.gate.inside.set(self.gate.inside.get() - self.weight);
        self.gate.wake_first();
    }
}

#[cfg(test)]
mod tests {
    use super::super::simulated::{Executor, Random, pause};
    use super::*;
    use std::rc::Rc;

    #[test]
    fn no_more_than_its_width_goes_through_a_gate_and_everybody_does() {
        for seed in 1..50 {
            let gate = Rc::new(Gate::new(10));
            let (inside, through) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
            let mut executor = Executor::new(seed);
            let mut random = Random::new(seed);
            for _ in 0..40 {
                let (weight, stay) = (1 + random.below(12) as usize, random.below(5));
                let (gate, inside, through) = (gate.clone(), inside.clone(), through.clone());
                let leaves = random.one_in(4);
                executor.spawn(async move {
                    if leaves {
                        let enter = gate.enter(weight);
                        futures_util::future::select(Box::pin(enter), Box::pin(pause(2))).await;
                        through.set(through.get() + 1);
                        return;
                    }
                    let pass = gate.enter(weight).await;
                    inside.set(inside.get() + weight);
                    assert!(inside.get() <= weight.max(10), "SEED={seed}");
                    pause(stay).await;
                    inside.set(inside.get() - weight);
                    drop(pass);
                    through.set(through.get() + 1);
                });
            }
            executor.settle();
            assert_eq!((through.get(), executor.running()), (40, 0), "SEED={seed}");
            assert_eq!(gate.inside.get(), 0);
        }
    }

    #[test]
    fn a_gate_that_is_made_wider_lets_in_who_waits() {
        let gate = Rc::new(Gate::new(1));
        let mut executor = Executor::new(1);
        let through = Rc::new(Cell::new(0));
        for _ in 0..3 {
            let (gate, through) = (gate.clone(), through.clone());
            executor.spawn(async move {
                let pass = gate.enter(1).await;
                through.set(through.get() + 1);
                std::mem::forget(pass);
            });
        }
        executor.settle();
        assert_eq!(through.get(), 1);
        gate.set_width(2);
        executor.settle();
        assert_eq!(through.get(), 2);
        gate.set_width(1);
        gate.set_width(3);
        executor.settle();
        assert_eq!(through.get(), 3);
    }
}
