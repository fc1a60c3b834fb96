//! A store on its volumes: who it is, which journals it has, and where they lie.

use super::disk::Disk;
use super::format::superblock::Superblock;
use super::format::{Defect, Features, StoreId};
use super::walk::read_whole;
use crate::limit::BLOCK_BYTES;
use crate::unit::JournalId;
use std::io;

pub const SUPERBLOCK: &str = "superblock";
pub const LOCK: &str = "lock";
pub const CATALOGUE: &str = "catalogue";
/// The catalogue is a journal of a number of its own.
pub const CATALOGUE_JOURNAL: JournalId = JournalId(u32::MAX);
/// It holds names only, so its segments are as small as the largest frame allows.
pub const CATALOGUE_SEGMENT_BYTES: u64 = crate::limit::SEGMENT_BYTES_MIN;

/// The folder of a journal within its volume.
pub fn journal_folder(journal: JournalId) -> String {
    format!("journal-{}", journal.0)
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("could not {deed}: {source}")]
    Disk {
        deed: &'static str,
        source: io::Error,
    },
    #[error("both copies of the superblock are bad: {0}; this volume needs an operator")]
    Superblock(Defect),
    #[error(
        "the store was made with segments of {found} bytes and the configuration says {wanted}: \
         set log.segment_bytes to {found}"
    )]
    SegmentBytes { found: u64, wanted: u64 },
}

fn during<T>(result: io::Result<T>, deed: &'static str) -> Result<T, StoreError> {
    result.map_err(|source| StoreError::Disk { deed, source })
}

/// Reads the superblock of a volume; `None` when the volume is new.
pub async fn read_superblock<D: Disk>(disk: &D) -> Result<Option<Superblock>, StoreError> {
    let found = read_copies(disk).await?;
    Ok(found.map(|(superblock, _)| superblock))
}

/// The superblock and the numbers of the copies that do not hold it.
async fn read_copies<D: Disk>(disk: &D) -> Result<Option<(Superblock, Vec<u64>)>, StoreError> {
    let names = during(disk.list("").await, "list the volume's folder")?;
    if !names.iter().any(|name| name == SUPERBLOCK) {
        return Ok(None);
    }
    let file = during(disk.open(SUPERBLOCK).await, "open the superblock")?;
    let block = BLOCK_BYTES as usize;
    let both = during(
        read_whole(disk, &file, 0, 2 * block).await,
        "read the superblock",
    )?;
    during(disk.close(file).await, "close the superblock")?;
    let (first, second) = both.as_ref().split_at(block.min(both.as_ref().len()));
    let chosen = Superblock::choose(first, second).map_err(StoreError::Superblock)?;
    let others = [first, second].into_iter().zip(0..);
    let others = others.filter(|(copy, _)| Superblock::decode(copy) != Ok(chosen));
    Ok(Some((chosen, others.map(|(_, number)| number).collect())))
}

/// Opens the store on its volume, or makes one; afterwards it has at least `journals` journals.
pub async fn open<D: Disk>(
    disk: &D,
    journals: u32,
    segment_bytes: u64,
    draw_id: impl FnOnce() -> u128,
) -> Result<Superblock, StoreError> {
    let (found, stale) = match read_copies(disk).await? {
        Some((found, stale)) => (Some(found), stale),
        None => (None, Vec::new()),
    };
    let superblock = match found {
        Some(found) if found.segment_bytes != segment_bytes => {
            let (found, wanted) = (found.segment_bytes, segment_bytes);
            return Err(StoreError::SegmentBytes { found, wanted });
        }
        Some(found) if journals <= found.journals => found,
        Some(found) => Superblock {
            journals,
            generation: found.generation + 1,
            ..found
        },
        None => Superblock {
            store: StoreId(draw_id()),
            volume: 0,
            volumes: 1,
            journals,
            segment_bytes,
            generation: 1,
            features: Features::default(),
        },
    };
    for journal in 0..superblock.journals {
        let folder = journal_folder(JournalId(journal));
        during(disk.make_folder(&folder).await, "make a journal's folder")?;
    }
    during(
        disk.make_folder(CATALOGUE).await,
        "make the catalogue's folder",
    )?;
    if found == Some(superblock) {
        write_superblock(disk, &superblock, false, stale).await?;
    } else {
        // The copy that counts is written last, so that one is whole at any moment.
        let mut order: Vec<u64> = (0..2).collect();
        order.sort_by_key(|copy| !stale.contains(copy));
        write_superblock(disk, &superblock, found.is_none(), order).await?;
    }
    Ok(superblock)
}

/// Writes these copies, one after the other, each flushed before the next is touched.
async fn write_superblock<D: Disk>(
    disk: &D,
    superblock: &Superblock,
    is_new: bool,
    copies: Vec<u64>,
) -> Result<(), StoreError> {
    if copies.is_empty() {
        return Ok(());
    }
    let unfinished = "superblock.new";
    let file = if is_new {
        let names = during(disk.list("").await, "list the volume's folder")?;
        if names.iter().any(|name| name == unfinished) {
            during(
                disk.remove(unfinished).await,
                "remove an unfinished superblock",
            )?;
        }
        during(disk.create(unfinished).await, "make the superblock")?
    } else {
        during(disk.open(SUPERBLOCK).await, "open the superblock")?
    };
    let block = BLOCK_BYTES as usize;
    for copy in copies {
        let mut buffer = disk.buffer(block);
        superblock.encode(&mut buffer.as_mut()[..block]);
        let written = disk
            .write(&file, copy * BLOCK_BYTES, disk.freeze(buffer, block))
            .await;
        during(written, "write the superblock")?;
        during(disk.flush(&file).await, "flush the superblock")?;
    }
    during(disk.close(file).await, "close the superblock")?;
    if is_new {
        during(
            disk.rename(unfinished, SUPERBLOCK).await,
            "name the superblock",
        )?;
        during(disk.flush_folder("").await, "flush the volume's folder")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
