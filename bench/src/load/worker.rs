//! One thread of the driver: its connections, one epoll, one loop.
//!
//! Ordering: read all answers, write their record, queue new batches, write theirs, then send.
//! Core: one thread, pinned when the operator says where.
//! Cancel: at the end of the measured time nothing new is sent and the answers still due are
//! awaited, for a bounded time. The first lost connection of a recorded run ends the sending too.

use std::{
    io,
    os::fd::OwnedFd,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
};

use super::{
    connection::{Connection, Desk},
    tally::{Busy, Live, Span, Tally},
};
use crate::host;

/// How long answers are awaited after the last batch was sent.
const DRAIN: Duration = Duration::from_secs(10);
/// The same, when the server went away: only what the kernel already holds is still to come.
const DRAIN_GONE: Duration = Duration::from_secs(2);
/// The loop looks at the clock at least this often.
const TICK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};
const WAKES_MAX: usize = 256;

/// What all workers keep to.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) window: usize,
    /// For each connection.
    pub(super) batches_max: u64,
    pub(super) span: Span,
    /// Whether a lost connection ends the run: it does when the run is recorded.
    pub(super) end_on_loss: bool,
    pub(super) live: Live,
    /// Some worker lost a connection.
    pub(super) gone: AtomicBool,
}

pub(super) struct Worker<'a> {
    rules: &'a Rules,
    desk: Desk<'a>,
    connections: Vec<Connection>,
    epoll: OwnedFd,
    busy: Option<Busy>,
    /// When the sending ended, and until when answers are awaited.
    drain_until: Option<Instant>,
}

impl<'a> Worker<'a> {
    pub(super) fn new(
        rules: &'a Rules,
        desk: Desk<'a>,
        connections: Vec<Connection>,
    ) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (index, connection) in connections.iter().enumerate() {
            let data = epoll::EventData::new_u64(index as u64);
            epoll::add(&epoll, &connection.socket, data, epoll::EventFlags::IN)?;
        }
        Ok(Self {
            rules,
            desk,
            connections,
            epoll,
            busy: None,
            drain_until: None,
        })
    }

    /// Drives all connections to the end of the run and says what was counted.
    pub(super) fn run(mut self) -> io::Result<Tally> {
        self.desk.now = host::now();
        for index in 0..self.connections.len() {
            self.connections[index].greet(&mut self.desk);
            self.settle(index)?;
        }
        let mut wakes = Vec::with_capacity(WAKES_MAX);
        while !self.has_ended() {
            match epoll::wait(&self.epoll, spare_capacity(&mut wakes), Some(&TICK)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            self.desk.now = host::now();
            self.watch_the_clock();
            for wake in wakes.drain(..) {
                let index = wake.data.u64() as usize;
                self.connections[index].receive(&mut self.desk);
                self.settle(index)?;
            }
            self.desk.tally.show(&self.rules.live);
        }
        Ok(self.close())
    }

    /// Queues and sends what a connection may send after what it received.
    fn settle(&mut self, index: usize) -> io::Result<()> {
        let connection = &mut self.connections[index];
        if connection.lost.is_some() {
            return self.bury(index);
        }
        if self.drain_until.is_none() {
            connection.fill(&mut self.desk, self.rules.window, self.rules.batches_max);
        }
        if let Some(recorder) = &mut self.desk.recorder {
            recorder.flush()?;
        }
        connection.send();
        self.ask(index)
    }

    /// Asks to be woken for writing when, and only when, something waits to be written.
    fn ask(&mut self, index: usize) -> io::Result<()> {
        let connection = &mut self.connections[index];
        let wants_write = connection.has_bytes_to_send();
        if wants_write != connection.wants_write {
            connection.wants_write = wants_write;
            let mut flags = epoll::EventFlags::IN;
            flags.set(epoll::EventFlags::OUT, wants_write);
            let data = epoll::EventData::new_u64(index as u64);
            epoll::modify(&self.epoll, &connection.socket, data, flags)?;
        }
        Ok(())
    }

    /// Forgets a lost connection's socket.
    fn bury(&mut self, index: usize) -> io::Result<()> {
        if let Some(recorder) = &mut self.desk.recorder {
            recorder.flush()?;
        }
        self.rules.gone.store(true, Ordering::Relaxed);
        Ok(epoll::delete(&self.epoll, &self.connections[index].socket)?)
    }

    fn watch_the_clock(&mut self) {
        let now = self.desk.now;
        if self.busy.is_none() && self.rules.span.from <= now {
            self.busy = Some(Busy::start(now, host::thread_cpu()));
        }
        let gone = self.rules.end_on_loss && self.rules.gone.load(Ordering::Relaxed);
        if self.drain_until.is_none() && (gone || self.rules.span.until <= now) {
            self.stop(if gone { DRAIN_GONE } else { DRAIN });
        }
    }

    fn stop(&mut self, drain: Duration) {
        let now = self.desk.now;
        self.drain_until = Some(now + drain);
        if let Some(busy) = self.busy {
            self.desk.tally.busy = busy.since(now, host::thread_cpu());
        }
    }

    fn has_ended(&self) -> bool {
        if self.drain_until.is_some_and(|until| until <= self.desk.now) {
            return true;
        }
        let all_sent = |connection: &Connection| {
            self.drain_until.is_some() || connection.sent() == self.rules.batches_max
        };
        self.connections.iter().all(|connection| {
            connection.lost.is_some() || (connection.is_idle() && all_sent(connection))
        })
    }

    fn close(mut self) -> Tally {
        if self.drain_until.is_none() {
            self.stop(Duration::ZERO);
        }
        self.desk.tally.show(&self.rules.live);
        let mut tally = self.desk.tally;
        for connection in self.connections {
            tally.sent += connection.sent();
            tally.unanswered += connection.unanswered() as u64;
            tally.lost.extend(connection.lost);
        }
        tally
    }
}
