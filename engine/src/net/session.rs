//! One WebSocket connection's life, in one task.
//!
//! Always:  messages are offered in the order in which they came, and a message that was not taken
//!          is offered again before anything behind it. A close frame leaves after every answer.
//! Core:    one shard.
//! Cancel:  the task is never cancelled but by the end of its executor.
//! Full:    a shard without room, or a client that does not read its answers, stops the reading;
//!          TCP tells the client. Who reads, writes or answers pings too slowly is cut off.
//!
//! An idle connection is this struct, its socket and one row in the table of lines: the receive
//! buffer is lent for the length of one poll, and stays only while there is something in it.

use super::door::Door;
use super::lines::Line;
use super::outbox::{Outbox, Peer};
use super::vigil::{Reading, Vigil};
use super::{Cut, Intake, Note, Unwelcome, Wait};
use crate::frame::buffer::{Buffer, Parked};
use crate::frame::websocket::{self, Decoder, Fault, Item, close_code};
use crate::limit::OUTBOX_BYTES_MAX;
use crate::rt::executor::yield_if_needed;
use crate::rt::stream::Stream;
use crate::rt::timer::Moment;
use crate::unit::Micros;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

mod watch;

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Messages are read.
    Open,
    /// Nothing more is read. What was taken is answered, then the close frame leaves.
    Finishing(Farewell),
    /// The close frame is on its way.
    Parting,
    Closed,
}

/// What the close frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// What the client said, as the RFC wants it.
    Echo(Option<u16>),
    Fault(Fault),
    GoingAway,
    Unwelcome(Unwelcome),
    Replaced,
}

/// What moves a connection from one state to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cue {
    PeerClosed(Option<u16>),
    Fault(Fault),
    Drain,
    Replaced,
    Answered,
    FarewellSent,
    PeerGone,
    /// A deadline has passed: nothing more is said.
    Cut(Cut),
}

impl State {
    /// `None` for what cannot happen.
    pub fn on(self, cue: Cue) -> Option<Self> {
        match (self, cue) {
            (Self::Open, Cue::PeerClosed(code)) => Some(Self::Finishing(Farewell::Echo(code))),
            (Self::Open, Cue::Fault(fault)) => Some(Self::Finishing(Farewell::Fault(fault))),
            (Self::Open, Cue::Drain) => Some(Self::Finishing(Farewell::GoingAway)),
            (Self::Open, Cue::Replaced) => Some(Self::Finishing(Farewell::Replaced)),
            (Self::Finishing(_), Cue::Answered) => Some(Self::Parting),
            (Self::Parting, Cue::FarewellSent)
            | (Self::Open | Self::Finishing(_) | Self::Parting, Cue::PeerGone | Cue::Cut(_)) => {
                Some(Self::Closed)
            }
            _ => None,
        }
    }
}

/// Why a turn of the connection's task ended.
enum Turn {
    /// There are bytes to decode.
    Bytes,
    /// The shard has no room; do not even receive.
    NoRoom,
    /// There is something new to send.
    Again,
    Cue(Cue),
}

/// Why decoding stopped.
enum Stop {
    /// Every whole message was taken, if there were any.
    NeedsMore {
        took: bool,
    },
    Wait(Wait),
    /// The client must read its answers first.
    OutboxFull,
    Cue(Cue),
}

pub(super) struct Session<'a, I: Intake> {
    door: &'a Door<I>,
    line: &'a Line,
    stream: Stream,
    outbox: Rc<Outbox>,
    /// And since when it is held; `None` for who is only told that it is not served.
    place: Option<(I::Place, Micros)>,
    decoder: Decoder,
    state: State,
    vigil: Vigil,
    /// Something in the vigil may be due.
    is_due: bool,
    /// It is not read for want of room.
    is_paused: bool,
    /// Held while there are bytes to decode, or more to receive at once.
    buffer: Option<Buffer>,
    parked: Parked,
    /// What the next message takes in all, as far as is known.
    needed: usize,
    /// Parked bytes hold messages that were not looked at yet.
    undecoded: bool,
}

impl<'a, I: Intake> Session<'a, I> {
    /// A connection that has a place. `received` are bytes that came behind its request for the upgrade; `deflate`
    /// says that messages may come compressed.
    pub(super) fn new(
        door: &'a Door<I>,
        line: &'a Line,
        stream: Stream,
        outbox: Rc<Outbox>,
        place: I::Place,
        (received, deflate): (&[u8], bool),
    ) -> Self {
        let decoder = Decoder::new(door.settings.message_bytes_max);
        let decoder = match &door.inflater {
            Some(inflater) if deflate => decoder.inflating(Rc::clone(inflater)),
            _ => decoder,
        };
        Self {
            door,
            line,
            stream,
            outbox,
            place: Some((place, door.intake.now())),
            decoder,
            state: State::Open,
            vigil: Vigil::begin(Moment::now(), &door.settings),
            // So that the first turn has it woken for what is due first.
            is_due: true,
            is_paused: false,
            buffer: None,
            parked: Parked::from_bytes(received),
            needed: received.len() + 1,
            undecoded: !received.is_empty(),
        }
    }

    /// A connection that is only told something: what its outbox holds, and the farewell.
    pub(super) fn parting(
        door: &'a Door<I>,
        line: &'a Line,
        stream: Stream,
        outbox: Rc<Outbox>,
        farewell: Farewell,
    ) -> Self {
        Self {
            door,
            line,
            stream,
            outbox,
            place: None,
            decoder: Decoder::new(door.settings.message_bytes_max),
            state: State::Finishing(farewell),
            vigil: Vigil::of_writing(),
            is_due: false,
            is_paused: false,
            buffer: None,
            parked: Parked::Nothing,
            needed: 1,
            undecoded: false,
        }
    }

    /// Serves the connection until it is closed.
    pub(super) async fn live(&mut self) {
        while self.state != State::Closed {
            let turn = poll_fn(|context| self.poll_turn(context)).await;
            match turn {
                Turn::Bytes => self.digest().await,
                Turn::NoRoom => self.hold(Wait::Room).await,
                Turn::Again => {}
                Turn::Cue(cue) => self.enter(cue),
            }
            yield_if_needed().await;
        }
        self.outbox.leave();
    }

    /// Gives its place back, and the socket to be let go.
    pub(super) fn end(self) -> Stream {
        if let Some((_, opened)) = &self.place {
            let lived_us = self.door.intake.now().since(*opened);
            let ended = Note::Disconnected { lived_us };
            self.door.intake.note_of(&self.outbox.peer, ended);
        }
        self.stream
    }

    fn enter(&mut self, cue: Cue) {
        // A cue that comes too late (a drain while the client closes) changes nothing.
        let Some(next) = self.state.on(cue) else {
            return;
        };
        let note = match cue {
            Cue::Fault(fault) => Some(Note::ProtocolError {
                code: fault.close_code(),
            }),
            Cue::Replaced => Some(Note::Replaced),
            Cue::Cut(cut) => Some(Note::Cut(cut)),
            _ => None,
        };
        if let Some(note) = note {
            self.door.intake.note_of(&self.outbox.peer, note);
        }
        if let (State::Finishing(farewell), State::Parting) = (self.state, next) {
            self.outbox
                .put(|out| farewell.write(&self.outbox.peer, out));
        }
        if next != State::Open {
            self.vigil.only_writing();
            self.parked = Parked::Nothing;
            if let Some(buffer) = self.buffer.take() {
                self.door.pool.give_back(buffer);
            }
        }
        self.state = next;
    }

    /// One look at everything that this connection waits for.
    fn poll_turn(&mut self, context: &mut Context<'_>) -> Poll<Turn> {
        let is_sent = match self.poll_send(context) {
            Poll::Ready(Err(cue)) => return Poll::Ready(Turn::Cue(cue)),
            sent => sent.is_ready(),
        };
        let turn = match self.state {
            State::Open => self.poll_open(context),
            State::Finishing(_) if is_sent && self.outbox.unanswered() == 0 => {
                Poll::Ready(Turn::Cue(Cue::Answered))
            }
            State::Parting if is_sent => Poll::Ready(Turn::Cue(Cue::FarewellSent)),
            State::Finishing(_) | State::Parting | State::Closed => self.poll_due(Reading::Paused),
        };
        if turn.is_pending() {
            self.outbox.listen(context);
            self.line.listen(context);
        }
        turn
    }

    fn poll_open(&mut self, context: &mut Context<'_>) -> Poll<Turn> {
        if self.line.must_leave() {
            return Poll::Ready(Turn::Cue(Cue::Drain));
        }
        if self.outbox.waiting_bytes() > OUTBOX_BYTES_MAX {
            self.park();
            self.is_paused = true;
            let told = self.poll_told();
            return told.map_or_else(|| self.poll_due(Reading::Paused), Poll::Ready);
        }
        if self.undecoded {
            return Poll::Ready(Turn::Bytes);
        }
        if self.door.is_crowded() {
            self.park();
            return Poll::Ready(Turn::NoRoom);
        }
        self.resume();
        match self.poll_receive(context) {
            Poll::Pending => {
                let told = self.poll_told();
                told.map_or_else(|| self.poll_due(Reading::Done), Poll::Ready)
            }
            Poll::Ready(Ok(bytes)) if bytes > 0 => {
                self.door.intake.note(Note::BytesReceived(bytes as u64));
                self.vigil.heard();
                if let Some(turn @ Turn::Cue(_)) = self.poll_told() {
                    return Poll::Ready(turn);
                }
                match self.poll_due(Reading::Behind) {
                    Poll::Ready(Turn::Cue(cue)) => Poll::Ready(Turn::Cue(cue)),
                    _ => Poll::Ready(Turn::Bytes),
                }
            }
            Poll::Ready(ended) => {
                if ended.is_err() || !self.parked.is_empty() {
                    self.door.intake.note_of(&self.outbox.peer, Note::ReadError);
                }
                Poll::Ready(Turn::Cue(Cue::PeerGone))
            }
        }
    }

    /// Receives behind what is there. Whatever comes or not, nothing is lost and no more is held
    /// than there are bytes.
    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let pool = &self.door.pool;
        // Few bytes stay parked until more come: this poll may be for an answer's sake alone.
        let few = match (&self.buffer, &self.parked) {
            (None, Parked::Few(bytes)) => bytes.len(),
            _ => 0,
        };
        let mut buffer = match self.buffer.take() {
            Some(buffer) => buffer,
            None if few > 0 => pool.lend(),
            None => pool.resume(std::mem::take(&mut self.parked)),
        };
        buffer.advance(few);
        buffer.make_room(self.needed.max(buffer.len() + 1));
        let received = self.stream.poll_receive(context, buffer.space());
        match received {
            Poll::Ready(Ok(bytes)) if bytes > 0 => {
                if let Parked::Few(parked) = std::mem::take(&mut self.parked) {
                    buffer.filled_mut()[..few].copy_from_slice(&parked);
                }
                buffer.advance(bytes);
                self.buffer = Some(buffer);
            }
            _ if few > 0 => pool.give_back(buffer),
            _ => self.parked = pool.park(buffer, self.needed),
        }
        received
    }

    /// Gives the buffer back and keeps what is in it.
    fn park(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            self.parked = self.door.pool.park(buffer, self.needed);
        }
    }

    /// Offers every whole message that was received.
    async fn digest(&mut self) {
        self.undecoded = false;
        let resumed = self.buffer.take();
        let mut buffer =
            resumed.unwrap_or_else(|| self.door.pool.resume(std::mem::take(&mut self.parked)));
        let stop = self.decode(&mut buffer);
        let has_begun = !buffer.is_empty() || self.decoder.is_inside();
        self.buffer = Some(buffer);
        match stop {
            Stop::NeedsMore { took } => self.watch_message(has_begun, took),
            Stop::Wait(wait) => {
                self.undecoded = true;
                self.hold(wait).await;
            }
            Stop::OutboxFull => {
                self.undecoded = true;
                self.park();
            }
            Stop::Cue(cue) => self.enter(cue),
        }
    }

    fn decode(&mut self, buffer: &mut Buffer) -> Stop {
        let mut took = false;
        loop {
            if self.outbox.waiting_bytes() > OUTBOX_BYTES_MAX {
                self.needed = buffer.len() + 1;
                return Stop::OutboxFull;
            }
            let (item, consumed) = match self.decoder.next(buffer.filled_mut()) {
                Ok(next) => next,
                Err(fault) => return Stop::Cue(Cue::Fault(fault)),
            };
            match item {
                Item::Message { encoding, payload } => {
                    let offered = self
                        .door
                        .intake
                        .offer_message(&self.outbox, encoding, payload);
                    if let Err(wait) = offered {
                        self.decoder.put_back();
                        self.needed = buffer.len() + 1;
                        return Stop::Wait(wait);
                    }
                    took = true;
                }
                Item::Ping(payload) => {
                    self.outbox.put(|out| websocket::write_pong(payload, out));
                    self.vigil.owe_pong();
                }
                Item::Pong(_) => self.pong(),
                Item::Close { code, .. } => return Stop::Cue(Cue::PeerClosed(code)),
                Item::More { needed } => {
                    buffer.consume(consumed);
                    self.needed = needed;
                    return Stop::NeedsMore { took };
                }
            }
            buffer.consume(consumed);
        }
    }

    /// Waits until the message can be offered again; answers go on leaving meanwhile. Boxed, because
    /// most connections never come here.
    fn hold(&mut self, wait: Wait) -> Pin<Box<dyn Future<Output = ()> + '_>> {
        self.is_paused = true;
        Box::pin(async move {
            let seat = match wait {
                Wait::Room => self.door.take_seat(),
                Wait::Topics | Wait::Twin => None,
            };
            // The few who come first keep their buffers, which saves copying; a crowd may not.
            if seat.is_none() {
                self.park();
            }
            let intake = self.door.intake.clone();
            let mut until = pin!(intake.until(wait));
            let cue = poll_fn(|context| {
                if let Poll::Ready(cue) = self.poll_held(context) {
                    return Poll::Ready(Some(cue));
                }
                self.outbox.listen(context);
                self.line.listen(context);
                until.as_mut().poll(context).map(|()| None)
            })
            .await;
            if let Some(cue) = cue {
                self.enter(cue);
            }
        })
    }
}

impl Unwelcome {
    /// The text of the close frame.
    fn farewell(self, peer: &Peer) -> String {
        match self {
            Self::Duplicate => format!("duplicate connection: {}", peer.shown_id()),
            Self::Full => "Max connection reached".to_owned(),
        }
    }
}

impl Farewell {
    fn write(self, peer: &Peer, out: &mut Vec<u8>) {
        match self {
            Self::Echo(code) => websocket::write_close(code, "", out),
            Self::Fault(fault) => websocket::write_refusal(fault, out),
            Self::GoingAway => websocket::write_close(Some(close_code::GOING_AWAY), "", out),
            Self::Unwelcome(why) => {
                websocket::write_close(Some(close_code::POLICY), &why.farewell(peer), out);
            }
            Self::Replaced => {
                let why = "replaced by a newer connection";
                websocket::write_close(Some(close_code::POLICY), why, out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_connection_stays_closed() {
        for cue in [Cue::Drain, Cue::PeerGone, Cue::PeerClosed(None)] {
            assert_eq!(State::Closed.on(cue), None);
        }
    }

    #[test]
    fn the_first_reason_to_finish_is_the_one_that_is_told() {
        let finishing = State::Open.on(Cue::Drain).unwrap();
        assert_eq!(finishing, State::Finishing(Farewell::GoingAway));
        assert_eq!(finishing.on(Cue::PeerClosed(Some(1000))), None);
        assert_eq!(finishing.on(Cue::Fault(Fault::Mask)), None);
    }

    #[test]
    fn answers_leave_before_the_farewell_and_the_farewell_before_the_end() {
        let finishing = State::Open.on(Cue::PeerClosed(Some(1000))).unwrap();
        assert_eq!(finishing.on(Cue::FarewellSent), None);
        assert_eq!(finishing.on(Cue::Answered), Some(State::Parting));
        assert_eq!(State::Parting.on(Cue::FarewellSent), Some(State::Closed));
        assert_eq!(State::Parting.on(Cue::PeerGone), Some(State::Closed));
    }
}
