//! What is checked after each start: the catalogue, and every record of every topic.

use super::model::{Topic, Value};
use super::run::{Deletion, Live, Run, STEPS_MAX};
use ringtail::log::journal::{ReadError, ReadRecord};
use ringtail::unit::{Offset, TopicIndex};
use std::collections::VecDeque;

impl Run {
    pub fn check_start(&mut self, live: &mut Live) -> Result<(), String> {
        self.check_topics(live)?;
        for journal in 0..live.machine.journals.len() {
            let unnamed = live.machine.journals[journal].unnamed();
            if !unnamed.is_empty() {
                return Err(format!("the catalogue has lost {unnamed:?}"));
            }
            let mut found = vec![VecDeque::new(); self.topics.len()];
            for row in 0..live.rows.len() {
                found[live.rows[row]] = self.check_topic(live, journal, row)?;
            }
            let is_unseen = |number| !live.rows.contains(&number);
            let unseen: Vec<_> = (0..self.topics.len()).map(is_unseen).collect();
            let recorded = live.machine.journals[journal].mirror().shortage().is_none();
            let settled = self.accounts[journal].settle(found, &unseen, recorded);
            let (there, gone) =
                settled.map_err(|why| format!("journal {journal} after the start: {why}"))?;
            self.report.add("recovery: unanswered requests kept", there);
            self.report
                .add("recovery: unanswered requests dropped", gone);
            self.check_ends(live, journal)?;
        }
        Ok(())
    }

    /// Every topic that was made is there; one that was asked for may be; no other. Of a start that too few
    /// volumes could record nothing follows for what is not there.
    fn check_topics(&mut self, live: &mut Live) -> Result<(), String> {
        let mut found = vec![false; self.topics.len()];
        live.rows.clear();
        for (id, name) in &live.machine.topics {
            let known = self.topics.iter().position(|known| known.id == *id);
            let number = known.ok_or(format!("nobody made topic {name}"))?;
            let known = &mut self.topics[number];
            if known.name != **name || known.gone || found[number] {
                return Err(format!("topic {name} should not be there"));
            }
            // It was not durable, and nobody has been told that it was.
            known.deletion = Deletion::None;
            known.made = true;
            found[number] = true;
            live.rows.push(number);
        }
        let recorded = live.machine.catalogue.journal().mirror().shortage();
        let recorded = recorded.is_none();
        for (known, found) in self.topics.iter_mut().zip(found) {
            if known.made && !found && known.deletion == Deletion::None {
                return Err(format!("topic {} is lost", known.name));
            }
            if !found && known.deletion == Deletion::Answered {
                self.report.count("recovery: deleted topics stay away");
            }
            known.gone |= !found && recorded;
        }
        Ok(())
    }

    /// Compares one topic with the account; gives what is there behind it.
    fn check_topic(
        &mut self,
        live: &mut Live,
        journal: usize,
        row: usize,
    ) -> Result<VecDeque<Vec<u8>>, String> {
        let number = live.rows[row];
        let extent = live.machine.journals[journal].extent(TopicIndex(row as u32));
        let (low, next) = (extent.low.0, extent.next.0);
        let account = self.accounts[journal].topic(number);
        let known = account.records.len() as u64;
        let place = format!("topic {number} of journal {journal}");
        if next < known {
            return Err(format!("{place} ends at {next}, {known} were acknowledged"));
        }
        if low < account.low {
            return Err(format!("the low watermark of {place} went back to {low}"));
        }
        if next < low {
            return Err(format!("{place} begins at {low} and ends at {next}"));
        }
        account.low = low;
        if std::mem::take(&mut account.truncated) {
            self.report.count("recovery: truncations stay");
        }
        self.must_be_let_go(journal, number, low)?;
        let mut rest = self.accounts[journal].gone_unanswered(number, low)?;
        let (mut at, mut newest) = (low, i64::MIN);
        while at < next {
            let read = self.read_some(live, journal, row, at)?;
            at = match read {
                Read::Records(records) => {
                    for record in &records {
                        if record.timestamp_ms < newest {
                            return Err(format!("times of {place} go back"));
                        }
                        newest = record.timestamp_ms;
                        self.check_record(journal, number, record, &mut rest)?;
                    }
                    at + records.len() as u64
                }
                Read::Gone(low) => {
                    if known < low {
                        rest = self.accounts[journal].gone_unanswered(number, low)?;
                    }
                    low
                }
                Read::Damaged => {
                    if known <= at {
                        return Err(format!("{place} is damaged at its end, offset {at}"));
                    }
                    at + 1
                }
            };
        }
        Ok(rest)
    }

    fn check_record(
        &mut self,
        journal: usize,
        topic: usize,
        record: &ReadRecord,
        rest: &mut VecDeque<Vec<u8>>,
    ) -> Result<(), String> {
        let known = self.accounts[journal].topic(topic);
        if (record.offset.0 as usize) < known.records.len() {
            return known.compare(record);
        }
        rest.push_back(record.value.clone());
        Ok(())
    }

    /// Reads from `at` on: all of it, or record by record while something is damaged.
    fn read_some(
        &mut self,
        live: &mut Live,
        journal: usize,
        row: usize,
        at: u64,
    ) -> Result<Read, String> {
        let most = if self.damaged { 1 } else { usize::MAX };
        let topic = TopicIndex(row as u32);
        let journal = &live.machine.journals[journal];
        let read = journal.read(topic, Offset(at), most, usize::MAX);
        let read = live.executor.wait_at_most(STEPS_MAX, read);
        match read.map_err(|halt| format!("a read does not end: {halt}"))? {
            Ok(records) if records.is_empty() => Err(format!("nothing is read at offset {at}")),
            Ok(records) => {
                let whole = records.iter().map(|record| record.offset.0);
                if whole.eq(at..at + records.len() as u64) {
                    Ok(Read::Records(records))
                } else {
                    Err(format!("offsets from {at} on have a gap"))
                }
            }
            Err(ReadError::Gone { low }) => Ok(Read::Gone(low.0)),
            Err(ReadError::Damaged(_)) if self.records_damaged => {
                self.report.count("recovery: damaged batch not served");
                Ok(Read::Damaged)
            }
            Err(error) => Err(format!("row {row} cannot be read at {at}: {error}")),
        }
    }

    /// Each topic ends where the account says.
    fn check_ends(&mut self, live: &Live, journal: usize) -> Result<(), String> {
        for (row, number) in live.rows.iter().enumerate() {
            let extent = live.machine.journals[journal].extent(TopicIndex(row as u32));
            let known = self.accounts[journal].records(*number).len() as u64;
            if extent.next.0 != known {
                let next = extent.next.0;
                return Err(format!("topic {number} ends at {next}, not at {known}"));
            }
        }
        Ok(())
    }
}

enum Read {
    Records(Vec<ReadRecord>),
    Gone(u64),
    Damaged,
}

impl Topic {
    /// Whether a record is the one that was sent, with the time that it had whenever it was read.
    pub fn compare(&mut self, record: &ReadRecord) -> Result<(), String> {
        let (offset, now_ms) = (record.offset.0, record.timestamp_ms);
        let value = self.records.get(offset as usize);
        let value = value.ok_or(format!("{offset} is shown, and not durable"))?;
        compare(*value, record)?;
        let before_ms = *self.times.entry(offset).or_insert(now_ms);
        if before_ms != now_ms || now_ms < value.received_ms {
            let received_ms = value.received_ms;
            return Err(format!(
                "the time of offset {offset} is {now_ms}, was {before_ms}, received at {received_ms}"
            ));
        }
        Ok(())
    }
}

/// Whether a record is the one that was sent.
fn compare(value: Value, record: &ReadRecord) -> Result<(), String> {
    if value.contents() == record.value {
        return Ok(());
    }
    let found = String::from_utf8_lossy(&record.value[..record.value.len().min(24)]);
    let offset = record.offset.0;
    let Value { request, index, .. } = value;
    Err(format!(
        "offset {offset} should be event {index} of request {request}, not {found:?}"
    ))
}
