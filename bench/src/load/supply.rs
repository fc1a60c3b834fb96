//! The bytes that a connection has yet to send.
//!
//! Always: control frames stand between whole messages, never inside one.
//! Full: the window of outstanding batches bounds what is queued; a socket that takes nothing more
//! leaves the rest here.

use std::{
    io::{self, IoSlice, Write},
    net::TcpStream,
};

/// Frames given to one system call.
const SLICES_MAX: usize = 64;

/// Where a connection's batches come from.
#[derive(Debug)]
pub(super) enum Supply {
    /// The same frame again and again: costs the driver nothing.
    Repeated(Repeated),
    /// Each batch made anew, because each is recorded.
    Staged(Staged),
}

impl Supply {
    /// Queues a control frame.
    pub(super) fn queue_control(&mut self, frame: &[u8]) {
        match self {
            Self::Repeated(supply) => supply.controls.extend_from_slice(frame),
            Self::Staged(supply) => supply.bytes.extend_from_slice(frame),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Repeated(supply) => supply.frames == 0 && supply.controls.is_empty(),
            Self::Staged(supply) => supply.bytes.is_empty(),
        }
    }

    /// Gives the socket as much as it takes. `WouldBlock` is no error: [`Supply::is_empty`] tells.
    pub(super) fn write(&mut self, socket: &TcpStream) -> io::Result<()> {
        while !self.is_empty() {
            let written = match self {
                Self::Repeated(supply) => supply.write(socket),
                Self::Staged(supply) => supply.write(socket),
            };
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// One frame, sent `frames` more times.
#[derive(Debug)]
pub(super) struct Repeated {
    frame: Vec<u8>,
    /// Frames that are not wholly written.
    frames: usize,
    /// Bytes of the first of them that are written.
    offset: usize,
    controls: Vec<u8>,
}

impl Repeated {
    pub(super) fn new(frame: Vec<u8>) -> Self {
        assert!(!frame.is_empty());
        Self {
            frame,
            frames: 0,
            offset: 0,
            controls: Vec::new(),
        }
    }

    pub(super) fn queue(&mut self) {
        self.frames += 1;
    }

    fn write(&mut self, mut socket: impl Write) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let mut used = 0;
        if self.offset != 0 {
            slices[used] = IoSlice::new(&self.frame[self.offset..]);
            used += 1;
        }
        if !self.controls.is_empty() {
            slices[used] = IoSlice::new(&self.controls);
            used += 1;
        }
        let whole = self.frames - usize::from(self.offset != 0);
        let end = SLICES_MAX.min(used + whole);
        slices[used..end].fill(IoSlice::new(&self.frame));
        let written = socket.write_vectored(&slices[..end])?;
        self.take(written);
        Ok(written)
    }

    /// Counts what the socket took: the rest of a frame, then controls, then whole frames.
    fn take(&mut self, mut written: usize) {
        if self.offset != 0 {
            let rest = self.frame.len() - self.offset;
            if written < rest {
                self.offset += written;
                return;
            }
            written -= rest;
            self.frames -= 1;
            self.offset = 0;
        }
        let controls = written.min(self.controls.len());
        self.controls.drain(..controls);
        written -= controls;
        self.frames -= written / self.frame.len();
        self.offset = written % self.frame.len();
        assert!(self.offset == 0 || self.frames != 0);
    }
}

/// Frames laid end to end.
#[derive(Debug, Default)]
pub(super) struct Staged {
    pub(super) bytes: Vec<u8>,
}

impl Staged {
    fn write(&mut self, mut socket: impl Write) -> io::Result<usize> {
        let written = socket.write(&self.bytes)?;
        self.bytes.drain(..written);
        Ok(written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a few bytes at each call, as a full socket does.
    struct Trickle<'a> {
        bytes: &'a mut Vec<u8>,
        step: usize,
    }

    impl Write for Trickle<'_> {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            let taken = self.step.min(buf.len());
            self.bytes.extend_from_slice(&buf[..taken]);
            Ok(taken)
        }

        fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            let all: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
            self.write(&all)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_control_frame_never_splits_a_message() {
        for step in 1..40 {
            let mut supply = Repeated::new(b"abcdefg".to_vec());
            let mut bytes = Vec::new();
            supply.queue();
            supply.queue();
            supply
                .write(Trickle {
                    bytes: &mut bytes,
                    step: step.min(10),
                })
                .unwrap();
            supply.controls.extend_from_slice(b"12");
            supply.queue();
            while supply.frames != 0 || !supply.controls.is_empty() {
                supply
                    .write(Trickle {
                        bytes: &mut bytes,
                        step,
                    })
                    .unwrap();
            }
            let text = String::from_utf8(bytes).unwrap();
            assert_eq!(
                text.replace("12", ""),
                "abcdefgabcdefgabcdefg",
                "step {step}"
            );
            assert_eq!(
                text.find("12").map(|place| place % 7),
                Some(0),
                "step {step}"
            );
        }
    }
}
