//! The task that keeps what is readable within its bounds of age and bytes, and gives dead space back.
//!
//! Always:  low watermarks move first, and are durable before any space is given to another use.
//! Core:    one shard; it is called about once a second and goes at the pace that it was given.
//! Cancel:  it begins anew with the next call; nothing is half done but what a crash may leave as well.

use super::super::disk::Disk;
use super::super::format::footer::{self, IndexTopic};
use super::super::planted::{self, Planted};
use super::living::Finding;
use super::scrub::Pace;
use super::{Inner, Journal};
use crate::unit::{Life, Micros, Offset, Sequence, TopicId};
use std::collections::BTreeMap;

/// Ages are looked at in parts of the shortest one, between these bounds, in microseconds.
const AGE_PARTS: u64 = 256;
const AGE_LOOK_US_MIN: u64 = 1_000_000;
const AGE_LOOK_US_MAX: u64 = 60_000_000;
/// All segments are looked at again not sooner than this, and not sooner than so many times as long as
/// that took.
const ROUND_US_MIN: u64 = 10_000_000;
const ROUND_PARTS: u64 = 20;

/// Keeps one journal tidy. There is one for each journal.
pub struct Tidier<D: Disk> {
    pub(super) journal: Journal<D>,
    pub(super) pace: Pace,
    /// When ages were looked at.
    aged: Option<Micros>,
    /// What had become dead by the last round, and when the next may be.
    round: Option<(u64, Micros)>,
    /// There was no room to rewrite a segment: not before this.
    pub(super) no_room_until: Micros,
}

/// What one look at many segments comes to.
#[derive(Default)]
struct Sum {
    raise: BTreeMap<TopicId, Offset>,
    dead: BTreeMap<TopicId, u64>,
}

impl Sum {
    fn raise(&mut self, raise: impl IntoIterator<Item = (TopicId, Offset)>) {
        for (topic, low) in raise {
            let row = self.raise.entry(topic).or_default();
            *row = low.max(*row);
        }
    }
}

impl<D: Disk> Journal<D> {
    /// The task that keeps this journal tidy, at this pace.
    pub fn tidier(&self, pace: Pace) -> Tidier<D> {
        Tidier {
            journal: self.clone(),
            pace,
            aged: None,
            round: None,
            no_room_until: Micros(0),
        }
    }

    /// To be called about once a second, with the time of day: the tidier looks what is due.
    pub fn tidy(&self, now: Micros) {
        self.inner.borrow_mut().tidy_at = now;
        self.bells.tidy.ring();
    }

    pub(super) fn swaps(&self) -> u64 {
        self.inner.borrow().swaps
    }
}

impl<D: Disk> Tidier<D> {
    /// Works until the journal is stopped or has failed.
    pub async fn run(&mut self) {
        let mut seen = Micros(0);
        self.remove_unfinished().await;
        while !self.journal.is_closing() {
            let now = self.journal.inner.borrow().tidy_at;
            if now == seen {
                let bells = self.journal.bells.clone();
                bells.tidy.wait().await;
                continue;
            }
            seen = now;
            self.look(now).await;
        }
    }

    /// Looks at what is due, and lets go of what is too much.
    async fn look(&mut self, now: Micros) {
        let (cuts, age_us) = {
            let mut inner = self.journal.inner.borrow_mut();
            if inner.keeping.shortage.is_some() {
                // With too few volumes nothing becomes durable, so nothing is let go of.
                return;
            }
            let next = inner.next_sequence;
            // A tombstone that waits in line gets a number that is not known yet.
            if inner.system.is_empty() {
                inner.topics.close_graves(next);
            }
            (inner.topics.cuts, inner.age_look_us())
        };
        let is_age = age_us.is_some_and(|age_us| {
            self.aged
                .is_none_or(|aged| age_us <= now.since(aged) || now < aged)
        });
        let is_round = self
            .round
            .is_none_or(|(seen, from)| seen != cuts && from <= now);
        if is_age {
            self.aged = Some(now);
        }
        let mut sum = Sum::default();
        let due = self.journal.inner.borrow().due(now, is_round, is_age);
        for life in due {
            if self.journal.is_closing() {
                return;
            }
            self.look_at(life, now, &mut sum).await;
        }
        if is_age {
            self.journal.inner.borrow().look_at_open(now, &mut sum);
        }
        if !self.raise(sum.raise).await {
            return;
        }
        if is_round {
            let mut inner = self.journal.inner.borrow_mut();
            inner.topics.set_dead(&sum.dead);
            let took = inner.tidy_at.since(now) * ROUND_PARTS;
            let from = inner.tidy_at.0 + took.max(ROUND_US_MIN);
            self.round = Some((cuts, Micros(from)));
        }
        // Segments go for other reasons, too, than that something was cut.
        self.journal.inner.borrow_mut().forget_tombstones();
        self.journal.bells.prepare.ring();
        if self.no_room_until <= now {
            self.repack_next(now).await;
        }
    }

    /// Looks at one sealed segment.
    async fn look_at(&mut self, life: Life, now: Micros, sum: &mut Sum) {
        let index = match self.journal.sealed_index(life).await {
            Ok(Some(index)) if index.is_whole => index.topics,
            Ok(None) => return,
            // What damage hides may be alive.
            Ok(Some(_)) | Err(_) => return self.journal.inner.borrow_mut().set_unfit(life),
        };
        let finding = {
            let mut inner = self.journal.inner.borrow_mut();
            let finding = inner.look_at(&index, now.millis());
            inner.note_look(life, &index, &finding);
            finding
        };
        for (topic, bytes) in &finding.dead {
            *sum.dead.entry(*topic).or_default() += bytes;
        }
        sum.raise(finding.raise);
        let places = index.iter().map(|row| row.places.len()).sum();
        let bytes = footer::index_bytes(index.len(), places);
        (self.pace)(bytes as u64).await;
    }

    /// Moves the low watermarks, and waits until that is durable.
    async fn raise(&mut self, raise: BTreeMap<TopicId, Offset>) -> bool {
        let receipt = {
            let mut inner = self.journal.inner.borrow_mut();
            if inner.refusal_to_change().is_some() {
                // Nobody would commit it.
                return false;
            }
            let over = inner.over_bytes();
            let mut rows: BTreeMap<_, _> = raise;
            for (topic, low) in over {
                let row = rows.entry(topic).or_default();
                *row = low.max(*row);
                inner.topics.cuts += 1;
            }
            if rows.is_empty() {
                return true;
            }
            let rows: Vec<_> = rows.into_iter().collect();
            inner.stage_low_watermarks(&rows)
        };
        self.journal.bells.commit.ring();
        receipt.wait().await
    }
}

impl<D: Disk> Inner<D> {
    /// How often ages are looked at, if any matters.
    fn age_look_us(&self) -> Option<u64> {
        let age_ms = self.settings.keeping.rules.age_ms_min()?;
        let part = age_ms.saturating_mul(1_000) / AGE_PARTS;
        Some(part.clamp(AGE_LOOK_US_MIN, AGE_LOOK_US_MAX))
    }

    /// The sealed segments that should be looked at, oldest first.
    fn due(&self, now: Micros, all: bool, age: bool) -> Vec<Life> {
        let due = self.sealed.iter().filter(|sealed| {
            let expired = |look: super::living::Look| age && look.expires_ms <= now.millis();
            !sealed.being_sealed && !sealed.unfit && (all || sealed.look.is_none_or(expired))
        });
        due.map(|sealed| sealed.life).collect()
    }

    /// Looks at the segments that are not sealed, whose indexes are at hand.
    fn look_at_open(&self, now: Micros, sum: &mut Sum) {
        for open in self.closing.iter().chain(&self.open) {
            let mut finding = Finding::default();
            for (topic, places) in &open.index {
                self.look_at_topic(*topic, places, now.millis(), &mut finding);
            }
            sum.raise(finding.raise);
        }
    }

    fn note_look(&mut self, life: Life, index: &[IndexTopic], finding: &Finding) {
        let Some(sealed) = self.sealed.iter_mut().find(|sealed| sealed.life == life) else {
            return;
        };
        sealed.look = Some(finding.look);
        if std::mem::replace(&mut sealed.counted, true) {
            return;
        }
        for row in index {
            for place in &row.places {
                self.topics.note_before(row.topic, place);
            }
        }
    }

    pub(super) fn set_unfit(&mut self, life: Life) {
        if let Some(sealed) = self.sealed.iter_mut().find(|sealed| sealed.life == life)
            && !std::mem::replace(&mut sealed.unfit, true)
        {
            self.tidied.unfit += 1;
            // Another volume may have what is damaged here.
            self.scrubbing.suspect(life);
        }
    }

    /// What is over its bytes; nothing before everything that was there at the start is counted.
    fn over_bytes(&mut self) -> Vec<(TopicId, Offset)> {
        let counted = |sealed: &super::SealedSegment<D::File>| sealed.counted || sealed.unfit;
        if self.sealed.iter().all(counted) {
            self.topics.over_bytes()
        } else {
            Vec::new()
        }
    }

    /// Forgets deleted topics of which no segment says anything.
    fn forget_tombstones(&mut self) {
        if self.topics.buried.is_empty() {
            return;
        }
        let sealed = self.sealed.iter().map(|sealed| sealed.clean_to);
        let others = self.closing.iter().chain(&self.open);
        let oldest = sealed.chain(others.map(|open| open.opening.first));
        // A crash would bring these back.
        let retired = self.retired.iter().map(|retired| retired.clean_to);
        let oldest = oldest.chain(retired).min();
        let said = |from: &Sequence| {
            oldest.is_none_or(|oldest| oldest < *from) && !planted::is(Planted::ForgetTombstones)
        };
        self.topics
            .buried
            .retain(|_, clean_from| clean_from.as_ref().is_none_or(said));
    }
}
