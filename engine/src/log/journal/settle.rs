//! What becomes of a frame that was submitted: it joins the contiguous durable prefix, or the journal fails.
//!
//! Always:  the marks move only over frames whose write and flush have both resolved well, without a gap.

use super::super::disk::Disk;
use super::super::planted::{self, Planted};
use super::{Commit, InFlight, Inner};
use crate::unit::Sequence;
use std::io;

/// Commits that wait to be taken for metrics.
const COMMITS_KEPT: usize = 4096;

impl<D: Disk> Inner<D> {
    /// Whether the open frame should be closed now.
    pub(super) fn wants_commit(&self) -> bool {
        if self.staging.is_empty() {
            return false;
        }
        let in_flight = self
            .in_flight
            .iter()
            .filter(|frame| frame.flush_us.is_none())
            .count();
        let large = self.settings.frame_bytes <= self.staging.used();
        if in_flight == 0 {
            return large || self.stopping || self.has_waited();
        }
        large && in_flight < self.settings.frames_in_flight
    }

    /// What is staged has waited for company as long as it should.
    fn has_waited(&self) -> bool {
        let wait_us = self.settings.commit_wait_us;
        wait_us == 0 || wait_us <= (self.clock)().since(self.staged_since)
    }

    /// A failure to write or flush is final: what is not durable by now never will be.
    pub(super) fn fail(&mut self, deed: &str, error: &io::Error) {
        if self.fault.is_none() {
            let journal = self.settings.journal.0;
            let reason =
                format!("journal {journal} takes no more events: could not {deed}: {error}");
            self.fault = Some(reason.into());
            let queued = self
                .system
                .iter()
                .filter_map(|frame| frame.receipt.as_ref());
            let flying = self
                .in_flight
                .iter()
                .filter_map(|frame| frame.receipt.as_ref());
            queued.chain(flying).for_each(|receipt| receipt.give(false));
        }
    }

    /// Notes that a frame is on stable storage and moves the contiguous mark.
    pub(super) fn note_done(&mut self, sequence: Sequence) {
        let now = (self.clock)();
        if let Some(frame) = self
            .in_flight
            .iter_mut()
            .find(|frame| frame.sequence == sequence)
        {
            frame.flush_us = Some(now.since(frame.submitted));
        }
        if planted::is(Planted::AcknowledgeBeyondThePrefix) {
            let earlier = self.in_flight.iter_mut();
            earlier
                .filter(|frame| frame.sequence < sequence)
                .for_each(|frame| frame.flush_us = Some(0));
        }
        while let Some(frame) = self.in_flight.front() {
            let Some(flush_us) = frame.flush_us else {
                break;
            };
            let frame = self
                .in_flight
                .pop_front()
                .expect("it was looked at just now");
            self.settle(frame, flush_us);
        }
    }

    fn settle(&mut self, mut frame: InFlight, flush_us: u64) {
        assert!(self.durable < Some(frame.sequence));
        self.durable = Some(frame.sequence);
        if frame.ticket.is_some() {
            self.durable_ticket = frame.ticket;
        }
        for (topic, low) in frame.raised {
            self.topics.show_low(topic, low);
        }
        if let Some(receipt) = frame.receipt {
            receipt.give(true);
        }
        let segment = self.closing.iter_mut().chain(&mut self.open);
        let segment = segment
            .into_iter()
            .find(|segment| frame.sequence <= segment.last);
        let segment = segment.expect("a frame in flight lies in a segment that is not sealed");
        for (topic, mut place) in frame.contents.places.drain(..) {
            self.topics.settle(topic, &place);
            place.position += frame.position;
            let topic = self.topics.id(topic);
            segment.index.entry(topic).or_default().push(place);
        }
        self.forwarding.came.events += frame.contents.events;
        self.forwarding.came.bytes += frame.bytes;
        // Nobody may be taking them: the catalogue has no metrics.
        if self.commits.len() < COMMITS_KEPT {
            self.commits.push(Commit {
                bytes: frame.bytes,
                flush_us,
                events: frame.contents.events,
                event_bytes: frame.contents.event_bytes,
            });
        }
        self.staging.recycle(frame.contents);
    }
}
