//! What operators let go of, and what goes by itself: truncating and deleting topics, retention.

use super::client::Client;
use super::run::{Deletion, Run};
use futures_util::future::{self, Either};
use ringtail::log::journal::{Extent, ReadError, TruncateError};
use ringtail::log::simulated::pause;
use ringtail::unit::{Offset, TopicId, TopicIndex};

/// What time goes on by at some ticks: more than the log waits between two looks at all its segments.
const TICK_US: u64 = 11_000_000;
/// Polls between two ticks while an operator waits, and how many of these an answer may take.
const TICK_POLLS: u64 = 60;
const PATIENCE_TICKS: u64 = 100;
/// More than a batch of one record of a client adds to that record's bytes.
const OVERHEAD_BYTES: u64 = 200;

impl Run {
    /// Whether a topic may begin at `low`: somebody asked for it, or a rule lets go of what is below.
    pub fn must_be_let_go(
        &mut self,
        journal: usize,
        number: usize,
        low: u64,
    ) -> Result<(), String> {
        let rules = self.plan.keep();
        let keep = rules.of(&self.topics[number].name);
        let account = self.accounts[journal].topic(number);
        if low <= account.asked {
            return Ok(());
        }
        let now_ms = (self.time.get() / 1000) as i64;
        let (gone, kept) = account
            .records
            .split_at((low as usize).min(account.records.len()));
        let is_old = |age_ms: u64| {
            let mut gone = gone.iter();
            gone.all(|value| value.received_ms + age_ms as i64 <= now_ms)
        };
        let bytes = |value: &super::model::Value| value.contents().len() as u64 + OVERHEAD_BYTES;
        let kept_bytes: u64 = kept.iter().map(bytes).sum();
        if keep.age_ms.is_some_and(is_old) {
            self.report.count("operation: gone by age");
        } else if keep.bytes.is_some_and(|bytes| bytes <= kept_bytes) {
            self.report.count("operation: gone by bytes");
        } else if self.plan.retention_bytes.is_none() {
            return Err(format!(
                "topic {number} of journal {journal} begins at {low}, and nothing lets go of what is below"
            ));
        }
        Ok(())
    }

    /// A name that a deleted topic had, for a new one.
    pub fn forgotten_name(&mut self) -> Option<String> {
        let lives = |name: &str| {
            self.topics
                .iter()
                .any(|known| known.name == name && !known.gone)
        };
        let forgotten = self.topics.iter().filter(|known| {
            known.gone && known.deletion == Deletion::Answered && !lives(&known.name)
        });
        let names: Vec<String> = forgotten.map(|known| known.name.clone()).collect();
        let chosen = self.random.below(names.len() as u64) as usize;
        names.into_iter().nth(chosen)
    }
}

impl Client<'_> {
    /// What a running store hears a few times a second, and every few seconds.
    pub fn tick(&mut self) {
        let run = &mut *self.run;
        if run.random.one_in(2) {
            run.time.set(run.time.get() + TICK_US);
        }
        for journal in &self.machine.journals {
            journal.tidy(ringtail::unit::Micros(run.time.get()));
            journal.tick();
            journal.try_again();
            journal.end_wait();
        }
        self.machine.catalogue.tick();
        self.machine.catalogue.try_again();
        let released = self.machine.release_buried();
        run.report.add("operation: tombstones released", released);
        run.report.count("operation: tick");
    }

    /// Waits while the store's ticks go on. With a full disk that may be for ever, so it ends.
    pub async fn have_patience<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> Result<Option<T>, String> {
        let mut work = std::pin::pin!(work);
        let mut rewritten = self.machine.rewritten();
        for _ in 0..PATIENCE_TICKS {
            let tick = std::pin::pin!(pause(TICK_POLLS));
            if let Either::Left((done, _)) = future::select(work.as_mut(), tick).await {
                return Ok(Some(done));
            }
            if std::mem::replace(&mut rewritten, self.machine.rewritten()) != rewritten {
                // What was asked for is not durable yet, and the log may have thrown away what it makes dead.
                let count = "recovery: a segment rewritten before an answer";
                self.run.report.count(count);
                self.branch()?;
            }
            self.tick();
        }
        self.run.report.count("operation: given up");
        Ok(None)
    }

    /// Lets the older records of a topic go: what is below is not shown any more, what is above is there.
    pub async fn truncate(&mut self, journal: usize) -> Result<(), String> {
        let Some(row) = self.choose_row() else {
            return Ok(());
        };
        let (topic, number) = (TopicIndex(row as u32), self.rows[row]);
        let handle = self.machine.journals[journal].clone();
        let before = handle.extent(topic);
        let run = &mut *self.run;
        let mut low = before.low.0 + run.random.below(before.next.0 - before.low.0 + 1);
        let now_ms = (run.time.get() / 1000) as i64;
        let by_time = run.random.one_in(3);
        let before_ms = by_time.then(|| now_ms - run.random.below(200_000) as i64);
        let mut asked = low;
        if let Some(before_ms) = before_ms {
            low = before.low.0;
            asked = run.accounts[journal].older_than(number, before_ms);
        }
        let account = run.accounts[journal].topic(number);
        account.asked = account.asked.max(asked);
        run.tell_operation(|| {
            format!("journal {journal}: {number} goes below {low}, {before_ms:?}")
        });
        let work = handle.truncate(topic, Offset(low), before_ms);
        let truncated = self.have_patience(work).await?;
        self.hear()?;
        let Some(truncated) = truncated else {
            return Ok(());
        };
        if self.is_short() {
            return Ok(());
        }
        match truncated {
            Ok(after) => {
                // What became durable meanwhile was not meant.
                let before_ms = before_ms.filter(|_| after.low < before.next);
                self.must_be_truncated((journal, row), low, before_ms, after)
                    .await
            }
            Err(TruncateError::Refused(reason)) => {
                self.run.report.count("operation: truncate refused");
                self.must_have_reason(&reason)
            }
            Err(TruncateError::Read(error)) => self.judge_read((journal, row), &error),
        }
    }

    async fn must_be_truncated(
        &mut self,
        (journal, row): (usize, usize),
        low: u64,
        before_ms: Option<i64>,
        after: Extent,
    ) -> Result<(), String> {
        let (topic, number) = (TopicIndex(row as u32), self.rows[row]);
        let place = format!("topic {number} of journal {journal}");
        self.run.report.count("operation: truncate");
        if after.low.0 < low {
            return Err(format!("{place} begins at {}, not at {low}", after.low.0));
        }
        self.run.must_be_let_go(journal, number, after.low.0)?;
        let account = self.run.accounts[journal].topic(number);
        account.truncated |= account.low < after.low.0;
        account.low = account.low.max(after.low.0);
        let handle = self.machine.journals[journal].clone();
        if let Some(below) = after.low.0.checked_sub(1) {
            let read = handle.read(topic, Offset(below), 1, 1 << 16).await;
            if !matches!(read, Err(ReadError::Gone { .. })) {
                return Err(format!(
                    "{place}: {below} is shown, below its low watermark"
                ));
            }
        }
        let Some(before_ms) = before_ms else {
            return Ok(());
        };
        let read = handle.read(topic, after.low, 1, 1 << 16).await;
        match read.ok().and_then(|records| records.into_iter().next()) {
            Some(first) if first.timestamp_ms < before_ms => {
                let first_ms = first.timestamp_ms;
                Err(format!("{place} begins at {first_ms}, not at {before_ms}"))
            }
            _ => Ok(()),
        }
    }

    /// Deletes a topic as the program does: durably in the catalogue, then in every journal.
    pub async fn delete_topic(&mut self) -> Result<(), String> {
        let Some(row) = self.choose_row() else {
            return Ok(());
        };
        if self.machine.news.catalogue_failed.get() {
            return Ok(());
        }
        let number = self.rows[row];
        let id = self.run.topics[number].id;
        self.run
            .tell_operation(|| format!("topic {number} is deleted"));
        self.run.topics[number].deletion = Deletion::Asked;
        let catalogue = self.machine.catalogue.journal().clone();
        let removed = self.have_patience(catalogue.delete(&[id])).await?;
        let Some(removed) = removed else {
            return Ok(());
        };
        if let Err(error) = removed {
            self.run.report.count("operation: delete refused");
            return self.must_have_reason(&error.to_string());
        }
        let known = &mut self.run.topics[number];
        (known.deletion, known.gone) = (Deletion::Answered, true);
        self.run.report.count("operation: delete a topic");
        self.bury(row, id).await
    }

    async fn bury(&mut self, row: usize, id: TopicId) -> Result<(), String> {
        if let Err(error) = self.machine.bury(vec![id]) {
            self.must_have_reason(&error.to_string())?;
        }
        for (number, journal) in self.machine.journals.iter().enumerate() {
            let is_told = journal.buried().contains(&id);
            let read = journal
                .read(TopicIndex(row as u32), Offset(0), 1, 1 << 16)
                .await;
            if is_told && read.is_ok_and(|records| !records.is_empty()) {
                return Err(format!("journal {number} shows what was deleted"));
            }
        }
        Ok(())
    }
}
