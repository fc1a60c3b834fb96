//! One of the two ways in which a journal is forwarded, as the shard sees it.

use super::super::intake::Core;
use super::exactly::Exactly;
use super::{Forwarder, Lanes, spawn_in};
use crate::log::journal::Journal;
use crate::shard::open::Opened;
use crate::shard::volumes::Disk;
use crate::spool::retry::{Retried, Retry};
use crate::spool::{Backlog, Settings};
use crate::unit::{JournalId, Micros, Ticket};
use std::rc::Rc;

/// What forwards one journal.
#[derive(Clone)]
pub(in crate::shard) enum Way {
    AtLeastOnce(Rc<Forwarder>),
    ExactlyOnce(Rc<Exactly>),
}

/// What forwards these journals, at work, where journals are forwarded; or why one is not.
pub(in crate::shard) fn open_all(
    core: &Rc<Core>,
    opened: &[Opened],
    lanes: Lanes,
    of_store: (&[usize], u32),
) -> Result<Vec<Way>, String> {
    let Some(settings) = &core.settings.spool else {
        return Ok(Vec::new());
    };
    let open = |one: &Opened| Way::open(core, (one.id, &one.journal), settings, lanes, of_store);
    opened.iter().map(open).collect()
}

impl Way {
    /// Begins where the journal's cursor stands, and is at work from then on. To be called before the journal takes
    /// anything in.
    fn open(
        core: &Rc<Core>,
        at: (JournalId, &Journal<Disk>),
        settings: &Settings,
        lanes: Lanes,
        of_store: (&[usize], u32),
    ) -> Result<Self, String> {
        if let Some(exactly) = &settings.exactly {
            let (forwarder, bell) = Exactly::open(core, at, settings, exactly, of_store)?;
            spawn_in(lanes.backlog, forwarder.clone().hear(bell)).detach();
            spawn_in(lanes.backlog, forwarder.clone().run()).detach();
            return Ok(Self::ExactlyOnce(forwarder));
        }
        let (forwarder, bell) = Forwarder::open(core, at, settings, of_store)?;
        if let Some(direct) = &forwarder.direct {
            spawn_in(lanes.backlog, Rc::clone(direct).run()).detach();
            let hear = forwarder.clone().hear_of_whole(Rc::clone(direct));
            spawn_in(lanes.backlog, hear).detach();
        }
        spawn_in(lanes.backlog, forwarder.clone().hear(bell)).detach();
        spawn_in(lanes.backlog, forwarder.clone().run()).detach();
        Ok(Self::AtLeastOnce(forwarder))
    }

    /// Sends the journal's dead letters again, or only counts them; so long as it is not `until`.
    pub(in crate::shard) async fn retry(&self, asked: &Retry, until: Micros) -> Retried {
        match self {
            Self::AtLeastOnce(forwarder) => {
                let renew = |topic| forwarder.renew(topic);
                forwarder.retrier.retry(asked, until, &renew).await
            }
            Self::ExactlyOnce(forwarder) => {
                let renew = |topic| forwarder.renew(topic);
                forwarder.retrier.retry(asked, until, &renew).await
            }
        }
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

    /// Waits until it is known how much waits, or that this will not be known: before that, nothing would seem to wait.
    pub(in crate::shard) async fn known(&self) {
        match self {
            Self::AtLeastOnce(forwarder) => forwarder.known.wait().await,
            Self::ExactlyOnce(forwarder) => forwarder.known.wait().await,
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
