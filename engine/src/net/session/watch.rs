//! What a connection must do by when, and what the shard wants of it.

use super::{Cue, Session, Turn};
use crate::frame::websocket;
use crate::limit::PING_PAYLOAD;
use crate::net::outbox::Told;
use crate::net::vigil::{Due, Reading};
use crate::net::{Cut, Intake, Note};
use crate::rt::timer::Moment;
use std::io;
use std::task::{Context, Poll};

impl<I: Intake> Session<'_, I> {
    /// Gives the kernel what it takes; ready when all is sent. Whoever takes too little is given a time.
    pub(super) fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Cue>> {
        self.is_due |= self.line.take_due();
        match self.outbox.poll_send(&mut self.stream, context) {
            Poll::Ready(Ok(())) => {
                self.vigil.all_is_taken();
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(self.sending_failed(&error))),
            Poll::Pending => {
                let taken = self.outbox.taken_bytes();
                if self.vigil.may_set_mark(taken) {
                    let mark = taken + self.outbox.waiting_bytes() as u64;
                    let (now, settings) = (Moment::now(), &self.door.settings);
                    self.vigil.set_mark(now, mark, settings);
                    self.line.wake_at(self.vigil.next());
                }
                Poll::Pending
            }
        }
    }

    fn sending_failed(&self, error: &io::Error) -> Cue {
        if self.vigil.awaits_pong() {
            let peer = &self.outbox.peer;
            self.door.intake.note_of(peer, Note::PingFailed);
        }
        self.note_unsent_pong();
        match error.kind() {
            io::ErrorKind::TimedOut => Cue::Cut(Cut::SlowReader),
            _ => Cue::PeerGone,
        }
    }

    /// The end has come, and a pong has not left in its time.
    fn note_unsent_pong(&self) {
        if self.vigil.owes_pong() {
            let peer = &self.outbox.peer;
            self.door.intake.note_of(peer, Note::PongFailed);
        }
    }

    /// Does what the vigil says is due, if it may be that something is.
    pub(super) fn poll_due(&mut self, reading: Reading) -> Poll<Turn> {
        if !std::mem::take(&mut self.is_due) {
            return Poll::Pending;
        }
        let now = Moment::now();
        let mut has_pinged = false;
        while let Some(due) = self.vigil.due(now, reading, &self.door.settings) {
            match due {
                Due::Cut(cut) => {
                    if cut == Cut::SlowReader {
                        self.note_unsent_pong();
                    }
                    return Poll::Ready(Turn::Cue(Cue::Cut(cut)));
                }
                Due::Proven => self.says_alive(),
                Due::Ping => {
                    self.ping();
                    has_pinged = true;
                }
            }
        }
        self.line.wake_at(self.vigil.next());
        if has_pinged {
            return Poll::Ready(Turn::Again);
        }
        Poll::Pending
    }

    /// Does what the shard wants of this connection.
    pub(super) fn poll_told(&mut self) -> Option<Turn> {
        match self.outbox.take_told() {
            Told::Nothing => None,
            Told::Leave => Some(Turn::Cue(Cue::Replaced)),
            Told::ProveLife => {
                let settings = &self.door.settings;
                self.vigil.want_proof(Moment::now(), settings);
                self.line.wake_at(self.vigil.next());
                self.ping();
                Some(Turn::Again)
            }
        }
    }

    /// What may happen while the connection waits for room.
    pub(super) fn poll_held(&mut self, context: &mut Context<'_>) -> Poll<Cue> {
        loop {
            if let Poll::Ready(Err(cue)) = self.poll_send(context) {
                return Poll::Ready(cue);
            }
            if self.line.must_leave() {
                return Poll::Ready(Cue::Drain);
            }
            let turn = match self.poll_told() {
                Some(turn) => Poll::Ready(turn),
                None => self.poll_due(Reading::Paused),
            };
            match turn {
                Poll::Ready(Turn::Cue(cue)) => return Poll::Ready(cue),
                Poll::Ready(_) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Reading goes on, if it was paused.
    pub(super) fn resume(&mut self) {
        if std::mem::take(&mut self.is_paused) {
            let settings = &self.door.settings;
            self.vigil.resume(Moment::now(), settings);
        }
    }

    pub(super) fn pong(&mut self) {
        let settings = &self.door.settings;
        if self.vigil.pong(Moment::now(), settings) {
            self.says_alive();
        }
    }

    /// Everything that came was looked at: has a message begun whose end is to come?
    pub(super) fn watch_message(&mut self, has_begun: bool, took: bool) {
        if !has_begun {
            self.vigil.message_ends();
        } else if took || !self.vigil.has_message() {
            let settings = &self.door.settings;
            self.vigil.message_begins(Moment::now(), settings);
            self.line.wake_at(self.vigil.next());
        }
    }

    fn ping(&self) {
        self.outbox
            .put(|out| websocket::write_ping(PING_PAYLOAD, out));
    }

    fn says_alive(&self) {
        if let Some((place, _)) = &self.place {
            self.door.intake.is_alive(place);
        }
    }
}
