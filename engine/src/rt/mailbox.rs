//! A bounded way from one executor to another: one sender, one receiver, no locks.
//!
//! Always:  letters arrive in the order in which they were taken.
//! Core:    the ends are made anywhere and sent to their executors; [`Sender::connect`] and
//!          [`Receiver::connect`] bind them there, and resolve when the other end is bound as well.
//! Cancel:  dropping `recv` loses nothing. Dropping `send` before it resolves drops the letter.
//! Full:    `try_send` gives the letter back.
//!
//! A message costs tens of nanoseconds, waking a sleeping receiver a write to its eventfd: never
//! once for each event.

use futures_util::future::poll_fn;
use futures_util::task::{ArcWake, AtomicWaker, waker_ref};
use glommio::channels::shared_channel::{
    self, ConnectedReceiver, ConnectedSender, SharedReceiver, SharedSender,
};
use glommio::{GlommioError, ResourceType};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

/// Why a letter was not taken.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused<T> {
    /// The mailbox holds as many letters as it may.
    Full(T),
    /// The receiver is gone.
    Closed(T),
}

/// The receiver is gone; the letter with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the other end of the mailbox is gone")]
pub struct Closed;

/// A mailbox for `depth` letters (rounded up to a power of two).
pub fn mailbox<T: Send + 'static>(depth: usize) -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = shared_channel::new_bounded(depth);
    let gone = Arc::new(AtomicBool::new(false));
    let receiver = Receiver {
        gone: Gone(Arc::clone(&gone)),
        receiver,
    };
    (Sender { sender, gone }, receiver)
}

/// The unbound sending end.
#[derive(Debug)]
pub struct Sender<T: Send> {
    sender: SharedSender<T>,
    gone: Arc<AtomicBool>,
}

/// The unbound receiving end.
#[derive(Debug)]
pub struct Receiver<T: Send> {
    gone: Gone,
    receiver: SharedReceiver<T>,
}

/// Set when the receiver is dropped.
#[derive(Debug)]
struct Gone(Arc<AtomicBool>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// The sending end on its executor.
#[derive(Debug)]
pub struct Outgoing<T: Send> {
    sender: ConnectedSender<T>,
    gone: Arc<AtomicBool>,
}

/// The receiving end on its executor.
#[derive(Debug)]
pub struct Incoming<T: Send> {
    // Dropped after the flag is set, because fields are dropped in order.
    _gone: Gone,
    receiver: ConnectedReceiver<T>,
    signal: Arc<Signal>,
}

impl<T: Send + 'static> Sender<T> {
    pub async fn connect(self) -> Outgoing<T> {
        Outgoing {
            sender: self.sender.connect().await,
            gone: self.gone,
        }
    }
}

impl<T: Send + 'static> Receiver<T> {
    pub async fn connect(self) -> Incoming<T> {
        Incoming {
            receiver: self.receiver.connect().await,
            signal: Arc::default(),
            _gone: self.gone,
        }
    }
}

impl<T: Send> Outgoing<T> {
    pub fn try_send(&self, letter: T) -> Result<(), Refused<T>> {
        match self.sender.try_send(letter) {
            Ok(()) => Ok(()),
            Err(GlommioError::WouldBlock(ResourceType::Channel(letter))) => {
                Err(Refused::Full(letter))
            }
            Err(GlommioError::Closed(ResourceType::Channel(letter))) => {
                Err(Refused::Closed(letter))
            }
            Err(other) => unreachable!("a channel answers full or closed, not {other}"),
        }
    }

    /// Waits for room.
    pub async fn send(&self, letter: T) -> Result<(), Closed> {
        let letter = match self.try_send(letter) {
            Ok(()) => return Ok(()),
            Err(Refused::Closed(_)) => return Err(Closed),
            Err(Refused::Full(letter)) => letter,
        };
        let signal = Arc::<Signal>::default();
        let mut sending = pin!(self.sender.send(letter));
        poll_fn(|context| {
            // Asked before the channel: a full channel never tells that its receiver is gone.
            if self.gone.load(Ordering::Acquire) {
                return Poll::Ready(Err(Closed));
            }
            let sent = signal.poll(context, |context| sending.as_mut().poll(context));
            sent.map(|sent| sent.map_err(|_| Closed))
        })
        .await
    }

    pub fn is_closed(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }
}

impl<T: Send> Incoming<T> {
    /// The next letter; `None` when the sender is gone and every letter has been read.
    pub async fn recv(&mut self) -> Option<T> {
        poll_fn(|context| self.poll_recv(context)).await
    }

    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<T>> {
        let receiver = &mut self.receiver;
        self.signal.poll(context, |context| {
            futures_util::Stream::poll_next(std::pin::Pin::new(receiver), context)
        })
    }
}

/// Keeps the channel's list of wakers at one.
///
/// The channel keeps one more waker for each poll that finds nothing, without looking whether it is
/// the same, and a task that waits for several things polls often.
#[derive(Debug, Default)]
struct Signal {
    /// The channel holds our waker.
    armed: AtomicBool,
    task: AtomicWaker,
}

impl ArcWake for Signal {
    fn wake_by_ref(signal: &Arc<Self>) {
        signal.armed.store(false, Ordering::Release);
        signal.task.wake();
    }
}

impl Signal {
    fn poll<R>(
        self: &Arc<Self>,
        context: &mut Context<'_>,
        ask: impl FnOnce(&mut Context<'_>) -> Poll<R>,
    ) -> Poll<R> {
        self.task.register(context.waker());
        if self.armed.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        let waker = waker_ref(self);
        let answer = ask(&mut Context::from_waker(&waker));
        if answer.is_pending() {
            self.armed.store(true, Ordering::Release);
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::super::executor::{self, Handle, Plan};
    use super::*;
    use futures_util::FutureExt;

    fn on_its_own<Fut, T>(name: &str, body: impl FnOnce() -> Fut + Send + 'static) -> Handle<T>
    where
        Fut: Future<Output = T> + 'static,
        T: Send + 'static,
    {
        executor::start(Plan::small(name), body).unwrap()
    }

    #[test]
    fn letters_arrive_in_order_and_the_end_is_seen() {
        let (sender, receiver) = mailbox(4);
        let writer = on_its_own("writer", move || async move {
            let sender = sender.connect().await;
            for letter in 0..1_000_u32 {
                sender.send(letter).await.unwrap();
            }
        });
        let reader = on_its_own("reader", move || async move {
            let mut receiver = receiver.connect().await;
            let mut seen = Vec::new();
            while let Some(letter) = receiver.recv().await {
                seen.push(letter);
            }
            seen
        });
        writer.join();
        assert!(reader.join().into_iter().eq(0..1_000));
    }

    #[test]
    fn a_full_mailbox_gives_the_letter_back() {
        let (sender, receiver) = mailbox(2);
        let reader = on_its_own("reader", move || async move {
            let mut receiver = receiver.connect().await;
            let (first, second) = (receiver.recv().await, receiver.recv().await);
            (first, second, receiver.recv().await)
        });
        let writer = on_its_own("writer", move || async move {
            let sender = sender.connect().await;
            // Only a reader that is faster than this loop could keep it from filling.
            let mut refused = None;
            while refused.is_none() && sender.try_send("letter").is_ok() {
                refused = sender.try_send("extra").err();
            }
            sender.is_closed() || refused.is_none_or(|refused| refused == Refused::Full("extra"))
        });
        assert!(writer.join());
        assert_eq!(reader.join().0, Some("letter"));
    }

    #[test]
    fn a_sender_that_waits_for_room_learns_that_the_receiver_is_gone() {
        let (sender, receiver) = mailbox(1);
        let (leave, left) = std::sync::mpsc::channel::<()>();
        let reader = on_its_own("reader", move || async move {
            let receiver = receiver.connect().await;
            executor::blocking(move || left.recv()).await.unwrap();
            drop(receiver);
        });
        let writer = on_its_own("writer", move || async move {
            let sender = sender.connect().await;
            while sender.try_send(()).is_ok() {}
            let mut waiting = pin!(sender.send(()));
            assert_eq!(waiting.as_mut().now_or_never(), None);
            leave.send(()).unwrap();
            let refused = waiting.await;
            (refused, sender.try_send(()))
        });
        assert_eq!(writer.join(), (Err(Closed), Err(Refused::Closed(()))));
        reader.join();
    }

    #[test]
    fn an_end_that_never_connects_is_seen_as_gone() {
        let (sender, receiver) = mailbox::<u8>(1);
        drop(sender);
        let reader = on_its_own("reader", move || async move {
            receiver.connect().await.recv().await
        });
        assert_eq!(reader.join(), None);
    }

    #[test]
    fn polling_often_does_not_pile_up_wakers() {
        let (sender, receiver) = mailbox::<u8>(1);
        let both = on_its_own("both", move || async move {
            let (sender, mut receiver) =
                futures_util::future::join(sender.connect(), receiver.connect()).await;
            // The runtime counts a task's wakers in 16 bits and panics beyond.
            for _ in 0..100_000 {
                poll_fn(|context| {
                    assert!(receiver.poll_recv(context).is_pending());
                    Poll::Ready(())
                })
                .await;
            }
            sender.try_send(7).unwrap();
            receiver.recv().await
        });
        assert_eq!(both.join(), Some(7));
    }
}
