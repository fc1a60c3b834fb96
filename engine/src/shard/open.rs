//! Opening a shard's journals on the store's volumes.

use super::Settings;
use super::clock::{Clock as _, MachineClock};
use super::volumes::{self, Disk, Volumes};
use crate::limit::RETENTION_PREPARED_PART;
use crate::log::format::StoreId;
use crate::log::journal::{self, Committer, Journal, Preparer};
use crate::log::mirror::{Member, Mirror, Tender};
use crate::log::reconcile::reconcile;
use crate::log::recover::Identity;
use crate::log::store::journal_folder;
use crate::route::Table;
use crate::rt::file::Volume;
use crate::rt::timer::sleep;
use crate::unit::JournalId;
use futures_util::FutureExt as _;
use std::rc::Rc;

/// A journal that was taken up, with what drives it.
pub(super) struct Opened {
    pub(super) id: JournalId,
    pub(super) journal: Journal<Disk>,
    pub(super) mirror: Mirror<Volume>,
    pub(super) committer: Committer<Disk>,
    pub(super) preparer: Preparer<Disk>,
    pub(super) tender: Tender<Volume>,
    /// Volumes that want a whole copy.
    pub(super) to_rebuild: Vec<Member<Volume>>,
    /// Folders that cannot be used, with the reason.
    pub(super) unusable: Vec<(String, String)>,
}

pub(super) fn journal_settings(
    settings: &Settings,
    store: StoreId,
    journal: JournalId,
    journals: u32,
    is_first: bool,
) -> journal::Settings {
    let log = &settings.log;
    let net = &settings.net;
    let of_grpc = net.grpc_port.map_or(0, |_| net.grpc_message_bytes_max);
    let message_bytes_max = net.message_bytes_max.max(of_grpc);
    let capacity = journal::Settings::frame_capacity(log.frame_bytes, message_bytes_max);
    let retention_bytes = log
        .retention_bytes
        .map(|bytes| bytes / u64::from(journals.max(1)));
    let segments = retention_bytes.map(|bytes| bytes / log.segment_bytes);
    journal::Settings {
        store,
        journal,
        segment_bytes: log.segment_bytes,
        prepared: if is_first {
            prepared(log.segments_prepared, segments)
        } else {
            0
        },
        retention_bytes,
        keeping: journal::Keeping {
            rules: log.retention.shared_by(journals),
            repack_below: log.repack_below,
            spool: settings.spool.as_ref().map(|spool| spool.overflow),
        },
        origin: log.origin,
        commit_wait_us: u64::from(log.commit_wait_us),
        frame_bytes: log.frame_bytes,
        // A segment holds its opening frame, its footer and some frames of the largest size.
        frame_bytes_max: capacity.min(log.segment_bytes as usize / 4),
        frames_in_flight: log.frames_in_flight,
        flush: log.flush,
        tail_bytes: log.tail_bytes,
    }
}

/// Segments that are made ready ahead of use in a journal that may have so many: the others are for events.
fn prepared(wanted: u32, segments: Option<u64>) -> usize {
    let most = segments.map_or(u64::MAX, |segments| segments / RETENTION_PREPARED_PART);
    u64::from(wanted).min(most.max(1)) as usize
}

impl Opened {
    /// Holds readers of old records to this journal's part of what the whole store's may take.
    pub(super) fn paced(self, settings: &Settings, journals_in_store: u32) -> Self {
        let rate = settings.log.read_bytes_per_second / u64::from(journals_in_store.max(1));
        let pause = Rc::new(|time| sleep(time).boxed_local());
        self.journal.pace_readers(rate.max(1), pause);
        self
    }
}

/// Opens one journal on the volumes.
pub(super) async fn open(
    settings: &Settings,
    log: journal::Settings,
    volumes: &Volumes,
    table: &Table,
    clock: &Rc<MachineClock>,
) -> Result<Opened, String> {
    let id = log.journal;
    let folder = journal_folder(id);
    let identity = Identity {
        store: log.store,
        journal: id,
        segment_bytes: log.segment_bytes,
    };
    let (members, unusable) = volumes.open(settings).await;
    let rules = volumes::rules(settings.log.copies);
    let found = reconcile(members, &folder, identity, rules, &volumes.permissions).await;
    let found = found.map_err(|error| error.to_string())?;
    for note in &found.notes {
        tracing::warn!("{folder}: {note}");
    }
    let names = table
        .topics()
        .iter()
        .map(|topic| (topic.id, topic.name.clone()));
    let clock = clock.clone();
    let clock = Rc::new(move || clock.now());
    let mirror = found.mirror.clone();
    let started = Journal::start(
        found.mirror,
        folder.clone(),
        log,
        found.recovered,
        names,
        clock,
    );
    let (journal, committer, preparer) = started
        .await
        .map_err(|error| format!("could not take up {folder}: {error}"))?;
    // What was deleted while this journal was not told.
    let buried = (!table.buried.is_empty()).then(|| journal.bury(&table.buried));
    if let Some(Err(error)) = buried {
        return Err(format!("could not delete topics in {folder}: {error}"));
    }
    if let Some(topic) = journal.unnamed().first() {
        return Err(format!(
            "{folder} holds events of topic {:032x}, which the catalogue does not name: restore the \
             catalogue with `ringtail log verify --rebuild-catalogue`",
            topic.0
        ));
    }
    for (member, reason) in &found.to_rebuild {
        tracing::warn!(
            "{folder}: the volume {} is to be rebuilt: {reason}",
            member.name
        );
    }
    Ok(Opened {
        id,
        journal,
        mirror,
        committer,
        preparer,
        tender: found.tender,
        unusable,
        to_rebuild: found
            .to_rebuild
            .into_iter()
            .map(|(member, _)| member)
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::RETENTION_SEGMENTS_MIN;

    #[test]
    fn of_a_small_store_most_is_for_events() {
        assert_eq!(prepared(2, None), 2);
        assert_eq!(prepared(2, Some(RETENTION_SEGMENTS_MIN)), 1);
        assert_eq!((prepared(2, Some(8)), prepared(64, Some(40))), (2, 10));
        assert_eq!(prepared(1, Some(100)), 1);
    }
}
