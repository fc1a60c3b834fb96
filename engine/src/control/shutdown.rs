//! The end: what brings it, and how it goes.
//!
//! Core:    the control core's.
//! Always:  `/readyz` says no before any shard is told to drain. A second signal ends at once.

use super::exit::Exit;
use super::fleet::{Failure, Fleet};
use crate::rt::timer;
use crate::rt::wake::Signals;
use crate::shard::mail::Order;
use futures_util::future::{Either, select};
use std::pin::pin;
use std::time::Duration;

/// What shards may need beyond the grace of their connections: the last commits and their flush.
const SEAL_WAIT: Duration = Duration::from_secs(10);

/// Why the program is to end.
#[derive(Debug)]
pub(super) enum Cause {
    Signal,
    Failure(Failure),
}

/// What a signal has interrupted, or what came of it.
pub(super) async fn unless_signalled<T>(
    signals: &mut Signals,
    work: impl Future<Output = T>,
) -> Option<T> {
    match select(pin!(work), pin!(signals.next())).await {
        Either::Left((done, _)) => Some(done),
        Either::Right((signal, _)) => {
            match signal {
                Ok(signal) => tracing::info!("{signal:?}: draining; a second signal ends at once"),
                Err(error) => tracing::error!("signals are no longer heard: {error}; draining"),
            }
            None
        }
    }
}

/// Waits for a reason to end.
pub(super) async fn cause(signals: &mut Signals, fleet: &Fleet) -> Cause {
    match unless_signalled(signals, fleet.failed()).await {
        Some(failure) => Cause::Failure(failure),
        None => Cause::Signal,
    }
}

/// Drains every shard. `Fine` when all of them ended in order because a signal said so.
pub(super) async fn drain(
    signals: &mut Signals,
    fleet: &Fleet,
    cause: &Cause,
    grace: Duration,
) -> Exit {
    fleet.drain();
    let ended = async {
        fleet.order_all(|| Order::Drain).await;
        fleet.ended().await;
    };
    let drained = timer::timeout(grace + SEAL_WAIT, unless_signalled(signals, ended)).await;
    match (drained, cause) {
        (None, _) => {
            tracing::error!("shards did not end in time; ending without them");
            Exit::Failed
        }
        (Some(Some(())), Cause::Signal) if fleet.all_drained() => {
            tracing::info!("drained");
            Exit::Fine
        }
        // A second signal, or a shard that failed.
        (Some(_), _) => Exit::Failed,
    }
}
