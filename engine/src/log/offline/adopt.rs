//! `spool adopt`: a name of its own for who forwards, so that Kafka takes up what another store was told.
//!
//! Each journal is taken up as a start takes it up, and its cursor is recorded once more with the new name, in the
//! chain, on every volume. Nothing else of it changes: forwarding goes on behind the cursor.

use super::super::format::StoreId;
use super::super::format::forwarded::Forwarded;
use super::Error;
use super::catalogue::lock;
use super::plain::block_on;
use super::repair::{Names, Store};
use crate::unit::JournalId;
use std::io::Write;
use std::path::PathBuf;

pub(super) fn run(
    volumes: &[PathBuf],
    only: &[u32],
    name: StoreId,
    out: &mut dyn Write,
) -> Result<bool, Error> {
    let locks: Vec<_> = volumes
        .iter()
        .map(|path| lock(path))
        .collect::<Result<_, _>>()?;
    let store = Store::open(volumes)?;
    if let Some(wanted) = only.iter().find(|wanted| store.journals <= **wanted) {
        let (wanted, last) = (*wanted, store.journals.saturating_sub(1));
        return Err(Error::NoPartition { wanted, last });
    }
    for journal in (0..store.journals).filter(|one| only.is_empty() || only.contains(one)) {
        let (before, cursor) = block_on(adopt(&store, JournalId(journal), name))?;
        let (before, now) = (before.identity.0, cursor.identity.0);
        let said = format!(
            "journal {journal}: ringtail-{before:032x}-{journal} is now ringtail-{now:032x}-{journal}; forwarding \
             goes on behind {cursor}"
        );
        writeln!(out, "{said}").map_err(Error::Output)?;
    }
    drop(locks);
    Ok(true)
}

/// The cursor before, and as it is recorded now.
async fn adopt(
    store: &Store,
    journal: JournalId,
    name: StoreId,
) -> Result<(Forwarded, Forwarded), Error> {
    let (folder, identity) = store.place(journal);
    let taken = store.take_up(&folder, identity, Names::new()).await?;
    let before = taken.journal.begin_to_forward();
    let cursor = Forwarded {
        identity: name,
        // Kafka knows nothing of it yet.
        transacted: false,
        ..before
    };
    taken.journal.note_forwarded(cursor);
    taken.stop(&folder).await?;
    Ok((before, cursor))
}
