//! The change from one process to the next on the same listening sockets.
//!
//! The old process starts the new one with its sockets and one end of a channel. The new one says when it could
//! serve, waits for the word of the old one, and only then accepts; so the old one can give up at any moment
//! before without a connection lost. The old one leaves when the new one has said that it accepts. A new process
//! that ends, or a channel that closes, is a refusal.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};
use intertie_gateway::proxy::Role;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Child;
use tokio::time::Instant;

/// The name of the channel among the inherited descriptors.
pub(super) const CHANNEL: &str = "intertie-takeover";

/// The first descriptor that is handed over.
const FIRST: RawFd = 3;

/// The new process could serve.
const READY: u8 = b'R';

/// It shall.
const SERVE: u8 = b'S';

/// It accepts.
const ACCEPTS: u8 = b'A';

/// The old process's view of a takeover under way.
#[derive(Debug)]
pub(crate) struct Takeover {
    child: Child,
    channel: tokio::net::UnixStream,
    /// Whether the new process was told to serve.
    told: bool,
    deadline: Instant,
    limit: Duration,
}

/// How far the new process has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It could serve, and waits for the word.
    Ready,
    /// It accepts, and is on its own from here.
    Accepts,
}

/// Why the new process does not serve. The old one goes on.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It ended; its own messages say why.
    Ended(ExitStatus),
    /// It was not ready or did not accept in time, and was killed.
    TimedOut(Duration),
    /// It could not be asked.
    Io(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(status) => write!(f, "the new process ended with {status}"),
            Self::TimedOut(limit) => {
                let limit = intertie_core::quantity::format_duration(*limit);
                write!(f, "the new process was not ready within takeover_timeout, {limit}")
            }
            Self::Io(error) => write!(f, "the new process can not be asked: {error}"),
        }
    }
}

impl Takeover {
    /// Starts the binary that now stands where this process's was started from, with the same arguments.
    ///
    /// # Errors
    /// It can not be started.
    pub(crate) fn start(sockets: Vec<(Role, TcpListener)>, limit: Duration) -> io::Result<Self> {
        let (own, other) = UnixStream::pair()?;
        own.set_nonblocking(true)?;
        let channel = tokio::net::UnixStream::from_std(own)?;
        let names: Vec<_> = sockets.iter().map(|(role, _)| role.name()).chain([CHANNEL]).collect();
        let handed_over: Vec<OwnedFd> =
            sockets.into_iter().map(|(_, socket)| socket.into()).chain([other.into()]).collect();
        let mut arguments = std::env::args_os();
        // Not `current_exe`: behind a symbolic link that now leads elsewhere, it is still the old binary.
        let binary = arguments.next().ok_or(io::ErrorKind::NotFound)?;
        let mut command = Command::new(binary);
        command
            .args(arguments)
            .env("LISTEN_FDS", names.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"))
            // Both would have to name a process that has no number yet; without them they mean any.
            .env_remove("LISTEN_PID")
            .env_remove("WATCHDOG_PID");
        // The pipe through which `Command` learns that the binary can not be run gets none of these numbers:
        // the lowest that are free go to the descriptors in `handed_over`, which are as many and came first.
        let mappings = (FIRST..).zip(handed_over);
        command
            .fd_mappings(mappings.map(|(child_fd, parent_fd)| FdMapping { parent_fd, child_fd }).collect())
            .map_err(io::Error::other)?;
        let child = tokio::process::Command::from(command).spawn()?;
        Ok(Self { child, channel, told: false, deadline: Instant::now() + limit, limit })
    }

    /// The new process.
    pub(crate) fn process(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until the new process could serve; once it was told to, until it does. Cancelled, it can be asked
    /// again.
    ///
    /// # Errors
    /// It did not, and is no more.
    pub(crate) async fn progress(&mut self) -> Result<Progress, Failure> {
        let said = tokio::time::timeout_at(self.deadline, async {
            match self.channel.read_u8().await {
                Ok(READY) if !self.told => Ok(Progress::Ready),
                Ok(ACCEPTS) if self.told => Ok(Progress::Accepts),
                // The end of the channel is that of the process.
                Ok(_) | Err(_) => match self.child.wait().await {
                    Ok(status) => Err(Failure::Ended(status)),
                    Err(error) => Err(Failure::Io(error)),
                },
            }
        });
        match said.await {
            Ok(said) => said,
            Err(_) => {
                let _ = self.child.kill().await;
                Err(Failure::TimedOut(self.limit))
            }
        }
    }

    /// Ends the new process.
    pub(crate) async fn give_up(mut self) {
        // It may have ended by itself, which is as good.
        let _ = self.child.kill().await;
    }

    /// Tells the new process to serve.
    ///
    /// # Errors
    /// It is gone.
    pub(crate) async fn let_serve(&mut self) -> Result<(), Failure> {
        self.told = true;
        if let Err(error) = self.channel.write_u8(SERVE).await {
            let _ = self.child.kill().await;
            return Err(Failure::Io(error));
        }
        Ok(())
    }
}

/// The new process's end of the channel.
#[derive(Debug)]
pub(crate) struct Successor(UnixStream);

impl Successor {
    pub(super) fn new(channel: UnixListener) -> Self {
        Self(UnixStream::from(OwnedFd::from(channel)))
    }

    /// Says that this process could serve, and blocks until it shall.
    ///
    /// # Errors
    /// The process before gave up, or is gone.
    pub(crate) fn take_over(&mut self) -> io::Result<()> {
        self.0.write_all(&[READY])?;
        let mut word = [0];
        self.0.read_exact(&mut word)?;
        if word == [SERVE] { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
    }

    /// Says that this process accepts, and lets the one before leave.
    pub(crate) fn accepts(mut self) {
        // One that is gone has left already.
        let _ = self.0.write_all(&[ACCEPTS]);
    }
}
