//! Who comes first on the shard: live events, or what waits for Kafka.

use crate::rt::executor::{Lane, Task, spawn_local};
use crate::spool::Order;

/// Who has a bounded share of the shard's time while others have something to do; `None` has no such bound.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::shard) struct Lanes {
    /// Connections and their requests.
    pub(in crate::shard) live: Option<Lane>,
    /// Forwarders.
    pub(super) backlog: Option<Lane>,
}

impl Lanes {
    /// Who comes first, and the others' share of the time in percent. To be called on the shard's executor.
    pub(in crate::shard) fn new(order: Order, share: u32) -> Self {
        match order {
            Order::LiveFirst => Self {
                live: None,
                backlog: Some(Lane::new("spool", share)),
            },
            Order::OldestFirst => Self {
                live: Some(Lane::new("live", share)),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt::executor::{Plan, block_on, yield_if_needed};
    use std::cell::Cell;
    use std::rc::Rc;

    const TURNS: u64 = 1_000_000;

    async fn work(mine: Rc<Cell<u64>>, all: Rc<Cell<u64>>) {
        while all.get() < TURNS {
            std::hint::black_box((0..100).sum::<u64>());
            mine.set(mine.get() + 1);
            all.set(all.get() + 1);
            yield_if_needed().await;
        }
    }

    /// Turns of connections and of forwarders on a shard where both always have something to do.
    fn turns(order: Order) -> (u64, u64) {
        block_on(&Plan::small("lanes"), async move {
            let lanes = Lanes::new(order, 20);
            let (all, live, backlog) = <(Rc<_>, Rc<_>, Rc<_>)>::default();
            let forwarder = spawn_in(lanes.backlog, work(Rc::clone(&backlog), Rc::clone(&all)));
            let connection = spawn_in(lanes.live, work(Rc::clone(&live), all));
            connection.await;
            forwarder.await;
            (live.get(), backlog.get())
        })
        .unwrap()
    }

    /// A fifth is promised to who comes second. A busy host, which takes the processor away in anybody's turn, blurs that
    /// now and then, but not each time.
    #[test]
    fn who_comes_first_has_more_turns_on_a_busy_shard_and_nobody_has_none() {
        let twice = |first: u64, second: u64| 0 < second && 2 * second < first;
        let live_first = || turns(Order::LiveFirst);
        let oldest_first = || turns(Order::OldestFirst);
        assert!(
            (0..5)
                .map(|_| live_first())
                .any(|(live, backlog)| twice(live, backlog))
        );
        assert!(
            (0..5)
                .map(|_| oldest_first())
                .any(|(live, backlog)| twice(backlog, live))
        );
    }
}
