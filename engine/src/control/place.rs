//! Which core does what: the shards' CPUs and the control core's.
//!
//! A pure function of what the operator wrote and of the process's affinity mask.

use crate::limit;

/// `shard.cpus` as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shards {
    /// As many as the mask has room for.
    Auto,
    /// This many, on CPUs of our choice.
    Count(usize),
    /// One on each of these, in this order.
    List(Vec<usize>),
}

/// Where everything runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// One shard for each entry. A CPU appears twice only when there are more shards than CPUs.
    pub(crate) shards: Vec<usize>,
    /// `None`: anywhere within the mask.
    pub(crate) control: Option<usize>,
}

/// The host cannot give what was asked for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("CPU {cpu} is not among those this process may use ({mask})")]
pub(crate) struct Absent {
    cpu: usize,
    mask: String,
}

/// Reads `auto`, a count, or a list such as `0,2-5` (`3-3` names one CPU).
pub(crate) fn parse(text: &str) -> Option<Shards> {
    let text = text.trim();
    if text == "auto" {
        return Some(Shards::Auto);
    }
    if let Ok(count) = text.parse::<usize>() {
        return (1..=limit::SHARDS_MAX)
            .contains(&count)
            .then_some(Shards::Count(count));
    }
    parse_list(text).map(Shards::List)
}

/// Reads a list such as `0,2-5`; here `3` names one CPU.
pub(crate) fn parse_list(text: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: usize = first.trim().parse().ok()?;
        let last: usize = last.trim().parse().ok()?;
        if last < first || limit::SHARDS_MAX <= last - first {
            return None;
        }
        cpus.extend(first..=last);
        if limit::SHARDS_MAX < cpus.len() {
            return None;
        }
    }
    let mut seen = cpus.clone();
    seen.sort_unstable();
    seen.dedup();
    (seen.len() == cpus.len()).then_some(cpus)
}

/// The list form of `cpus`, with runs written as ranges. Reads back by [`parse`].
pub(crate) fn show(cpus: &[usize]) -> String {
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for &cpu in cpus {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == cpu => *last = cpu,
            _ => parts.push((cpu, cpu)),
        }
    }
    let alone = parts.len() == 1;
    let parts = parts.into_iter().map(|(first, last)| {
        if first == last && !alone {
            first.to_string()
        } else {
            format!("{first}-{last}")
        }
    });
    parts.collect::<Vec<_>>().join(",")
}

/// Decides who runs where. `mask` holds the CPUs of the process's affinity mask, ascending.
///
/// Left to itself, a host of four CPUs or more gives its last one to the control core and the rest
/// to shards; a smaller one gives all to shards, and the control core shares them.
pub(crate) fn plan(
    shards: &Shards,
    control: Option<usize>,
    mask: &[usize],
) -> Result<Plan, Absent> {
    assert!(!mask.is_empty(), "a running process has a CPU to run on");
    let absent = |&cpu: &usize| Absent {
        cpu,
        mask: show(mask),
    };
    if let Some(cpu) = control.as_ref().filter(|cpu| !mask.contains(cpu)) {
        return Err(absent(cpu));
    }
    let cpus = match shards {
        Shards::List(list) => {
            if let Some(cpu) = list.iter().find(|cpu| !mask.contains(cpu)) {
                return Err(absent(cpu));
            }
            list.clone()
        }
        Shards::Count(count) => spread(*count, control, mask),
        Shards::Auto => spread(count_for(control, mask), control, mask),
    };
    let spare = mask.iter().rev().find(|cpu| !cpus.contains(cpu));
    Ok(Plan {
        control: control.or(spare.copied()),
        shards: cpus,
    })
}

/// Where threads run that are not ours: on the CPUs that were chosen for them, else on those without a shard,
/// else anywhere.
pub(crate) fn apart(
    chosen: Option<&[usize]>,
    shards: &[usize],
    mask: &[usize],
) -> Result<Vec<usize>, Absent> {
    if let Some(chosen) = chosen {
        return match chosen.iter().find(|cpu| !mask.contains(cpu)) {
            None => Ok(chosen.to_vec()),
            Some(&cpu) => Err(Absent {
                cpu,
                mask: show(mask),
            }),
        };
    }
    let free: Vec<usize> = mask
        .iter()
        .copied()
        .filter(|cpu| !shards.contains(cpu))
        .collect();
    Ok(if free.is_empty() { mask.to_vec() } else { free })
}

fn count_for(control: Option<usize>, mask: &[usize]) -> usize {
    let apart = control.is_some() || 4 <= mask.len();
    let count = mask.len() - usize::from(apart && 2 <= mask.len());
    count.min(limit::SHARDS_MAX)
}

/// `count` CPUs, each once as long as there are enough, the control core's last of all.
fn spread(count: usize, control: Option<usize>, mask: &[usize]) -> Vec<usize> {
    let mut order: Vec<usize> = mask.to_vec();
    order.sort_by_key(|cpu| Some(*cpu) == control);
    order.into_iter().cycle().take(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(shards: &str, control: Option<usize>, mask: &[usize]) -> (Vec<usize>, Option<usize>) {
        let plan = plan(&parse(shards).unwrap(), control, mask).unwrap();
        (plan.shards, plan.control)
    }

    #[test]
    fn lists_are_read_as_the_kernel_writes_them() {
        assert_eq!(parse("auto"), Some(Shards::Auto));
        assert_eq!(parse("3"), Some(Shards::Count(3)));
        assert_eq!(parse("3-3"), Some(Shards::List(vec![3])));
        assert_eq!(parse("0,2-5"), Some(Shards::List(vec![0, 2, 3, 4, 5])));
        assert_eq!(parse(" 1, 0 "), Some(Shards::List(vec![1, 0])));
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in [
            "",
            "0",
            "1025",
            "-1",
            "1,",
            "1,1",
            "5-2",
            "0-4000000000",
            "two",
            "0-9,5",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_single_number_is_a_list_where_lists_are_wanted() {
        assert_eq!(parse_list("3"), Some(vec![3]));
        assert_eq!(parse_list("0,2-3"), Some(vec![0, 2, 3]));
        assert_eq!(parse_list("auto"), None);
    }

    #[test]
    fn a_shown_list_reads_back() {
        for cpus in [vec![0], vec![0, 2, 3, 4, 5], vec![1, 0], vec![7, 9]] {
            assert_eq!(parse(&show(&cpus)), Some(Shards::List(cpus)));
        }
    }

    #[test]
    fn a_large_host_gives_its_last_cpu_to_the_control_core() {
        assert_eq!(
            placed("auto", None, &[0, 1, 2, 3]),
            (vec![0, 1, 2], Some(3))
        );
        assert_eq!(
            placed("auto", Some(0), &[0, 1, 2, 3]),
            (vec![1, 2, 3], Some(0))
        );
    }

    #[test]
    fn a_small_host_gives_every_cpu_to_shards() {
        assert_eq!(placed("auto", None, &[1]), (vec![1], None));
        assert_eq!(placed("auto", None, &[0, 1]), (vec![0, 1], None));
        assert_eq!(placed("auto", Some(1), &[0, 1]), (vec![0], Some(1)));
        assert_eq!(placed("auto", Some(1), &[1]), (vec![1], Some(1)));
    }

    #[test]
    fn a_spare_cpu_goes_to_the_control_core() {
        assert_eq!(placed("1", None, &[0, 1]), (vec![0], Some(1)));
        assert_eq!(placed("0,2", None, &[0, 1, 2, 3]), (vec![0, 2], Some(3)));
        assert_eq!(placed("2", None, &[0, 1]), (vec![0, 1], None));
    }

    #[test]
    fn more_shards_than_cpus_share_them() {
        assert_eq!(placed("3", None, &[4, 5]), (vec![4, 5, 4], None));
        assert_eq!(placed("3", Some(5), &[4, 5]), (vec![4, 5, 4], Some(5)));
        assert_eq!(placed("2", Some(4), &[4, 5]), (vec![5, 4], Some(4)));
    }

    #[test]
    fn foreign_threads_keep_off_the_shards_where_they_can() {
        assert_eq!(apart(None, &[0, 1], &[0, 1, 2, 3]), Ok(vec![2, 3]));
        assert_eq!(apart(None, &[0, 1], &[0, 1]), Ok(vec![0, 1]));
        assert_eq!(apart(Some(&[1]), &[0, 1], &[0, 1]), Ok(vec![1]));
        assert!(apart(Some(&[7]), &[0], &[0, 1]).is_err());
    }

    #[test]
    fn a_cpu_that_is_not_ours_is_named() {
        let error = plan(&parse("0,9").unwrap(), None, &[0, 1]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "CPU 9 is not among those this process may use (0-1)"
        );
        assert!(plan(&Shards::Auto, Some(9), &[0, 1]).is_err());
    }
}
