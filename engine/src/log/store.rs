//! A store on its volumes: who it is, which journals it has, and where they lie.

mod several;

pub use several::{Opened, open_volumes};

use super::disk::Disk;
use super::format::superblock::Superblock;
use super::format::{Defect, Features, StoreId};
use super::walk::read_whole;
use crate::limit::BLOCK_BYTES;
use crate::unit::JournalId;
use std::io;

pub const SUPERBLOCK: &str = "superblock";
/// An operator's word that an empty folder is meant to become a volume.
pub const CONSENT: &str = "new-volume";
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
    /// Its disk is missing, or it is a new one in a place that was not expected.
    #[error(
        "it is empty and on the root file system, and the store is missing {missing}, which had a disk of its own: \
         mount that disk; if this folder is to be a new volume all the same, make an empty file named {CONSENT} \
         in it"
    )]
    NotMounted { missing: String },
    #[error("the volume {name}: {source}")]
    Volume {
        name: String,
        source: Box<StoreError>,
    },
    #[error(
        "the volumes {one} and {other} belong to different stores: take one of them out of log.volumes, or \
         empty it so that it gets a copy"
    )]
    Strangers { one: String, other: String },
    #[error(
        "the volumes {one} and {other} both say that they are volume {volume} of the store: one is a copy made \
         by hand; empty it so that it gets a number of its own"
    )]
    Twins {
        one: String,
        other: String,
        volume: u32,
    },
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

/// What a volume says of itself, and the numbers of the copies that do not say it.
#[derive(Clone, Debug, Default)]
struct Known {
    superblock: Option<Superblock>,
    stale: Vec<u64>,
}

async fn know<D: Disk>(disk: &D) -> Result<Known, StoreError> {
    Ok(match read_copies(disk).await? {
        Some((found, stale)) => Known {
            superblock: Some(found),
            stale,
        },
        None => Known::default(),
    })
}

/// Opens the store on its only volume, or makes one; afterwards it has at least `journals` journals.
pub async fn open<D: Disk>(
    disk: &D,
    journals: u32,
    segment_bytes: u64,
    draw_id: impl FnOnce() -> u128,
) -> Result<Superblock, StoreError> {
    let known = know(disk).await?;
    let superblock = match known.superblock {
        Some(found) if found.segment_bytes != segment_bytes => {
            let (found, wanted) = (found.segment_bytes, segment_bytes);
            return Err(StoreError::SegmentBytes { found, wanted });
        }
        Some(found) => found.grown(journals, found.volumes, found.mounted),
        None => Superblock::of_new_store(StoreId(draw_id()), 1, journals, segment_bytes),
    };
    establish(disk, known, &superblock).await?;
    Ok(superblock)
}

impl Superblock {
    /// The volume 0 of a store that begins.
    fn of_new_store(store: StoreId, volumes: u32, journals: u32, segment_bytes: u64) -> Self {
        Self {
            store,
            volume: 0,
            volumes,
            journals,
            segment_bytes,
            generation: 1,
            features: Features::default(),
            journals_before: 0,
            mounted: 0,
        }
    }

    /// The same with at least so many journals and volumes.
    fn grown(self, journals: u32, volumes: u32, mounted: u64) -> Self {
        let grown = Self {
            journals: self.journals.max(journals),
            volumes: self.volumes.max(volumes),
            mounted,
            ..self
        };
        let generation = self.generation + u64::from(grown != self);
        Self {
            generation,
            ..grown
        }
    }
}

/// Makes the volume what `superblock` says; both copies of it are good afterwards.
async fn establish<D: Disk>(
    disk: &D,
    known: Known,
    superblock: &Superblock,
) -> Result<(), StoreError> {
    for journal in 0..superblock.journals {
        let folder = journal_folder(JournalId(journal));
        during(disk.make_folder(&folder).await, "make a journal's folder")?;
    }
    during(
        disk.make_folder(CATALOGUE).await,
        "make the catalogue's folder",
    )?;
    let Known {
        superblock: found,
        stale,
    } = known;
    if found == Some(*superblock) {
        // Its name may be news that a killed program did not live to make durable.
        during(disk.flush_folder("").await, "flush the volume's folder")?;
        return write_superblock(disk, superblock, false, stale).await;
    }
    // The copy that counts is written last, so that one is whole at any moment.
    let mut order: Vec<u64> = (0..2).collect();
    order.sort_by_key(|copy| !stale.contains(copy));
    write_superblock(disk, superblock, found.is_none(), order).await
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
