//! Where answers wait for their connection.
//!
//! Always:  answers leave in the order in which they were given.
//! Core:    shared, through an `Rc`, by a connection's task and the shard that answers it.
//! Cancel:  when the connection is gone, answers are counted and dropped.
//! Full:    a connection whose outbox holds more than [`OUTBOX_BYTES_MAX`](crate::limit) is not read
//!          any more; what was taken before is still answered, and the shard bounds that.

use crate::limit::{REASON_BYTES_MAX, cut};
use crate::rt::stream::Stream;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, Waker, ready};

/// What an idle connection keeps of its outbox, in bytes.
const IDLE_BYTES: usize = 1 << 10;

/// Who is at the other end. Untrusted bytes, never more than a header's worth.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    pub conn_id: Box<[u8]>,
    pub conn_group: Box<str>,
}

/// What the shard wants of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Told {
    #[default]
    Nothing,
    /// Another has come under its name: is this one still there?
    ProveLife,
    /// Another has taken its place.
    Leave,
}

/// One WebSocket connection's answers on their way out.
#[derive(Debug)]
pub struct Outbox {
    pub peer: Peer,
    /// Tells the connections of a shard apart, also those that have ended.
    pub number: u64,
    bytes: RefCell<Vec<u8>>,
    /// How many of `bytes` the kernel has taken.
    sent: Cell<usize>,
    /// How many bytes the kernel has taken since the beginning.
    taken: Cell<u64>,
    waker: WakerSlot,
    unanswered: Cell<u32>,
    gone: Cell<bool>,
    told: Cell<Told>,
}

impl Outbox {
    pub fn new(peer: Peer) -> Self {
        thread_local! {
            static OPENED: Cell<u64> = const { Cell::new(0) };
        }
        let number = OPENED.get();
        OPENED.set(number + 1);
        Self {
            peer,
            number,
            bytes: RefCell::default(),
            sent: Cell::new(0),
            taken: Cell::new(0),
            waker: WakerSlot::default(),
            unanswered: Cell::new(0),
            gone: Cell::new(false),
            told: Cell::default(),
        }
    }

    /// Tells the connection something, and wakes it. It is taken once; the last word counts.
    pub fn tell(&self, told: Told) {
        self.told.set(told);
        self.wake();
    }

    /// What the connection was told last, once.
    pub fn take_told(&self) -> Told {
        self.told.take()
    }

    /// Has the connection's task look again.
    pub fn wake(&self) {
        self.waker.wake();
    }

    /// Counts a request whose answer will come later.
    pub fn expect_answer(&self) {
        self.unanswered.set(self.unanswered.get() + 1);
    }

    /// Appends one answer as a whole WebSocket message and wakes the connection. `counted` says
    /// that `expect_answer` was called for it. When the connection is gone, nothing happens.
    pub fn answer(&self, counted: bool, write: impl FnOnce(&mut Vec<u8>)) {
        if counted {
            let before = self.unanswered.get();
            debug_assert!(before > 0, "an answer that nobody expects");
            self.unanswered.set(before.saturating_sub(1));
        }
        if self.gone.get() {
            return;
        }
        write(&mut self.bytes.borrow_mut());
        self.wake();
    }

    /// Requests taken from this connection and not answered yet.
    pub fn unanswered(&self) -> u32 {
        self.unanswered.get()
    }

    /// The connection has ended: answers to it have nobody to read them.
    pub fn is_gone(&self) -> bool {
        self.gone.get()
    }

    /// Takes what was not sent yet, for those who send it themselves.
    pub fn take_unsent(&self) -> Vec<u8> {
        self.bytes.take().split_off(self.sent.take())
    }

    /// Bytes that the kernel has not taken yet.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.bytes.borrow().len() - self.sent.get()
    }

    /// Bytes that the kernel has taken since the beginning.
    pub(super) fn taken_bytes(&self) -> u64 {
        self.taken.get()
    }

    /// Appends a frame of the door's own, such as a pong. The connection's task itself calls it, so
    /// nobody is woken.
    pub(super) fn put(&self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes.borrow_mut());
    }

    /// Gives the kernel as much as it takes, in one call as a rule. Ready when nothing is left.
    pub(super) fn poll_send(
        &self,
        stream: &mut Stream,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let mut bytes = self.bytes.borrow_mut();
        while self.sent.get() < bytes.len() {
            let waiting = &bytes[self.sent.get()..];
            let sent = ready!(stream.poll_send(context, waiting))?;
            self.sent.set(self.sent.get() + sent);
            self.taken.set(self.taken.get() + sent as u64);
        }
        bytes.clear();
        self.sent.set(0);
        if self.unanswered.get() == 0 && bytes.capacity() > IDLE_BYTES {
            *bytes = Vec::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Wakes the connection's task at the next answer, or when it is told something.
    pub fn listen(&self, context: &Context<'_>) {
        self.waker.remember(context);
    }

    /// Says that the connection has ended, and frees what waited for it.
    pub(super) fn leave(&self) {
        self.gone.set(true);
        self.sent.set(0);
        drop(self.bytes.take());
        self.waker.forget();
    }
}

/// Which door a call came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Rest,
    Grpc,
    /// One request of a gRPC stream: answered as a WebSocket's.
    GrpcStream,
}

/// What a call came to; each protocol has its own word for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Accepted,
    /// It could not be decoded. The answer to a gRPC call is then the reason alone.
    Undecodable,
    /// It was decoded and cannot be accepted, now or later.
    Refused,
    /// It could not be made safe.
    Failed,
}

/// One REST request's or gRPC call's answer on its way out.
#[derive(Debug)]
pub struct Call {
    pub peer: Peer,
    pub protocol: Protocol,
    answer: RefCell<Option<(Outcome, Vec<u8>)>>,
    waker: WakerSlot,
}

impl Call {
    pub fn rest(peer: Peer) -> Self {
        Self::new(peer, Protocol::Rest)
    }

    pub fn grpc(peer: Peer) -> Self {
        Self::new(peer, Protocol::Grpc)
    }

    pub fn grpc_stream(peer: Peer) -> Self {
        Self::new(peer, Protocol::GrpcStream)
    }

    fn new(peer: Peer, protocol: Protocol) -> Self {
        Self {
            peer,
            protocol,
            answer: RefCell::default(),
            waker: WakerSlot::default(),
        }
    }

    /// Gives the answer, in the encoding of the request. Called once.
    pub fn answer(&self, outcome: Outcome, body: Vec<u8>) {
        *self.answer.borrow_mut() = Some((outcome, body));
        self.waker.wake();
    }

    /// The answer, when it has come.
    pub async fn answered(&self) -> (Outcome, Vec<u8>) {
        poll_fn(|context| {
            if let Some(answer) = self.answer.borrow_mut().take() {
                return Poll::Ready(answer);
            }
            self.waker.remember(context);
            Poll::Pending
        })
        .await
    }
}

impl Peer {
    /// The id as it may be shown: text as it is, everything else escaped, cut to a bound.
    pub(super) fn shown_id(&self) -> String {
        shown(&self.conn_id)
    }

    /// The group, in the same way.
    pub(super) fn shown_group(&self) -> String {
        shown(self.conn_group.as_bytes())
    }
}

fn shown(bytes: &[u8]) -> String {
    let mut shown = String::new();
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            if letter.is_control() {
                shown.extend(letter.escape_default());
            } else {
                shown.push(letter);
            }
        }
        shown.extend(chunk.invalid().escape_ascii().map(char::from));
        if REASON_BYTES_MAX < shown.len() {
            break;
        }
    }
    shown.truncate(cut(&shown, REASON_BYTES_MAX).len());
    shown
}

/// Who is to be woken. It is taken out to be looked at, which needs no count of borrows.
#[derive(Default)]
struct WakerSlot(Cell<Option<Waker>>);

impl WakerSlot {
    fn remember(&self, context: &Context<'_>) {
        let waker = match self.0.take() {
            Some(waker) if waker.will_wake(context.waker()) => waker,
            _ => context.waker().clone(),
        };
        self.0.set(Some(waker));
    }

    fn wake(&self) {
        self.0.take().into_iter().for_each(Waker::wake);
    }

    fn forget(&self) {
        drop(self.0.take());
    }
}

impl std::fmt::Debug for WakerSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("WakerSlot").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn answers_to_a_connection_that_is_gone_are_counted_and_dropped() {
        let outbox = Outbox::new(Peer::default());
        outbox.expect_answer();
        outbox.leave();
        outbox.answer(true, |_| panic!("nobody reads this"));
        assert!(outbox.is_gone());
        assert_eq!((outbox.unanswered(), outbox.waiting_bytes()), (0, 0));
    }

    #[test]
    fn answers_keep_their_order_and_their_count() {
        let outbox = Outbox::new(Peer::default());
        outbox.expect_answer();
        outbox.answer(true, |out| out.extend_from_slice(b"first,"));
        outbox.answer(false, |out| out.extend_from_slice(b"second"));
        assert_eq!(outbox.unanswered(), 0);
        assert_eq!(outbox.take_unsent(), b"first,second");
    }

    #[test]
    fn ids_are_shown_as_they_are_unless_they_could_do_harm() {
        let shown = |id: &[u8]| {
            let peer = Peer {
                conn_id: id.into(),
                ..Peer::default()
            };
            peer.shown_id()
        };
        assert_eq!(shown("rider-7 'ü'".as_bytes()), "rider-7 'ü'");
        assert_eq!(shown(b"a\xff\nb\x1b"), r"a\xff\nb\u{1b}");
        assert_eq!(shown(&[b'x'; 5_000]).len(), REASON_BYTES_MAX);
        assert!(shown(&[0xff; 5_000]).len() <= REASON_BYTES_MAX);
    }

    #[test]
    fn a_call_waits_for_its_answer() {
        let call = Call::rest(Peer::default());
        assert_eq!(call.answered().now_or_never(), None);
        call.answer(Outcome::Accepted, vec![1]);
        let answered = call.answered().now_or_never();
        assert_eq!(answered, Some((Outcome::Accepted, vec![1])));
    }
}
