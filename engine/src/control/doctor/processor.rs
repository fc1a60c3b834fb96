//! Cores, clocks, interrupts.

use super::host::mask;
use super::{Finding, Patient};
use crate::control::place::show;

const CPUS: &str = "/sys/devices/system/cpu";
const NO_SPARE: &str = "every CPU is a shard's: there is none to send the others to";

pub(super) fn cpus(patient: &Patient<'_>) -> Finding {
    let plan = match &patient.plan {
        Ok(plan) => plan,
        Err(absent) => {
            let wanted = "shard.cpus and control.cpu within them, or another affinity mask";
            return Finding::wrong(absent.to_string(), wanted);
        }
    };
    let shards = patient.shards();
    let found = format!("{} shards on {}", plan.shards.len(), show(&shards));
    if shards.len() < plan.shards.len() {
        return Finding::slow(
            found,
            "as many CPUs as shards, or fewer shards in shard.cpus",
        );
    }
    let cap = patient.host.value("/sys/fs/cgroup/cpu.max");
    if let Some(cap) = cap.filter(|cap| !cap.starts_with("max")) {
        let found = format!("{found}; the control group is capped at {cap} µs");
        return Finding::slow(found, "cpu.max = max for the engine's group");
    }
    for cpu in &shards {
        let path = format!("{CPUS}/cpu{cpu}/topology/thread_siblings_list");
        let twins = patient.host.list(&path).unwrap_or_default();
        if 1 < twins.iter().filter(|twin| shards.contains(twin)).count() {
            let found = format!("{found}; {} are one core", show(&twins));
            return Finding::slow(
                found,
                "one shard for each core: leave its other thread idle",
            );
        }
    }
    Finding::fine(found)
}

pub(super) fn governor(patient: &Patient<'_>) -> Finding {
    let names = patient.host.names(CPUS);
    let governors = names.iter().filter_map(|name| {
        let path = format!("{CPUS}/{name}/cpufreq/scaling_governor");
        patient.host.value(&path)
    });
    let mut governors: Vec<_> = governors.collect();
    governors.sort();
    governors.dedup();
    match &governors[..] {
        [] => Finding::unknown("no frequency control: a virtual machine, or it is the firmware's"),
        [only] if only == "performance" => Finding::fine("performance"),
        others => Finding::slow(
            others.join(", "),
            "scaling_governor = performance everywhere",
        ),
    }
}

pub(super) fn isolated_cores(patient: &Patient<'_>) -> Finding {
    if !patient.has_spare() {
        return Finding::unknown(NO_SPARE);
    }
    let isolated = patient.host.list(&format!("{CPUS}/isolated"));
    let isolated = isolated.unwrap_or_default();
    let shards = patient.shards();
    if shards.iter().all(|cpu| isolated.contains(cpu)) {
        return Finding::fine(show(&isolated));
    }
    let (found, list) = match &isolated[..] {
        [] => ("none".to_owned(), listed(&shards)),
        some => (show(some), listed(&shards)),
    };
    let wanted = format!("boot with isolcpus=managed_irq,domain,{list} nohz_full={list}");
    Finding::slow(found, wanted)
}

/// As [`show`], but one CPU alone is a number: the kernel's command line takes no `3-3`.
fn listed(cpus: &[usize]) -> String {
    match cpus {
        [one] => one.to_string(),
        more => show(more),
    }
}

/// One interrupt on one shard's CPU alone is a queue that was put there.
pub(super) fn interrupts(patient: &Patient<'_>) -> Finding {
    if !patient.has_spare() {
        return Finding::unknown(NO_SPARE);
    }
    let shards = patient.shards();
    let (mut known, mut strays) = (0, 0);
    for number in patient.host.names("/proc/irq") {
        let path = format!("/proc/irq/{number}/smp_affinity_list");
        let Some(cpus) = patient.host.list(&path) else {
            continue;
        };
        known += 1;
        strays += u32::from(1 < cpus.len() && cpus.iter().any(|cpu| shards.contains(cpu)));
    }
    match (known, strays) {
        (0, _) => Finding::unknown("the kernel does not say"),
        (_, 0) => Finding::fine(format!("{known}, each in its place")),
        _ => Finding::slow(
            format!("{strays} of {known} may come on a shard's CPU"),
            "perf/tune.sh --apply --only interrupts; stop irqbalance, or it moves them back",
        ),
    }
}

pub(super) fn packet_steering(patient: &Patient<'_>) -> Finding {
    let host = &patient.host;
    let shards = patient.shards();
    let cards = host.names("/sys/class/net");
    let cards = cards.iter().filter(|card| {
        let device = format!("/sys/class/net/{card}/device");
        host.path(&device).exists()
    });
    let (mut known, mut narrow) = (0, Vec::new());
    for card in cards {
        let folder = format!("/sys/class/net/{card}/queues");
        let queues = host.names(&folder);
        let queues: Vec<_> = queues
            .iter()
            .filter(|name| name.starts_with("rx-"))
            .collect();
        known += queues.len();
        let steered = |queue: &&&String| {
            let cpus = host.value(&format!("{folder}/{queue}/rps_cpus"));
            let cpus = cpus.and_then(|text| mask(&text)).unwrap_or_default();
            shards.iter().all(|cpu| cpus.contains(cpu))
        };
        if queues.len() < shards.len() && queues.iter().filter(steered).count() < queues.len() {
            narrow.push(format!("{card} has {} receive queues", queues.len()));
        }
    }
    match (known, narrow.is_empty()) {
        (0, _) => Finding::unknown("no network card here"),
        (_, true) => Finding::fine(format!(
            "{known} receive queues for {} shards",
            shards.len()
        )),
        _ => Finding::slow(
            narrow.join(", "),
            "rps_cpus over the shards: perf/tune.sh --apply --only packet-steering",
        ),
    }
}

pub(super) fn clock_source(patient: &Patient<'_>) -> Finding {
    let path = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    match patient.host.value(path).as_deref() {
        None => Finding::unknown("the kernel does not say"),
        Some(fast @ ("tsc" | "arch_sys_counter" | "kvm-clock")) => Finding::fine(fast),
        Some(slow) => {
            let wanted = "current_clocksource = tsc; if it is not offered, dmesg says why";
            Finding::slow(slow, wanted)
        }
    }
}
