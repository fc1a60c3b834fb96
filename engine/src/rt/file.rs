//! Direct-I/O files on one volume.
//!
//! Layout:  paths are relative to the volume; positions and lengths are multiples of 4096.
//! Always:  a write that resolves without an error wrote every byte: short writes are completed.
//! Core:    a volume and its files stay on one executor. Several writes to one file may be in
//!          flight at once; the kernel may finish them in any order.
//! Cancel:  a dropped write may or may not reach the disk. Files want to be closed with `close`:
//!          a dropped one is closed some time later, without an answer.
//! Full:    a full disk is an error of kind `StorageFull`.

use super::executor::blocking;
use super::{Error, io_error};
use crate::limit::BLOCK_BYTES;
use glommio::io::{DmaFile, OpenOptions, ReadResult};
use rustix::fs::OFlags;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// How a volume is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A durable write is one write that returns when it is on stable storage (`O_DSYNC`);
    /// otherwise it is a write and an `fdatasync`.
    pub write_through: bool,
    /// Take any file system (`log.allow_any_filesystem`).
    pub allow_any_filesystem: bool,
}

/// A folder on a file system that was found fit for direct I/O. Cheap to clone.
///
/// Made by [`Volume::prepare`](super::volume).
#[derive(Clone, Debug)]
pub struct Volume {
    inner: Rc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    settings: Settings,
}

/// An open file, to read and write.
#[derive(Debug)]
pub struct File {
    file: DmaFile,
    /// Opened with `O_DSYNC`: only used for durable writes.
    write_through: bool,
}

/// Memory that a disk reads and writes without copying.
#[derive(Debug)]
pub struct Buffer(Memory);

#[derive(Debug)]
enum Memory {
    Own(glommio::io::DmaBuffer),
    /// As the kernel filled it. Becomes `Own` when it is written to.
    Read(ReadResult),
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        match &self.0 {
            Memory::Own(buffer) => buffer.as_bytes(),
            Memory::Read(result) => result,
        }
    }
}

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        if let Memory::Read(result) = &self.0 {
            self.0 = Memory::Own(copy_of(result));
        }
        match &mut self.0 {
            Memory::Own(buffer) => buffer.as_bytes_mut(),
            Memory::Read(_) => unreachable!("it was copied above"),
        }
    }
}

/// Bytes that will not change any more, to be written to any number of files. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Frozen(Rc<glommio::io::DmaBuffer>);

impl Buffer {
    /// The first `bytes` of the buffer, to be written.
    ///
    /// # Panics
    /// When it has fewer.
    pub fn freeze(self, bytes: usize) -> Frozen {
        let mut own = self.into_own();
        assert!(0 < bytes && bytes <= own.len());
        own.trim_to_size(bytes);
        Frozen(Rc::new(own))
    }

    fn into_own(self) -> glommio::io::DmaBuffer {
        match self.0 {
            Memory::Own(buffer) => buffer,
            Memory::Read(result) => copy_of(&result),
        }
    }
}

impl Frozen {
    /// How many bytes are to be written.
    pub fn bytes(&self) -> usize {
        self.0.len()
    }
}

fn copy_of(bytes: &[u8]) -> glommio::io::DmaBuffer {
    // The allocator has no empty buffers.
    let mut own = glommio::allocate_dma_buffer(bytes.len().max(1));
    own.trim_to_size(bytes.len());
    own.as_bytes_mut().copy_from_slice(bytes);
    own
}

impl Volume {
    /// The folder, without the checks of `prepare`.
    pub(super) fn unchecked(root: PathBuf, settings: Settings) -> Self {
        Self {
            inner: Rc::new(Inner { root, settings }),
        }
    }

    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// Whether it lies on another file system than `/`. Asks the kernel.
    pub fn is_mounted(&self) -> bool {
        let device = |path: &Path| std::fs::metadata(path).map(|data| data.dev());
        let both = (device(&self.inner.root), device(Path::new("/")));
        matches!(both, (Ok(own), Ok(root)) if own != root)
    }

    /// A buffer of `bytes` bytes with arbitrary contents; from registered memory while there is some.
    ///
    /// # Panics
    /// When `bytes` is 0.
    pub fn buffer(&self, bytes: usize) -> Buffer {
        Buffer(Memory::Own(glommio::allocate_dma_buffer(bytes)))
    }

    /// Names of the entries of `folder`; an absent folder has none. Names that are not UTF-8 are
    /// none of ours and left out.
    pub async fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let folder = self.path(folder);
        blocking(move || {
            let entries = match std::fs::read_dir(folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                Err(error) => return Err(error),
            };
            let name = |entry: io::Result<std::fs::DirEntry>| match entry {
                Ok(entry) => entry.file_name().into_string().ok().map(Ok),
                Err(error) => Some(Err(error)),
            };
            entries.filter_map(name).collect()
        })
        .await
    }

    /// Makes `folder` if it is not there, and makes that durable. Its parent must be there.
    pub async fn make_folder(&self, folder: &str) -> io::Result<()> {
        let folder = self.path(folder);
        blocking(move || {
            match std::fs::create_dir(&folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                Ok(()) | Err(_) => {}
            }
            flush_path(&folder)?;
            folder.parent().map_or(Ok(()), flush_path)
        })
        .await
    }

    /// Makes changes to the entries of `folder` durable.
    pub async fn flush_folder(&self, folder: &str) -> io::Result<()> {
        let folder = self.path(folder);
        blocking(move || flush_path(&folder)).await
    }

    pub async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (self.path(from), self.path(to));
        blocking(move || std::fs::rename(from, to)).await
    }

    pub async fn remove(&self, path: &str) -> io::Result<()> {
        let path = self.path(path);
        blocking(move || std::fs::remove_file(path)).await
    }

    /// A new, empty file; an old one of that name is an error.
    pub async fn create(&self, path: &str) -> io::Result<File> {
        self.open_with(path, true).await
    }

    /// An existing file.
    pub async fn open(&self, path: &str) -> io::Result<File> {
        self.open_with(path, false).await
    }

    async fn open_with(&self, path: &str, new: bool) -> io::Result<File> {
        let write_through = self.inner.settings.write_through;
        let flags = if write_through {
            OFlags::DSYNC
        } else {
            OFlags::empty()
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(new)
            .mode(0o640)
            .custom_flags(flags.bits().cast_signed())
            .dma_open(self.path(path))
            .await
            .map_err(io_error)?;
        Ok(File {
            file,
            write_through,
        })
    }

    pub async fn size(&self, file: &File) -> io::Result<u64> {
        file.file.file_size().await.map_err(io_error)
    }

    /// Writes `bytes` at `position`. Durable after [`Volume::flush`].
    pub async fn write(&self, file: &File, position: u64, bytes: Frozen) -> io::Result<()> {
        let Frozen(bytes) = bytes;
        assert!(on_border(position, bytes.len()));
        let whole = Rc::clone(&bytes);
        let written = file.file.write_rc_at(whole, position).await;
        let written = written.map_err(io_error)?;
        if written == bytes.len() {
            return Ok(());
        }
        self.write_rest(file, position, &bytes, written).await
    }

    /// As [`Volume::write`] and [`Volume::flush`] together.
    pub async fn write_durable(&self, file: &File, position: u64, bytes: Frozen) -> io::Result<()> {
        self.write(file, position, bytes).await?;
        if file.write_through {
            return Ok(());
        }
        self.flush(file).await
    }

    /// Writes what a short write left. Each step writes at least a block or is an error.
    async fn write_rest(
        &self,
        file: &File,
        position: u64,
        buffer: &glommio::io::DmaBuffer,
        written: usize,
    ) -> io::Result<()> {
        let mut done = whole_blocks(written);
        while done < buffer.len() {
            let rest = copy_of(&buffer.as_bytes()[done..]);
            let at = position + done as u64;
            let more = file.file.write_at(rest, at).await.map_err(io_error)?;
            if whole_blocks(more) == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            done += whole_blocks(more);
        }
        Ok(())
    }

    /// Reads up to `bytes` at `position`; less only at the end of the file.
    pub async fn read(&self, file: &File, position: u64, bytes: usize) -> io::Result<Buffer> {
        assert!(bytes > 0 && on_border(position, bytes));
        let read = file.file.read_at_aligned(position, bytes).await;
        let read = read.map_err(io_error)?;
        if read.len() == bytes {
            return Ok(Buffer(Memory::Read(read)));
        }
        self.read_rest(file, position, bytes, &read).await
    }

    /// Goes on after a short read until the end of the file is sure.
    async fn read_rest(
        &self,
        file: &File,
        position: u64,
        bytes: usize,
        start: &[u8],
    ) -> io::Result<Buffer> {
        let mut whole = glommio::allocate_dma_buffer(bytes);
        let mut done = start.len();
        whole.as_bytes_mut()[..done].copy_from_slice(start);
        // An odd number of bytes is only ever read at the end of a file.
        while done < bytes && done.is_multiple_of(BLOCK_BYTES as usize) {
            let at = position + done as u64;
            let more = file.file.read_at_aligned(at, bytes - done).await;
            let more = more.map_err(io_error)?;
            if more.is_empty() {
                break;
            }
            whole.as_bytes_mut()[done..done + more.len()].copy_from_slice(&more);
            done += more.len();
        }
        whole.trim_to_size(done);
        Ok(Buffer(Memory::Own(whole)))
    }

    /// Makes every write to `file` that has resolved durable. An error is final: the kernel may
    /// have dropped what it could not write, and would report the next flush as a success.
    pub async fn flush(&self, file: &File) -> io::Result<()> {
        file.file.fdatasync().await.map_err(io_error)
    }

    pub async fn close(&self, file: File) -> io::Result<()> {
        file.file.close().await.map_err(io_error)
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.inner.root.join(path)
    }
}

fn whole_blocks(bytes: usize) -> usize {
    bytes - bytes % BLOCK_BYTES as usize
}

fn on_border(position: u64, bytes: usize) -> bool {
    position.is_multiple_of(BLOCK_BYTES) && (bytes as u64).is_multiple_of(BLOCK_BYTES)
}

fn flush_path(folder: &Path) -> io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}

/// Held while a store is in use: a file that one process at a time can lock.
///
/// The kernel frees it when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    file: std::fs::File,
}

impl Lock {
    /// Whether this is the lock of the file that `path` names now; another may have been put in its place.
    pub fn holds(&self, path: &Path) -> bool {
        let (Ok(own), Ok(there)) = (self.file.metadata(), std::fs::metadata(path)) else {
            return false;
        };
        (own.dev(), own.ino()) == (there.dev(), there.ino())
    }

    /// Locks `path`, which is made if it is not there. `None` when another process holds it.
    /// Blocks for a moment.
    pub fn take(path: &Path) -> Result<Option<Self>, Error> {
        let file = std::fs::File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { file })),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(error)) => Err(error.into()),
        }
    }
}
