//! What a process and its descendants have used, from `/proc`.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, Result};
use nix::unistd::{SysconfVar, sysconf};

/// The process and all its living descendants, in ascending order.
pub fn family(root: u32) -> Result<Vec<u32>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").context("list /proc")? {
        let name = entry.context("list /proc")?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // A process may end between the listing and the reading.
        if let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) {
            parents.push((pid, Stat::parse(&stat)?.parent));
        }
    }
    let mut family = BTreeSet::from([root]);
    loop {
        let before = family.len();
        family.extend(
            parents
                .iter()
                .filter(|(_, parent)| family.contains(parent))
                .map(|(pid, _)| *pid)
                .collect::<Vec<_>>(),
        );
        if family.len() == before {
            return Ok(family.into_iter().collect());
        }
    }
}

/// User and system time of these processes, in seconds. The kernel counts in ticks, of 10 ms as a rule.
pub fn cpu_seconds(pids: &[u32]) -> Result<f64> {
    let ticks_per_second = sysconf(SysconfVar::CLK_TCK)
        .context("ask for the clock tick")?
        .context("the clock tick is unknown")?;
    let mut ticks = 0;
    for pid in pids {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
            .with_context(|| format!("process {pid} of the subject has gone"))?;
        ticks += Stat::parse(&stat)?.cpu_ticks;
    }
    Ok(ticks as f64 / ticks_per_second as f64)
}

/// What these processes have resident now, in MiB; pages that they share are divided among them.
pub fn present_mib(pids: &[u32]) -> Result<f64> {
    let mut kib = 0;
    for pid in pids {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
            .with_context(|| format!("process {pid} of the subject has gone"))?;
        kib += kib_of(&rollup, "Pss:").with_context(|| format!("no Pss for process {pid}"))?;
    }
    Ok(kib as f64 / 1024.0)
}

/// The sum of the peaks of these processes, in MiB. Pages that they share count once for each.
pub fn peak_rss_mib(pids: &[u32]) -> Result<f64> {
    let mut kib = 0;
    for pid in pids {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))
            .with_context(|| format!("process {pid} of the subject has gone"))?;
        kib += kib_of(&status, "VmHWM:").with_context(|| format!("no VmHWM for process {pid}"))?;
    }
    Ok(kib as f64 / 1024.0)
}

fn kib_of(text: &str, figure: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(figure))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[derive(Debug, PartialEq)]
struct Stat {
    parent: u32,
    cpu_ticks: u64,
}

impl Stat {
    /// The second field is the name in brackets, which may itself hold spaces and brackets: see proc_pid_stat(5).
    fn parse(stat: &str) -> Result<Self> {
        let fields: Vec<&str> =
            stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
        // Numbered from 1 in the manual: 3 is the first here, 4 the parent, 14 and 15 user and system time.
        let field =
            |number: usize| fields.get(number - 3).with_context(|| format!("odd /proc stat: {stat:?}"));
        Ok(Self {
            parent: field(4)?.parse()?,
            cpu_ticks: field(14)?.parse::<u64>()? + field(15)?.parse::<u64>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_past_any_name() {
        let stat = "71 (odd) na) me) S 70 71 71 0 -1 4194560 910 0 0 0 30 12 5 6 20 0 1 0 99 0 0";
        assert_eq!(Stat::parse(stat).unwrap(), Stat { parent: 70, cpu_ticks: 42 });
        assert!(Stat::parse("71 (short) S 70").is_err());
    }

    #[test]
    fn the_peak_is_taken_not_the_present() {
        assert_eq!(
            kib_of("VmPeak:\t 9 kB\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n", "VmHWM:"),
            Some(2048)
        );
        assert_eq!(kib_of("VmRSS:\t    1024 kB\n", "VmHWM:"), None);
    }

    #[test]
    fn this_process_belongs_to_its_family_and_has_used_memory() {
        let family = family(std::process::id()).unwrap();
        assert!(family.contains(&std::process::id()));
        assert!(peak_rss_mib(&[std::process::id()]).unwrap() > 0.0);
    }
}
