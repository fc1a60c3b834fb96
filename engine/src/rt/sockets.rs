//! Which sockets of an executor have bytes or room: one poll for all of them.
//!
//! ```text
//! socket -> epoll (edges) -> one poll of the ring -> watch -> row -> task
//! ```
//!
//! The runtime would poll each socket by itself, which costs half a kilobyte for each that waits, and a
//! request and a completion of the ring for each batch that comes alone. Here a socket stands in
//! one epoll(7) instance from its first moment to its last, and the ring polls that instance.
//!
//! Always:  a mark falls only after the kernel has said that there is no more, and rises with the next
//!          edge; so "no more" that is told too late costs a call and loses nothing.
//! Core:    one instance and one task on every executor.
//! Cancel:  a dropped [`Place`] leaves; its socket must be closed before it.
//! Full:    one row for each socket.

use super::executor::{Task, spawn_local};
use futures_util::io::AsyncRead;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, FromRawFd, IntoRawFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Events that one call fetches.
const EVENTS: usize = 256;

/// Of what a socket has told since it was last asked.
const READABLE: u8 = 1;
const WRITABLE: u8 = 2;
/// The peer sends no more, or the connection is broken: the last that a socket tells, so it is kept.
const ENDED: u8 = 4;

thread_local! {
    /// Those of the executor that runs on this thread.
    static HERE: RefCell<Option<Rc<Sockets>>> = const { RefCell::new(None) };
}

/// What a socket can do when it enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entering {
    /// A listener, or a connection that stands.
    Standing,
    /// A connection that is being made: it has room when it stands, or tells why it never will.
    Connecting,
}

/// The sockets of one executor.
#[derive(Debug)]
pub(super) struct Sockets {
    instance: OwnedFd,
    table: RefCell<Table>,
}

#[derive(Debug, Default)]
struct Table {
    rows: Vec<Row>,
    free: Vec<u32>,
}

#[derive(Debug, Default)]
struct Row {
    marks: u8,
    receiver: Option<Waker>,
    sender: Option<Waker>,
}

/// Where one socket stands. To be dropped after the socket was closed, which is what takes it out
/// of the instance.
#[derive(Debug)]
pub(super) struct Place {
    sockets: Rc<Sockets>,
    row: u32,
}

/// Watches the sockets of this executor until it is dropped.
#[derive(Debug)]
pub(super) struct Watch(#[expect(dead_code, reason = "it is cancelled with the watch")] Task<()>);

impl Sockets {
    pub(super) fn open() -> io::Result<Rc<Self>> {
        Ok(Rc::new(Self {
            instance: epoll::create(CreateFlags::CLOEXEC)?,
            table: RefCell::default(),
        }))
    }

    /// Those of the calling thread's executor.
    ///
    /// # Panics
    /// When the thread runs no executor.
    pub(super) fn here() -> Rc<Self> {
        let here = HERE.with_borrow(Clone::clone);
        here.expect("sockets are made on an executor")
    }

    /// Makes these the ones of the calling thread's executor, and starts to watch them.
    pub(super) fn watch(self: Rc<Self>) -> Watch {
        HERE.set(Some(Rc::clone(&self)));
        Watch(spawn_local(async move {
            let mut events = Vec::with_capacity(EVENTS);
            loop {
                self.harvest(&mut events);
                // A descriptor that cannot be had or polled is no reason to stop: the executor's
                // beat comes round soon, and so does this task.
                if self.stir().await.is_err() {
                    super::timer::sleep(super::beat::BUSY).await;
                }
            }
        }))
    }

    /// Takes a socket in. The caller keeps it nonblocking.
    pub(super) fn enter(self: Rc<Self>, socket: impl AsFd, how: Entering) -> io::Result<Place> {
        let row = self.table.borrow_mut().enter(how);
        // From here on a failure gives the row back.
        let place = Place { sockets: self, row };
        let edges = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        let data = EventData::new_u64(u64::from(row));
        epoll::add(&place.sockets.instance, socket, data, edges)?;
        Ok(place)
    }

    /// Takes what the kernel has to tell, and wakes those concerned.
    fn harvest(&self, events: &mut Vec<Event>) {
        loop {
            let room = spare_capacity(events);
            match epoll::wait(&self.instance, room, Some(&Timespec::default())) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(error) => unreachable!("an instance of our own is not waited for: {error}"),
            }
            let fetched = events.len();
            for event in events.drain(..) {
                let (row, flags) = (event.data.u64(), event.flags);
                // Whatever is dropped with a waker may leave the table: not while it is borrowed.
                let woken = self.table.borrow_mut().note(row as usize, flags);
                woken.into_iter().flatten().for_each(Waker::wake);
            }
            if fetched < EVENTS {
                break;
            }
        }
    }

    /// Waits until there is something to harvest.
    ///
    /// The runtime polls streams only, and each before its first receive. So each wait is that of a
    /// new stream, which takes the instance for a socket; that it cannot be received from shows
    /// once the poll has ended, and is no matter.
    async fn stir(&self) -> io::Result<()> {
        let instance = self.instance.try_clone()?.into_raw_fd();
        // SAFETY: the descriptor was made here and nothing else owns it.
        let mut poll = unsafe { glommio::net::UnixStream::from_raw_fd(instance) };
        let mut nothing = [0];
        let _no_socket =
            poll_fn(|context| Pin::new(&mut poll).poll_read(context, &mut nothing)).await;
        Ok(())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        HERE.set(None);
    }
}

impl Table {
    fn enter(&mut self, how: Entering) -> u32 {
        let marks = match how {
            Entering::Standing => WRITABLE,
            Entering::Connecting => 0,
        };
        let row = Row {
            marks,
            ..Row::default()
        };
        if let Some(free) = self.free.pop() {
            self.rows[free as usize] = row;
            return free;
        }
        self.rows.push(row);
        u32::try_from(self.rows.len() - 1).expect("descriptors are counted in 31 bits")
    }

    /// Marks a row; says whom to wake.
    fn note(&mut self, row: usize, flags: EventFlags) -> [Option<Waker>; 2] {
        let row = &mut self.rows[row];
        let broken = EventFlags::ERR | EventFlags::HUP;
        let ended = broken | EventFlags::RDHUP;
        let can_receive = flags.intersects(EventFlags::IN | ended);
        let can_send = flags.intersects(EventFlags::OUT | broken);
        if flags.intersects(ended) {
            row.marks |= ENDED;
        }
        let mut woken = [None, None];
        if can_receive {
            row.marks |= READABLE;
            woken[0] = row.receiver.take();
        }
        if can_send {
            row.marks |= WRITABLE;
            woken[1] = row.sender.take();
        }
        woken
    }
}

impl Place {
    /// Ready when a receive, or an accept, may find something.
    pub(super) fn poll_readable(&self, context: &Context<'_>) -> Poll<()> {
        self.poll(READABLE, context, |row| &mut row.receiver)
    }

    /// Ready when a send may find room.
    pub(super) fn poll_writable(&self, context: &Context<'_>) -> Poll<()> {
        self.poll(WRITABLE, context, |row| &mut row.sender)
    }

    fn poll(
        &self,
        mark: u8,
        context: &Context<'_>,
        waiter: impl Fn(&mut Row) -> &mut Option<Waker>,
    ) -> Poll<()> {
        let mut table = self.sockets.table.borrow_mut();
        let row = &mut table.rows[self.row as usize];
        if row.marks & mark != 0 {
            return Poll::Ready(());
        }
        if mark == READABLE && row.marks & ENDED != 0 {
            // What the last bytes ask for has its turn before the end is seen.
            row.marks |= READABLE;
            drop(table);
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let waiter = waiter(row);
        if waiter
            .as_ref()
            .is_some_and(|known| known.will_wake(context.waker()))
        {
            return Poll::Pending;
        }
        let before = waiter.replace(context.waker().clone());
        drop(table);
        drop(before);
        Poll::Pending
    }

    /// A receive took less than it had room for: the next may wait for an edge, or for the next turn when the peer
    /// sends no more.
    pub(super) fn took_all(&self) {
        self.unmark(READABLE);
    }

    /// The kernel had nothing, not even an end.
    pub(super) fn nothing_to_read(&self) {
        self.unmark(READABLE | ENDED);
    }

    /// The kernel had no room.
    pub(super) fn no_room(&self) {
        self.unmark(WRITABLE);
    }

    fn unmark(&self, mark: u8) {
        let mut table = self.sockets.table.borrow_mut();
        table.rows[self.row as usize].marks &= !mark;
    }

    /// Those that this one stands among.
    pub(super) fn sockets(&self) -> Rc<Sockets> {
        Rc::clone(&self.sockets)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.sockets.table.borrow_mut();
        let left = std::mem::take(&mut table.rows[self.row as usize]);
        table.free.push(self.row);
        drop(table);
        drop(left);
    }
}
