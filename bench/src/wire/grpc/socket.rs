//! A socket as h2 reads and writes it, while the driver's own poller says when.
//!
//! Cancel: nothing is waited for; a socket that gives or takes nothing leaves the reader or writer
//! pending, and whoever polls is told by the poller when to try again.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What the owner of a connection and its socket tell each other, on one thread.
#[derive(Debug, Default)]
pub(super) struct Signs {
    /// The socket takes nothing more.
    pub(super) is_full: AtomicBool,
    /// Nothing is to be read now: only what waits is to be sent.
    pub(super) is_deaf: AtomicBool,
}

#[derive(Debug)]
pub(super) struct Socket {
    pub(super) stream: Arc<TcpStream>,
    pub(super) signs: Arc<Signs>,
}

impl Socket {
    fn written(&self, outcome: io::Result<usize>) -> Poll<io::Result<usize>> {
        let polled = ready_unless_blocked(outcome);
        let is_full = polled.is_pending();
        self.signs.is_full.store(is_full, Ordering::Relaxed);
        polled
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.signs.is_deaf.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        let read = (&*self.stream).read(buffer.initialize_unfilled());
        ready_unless_blocked(read).map_ok(|bytes| buffer.advance(bytes))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.written((&*self.stream).write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.written((&*self.stream).write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The server may have ended it already.
        let _gone = self.stream.shutdown(std::net::Shutdown::Write);
        Poll::Ready(Ok(()))
    }
}

fn ready_unless_blocked<T>(outcome: io::Result<T>) -> Poll<io::Result<T>> {
    match outcome {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock) => Poll::Pending,
        outcome => Poll::Ready(outcome),
    }
}
