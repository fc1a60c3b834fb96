//! Whether the disk that a folder should lie on is mounted, by what the machine was told of its disks.
//!
//! Where a mount point is listed in `/etc/fstab` and nothing is mounted on it, its folder is an empty one on the
//! disk below. Data written there would fill the wrong disk, and vanish from sight when the right one comes.
//! Layout:  fstab(5); proc_pid_mountinfo(5). Both write a blank as `\040`.

use super::Error;
use std::io;
use std::path::{Path, PathBuf};

const WANTED: &str = "/etc/fstab";
const PRESENT: &str = "/proc/self/mountinfo";
/// Both are far smaller; what is not is no table of mounts.
const TABLE_BYTES_MAX: u64 = 1 << 20;

/// Refuses a folder below a mount point on which nothing is mounted. Blocks for a moment. A machine that has no
/// such tables is taken at its word.
pub fn check(folder: &Path) -> Result<(), Error> {
    let read = |path: &str| -> io::Result<String> {
        if TABLE_BYTES_MAX < std::fs::metadata(path)?.len() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        std::fs::read_to_string(path)
    };
    let (Ok(wanted), Ok(present)) = (read(WANTED), read(PRESENT)) else {
        return Ok(());
    };
    let whole = real(folder);
    match missing(&whole, &wanted, &present) {
        None => Ok(()),
        Some(point) => Err(Error::NotMounted {
            folder: folder.to_owned(),
            point,
        }),
    }
}

/// Without links, as far as it is there.
fn real(folder: &Path) -> PathBuf {
    let whole = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    for above in whole.ancestors() {
        if let (Ok(real), Ok(rest)) = (above.canonicalize(), whole.strip_prefix(above)) {
            return real.join(rest);
        }
    }
    whole
}

/// The mount point at or above `folder` that is wanted and not present.
fn missing(folder: &Path, wanted: &str, present: &str) -> Option<PathBuf> {
    let entries = wanted
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    let points = entries.filter_map(|line| line.split_whitespace().nth(1));
    let points = points.map(plain).filter(|point| point.starts_with('/'));
    let mounted = |point: &str| {
        let lines = present.lines();
        lines
            .filter_map(|line| line.split(' ').nth(4))
            .any(|mounted| plain(mounted) == point)
    };
    let mut points: Vec<_> = points
        .map(|point| match point.trim_end_matches('/') {
            "" => "/".to_owned(),
            point => point.to_owned(),
        })
        .filter(|point| folder.starts_with(point) && !mounted(point))
        .collect();
    points.sort_by_key(String::len);
    points.pop().map(PathBuf::from)
}

/// With the blanks that the tables cannot hold.
fn plain(field: &str) -> String {
    field.replace("\\040", " ").replace("\\011", "\t")
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: &str = "# disks\n\
        UUID=1 / ext4 defaults 0 1\n\
        UUID=2 /data/one xfs noatime 0 2\n\
        \tUUID=3 /data/two/ xfs noatime 0 2\n\
        UUID=4 /data/with\\040blank ext4 defaults 0 2\n\
        UUID=5 none swap sw 0 0\n";
    const PRESENT: &str = "22 1 254:0 / / rw - ext4 /dev/vda rw\n\
        23 22 254:1 / /data/one rw,noatime - xfs /dev/vdb rw\n";

    fn missing_for(folder: &str) -> Option<PathBuf> {
        missing(Path::new(folder), WANTED, PRESENT)
    }

    #[test]
    fn a_folder_below_a_mount_point_without_its_disk_is_found_out() {
        assert_eq!(missing_for("/data/two"), Some("/data/two".into()));
        assert_eq!(missing_for("/data/two/ringtail"), Some("/data/two".into()));
        assert_eq!(
            missing_for("/data/with blank/store"),
            Some("/data/with blank".into())
        );
    }

    #[test]
    fn what_is_mounted_or_was_never_meant_to_be_is_let_be() {
        for folder in [
            "/data/one/ringtail",
            "/data/twofold",
            "/var/lib/ringtail",
            "/",
        ] {
            assert_eq!(missing_for(folder), None, "{folder}");
        }
        assert_eq!(missing(Path::new("/data"), "", ""), None);
        assert_eq!(missing(Path::new("/data"), "only-one-field\n\n", "x"), None);
    }

    #[test]
    fn this_machines_own_folders_are_where_they_should_be() {
        let own = std::env::current_exe().unwrap();
        check(own.parent().unwrap()).unwrap();
    }
}
