//! A disk of our own, which can be made to fail, and the kernel's count of its flushes.

use crate::program::as_root;
use crate::scratch::Scratch;
use rustix::fs::{major, minor};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// An ext4 file system in a file, mounted. Nobody else writes to it, so it fills when we fill it,
/// and its flushes are ours.
pub struct OwnDisk {
    device: String,
    mount: PathBuf,
}

/// Tells a loop device that it ends after so many bytes, 0 for the whole file (loop(4), `lo_sizelimit`).
const LIMIT: &str = "
import fcntl, struct, sys
LOOP_SET_STATUS64, LOOP_GET_STATUS64 = 0x4C04, 0x4C05
with open(sys.argv[1], 'rb') as device:
    status = bytearray(232)
    fcntl.ioctl(device, LOOP_GET_STATUS64, status)
    struct.pack_into('<Q', status, 32, int(sys.argv[2]))
    fcntl.ioctl(device, LOOP_SET_STATUS64, bytes(status))
";
/// What is left of a failing device: its first sector.
const LEFT_BYTES: u64 = 512;
/// How long a slow disk answers at a time.
const MOMENT: Duration = Duration::from_millis(20);

impl OwnDisk {
    /// Makes and mounts it; needs root (or `sudo` that asks nothing) and loop devices.
    pub fn new(scratch: &Scratch, bytes: u64) -> Result<Self, String> {
        Self::within(scratch.path(), bytes)
    }

    fn within(folder: &Path, bytes: u64) -> Result<Self, String> {
        let image = folder.join("disk.img");
        let mount = folder.join("disk");
        let file = fs::File::create(&image).map_err(|error| error.to_string())?;
        file.set_len(bytes).map_err(|error| error.to_string())?;
        fs::create_dir_all(&mount).map_err(|error| error.to_string())?;
        as_root(&[
            "mkfs.ext4".as_ref(),
            "-q".as_ref(),
            "-m0".as_ref(),
            image.as_os_str(),
        ])?;
        let device = as_root(&[
            "losetup".as_ref(),
            "--find".as_ref(),
            "--show".as_ref(),
            image.as_os_str(),
        ])?;
        let disk = Self { device, mount };
        as_root(&[
            "mount".as_ref(),
            disk.device.as_ref(),
            disk.mount.as_os_str(),
        ])?;
        let owner = format!(
            "{}:{}",
            rustix::process::getuid().as_raw(),
            rustix::process::getgid().as_raw()
        );
        as_root(&["chown".as_ref(), owner.as_ref(), disk.mount.as_os_str()])?;
        Ok(disk)
    }

    pub fn path(&self) -> &Path {
        &self.mount
    }

    /// From now on the block device answers every read and write with `EIO`, as a disk does whose cable was
    /// pulled: the kernel's own error, from below the file system. What was flushed is kept.
    ///
    /// # Panics
    /// When the kernel does not allow it.
    pub fn fail(&self) {
        self.limit(LEFT_BYTES);
    }

    /// The device is whole again, and mounted anew, as an operator has to: the file system gave itself up at
    /// the first error. Nobody may have a file of it open.
    ///
    /// # Panics
    /// When it cannot be mounted.
    pub fn come_back(&self) {
        self.limit(0);
        self.unmount();
        self.mount();
    }

    /// The folder is there, and what is mounted on it is not.
    ///
    /// # Panics
    /// When somebody has a file of it open.
    pub fn unmount(&self) {
        let unmounted = as_root(&["umount".as_ref(), self.mount.as_os_str()]);
        unmounted.expect("nobody uses the disk");
    }

    /// # Panics
    /// When it is mounted, or the file system is beyond what its journal repairs.
    pub fn mount(&self) {
        let mounted = as_root(&[
            "mount".as_ref(),
            self.device.as_ref(),
            self.mount.as_os_str(),
        ]);
        mounted.expect("the file system can be mounted");
    }

    fn limit(&self, bytes: u64) {
        let bytes = bytes.to_string();
        let told = as_root(&["python3", "-c", LIMIT, &self.device, &bytes]);
        told.expect("root, or sudo, python3, and a kernel whose loop devices can be cut short");
    }
}

impl Drop for OwnDisk {
    fn drop(&mut self) {
        let unmounted = as_root(&["umount".as_ref(), self.mount.as_os_str()]);
        let detached = as_root(&["losetup", "--detach", &self.device]);
        for result in [unmounted, detached] {
            if let Err(reason) = result {
                eprintln!("left behind: {reason}");
            }
        }
    }
}

/// A disk that can be made slow: it lies in a file of another one, whose file system is frozen and thawed in turn.
/// What its block device is given meanwhile has to wait.
pub struct SlowDisk {
    // Goes before what it lies in.
    disk: OwnDisk,
    below: OwnDisk,
}

impl SlowDisk {
    /// As [`OwnDisk::new`].
    pub fn new(scratch: &Scratch, bytes: u64) -> Result<Self, String> {
        // The file system below needs some room for itself.
        let below = OwnDisk::new(scratch, bytes + bytes / 8)?;
        let disk = OwnDisk::within(below.path(), bytes)?;
        Ok(Self { disk, below })
    }

    pub fn path(&self) -> &Path {
        self.disk.path()
    }

    /// It answers nothing for `still` at a time, and then for a moment as ever, for as long as this is held.
    pub fn slow_down(&self, still: Duration) -> Slowed {
        let mount = self.below.path().to_owned();
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        let work = thread::spawn(move || {
            let call =
                |word: &str| as_root(&["fsfreeze".as_ref(), word.as_ref(), mount.as_os_str()]);
            while !is_over.load(Ordering::Relaxed) {
                call("--freeze")?;
                thread::park_timeout(still);
                call("--unfreeze")?;
                thread::park_timeout(MOMENT);
            }
            Ok(())
        });
        Slowed {
            over,
            work: Some(work),
        }
    }
}

/// A disk that is slow until this is dropped.
pub struct Slowed {
    over: Arc<AtomicBool>,
    work: Option<JoinHandle<Result<(), String>>>,
}

impl Drop for Slowed {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let Some(work) = self.work.take() else { return };
        work.thread().unpark();
        let ended = work.join();
        let worked = matches!(ended, Ok(Ok(())));
        assert!(
            worked || thread::panicking(),
            "the disk was not slowed down: {ended:?}"
        );
    }
}

/// How many flushes a block device has completed, by the kernel's own count.
pub struct FlushCount {
    stat: PathBuf,
}

impl FlushCount {
    /// The count of the device that holds `folder`.
    ///
    /// An error when flushes of that device say nothing: it has no volatile cache, or the kernel
    /// does not count them (before Linux 5.5), or the folder lies on no block device.
    pub fn of(folder: &Path) -> Result<Self, String> {
        let data = fs::metadata(folder).map_err(|error| error.to_string())?;
        let number = format!("{}:{}", major(data.dev()), minor(data.dev()));
        let link = Path::new("/sys/dev/block").join(&number);
        let mut device = fs::canonicalize(&link).map_err(|error| {
            format!(
                "{} is on no block device ({number}: {error})",
                folder.display()
            )
        })?;
        if device.join("partition").exists() {
            // Flushes are counted for the whole disk.
            device.pop();
        }
        let cache = fs::read_to_string(device.join("queue/write_cache")).unwrap_or_default();
        if cache.trim() != "write back" {
            return Err(format!(
                "{} has no volatile write cache ({}), so the kernel sends it no flushes to count",
                device.display(),
                cache.trim()
            ));
        }
        let count = Self {
            stat: device.join("stat"),
        };
        count.fields()?;
        Ok(count)
    }

    /// Whether the device may make a single write durable without a flush (FUA).
    pub fn writes_through(&self) -> bool {
        let fua = fs::read_to_string(self.stat.with_file_name("queue/fua"));
        fua.is_ok_and(|text| text.trim() == "1")
    }

    /// Flushes completed since the device appeared.
    ///
    /// # Panics
    /// When the device has gone.
    pub fn read(&self) -> u64 {
        self.fields().expect("the device was there before")
    }

    /// The sixteenth field (Linux, Documentation/block/stat.rst).
    fn fields(&self) -> Result<u64, String> {
        let text = fs::read_to_string(&self.stat).map_err(|error| error.to_string())?;
        let field = text.split_whitespace().nth(15);
        field
            .and_then(|field| field.parse().ok())
            .ok_or_else(|| format!("{} does not count flushes", self.stat.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn the_count_rises_with_each_flush_and_not_without() {
        let scratch = Scratch::new("device");
        let disk = match OwnDisk::new(&scratch, 64 << 20) {
            Ok(disk) => disk,
            Err(reason) => return println!("no disk of our own, nothing to see: {reason}"),
        };
        let count = FlushCount::of(disk.path()).expect("a loop device counts its flushes");
        let mut file = fs::File::create(disk.path().join("file")).expect("the disk takes files");
        file.write_all(&[7; 8192]).expect("the disk has room");
        for _ in 0..20 {
            let before = count.read();
            file.write_all(b"more").expect("the disk has room");
            file.sync_data().expect("the disk flushes");
            assert!(count.read() > before);
        }
        let before = count.read();
        for _ in 0..20 {
            file.write_all(b"more").expect("the disk has room");
        }
        // The file system's own journal may flush once in between.
        assert!(count.read() - before <= 2);
    }
}
