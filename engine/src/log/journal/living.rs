//! What a look at the index of a segment tells: which records are too old, and how much of it is alive.

use super::super::disk::Disk;
use super::super::format::footer::{IndexTopic, Place};
use super::super::planted::{self, Planted};
use super::Inner;
use crate::unit::{Offset, TopicId};
use std::collections::BTreeMap;

/// What is remembered of a look at a sealed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// Bytes of its record batches, all and alive.
    pub(super) bytes: u64,
    pub(super) living: u64,
    /// When the first of the living batches will be too old, in milliseconds since 1970.
    pub(super) expires_ms: i64,
}

/// What a look has found.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) look: Look,
    /// Topics whose records below the offset are too old.
    pub(super) raise: BTreeMap<TopicId, Offset>,
    /// Dead bytes by topic; all deleted ones are here too.
    pub(super) dead: Vec<(TopicId, u64)>,
}

impl Default for Finding {
    fn default() -> Self {
        Self {
            look: Look {
                bytes: 0,
                living: 0,
                expires_ms: i64::MAX,
            },
            raise: BTreeMap::new(),
            dead: Vec::new(),
        }
    }
}

/// Whether the batch holds a record that is not below `low`; of a topic without one nothing is alive.
pub(super) fn is_alive(place: &Place, low: Option<Offset>) -> bool {
    let spared = u64::from(planted::is(Planted::LeaveOutTheLast));
    low.is_some_and(|low| low.0 + spared < place.next().0)
}

impl<D: Disk> Inner<D> {
    /// Looks at an index.
    pub(super) fn look_at(&self, index: &[IndexTopic], now_ms: i64) -> Finding {
        let mut finding = Finding::default();
        for topic in index {
            self.look_at_topic(topic.topic, &topic.places, now_ms, &mut finding);
        }
        finding
    }

    /// Looks at one topic's places in a segment.
    pub(super) fn look_at_topic(
        &self,
        id: TopicId,
        places: &[Place],
        now_ms: i64,
        finding: &mut Finding,
    ) {
        let mut low = self.topics.low_of(id);
        let age_ms = self.topics.keep_of(id).age_ms.filter(|_| low.is_some());
        let age_ms = age_ms.map(|age_ms| i64::try_from(age_ms).unwrap_or(i64::MAX));
        let age_ms = age_ms.map(|age_ms| age_ms >> u8::from(planted::is(Planted::LetGoTooYoung)));
        if let Some(age_ms) = age_ms {
            let old = places
                .iter()
                .take_while(|place| place.newest_ms.saturating_add(age_ms) <= now_ms);
            let cut = old.last().map(Place::next).filter(|cut| low < Some(*cut));
            if let Some(cut) = cut {
                finding.raise.insert(id, cut);
                low = Some(cut);
            }
        }
        let mut dead = 0;
        for place in places {
            let bytes = u64::from(place.bytes);
            finding.look.bytes += bytes;
            if !is_alive(place, low) {
                dead += bytes;
                continue;
            }
            finding.look.living += bytes;
            if let Some(age_ms) = age_ms {
                let expires_ms = place.newest_ms.saturating_add(age_ms);
                finding.look.expires_ms = finding.look.expires_ms.min(expires_ms);
            }
        }
        if 0 < dead {
            finding.dead.push((id, dead));
        }
    }
}
