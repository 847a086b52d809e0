//! What a figure is worth nothing without: when, where and with which versions.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};

#[derive(Debug)]
pub struct Environment {
    pub date: String,
    pub kernel: String,
    pub cpu_model: String,
    pub cores: usize,
    /// Of the last minute, before the run: other work on the machine shows here.
    pub load_average: String,
    /// Name and version of each library, as they were built in.
    pub versions: Vec<String>,
}

/// Whose versions are told.
const LIBRARIES: [&str; 9] = [
    "backon",
    "bb8",
    "deadpool",
    "failsafe",
    "governor",
    "recloser",
    "tokio",
    "tower",
    "tower-resilience-circuitbreaker",
];

impl Environment {
    pub fn read() -> Result<Self> {
        let cpuinfo = read("/proc/cpuinfo")?;
        let date =
            Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"]).output().context("ask for the date")?;
        let version = |name: &&str| locked_version(name).map(|version| format!("{name} {version}"));
        Ok(Self {
            date: String::from_utf8_lossy(&date.stdout).trim().to_owned(),
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            cpu_model: cpu_model(&cpuinfo).unwrap_or("unknown CPU").to_owned(),
            cores: std::thread::available_parallelism().context("count the cores")?.get(),
            load_average: read("/proc/loadavg")?.split(' ').next().unwrap_or_default().to_owned(),
            versions: LIBRARIES.iter().filter_map(version).collect(),
        })
    }
}

/// From the lock file that this program was built with.
fn locked_version(name: &str) -> Option<&'static str> {
    let wanted = format!("name = \"{name}\"\n");
    let (_, rest) = include_str!("../../../Cargo.lock").split_once(&wanted)?;
    rest.strip_prefix("version = \"")?.split('"').next()
}

fn cpu_model(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, model)| model.trim())
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_library_has_a_version() {
        for name in LIBRARIES {
            assert!(locked_version(name).is_some_and(|version| version.contains('.')), "{name}");
        }
    }
}
