//! What a figure is worth nothing without: when, where and with which versions.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::load;
use crate::subjects::Subject;
use crate::tools::self_description;

#[derive(Debug)]
pub struct Environment {
    pub date: String,
    pub kernel: String,
    pub cpu_model: String,
    pub cores: usize,
    /// Of the last minute, before the run: other work on the machine shows here.
    pub load_average: String,
    /// Name and version of everything that took part.
    pub versions: Vec<(&'static str, String)>,
}

impl Environment {
    pub fn read(subjects: &[Subject], load: &load::Tools) -> Result<Self> {
        let cpuinfo = read("/proc/cpuinfo")?;
        let mut versions: Vec<_> =
            subjects.iter().map(|subject| (subject.kind.name(), subject.version.clone())).collect();
        versions.extend(load.versions()?);
        Ok(Self {
            date: self_description(Path::new("date"), &["-u", "+%Y-%m-%d %H:%M UTC"])?,
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            cpu_model: cpu_model(&cpuinfo).unwrap_or("unknown CPU").to_owned(),
            cores: std::thread::available_parallelism().context("count the cores")?.get(),
            load_average: read("/proc/loadavg")?.split(' ').next().unwrap_or_default().to_owned(),
            versions,
        })
    }
}

fn cpu_model(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, model)| model.trim())
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {path}"))
}
