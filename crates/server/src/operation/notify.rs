//! What the service manager is told, by the protocol of `sd_notify(3)`.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// What the server does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Serves.
    Ready,
    /// Takes over another file, or starts its successor; [`Self::Ready`] follows.
    Reloading,
    /// Drains, and then ends.
    Stopping,
    /// Is alive.
    Watchdog,
    /// Makes room: this process is the service from now on.
    MainProcess(u32),
}

/// The way to the service manager, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Notify {
    socket: Option<UnixDatagram>,
    watchdog_every: Option<Duration>,
}

impl Notify {
    /// Connects to the socket that the environment names.
    ///
    /// # Errors
    /// There should be one and it can not be reached.
    pub(crate) fn from_environment() -> io::Result<Self> {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Ok(Self::default());
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address(&name)?)?;
        // A manager that does not read must not stop the server.
        socket.set_nonblocking(true)?;
        let variable = |name| std::env::var(name).ok();
        let watchdog_every = watchdog(
            variable("WATCHDOG_USEC").as_deref(),
            variable("WATCHDOG_PID").as_deref(),
            std::process::id(),
        );
        Ok(Self { socket: Some(socket), watchdog_every })
    }

    /// How often [`State::Watchdog`] is to be told, if at all: twice in the time after which the manager gives up.
    pub(crate) fn watchdog_every(&self) -> Option<Duration> {
        self.watchdog_every
    }

    /// Tells the state, and with it a line for people, unless that is empty. What the manager does not take is
    /// lost: nothing that the server does depends on it.
    pub(crate) fn tell(&self, state: State, status: &str) {
        if let Some(socket) = &self.socket {
            let _ = socket.send(message(state, status, monotonic_microseconds()).as_bytes());
        }
    }
}

fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => Err(io::Error::new(io::ErrorKind::Unsupported, "neither a path nor an abstract name")),
    }
}

fn message(state: State, status: &str, now_microseconds: i64) -> String {
    let mut message = match state {
        State::Ready => "READY=1".to_owned(),
        State::Reloading => format!("RELOADING=1\nMONOTONIC_USEC={now_microseconds}"),
        State::Stopping => "STOPPING=1".to_owned(),
        State::Watchdog => "WATCHDOG=1".to_owned(),
        State::MainProcess(id) => format!("MAINPID={id}"),
    };
    if !status.is_empty() {
        // A line of its own would be another assignment.
        message.push_str("\nSTATUS=");
        message.push_str(&status.replace('\n', " "));
    }
    message
}

/// `WATCHDOG_PID` names the process that is watched; without it, it is whoever reads this.
fn watchdog(microseconds: Option<&str>, watched: Option<&str>, own: u32) -> Option<Duration> {
    if watched.is_some_and(|watched| watched.parse() != Ok(own)) {
        return None;
    }
    let limit = Duration::from_micros(microseconds?.parse().ok()?);
    (!limit.is_zero()).then(|| limit / 2)
}

/// The manager compares this with its own clock to know what came before its request.
fn monotonic_microseconds() -> i64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC);
    now.map_or(0, |now| now.tv_sec() * 1_000_000 + now.tv_nsec() / 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_assignments_on_lines_of_their_own() {
        for (state, status, expected) in [
            (State::Ready, "serving", "READY=1\nSTATUS=serving"),
            (State::Reloading, "", "RELOADING=1\nMONOTONIC_USEC=7"),
            (State::Stopping, "draining\nREADY=1", "STOPPING=1\nSTATUS=draining READY=1"),
            (State::Watchdog, "", "WATCHDOG=1"),
            (State::MainProcess(12), "", "MAINPID=12"),
        ] {
            assert_eq!(message(state, status, 7), expected);
        }
    }

    #[test]
    fn sockets_have_a_path_or_an_abstract_name() {
        assert_eq!(address(OsStr::new("@a/b")).expect("abstract").as_abstract_name(), Some(&b"a/b"[..]));
        let path = address(OsStr::new("/run/notify")).expect("a path");
        assert_eq!(path.as_pathname(), Some(std::path::Path::new("/run/notify")));
        for wrong in ["vsock:2:1", "run/notify"] {
            assert!(address(OsStr::new(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_watchdog_is_for_the_process_that_it_names() {
        let every = Some(Duration::from_secs(5));
        for (microseconds, watched, expected) in [
            (Some("10000000"), Some("42"), every),
            (Some("10000000"), None, every),
            (Some("10000000"), Some("43"), None),
            (Some("0"), None, None),
            (Some("often"), None, None),
            (None, Some("42"), None),
        ] {
            assert_eq!(watchdog(microseconds, watched, 42), expected, "{microseconds:?} {watched:?}");
        }
    }
}
