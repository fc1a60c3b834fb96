//! One WebSocket connection's life, in one task.
//!
//! Always:  messages are offered in the order in which they came, and a message that was not taken
//!          is offered again before anything behind it. A close frame leaves after every answer.
//! Core:    one shard.
//! Cancel:  the task is never cancelled but by the end of its executor.
//! Full:    a shard without room, or a client that does not read its answers, stops the reading;
//!          TCP tells the client.
//!
//! An idle connection is this struct, its socket and one row in the table of lines: the receive
//! buffer is lent for the length of one poll, and stays only while there is something in it.

use super::door::Door;
use super::lines::Line;
use super::outbox::Outbox;
use super::{Intake, Note, Wait};
use crate::frame::buffer::{Buffer, Parked};
use crate::frame::websocket::{self, Decoder, Fault, Item, close_code};
use crate::limit::OUTBOX_BYTES_MAX;
use crate::rt::executor::yield_if_needed;
use crate::rt::stream::Stream;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

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
}

/// What moves a connection from one state to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cue {
    PeerClosed(Option<u16>),
    Fault(Fault),
    Drain,
    Answered,
    FarewellSent,
    PeerGone,
}

impl State {
    /// `None` for what cannot happen.
    pub fn on(self, cue: Cue) -> Option<Self> {
        match (self, cue) {
            (Self::Open, Cue::PeerClosed(code)) => Some(Self::Finishing(Farewell::Echo(code))),
            (Self::Open, Cue::Fault(fault)) => Some(Self::Finishing(Farewell::Fault(fault))),
            (Self::Open, Cue::Drain) => Some(Self::Finishing(Farewell::GoingAway)),
            (Self::Finishing(_), Cue::Answered) => Some(Self::Parting),
            (Self::Parting, Cue::FarewellSent)
            | (Self::Open | Self::Finishing(_) | Self::Parting, Cue::PeerGone) => {
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
    Cue(Cue),
}

/// Why decoding stopped.
enum Stop {
    /// Every whole message was taken.
    NeedsMore,
    Wait(Wait),
    /// The client must read its answers first.
    OutboxFull,
    Cue(Cue),
}

pub(super) struct Session<'a, I> {
    door: &'a Door<I>,
    line: &'a Line,
    stream: Stream,
    outbox: Rc<Outbox>,
    decoder: Decoder,
    state: State,
    /// Held while there are bytes to decode, or more to receive at once.
    buffer: Option<Buffer>,
    parked: Parked,
    /// What the next message takes in all, as far as is known.
    needed: usize,
    /// Parked bytes hold messages that were not looked at yet.
    undecoded: bool,
}

impl<'a, I: Intake> Session<'a, I> {
    /// `received` are bytes that came behind the request for the upgrade; `deflate` says that messages may
    /// come compressed.
    pub(super) fn new(
        door: &'a Door<I>,
        line: &'a Line,
        stream: Stream,
        outbox: Rc<Outbox>,
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
            decoder,
            state: State::Open,
            buffer: None,
            parked: Parked::from_bytes(received),
            needed: received.len() + 1,
            undecoded: !received.is_empty(),
        }
    }

    /// Serves the connection until it is closed, and gives back the socket to be let go.
    pub(super) async fn live(mut self) -> Stream {
        while self.state != State::Closed {
            let turn = poll_fn(|context| self.poll_turn(context)).await;
            match turn {
                Turn::Bytes => self.digest().await,
                Turn::NoRoom => self.hold(Wait::Room).await,
                Turn::Cue(cue) => self.enter(cue),
            }
            yield_if_needed().await;
        }
        self.outbox.leave();
        self.stream
    }

    fn enter(&mut self, cue: Cue) {
        // A cue that comes too late (a drain while the client closes) changes nothing.
        let Some(next) = self.state.on(cue) else {
            return;
        };
        if let Cue::Fault(fault) = cue {
            let code = fault.close_code();
            let fault = Note::ProtocolError { code };
            self.door.intake.note_of(&self.outbox.peer, fault);
        }
        if let (State::Finishing(farewell), State::Parting) = (self.state, next) {
            self.outbox.put(|out| farewell.write(out));
        }
        if next != State::Open {
            self.parked = Parked::Nothing;
            if let Some(buffer) = self.buffer.take() {
                self.door.pool.give_back(buffer);
            }
        }
        self.state = next;
    }

    /// One look at everything that this connection waits for.
    fn poll_turn(&mut self, context: &mut Context<'_>) -> Poll<Turn> {
        let sent = self.outbox.poll_send(&mut self.stream, context);
        if let Poll::Ready(Err(_)) = sent {
            return Poll::Ready(Turn::Cue(Cue::PeerGone));
        }
        let turn = match self.state {
            State::Open => self.poll_open(context),
            State::Finishing(_) if sent.is_ready() && self.outbox.unanswered() == 0 => {
                Poll::Ready(Turn::Cue(Cue::Answered))
            }
            State::Parting if sent.is_ready() => Poll::Ready(Turn::Cue(Cue::FarewellSent)),
            State::Finishing(_) | State::Parting | State::Closed => Poll::Pending,
        };
        if turn.is_pending() {
            self.outbox.listen(context);
            self.line.listen(context);
        }
        turn
    }

    fn poll_open(&mut self, context: &mut Context<'_>) -> Poll<Turn> {
        if self.line.draining() {
            return Poll::Ready(Turn::Cue(Cue::Drain));
        }
        if self.outbox.waiting_bytes() > OUTBOX_BYTES_MAX {
            self.park();
            return Poll::Pending;
        }
        if self.undecoded {
            return Poll::Ready(Turn::Bytes);
        }
        if self.door.is_crowded() {
            self.park();
            return Poll::Ready(Turn::NoRoom);
        }
        match self.poll_receive(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(bytes)) if bytes > 0 => {
                self.door.intake.note(Note::BytesReceived(bytes as u64));
                Poll::Ready(Turn::Bytes)
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
        self.buffer = Some(buffer);
        match stop {
            Stop::NeedsMore => {}
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
                }
                Item::Ping(payload) => {
                    self.outbox.put(|out| websocket::write_pong(payload, out));
                }
                Item::Pong(_) => {}
                Item::Close { code, .. } => return Stop::Cue(Cue::PeerClosed(code)),
                Item::More { needed } => {
                    buffer.consume(consumed);
                    self.needed = needed;
                    return Stop::NeedsMore;
                }
            }
            buffer.consume(consumed);
        }
    }

    /// Waits until the message can be offered again; answers go on leaving meanwhile. Boxed, because
    /// most connections never come here.
    fn hold(&mut self, wait: Wait) -> Pin<Box<dyn Future<Output = ()> + '_>> {
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
                if let Poll::Ready(Err(_)) = self.outbox.poll_send(&mut self.stream, context) {
                    return Poll::Ready(Some(Cue::PeerGone));
                }
                if self.line.draining() {
                    return Poll::Ready(Some(Cue::Drain));
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

impl Farewell {
    fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::Echo(code) => websocket::write_close(code, "", out),
            Self::Fault(fault) => websocket::write_refusal(fault, out),
            Self::GoingAway => websocket::write_close(Some(close_code::GOING_AWAY), "", out),
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
