//! What the kernel offers: cores, sockets, files, time, and the ways between two cores.
//!
//! The only room that names the runtime (glommio), so that it can be replaced. Each file is one
//! offer and knows nothing of events.
//!
//! | file       | offers                                                                    |
//! |------------|---------------------------------------------------------------------------|
//! | `host`     | what this machine allows: rings, CPUs, limits; and what to change         |
//! | `executor` | a pinned thread that runs tasks; a panic on it ends the process           |
//! | `beat`     | keeps an executor from sleeping with tasks to run                         |
//! | `first_task` | keeps it from sleeping before its first                                  |
//! | `thread`   | a thread for calls that wait                                              |
//! | `file`     | direct-I/O files on one volume                                            |
//! | `volume`   | the guard and the self-test that run before a volume is used              |
//! | `sockets`  | which sockets have bytes or room, in one poll for all of them              |
//! | `stream`   | TCP: listen, accept, receive without a parked buffer, send                |
//! | `datagram` | UDP to one address, for what may be lost                                   |
//! | `timer`    | sleep, interval, timeout                                                  |
//! | `mailbox`  | a bounded way from one executor to another; full is an answer             |
//! | `notify`   | waking tasks of the same executor                                         |
//! | `wake`     | being woken by foreign threads and signals, through a socketpair          |
//! | `hyper`    | what hyper needs from a runtime                                           |
//!
//! Core:    everything but [`mailbox`]'s and [`wake`]'s unconnected ends stays on one executor.
//! Cancel:  dropping a future of this room loses at most the work of that future; a write that was
//!          dropped may or may not have happened.
//! Full:    mailboxes give the letter back; nothing here grows because a peer wants it so.

mod beat;
pub mod datagram;
pub mod executor;
pub mod file;
mod first_task;
pub mod host;
pub mod hyper;
pub mod mailbox;
pub mod mounts;
pub mod notify;
pub mod ring;
mod sockets;
pub mod stream;
pub mod thread;
pub mod timer;
pub mod volume;
pub mod wake;

use std::io;
use std::path::PathBuf;

/// Why the machine does not give what was asked. Each text says what to change.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "io_uring is refused here ({source}): in a container allow it with \
         `docker run --security-opt seccomp=unconfined` (or a profile that has io_uring_setup), \
         on a host set the sysctl kernel.io_uring_disabled to 0"
    )]
    RingsRefused { source: io::Error },

    #[error("CPU {cpu} is not among those this process may use ({allowed:?})")]
    CpuNotAllowed { cpu: usize, allowed: Vec<usize> },

    #[error("the {limit} limit is {have} and at least {least} is needed: {advice}")]
    LimitTooLow {
        limit: &'static str,
        have: u64,
        least: u64,
        advice: &'static str,
    },

    #[error("cannot start the thread {name}: {source}")]
    Thread { name: String, source: io::Error },

    #[error("{address} is in use by another process: stop that one, or set another port")]
    AddressInUse { address: std::net::SocketAddr },

    #[error("cannot listen on {address}: {source}")]
    Listen {
        address: std::net::SocketAddr,
        source: io::Error,
    },

    #[error(
        "{folder} is on {kind}, which is not known to keep what direct I/O wrote; \
         use ext4 or xfs, or set log.allow_any_filesystem = true for a trial"
    )]
    FileSystem { folder: PathBuf, kind: String },

    #[error(
        "{folder} lies below {point}, which is a mount point in /etc/fstab, and nothing is mounted there: mount its \
         disk, or take the line out of /etc/fstab"
    )]
    NotMounted { folder: PathBuf, point: PathBuf },

    #[error("{folder} cannot hold a volume: {what} failed: {source}")]
    Volume {
        folder: PathBuf,
        what: &'static str,
        source: io::Error,
    },

    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Takes the kernel's error out of the runtime's.
fn io_error(error: glommio::GlommioError<()>) -> io::Error {
    match error {
        glommio::GlommioError::IoError(source)
        | glommio::GlommioError::EnhancedIoError { source, .. } => source,
        other => other.into(),
    }
}
