//! What runs before a volume is used: is it a file system we know, and does direct I/O work there?
//!
//! The runtime asks once for each device whether it can be polled, by reading the first file that it
//! opens there. An empty, readable file answers wrongly, and later reads fail with `EOPNOTSUPP`. So
//! the first file on a volume is one that can only be written, and is thrown away.
//!
//! Core:    any executor; the answer is kept for the whole process.
//! Cancel:  a dropped `prepare` may leave a small file whose name starts with `.probe`.

use super::executor::blocking;
use super::file::{Settings, Volume};
use super::{Error, io_error};
use crate::limit::BLOCK_BYTES;
use glommio::io::DmaFile;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

const BLOCK: usize = BLOCK_BYTES as usize;

impl Volume {
    /// Makes the folder `root` if it is not there and checks that it can hold a volume. To be
    /// called before any other file of that device is opened.
    pub async fn prepare(root: &Path, settings: Settings) -> Result<Self, Error> {
        let refused = |what| {
            move |source| Error::Volume {
                folder: root.to_owned(),
                what,
                source,
            }
        };
        let folder = root.to_owned();
        let kind = blocking(move || {
            std::fs::create_dir_all(&folder)?;
            Ok(rustix::fs::statfs(&folder)?.f_type)
        });
        let kind = kind.await.map_err(refused("making the folder"))?;
        if !is_known(kind) && !settings.allow_any_filesystem {
            return Err(Error::FileSystem {
                folder: root.to_owned(),
                kind: name_of(kind),
            });
        }
        let volume = Self::unchecked(root.to_owned(), settings);
        let guarded = volume.guard_polling().await;
        guarded.map_err(refused("a first write-only file"))?;
        let tested = volume.test_itself().await;
        tested.map_err(|(what, source)| refused(what)(source))?;
        Ok(volume)
    }

    async fn guard_polling(&self) -> io::Result<()> {
        let name = probe_name("write-only");
        let file = DmaFile::create(self.path(&name)).await;
        let file = file.map_err(io_error)?;
        file.close().await.map_err(io_error)?;
        self.remove(&name).await
    }

    async fn test_itself(&self) -> Result<(), (&'static str, io::Error)> {
        let name = probe_name("self-test");
        let at = |what| move |error| (what, error);
        let file = self.create(&name).await.map_err(at("direct I/O"))?;
        let tested = self.write_read_overwrite(&file).await;
        self.close(file).await.map_err(at("closing a file"))?;
        self.remove(&name).await.map_err(at("removing a file"))?;
        self.flush_folder("")
            .await
            .map_err(at("flushing a folder"))?;
        tested
    }

    async fn write_read_overwrite(
        &self,
        file: &super::file::File,
    ) -> Result<(), (&'static str, io::Error)> {
        let at = |what| move |error| (what, error);
        let filled = |bytes: usize, with: u8| {
            let mut buffer = self.buffer(bytes);
            buffer.as_mut().fill(with);
            buffer.freeze(bytes)
        };
        let both = self.write(file, 0, filled(2 * BLOCK, 0xa5));
        both.await.map_err(at("writing"))?;
        let read = self.read(file, 0, 2 * BLOCK);
        let read = read.await.map_err(at("reading back"))?;
        expect(&read, &[0xa5, 0xa5]).map_err(at("reading back"))?;
        let second = self.write_durable(file, BLOCK_BYTES, filled(BLOCK, 0x5a));
        second.await.map_err(at("overwriting durably"))?;
        let read = self.read(file, 0, 4 * BLOCK);
        let read = read.await.map_err(at("reading an overwritten block"))?;
        expect(&read, &[0xa5, 0x5a]).map_err(at("reading an overwritten block"))?;
        self.flush(file).await.map_err(at("flushing"))
    }
}

/// Whether the buffer holds exactly one block of each of these bytes.
fn expect(buffer: &super::file::Buffer, blocks: &[u8]) -> io::Result<()> {
    let blocks = blocks
        .iter()
        .flat_map(|byte| std::iter::repeat_n(byte, BLOCK));
    if buffer.as_ref().iter().eq(blocks) {
        return Ok(());
    }
    let text = "other bytes came back than were written";
    Err(io::Error::new(io::ErrorKind::InvalidData, text))
}

fn probe_name(what: &str) -> String {
    // Several executors and processes may probe one folder at once.
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!(".probe-{what}-{}-{count}", std::process::id())
}

/// The file system that holds `folder`, by name, and whether it is one that a volume may be on.
pub fn file_system(folder: &Path) -> io::Result<(String, bool)> {
    let kind = rustix::fs::statfs(folder)?.f_type;
    Ok((name_of(kind), is_known(kind)))
}

const EXT4: i64 = 0xef53;
const XFS: i64 = 0x5846_5342;

fn is_known(kind: i64) -> bool {
    matches!(kind, EXT4 | XFS)
}

fn name_of(kind: i64) -> String {
    match kind {
        EXT4 => "ext4".to_owned(),
        XFS => "xfs".to_owned(),
        0x9123_683e => "btrfs".to_owned(),
        0x2fc1_2fc1 => "zfs".to_owned(),
        0x794c_7630 => "overlayfs".to_owned(),
        0x0102_1994 => "tmpfs".to_owned(),
        0x6969 => "nfs".to_owned(),
        other => format!("a file system of type {other:#x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::executor::{Plan, block_on};
    use super::super::file::Lock;
    use super::*;
    use std::path::PathBuf;

    const SETTINGS: Settings = Settings {
        write_through: false,
        allow_any_filesystem: false,
    };

    /// A folder beside the test program, which is on a real file system.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let mut path = std::env::current_exe().unwrap();
            path.pop();
            path.push(format!("rt-{name}-{}", std::process::id()));
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _gone_already = std::fs::remove_dir_all(&self.0);
        }
    }

    fn run<T>(body: impl Future<Output = T>) -> T {
        block_on(&Plan::small("volume"), body).unwrap()
    }

    fn patterned(volume: &Volume, bytes: usize) -> super::super::file::Buffer {
        let mut buffer = volume.buffer(bytes);
        for (index, byte) in buffer.as_mut().iter_mut().enumerate() {
            *byte = (index / 251) as u8;
        }
        buffer
    }

    #[test]
    fn a_real_file_system_passes_the_self_test_and_nothing_is_left() {
        for write_through in [false, true] {
            let folder = Folder::new(&format!("prepare-{write_through}"));
            let settings = Settings {
                write_through,
                ..SETTINGS
            };
            run(async {
                let volume = Volume::prepare(&folder.0, settings).await.unwrap();
                assert_eq!(volume.list("").await.unwrap(), [""; 0]);
            });
        }
    }

    #[test]
    fn what_was_written_is_read_back_also_with_several_writes_in_flight() {
        let folder = Folder::new("in-flight");
        run(async {
            let volume = Volume::prepare(&folder.0, SETTINGS).await.unwrap();
            let file = volume.create("a").await.unwrap();
            let write = |part: u64| {
                let bytes = 64 << 10;
                let at = part * bytes as u64;
                volume.write_durable(&file, at, patterned(&volume, bytes).freeze(bytes))
            };
            let all = futures_util::future::try_join_all((0..8).map(write));
            all.await.unwrap();
            assert_eq!(volume.size(&file).await.unwrap(), 8 * (64 << 10));
            let read = volume.read(&file, 64 << 10, 64 << 10).await.unwrap();
            assert_eq!(read.as_ref(), patterned(&volume, 64 << 10).as_ref());
            volume.close(file).await.unwrap();
        });
    }

    #[test]
    fn a_read_is_short_only_at_the_end_of_the_file() {
        let folder = Folder::new("short");
        run(async {
            let volume = Volume::prepare(&folder.0, SETTINGS).await.unwrap();
            let file = volume.create("a").await.unwrap();
            let empty = volume.read(&file, 0, BLOCK).await.unwrap();
            assert!(empty.as_ref().is_empty());
            let buffer = patterned(&volume, 8 * BLOCK);
            volume
                .write(&file, 0, buffer.freeze(3 * BLOCK))
                .await
                .unwrap();
            let mut read = volume.read(&file, BLOCK_BYTES, 16 * BLOCK).await.unwrap();
            assert_eq!(read.as_ref().len(), 2 * BLOCK);
            read.as_mut()[0] = 7;
            assert_eq!(read.as_ref()[0], 7);
            volume.close(file).await.unwrap();
        });
    }

    #[test]
    fn a_read_buffer_can_be_changed_and_written() {
        let folder = Folder::new("copy");
        run(async {
            let volume = Volume::prepare(&folder.0, SETTINGS).await.unwrap();
            let file = volume.create("a").await.unwrap();
            let buffer = patterned(&volume, BLOCK);
            volume.write(&file, 0, buffer.freeze(BLOCK)).await.unwrap();
            let mut read = volume.read(&file, 0, BLOCK).await.unwrap();
            read.as_mut()[1] = 99;
            volume
                .write(&file, BLOCK_BYTES, read.freeze(BLOCK))
                .await
                .unwrap();
            let both = volume.read(&file, 0, 2 * BLOCK).await.unwrap();
            assert_eq!((both.as_ref()[1], both.as_ref()[BLOCK + 1]), (0, 99));
            volume.close(file).await.unwrap();
        });
    }

    #[test]
    fn names_are_made_changed_and_removed() {
        let folder = Folder::new("names");
        run(async {
            let volume = Volume::prepare(&folder.0, SETTINGS).await.unwrap();
            assert!(volume.list("inner").await.unwrap().is_empty());
            volume.make_folder("inner").await.unwrap();
            volume.make_folder("inner").await.unwrap();
            let file = volume.create("inner/a").await.unwrap();
            volume.close(file).await.unwrap();
            let again = volume.create("inner/a").await.unwrap_err();
            assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
            volume.rename("inner/a", "inner/b").await.unwrap();
            volume.flush_folder("inner").await.unwrap();
            assert_eq!(volume.list("inner").await.unwrap(), ["b"]);
            let file = volume.open("inner/b").await.unwrap();
            volume.close(file).await.unwrap();
            volume.remove("inner/b").await.unwrap();
            let gone = volume.open("inner/b").await.unwrap_err();
            assert_eq!(gone.kind(), io::ErrorKind::NotFound);
        });
    }

    #[test]
    fn memory_is_refused_unless_it_is_allowed() {
        let shm = Path::new("/dev/shm");
        let is_memory = rustix::fs::statfs(shm).is_ok_and(|stat| stat.f_type == 0x0102_1994);
        if !is_memory {
            return;
        }
        let folder = shm.join(format!("ringtail-test-{}", std::process::id()));
        run(async {
            let refused = Volume::prepare(&folder, SETTINGS).await.unwrap_err();
            let text = refused.to_string();
            assert!(text.contains("tmpfs") && text.contains("log.allow_any_filesystem"));
            let settings = Settings {
                allow_any_filesystem: true,
                ..SETTINGS
            };
            Volume::prepare(&folder, settings).await.unwrap();
        });
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named() {
        run(async {
            let nowhere = Path::new("/proc/nowhere");
            let refused = Volume::prepare(nowhere, SETTINGS).await.unwrap_err();
            assert!(refused.to_string().contains("/proc/nowhere"));
        });
    }

    #[test]
    fn a_store_is_locked_by_one_at_a_time() {
        let folder = Folder::new("lock");
        std::fs::create_dir_all(&folder.0).unwrap();
        let path = folder.0.join("lock");
        let first = Lock::take(&path).unwrap().unwrap();
        assert!(Lock::take(&path).unwrap().is_none());
        drop(first);
        assert!(Lock::take(&path).unwrap().is_some());
    }
}
