//! Who comes first on the shard: live events, or what waits for Kafka.

use crate::rt::executor::{Lane, Task, spawn_local};
use crate::spool::{Order, Settings};

/// Who has a bounded share of the shard's time while others have something to do; `None` has no such bound.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::shard) struct Lanes {
    /// Connections and their requests.
    pub(in crate::shard) live: Option<Lane>,
    /// Forwarders.
    pub(super) backlog: Option<Lane>,
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
