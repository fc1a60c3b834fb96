//! Connections that are opened under load, without waiting for any of them.
//!
//! A connection that cannot be opened is tried again after a pause: a server that has not yet seen
//! that an old connection is gone may refuse the new one. After `PATIENCE` it is lost.

use std::{
    collections::BTreeMap,
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use crate::wire::Target;

const PAUSE: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(10);

/// One connection on its way.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) socket: TcpStream,
    /// When the first try began.
    pub(super) since: Instant,
    /// What is still to be said.
    unsaid: Vec<u8>,
    heard: Vec<u8>,
}

/// How far an opening has come.
#[derive(Debug)]
pub(super) enum Step {
    Waiting,
    /// It is open; the bytes came behind the answer.
    Open(Vec<u8>),
    Failed(String),
}

impl Opening {
    pub(super) fn new(socket: TcpStream, unsaid: Vec<u8>, since: Instant) -> Self {
        Self {
            socket,
            since,
            unsaid,
            heard: Vec::new(),
        }
    }

    /// Goes on as far as the socket allows. The poller said that something is possible.
    pub(super) fn step(&mut self, target: &Target) -> Step {
        match self.try_step(target) {
            Ok(step) => step,
            Err(error) if error.kind() == ErrorKind::WouldBlock => Step::Waiting,
            Err(error) => Step::Failed(error.to_string()),
        }
    }

    fn try_step(&mut self, target: &Target) -> std::io::Result<Step> {
        if let Some(error) = self.socket.take_error()? {
            return Err(error);
        }
        // A protocol without an opening is open when the socket is connected.
        self.socket.peer_addr().map_err(|_| ErrorKind::WouldBlock)?;
        while !self.unsaid.is_empty() {
            let written = self.socket.write(&self.unsaid)?;
            self.unsaid.drain(..written);
        }
        loop {
            match target.protocol.opened(&self.heard) {
                Ok(Some(end)) => return Ok(Step::Open(self.heard.split_off(end))),
                Ok(None) => {}
                Err(refused) => return Ok(Step::Failed(refused.to_string())),
            }
            let mut part = [0; 1024];
            match self.socket.read(&mut part)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                read => self.heard.extend_from_slice(&part[..read]),
            }
        }
    }

    pub(super) fn wants_write(&self) -> bool {
        !self.unsaid.is_empty()
    }
}

/// Connections that are to be opened, by the moment at which each is.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    /// Moment and connection; the value is when its first try began, if there was one.
    entries: BTreeMap<(Instant, usize), Option<Instant>>,
}

impl Agenda {
    pub(super) fn put(&mut self, moment: Instant, connection: usize) {
        self.entries.insert((moment, connection), None);
    }

    /// Tries again a little later; `false` when that has been done for long enough.
    pub(super) fn put_back(&mut self, now: Instant, connection: usize, since: Instant) -> bool {
        let patient = now < since + PATIENCE;
        if patient {
            self.entries.insert((now + PAUSE, connection), Some(since));
        }
        patient
    }

    /// A connection whose moment has come, and when its first try began.
    pub(super) fn take(&mut self, now: Instant) -> Option<(usize, Instant)> {
        let entry = self.entries.first_entry()?;
        let (moment, connection) = *entry.key();
        if now < moment {
            return None;
        }
        let since = entry.remove();
        Some((connection, since.unwrap_or(moment)))
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.entries
            .first_key_value()
            .map(|((moment, _), _)| *moment)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_come_at_their_moments_and_are_tried_again_for_a_while() {
        let now = crate::host::now();
        let mut agenda = Agenda::default();
        agenda.put(now + PAUSE, 1);
        agenda.put(now, 2);
        assert_eq!(agenda.take(now), Some((2, now)));
        assert_eq!((agenda.take(now), agenda.next()), (None, Some(now + PAUSE)));
        assert!(agenda.put_back(now, 2, now));
        let later = now + 2 * PAUSE;
        assert_eq!(agenda.take(later), Some((1, now + PAUSE)));
        // The moment of the first try is kept.
        assert_eq!(agenda.take(later), Some((2, now)));
        assert!(!agenda.put_back(now + PATIENCE, 2, now) && agenda.is_empty());
    }
}
