//! One of the two ways in which a journal is forwarded, as the shard sees it.

use super::super::intake::Core;
use super::Forwarder;
use super::exactly::Exactly;
use crate::log::journal::Journal;
use crate::rt::executor::spawn_local;
use crate::shard::volumes::Disk;
use crate::spool::{Backlog, Settings};
use crate::unit::{JournalId, Ticket};
use std::rc::Rc;

/// What forwards one journal.
#[derive(Clone)]
pub(in crate::shard) enum Way {
    AtLeastOnce(Rc<Forwarder>),
    ExactlyOnce(Rc<Exactly>),
}

impl Way {
    /// Begins where the journal's cursor stands, and is at work from then on. To be called before the journal takes
    /// anything in.
    pub(in crate::shard) fn open(
        core: &Rc<Core>,
        at: (JournalId, &Journal<Disk>),
        settings: &Settings,
        cpus: &[usize],
    ) -> Result<Self, String> {
        if let Some(exactly) = &settings.exactly {
            let (forwarder, bell) = Exactly::open(core, at, settings, exactly, cpus)?;
            spawn_local(forwarder.clone().hear(bell)).detach();
            spawn_local(forwarder.clone().run()).detach();
            return Ok(Self::ExactlyOnce(forwarder));
        }
        let (forwarder, bell) = Forwarder::open(core, at, settings, cpus)?;
        spawn_local(forwarder.clone().hear(bell)).detach();
        spawn_local(forwarder.clone().run()).detach();
        Ok(Self::AtLeastOnce(forwarder))
    }

    /// Something became durable.
    pub(in crate::shard) fn wake(&self) {
        match self {
            Self::AtLeastOnce(forwarder) => forwarder.wake(),
            Self::ExactlyOnce(forwarder) => forwarder.wake(),
        }
    }

    /// Commits up to this ticket were discarded.
    pub(in crate::shard) fn discarded(&self, upto: Ticket) {
        match self {
            Self::AtLeastOnce(forwarder) => forwarder.discarded(upto),
            Self::ExactlyOnce(forwarder) => forwarder.discarded(upto),
        }
    }

    /// Nothing more is sent; what is under way has some time to arrive.
    pub(in crate::shard) async fn stop(&self) {
        match self {
            Self::AtLeastOnce(forwarder) => forwarder.stop().await,
            Self::ExactlyOnce(forwarder) => forwarder.stop().await,
        }
    }

    /// How much waits, and what became of what did.
    pub(in crate::shard) fn backlog(&self) -> Backlog {
        match self {
            Self::AtLeastOnce(forwarder) => forwarder.backlog(),
            Self::ExactlyOnce(forwarder) => forwarder.backlog(),
        }
    }
}
