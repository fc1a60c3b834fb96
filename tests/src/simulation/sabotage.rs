//! Bugs planted at the seam between the log and its disk, to show that the simulation finds them.

use ringtail::log::disk::Disk;
use ringtail::log::planted::Planted;
use ringtail::log::simulated::{File, SimulatedDisk};
use std::io;
use std::rc::Rc;

/// A bug as a program could have it in the way that it uses its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    /// `flush` does nothing.
    SkipFlush,
    /// A frame counts as durable when it is written, before it is flushed.
    AcknowledgeEarly,
    /// A flush that failed is tried again, and then counts.
    RetryFlush,
    /// A folder is never flushed, so a file may be there without its name.
    SkipFolderFlush,
    /// One write of the catalogue in five goes nowhere.
    LoseCatalogueWrites,
    /// Errors of writes are not looked at.
    IgnoreWriteErrors,
    /// What is read is handed on however short it is.
    IgnoreShortReads,
}

/// Every bug that can be planted, by name.
pub const BUGS: &[(&str, Option<Bug>, Option<Planted>)] = &[
    ("skip a flush", Some(Bug::SkipFlush), None),
    ("acknowledge early", Some(Bug::AcknowledgeEarly), None),
    ("retry a flush", Some(Bug::RetryFlush), None),
    ("skip a folder's flush", Some(Bug::SkipFolderFlush), None),
    (
        "lose a catalogue write",
        Some(Bug::LoseCatalogueWrites),
        None,
    ),
    ("ignore write errors", Some(Bug::IgnoreWriteErrors), None),
    ("ignore short reads", Some(Bug::IgnoreShortReads), None),
    inside(
        "acknowledge beyond the prefix",
        Planted::AcknowledgeBeyondThePrefix,
    ),
    inside("ignore the chain", Planted::IgnoreTheChain),
    inside("keep refused offsets", Planted::KeepRefusedOffsets),
    inside("cut off silently", Planted::CutOffSilently),
    inside("trust a file's length", Planted::NameBeforeBytes),
    inside("index off by one", Planted::IndexOffByOne),
    inside("recycle early", Planted::RecycleEarly),
    inside("repair from the bad copy", Planted::RepairFromTheBadCopy),
    inside("believe an old footer", Planted::BelieveAnOldFooter),
    inside("trust what was found", Planted::TrustWhatWasFound),
    inside("leave retired segments in use", Planted::LeaveRetiredInUse),
    inside("repack early", Planted::RepackEarly),
    inside("name before flush", Planted::NameBeforeFlush),
    inside("leave out the last", Planted::LeaveOutTheLast),
    inside("forget tombstones", Planted::ForgetTombstones),
    inside("truncate early", Planted::TruncateEarly),
    inside("forget empty topics", Planted::ForgetEmptyTopics),
    inside("let go too young", Planted::LetGoTooYoung),
    inside("admit too early", Planted::AdmitTooEarly),
    inside("trust the longest", Planted::TrustTheLongest),
];

const fn inside(
    name: &'static str,
    planted: Planted,
) -> (&'static str, Option<Bug>, Option<Planted>) {
    (name, None, Some(planted))
}

/// A simulated disk, used well or with a bug.
#[derive(Clone)]
pub struct Sabotaged {
    disk: SimulatedDisk,
    bug: Option<Bug>,
    writes: Rc<std::cell::Cell<u64>>,
}

/// A file with its path.
pub struct Handle {
    file: File,
    of_catalogue: bool,
}

impl Sabotaged {
    pub fn new(disk: SimulatedDisk, bug: Option<Bug>) -> Self {
        Self {
            disk,
            bug,
            writes: Rc::default(),
        }
    }

    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    fn loses(&self, file: &Handle) -> bool {
        if !file.of_catalogue || !self.has(Bug::LoseCatalogueWrites) {
            return false;
        }
        self.writes.set(self.writes.get() + 1);
        self.writes.get().is_multiple_of(5)
    }

    fn judge(&self, result: io::Result<()>) -> io::Result<()> {
        if self.has(Bug::IgnoreWriteErrors) {
            return Ok(());
        }
        result
    }
}

fn handle(file: File, path: &str) -> Handle {
    Handle {
        file,
        of_catalogue: path.starts_with("catalogue/"),
    }
}

impl Disk for Sabotaged {
    type File = Handle;
    type Buffer = Vec<u8>;
    type Frozen = Rc<Vec<u8>>;

    fn buffer(&self, bytes: usize) -> Vec<u8> {
        self.disk.buffer(bytes)
    }

    fn freeze(&self, buffer: Vec<u8>, bytes: usize) -> Rc<Vec<u8>> {
        self.disk.freeze(buffer, bytes)
    }

    fn frozen_bytes(frozen: &Rc<Vec<u8>>) -> usize {
        frozen.len()
    }

    async fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.disk.list(folder).await
    }

    async fn make_folder(&self, folder: &str) -> io::Result<()> {
        self.disk.make_folder(folder).await
    }

    async fn flush_folder(&self, folder: &str) -> io::Result<()> {
        if self.has(Bug::SkipFolderFlush) {
            return Ok(());
        }
        self.disk.flush_folder(folder).await
    }

    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to).await
    }

    async fn remove(&self, path: &str) -> io::Result<()> {
        self.disk.remove(path).await
    }

    async fn create(&self, path: &str) -> io::Result<Handle> {
        Ok(handle(self.disk.create(path).await?, path))
    }

    async fn open(&self, path: &str) -> io::Result<Handle> {
        Ok(handle(self.disk.open(path).await?, path))
    }

    async fn size(&self, file: &Handle) -> io::Result<u64> {
        self.disk.size(&file.file).await
    }

    async fn write(&self, file: &Handle, position: u64, bytes: Rc<Vec<u8>>) -> io::Result<()> {
        if self.loses(file) {
            return Ok(());
        }
        self.judge(self.disk.write(&file.file, position, bytes).await)
    }

    async fn write_durable(
        &self,
        file: &Handle,
        position: u64,
        bytes: Rc<Vec<u8>>,
    ) -> io::Result<()> {
        if self.loses(file) {
            return Ok(());
        }
        if self.has(Bug::AcknowledgeEarly) {
            return self.disk.write(&file.file, position, bytes).await;
        }
        self.judge(self.disk.write_durable(&file.file, position, bytes).await)
    }

    async fn read(&self, file: &Handle, position: u64, bytes: usize) -> io::Result<Vec<u8>> {
        let mut read = self.disk.read(&file.file, position, bytes).await?;
        if self.has(Bug::IgnoreShortReads) {
            read.resize(bytes, 0);
        }
        Ok(read)
    }

    async fn flush(&self, file: &Handle) -> io::Result<()> {
        match self.bug {
            Some(Bug::SkipFlush) => Ok(()),
            Some(Bug::RetryFlush) => match self.disk.flush(&file.file).await {
                Ok(()) => Ok(()),
                Err(_) => self.disk.flush(&file.file).await,
            },
            _ => self.judge(self.disk.flush(&file.file).await),
        }
    }

    async fn close(&self, file: Handle) -> io::Result<()> {
        self.disk.close(file.file).await
    }
}
