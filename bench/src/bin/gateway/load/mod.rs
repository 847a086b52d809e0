//! The load generators: wrk for HTTP/1.1, h2load for HTTP/2 and for a fixed rate, one of our own for TLS handshakes.
//! They keep 64 requests under way (16 where each takes a handshake), as fast as the subject answers but for the fixed
//! rate, for a fixed time.

mod connecting;
mod h2load;
mod wrk;

pub use connecting::Idle;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, ensure};
use intertie_bench::tools;

use crate::mode::{Client, Mode};
use crate::subjects::Site;

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
        let speaks = |clients: &[Client]| modes.iter().any(|mode| clients.contains(&mode.client()));
        Ok(Self {
            wrk: find(speaks(&[Client::Kept]), "wrk", "wrk")?,
            h2load: find(speaks(&[Client::Multiplexed, Client::Paced]), "h2load", "nghttp2-client")?,
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
        let load = match site.mode.client() {
            Client::Kept => wrk::run(present(self.wrk.as_deref())?, site, seconds)?,
            Client::Multiplexed | Client::Paced => {
                h2load::run(present(self.h2load.as_deref())?, site, seconds)?
            }
            Client::Connecting => connecting::run(site, seconds)?,
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
fn ensure_whole_bodies(requests: u64, bytes: u64, body_bytes: usize) -> Result<()> {
    ensure!(
        bytes >= requests * body_bytes as u64,
        "{requests} answers came to only {bytes} bytes: their bodies are not the origin's"
    );
    Ok(())
}

/// Adds to an error what the load generator has printed.
fn explain<T>(result: Result<T>, output: &str) -> Result<T> {
    result.map_err(|error| anyhow!("{error:#}; the load generator printed:\n{output}"))
}

/// The nearest rank: the smallest value that `percent` of all do not exceed.
fn percentile(sorted: &[u64], percent: usize) -> Result<f64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).map(|&value| value as f64).context("not one request was timed")
}
