//! Who keeps copies: it is recorded in the chain when it changes, and too few of them acknowledge nothing.
//!
//! Always:  a record only removes volumes or only adds some. One that comes counts when the record that
//!          names it is durable on all.
//!          A frame that too few volumes have is held back: it becomes durable when they are enough again,
//!          for whoever comes has it copied. Its requests are refused meanwhile.
//! Full:    while volumes are too few nothing is taken in; what was staged is discarded.

use super::super::disk::Disk;
use super::super::format::frame::SectionKind;
use super::super::format::section::{self, Membership};
use super::{Inner, Step, SystemFrame};
use crate::unit::{Sequence, Ticket};
use std::collections::VecDeque;
use std::sync::Arc;

/// A record of the members on its way into the chain.
#[derive(Debug)]
struct Record {
    membership: Membership,
    /// Of the disk, when it was made.
    shift: u64,
    /// `None` until it is submitted.
    sequence: Option<Sequence>,
}

#[derive(Debug, Default)]
pub(super) struct Roll {
    /// The disk's shift that was seen last.
    seen: u64,
    /// What the newest record says, durable or not.
    recorded: Vec<u32>,
    /// What the newest record says that was submitted, or recovered.
    chained: Option<Membership>,
    /// What the newest record says that has reached its members.
    kept: Vec<u32>,
    records: VecDeque<Record>,
    /// Why nothing can be acknowledged.
    pub(super) shortage: Option<Arc<str>>,
    /// Tickets up to this one were refused for it.
    refused: Option<Ticket>,
}

impl Roll {
    pub(super) fn new(recovered: Option<Membership>) -> Self {
        Self {
            chained: recovered,
            ..Self::default()
        }
    }
}

impl<D: Disk> Inner<D> {
    pub(super) fn seen(&self) -> (D, u64) {
        (self.disk.clone(), self.keeping.seen)
    }

    /// The members, when the newest record of them has reached them all.
    pub(super) fn kept_membership(&self) -> Option<&[u32]> {
        let newest = self.keeping.records.is_empty() && self.keeping.seen == self.disk.shift();
        newest.then_some(&*self.keeping.kept)
    }

    /// The record that the epoch frame carries.
    pub(super) fn first_record(&mut self) -> SystemFrame {
        self.keeping.seen = self.disk.shift();
        let keepers = self.disk.keepers();
        self.keeping.shortage = keepers.shortage.map(Into::into);
        self.record(keepers.members)
    }

    fn record(&mut self, members: Vec<u32>) -> SystemFrame {
        let keepers = self.disk.keepers();
        let membership = Membership {
            epoch: self.epoch.0,
            volumes_min: keepers.volumes_min,
            durable_volumes: keepers.durable_volumes,
            members: members.clone(),
        };
        let mut contents = Vec::new();
        section::write_membership(&membership, &mut contents);
        self.keeping.recorded = members;
        self.keeping.records.push_back(Record {
            membership,
            shift: self.keeping.seen,
            sequence: None,
        });
        SystemFrame {
            sections: vec![(SectionKind::MEMBERSHIP, contents)],
            ..SystemFrame::default()
        }
    }

    /// Takes notice of volumes that came or went.
    pub(super) fn look_at_keepers(&mut self) -> Option<Step> {
        let shift = self.disk.shift();
        if shift != self.keeping.seen {
            self.keeping.seen = shift;
            let keepers = self.disk.keepers();
            self.keeping.shortage = keepers.shortage.map(Into::into);
            self.record_change(keepers.members);
        }
        match self.keeping.shortage.clone() {
            Some(reason) => self.refuse_all(&reason),
            None => self.release(),
        }
    }

    fn record_change(&mut self, now: Vec<u32>) {
        let stays = |volume: &u32| now.contains(volume);
        let rest = self.keeping.recorded.iter().copied().filter(stays);
        let rest: Vec<u32> = rest.collect();
        if rest != self.keeping.recorded && !rest.is_empty() {
            let removes = self.record(rest);
            self.system.push_back(removes);
        }
        if now != self.keeping.recorded && !now.is_empty() {
            let adds = self.record(now);
            self.system.push_back(adds);
        }
    }

    /// Records go into the chain in the order in which they were made; this one with the next frame.
    pub(super) fn note_membership(&mut self, sections: &[(SectionKind, Vec<u8>)]) {
        let has = |wanted| sections.iter().any(|(kind, _)| *kind == wanted);
        // The opening frame of a segment only repeats what is in the chain before it.
        if !has(SectionKind::MEMBERSHIP) || has(SectionKind::CHECKPOINT) {
            return;
        }
        let mut records = self.keeping.records.iter_mut();
        let next = records.find(|record| record.sequence.is_none());
        let next = next.expect("whoever stages a record notes it");
        next.sequence = Some(self.next_sequence);
        self.keeping.chained = Some(next.membership.clone());
    }

    /// What a segment's opening frame repeats, so that recovery need not look further back.
    pub(super) fn membership_section(&self) -> Option<(SectionKind, Vec<u8>)> {
        let mut contents = Vec::new();
        section::write_membership(self.keeping.chained.as_ref()?, &mut contents);
        Some((SectionKind::MEMBERSHIP, contents))
    }

    /// A frame is on every volume in service, and they are too few.
    pub(super) fn note_short(&mut self, sequence: Sequence) {
        let mut frames = self.in_flight.iter_mut();
        if let Some(frame) = frames.find(|frame| frame.sequence == sequence) {
            frame.short = true;
        }
        self.note_kept();
    }

    /// Looks which records have reached all their members, with every frame before them; whether one has.
    pub(super) fn note_kept(&mut self) -> bool {
        if self.keeping.records.is_empty() {
            return false;
        }
        let mut upto = self.durable;
        for frame in &self.in_flight {
            if frame.flush_us.is_none() && !frame.short {
                break;
            }
            upto = Some(frame.sequence);
        }
        let mut news = false;
        while let Some(record) = self.keeping.records.front() {
            if record.sequence.is_none() || upto < record.sequence {
                break;
            }
            let record = self.keeping.records.pop_front();
            let record = record.expect("it was looked at just now");
            self.disk.confirm(record.shift);
            self.keeping.kept = record.membership.members;
            news = true;
        }
        news
    }

    /// The volumes are enough again: what was held back is durable now.
    fn release(&mut self) -> Option<Step> {
        let before = self.durable_ticket;
        let held: Vec<Sequence> = self
            .in_flight
            .iter()
            .filter(|frame| frame.short)
            .map(|frame| frame.sequence)
            .collect();
        for sequence in held {
            self.note_done(sequence);
        }
        let news = self
            .durable_ticket
            .filter(|_| self.durable_ticket != before);
        news.map(Step::Durable)
    }

    /// Refuses what waits, once every frame is on the volumes that there are.
    fn refuse_all(&mut self, reason: &Arc<str>) -> Option<Step> {
        let on_its_way = |frame: &super::InFlight| frame.flush_us.is_none() && !frame.short;
        if self.in_flight.iter().any(on_its_way) {
            return None;
        }
        for frame in &mut self.in_flight {
            frame
                .receipt
                .take()
                .iter()
                .for_each(|receipt| receipt.give(false));
        }
        let flying = self.in_flight.iter().rev().find_map(|frame| frame.ticket);
        let mut upto = flying.filter(|ticket| self.durable_ticket < Some(*ticket));
        if !self.staging.is_empty() {
            self.staging.discard(&mut self.topics);
            self.topics.next_frame();
            self.buffer = None;
            upto = Some(self.ticket);
            self.ticket = self.ticket.next();
        }
        let upto = upto.filter(|upto| self.keeping.refused < Some(*upto))?;
        self.keeping.refused = Some(upto);
        Some(Step::Discarded {
            upto,
            reason: reason.clone(),
        })
    }
}
