//! Many batches over one call, each answered in its turn.
//!
//! ```text
//! Messages -> read -> Call, Call, Call -> write -> frames
//! ```
//!
//! Always:  answers leave in the order of the requests; the trailers come behind the last.
//! Core:    one shard; reading and answering share the task of the call's body.
//! Cancel:  a client that goes away misses its answers; what was taken stays taken.
//! Full:    so many requests wait for their answers and no more are read; a client that does not read its
//!          answers is not read either, for then nobody asks this body for frames.

use super::super::door::Door;
use super::super::outbox::{Call, Peer};
use super::super::{Intake, Note, Refused, Wait};
use super::Open;
use super::message::{Messages, framed};
use super::reply::last;
use super::status::{Code, Status};
use crate::frame::Encoding;
use crate::limit::{GRPC_STREAM_CALLS_MAX, HTTP_BODY_WAIT};
use crate::rt::notify::Notify;
use crate::rt::timer::timeout;
use bytes::Bytes;
use futures_util::future::{Either, join, select};
use futures_util::stream::{self, Stream};
use hyper::body::Frame;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

/// Takes every request of the call and gives its answers. The call counts as open until then.
pub(super) fn answers<I: Intake>(
    door: &Rc<Door<I>>,
    messages: Messages,
    peer: Peer,
    open: Open,
) -> impl Stream<Item = Frame<Bytes>> + use<I> {
    let talk = Rc::new(Talk {
        door: Rc::clone(door),
        peer,
        waiting: RefCell::default(),
        changed: Notify::new(),
        read_all: Cell::new(false),
        frames: RefCell::default(),
    });
    let driven = Rc::clone(&talk);
    let mut life: Option<Life> = Some(Box::pin(async move {
        let _open = open;
        let (read, ()) = join(driven.read(messages), driven.write()).await;
        read
    }));
    stream::poll_fn(move |context| talk.poll_frame(&mut life, context))
}

type Life = Pin<Box<dyn Future<Output = Result<(), Status>>>>;

struct Talk<I> {
    door: Rc<Door<I>>,
    peer: Peer,
    /// Requests that were taken, the oldest first.
    waiting: RefCell<VecDeque<Rc<Call>>>,
    changed: Notify,
    read_all: Cell<bool>,
    /// Answers that nobody has asked for yet.
    frames: RefCell<VecDeque<Frame<Bytes>>>,
}

impl<I: Intake> Talk<I> {
    /// The next frame. The call's life goes on only while there is none.
    fn poll_frame(
        &self,
        life: &mut Option<Life>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Frame<Bytes>>> {
        if let Some(frame) = self.frames.borrow_mut().pop_front() {
            return Poll::Ready(Some(frame));
        }
        let Some(living) = life else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(end) = living.as_mut().poll(context) {
            *life = None;
            self.frames.borrow_mut().push_back(last(end));
        }
        match self.frames.borrow_mut().pop_front() {
            Some(frame) => Poll::Ready(Some(frame)),
            None => Poll::Pending,
        }
    }

    async fn read(&self, mut messages: Messages) -> Result<(), Status> {
        let end = self.read_until_the_end(&mut messages).await;
        self.read_all.set(true);
        self.changed.wake_all();
        end
    }

    async fn read_until_the_end(&self, messages: &mut Messages) -> Result<(), Status> {
        loop {
            self.place().await;
            let mut held = self.door.hold();
            let message = {
                let next = pin!(async {
                    let mut slow = false;
                    loop {
                        match timeout(HTTP_BODY_WAIT, messages.next(&mut held)).await {
                            Some(next) => return next,
                            None if slow => return Err(late()),
                            // Between two requests it may be silent for as long as it lives.
                            None => slow = messages.holds_part(),
                        }
                    }
                });
                let drained = pin!(self.door.lines.told_to_drain());
                match select(next, drained).await {
                    Either::Left((next, _)) => next.inspect_err(|_| self.note_broken())?,
                    Either::Right(_) => return Err(stopping()),
                }
            };
            let Some(message) = message else {
                return Ok(());
            };
            let bytes = message.len() as u64;
            self.door.intake.note(Note::BytesReceived(bytes));
            let call = Rc::new(Call::grpc_stream(self.peer.clone()));
            let encoding = Encoding::Protobuf;
            while let Err(wait) = self.door.intake.offer_call(&call, encoding, &message) {
                self.door.intake.until(wait).await;
            }
            self.waiting.borrow_mut().push_back(call);
            self.changed.wake_all();
        }
    }

    fn note_broken(&self) {
        let intake = &self.door.intake;
        intake.note_of(&self.peer, Note::ReadError);
        intake.note(Note::Refused(Refused::Call));
    }

    /// Resolves when one more request may be read.
    async fn place(&self) {
        while self.door.is_crowded() {
            self.door.intake.until(Wait::Room).await;
        }
        loop {
            let changed = self.changed.wait();
            if self.waiting.borrow().len() < GRPC_STREAM_CALLS_MAX {
                return;
            }
            changed.await;
        }
    }

    async fn write(&self) {
        loop {
            let changed = self.changed.wait();
            let first = self.waiting.borrow().front().cloned();
            match first {
                Some(call) => {
                    let (_, answer) = call.answered().await;
                    self.waiting.borrow_mut().pop_front();
                    let frame = Frame::data(framed(&answer));
                    self.frames.borrow_mut().push_back(frame);
                    self.changed.wake_all();
                }
                None if self.read_all.get() => return,
                None => changed.await,
            }
        }
    }
}

fn late() -> Status {
    Status::new(Code::DeadlineExceeded, "the message took too long")
}

fn stopping() -> Status {
    Status::new(Code::Unavailable, "the server is stopping")
}
