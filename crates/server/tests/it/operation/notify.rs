//! What the service manager hears.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use super::{binary, end, file, successor};
use crate::harness::{Origin, PATIENCE, Server, signal};

/// The manager's end.
struct Manager(UnixDatagram);

impl Manager {
    fn at(address: &SocketAddr) -> Self {
        let socket = UnixDatagram::bind_addr(address).expect("a free name");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        Self(socket)
    }

    /// The assignments of the next message that is not the watchdog's.
    fn hears(&self) -> Vec<String> {
        loop {
            let message = self.message();
            if message != ["WATCHDOG=1"] {
                return message;
            }
        }
    }

    fn message(&self) -> Vec<String> {
        let mut message = [0; 4096];
        let length = self.0.recv(&mut message).expect("a message");
        let text = std::str::from_utf8(&message[..length]).expect("UTF-8");
        text.lines().map(str::to_owned).collect()
    }
}

fn number(assignment: &str, name: &str) -> u64 {
    assignment
        .strip_prefix(name)
        .and_then(|value| value.parse().ok())
        .unwrap_or_else(|| panic!("{assignment}"))
}

#[tokio::test]
async fn the_manager_follows_a_server_from_its_start_over_a_takeover_to_its_end() {
    let origin = Origin::statuses(&[200]).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("notify");
    let manager = Manager::at(&SocketAddr::from_pathname(&path).expect("a path"));
    let mut command = binary();
    command.env("NOTIFY_SOCKET", &path);
    let server = Server::start_by(folder, command, &file(&origin, "threads = 2"));
    let ready = ["READY=1".to_owned(), format!("STATUS=serving {} with 2 data threads", server.address)];
    assert_eq!(manager.hears(), ready);

    server.signal("HUP");
    let reloading = manager.hears();
    assert_eq!((reloading.len(), reloading[0].as_str()), (2, "RELOADING=1"));
    let uptime = std::fs::read_to_string("/proc/uptime").expect("Linux");
    let uptime: f64 = uptime.split(' ').next().expect("seconds").parse().expect("a number");
    let told = number(&reloading[1], "MONOTONIC_USEC=") as f64 / 1e6;
    assert!((told - uptime).abs() < PATIENCE.as_secs_f64(), "{told} and {uptime}");
    assert_eq!(manager.hears(), ready);

    server.signal("USR2");
    assert_eq!(manager.hears()[0], "RELOADING=1");
    let process = number(&manager.hears()[0], "MAINPID=");
    assert_eq!(manager.hears(), ready);
    assert_eq!(u64::from(successor(&server, 1)), process);
    let process = u32::try_from(process).expect("a process");
    signal(process, "TERM");
    assert_eq!(manager.hears()[0], "STOPPING=1", "and not by the process that only made room");
    crate::harness::until(async || !super::is_running(process), "the last process ends").await;
}

#[tokio::test]
async fn a_failed_takeover_leaves_the_manager_with_the_old_process() {
    let origin = Origin::statuses(&[200]).await;
    let name = format!("intertie-test-{}", std::process::id());
    let manager = Manager::at(&SocketAddr::from_abstract_name(&name).expect("a name"));
    let mut command = binary();
    command.env("NOTIFY_SOCKET", format!("@{name}"));
    let server =
        Server::start_by(tempfile::tempdir().expect("a temporary folder"), command, &file(&origin, ""));
    assert_eq!(manager.hears()[0], "READY=1");
    std::fs::write(&server.file, "[route").expect("written");
    server.signal("USR2");
    server.wait_for("takeover_refused");
    // The new file is read as well, now or soon; what counts is how it ends.
    let mut heard = Vec::new();
    while heard.last().is_none_or(|message: &Vec<String>| message[0] != "READY=1") {
        heard.push(manager.hears());
    }
    let other: Vec<_> = heard.iter().flatten().filter(|line| line.starts_with("MAINPID=")).collect();
    assert!(other.iter().all(|line| **line == format!("MAINPID={}", server.process())), "{heard:?}");
}

#[tokio::test]
async fn a_watchdog_is_fed_by_the_process_that_serves() {
    let origin = Origin::statuses(&[200]).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("notify");
    let manager = Manager::at(&SocketAddr::from_pathname(&path).expect("a path"));
    let mut command = std::process::Command::new("sh");
    // The manager names the process that it started.
    command.args(["-c", "WATCHDOG_PID=$$ exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_intertie")]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "100000");
    let server = Server::start_by(folder, command, &file(&origin, ""));
    assert_eq!(manager.hears()[0], "READY=1");
    for _ in 0..3 {
        assert_eq!(manager.message(), ["WATCHDOG=1"]);
    }
    server.signal("USR2");
    let process = successor(&server, 1);
    crate::harness::until(async || !super::is_running(server.process()), "the first process is gone").await;
    // Whatever it said is older than this.
    manager.0.set_read_timeout(Some(Duration::from_millis(1))).expect("a socket");
    while manager.0.recv(&mut [0; 4096]).is_ok() {}
    manager.0.set_read_timeout(Some(PATIENCE)).expect("a socket");
    for _ in 0..3 {
        assert_eq!(manager.message(), ["WATCHDOG=1"]);
    }
    end(process).await;
}

#[tokio::test]
async fn a_manager_that_can_not_be_reached_is_an_error() {
    let origin = Origin::statuses(&[200]).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("intertie.toml");
    std::fs::write(&path, file(&origin, "")).expect("written");
    for (socket, words) in [("/nowhere/notify", "No such file"), ("vsock:2:1", "neither a path")] {
        let output = binary().arg("up").arg(&path).env("NOTIFY_SOCKET", socket).output().expect("it runs");
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains("error: failed to reach NOTIFY_SOCKET: ") && said.contains(words), "{said}");
    }
}
