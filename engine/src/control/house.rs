//! The store's volumes at start: locked, fit for use, and known by their superblocks.
//!
//! Always:  every folder is locked before anything of it is read. A folder that cannot be used is left out when
//!          others can be, and named; one that belongs to another store stops the start.

use super::boot::Error;
use super::config::Settings;
use super::{topics, volumes};
use crate::log::mirror::Member;
use crate::log::reconcile::Permissions;
use crate::log::store::{self, Opened};
use crate::rt;
use crate::rt::file::{Lock, Volume};
use crate::shard::volumes::{Place, Volumes, settings as file_settings};
use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// One configured folder.
pub(super) struct Folder {
    pub(super) path: PathBuf,
    /// This start was told to go on without it.
    pub(super) left_out: bool,
    /// Held for as long as this lives; or why the folder cannot be used.
    locked: RefCell<Result<Lock, rt::Error>>,
}

impl Folder {
    /// Locks the folder if it could not be locked before, or was put in the place of the one that was.
    pub(super) fn lock_again(&self) -> Result<(), Error> {
        let held = self
            .locked
            .borrow()
            .as_ref()
            .is_ok_and(|lock| lock.holds(&self.path.join(store::LOCK)));
        if !held {
            let locked = lock(&self.path)?;
            drop(self.locked.replace(locked));
        }
        Ok(())
    }

    fn failure(&self) -> Option<String> {
        self.locked.borrow().as_ref().err().map(ToString::to_string)
    }
}

/// What an operator allows at this start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Allowances {
    /// Volumes, by folder or by number, that the start may go on without.
    pub(crate) without: Vec<String>,
    pub(crate) accept_loss: bool,
}

impl Allowances {
    fn names(&self, folder: &Path) -> bool {
        self.without.iter().any(|name| Path::new(name) == folder)
    }

    /// Those that are named by their number, or whose folder says it, and how many are only a folder.
    fn permissions(&self, known: &[(PathBuf, u32)]) -> Permissions {
        let (mut without, mut unknown) = (Vec::new(), 0);
        for name in &self.without {
            let number = name.parse().ok();
            let by_folder = known.iter().find(|(folder, _)| folder == Path::new(name));
            match number.or(by_folder.map(|(_, volume)| *volume)) {
                Some(volume) => without.push(volume),
                None => unknown += 1,
            }
        }
        Permissions {
            without,
            without_unknown: unknown,
            accept_loss: self.accept_loss,
        }
    }
}

/// Makes the folders that are not there and locks all.
pub(super) fn lock_all(folders: &[PathBuf], allowances: &Allowances) -> Result<Vec<Folder>, Error> {
    let mut locked = Vec::new();
    for folder in folders {
        let left_out = allowances.names(folder);
        locked.push(Folder {
            path: folder.clone(),
            left_out,
            locked: RefCell::new(if left_out {
                Err(rt::Error::Io(io::ErrorKind::NotFound.into()))
            } else {
                lock(folder)?
            }),
        });
    }
    if locked.iter().any(|folder| folder.failure().is_none()) {
        return Ok(locked);
    }
    let failures = locked
        .into_iter()
        .filter_map(|folder| folder.locked.into_inner().err());
    Err(failures.map(Error::Host).next().unwrap_or(Error::NoVolume))
}

/// The inner error is the folder's own and may be gone without.
fn lock(root: &Path) -> Result<Result<Lock, rt::Error>, Error> {
    if let Err(error) = rt::mounts::check(root) {
        return Ok(Err(error));
    }
    let made = std::fs::create_dir_all(root);
    if let Err(source) = made {
        return Ok(Err(rt::Error::Volume {
            folder: root.into(),
            what: "making the folder",
            source,
        }));
    }
    match Lock::take(&root.join(store::LOCK)) {
        Ok(Some(lock)) => Ok(Ok(lock)),
        Ok(None) => Err(Error::Locked(root.into())),
        // The kernel's word alone would not say which folder.
        Err(rt::Error::Io(source)) => Ok(Err(rt::Error::Volume {
            folder: root.into(),
            what: "locking it",
            source,
        })),
        Err(error) => Ok(Err(error)),
    }
}

/// The store, open on its volumes.
pub(super) struct Store {
    pub(super) opened: Opened<Volume>,
    /// What every journal is told.
    pub(super) volumes: Volumes,
}

/// Prepares the volumes, and opens or makes the store with a journal for each shard at least.
pub(super) async fn open(
    settings: &Settings,
    folders: &[Folder],
    allowances: &Allowances,
    shards: u32,
) -> Result<Store, Error> {
    let mut places = Vec::new();
    let mut unusable = Vec::new();
    let mut named = Vec::new();
    for folder in folders {
        if folder.left_out {
            named.push(&folder.path);
            continue;
        }
        match prepare(folder, settings).await {
            Ok(disk) => places.push((name(&folder.path), disk)),
            Err(why) => unusable.push((folder.path.display().to_string(), why?)),
        }
    }
    let segment_bytes = settings.shard.log.segment_bytes;
    let opened = store::open_volumes(places, shards, segment_bytes, topics::random).await;
    let opened = opened.map_err(|source| Error::Store {
        folder: folders[0].path.clone(),
        source,
    })?;
    let told = opened.unusable.iter();
    unusable.extend(told.map(|(name, why)| (name.to_string(), why.to_string())));
    let mut known = Vec::new();
    for folder in named {
        unusable.push((folder.display().to_string(), volumes::LEFT_OUT.into()));
        let superblock = peek(folder, settings).await;
        known.extend(superblock.map(|volume| (folder.clone(), volume)));
    }
    for (folder, why) in &unusable {
        tracing::warn!("the volume {folder} is not used: {why}");
    }
    let place = |member: &Member<Volume>| Place {
        volume: member.volume,
        folder: member.disk.root().into(),
    };
    let volumes = Volumes {
        places: opened.members.iter().map(place).collect(),
        unusable,
        permissions: allowances.permissions(&known),
    };
    Ok(Store { opened, volumes })
}

pub(super) fn name(folder: &Path) -> Rc<str> {
    folder.display().to_string().into()
}

/// The inner error is what is told of a folder that may be gone without.
pub(super) async fn prepare(
    folder: &Folder,
    settings: &Settings,
) -> Result<Volume, Result<String, Error>> {
    if let Some(why) = folder.failure() {
        return Err(Ok(why));
    }
    let how = file_settings(&settings.shard);
    match Volume::prepare(&folder.path, how).await {
        Ok(disk) => Ok(disk),
        // An operator who gave the wrong file system is told at once.
        Err(error @ rt::Error::FileSystem { .. }) => Err(Err(error.into())),
        Err(error) if settings.shard.log.volumes.len() == 1 => Err(Err(error.into())),
        Err(error) => Err(Ok(error.to_string())),
    }
}

/// The number of a volume that is not to be used, if it can say one.
async fn peek(folder: &Path, settings: &Settings) -> Option<u32> {
    let disk = Volume::prepare(folder, file_settings(&settings.shard)).await;
    let found = store::read_superblock(&disk.ok()?).await;
    found.ok().flatten().map(|superblock| superblock.volume)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_start_on_a_store_is_refused() {
        let root = std::env::temp_dir().join(format!("ringtail-lock-{}", std::process::id()));
        let held = lock_all(std::slice::from_ref(&root), &Allowances::default()).unwrap();
        // The kernel's lock belongs to the open file, so one process can try twice.
        let refused = lock_all(std::slice::from_ref(&root), &Allowances::default())
            .err()
            .unwrap();
        assert!(matches!(refused, Error::Locked(_)));
        drop(held);
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_gone_without_when_another_can() {
        let root = std::env::temp_dir().join(format!("ringtail-locks-{}", std::process::id()));
        let nowhere = PathBuf::from("/proc/nowhere");
        let held = lock_all(&[root.clone(), nowhere.clone()], &Allowances::default()).unwrap();
        assert!(held[0].failure().is_none() && held[1].failure().is_some());
        let refused = lock_all(&[nowhere], &Allowances::default()).err().unwrap();
        assert!(refused.to_string().contains("/proc/nowhere"));
        drop(held);
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_volume_is_excused_by_number_by_folder_or_unseen() {
        let allowances = Allowances {
            without: ["7", "/known", "/gone"].map(str::to_owned).to_vec(),
            accept_loss: true,
        };
        let permissions = allowances.permissions(&[("/known".into(), 3)]);
        assert_eq!(permissions.without, [7, 3]);
        assert_eq!(permissions.without_unknown, 1);
        assert!(permissions.accept_loss);
        assert!(allowances.names(Path::new("/gone")));
    }
}
