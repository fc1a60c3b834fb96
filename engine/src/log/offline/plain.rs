//! A disk over the standard library's files, for commands that may block.
//!
//! Layout:  paths are relative to the volume. A file that is only read is opened for each read, because a
//!          store may have more segments than a process may have open files.
//! Always:  a disk that was opened for reading changes nothing.
//! Core:    any one thread. Every future is ready at its first poll.
//! Cancel:  nothing is ever under way between two polls.
//! Full:    what the operating system says.

use super::super::disk::Disk;
use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// What of a journal that is being written to may be seen: all of it before one place.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) folder: String,
    /// The only segments of the folder that are there.
    pub(super) files: HashSet<String>,
    /// From this position on this file holds zeros.
    pub(super) cut: Option<(String, u64)>,
}

#[derive(Clone)]
pub(super) struct PlainDisk {
    volume: Rc<Path>,
    writable: bool,
    view: Option<Rc<View>>,
}

pub(super) struct PlainFile {
    path: String,
    /// Held when the disk is writable.
    handle: Option<File>,
}

impl PlainDisk {
    pub(super) fn read_only(volume: &Path) -> Self {
        Self {
            volume: volume.into(),
            writable: false,
            view: None,
        }
    }

    pub(super) fn read_write(volume: &Path) -> Self {
        Self {
            writable: true,
            ..Self::read_only(volume)
        }
    }

    /// The same disk with one folder as `view` shows it.
    pub(super) fn through(&self, view: View) -> Self {
        Self {
            view: Some(Rc::new(view)),
            ..self.clone()
        }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.volume.join(path)
    }

    fn changes(&self) -> io::Result<()> {
        if self.writable {
            Ok(())
        } else {
            Err(ErrorKind::ReadOnlyFilesystem.into())
        }
    }

    fn names(&self, folder: &str) -> io::Result<Vec<String>> {
        let entries = match std::fs::read_dir(self.path(folder)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let view = self.view.as_ref().filter(|view| view.folder == folder);
        let mut names = Vec::new();
        for entry in entries {
            // A name that is not UTF-8 is none of ours.
            let Ok(name) = entry?.file_name().into_string() else {
                continue;
            };
            if view.is_none_or(|view| view.files.contains(&format!("{folder}/{name}"))) {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn handle(&self, file: &PlainFile) -> io::Result<File> {
        match &file.handle {
            Some(handle) => handle.try_clone(),
            None => File::open(self.path(&file.path)),
        }
    }

    fn read_at(&self, file: &PlainFile, position: u64, bytes: usize) -> io::Result<Vec<u8>> {
        let handle = self.handle(file)?;
        let mut buffer = vec![0; bytes];
        let mut filled = 0;
        while filled < bytes {
            match handle.read_at(&mut buffer[filled..], position + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        buffer.truncate(filled);
        let cut = self.view.as_ref().and_then(|view| view.cut.as_ref());
        if let Some((path, cut)) = cut
            && *path == file.path
        {
            let seen = cut.saturating_sub(position).min(filled as u64) as usize;
            buffer[seen..].fill(0);
        }
        Ok(buffer)
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        self.changes()?;
        File::open(self.path(folder))?.sync_all()
    }
}

impl Disk for PlainDisk {
    type File = PlainFile;
    type Buffer = Vec<u8>;
    type Frozen = Rc<Vec<u8>>;

    fn buffer(&self, bytes: usize) -> Vec<u8> {
        vec![0; bytes]
    }

    fn freeze(&self, mut buffer: Vec<u8>, bytes: usize) -> Rc<Vec<u8>> {
        buffer.truncate(bytes);
        Rc::new(buffer)
    }

    fn frozen_bytes(frozen: &Rc<Vec<u8>>) -> usize {
        frozen.len()
    }

    async fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.names(folder)
    }

    async fn make_folder(&self, folder: &str) -> io::Result<()> {
        self.changes()?;
        match std::fs::create_dir(self.path(folder)) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            other => other.and_then(|()| self.sync_folder("")),
        }
    }

    async fn flush_folder(&self, folder: &str) -> io::Result<()> {
        self.sync_folder(folder)
    }

    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.changes()?;
        std::fs::rename(self.path(from), self.path(to))
    }

    async fn remove(&self, path: &str) -> io::Result<()> {
        self.changes()?;
        std::fs::remove_file(self.path(path))
    }

    async fn create(&self, path: &str) -> io::Result<PlainFile> {
        self.changes()?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        let handle = Some(options.open(self.path(path))?);
        let path = path.to_owned();
        Ok(PlainFile { path, handle })
    }

    async fn open(&self, path: &str) -> io::Result<PlainFile> {
        let mut options = OpenOptions::new();
        let handle = options
            .read(true)
            .write(self.writable)
            .open(self.path(path))?;
        let handle = self.writable.then_some(handle);
        let path = path.to_owned();
        Ok(PlainFile { path, handle })
    }

    async fn size(&self, file: &PlainFile) -> io::Result<u64> {
        Ok(self.handle(file)?.metadata()?.len())
    }

    async fn write(&self, file: &PlainFile, position: u64, bytes: Rc<Vec<u8>>) -> io::Result<()> {
        self.changes()?;
        self.handle(file)?.write_all_at(&bytes, position)
    }

    async fn write_durable(
        &self,
        file: &PlainFile,
        position: u64,
        bytes: Rc<Vec<u8>>,
    ) -> io::Result<()> {
        self.write(file, position, bytes).await?;
        self.flush(file).await
    }

    async fn read(&self, file: &PlainFile, position: u64, bytes: usize) -> io::Result<Vec<u8>> {
        self.read_at(file, position, bytes)
    }

    async fn flush(&self, file: &PlainFile) -> io::Result<()> {
        self.changes()?;
        self.handle(file)?.sync_data()
    }

    async fn close(&self, file: PlainFile) -> io::Result<()> {
        drop(file);
        Ok(())
    }
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs a future that waits for nothing but this disk.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        // On one thread, with a disk that never waits, nobody else could wake it later.
        assert!(woken.0.swap(false, Ordering::Relaxed), "it waits for ever");
    }
}
