//! Damage to log files at rest.

use crate::client::draw;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// Places in a log file where a bit is turned over.
const FLIPS: u64 = 20;

/// Every log file of a volume.
///
/// # Panics
/// When the volume is not there.
pub fn segments(volume: &Path) -> Vec<PathBuf> {
    let folders = fs::read_dir(volume).expect("the volume is there").flatten();
    let folders = folders
        .map(|entry| entry.path())
        .filter(|path| path.is_dir());
    let files = folders.flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
    let files = files.map(|entry| entry.path());
    files
        .filter(|path| path.extension().is_some_and(|kind| kind == "seg"))
        .collect()
}

/// Turns bits over in a log file, half of them in its first MiB.
///
/// # Panics
/// When the file is empty or cannot be written.
pub fn flip(file: &Path, random: &mut u64) {
    let file = fs::File::options().read(true).write(true).open(file);
    let file = file.expect("a log file can be opened");
    let bytes = file.metadata().expect("it has a length").len();
    for _ in 0..FLIPS {
        let place = draw(random);
        // Half of them where something is likely to be.
        let at = if place & 1 == 0 {
            bytes
        } else {
            bytes.min(1 << 20)
        };
        let at = (place >> 8) % at;
        let mut byte = [0];
        file.read_exact_at(&mut byte, at)
            .expect("it is long enough");
        byte[0] ^= 1 << ((place >> 4) & 7);
        file.write_all_at(&byte, at).expect("it can be written");
    }
}
