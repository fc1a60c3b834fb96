//! Limits and switches of the kernel.

use super::{Finding, Patient};
use crate::control::boot;
use crate::limit;
use crate::rt::host;

pub(super) fn rings(_patient: &Patient<'_>) -> Finding {
    match host::check_rings() {
        Ok(()) => Finding::fine("allowed"),
        Err(error) => Finding::wrong("refused", error.to_string()),
    }
}

pub(super) fn accept_queue(patient: &Patient<'_>) -> Finding {
    const LEAST: u64 = 4096;
    match patient.host.number("/proc/sys/net/core/somaxconn") {
        None => Finding::unknown("the kernel does not say"),
        Some(longest) if longest < LEAST => {
            Finding::slow(longest.to_string(), format!("net.core.somaxconn = {LEAST}"))
        }
        Some(longest) => Finding::fine(longest.to_string()),
    }
}

pub(super) fn open_files(_patient: &Patient<'_>) -> Finding {
    let wanted = limit::OPEN_FILES_WANTED;
    let raised = host::raise_open_files(wanted, limit::OPEN_FILES_MIN);
    of_limit(raised, wanted)
}

pub(super) fn locked_memory(patient: &Patient<'_>) -> Finding {
    let wanted = boot::locked_bytes(patient.shards().len());
    of_limit(host::raise_locked_memory(wanted), wanted)
}

/// Raised as `serve` raises it, and for this process alone.
fn of_limit(raised: Result<Option<host::Shortage>, crate::rt::Error>, wanted: u64) -> Finding {
    match raised {
        Ok(None) => Finding::fine(format!("{wanted} can be had")),
        Ok(Some(short)) => Finding::slow(short.have.to_string(), short.to_string()),
        Err(error) => Finding::wrong("too low to start", error.to_string()),
    }
}

pub(super) fn huge_pages(patient: &Patient<'_>) -> Finding {
    let mode = patient
        .host
        .value("/sys/kernel/mm/transparent_hugepage/enabled");
    match mode.as_deref() {
        None => Finding::fine("this kernel has none"),
        Some("always") => Finding::slow("always", "transparent_hugepage/enabled = madvise"),
        Some(mode) => Finding::fine(mode),
    }
}

pub(super) fn swap(patient: &Patient<'_>) -> Finding {
    let areas = patient.host.value("/proc/swaps").unwrap_or_default();
    let areas = areas.lines().skip(1).count();
    let swappiness = patient.host.number("/proc/sys/vm/swappiness").unwrap_or(0);
    let found = format!("{areas} areas, swappiness {swappiness}");
    match (areas, swappiness) {
        (0, _) => Finding::fine("none"),
        (_, 0 | 1) => Finding::fine(found),
        _ => Finding::slow(found, "no swap, or vm.swappiness = 1"),
    }
}
