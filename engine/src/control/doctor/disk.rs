//! Volumes: their file systems, and the disks below them.

use super::{Finding, Patient};
use crate::log::Flush;
use crate::rt::volume;
use rustix::fs::{major, minor, stat};
use std::path::{Path, PathBuf};

const NO_DISK: &str = "no disk is known below the volumes";

/// The folder, or what there is of the way to it: a store may not have been made yet.
fn nearest(folder: &Path) -> PathBuf {
    let whole = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let there = whole.ancestors().find(|folder| folder.exists());
    there.unwrap_or(Path::new("/")).to_owned()
}

fn device(folder: &Path) -> Option<(u32, u32)> {
    let device = stat(nearest(folder)).ok()?.st_dev;
    Some((major(device), minor(device)))
}

/// The disks below each volume.
fn disks(patient: &Patient<'_>) -> Vec<Vec<String>> {
    let volumes = patient.settings.shard.log.volumes.iter();
    let disks = volumes.map(|folder| {
        let device = device(folder);
        device.map_or_else(Vec::new, |(major, minor)| patient.host.disks(major, minor))
    });
    disks.collect()
}

/// The disks of all volumes, each once.
fn all_disks(patient: &Patient<'_>) -> Vec<String> {
    let mut all: Vec<_> = disks(patient).into_iter().flatten().collect();
    all.sort();
    all.dedup();
    all
}

pub(super) fn file_system(patient: &Patient<'_>) -> Finding {
    let mut seen = Vec::new();
    for folder in &patient.settings.shard.log.volumes {
        let shown = folder.display();
        let (kind, known) = match volume::file_system(&nearest(folder)) {
            Ok(found) => found,
            Err(error) => {
                let wanted = "log.volumes on folders that can be used";
                return Finding::wrong(format!("{shown}: {error}"), wanted);
            }
        };
        if !known {
            return Finding::wrong(format!("{shown} is on {kind}"), "a volume on ext4 or xfs");
        }
        if let Some(option) = without_barriers(patient, folder) {
            let found = format!("{shown} is mounted with {option}");
            return Finding::wrong(found, "mount it with barriers");
        }
        seen.push(format!("{shown} on {kind}"));
    }
    Finding::fine(seen.join(", "))
}

/// The option that keeps the kernel from flushing the disk's cache, if there is one.
fn without_barriers(patient: &Patient<'_>, folder: &Path) -> Option<&'static str> {
    let (major, minor) = device(folder)?;
    let mounts = patient.host.value("/proc/self/mountinfo")?;
    let number = format!("{major}:{minor}");
    let line = mounts
        .lines()
        .find(|line| line.split(' ').nth(2) == Some(&number))?;
    let options = |wanted: &str| line.split([' ', ',']).any(|option| option == wanted);
    ["nobarrier", "barrier=0"]
        .into_iter()
        .find(|option| options(option))
}

pub(super) fn devices(patient: &Patient<'_>) -> Finding {
    let mut seen = Vec::new();
    for disk in disks(patient).into_iter().flatten() {
        if seen.contains(&disk) {
            let found = format!("{disk} holds several volumes");
            return Finding::wrong(found, "each volume on a device of its own");
        }
        seen.push(disk);
    }
    match &seen[..] {
        [] => Finding::unknown(NO_DISK),
        disks => Finding::fine(disks.join(", ")),
    }
}

pub(super) fn scheduler(patient: &Patient<'_>) -> Finding {
    let (mut seen, mut sorts) = (Vec::new(), false);
    for disk in all_disks(patient) {
        let queue = format!("/sys/block/{disk}/queue");
        let Some(mode) = patient.host.value(&format!("{queue}/scheduler")) else {
            continue;
        };
        // Virtual disks say that they spin too, and do not.
        let rotational = patient.host.number(&format!("{queue}/rotational"));
        let spins = disk.starts_with("sd") && rotational == Some(1);
        sorts |= mode != "none" && !spins;
        seen.push(format!("{disk} {mode}"));
    }
    match (seen.is_empty(), sorts) {
        (true, _) => Finding::unknown(NO_DISK),
        (_, true) => Finding::slow(seen.join(", "), "queue/scheduler = none"),
        _ => Finding::fine(seen.join(", ")),
    }
}

pub(super) fn write_cache(patient: &Patient<'_>) -> Finding {
    if patient.settings.shard.log.flush == Flush::Never {
        return Finding::wrong("log.flush = never", "log.flush = write-through");
    }
    let mut seen = Vec::new();
    for disk in all_disks(patient) {
        let Some(mode) = patient
            .host
            .value(&format!("/sys/block/{disk}/queue/write_cache"))
        else {
            continue;
        };
        if mode == "write through" && has_volatile_cache(patient, &disk) {
            let found = format!("{disk} has a cache that is not flushed");
            return Finding::wrong(found, "queue/write_cache = write back");
        }
        seen.push(format!("{disk} {mode}"));
    }
    if seen.is_empty() {
        Finding::unknown(NO_DISK)
    } else {
        Finding::fine(seen.join(", "))
    }
}

/// By the disk's own word, which SCSI and SATA give.
fn has_volatile_cache(patient: &Patient<'_>, disk: &str) -> bool {
    let folder = format!("/sys/block/{disk}/device/scsi_disk");
    let names = patient.host.names(&folder);
    names.iter().any(|name| {
        let cache = patient.host.value(&format!("{folder}/{name}/cache_type"));
        cache.is_some_and(|cache| cache.starts_with("write back"))
    })
}
