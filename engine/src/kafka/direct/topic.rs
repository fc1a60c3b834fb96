//! A topic's partitions, and whether its batches may go this way.

use super::partition::{Lot, Queue};
use crate::kafka::native::Fault;
use crate::rt::timer::Moment;
use std::collections::VecDeque;
use std::time::Duration;

/// So long a topic of which something came back is left to librdkafka.
const PAUSE: Duration = Duration::from_secs(10);

/// A topic that is not to be seen for longer than this is not there: a broker that has just started does not know all of
/// them, and one that makes topics takes a moment.
const GONE_AFTER: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Standing {
    /// The cluster was not asked yet, or did not answer.
    #[default]
    Unknown,
    Known,
    /// All of it goes back, as soon as nothing of it is under way.
    Recalled(Fault),
    /// All of it went back.
    Refused {
        until: Moment,
    },
}

/// A partition, and who leads it.
#[derive(Debug)]
pub(super) struct Partition {
    pub(super) number: i32,
    pub(super) leader: i32,
    /// Who has something of it under way, if anybody has.
    pub(super) link: i32,
    /// Nothing is sent before this.
    not_before: Moment,
    pub(super) queue: Queue,
}

#[derive(Debug, Default)]
pub(super) struct Topic {
    standing: Standing,
    /// What comes waits here, for what went another way.
    is_held: bool,
    /// Everything comes to the first partition.
    is_for_first: bool,
    /// Since when the cluster does not know it.
    unseen: Option<Moment>,
    partitions: Vec<Partition>,
    /// What came before the partitions were known, or is held.
    early: VecDeque<Lot>,
}

impl Topic {
    /// Whether batches may go this way. While they are recalled they may: they come back in their order.
    pub(super) fn takes(&self, now: Moment) -> bool {
        match self.standing {
            Standing::Refused { until } => until <= now,
            _ => true,
        }
    }

    pub(super) fn is_unknown(&self) -> bool {
        self.standing == Standing::Unknown
    }

    pub(super) fn take(&mut self, lot: Lot) {
        if let Standing::Refused { .. } = self.standing {
            self.standing = Standing::Unknown;
        }
        self.early.push_back(lot);
        self.deal();
    }

    /// What comes waits here until it is released.
    pub(super) fn hold(&mut self) {
        self.is_held = true;
    }

    pub(super) fn release(&mut self) {
        self.is_held = false;
        self.deal();
    }

    /// Deals out what came, if it may go.
    fn deal(&mut self) {
        if self.standing == Standing::Known && !self.is_held && !self.partitions.is_empty() {
            while let Some(lot) = self.early.pop_front() {
                self.give(lot);
            }
        }
    }

    /// Everything comes to the first partition from now on, whoever leads it.
    pub(super) fn use_first(&mut self) {
        self.is_for_first = true;
    }

    /// A batch goes to the partition whose turn it is, or the next one that is led by somebody.
    fn give(&mut self, lot: Lot) {
        let count = self.partitions.len();
        let turn = if self.is_for_first {
            0
        } else {
            (lot.mark.sequence % count as u64) as usize
        };
        let places = (turn..count).chain(0..turn);
        let led = places
            .into_iter()
            .find(|at| 0 <= self.partitions[*at].leader || self.is_for_first);
        self.partitions[led.unwrap_or(turn)].queue.push(lot);
    }

    /// What the cluster says of it. `false` when that is not what it needs.
    pub(super) fn see(&mut self, seen: &[(i32, i32)]) -> bool {
        let is_there = |known: &Partition| {
            let at = seen.binary_search_by_key(&known.number, |(number, _)| *number);
            at.is_ok()
        };
        // A topic that was made anew may have fewer.
        self.partitions
            .retain(|known| is_there(known) || !known.queue.is_empty());
        if seen.is_empty() || !self.partitions.iter().all(is_there) {
            return false;
        }
        for (number, leader) in seen {
            let known = self
                .partitions
                .binary_search_by_key(number, |known| known.number);
            match known {
                Ok(at) => self.partitions[at].leader = *leader,
                Err(at) => self.partitions.insert(
                    at,
                    Partition {
                        number: *number,
                        leader: *leader,
                        link: -1,
                        not_before: Moment::from_millis(0),
                        queue: Queue::default(),
                    },
                ),
            }
        }
        self.unseen = None;
        if self.standing == Standing::Unknown {
            self.standing = Standing::Known;
        }
        self.deal();
        true
    }

    /// The cluster does not know it, with this word for that; `false` when it may know it soon.
    pub(super) fn miss(&mut self, now: Moment, fault: Fault) -> bool {
        let since = *self.unseen.get_or_insert(now);
        let is_gone = GONE_AFTER <= now.since(since);
        if is_gone {
            self.unseen = None;
            self.recall(fault);
        }
        is_gone
    }

    /// All of it is to go back.
    pub(super) fn recall(&mut self, fault: Fault) {
        if !matches!(self.standing, Standing::Refused { .. }) {
            self.standing = Standing::Recalled(fault);
        }
    }

    /// Gives everything back that is to go back, if nothing is under way any more.
    pub(super) fn give_back(&mut self, back: &mut impl FnMut(Lot, Fault)) {
        let Standing::Recalled(fault) = self.standing else {
            return;
        };
        if 0 < self.under_way() {
            return;
        }
        for partition in &mut self.partitions {
            for lot in partition.queue.take_all() {
                back(lot, fault);
            }
        }
        for lot in self.early.drain(..) {
            back(lot, fault);
        }
        let until = Moment::now().after(PAUSE);
        self.standing = Standing::Refused { until };
    }

    pub(super) fn under_way(&self) -> usize {
        let queues = self.partitions.iter();
        queues.map(|partition| partition.queue.under_way()).sum()
    }

    /// Whether something waits that this broker would take, now or later.
    pub(super) fn wants(&self, broker: i32) -> bool {
        self.waiting_for(broker).next().is_some()
    }

    /// The partitions for which something waits that may be sent to their leaders.
    pub(super) fn waiting(&self) -> impl Iterator<Item = i32> {
        let known = self.standing == Standing::Known;
        let waiting = self.partitions.iter();
        let waiting = waiting.filter(move |one| known && one.queue.is_ready());
        waiting.map(|one| one.number)
    }

    /// When this broker would take something; `None` when nothing waits for it.
    pub(super) fn due(&self, broker: i32) -> Option<Moment> {
        self.waiting_for(broker).map(|one| one.not_before).min()
    }

    fn waiting_for(&self, broker: i32) -> impl Iterator<Item = &Partition> {
        let known = self.standing == Standing::Known;
        let partitions = self.partitions.iter();
        partitions.filter(move |one| known && one.is_for(broker))
    }

    /// The partitions of which this broker would take something now.
    pub(super) fn ready_for(
        &mut self,
        broker: i32,
        now: Moment,
    ) -> impl Iterator<Item = &mut Partition> {
        let known = self.standing == Standing::Known;
        let partitions = self.partitions.iter_mut();
        partitions.filter(move |one| known && one.is_for(broker) && one.not_before <= now)
    }

    /// The partition of this number sends nothing before that moment.
    pub(super) fn pause(&mut self, number: i32, until: Moment) {
        let found = self.partitions.iter_mut().find(|one| one.number == number);
        if let Some(one) = found {
            one.not_before = until;
        }
    }

    /// What waits for the partition of this number.
    pub(super) fn queue(&mut self, number: i32) -> Option<&mut Queue> {
        let found = self
            .partitions
            .binary_search_by_key(&number, |one| one.number);
        Some(&mut self.partitions[found.ok()?].queue)
    }

    /// The connection to this broker is gone.
    pub(super) fn lost(&mut self, broker: i32) {
        for one in &mut self.partitions {
            if one.link == broker {
                one.queue.lost();
                one.link = -1;
            }
        }
    }

    /// All connections are gone.
    pub(super) fn lost_all(&mut self) {
        for one in &mut self.partitions {
            one.queue.lost();
            one.link = -1;
        }
    }

    pub(super) fn renumber(&mut self) {
        for one in &mut self.partitions {
            one.queue.renumber();
        }
    }
}

impl Partition {
    /// Whether this broker leads it, has it alone, and something waits.
    fn is_for(&self, broker: i32) -> bool {
        let alone = self.link == broker || self.queue.under_way() == 0;
        self.leader == broker && alone && self.queue.is_ready()
    }
}
