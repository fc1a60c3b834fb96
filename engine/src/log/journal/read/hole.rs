//! Where a topic goes on when nothing holds an offset, and the losses do not say of this very offset that it is
//! gone: between the ends of a range that stands for several losses there are records, too.

use super::super::super::disk::Disk;
use super::super::super::format::footer::Place;
use super::super::Journal;
use crate::unit::{Offset, TopicId, TopicIndex};
use std::io;

impl<D: Disk> Journal<D> {
    /// The first offset behind `offset` that something holds, or with which what may be lost ends. `None` when
    /// the losses do not explain that nothing holds `offset`, or something does.
    pub(in super::super) async fn behind_hole(
        &self,
        topic: TopicIndex,
        offset: Offset,
    ) -> io::Result<Option<Offset>> {
        let (id, end) = {
            let inner = self.inner.borrow();
            let id = inner.topics.id(topic);
            (id, inner.losses.beyond(id, offset))
        };
        if end <= offset {
            return Ok(None);
        }
        let end = end.min(self.extent(topic).next);
        let young = self.young_behind(id, offset);
        let lives = self.lives();
        let from = self.bisect(topic, offset).await;
        let from = lives.iter().position(|life| Some(*life) == from);
        let mut found = None;
        for life in &lives[from.unwrap_or_default()..] {
            let Some(index) = self.sealed_index(*life).await? else {
                continue;
            };
            if !index.is_whole {
                // Nobody knows what else it holds.
                return Ok(None);
            }
            let own = index.topics.iter().find(|one| one.topic == id);
            found = own.and_then(|own| first_behind(&own.places, offset));
            if found.is_some() {
                break;
            }
        }
        let found = found.or(young);
        let next = found.map_or(end, |place| place.base_offset.min(end));
        Ok((offset < next).then_some(next))
    }

    /// The first place in the segments that are not sealed.
    fn young_behind(&self, topic: TopicId, offset: Offset) -> Option<Place> {
        let inner = self.inner.borrow();
        let mut young = inner.closing.iter().chain(&inner.open);
        young.find_map(|open| first_behind(open.index.get(&topic)?, offset))
    }
}

/// The first place that holds `offset` or comes after it.
fn first_behind(places: &[Place], offset: Offset) -> Option<Place> {
    let at = places.partition_point(|place| place.next() <= offset);
    places.get(at).copied()
}
