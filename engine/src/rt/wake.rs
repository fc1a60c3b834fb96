//! Being woken by foreign code: threads that are not ours, and signals.
//!
//! A socketpair, because the runtime waits for sockets and not for bare descriptors (an eventfd
//! would park a kernel worker).
//!
//! Core:    the [`Ringer`] goes to the foreign side, the [`Bell`] stays on its executor.
//! Cancel:  dropping `rung` loses no ring.
//! Full:    rings that were not heard yet become one.

use futures_util::io::AsyncRead;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use std::future::poll_fn;
use std::io::{self, Write};
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

/// The foreign end.
#[derive(Debug)]
pub struct Ringer(UnixStream);

/// The executor's end.
#[derive(Debug)]
pub struct Bell(glommio::net::UnixStream);

/// Makes both ends; on the executor where the bell is to be heard.
pub fn bell() -> io::Result<(Ringer, Bell)> {
    let (ours, theirs) = UnixStream::pair()?;
    theirs.set_nonblocking(true)?;
    // SAFETY: the descriptor is a connected socket that nothing else owns.
    let ours = unsafe { glommio::net::UnixStream::from_raw_fd(ours.into_raw_fd()) };
    Ok((Ringer(theirs), Bell(ours)))
}

impl Ringer {
    pub fn ring(&self) {
        // A full pipe is a bell that rings already; a closed one has nobody to hear it.
        let _rings_already = (&self.0).write(&[1]);
    }

    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// The descriptor, for libraries that write to one themselves.
    pub fn into_descriptor(self) -> OwnedFd {
        self.0.into()
    }
}

impl Bell {
    /// Resolves after one or more rings; an error when the foreign end is gone.
    pub async fn rung(&mut self) -> io::Result<()> {
        poll_fn(|context| self.poll_rung(context)).await
    }

    pub fn poll_rung(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut rings = [0; 64];
        let mut heard = false;
        loop {
            let bytes = match Pin::new(&mut self.0).poll_read(context, &mut rings) {
                Poll::Ready(Ok(bytes)) => bytes,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if heard => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            };
            match bytes {
                0 if heard => return Poll::Ready(Ok(())),
                0 => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                // There may be more of them: they are one ring.
                64 => heard = true,
                _ => return Poll::Ready(Ok(())),
            }
        }
    }
}

/// Why the process is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Interrupt,
    Terminate,
    HangUp,
    Quit,
}

impl Signal {
    const ALL: [(i32, Self); 4] = [
        (SIGINT, Self::Interrupt),
        (SIGTERM, Self::Terminate),
        (SIGHUP, Self::HangUp),
        (SIGQUIT, Self::Quit),
    ];
}

/// Hears the signals that ask the process to end, which from then on do not end it by themselves.
#[derive(Debug)]
pub struct Signals {
    bell: Bell,
    /// The number of the last signal.
    last: Arc<AtomicUsize>,
}

impl Signals {
    /// Once for each process, on the executor that is to hear them.
    pub fn listen() -> io::Result<Self> {
        let (ringer, bell) = bell()?;
        let last = Arc::new(AtomicUsize::new(0));
        for (number, _) in Signal::ALL {
            // Actions run in the order of their registration: first the number, then the ring.
            let kept = Arc::clone(&last);
            signal_hook::flag::register_usize(number, kept, number.unsigned_abs() as usize)?;
            signal_hook::low_level::pipe::register(number, ringer.try_clone()?.0)?;
        }
        Ok(Self { bell, last })
    }

    /// The next signal. Of several that came together, the last.
    pub async fn next(&mut self) -> io::Result<Signal> {
        loop {
            self.bell.rung().await?;
            let number = self.last.swap(0, Ordering::AcqRel);
            let known = Signal::ALL.iter();
            let mut known = known.filter(|row| row.0.unsigned_abs() as usize == number);
            if let Some((_, signal)) = known.next() {
                return Ok(*signal);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::executor::{Plan, block_on};
    use super::*;

    #[test]
    fn a_foreign_thread_wakes_the_executor() {
        block_on(&Plan::small("bell"), async {
            let (ringer, mut bell) = bell().unwrap();
            let thread = std::thread::spawn(move || {
                for _ in 0..1_000 {
                    ringer.ring();
                }
            });
            bell.rung().await.unwrap();
            // When the thread is gone so is its end, after the rings that are left.
            while bell.rung().await.is_ok() {}
            thread.join().unwrap();
        })
        .unwrap();
    }

    #[test]
    fn exactly_as_many_rings_as_are_read_at_once_are_heard() {
        block_on(&Plan::small("bell"), async {
            let (ringer, mut bell) = bell().unwrap();
            (0..64).for_each(|_| ringer.ring());
            bell.rung().await.unwrap();
        })
        .unwrap();
    }

    #[test]
    fn signals_are_heard_and_told_apart() {
        block_on(&Plan::small("signals"), async {
            let mut signals = Signals::listen().unwrap();
            for (number, signal) in Signal::ALL {
                signal_hook::low_level::raise(number).unwrap();
                assert_eq!(signals.next().await.unwrap(), signal);
            }
        })
        .unwrap();
    }
}
