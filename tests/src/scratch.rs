//! A folder on a real disk that goes when the test passes, and stays when it fails.

use crate::program;
use std::fs;
use std::path::{Path, PathBuf};

const TMPFS_MAGIC: i64 = 0x0102_1994;
const RAMFS_MAGIC: i64 = 0x8584_58f6;

pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// A new, empty folder under `target`, named after the promise.
    ///
    /// # Panics
    /// When `target` lies in memory: there direct I/O is silently not direct, and a flush is nothing.
    pub fn new(promise: &str) -> Self {
        let path = program::target()
            .join("tests")
            .join(format!("{promise}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("the target folder takes folders");
        let system = rustix::fs::statfs(&path).expect("the folder was just made");
        assert!(
            ![TMPFS_MAGIC, RAMFS_MAGIC].contains(&(system.f_type as i64)),
            "{} lies in memory: set CARGO_TARGET_DIR to a folder on a disk",
            path.display()
        );
        Self { path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("what happened is kept in {}", self.path.display());
        } else {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}
