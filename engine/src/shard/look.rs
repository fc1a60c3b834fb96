//! What the control core wants to see of a shard: its numbers, its topics' extents, its volumes, its records.

use super::forward;
use super::mail::{Place, Record, Report};
use super::run::{Kept, Life};
use super::tidy;
use super::volumes;
use crate::log::journal::{self, ReadError};
use crate::log::report::VolumeReport;
use crate::unit::{JournalId, Offset, TopicIndex};
use std::rc::Rc;

/// Bytes of records that one answer to a reader may hold.
const READ_BYTES_MAX: usize = 8 << 20;

impl Life {
    pub(super) fn snapshot(&self) -> super::probe::Snapshot {
        let in_flight_bytes = self.core.in_flight_bytes() as u64;
        let mut snapshot = self
            .core
            .work
            .borrow()
            .probe
            .snapshot(self.core.id, self.cpu);
        snapshot.counters.in_flight_bytes = in_flight_bytes;
        snapshot.counters.dedupe_unasked = self.core.unasked_guids();
        snapshot.spool = self.forwarders.iter().map(forward::Way::backlog).collect();
        for kept in &self.journals {
            let size = kept.journal.size();
            snapshot.counters.segments += size.segments;
            snapshot.counters.segments_recycled += size.recycled;
            snapshot.counters.store_bytes += size.bytes;
            snapshot.counters.note_tidied(size.dead_bytes, size.tidied);
        }
        snapshot
    }

    pub(super) fn places(&self) -> Vec<Place> {
        let mut places = Vec::new();
        for kept in &self.journals {
            for (topic, extent) in kept.journal.extents() {
                places.push(tidy::place((kept.id, &kept.journal), topic, extent));
            }
        }
        places
    }

    pub(super) fn volumes(&self) -> Vec<VolumeReport> {
        let of_one = |kept: &Kept| {
            volumes::reports(kept.id, &kept.journal, &kept.unusable, &kept.last_scrub)
        };
        self.journals.iter().flat_map(of_one).collect()
    }

    pub(super) async fn read(
        self: Rc<Self>,
        ticket: u64,
        (journal, topic): (JournalId, TopicIndex),
        offset: Offset,
        records_max: u32,
    ) {
        let found = self.journals.iter().find(|kept| kept.id == journal);
        let records = match found {
            None => Err(format!("this shard does not serve journal {}", journal.0)),
            Some(kept) => {
                let records =
                    kept.journal
                        .read(topic, offset, records_max as usize, READ_BYTES_MAX);
                records.await.map_err(|error: ReadError| error.to_string())
            }
        };
        let records = records.map(|records| {
            let record = |record: journal::ReadRecord| Record {
                offset: record.offset,
                timestamp_ms: record.timestamp_ms,
                value: record.value,
            };
            records.into_iter().map(record).collect()
        });
        self.core.post(Report::Records { ticket, records });
    }
}
