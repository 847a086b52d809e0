//! One measurement: one subject, started anew, in one mode.

use std::fmt;
use std::fs;
use std::io::{ErrorKind, Read as _};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use intertie_bench::process::{self, Server};
use intertie_bench::usage;
use intertie_bench::workdir::free_ports;

use crate::args::Seconds;
use crate::load;
use crate::mode::{Mode, ROUTES};
use crate::probe;
use crate::subjects::{Kind, Site, Subject};

/// What the measurements of a run have in common.
#[derive(Debug)]
pub struct Bench<'a> {
    pub dir: &'a Path,
    pub origin_port: u16,
    /// The origin of [`Mode::Upload`].
    pub sink_port: u16,
    pub load: &'a load::Tools,
    pub seconds: Seconds,
    /// Requests in a second, in [`Mode::Steady`]; found out first.
    pub steady: Option<usize>,
}

/// Percent of what nginx answers at most, in [`Mode::Steady`].
const STEADY_PERCENT: usize = 70;

/// Percent of the requests that are told at least: HAProxy drops a line where two threads meet.
const LOGGED_PERCENT: u64 = 99;

/// Lines of an access log are gathered, but not for longer.
const LOGGED_WITHIN: Duration = Duration::from_secs(10);

/// The figures of one measurement.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// User and system time of the proxy's processes.
    pub cpu_seconds_per_100k: f64,
    pub requests_per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub peak_rss_mib: f64,
}

impl Bench<'_> {
    pub fn measure(&self, subject: &Subject, mode: Mode) -> Result<Sample> {
        self.with_running(subject, mode, ROUTES, |server, site| self.measure_running(subject, server, site))
    }

    /// Finds out at which rate [`Mode::Steady`] loads, by nginx or else by the first subject.
    pub fn find_steady(&mut self, subjects: &[Subject]) -> Result<()> {
        let nginx = subjects.iter().find(|subject| subject.kind == Kind::Nginx);
        let subject = nginx.or(subjects.first()).context("nobody to measure")?;
        let most = self.measure(subject, Mode::Steady)?.requests_per_second;
        let steady = most as usize * STEADY_PERCENT / 100;
        eprintln!("{}: {most:.0} requests/s at most; steady is {steady}", subject.kind);
        self.steady = Some(steady);
        Ok(())
    }

    /// What `measure` says of a subject that is started for it and stopped after it.
    pub fn with_running<T>(
        &self,
        subject: &Subject,
        mode: Mode,
        routes: usize,
        measure: impl FnOnce(&mut Server, &Site<'_>) -> Result<T>,
    ) -> Result<T> {
        let [port, admin_port] = free_ports()?;
        let dir = self.dir.join(subject.kind.name());
        fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        let origin_port = if mode == Mode::Upload { self.sink_port } else { self.origin_port };
        let steady = self.steady;
        let site =
            Site { mode, routes, port, admin_port, origin_port, steady, dir: &dir, certificates: self.dir };
        // All that is in it is of this measurement.
        match fs::remove_file(subject.access_log(&site)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).context("remove an access log");
            }
            _ => {}
        }

        let mut server = Server::start(subject.kind.name(), subject.command(&site)?, &dir)?;
        let measured = measure(&mut server, &site);
        let measured = server.explain(measured)?;
        server.stop()?;
        Ok(measured)
    }

    fn measure_running(&self, subject: &Subject, server: &mut Server, site: &Site<'_>) -> Result<Sample> {
        if site.mode == Mode::H2 || site.mode.has_tls() {
            probe::wait_until_listening(server, site.port)?;
        } else {
            probe::wait_until_answering(server, site.port)?;
            probe::verify_paths(site.port, site.mode)?;
        }
        if site.mode == Mode::Work {
            probe::verify_work(site.port)?;
        }
        let warm_up = self.load.run(site, self.seconds.warm_up).context("warm-up")?;

        let family = usage::family(server.pid())?;
        let before = usage::cpu_seconds(&family)?;
        let load = self.load.run(site, self.seconds.measured)?;
        let cpu_seconds = usage::cpu_seconds(&family)? - before;
        let peak_rss_mib = usage::peak_rss_mib(&family)?;

        server.ensure_running()?;
        if site.mode == Mode::Work {
            ensure_logged(&subject.access_log(site), warm_up.requests + load.requests)?;
        }
        ensure!(usage::family(server.pid())? == family, "a process of the subject came or went under load");
        Ok(Sample {
            cpu_seconds_per_100k: cpu_seconds * 100_000.0 / load.requests as f64,
            requests_per_second: load.requests as f64 / load.seconds,
            p50_ms: load.p50_ms,
            p99_ms: load.p99_ms,
            peak_rss_mib,
        })
    }
}

/// A proxy that drops lines does less.
fn ensure_logged(log: &Path, requests: u64) -> Result<()> {
    let started = Instant::now();
    loop {
        let lines = lines(log).with_context(|| format!("read {}", log.display()))?;
        if lines * 100 >= requests * LOGGED_PERCENT {
            return Ok(());
        }
        ensure!(
            started.elapsed() < LOGGED_WITHIN,
            "{requests} requests, and {lines} lines in the access log"
        );
        process::pause()?;
    }
}

fn lines(log: &Path) -> std::io::Result<u64> {
    let mut file = fs::File::open(log)?;
    let (mut buffer, mut lines) = (vec![0; 1 << 20], 0);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(lines),
            read => lines += buffer[..read].iter().filter(|byte| **byte == b'\n').count() as u64,
        }
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.2} CPU s per 100k, {:.0} requests/s, p50 {:.2} ms, p99 {:.2} ms, {:.0} MiB",
            self.cpu_seconds_per_100k, self.requests_per_second, self.p50_ms, self.p99_ms, self.peak_rss_mib
        )
    }
}
