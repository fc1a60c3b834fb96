//! What hyper needs from a runtime: a stream, an executor, a timer.
//!
//! Core:    everything stays on one executor, although hyper's traits ask of a sleep that it may
//!          be sent: [`OneThread`] holds it to its thread.
//! Cancel:  as for streams and timers.

use super::executor::spawn_local;
use super::stream::Stream;
use hyper::rt::{Executor, Read, ReadBufCursor, Sleep, Timer, Write};
use std::io;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

/// A stream as hyper reads and writes it.
#[derive(Debug)]
pub struct Io(Stream);

impl Io {
    pub fn new(stream: Stream) -> Self {
        Self(stream)
    }

    pub fn into_stream(self) -> Stream {
        self.0
    }
}

impl Read for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let space = buffer.initialize_unfilled();
        let bytes = ready!(self.0.poll_receive(context, space))?;
        // SAFETY: these bytes were initialised above, all of them.
        unsafe { buffer.advance(bytes) };
        Poll::Ready(Ok(()))
    }
}

impl Write for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.0.poll_send(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.end_sending();
        Poll::Ready(Ok(()))
    }
}

/// Runs hyper's tasks on the executor of the calling thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tasks;

impl<F> Executor<F> for Tasks
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        spawn_local(future).detach();
    }
}

/// Gives hyper the executor's timers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timers;

impl Timer for Timers {
    fn sleep(&self, time: Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(Sleeping(OneThread::new(glommio::timer::Timer::new(time))))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        self.sleep(deadline.saturating_duration_since(self.now()))
    }

    #[expect(clippy::disallowed_methods, reason = "hyper's deadlines are instants")]
    fn now(&self) -> Instant {
        Instant::now()
    }
}

struct Sleeping(OneThread<glommio::timer::Timer>);

impl Sleep for Sleeping {}

impl Future for Sleeping {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        Pin::new(self.0.get()).poll(context).map(|_when| ())
    }
}

/// A value that may be sent anywhere, and used only where it was made.
struct OneThread<T> {
    value: ManuallyDrop<T>,
    home: ThreadId,
}

// SAFETY: the value is reached only through `get`, which panics on any thread but its own, and is
// dropped only on its own thread; elsewhere it is leaked.
unsafe impl<T> Send for OneThread<T> {}
// SAFETY: a shared reference gives no access to the value.
unsafe impl<T> Sync for OneThread<T> {}

impl<T> OneThread<T> {
    fn new(value: T) -> Self {
        Self {
            value: ManuallyDrop::new(value),
            home: std::thread::current().id(),
        }
    }

    fn get(&mut self) -> &mut T {
        assert_eq!(self.home, std::thread::current().id());
        &mut self.value
    }
}

impl<T> Drop for OneThread<T> {
    fn drop(&mut self) {
        if self.home == std::thread::current().id() {
            // SAFETY: the value is dropped here and nowhere else, and not used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.value) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::executor::{Plan, block_on};
    use super::*;

    #[test]
    fn a_value_is_dropped_at_home_and_leaked_abroad() {
        let value = std::rc::Rc::new(());
        drop(OneThread::new(std::rc::Rc::clone(&value)));
        assert_eq!(std::rc::Rc::strong_count(&value), 1);
        let sent = OneThread::new(std::rc::Rc::clone(&value));
        std::thread::spawn(move || drop(sent)).join().unwrap();
        assert_eq!(std::rc::Rc::strong_count(&value), 2);
    }

    #[test]
    fn a_sleep_that_hyper_holds_ends() {
        block_on(&Plan::small("hyper"), async {
            Timers.sleep(Duration::from_millis(1)).await;
            let soon = Timers.now() + Duration::from_millis(1);
            Timers.sleep_until(soon).await;
        })
        .unwrap();
    }
}
