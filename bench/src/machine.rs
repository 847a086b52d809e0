//! What a figure is worth nothing without: when, where and with which versions.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::tools::self_description;

/// When and where something is measured.
#[derive(Debug, Clone)]
pub struct Machine {
    pub date: String,
    pub kernel: String,
    pub cpu_model: String,
    pub cores: usize,
    /// Of the last minute, before the run: other work on the machine shows here.
    pub load_average: String,
}

impl Machine {
    pub fn read() -> Result<Self> {
        let cpuinfo = read("/proc/cpuinfo")?;
        Ok(Self {
            date: self_description(Path::new("date"), &["-u", "+%Y-%m-%d %H:%M UTC"])?,
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            cpu_model: cpu_model(&cpuinfo).unwrap_or("unknown CPU").to_owned(),
            cores: std::thread::available_parallelism().context("count the cores")?.get(),
            load_average: read("/proc/loadavg")?.split(' ').next().unwrap_or_default().to_owned(),
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kernel, cpu_model, cores, load_average, .. } = self;
        write!(f, "Linux {kernel}, {cpu_model}, {cores} cores, load average before the run {load_average}")
    }
}

/// The version of a library that the benches were built with.
pub fn locked_version(name: &str) -> Option<&'static str> {
    let wanted = format!("name = \"{name}\"\n");
    let (_, rest) = include_str!("../Cargo.lock").split_once(&wanted)?;
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
    fn a_library_has_the_version_of_the_lock_file() {
        assert!(locked_version("tokio").is_some_and(|version| version.starts_with("1.")));
        assert_eq!(locked_version("no-such-library"), None);
    }
}
