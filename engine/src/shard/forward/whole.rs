//! Batches that go to Kafka as they lie in the log.
//!
//! Always:  a topic goes one way at a time: whole batches, or record by record through librdkafka. It changes when
//!          nothing of it is under way.

use super::super::clock::Clock as _;
use super::{Forwarder, State, Target};
use crate::kafka::direct::{Direct, Fit, Mark, Told, fit};
use crate::limit::BATCH_EVENTS_MAX;
use crate::log::format::batch;
use crate::rt::executor::yield_if_needed;
use crate::spool::{Settings, Writer};
use crate::unit::{JournalId, Sequence};
use std::rc::Rc;

/// The brokers to which the settings allow whole batches to be sent.
pub(super) fn brokers(settings: &Settings, journal: JournalId) -> Option<Vec<(Box<str>, u16)>> {
    if settings.writer == Writer::Librdkafka {
        return None;
    }
    match fit(&settings.kafka) {
        Fit::Yes(brokers) => Some(brokers),
        Fit::No(why) => {
            let journal = journal.0;
            tracing::info!("journal {journal}: every event goes through librdkafka, because {why}");
            None
        }
    }
}

/// A producer of whole batches, where the settings allow one.
pub(super) fn open(settings: &Settings, journal: JournalId) -> Option<Rc<Direct>> {
    brokers(settings, journal).map(|brokers| Rc::new(Direct::new(brokers)))
}

impl Forwarder {
    /// Sends a batch as it is; `false` when its records have to go one by one.
    pub(super) fn send_whole(
        &self,
        direct: &Direct,
        target: &Target,
        (sequence, number): (Sequence, u32),
        bytes: &[u8],
    ) -> bool {
        // What came back is known before anything is sent that came after it.
        while let Some(told) = direct.next() {
            self.take_told(&told);
        }
        {
            let state = self.state.borrow();
            let index = target.index;
            if state.troubles.contains_key(&index) || state.unwanted.contains_key(&index) {
                return false;
            }
        }
        let records = batch::records_of(bytes).filter(|_| direct.takes(&target.name));
        let Some(records) = records else {
            return false;
        };
        if 0 < self.writer.waiting(target.index).bytes {
            // Those before it went another way, and have to arrive first.
            direct.hold(&target.name);
            let mut state = self.state.borrow_mut();
            state.held.insert(target.index, target.name.clone());
        }
        let part_max = BATCH_EVENTS_MAX as u32;
        let mut mark = Mark {
            topic: target.index,
            part: 0,
            parts: records.div_ceil(part_max),
            records,
            sequence: sequence.get(),
        };
        {
            let mut state = self.state.borrow_mut();
            for part in 0..mark.parts {
                let first = part * part_max;
                let count = part_max.min(records - first);
                let pushed = state.window.push_part(target.index, number, first, count);
                if part == 0 {
                    mark.part = pushed;
                }
            }
        }
        direct.send(&target.name, mark, bytes);
        true
    }

    /// Lets those topics go of which nothing is on the other way any more.
    pub(super) fn release_held(&self) {
        let Some(direct) = &self.direct else { return };
        let mut state = self.state.borrow_mut();
        let State { held, troubles, .. } = &mut *state;
        held.retain(|topic, name| {
            let waits = 0 < self.writer.waiting(*topic).bytes || troubles.contains_key(topic);
            if !waits {
                direct.release(name);
            }
            waits
        });
    }

    /// Hears what became of whole batches, for as long as the shard lives.
    pub(super) async fn hear_of_whole(self: Rc<Self>, direct: Rc<Direct>) {
        loop {
            let more = direct.wait();
            while let Some(told) = direct.next() {
                self.take_told(&told);
                yield_if_needed().await;
            }
            self.news.wake_all();
            more.await;
        }
    }

    fn take_told(&self, told: &Told) {
        let mark = told.mark;
        if let Some(fault) = told.fault {
            let state = self.state.borrow_mut();
            let parts = state.window.parts_from(mark.part, mark.parts);
            drop(state);
            for (part, events) in parts {
                for event in 0..events {
                    self.take_fault(mark.topic, (part, event), fault, false);
                }
            }
            return;
        }
        let now = self.core.clock.now();
        let mut state = self.state.borrow_mut();
        let settled = state.window.settle_parts(mark.part, mark.parts);
        state.cursor.totals.delivered += settled;
        state.whole += settled;
        state.rate.note(now, settled);
        if !state.unwanted.is_empty() {
            state.unwanted.remove(&mark.topic);
        }
    }
}
