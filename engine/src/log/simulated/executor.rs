//! A tiny executor on one thread: which of the ready tasks goes next is drawn from a seed, so that a run
//! can be had again.

use super::Random;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Says that a task can go on. Atomic because a waker may be sent anywhere, not because it is here.
struct Ready(AtomicBool);

impl Wake for Ready {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Ready {
    fn new() -> Arc<Self> {
        Arc::new(Self(AtomicBool::new(true)))
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// More than any test has use for: what takes longer goes round in circles.
const STEPS_MAX: u64 = 1_000_000;

struct Task {
    future: Option<Pin<Box<dyn Future<Output = ()>>>>,
    ready: Arc<Ready>,
}

/// Who goes next.
#[derive(Clone, Copy)]
enum Choice {
    Task(usize),
    /// What is waited for.
    Main,
    Nobody,
}

/// Nothing can go on, and what was waited for has not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    #[error("no task can go on")]
    Stuck,
    #[error("the steps that were allowed are used up")]
    Steps,
}

/// Tasks that run beside what is waited for.
pub struct Executor {
    random: Random,
    tasks: Vec<Task>,
    /// Polls so far.
    steps: u64,
}

impl Executor {
    pub fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            tasks: Vec::new(),
            steps: 0,
        }
    }

    /// Adds a task; it runs whenever something is waited for.
    pub fn spawn(&mut self, future: impl Future<Output = ()> + 'static) {
        self.tasks.push(Task {
            future: Some(Box::pin(future)),
            ready: Ready::new(),
        });
    }

    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Tasks that have not come to their end.
    pub fn running(&self) -> usize {
        let running = |task: &&Task| task.future.is_some();
        self.tasks.iter().filter(running).count()
    }

    /// Runs everything until `future` has come to its end, which takes a million polls at most.
    pub fn wait<T>(&mut self, future: impl Future<Output = T>) -> Result<T, Halt> {
        self.wait_at_most(STEPS_MAX, future)
    }

    /// As [`Executor::wait`], for so many polls.
    pub fn wait_at_most<T>(
        &mut self,
        steps: u64,
        future: impl Future<Output = T>,
    ) -> Result<T, Halt> {
        let mut future = pin!(future);
        let ready = Ready::new();
        let waker = Waker::from(ready.clone());
        for _ in 0..steps {
            let chosen = self.choose(ready.is_set());
            self.steps += 1;
            match chosen {
                Choice::Nobody => return Err(Halt::Stuck),
                Choice::Task(task) => {
                    self.poll_task(task);
                    continue;
                }
                Choice::Main => {}
            }
            ready.0.store(false, Ordering::Relaxed);
            if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return Ok(value);
            }
        }
        Err(Halt::Steps)
    }

    /// Runs the tasks until none can go on. Panics after a million polls.
    pub fn settle(&mut self) {
        for _ in 0..STEPS_MAX {
            let Choice::Task(task) = self.choose(false) else {
                return;
            };
            self.steps += 1;
            self.poll_task(task);
        }
        panic!("the tasks go round in circles");
    }

    /// One of those that are ready.
    fn choose(&mut self, main_ready: bool) -> Choice {
        let ready = |task: &Task| task.future.is_some() && task.ready.is_set();
        let count = self.tasks.iter().filter(|task| ready(task)).count();
        let all = count + usize::from(main_ready);
        if all == 0 {
            return Choice::Nobody;
        }
        let chosen = self.random.below(all as u64) as usize;
        let mut indices = (0..self.tasks.len()).filter(|index| ready(&self.tasks[*index]));
        indices.nth(chosen).map_or(Choice::Main, Choice::Task)
    }

    fn poll_task(&mut self, index: usize) {
        let task = &mut self.tasks[index];
        task.ready.0.store(false, Ordering::Relaxed);
        let waker = Waker::from(task.ready.clone());
        let mut context = Context::from_waker(&waker);
        let future = task.future.as_mut();
        if future.is_some_and(|future| future.as_mut().poll(&mut context).is_ready()) {
            task.future = None;
        }
    }
}

/// Runs `future` alone to its end. Panics when it cannot go on.
pub fn run<T>(seed: u64, future: impl Future<Output = T>) -> T {
    let ended = Executor::new(seed).wait(future);
    ended.expect("a future that runs alone wakes itself or ends")
}

/// Lets the others go first, so many times.
pub fn pause(mut times: u64) -> impl Future<Output = ()> {
    poll_fn(move |context| {
        if times == 0 {
            return Poll::Ready(());
        }
        times -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    })
}
