//! Many connections that do nothing: what does one cost the server?
//!
//! Ordering: open all, say so, hold them and answer the server's pings, then ask each for a pong.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
};

use crate::{
    Verdict, host,
    wire::{
        Protocol, Source, Target,
        websocket::{self, read_frame},
    },
};

/// How long a pong may take, for all connections together.
const PONG_WAIT: Duration = Duration::from_secs(30);
const TICK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};
const WAKES_MAX: usize = 1024;
/// Bytes of a frame that has not come whole; a control frame is at most 127.
const CARRY_BYTES_MAX: usize = 4096;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    #[arg(long, default_value = "ws://127.0.0.1:8080/api/v1/events")]
    url: String,
    #[arg(long, default_value_t = 15_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections: u32,
    /// How long the connections are held once all are open.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    hold_seconds: u64,
    /// The header that tells the server who is connecting.
    #[arg(long, default_value = "X-User-ID")]
    id_header: String,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Verdict, Box<dyn std::error::Error>> {
    host::allow_open_files(u64::from(arguments.connections) + 64)?;
    if Target::parse(&arguments.url)?.protocol != Protocol::WebSocket {
        return Err(
            "only WebSockets stay open without asking anything: give a ws:// address".into(),
        );
    }
    let mut crowd = Crowd::open(arguments)?;
    println!("open {}", crowd.guests.len());
    crowd.listen(
        host::now() + Duration::from_secs(arguments.hold_seconds),
        false,
    )?;
    crowd.ping();
    crowd.listen(host::now() + PONG_WAIT, true)?;
    let alive = crowd.guests.iter().filter(|guest| guest.ponged).count();
    let lost = crowd.guests.len() - alive;
    println!("alive {alive} lost {lost}");
    Ok(if lost == 0 {
        Verdict::Kept
    } else {
        Verdict::Broken
    })
}

struct Guest {
    socket: TcpStream,
    /// The head of a frame whose rest has not come; rarely anything.
    carry: Vec<u8>,
    ponged: bool,
    lost: bool,
}

struct Crowd {
    epoll: OwnedFd,
    guests: Vec<Guest>,
}

impl Crowd {
    fn open(arguments: &Arguments) -> Result<Self, Box<dyn std::error::Error>> {
        let target = Target::parse(&arguments.url)?;
        let run = host::run_number();
        let mut crowd = Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            guests: Vec::new(),
        };
        let mut source = Source::new(&target, 1);
        for number in 0..arguments.connections {
            let identity = format!("idle-{run:016x}-{number}");
            let header = [(arguments.id_header.as_str(), identity.as_str())];
            let (socket, carry) = source.connect(&target, &header)?;
            crowd.admit(socket, carry)?;
        }
        Ok(crowd)
    }

    fn admit(&mut self, socket: TcpStream, carry: Vec<u8>) -> io::Result<()> {
        let data = epoll::EventData::new_u64(self.guests.len() as u64);
        epoll::add(&self.epoll, &socket, data, epoll::EventFlags::IN)?;
        self.guests.push(Guest {
            socket,
            carry,
            ponged: false,
            lost: false,
        });
        Ok(())
    }

    /// Answers pings until the time is over, or until no pong is due any more.
    fn listen(&mut self, until: Instant, for_pongs: bool) -> io::Result<()> {
        let mut wakes = Vec::with_capacity(WAKES_MAX);
        while host::now() < until && !(for_pongs && self.due() == 0) {
            match epoll::wait(&self.epoll, spare_capacity(&mut wakes), Some(&TICK)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for wake in wakes.drain(..) {
                let guest = &mut self.guests[wake.data.u64() as usize];
                if guest.read().is_err() {
                    guest.lost = true;
                    epoll::delete(&self.epoll, &guest.socket)?;
                }
            }
        }
        Ok(())
    }

    fn due(&self) -> usize {
        let is_due = |guest: &&Guest| !guest.lost && !guest.ponged;
        self.guests.iter().filter(is_due).count()
    }

    fn ping(&mut self) {
        let mut frame = Vec::new();
        websocket::write_frame(websocket::PING, b"bench", &mut frame);
        for guest in &mut self.guests {
            if !guest.lost && guest.socket.write_all(&frame).is_err() {
                guest.lost = true;
            }
        }
    }
}

impl Guest {
    /// Reads what has come; an error means that the connection is over.
    fn read(&mut self) -> io::Result<()> {
        let mut part = [0; 1024];
        match self.socket.read(&mut part) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => self.carry.extend_from_slice(&part[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
        let carry = std::mem::take(&mut self.carry);
        let mut rest = &carry[..];
        while let Some(frame) = read_frame(rest).map_err(io::Error::other)? {
            rest = &rest[frame.bytes..];
            self.obey(frame)?;
        }
        if CARRY_BYTES_MAX < rest.len() {
            return Err(ErrorKind::InvalidData.into());
        }
        if !rest.is_empty() {
            self.carry = rest.to_vec();
        }
        Ok(())
    }

    fn obey(&mut self, frame: websocket::Frame<'_>) -> io::Result<()> {
        match frame.opcode {
            websocket::PING => {
                let mut pong = Vec::new();
                websocket::write_frame(websocket::PONG, frame.payload, &mut pong);
                self.socket.write_all(&pong)
            }
            websocket::PONG if frame.payload == b"bench" => {
                self.ponged = true;
                Ok(())
            }
            websocket::PONG => Ok(()),
            // An idle connection asked nothing: any answer is a refusal, and a close is a loss.
            _ => Err(ErrorKind::ConnectionAborted.into()),
        }
    }
}
