//! Every journal's forwarder at its start, and who comes first on the shard: live events, or what waits for Kafka.

use super::Forwarder;
use crate::rt::executor::{Lane, Task, spawn_local};
use crate::shard::intake::Core;
use crate::shard::open::Opened;
use crate::spool::{Order, Settings};
use std::rc::Rc;

/// Who has a bounded share of the shard's time while others have something to do; `None` has no such bound.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::shard) struct Lanes {
    /// Connections and their requests.
    pub(in crate::shard) live: Option<Lane>,
    /// Forwarders.
    backlog: Option<Lane>,
}

impl Lanes {
    /// To be called on the shard's executor.
    pub(in crate::shard) fn new(settings: Option<&Settings>) -> Self {
        let Some(settings) = settings else {
            return Self::default();
        };
        match settings.order {
            Order::LiveFirst => Self {
                live: None,
                backlog: Some(Lane::new("spool", settings.share)),
            },
            Order::OldestFirst => Self {
                live: Some(Lane::new("live", settings.share)),
                backlog: None,
            },
        }
    }
}

/// Starts a task in a lane, if there is one.
pub(in crate::shard) fn spawn_in<T: 'static>(
    lane: Option<Lane>,
    future: impl Future<Output = T> + 'static,
) -> Task<T> {
    match lane {
        Some(lane) => lane.spawn(future),
        None => spawn_local(future),
    }
}

/// What forwards these journals, at work, where journals are forwarded; or why one is not.
pub(in crate::shard) fn open_all(
    core: &Rc<Core>,
    opened: &[Opened],
    lanes: Lanes,
    (cpus, journals_in_store): (&[usize], u32),
) -> Result<Vec<Rc<Forwarder>>, String> {
    let mut forwarders = Vec::new();
    let Some(settings) = &core.settings.spool else {
        return Ok(forwarders);
    };
    for opened in opened {
        let journal = (opened.id, &opened.journal);
        let (forwarder, bell) =
            Forwarder::open(core, journal, settings, (cpus, journals_in_store))?;
        spawn_in(lanes.backlog, forwarder.clone().hear(bell)).detach();
        spawn_in(lanes.backlog, forwarder.clone().run()).detach();
        forwarders.push(forwarder);
    }
    Ok(forwarders)
}
