//! One transaction: events, dead letters, the cursor, and then all of it or nothing.

use super::super::letters::said_of;
use super::carrier::{Carrier, Miss, STEP, Set};
use super::mail::{Lot, Parcel, Word};
use super::records::{self, Leaving};
use crate::kafka::properties::transaction_timeout_ms;
use crate::kafka::transactional::Heard;
use crate::kafka::transactor::Transactor;
use crate::kafka::{Fault, Setback};
use crate::log::format::batch::records_of;
use crate::shard::clock::Clock as _;
use crate::spool::exactly::cursor;
use crate::spool::exactly::judge::{At, Blame};
use crate::spool::letter::{self, Dead};
use crate::unit::{Micros, TopicIndex};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

const STEP_MS: i32 = 50;
/// While something is under way, it is looked after this often.
const STEP_BUSY: Duration = Duration::from_millis(5);
const CALL_MS: i32 = 1_000;
/// The mark of the cursor's own record.
const CURSOR: u64 = u64::MAX;
const RESERVED: &str = "Ringtail keeps its cursors in this topic";

/// What is under way in a transaction.
#[derive(Default)]
struct Way {
    /// By its mark: the event, or the first of a whole batch.
    sent: Vec<(At, TopicIndex)>,
    events: u64,
    /// Of these, in whole batches.
    whole: u64,
    /// Why it cannot be committed.
    fault: Option<String>,
    /// One event is under way, and nothing else.
    alone: bool,
    letters: Vec<(Vec<u8>, Vec<u32>)>,
}

impl Carrier {
    /// Brings a set, and what comes in meanwhile if it is the first time.
    pub(super) fn attempt(&mut self, producer: &mut Transactor, set: &mut Set) -> Result<(), Miss> {
        let to_probe = self.judge.take_to_probe();
        if !to_probe.is_empty() {
            self.probe(producer, set, &to_probe)?;
        }
        begin(producer)?;
        let mut way = Way::default();
        let filled = self.fill(producer, set, &mut way);
        self.tell_letters(&mut way);
        let done = filled.and_then(|()| self.finish(producer, set, &mut way));
        if done.is_err() {
            set.sent_before += way.events;
        }
        if let Err(Miss::Again(_)) = done {
            self.give_up(producer, &mut way)?;
        }
        done
    }

    fn fill(
        &mut self,
        producer: &mut Transactor,
        set: &mut Set,
        way: &mut Way,
    ) -> Result<(), Miss> {
        let mut next = 0;
        loop {
            while let Some(parcel) = set.parcels.get(next).cloned() {
                self.send_parcel(producer, (next as u32, &parcel), &mut set.buried, way)?;
                self.hear(producer, way, 0);
                next += 1;
            }
            let left = set.left(self.clock.now(), self.terms.exactly.wait);
            let ends = left.is_zero() || way.fault.is_some() || self.is_stopping();
            set.closed |= ends || set.is_full(&self.terms.exactly);
            if set.closed {
                return Ok(());
            }
            if let Some(parcel) = self.next_parcel() {
                set.push(parcel);
            } else {
                self.hear(producer, way, 0);
                let step = if 0 < producer.outstanding() {
                    STEP_BUSY
                } else {
                    STEP
                };
                self.listen(step.min(left))?;
            }
        }
    }

    fn send_parcel(
        &mut self,
        producer: &mut Transactor,
        (number, parcel): (u32, &Parcel),
        buried: &mut BTreeSet<At>,
        way: &mut Way,
    ) -> Result<(), Miss> {
        let settings = Arc::clone(&self.terms.kafka);
        let now = self.clock.now();
        let whole = self.send_whole(producer, (number, parcel), way, now);
        let apart = |lot: &Lot| !whole.contains(&lot.batch);
        records::each((number, parcel), &settings, apart, |leaving| {
            let (at, topic) = (leaving.at, leaving.lot.topic);
            let reserved = (*leaving.lot.name == *self.cursors).then_some(RESERVED);
            if let Some(why) = reserved.or_else(|| self.judge.why_dead(at, topic, now)) {
                self.bury(leaving, why, buried, way);
                return Ok(());
            }
            if !self.judge.is_careful(topic) {
                return self.send(producer, leaving, buried, way);
            }
            self.drain(producer, way)?;
            way.alone = true;
            let sent = self.send(producer, leaving, buried, way);
            let drained = sent.and_then(|()| self.drain(producer, way));
            way.alone = false;
            drained
        })
    }

    /// Sends the batches of topics of which nothing is to be taken apart; gives which of the frame's these are.
    fn send_whole(
        &self,
        producer: &mut Transactor,
        (number, parcel): (u32, &Parcel),
        way: &mut Way,
        now: Micros,
    ) -> BTreeSet<u32> {
        let mut whole = BTreeSet::new();
        if !producer.takes_whole() {
            return whole;
        }
        records::lots(parcel, |lot, bytes| {
            let is_plain = self.judge.is_plain(lot.topic, now) && *lot.name != *self.cursors;
            let Some(records) = records_of(bytes).filter(|_| is_plain) else {
                return;
            };
            let at = At {
                parcel: number,
                batch: lot.batch,
                record: 0,
            };
            let mark = way.sent.len() as u64;
            producer.send_whole(&lot.name, bytes, records, mark);
            way.sent.push((at, lot.topic));
            way.events += u64::from(records);
            way.whole += u64::from(records);
            whole.insert(lot.batch);
        });
        whole
    }

    /// Gives one record to the producer. What it refuses at once harms no other.
    fn send(
        &mut self,
        producer: &mut Transactor,
        leaving: &Leaving<'_>,
        buried: &mut BTreeSet<At>,
        way: &mut Way,
    ) -> Result<(), Miss> {
        let (at, topic) = (leaving.at, leaving.lot.topic);
        let mark = way.sent.len() as u64;
        let sent = leaving.with(&self.terms.kafka, |record| {
            producer.send(&leaving.lot.name, record, mark)
        });
        let Err(fault) = sent else {
            way.sent.push((at, topic));
            way.events += 1;
            return Ok(());
        };
        if let Some(why) = producer.over() {
            return Err(Miss::Over(why.to_owned()));
        }
        let (why, now) = (fault.text(), self.clock.now());
        if self
            .judge
            .refused((at, topic), (Blame::of(fault), why), true, now)
        {
            self.bury(leaving, why, buried, way);
            return Ok(());
        }
        Err(Miss::Again(format!("topic {}: {why}", leaving.lot.name)))
    }

    /// Makes a dead letter of an event, once.
    fn bury(&self, leaving: &Leaving<'_>, reason: &str, buried: &mut BTreeSet<At>, way: &mut Way) {
        if buried.insert(leaving.at) {
            let (sender, received) = said_of(&leaving.sender);
            way.letters.push(letter::write(&Dead {
                topic: &leaving.lot.name,
                journal: self.terms.journal,
                offset: leaving.view.offset,
                // Not when a retry brought it to the log.
                received_ms: received.map_or(leaving.view.timestamp_ms, Micros::millis),
                reason,
                sender,
                value: leaving.view.value,
            }));
        }
    }

    /// The shard is to write the letters that there are.
    fn tell_letters(&mut self, way: &mut Way) {
        if !way.letters.is_empty() {
            self.letters_wait = true;
            self.say(Word::Letters(std::mem::take(&mut way.letters)));
        }
    }

    fn finish(
        &mut self,
        producer: &mut Transactor,
        set: &mut Set,
        way: &mut Way,
    ) -> Result<(), Miss> {
        // The cursor goes with the last events: all of it counts or nothing.
        (set.sent, set.whole) = (way.events, way.whole);
        self.send_cursor(producer, set)?;
        self.drain(producer, way)?;
        let wait_us = transaction_timeout_ms(&self.terms.kafka.properties) * 500;
        let until = self.clock.now().0 + wait_us;
        while self.letters_wait {
            self.listen(STEP)?;
            self.check()?;
            if until < self.clock.now().0 {
                return Err(Miss::Again("dead letters are not durable yet".to_owned()));
            }
        }
        loop {
            match producer.commit(CALL_MS) {
                Ok(()) => return Ok(()),
                Err(Setback::Again(_)) => self.check()?,
                Err(setback) => return Err(setback.into()),
            }
            self.hear(producer, way, 0);
        }
    }

    fn send_cursor(&self, producer: &mut Transactor, set: &Set) -> Result<(), Miss> {
        let value = cursor::write(&set.cursor(&self.carried));
        let (topic, record) = (self.cursors.clone(), (self.name.as_bytes(), &value[..]));
        let sent = producer.send_newest(&topic, record, self.clock.now().millis(), CURSOR);
        sent.map_err(|fault| Miss::Again(format!("topic {topic}: {}", fault.text())))
    }

    /// Waits until all that is under way was heard of, and was delivered.
    fn drain(&mut self, producer: &mut Transactor, way: &mut Way) -> Result<(), Miss> {
        loop {
            if let Some(why) = producer.over() {
                return Err(Miss::Over(why.to_owned()));
            }
            if let Some(why) = way.fault.take() {
                return Err(Miss::Again(why));
            }
            if producer.outstanding() == 0 {
                return Ok(());
            }
            self.hear(producer, way, STEP_MS);
            self.check()?;
        }
    }

    /// Takes what librdkafka has to say, and waits so long for the first of it.
    fn hear(&mut self, producer: &mut Transactor, way: &mut Way, wait_ms: i32) {
        let mut wait_ms = wait_ms;
        while let Some(heard) = producer.hear(wait_ms) {
            wait_ms = 0;
            match heard {
                Heard::Delivery { mark, fault } => self.take(way, mark, fault),
                other @ Heard::Statistics(_) => self.pass_on(other),
            }
        }
    }

    fn take(&mut self, way: &mut Way, mark: u64, fault: Option<Fault>) {
        let known = way.sent.get(mark as usize).copied();
        let Some(fault) = fault else {
            if let Some((_, topic)) = known {
                self.judge.delivered(topic);
            }
            return;
        };
        let why = fault.text();
        if let Some(event) = known {
            let now = self.clock.now();
            self.judge
                .refused(event, (Blame::of(fault), why), way.alone, now);
        }
        way.fault.get_or_insert_with(|| why.to_owned());
    }

    /// Ends a transaction that is not to be committed.
    fn give_up(&mut self, producer: &mut Transactor, way: &mut Way) -> Result<(), Miss> {
        while 0 < producer.outstanding() {
            if let Some(why) = producer.over() {
                return Err(Miss::Over(why.to_owned()));
            }
            producer.purge();
            self.hear(producer, way, STEP_MS);
            self.check()?;
        }
        loop {
            match producer.abort(CALL_MS) {
                Ok(()) => return Ok(()),
                Err(Setback::Again(_)) => self.check()?,
                // One that cannot even be aborted takes its producer with it.
                Err(setback) => return Err(Miss::Over(setback.to_string())),
            }
            self.hear(producer, way, 0);
        }
    }

    /// Sends the events of some topics one by one, to learn which of them Kafka will never take. None of it is ever
    /// committed.
    fn probe(
        &mut self,
        producer: &mut Transactor,
        set: &Set,
        topics: &BTreeSet<TopicIndex>,
    ) -> Result<(), Miss> {
        let settings = Arc::clone(&self.terms.kafka);
        let mut open: Option<Way> = None;
        for (number, parcel) in (0..).zip(&set.parcels) {
            let is_probed = |lot: &Lot| topics.contains(&lot.topic);
            records::each((number, parcel), &settings, is_probed, |leaving| {
                let (at, topic) = (leaving.at, leaving.lot.topic);
                let now = self.clock.now();
                if self.judge.why_dead(at, topic, now).is_some() {
                    return Ok(());
                }
                if open.is_none() {
                    begin(producer)?;
                }
                let way = open.get_or_insert_with(|| Way {
                    alone: true,
                    ..Way::default()
                });
                let tried = self.try_alone(producer, leaving, way);
                if matches!(tried, Ok(()) | Err(Miss::Over(_) | Miss::Halt(_))) {
                    return tried;
                }
                self.give_up(producer, way)?;
                open = None;
                // Whatever it was, it is tried again with the others, unless it is known now why.
                Ok(())
            })?;
        }
        match &mut open {
            Some(way) => self.give_up(producer, way),
            None => Ok(()),
        }
    }

    fn try_alone(
        &mut self,
        producer: &mut Transactor,
        leaving: &Leaving<'_>,
        way: &mut Way,
    ) -> Result<(), Miss> {
        // Letters are made when it is sent, or not, with the others.
        let mut nobody = BTreeSet::from([leaving.at]);
        self.send(producer, leaving, &mut nobody, way)?;
        self.drain(producer, way)
    }
}

fn begin(producer: &mut Transactor) -> Result<(), Miss> {
    let begun = producer.begin();
    begun.map_err(|setback| Miss::Over(setback.to_string()))
}
