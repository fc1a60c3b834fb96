//! The seam between the log and a disk: direct I/O in the program, a simulated one in tests.
//!
//! Paths are relative to one volume. Positions and lengths are multiples of a block.

use crate::rt::file::{Buffer, File, Frozen, Volume};
use std::io;

/// Who keeps copies of what a disk is given, as a journal records it in its chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keepers {
    /// The numbers of their volumes, ascending.
    pub members: Vec<u32>,
    /// With fewer of them nothing is acknowledged.
    pub volumes_min: u32,
    /// Copies that an acknowledgement waits for; 0 for all.
    pub durable_volumes: u32,
    /// Why nothing is acknowledged now: they are too few.
    pub shortage: Option<String>,
}

/// One volume alone.
impl Default for Keepers {
    fn default() -> Self {
        Self {
            members: vec![0],
            volumes_min: 1,
            durable_volumes: 0,
            shortage: None,
        }
    }
}

pub trait Disk: Clone + 'static {
    type File: 'static;
    type Buffer: AsRef<[u8]> + AsMut<[u8]> + 'static;
    /// Bytes that will not change any more. Cheap to clone, so that several disks can write the same.
    type Frozen: Clone + 'static;

    /// A buffer that this disk writes without copying; its contents are arbitrary.
    fn buffer(&self, bytes: usize) -> Self::Buffer;
    /// The first `bytes` of `buffer`, to be written.
    fn freeze(&self, buffer: Self::Buffer, bytes: usize) -> Self::Frozen;
    /// How many bytes those are.
    fn frozen_bytes(frozen: &Self::Frozen) -> usize;

    /// Names of the entries of `folder`; an absent folder has none.
    fn list(&self, folder: &str) -> impl Future<Output = io::Result<Vec<String>>>;
    /// Makes `folder` if it is not there, and makes that durable.
    fn make_folder(&self, folder: &str) -> impl Future<Output = io::Result<()>>;
    /// Makes changes to the entries of `folder` durable.
    fn flush_folder(&self, folder: &str) -> impl Future<Output = io::Result<()>>;
    fn rename(&self, from: &str, to: &str) -> impl Future<Output = io::Result<()>>;
    fn remove(&self, path: &str) -> impl Future<Output = io::Result<()>>;

    /// A new, empty file, to read and write; an old one of that name is an error.
    fn create(&self, path: &str) -> impl Future<Output = io::Result<Self::File>>;
    /// An existing file, to read and write.
    fn open(&self, path: &str) -> impl Future<Output = io::Result<Self::File>>;
    fn size(&self, file: &Self::File) -> impl Future<Output = io::Result<u64>>;

    /// Writes `bytes` at `position`. They are durable only after [`Disk::flush`].
    fn write(
        &self,
        file: &Self::File,
        position: u64,
        bytes: Self::Frozen,
    ) -> impl Future<Output = io::Result<()>>;

    /// As `write` and `flush` together: durable when it resolves.
    fn write_durable(
        &self,
        file: &Self::File,
        position: u64,
        bytes: Self::Frozen,
    ) -> impl Future<Output = io::Result<()>>;

    /// Reads up to `bytes` at `position`; less only at the end of the file.
    fn read(
        &self,
        file: &Self::File,
        position: u64,
        bytes: usize,
    ) -> impl Future<Output = io::Result<Self::Buffer>>;

    /// Whether it lies on another file system than the machine's root, as a folder does on which a disk is
    /// mounted. `false` where nobody can tell.
    fn is_mounted(&self) -> bool {
        false
    }

    /// How many copies there are of what was written. They should be the same, but a copy may have decayed.
    fn copies(&self) -> usize {
        1
    }

    /// As [`Disk::read`], from the copy of this number, which is below [`Disk::copies`].
    fn read_copy(
        &self,
        copy: usize,
        file: &Self::File,
        position: u64,
        bytes: usize,
    ) -> impl Future<Output = io::Result<Self::Buffer>> {
        debug_assert!(copy < self.copies());
        self.read(file, position, bytes)
    }

    /// Who keeps copies of what is written here.
    fn keepers(&self) -> Keepers {
        Keepers::default()
    }

    /// Grows whenever [`Disk::keepers`] changes.
    fn shift(&self) -> u64 {
        0
    }

    /// Resolves when [`Disk::shift`] is above `seen`.
    fn shifted(&self, seen: u64) -> impl Future<Output = ()> {
        debug_assert_eq!(seen, 0);
        std::future::pending()
    }

    /// A record of the keepers as of this shift is durable on all of them, so that new ones may count.
    fn confirm(&self, shift: u64) {
        debug_assert_eq!(shift, 0);
    }

    /// Makes every write to `file` that has resolved durable. An error is final for the volume.
    fn flush(&self, file: &Self::File) -> impl Future<Output = io::Result<()>>;
    fn close(&self, file: Self::File) -> impl Future<Output = io::Result<()>>;
}

/// Direct I/O, as the program uses it.
impl Disk for Volume {
    type File = File;
    type Buffer = Buffer;
    type Frozen = Frozen;

    fn is_mounted(&self) -> bool {
        self.is_mounted()
    }

    fn buffer(&self, bytes: usize) -> Buffer {
        self.buffer(bytes)
    }

    fn freeze(&self, buffer: Buffer, bytes: usize) -> Frozen {
        buffer.freeze(bytes)
    }

    fn frozen_bytes(frozen: &Frozen) -> usize {
        frozen.bytes()
    }

    async fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.list(folder).await
    }

    async fn make_folder(&self, folder: &str) -> io::Result<()> {
        self.make_folder(folder).await
    }

    async fn flush_folder(&self, folder: &str) -> io::Result<()> {
        self.flush_folder(folder).await
    }

    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.rename(from, to).await
    }

    async fn remove(&self, path: &str) -> io::Result<()> {
        self.remove(path).await
    }

    async fn create(&self, path: &str) -> io::Result<File> {
        self.create(path).await
    }

    async fn open(&self, path: &str) -> io::Result<File> {
        self.open(path).await
    }

    async fn size(&self, file: &File) -> io::Result<u64> {
        self.size(file).await
    }

    async fn write(&self, file: &File, position: u64, bytes: Frozen) -> io::Result<()> {
        self.write(file, position, bytes).await
    }

    async fn write_durable(&self, file: &File, position: u64, bytes: Frozen) -> io::Result<()> {
        self.write_durable(file, position, bytes).await
    }

    async fn read(&self, file: &File, position: u64, bytes: usize) -> io::Result<Buffer> {
        self.read(file, position, bytes).await
    }

    async fn flush(&self, file: &File) -> io::Result<()> {
        self.flush(file).await
    }

    async fn close(&self, file: File) -> io::Result<()> {
        self.close(file).await
    }
}
