//! The load generators: wrk for HTTP/1.1, h2load for HTTP/2. Both keep 64 requests under way, as fast as the
//! subject answers, for a fixed time.

mod h2load;
mod wrk;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::mode::Mode;
use crate::origin::BODY_BYTES;
use crate::subjects::Site;
use crate::tools;

/// Requests under way at any moment.
const CONCURRENCY: usize = 64;

/// What a load generator counted. Every request was answered with a 2xx status and a whole body.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    pub requests: u64,
    pub seconds: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

#[derive(Debug)]
pub struct Tools {
    wrk: Option<PathBuf>,
    h2load: Option<PathBuf>,
}

impl Tools {
    /// Those that the modes need.
    pub fn find(modes: &[Mode]) -> Result<Self> {
        let find = |needed: bool, program, package| {
            needed.then(|| tools::find_or_install(program, package)).transpose()
        };
        Ok(Self {
            wrk: find(modes.iter().any(|&mode| mode != Mode::H2), "wrk", "wrk")?,
            h2load: find(modes.contains(&Mode::H2), "h2load", "nghttp2-client")?,
        })
    }

    pub fn versions(&self) -> Result<Vec<(&'static str, String)>> {
        let mut versions = Vec::new();
        if let Some(wrk) = &self.wrk {
            versions.push(("wrk", word(wrk, &["-v"], 1)?));
        }
        if let Some(h2load) = &self.h2load {
            versions.push(("h2load", word(h2load, &["--version"], 1)?));
        }
        Ok(versions)
    }

    /// # Errors
    ///
    /// When a single request fails: figures of a proxy that drops requests compare to nothing.
    pub fn run(&self, site: &Site<'_>, seconds: u64) -> Result<Load> {
        let load = match site.mode {
            Mode::Plain | Mode::Work => wrk::run(present(self.wrk.as_deref())?, site, seconds)?,
            Mode::H2 => h2load::run(present(self.h2load.as_deref())?, site, seconds)?,
        };
        ensure!(load.requests > 0, "not one request was answered in {seconds} s");
        Ok(load)
    }
}

fn present(tool: Option<&Path>) -> Result<&Path> {
    tool.context("the load generator was not looked for")
}

fn word(program: &Path, arguments: &[&str], index: usize) -> Result<String> {
    let text = tools::self_description(program, arguments)?;
    Ok(text.split_whitespace().nth(index).unwrap_or("unknown").to_owned())
}

/// One thread drives more than two cores can answer; more cores than that want a second.
fn threads() -> usize {
    if std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 2) { 2 } else { 1 }
}

/// Short bodies, such as those of an error page, give themselves away in the sum.
fn ensure_whole_bodies(requests: u64, bytes: u64) -> Result<()> {
    ensure!(
        bytes >= requests * BODY_BYTES as u64,
        "{requests} answers came to only {bytes} bytes: their bodies are not the origin's"
    );
    Ok(())
}

/// Adds to an error what the load generator has printed.
fn explain<T>(result: Result<T>, output: &str) -> Result<T> {
    result.map_err(|error| anyhow!("{error:#}; the load generator printed:\n{output}"))
}
