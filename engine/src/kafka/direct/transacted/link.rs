//! A connection to one broker, on a thread that may wait.
//!
//! Always:  a question is waited for no longer than [`ASK_WAIT`]; batches are sent and answers taken without waiting.

use super::super::inbox::Inbox;
use super::super::link::{Ended, Request, Sent, preferred};
use super::super::wire::transaction::SAID;
use super::super::wire::{self, Garbled, Reading};
use crate::rt::timer::Moment;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::fd::AsFd as _;
use std::time::Duration;

/// How long one question may take.
pub(super) const ASK_WAIT: Duration = Duration::from_secs(4);
const CONNECT_WAIT: Duration = Duration::from_secs(4);

/// Requests whose answers are waited for, in their order.
#[derive(Debug)]
pub(super) struct UnderWay {
    pub(super) number: i32,
    pub(super) sent: Vec<Sent>,
    pub(super) until: Moment,
}

pub(super) struct Link {
    stream: TcpStream,
    inbox: Inbox,
    /// What is not wholly written yet, and how much of the first is.
    outbox: VecDeque<Request>,
    written: usize,
    number: i32,
    pub(super) under_way: VecDeque<UnderWay>,
}

impl Link {
    /// Connects, and makes sure that the broker understands what is said here.
    pub(super) fn open(host: &str, port: u16) -> Result<Self, Ended> {
        let address = preferred((host, port).to_socket_addrs()?);
        let address = address
            .ok_or(io::ErrorKind::NotFound)
            .map_err(io::Error::from)?;
        let stream = TcpStream::connect_timeout(&address, CONNECT_WAIT)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut link = Self {
            stream,
            inbox: Inbox::default(),
            outbox: VecDeque::new(),
            written: 0,
            number: 0,
            under_way: VecDeque::new(),
        };
        let answer = link.ask(wire::api_versions)?;
        if wire::read_api_versions(answer, &SAID)? {
            Ok(link)
        } else {
            Err(Ended::Foreign)
        }
    }

    pub(super) fn next_number(&mut self) -> i32 {
        self.number = self.number.wrapping_add(1) & i32::MAX;
        self.number
    }

    /// Sends one request and waits for its answer. Nothing else may be under way.
    pub(super) fn ask(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>, i32),
    ) -> Result<Reading<'_>, Ended> {
        debug_assert!(self.under_way.is_empty() && self.outbox.is_empty());
        let until = Moment::now().after(ASK_WAIT);
        let number = self.next_number();
        let mut request = Vec::new();
        write(&mut request, number);
        let mut rest = &request[..];
        while !rest.is_empty() {
            match self.stream.write(rest) {
                Ok(bytes) => rest = &rest[bytes..],
                Err(error) => self.wait_after(error, PollFlags::OUT, until)?,
            }
        }
        while !self.inbox.has_answer()? {
            match self.receive() {
                Ok(()) => {}
                Err(error) => self.wait_after(error, PollFlags::IN, until)?,
            }
        }
        let (said, reading) = self.inbox.last()?;
        if said == number {
            Ok(reading)
        } else {
            Err(Garbled.into())
        }
    }

    /// Waits until the stream is ready for more, where that was all that was wrong.
    fn wait_after(&self, error: io::Error, flags: PollFlags, until: Moment) -> io::Result<()> {
        match error.kind() {
            io::ErrorKind::Interrupted => return Ok(()),
            io::ErrorKind::WouldBlock => {}
            _ => return Err(error),
        }
        let left = until.since(Moment::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        wait(&mut [PollFd::new(&self.stream, flags)], left)
    }

    fn receive(&mut self) -> io::Result<()> {
        match self.stream.read(self.inbox.room())? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            bytes => {
                self.inbox.came(bytes);
                Ok(())
            }
        }
    }

    /// Takes a request of which the answer is waited for until then.
    pub(super) fn send(&mut self, number: i32, mut request: Request, until: Moment) {
        self.under_way.push_back(UnderWay {
            number,
            sent: std::mem::take(&mut request.sent),
            until,
        });
        self.outbox.push_back(request);
    }

    /// Writes what goes without waiting.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while let Some(request) = self.outbox.front() {
            let mut pieces = request.pieces();
            let mut pieces = &mut pieces[..];
            IoSlice::advance_slices(&mut pieces, self.written);
            match self.stream.write_vectored(pieces) {
                Ok(bytes) if pieces.iter().map(|piece| piece.len()).sum::<usize>() == bytes => {
                    self.outbox.pop_front();
                    self.written = 0;
                }
                Ok(bytes) => self.written += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The next answer that is there without waiting, with what it answers.
    pub(super) fn take(&mut self) -> Result<Option<(UnderWay, Reading<'_>)>, Ended> {
        while !self.inbox.has_answer()? {
            match self.receive() {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
        let (number, reading) = self.inbox.last()?;
        let expected = self.under_way.pop_front().ok_or(Garbled)?;
        if expected.number != number {
            return Err(Garbled.into());
        }
        Ok(Some((expected, reading)))
    }

    /// What to wait for.
    pub(super) fn poll_fd(&self) -> PollFd<'_> {
        let flags = if self.outbox.is_empty() {
            PollFlags::IN
        } else {
            PollFlags::IN | PollFlags::OUT
        };
        PollFd::from_borrowed_fd(self.stream.as_fd(), flags)
    }
}

/// Waits for one of these, or so long.
pub(super) fn wait(fds: &mut [PollFd<'_>], time: Duration) -> io::Result<()> {
    let time = Timespec {
        tv_sec: time.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    };
    match poll(fds, Some(&time)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
