//! Frames become records for Kafka; what came back is sent again, in its order.

use super::super::clock::Clock as _;
use super::{Forwarder, Target};
use crate::kafka::writer::{Mark, Record};
use crate::kafka::{Fault, Header, Key};
use crate::limit::BATCH_EVENTS_MAX;
use crate::log::format::batch::{Batch, RecordView};
use crate::log::format::frame::SectionKind;
use crate::log::format::origin::{OriginRow, Origins, Run};
use crate::log::format::section::Frame;
use crate::log::journal::{FollowError, Followed, Follower};
use crate::rt::executor::yield_if_needed;
use crate::shard::volumes::Disk;
use crate::spool::window::{Parked, Place};
use crate::unit::{Micros, TopicId, TopicIndex};
use std::io::Write as _;

/// Records that are given to librdkafka before other tasks may go first.
const RECORDS_AT_ONCE: u32 = 128;
/// Of a number, with its sign.
const DIGITS_MAX: usize = 20;

/// Where the records of one batch came from, in order.
pub(super) struct Senders<'a> {
    origins: Option<&'a Origins<'a>>,
    runs: &'a [Run],
    /// Records of the first run that were passed.
    passed: u32,
}

/// Where one record came from.
#[derive(Clone, Copy, Default)]
pub(super) struct Sender<'a> {
    pub(super) row: Option<OriginRow<'a>>,
    /// `None`: the topic says it.
    pub(super) kind: Option<&'a [u8]>,
}

impl<'a> Senders<'a> {
    pub(super) fn of(origins: Option<&'a Origins<'a>>, batch: u32) -> Self {
        let runs = origins.and_then(|origins| origins.batches.get(batch as usize));
        Self {
            origins,
            runs: runs.map_or(&[], Vec::as_slice),
            passed: 0,
        }
    }

    pub(super) fn next(&mut self) -> Sender<'a> {
        while let Some(run) = self.runs.first() {
            if run.records <= self.passed {
                self.runs = &self.runs[1..];
                self.passed = 0;
                continue;
            }
            self.passed += 1;
            let kind = |kind: u32| self.origins?.types.get(kind as usize).copied();
            let rows = self.origins.map(|origins| &origins.rows);
            return Sender {
                row: rows.and_then(|rows| rows.get(run.row as usize).copied()),
                kind: run.kind.and_then(kind),
            };
        }
        Sender::default()
    }
}

/// Writes a number in decimal, where nothing is to be allocated.
fn decimal(number: i64, digits: &mut [u8; DIGITS_MAX]) -> &[u8] {
    let mut room = &mut digits[..];
    write!(room, "{number}").expect("any number has so many digits at most");
    let left = room.len();
    &digits[..DIGITS_MAX - left]
}

impl Forwarder {
    /// The topic of this id; `None` when it was deleted, or is the one of dead letters.
    pub(super) fn target(&self, id: TopicId) -> Option<Target> {
        let mut state = self.state.borrow_mut();
        let known = state.targets.get(&id).cloned();
        let target = known.or_else(|| {
            let (index, name) = self.journal.topic(id)?;
            let target = Target { index, name };
            state.targets.insert(id, target.clone());
            Some(target)
        })?;
        self.journal.has_topic(target.index).then_some(target)
    }

    /// The origins of a frame, when keys or headers need them.
    fn origins<'a>(&self, frame: &Frame<'a>) -> Option<Origins<'a>> {
        let kafka = &self.settings.kafka;
        if kafka.key == Key::None && kafka.headers.is_empty() {
            return None;
        }
        let contents = frame.section(SectionKind::ORIGINS)?;
        Origins::read(contents).ok()
    }

    /// Sends every record of the frame that the follower stands on.
    pub(super) async fn send_frame(&self, follower: &Follower<Disk>, followed: Followed) {
        self.state.borrow_mut().window.push(followed);
        let frame = follower.frame().expect("the follower has checked it");
        let batches = frame.batches().expect("the follower has checked it");
        let origins = self.origins(&frame);
        for (number, (row, bytes)) in (0..).zip(batches) {
            let target = self.target(row.topic);
            let Some(target) = target else {
                let mut state = self.state.borrow_mut();
                state.cursor.totals.skipped += u64::from(row.records);
                continue;
            };
            let whole = self.direct.as_ref();
            let at = (followed.spot.sequence, number);
            let is_sent = *target.name == *self.settings.letters
                || whole.is_some_and(|direct| self.send_whole(direct, &target, at, bytes));
            if !is_sent {
                let senders = Senders::of(origins.as_ref(), number);
                self.send_batch(&target, number, bytes, senders).await;
            }
        }
    }

    async fn send_batch(
        &self,
        target: &Target,
        number: u32,
        bytes: &[u8],
        mut senders: Senders<'_>,
    ) {
        let batch = Batch::check(bytes).expect("the follower has checked it");
        let records = batch.header().records;
        let part_max = BATCH_EVENTS_MAX as u32;
        let mut part = 0;
        for (at, record) in (0..).zip(batch.records()) {
            let event = at % part_max;
            if event == 0 {
                let count = part_max.min(records - at);
                let mut state = self.state.borrow_mut();
                part = state.window.push_part(target.index, number, at, count);
            }
            let sender = senders.next();
            self.send_new(target, (part, event as u16), &record, sender);
            if (at + 1) % RECORDS_AT_ONCE == 0 {
                yield_if_needed().await;
            }
        }
    }

    /// Sends a record for the first time, unless others of its topic have to go first.
    fn send_new(
        &self,
        target: &Target,
        (part, event): (u32, u16),
        record: &RecordView<'_>,
        sender: Sender<'_>,
    ) {
        let now = self.core.clock.now();
        {
            let mut state = self.state.borrow_mut();
            if state.troubles.contains_key(&target.index) {
                state.window.set(part, event, Place::Parked);
                return;
            }
        }
        if let Err(fault) = self.send(target, (part, event), record, sender, now) {
            self.take_fault(target.index, (part, event), fault, true);
        }
    }

    fn send(
        &self,
        target: &Target,
        (part, event): (u32, u16),
        record: &RecordView<'_>,
        sender: Sender<'_>,
        now: Micros,
    ) -> Result<(), Fault> {
        let kafka = &self.settings.kafka;
        let row = sender.row;
        let key = match kafka.key {
            Key::None => &[],
            Key::ConnId => row.map_or(&[][..], |row| row.conn_id),
            Key::ConnGroup => row.map_or(&[][..], |row| row.conn_group),
            Key::ReqGuid => row.map_or(&[][..], |row| row.guid),
        };
        let table = self.core.table.borrow();
        // What is sent again by an operator was received before it came to the log this time.
        let received = row.map_or(record.timestamp_ms, |row| row.received.millis());
        let mut digits = [0; DIGITS_MAX];
        let received = if kafka.headers.contains(&Header::Received) {
            decimal(received, &mut digits)
        } else {
            &[]
        };
        let mut headers = [(Header::EventType, &[][..]); Header::KINDS];
        for (place, header) in headers.iter_mut().zip(&kafka.headers) {
            let value = match header {
                Header::EventType => sender.kind.or_else(|| {
                    let kind = table.pattern().kind_of(&target.name);
                    kind.map(str::as_bytes)
                }),
                Header::ConnGroup => row.map(|row| row.conn_group),
                Header::Received => Some(received),
                Header::ReqGuid => row.map(|row| row.guid),
            };
            *place = (*header, value.unwrap_or_default());
        }
        let record = Record {
            key,
            value: record.value,
            headers: &headers[..kafka.headers.len()],
            timestamp_ms: record.timestamp_ms.max(1),
        };
        let mark = Mark {
            request: part,
            event,
            topic: target.index,
        };
        self.writer.send(now, &target.name, &record, mark)
    }

    /// Sends again what came back and has waited long enough, topic by topic.
    pub(super) async fn send_again(
        &self,
        follower: &mut Follower<Disk>,
    ) -> Result<bool, FollowError> {
        let now = self.core.clock.now();
        let due: Vec<(TopicIndex, bool)> = {
            let state = self.state.borrow();
            let troubles = state.troubles.iter();
            // What is still under way of the topic comes first.
            let due = troubles.filter(|(topic, trouble)| {
                trouble.not_before <= now && self.writer.waiting(**topic).bytes == 0
            });
            due.map(|(topic, trouble)| (*topic, trouble.alone))
                .collect()
        };
        let mut worked = false;
        for (topic, alone) in due {
            if self.give_up_topic(topic, now) {
                worked = true;
                continue;
            }
            // All at once: while any of them waits, what comes from the log waits behind it.
            let max = if alone { 1 } else { usize::MAX };
            let parked = self.state.borrow().window.parked(topic, max);
            let is_all = parked.len() < max;
            let went_well = self.send_parked(follower, &parked, alone).await?;
            if went_well && is_all {
                self.state.borrow_mut().troubles.remove(&topic);
            }
            worked |= went_well && !parked.is_empty();
        }
        Ok(worked)
    }

    /// Sends these, in their order, up to the first that is refused at once; `false` when one was.
    async fn send_parked(
        &self,
        follower: &mut Follower<Disk>,
        parked: &[Parked],
        alone: bool,
    ) -> Result<bool, FollowError> {
        for same_frame in parked.chunk_by(|one, other| one.spot == other.spot) {
            if !self.bring(follower, same_frame).await? {
                continue;
            }
            let frame = follower.frame().expect("the follower has checked it");
            let batches = frame.batches().expect("the follower has checked it");
            let origins = self.origins(&frame);
            for same_batch in same_frame.chunk_by(|one, other| one.batch == other.batch) {
                let number = same_batch[0].batch;
                let (row, bytes) = batches[number as usize];
                let Some(target) = self.target(row.topic) else {
                    self.skip(same_batch);
                    continue;
                };
                let batch = Batch::check(bytes).expect("the follower has checked it");
                let mut senders = Senders::of(origins.as_ref(), number);
                let mut wanted = same_batch.iter().peekable();
                for (at, record) in (0..).zip(batch.records()) {
                    let sender = senders.next();
                    let Some(one) = wanted.next_if(|one| one.record == at) else {
                        continue;
                    };
                    if !self.send_one_again(&target, one, &record, sender, alone) {
                        return Ok(false);
                    }
                }
            }
            yield_if_needed().await;
        }
        Ok(true)
    }

    fn send_one_again(
        &self,
        target: &Target,
        one: &Parked,
        record: &RecordView<'_>,
        sender: Sender<'_>,
        alone: bool,
    ) -> bool {
        let now = self.core.clock.now();
        {
            let mut state = self.state.borrow_mut();
            let place = if alone { Place::Alone } else { Place::Sent };
            state.window.set(one.part, one.event, place);
            state.repeated += 1;
        }
        let sent = self.send(target, (one.part, one.event), record, sender, now);
        if let Err(fault) = sent {
            self.take_fault(target.index, (one.part, one.event), fault, true);
        }
        sent.is_ok()
    }

    /// Brings the frame of these events once more; `false` when it is gone, and they with it.
    async fn bring(
        &self,
        follower: &mut Follower<Disk>,
        same_frame: &[Parked],
    ) -> Result<bool, FollowError> {
        match follower.again(&same_frame[0].spot).await {
            Err(FollowError::Gone { .. }) if self.drops_oldest() => {
                for one in same_frame {
                    self.drop_event(one.part, one.event);
                }
                Ok(false)
            }
            brought => brought.map(|()| true),
        }
    }

    /// Their topic was deleted meanwhile.
    fn skip(&self, parked: &[Parked]) {
        let mut state = self.state.borrow_mut();
        for one in parked {
            if state.window.set(one.part, one.event, Place::Settled) {
                state.cursor.totals.skipped += 1;
            }
        }
    }
}
