//! Starting, watching and stopping processes. Nothing outlives the run, however it ends short of SIGKILL.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::usage;

const POLL: Duration = Duration::from_millis(10);
const STOP_WAIT: Duration = Duration::from_secs(10);
const LOG_TAIL_BYTES: usize = 2_000;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From here on SIGINT, SIGTERM and SIGHUP make every wait of this program fail, which unwinds it in order.
pub fn stop_on_signals() -> Result<()> {
    ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::SeqCst)).context("set the signal handler")
}

/// Sleeps for one poll interval.
pub fn pause() -> Result<()> {
    check_interrupted()?;
    sleep(POLL);
    check_interrupted()
}

fn check_interrupted() -> Result<()> {
    if INTERRUPTED.load(Ordering::SeqCst) {
        bail!("interrupted");
    }
    Ok(())
}

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub struct Server {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts `command` with its output in `<dir>/<name>.log`.
    pub fn start(name: &str, command: Command, dir: &Path) -> Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let child = spawn(command, &log).with_context(|| format!("start {name}"))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fails if it has exited.
    pub fn ensure_running(&mut self) -> Result<()> {
        match self.child.try_wait().with_context(|| format!("wait for {}", self.name))? {
            None => Ok(()),
            Some(status) => bail!("{} has exited ({status})", self.name),
        }
    }

    /// Adds to an error the end of what the server has printed, which often is the reason.
    pub fn explain<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| match tail(&self.log) {
            tail if tail.is_empty() => error,
            tail => anyhow!("{error:#}\n{} printed at the end:\n{tail}", self.name),
        })
    }

    /// Asks it to stop and waits.
    ///
    /// # Errors
    ///
    /// When it does not heed SIGTERM; it is killed then.
    pub fn stop(mut self) -> Result<()> {
        if terminate(&mut self.child) {
            return Ok(());
        }
        Err(anyhow!("{} ignored SIGTERM for {} s and was killed", self.name, STOP_WAIT.as_secs()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        terminate(&mut self.child);
    }
}

/// Runs `command` to its end and returns what it printed, standard error included.
///
/// # Errors
///
/// When it fails or takes longer than `limit`.
pub fn run(name: &str, command: Command, dir: &Path, limit: Duration) -> Result<String> {
    let log = dir.join(format!("{name}.log"));
    let mut child = KillOnDrop(spawn(command, &log).with_context(|| format!("start {name}"))?);
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.0.try_wait().with_context(|| format!("wait for {name}"))? {
            break status;
        }
        if started.elapsed() > limit {
            bail!("{name} did not end within {} s:\n{}", limit.as_secs(), tail(&log));
        }
        pause()?;
    };
    check_interrupted()?;
    if !status.success() {
        bail!("{name} failed ({status}):\n{}", tail(&log));
    }
    std::fs::read_to_string(&log).with_context(|| format!("read the output of {name}"))
}

struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        // Both fail only when it has already been waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A process group of its own keeps a terminal's ctrl-c from the children: we stop them, in our order.
fn spawn(mut command: Command, log: &Path) -> Result<Child> {
    let stdout = File::create(log)?;
    let stderr = stdout.try_clone()?;
    Ok(command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).process_group(0).spawn()?)
}

/// Whether it ended without being killed. Does nothing for a child that has already been waited for.
fn terminate(child: &mut Child) -> bool {
    if let Ok(Some(_)) = child.try_wait() {
        return true;
    }
    // Listed first: the children of a killed master would be nobody's.
    let family = usage::family(child.id()).unwrap_or_default();
    signal(child.id(), Signal::SIGTERM);
    let started = Instant::now();
    while started.elapsed() < STOP_WAIT {
        if let Ok(Some(_)) = child.try_wait() {
            return true;
        }
        sleep(POLL);
    }
    for pid in family {
        signal(pid, Signal::SIGKILL);
    }
    let _ = child.wait();
    false
}

/// A process that is gone needs no signal, so a failure is none.
fn signal(pid: u32, signal: Signal) {
    if let Ok(pid) = i32::try_from(pid) {
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

fn tail(log: &Path) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(LOG_TAIL_BYTES)..]).into_owned()
}
