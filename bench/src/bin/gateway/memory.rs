//! What a subject keeps in memory: at rest, for routes, and for connections on which nothing happens.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use intertie_bench::usage;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::load::Idle;
use crate::measure::Bench;
use crate::mode::{Mode, ROUTES};
use crate::probe;
use crate::subjects::Subject;

pub const ROUTES_MANY: usize = 10_000;

/// Enough that what the first ones bring with them does not show.
const CONNECTIONS: usize = 2_000;

/// After this a subject is at rest: allocators give back what loading left behind, but not at once.
const REST: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, Copy)]
pub struct Footprint {
    pub idle_mib: f64,
    pub routes_mib: f64,
    pub connection_kb: f64,
    pub tls_connection_kb: f64,
}

impl Bench<'_> {
    pub fn footprint(&self, subject: &Subject) -> Result<Footprint> {
        allow_files()?;
        let at_rest = |mode, routes| {
            self.with_running(subject, mode, routes, |server, site| {
                probe::wait_until_answering(server, site.port)?;
                std::thread::sleep(REST);
                usage::present_mib(&usage::family(server.pid())?)
            })
        };
        Ok(Footprint {
            idle_mib: at_rest(Mode::Plain, ROUTES)?,
            routes_mib: at_rest(Mode::Work, ROUTES_MANY)?,
            connection_kb: self.connection_kb(subject, Mode::Plain)?,
            tls_connection_kb: self.connection_kb(subject, Mode::Tls)?,
        })
    }

    /// Of a connection that had one request, and waits for the next.
    fn connection_kb(&self, subject: &Subject, mode: Mode) -> Result<f64> {
        self.with_running(subject, mode, ROUTES, |server, site| {
            probe::wait_until_listening(server, site.port)?;
            let client = Arc::new(Idle::client(site)?);
            // What a subject makes ready for its first connections is not theirs.
            let mut open = vec![Idle::open(site, &client)?];
            let family = usage::family(server.pid())?;
            let before = usage::present_mib(&family)?;
            for _ in 0..CONNECTIONS {
                open.push(Idle::open(site, &client)?);
            }
            let grown = usage::present_mib(&family)? - before;
            drop(open);
            Ok(grown * 1024.0 * 1.024 / CONNECTIONS as f64)
        })
    }
}

/// Lets this process, and the subjects that it starts, have as many files as the system lets them.
fn allow_files() -> Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).context("ask for the limit of open files")?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).context("raise the limit of open files")
}
