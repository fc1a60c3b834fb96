//! A volume that returns gets a copy of the journal while the journal goes on, and then takes part.
//!
//! 1. Nothing on it is touched before the chain says, durably, that it is no member.
//! 2. Its old files go. Each file is copied under another name, flushed, and renamed; sealed segments are
//!    checked on the copy, and damaged pieces taken from any good volume.
//! 3. What the journal touches meanwhile is noted by the mirror and copied again, pass by pass.
//! 4. When little is left the journal's writes are held, the rest is copied, and the volume is admitted.
//! 5. It counts when the record that names it is durable on all.
//!
//! Always:  one volume is the source from the first byte to the last: what it has done is what is copied.
//! Core:    the journal's shard, at the pace that is asked for; not while writes are held.
//! Cancel:  a rebuild that is dropped leaves a volume that is no member, to be rebuilt from the start.

use super::super::disk::Disk;
use super::super::mirror::{Changes, Hold, Member, Mirror, State};
use super::super::planted::{self, Planted};
use super::super::walk::read_whole;
use super::Journal;
use super::examine::Copy;
use super::scrub::{Pace, copies_of};
use crate::unit::Life;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

/// Copied at once.
const PIECE_BYTES: u64 = 1 << 20;
/// Writes are held when no more than this is left to copy.
const REST_BYTES: u64 = 4 << 20;
/// Passes over what was touched before writes are held whatever is left.
const PASSES_MAX: u32 = 16;
/// Of them, those that keep to the pace: a journal that is written faster would never be caught up with.
const PASSES_PACED: u32 = 4;
/// The ending of a copy that is not whole.
const UNFINISHED: &str = ".copy";

/// Why a volume was not rebuilt. It can be tried again.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error("another volume of this journal is being rebuilt")]
    Busy,
    #[error("{0} is in service")]
    InService(Rc<str>),
    #[error("the volume that was copied from went out of service")]
    SourceLost,
    #[error("could not {deed} of {path}: {source}")]
    Disk {
        deed: &'static str,
        path: String,
        source: io::Error,
    },
    #[error("the volume went out of service again before it counted")]
    FencedAgain,
    #[error("{0}")]
    Stopped(Arc<str>),
}

trait During<T> {
    fn during(self, deed: &'static str, path: &str) -> Result<T, RebuildError>;
}

impl<T> During<T> for io::Result<T> {
    fn during(self, deed: &'static str, path: &str) -> Result<T, RebuildError> {
        self.map_err(|source| RebuildError::Disk {
            deed,
            path: path.to_owned(),
            source,
        })
    }
}

/// One volume on its way back.
struct Rebuild<'a, D: Disk> {
    journal: &'a Journal<Mirror<D>>,
    mirror: Mirror<D>,
    folder: String,
    to: &'a Member<D>,
    /// The volume that is copied, and its disk.
    source: (u32, D),
    pace: &'a Pace,
    paced: bool,
    done: u64,
    total: u64,
}

impl<D: Disk> Drop for Rebuild<'_, D> {
    fn drop(&mut self) {
        self.mirror.forget_changes();
        // Changes nothing when the volume is in service by now.
        let reason = "its rebuild did not come to its end".into();
        let state = State::Absent { reason };
        self.mirror.set_state(self.to.volume, &self.to.name, state);
    }
}

impl<D: Disk> Journal<Mirror<D>> {
    /// Copies the journal to a volume that is not in service, and puts it into service.
    pub async fn rebuild(&self, member: &Member<D>, pace: &Pace) -> Result<(), RebuildError> {
        let mirror = self.mirror();
        if mirror.members().contains(&member.volume) {
            return Err(RebuildError::InService(member.name.clone()));
        }
        let source = mirror.readable().first().copied();
        let source = source.and_then(|volume| Some((volume, mirror.member_disk(volume)?)));
        let source = source.ok_or(RebuildError::SourceLost)?;
        if !mirror.watch_changes() {
            return Err(RebuildError::Busy);
        }
        let mut rebuild = Rebuild {
            journal: self,
            folder: self.inner.borrow().folder.clone(),
            mirror,
            to: member,
            source,
            pace,
            paced: true,
            done: 0,
            total: 0,
        };
        self.until_kept(member.volume, false).await?;
        rebuild.clear().await?;
        rebuild.copy_all().await?;
        rebuild.catch_up().await?;
        self.until_kept(member.volume, true).await
    }

    /// Waits until the newest record of the members is on all of them and names `volume`, or does not.
    async fn until_kept(&self, volume: u32, named: bool) -> Result<(), RebuildError> {
        let mirror = self.mirror();
        let kept = || {
            let inner = self.inner.borrow();
            inner
                .kept_membership()
                .is_some_and(|members| members.contains(&volume) == named)
        };
        let over = || {
            let inner = self.inner.borrow();
            inner.ended || inner.fault.is_some()
        };
        let gone = || named && !mirror.members().contains(&volume);
        let members = &self.bells.members;
        members.until(|| kept() || over() || gone()).await;
        if kept() {
            return Ok(());
        }
        if over() {
            let reason = self.fault().unwrap_or_else(|| super::STOPPED.into());
            return Err(RebuildError::Stopped(reason));
        }
        Err(RebuildError::FencedAgain)
    }
}

impl<D: Disk> Rebuild<'_, D> {
    /// Removes what the volume held of the journal before.
    async fn clear(&self) -> Result<(), RebuildError> {
        let (disk, folder) = (&self.to.disk, &self.folder);
        disk.make_folder(folder)
            .await
            .during("make the folder", folder)?;
        let names = disk.list(folder).await.during("list the files", folder)?;
        for name in names {
            let path = format!("{folder}/{name}");
            disk.remove(&path)
                .await
                .during("remove the old file", &path)?;
        }
        disk.flush_folder(folder)
            .await
            .during("flush the names", folder)
    }

    fn tell(&self) {
        let (done, total) = (self.done, self.total.max(self.done));
        let state = State::Rebuilding { done, total };
        self.mirror.set_state(self.to.volume, &self.to.name, state);
    }

    async fn copy_all(&mut self) -> Result<(), RebuildError> {
        let folder = self.folder.clone();
        let names = self
            .source
            .1
            .list(&folder)
            .await
            .during("list the files", &folder)?;
        self.total = names.len() as u64 * self.journal.settings().segment_bytes;
        self.tell();
        for name in names {
            let path = format!("{folder}/{name}");
            self.copy_file(&path).await?;
            self.check(&path).await?;
        }
        let flushed = self.to.disk.flush_folder(&folder).await;
        flushed.during("flush the names", &folder)
    }

    /// Copies what was touched until little is left, then the rest while writes are held.
    async fn catch_up(&mut self) -> Result<(), RebuildError> {
        for pass in 0..PASSES_MAX {
            let changes = self.mirror.take_changes();
            let whole = changes.names.len() as u64 * self.journal.settings().segment_bytes;
            let little = whole + changes.range_bytes() <= REST_BYTES;
            self.paced = pass < PASSES_PACED;
            self.copy_changes(changes).await?;
            if little {
                break;
            }
        }
        let hold = self.mirror.hold(self.source.0).await;
        self.paced = false;
        let changes = self.mirror.take_changes();
        if !planted::is(Planted::AdmitTooEarly) {
            self.copy_changes(changes).await?;
        }
        self.admit(hold).await
    }

    async fn admit(&self, hold: Hold<D>) -> Result<(), RebuildError> {
        if !self.mirror.members().contains(&self.source.0) {
            return Err(RebuildError::SourceLost);
        }
        let admitted = self.mirror.admit(&hold, self.to.clone()).await;
        admitted.during("open the files", &self.folder)
    }

    async fn copy_changes(&mut self, changes: Changes) -> Result<(), RebuildError> {
        for path in &changes.names {
            self.copy_file(path).await?;
        }
        if !changes.names.is_empty() {
            let flushed = self.to.disk.flush_folder(&self.folder).await;
            flushed.during("flush the names", &self.folder)?;
        }
        for (path, ranges) in &changes.ranges {
            self.copy_ranges(path, ranges).await?;
        }
        Ok(())
    }

    async fn copy_ranges(
        &mut self,
        path: &str,
        ranges: &std::collections::BTreeMap<u64, u64>,
    ) -> Result<(), RebuildError> {
        let Some(from) = open_if_there(&self.source.1, path).await? else {
            // Its new name, or that it is gone, comes with the next changes.
            return Ok(());
        };
        let Some(to) = open_if_there(&self.to.disk, path).await? else {
            return self.copy_file(path).await;
        };
        for (start, end) in ranges {
            self.copy_range(path, (&from, &to), *start..*end).await?;
        }
        self.to
            .disk
            .flush(&to)
            .await
            .during("flush the copy", path)?;
        self.to
            .disk
            .close(to)
            .await
            .during("close the copy", path)?;
        self.source
            .1
            .close(from)
            .await
            .during("close the original", path)
    }

    /// Makes the copy's file what the original's is: the same, or gone.
    async fn copy_file(&mut self, path: &str) -> Result<(), RebuildError> {
        let disk = self.to.disk.clone();
        let Some(from) = open_if_there(&self.source.1, path).await? else {
            return match disk.remove(path).await {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                removed => removed.during("remove the copy", path),
            };
        };
        let size = self
            .source
            .1
            .size(&from)
            .await
            .during("measure the original", path)?;
        let unfinished = format!("{path}{UNFINISHED}");
        let to = disk
            .create(&unfinished)
            .await
            .during("make the copy", path)?;
        self.copy_range(path, (&from, &to), 0..size).await?;
        disk.flush(&to).await.during("flush the copy", path)?;
        disk.close(to).await.during("close the copy", path)?;
        disk.rename(&unfinished, path)
            .await
            .during("name the copy", path)?;
        self.source
            .1
            .close(from)
            .await
            .during("close the original", path)
    }

    async fn copy_range(
        &mut self,
        path: &str,
        (from, to): (&D::File, &D::File),
        range: std::ops::Range<u64>,
    ) -> Result<(), RebuildError> {
        let mut position = range.start;
        while position < range.end {
            let bytes = PIECE_BYTES.min(range.end - position) as usize;
            let piece = match read_whole(&self.source.1, from, position, bytes).await {
                Ok(piece) => piece,
                Err(error) => self.read_elsewhere(path, position, bytes, error).await?,
            };
            let piece = self.to.disk.freeze(piece, bytes);
            let written = self.to.disk.write(to, position, piece).await;
            written.during("write the copy", path)?;
            position += bytes as u64;
            self.done += bytes as u64;
            self.tell();
            if self.paced {
                (self.pace)(bytes as u64).await;
            }
        }
        Ok(())
    }

    /// A piece that the source cannot read, from another volume; only of a sealed segment, which is the same
    /// on all.
    async fn read_elsewhere(
        &self,
        path: &str,
        position: u64,
        bytes: usize,
        error: io::Error,
    ) -> Result<D::Buffer, RebuildError> {
        let sealed = self.sealed(path);
        let file = sealed.and_then(|life| self.journal.inner.borrow().expected(life));
        let copies = file.map(|(_, file)| copies_of(&self.mirror, &file));
        for copy in copies.into_iter().flatten() {
            self.mirror.caught_up(copy.volume).await;
            if let Ok(piece) = read_whole(&copy.disk, &copy.file, position, bytes).await {
                return Ok(piece);
            }
        }
        Err(error).during("read the original", path)
    }

    /// The life of the sealed segment of this name, if it is one.
    fn sealed(&self, path: &str) -> Option<Life> {
        let inner = self.journal.inner.borrow();
        let mut sealed = inner.sealed.iter();
        let sealed = sealed.find(|sealed| sealed.name == path && !sealed.being_sealed);
        sealed.map(|sealed| sealed.life)
    }

    /// Reads the copy of a sealed segment back, and mends what is not right in it.
    async fn check(&self, path: &str) -> Result<(), RebuildError> {
        let life = self.sealed(path);
        let expected = life.and_then(|life| self.journal.inner.borrow().expected(life));
        let Some((expected, file)) = expected else {
            return Ok(());
        };
        let disk = self.to.disk.clone();
        let Some(copied) = open_if_there(&disk, path).await? else {
            return Ok(());
        };
        let copy = Copy {
            volume: self.to.volume,
            disk: disk.clone(),
            file: Rc::new(copied),
        };
        let others = copies_of(&self.mirror, &file);
        let examined = self
            .journal
            .examine(&expected, &copy, &others, self.pace, false);
        let tally = examined.await;
        if 0 < tally.repaired {
            // The original is what was damaged.
            self.journal
                .inner
                .borrow_mut()
                .scrubbing
                .suspect(expected.life);
        }
        match Rc::try_unwrap(copy.file) {
            Ok(file) => disk.close(file).await.during("close the copy", path),
            Err(_) => Ok(()),
        }
    }
}

/// `None` when there is no such file.
async fn open_if_there<D: Disk>(disk: &D, path: &str) -> Result<Option<D::File>, RebuildError> {
    match disk.open(path).await {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).during("open the file", path),
    }
}
