//! The proxies compared. Each module says how its proxy is had, and writes its configuration for each mode.

pub mod envoy;
pub mod haproxy;
pub mod intertie;
pub mod nginx;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail};
use intertie_bench::product;

use crate::args::Args;
use crate::mode::Mode;

/// Workers (processes or threads) of every subject.
pub const WORKERS: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Intertie,
    Nginx,
    Haproxy,
    Envoy,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::Intertie, Self::Nginx, Self::Haproxy, Self::Envoy];

    pub fn name(self) -> &'static str {
        match self {
            Self::Intertie => "intertie",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Kind {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        match Self::ALL.into_iter().find(|kind| kind.name() == name) {
            Some(kind) => Ok(kind),
            None => bail!("unknown subject {name:?}"),
        }
    }
}

/// A proxy that is here and can be started.
#[derive(Debug)]
pub struct Subject {
    pub kind: Kind,
    pub binary: PathBuf,
    pub version: String,
}

impl Subject {
    /// Finds, installs or builds it.
    pub fn prepare(kind: Kind, args: &Args) -> Result<Self> {
        let (binary, version) = match kind {
            Kind::Intertie => product::prepare(args.build),
            Kind::Nginx => nginx::prepare(),
            Kind::Haproxy => haproxy::prepare(),
            Kind::Envoy => envoy::prepare(),
        }
        .with_context(|| format!("{kind} can not be had (--only leaves it out)"))?;
        Ok(Self { kind, binary, version })
    }

    /// Where each request is told, in [`Mode::Work`].
    pub fn access_log(&self, site: &Site<'_>) -> PathBuf {
        match self.kind {
            // To its standard output, since it opens no files.
            Kind::Haproxy => site.dir.join("haproxy.log"),
            _ => site.access_log(),
        }
    }

    /// Writes the configuration into the site's directory; the command returned runs the proxy in the foreground.
    pub fn command(&self, site: &Site<'_>) -> Result<Command> {
        let mut command = Command::new(&self.binary);
        match self.kind {
            Kind::Intertie => command.arg("up").arg(site.write("intertie.toml", &intertie::config(site))?),
            Kind::Nginx => {
                site.write("nginx.conf", &nginx::config(site))?;
                command.args(nginx::arguments(site.dir))
            }
            Kind::Haproxy => {
                let routes = site.write("routes.map", &haproxy::routes(site.routes))?;
                command.arg("-db").arg("-f").arg(site.write("haproxy.cfg", &haproxy::config(site, &routes))?)
            }
            Kind::Envoy => {
                let file = site.write("envoy.yaml", &envoy::config(site))?;
                command.args(envoy::arguments()).arg("--config-path").arg(file)
            }
        };
        Ok(command)
    }
}

/// Where one measurement takes place. All addresses are of 127.0.0.1.
#[derive(Debug)]
pub struct Site<'a> {
    pub mode: Mode,
    /// How many, in [`Mode::Work`].
    pub routes: usize,
    pub port: u16,
    pub admin_port: u16,
    pub origin_port: u16,
    /// Requests in a second, in [`Mode::Steady`]; as many as are answered while it is not known.
    pub steady: Option<usize>,
    /// Where its files go.
    pub dir: &'a Path,
    /// Where the [`certificate`](crate::certificate) is.
    pub certificates: &'a Path,
}

impl Site<'_> {
    /// Where each request is told, in [`Mode::Work`].
    fn access_log(&self) -> PathBuf {
        self.dir.join("access.log")
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.dir.join(name);
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mode::{ROUTES, route_prefix};

    /// Every subject has every route in its table, and no route where there should be none.
    #[test]
    fn work_has_all_routes_and_the_other_modes_have_none() {
        let last = route_prefix(ROUTES - 1);
        for mode in Mode::ALL {
            let site = Site {
                mode,
                routes: ROUTES,
                port: 1,
                admin_port: 2,
                origin_port: 3,
                steady: None,
                dir: Path::new(""),
                certificates: Path::new(""),
            };
            for config in [intertie::config(&site), nginx::config(&site), envoy::config(&site)] {
                assert_eq!(config.contains(&last), mode == Mode::Work, "{mode}: {config}");
            }
        }
        assert_eq!(haproxy::routes(ROUTES).lines().count(), ROUTES);
    }
}
