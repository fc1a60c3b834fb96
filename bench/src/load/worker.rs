//! One thread of the driver: its connections, one epoll, one loop.
//!
//! Ordering: read all answers, write their record, queue new batches, write theirs, then send.
//! Core: one thread, pinned when the operator says where.
//! Cancel: at the end of the measured time nothing new is sent and the answers still due are
//! awaited, for a bounded time. The first lost connection of a recorded run ends the sending too.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    io,
    net::TcpStream,
    os::fd::OwnedFd,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
};

use super::{
    connection::{Connection, Desk},
    opening::{Agenda, Opening, Step},
    pace::Pace,
    rules::Loop,
    tally::{Busy, Tally},
};
use crate::{host, wire::Source};

/// How long answers are awaited after the last batch was sent.
const DRAIN: Duration = Duration::from_secs(10);
/// The same, when the server went away: only what the kernel already holds is still to come.
const DRAIN_GONE: Duration = Duration::from_secs(2);
/// The loop looks at the clock at least this often.
const TICK: Duration = Duration::from_millis(50);
const WAKES_MAX: usize = 256;
/// Batches of an open loop that are dealt out before sockets are looked at again.
const DEALT_MAX: usize = 1024;

/// A connection of this worker, and who it says it is.
pub(super) struct Seat {
    pub(super) connection: Connection,
    /// Header lines, name and value.
    pub(super) identity: Vec<(String, String)>,
}

pub(super) struct Worker<'a> {
    desk: Desk<'a>,
    seats: Vec<Seat>,
    epoll: OwnedFd,
    source: Source,
    /// Of an open loop.
    pace: Option<Pace>,
    /// The connection that the next batch of an open loop goes to.
    turn: usize,
    /// Connections of a closed loop that pause, by the end of their pause.
    resting: BinaryHeap<Reverse<(Instant, usize)>>,
    agenda: Agenda,
    openings: BTreeMap<usize, Opening>,
    next_storm: Option<Instant>,
    busy: Option<Busy>,
    /// When the sending ended, and until when answers are awaited.
    drain_until: Option<Instant>,
}

impl<'a> Worker<'a> {
    /// Seats without a socket are opened over the time of the ramp-up. `index` is this worker's.
    pub(super) fn new(
        desk: Desk<'a>,
        seats: Vec<Seat>,
        source: Source,
        index: usize,
    ) -> io::Result<Self> {
        let rules = desk.rules;
        let pace = rules.batches_per_second.map(|all| {
            let own = all / rules.workers as f64;
            let seed = desk.shape.run ^ (index as u64) << 48;
            Pace::new(rules.begins, own, rules.arrivals, seed)
        });
        let mut worker = Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            pace,
            turn: 0,
            resting: BinaryHeap::new(),
            agenda: Agenda::default(),
            openings: BTreeMap::new(),
            next_storm: rules.storm.map(|storm| rules.begins + storm.every),
            busy: None,
            drain_until: None,
            source,
            seats,
            desk,
        };
        worker.plan_ramp_up();
        Ok(worker)
    }

    fn plan_ramp_up(&mut self) {
        let rules = self.desk.rules;
        let each = rules.ramp_up / self.seats.len().max(1) as u32;
        for (index, seat) in self.seats.iter().enumerate() {
            if seat.connection.socket.is_none() {
                self.agenda.put(rules.begins + each * index as u32, index);
            }
        }
    }

    /// Drives all connections to the end of the run and says what was counted.
    pub(super) fn run(mut self) -> io::Result<Tally> {
        self.desk.now = host::now();
        for index in 0..self.seats.len() {
            if self.seats[index].connection.is_open() {
                self.watch(index)?;
            }
        }
        let mut wakes = Vec::with_capacity(WAKES_MAX);
        while !self.has_ended() {
            let wait = self.wait();
            match epoll::wait(&self.epoll, spare_capacity(&mut wakes), Some(&wait)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            self.desk.now = host::now();
            self.watch_the_clock();
            for wake in wakes.drain(..) {
                self.woken(wake.data.u64() as usize)?;
            }
            self.deal()?;
            self.wake_the_rested()?;
            self.open_and_break_off()?;
            self.desk.tally.show(&self.desk.rules.live);
        }
        Ok(self.close())
    }

    /// How long nothing needs to be done unless a socket says otherwise.
    fn wait(&self) -> Timespec {
        let now = host::now();
        let mut until = now + TICK;
        if self.drain_until.is_none() {
            let moments = [
                self.pace.as_ref().map(Pace::next),
                self.resting.peek().map(|Reverse((moment, _))| *moment),
                self.agenda.next(),
                self.next_storm,
            ];
            until = moments.into_iter().flatten().fold(until, Instant::min);
        }
        let wait = until.saturating_duration_since(now);
        Timespec {
            tv_sec: 0,
            tv_nsec: wait.subsec_nanos().into(),
        }
    }

    fn woken(&mut self, index: usize) -> io::Result<()> {
        if self.openings.contains_key(&index) {
            return self.go_on_opening(index);
        }
        self.seats[index].connection.receive(&mut self.desk);
        self.settle(index)
    }

    /// Queues and sends what a connection may send after what it received.
    fn settle(&mut self, index: usize) -> io::Result<()> {
        let connection = &mut self.seats[index].connection;
        if connection.lost.is_some() {
            return self.bury(index);
        }
        if let Some(until) = connection.rests_until
            && connection.is_idle()
        {
            self.resting.push(Reverse((until, index)));
        }
        if self.drain_until.is_none() {
            connection.fill(&mut self.desk);
        }
        if let Some(recorder) = &mut self.desk.recorder {
            recorder.flush()?;
        }
        connection.send();
        if self.desk.rules.kind == Loop::Max && self.drain_until.is_none() {
            // What the socket took makes room for more; the poller tells when it takes more again.
            while connection.is_open() && !connection.has_bytes_to_send() {
                let before = connection.sent();
                connection.fill(&mut self.desk);
                if connection.sent() == before {
                    break;
                }
                if let Some(recorder) = &mut self.desk.recorder {
                    recorder.flush()?;
                }
                connection.send();
            }
        }
        self.ask(index)
    }

    /// Asks to be woken for writing when, and only when, something waits to be written.
    fn ask(&mut self, index: usize) -> io::Result<()> {
        let connection = &mut self.seats[index].connection;
        let wants_write = connection.has_bytes_to_send();
        if wants_write != connection.wants_write
            && let Some(socket) = &connection.socket
        {
            let flags = flags(wants_write);
            let data = epoll::EventData::new_u64(index as u64);
            epoll::modify(&self.epoll, socket, data, flags)?;
            connection.wants_write = wants_write;
        }
        Ok(())
    }

    /// Forgets a lost connection's socket.
    fn bury(&mut self, index: usize) -> io::Result<()> {
        if let Some(recorder) = &mut self.desk.recorder {
            recorder.flush()?;
        }
        self.desk.rules.gone.store(true, Ordering::Relaxed);
        // Closing it takes it from the poller too.
        self.seats[index].connection.hang_up();
        Ok(())
    }

    /// Deals out the batches of an open loop whose moments have come.
    fn deal(&mut self) -> io::Result<()> {
        self.desk.now = host::now();
        let Some(mut pace) = self.pace.take().filter(|_| self.drain_until.is_none()) else {
            return Ok(());
        };
        let (mut first, mut dealt) = (self.turn, 0);
        let last = self.desk.rules.span.until;
        while dealt < DEALT_MAX
            && let Some(moment) = pace.take(self.desk.now.min(last))
        {
            if self.desk.rules.span.holds(moment) {
                self.desk.tally.open_loop.intended += 1;
            }
            self.seats[self.turn].connection.intend(moment);
            self.turn = (self.turn + 1) % self.seats.len();
            dealt += 1;
        }
        self.pace = Some(pace);
        for _ in 0..dealt.min(self.seats.len()) {
            if self.seats[first].connection.is_open() {
                // Sending takes time, which is part of the next one's delay.
                self.desk.now = host::now();
                self.settle(first)?;
            }
            first = (first + 1) % self.seats.len();
        }
        Ok(())
    }

    fn wake_the_rested(&mut self) -> io::Result<()> {
        while let Some(Reverse((until, index))) = self.resting.peek().copied()
            && until <= self.desk.now
        {
            self.resting.pop();
            let connection = &mut self.seats[index].connection;
            // An entry may be older than the pause that the connection is in.
            if connection.rests_until == Some(until) && connection.is_open() {
                connection.rests_until = None;
                self.settle(index)?;
            }
        }
        Ok(())
    }

    fn open_and_break_off(&mut self) -> io::Result<()> {
        if self.drain_until.is_some() {
            return Ok(());
        }
        if let Some((at, storm)) = self.next_storm.zip(self.desk.rules.storm)
            && at <= self.desk.now
        {
            self.next_storm = Some(at + storm.every);
            self.break_off(usize::from(storm.percent));
        }
        while let Some((index, since)) = self.agenda.take(self.desk.now) {
            self.begin(index, since)?;
        }
        Ok(())
    }

    fn break_off(&mut self, percent: usize) {
        let (now, connections) = (self.desk.now, self.desk.rules.connections);
        let wanted = (self.seats.len() * percent).div_ceil(100);
        let open = self.seats.iter_mut().enumerate();
        let open = open.filter(|(_, seat)| seat.connection.is_open());
        for (index, seat) in open.take(wanted) {
            let storms = &mut self.desk.tally.storms;
            storms.abandoned += seat.connection.break_off(connections);
            storms.broken_off += 1;
            self.agenda.put(now, index);
        }
    }

    /// Begins to open a connection.
    fn begin(&mut self, index: usize, since: Instant) -> io::Result<()> {
        let socket = match self.source.begin(self.desk.target) {
            Ok(socket) => socket,
            Err(error) => {
                self.put_back(index, since, &error.to_string());
                return Ok(());
            }
        };
        let seat = &self.seats[index];
        let identity = pairs(&seat.identity);
        let target = self.desk.target;
        let opening = Opening::new(socket, target.protocol.opening(target, &identity), since);
        self.add(&opening.socket, index, true)?;
        self.openings.insert(index, opening);
        Ok(())
    }

    fn put_back(&mut self, index: usize, since: Instant, why: &str) {
        self.desk.tally.storms.retries += 1;
        if !self.agenda.put_back(self.desk.now, index, since) {
            self.seats[index].connection.lose(why);
            self.desk.rules.gone.store(true, Ordering::Relaxed);
        }
    }

    fn go_on_opening(&mut self, index: usize) -> io::Result<()> {
        let Some(mut opening) = self.openings.remove(&index) else {
            return Ok(());
        };
        match opening.step(self.desk.target) {
            Step::Waiting => {
                let data = epoll::EventData::new_u64(index as u64);
                let flags = flags(opening.wants_write());
                epoll::modify(&self.epoll, &opening.socket, data, flags)?;
                self.openings.insert(index, opening);
                Ok(())
            }
            Step::Open(carry) => {
                epoll::delete(&self.epoll, &opening.socket)?;
                let took = self.desk.now.saturating_duration_since(opening.since);
                let seat = &mut self.seats[index];
                let identity = pairs(&seat.identity);
                let target = self.desk.target;
                if let Err(error) = seat
                    .connection
                    .admit(opening.socket, carry, target, &identity)
                {
                    self.put_back(index, opening.since, &error.to_string());
                    return Ok(());
                }
                let tally = &mut self.desk.tally;
                tally.opening_us.saturating_record(took.as_micros() as u64);
                tally.storms.opened += 1;
                self.watch(index)
            }
            Step::Failed(why) => {
                // Its socket is closed with it, which takes it from the poller too.
                self.put_back(index, opening.since, &why);
                Ok(())
            }
        }
    }

    /// Starts to use an open connection.
    fn watch(&mut self, index: usize) -> io::Result<()> {
        let Some(socket) = &self.seats[index].connection.socket else {
            return Ok(());
        };
        self.add(socket, index, false)?;
        self.seats[index].connection.greet(&mut self.desk);
        self.settle(index)
    }

    fn add(&self, socket: &TcpStream, index: usize, wants_write: bool) -> io::Result<()> {
        let data = epoll::EventData::new_u64(index as u64);
        Ok(epoll::add(&self.epoll, socket, data, flags(wants_write))?)
    }

    fn watch_the_clock(&mut self) {
        let (now, rules) = (self.desk.now, self.desk.rules);
        if self.busy.is_none() && rules.span.from <= now {
            self.busy = Some(Busy::start(now));
        }
        let gone = rules.end_on_loss && rules.gone.load(Ordering::Relaxed);
        if self.drain_until.is_none() && (gone || rules.span.until <= now) {
            self.stop(if gone { DRAIN_GONE } else { DRAIN });
        }
    }

    fn stop(&mut self, drain: Duration) {
        let now = self.desk.now;
        self.drain_until = Some(now + drain);
        self.agenda.clear();
        self.openings.clear();
        if let Some(busy) = self.busy {
            (self.desk.tally.busy, self.desk.tally.waited) = busy.since(now);
        }
        self.count_unsent();
    }

    /// Counts the batches that were meant to be sent before now and are not.
    fn count_unsent(&mut self) {
        let Some(mut pace) = self.pace.take() else {
            return;
        };
        let span = self.desk.rules.span;
        let last = self.desk.now.min(span.until);
        let never_dealt = std::iter::from_fn(|| pace.take(last));
        let never_dealt = never_dealt.filter(|moment| span.holds(*moment)).count() as u64;
        let due = self.seats.iter().flat_map(|seat| seat.connection.due());
        let due = due.filter(|moment| span.holds(*moment)).count() as u64;
        let counts = &mut self.desk.tally.open_loop;
        counts.intended += never_dealt;
        counts.unsent += never_dealt + due;
    }

    fn has_ended(&self) -> bool {
        if self.drain_until.is_some_and(|until| until <= self.desk.now) {
            return true;
        }
        let draining = self.drain_until.is_some();
        let coming = !self.agenda.is_empty() || !self.openings.is_empty();
        let all_sent =
            |connection: &Connection| draining || connection.sent() == self.desk.rules.batches_max;
        (draining || !coming)
            && self.seats.iter().all(|seat| {
                let connection = &seat.connection;
                connection.lost.is_some() || (connection.is_idle() && all_sent(connection))
            })
    }

    fn close(mut self) -> Tally {
        if self.drain_until.is_none() {
            self.stop(Duration::ZERO);
        }
        self.desk.tally.show(&self.desk.rules.live);
        let mut tally = self.desk.tally;
        tally.close();
        for seat in self.seats {
            tally.sent += seat.connection.sent();
            tally.unanswered += seat.connection.unanswered() as u64;
            tally.lost.extend(seat.connection.lost);
        }
        tally
    }
}

fn flags(wants_write: bool) -> epoll::EventFlags {
    let mut flags = epoll::EventFlags::IN;
    flags.set(epoll::EventFlags::OUT, wants_write);
    flags
}

/// Header lines as the protocols take them.
pub(super) fn pairs(identity: &[(String, String)]) -> Vec<(&str, &str)> {
    let lines = identity.iter();
    lines
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}
