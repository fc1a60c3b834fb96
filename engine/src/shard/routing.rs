//! From event types to topics, and what is asked of the control core when there is none yet.

use super::intake::{Core, Stop, Work};
use super::mail::Report;
use crate::event::answer::EventFault;
use crate::limit::{self, EVENT_BYTES_MAX, EVENT_FAULTS_MAX, REASON_BYTES_MAX};
use crate::log::journal::RoutedEvent;
use crate::net::Wait;
use crate::route::Table;
use std::sync::Arc;

/// Types that may be asked for at one time; more wait for room.
const ASKED_MAX: usize = 4096;

/// What became of a type that the control core was asked about.
pub(super) enum Asked {
    Pending,
    Refused(Arc<str>),
}

/// Why a request can never be accepted.
#[derive(Default)]
pub(super) struct Refused {
    /// It sums up.
    pub(super) reason: String,
    /// The first events that are why.
    pub(super) events: Vec<EventFault>,
    /// How many there are in all.
    count: usize,
}

impl Refused {
    pub(super) fn whole(reason: String) -> Self {
        Self {
            reason,
            ..Self::default()
        }
    }

    pub(super) fn add(&mut self, index: usize, why: &str) {
        self.count += 1;
        if self.events.len() < EVENT_FAULTS_MAX {
            self.events.push(EventFault {
                index: index as u32,
                reason: limit::cut(why, REASON_BYTES_MAX).into(),
            });
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Says in one sentence what is wrong with how many of `events`.
    pub(super) fn sum_up(mut self, events: usize) -> Self {
        if let Some(first) = self.events.first() {
            let (index, why) = (first.index, &first.reason);
            self.reason = match self.count {
                1 => format!("event {index}: {why}"),
                count => format!("{count} of {events} events, the first is event {index}: {why}"),
            };
        }
        self
    }
}

impl Core {
    /// Finds every event's topic. A type that has none is asked for, once.
    pub(super) fn route(&self, work: &mut Work, message: &[u8]) -> Result<(), Stop> {
        let table = self.table.borrow();
        let source = work.batch.source(message);
        work.routed.clear();
        work.missing.clear();
        let mut refused = Refused::default();
        let mut last: Option<(&[u8], RoutedEvent)> = None;
        for (index, event) in work.batch.events.iter().enumerate() {
            if EVENT_BYTES_MAX < event.payload.bytes as usize {
                let bytes = event.payload.bytes;
                let why = format!("it has {bytes} bytes; at most {EVENT_BYTES_MAX} are allowed");
                refused.add(index, &why);
                continue;
            }
            let kind = event.kind.of(source);
            let topic = match &last {
                Some((known, routed)) if *known == kind => Some(routed.topic),
                _ => table.route(kind),
            };
            let Some(topic) = topic else {
                if let Err(why) = note_missing(&table, kind, &mut work.missing) {
                    refused.add(index, &why);
                }
                continue;
            };
            let (start, bytes) = (event.payload.start, event.payload.bytes);
            let routed = RoutedEvent {
                topic,
                start,
                bytes,
            };
            work.routed.push(routed);
            last = Some((kind, routed));
        }
        if refused.count > 0 {
            return Err(Stop::Refused(refused.sum_up(work.batch.events.len())));
        }
        if work.missing.is_empty() {
            Ok(())
        } else {
            Err(self.ask(work))
        }
    }

    /// Asks the control core for the topics of the missing types, or takes its refusal.
    fn ask(&self, work: &mut Work) -> Stop {
        for kind in &work.missing {
            if let Some(Asked::Refused(_)) = work.asked.get(kind)
                && let Some(Asked::Refused(reason)) = work.asked.remove(kind)
            {
                return Stop::Failed(reason);
            }
        }
        if ASKED_MAX <= work.asked.len() {
            // Refusals whose requests have gone must not keep others from asking.
            work.asked
                .retain(|_, asked| matches!(asked, Asked::Pending));
        }
        let mut kinds = Vec::new();
        for kind in work.missing.drain(..) {
            if work.asked.len() < ASKED_MAX && !work.asked.contains_key(&kind) {
                work.asked.insert(kind.clone(), Asked::Pending);
                kinds.push(kind);
            }
        }
        if !kinds.is_empty() {
            work.posts.push_back(Report::WantTopics {
                shard: self.id,
                kinds,
            });
            self.posted.wake_all();
        }
        Stop::Wait(Wait::Topics)
    }
}

/// Notes a type that no topic is known for; says why there can be none.
fn note_missing(table: &Table, kind: &[u8], missing: &mut Vec<Box<str>>) -> Result<(), String> {
    let kind = std::str::from_utf8(kind).unwrap_or_default();
    table.topic_name(kind)?;
    if let Some(reason) = &table.closed {
        return Err((**reason).into());
    }
    if !missing.iter().any(|known| **known == *kind) {
        missing.push(kind.into());
    }
    Ok(())
}
