//! The server under test: its process, its file, and what it says of itself.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::identity::Identity;
use crate::{cargo, root};

const READY_WITHIN: Duration = Duration::from_secs(20);

/// A running server; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Gateway {
    pub(super) address: SocketAddr,
    /// Where clients come with TLS.
    pub(super) secure: SocketAddr,
    admin: SocketAddr,
    child: Child,
    folder: PathBuf,
}

/// The binary as it is shipped, unless another one is named.
pub(super) fn binary(named: Option<&Path>) -> Result<PathBuf> {
    if let Some(named) = named {
        return Ok(named.to_owned());
    }
    let mut command = cargo();
    command.args(["build", "--profile", "dist", "--package", "intertie", "--target-dir", "target"]);
    crate::run(command)?;
    Ok(root().join("target/dist/intertie"))
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?.local_addr()?)
}

impl Gateway {
    /// Starts it as `identity` before the traffic of a file, which finds that identity as `server.crt`.
    pub(super) fn start(binary: &Path, identity: &Identity, traffic: &str) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("intertie-endurance-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let (address, secure, admin) = (free_address()?, free_address()?, free_address()?);
        fs::write(folder.join("server.crt"), identity.chain())?;
        fs::write(folder.join("server.key"), identity.key())?;
        let file = folder.join("intertie.toml");
        fs::write(&file, text(address, secure, admin, traffic))?;
        let log = fs::File::create(folder.join("events.log"))?;
        let mut child = Command::new(binary)
            .arg("up")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("failed to start {}", binary.display()))?;
        let started = Instant::now();
        // Only then it has all the threads and sockets that it begins with.
        while !fs::read_to_string(folder.join("events.log"))?.contains(" server_started ") {
            if let Some(status) = child.try_wait()? {
                bail!("the server ended with {status}: {}", fs::read_to_string(folder.join("events.log"))?);
            }
            ensure!(started.elapsed() < READY_WITHIN, "the server is not ready within {READY_WITHIN:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Self { address, secure, admin, child, folder })
    }

    /// Writes another traffic part and has it loaded.
    pub(super) fn reload(&self, traffic: &str) -> Result<()> {
        let text = text(self.address, self.secure, self.admin, traffic);
        fs::write(self.folder.join("intertie.toml"), text)?;
        let sent = Command::new("kill").args(["-HUP", &self.child.id().to_string()]).status()?;
        ensure!(sent.success(), "the server has gone");
        Ok(())
    }

    /// How often the event log has `event`.
    pub(super) fn events(&self, event: &str) -> Result<usize> {
        Ok(fs::read_to_string(self.folder.join("events.log"))?.matches(event).count())
    }

    /// The sum of all series of a metric.
    pub(super) fn metric(&self, name: &str) -> Result<f64> {
        let mut stream = TcpStream::connect(self.admin)?;
        write!(stream, "GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let series = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix([' ', '{']));
        let values: Vec<f64> = series.filter_map(|rest| rest.rsplit(' ').next()?.parse().ok()).collect();
        ensure!(!values.is_empty(), "there is no metric `{name}`");
        Ok(values.iter().sum())
    }

    /// Memory that is resident now, in KiB.
    pub(super) fn resident_kib(&self) -> Result<u64> {
        self.status("VmRSS:")
    }

    /// Threads that it has.
    pub(super) fn threads(&self) -> Result<u64> {
        self.status("Threads:")
    }

    /// Descriptors that it has open.
    pub(super) fn descriptors(&self) -> Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.child.id())).context("the server has gone")?.count())
    }

    fn status(&self, key: &str) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        number(&status.context("the server has gone")?, key).with_context(|| format!("no {key} in /proc"))
    }
}

fn text(address: SocketAddr, secure: SocketAddr, admin: SocketAddr, traffic: &str) -> String {
    format!(
        "[server]\nlisten = [\"{address}\"]\nadmin = \"{admin}\"\nthreads = 2\naccess_log = \"off\"\n\n\
         [server.client_limits]\nidle_timeout = \"5s\"\nheader_timeout = \"5s\"\n\n\
         [tls]\nlisten = [\"{secure}\"]\n\n\
         [certificate.own]\nchain = \"server.crt\"\nkey = \"server.key\"\n\n{traffic}"
    )
}

fn number(status: &str, key: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(key))?.split_whitespace().next()?.parse().ok()
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_a_process_are_read() {
        let status = "Name:\tx\nVmRSS:\t   1234 kB\nThreads:\t5\n";
        assert_eq!((number(status, "VmRSS:"), number(status, "Threads:")), (Some(1234), Some(5)));
        assert_eq!(number(status, "VmHWM:"), None);
    }
}
