//! Sockets that a service manager opened.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};

use super::threads::listening as sockets;
use super::{data_threads, file, takeover};
use crate::harness::{Client, OWN, Origin, PATIENCE, Server, answer};

/// Starts what follows as a service manager does, with sockets for the process that it becomes.
const AS_MANAGER: &str = "LISTEN_PID=$$ exec \"$0\" \"$@\"";

/// A command whose process is handed `descriptors`.
fn handed(descriptors: Vec<OwnedFd>, names: &str, script: &str) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", script, env!("CARGO_BIN_EXE_intertie")])
        .env("LISTEN_FDS", descriptors.len().to_string())
        .env("LISTEN_FDNAMES", names);
    let mappings = (3..).zip(descriptors).map(|(child_fd, parent_fd)| FdMapping { parent_fd, child_fd });
    command.fd_mappings(mappings.collect()).expect("different descriptors");
    command
}

fn listening(address: SocketAddr) -> String {
    OWN.replace("listen = [\"127.0.0.1:0\"]", &format!("listen = [\"{address}\"]"))
}

fn free() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

#[tokio::test]
async fn a_socket_of_the_manager_is_served_and_who_waits_there_already_too() {
    let origin = Origin::start(|_| async { answer(200, &[], "ok") }).await;
    let (listener, address) = free();
    let mut early = TcpStream::connect(address).expect("queued");
    early.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").expect("written");
    let text = file(&origin, "threads = 3").replace(OWN, &listening(address));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start_by(folder, handed(vec![listener.into()], "web", AS_MANAGER), &text);
    assert_eq!(server.address, address);
    let shared = server.wait_for("listener_shared");
    assert!(shared.contains("sockets=1 threads=3") && shared.contains("ReusePort=yes"), "{shared}");
    let said = std::io::read_to_string(&mut early).expect("an answer");
    assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
    for _ in 0..20 {
        assert_eq!(Client::new(address).get("/").await.status, 200);
    }
    // The next process gets it from this one, and what the manager said does not reach it.
    let process = takeover(&server);
    assert_eq!(Client::new(address).get("/").await.status, 200);
    assert_eq!(server.count(&format!("listen={address}")), 2);
    super::end(process).await;
}

/// Runs `intertie up` on a file whose own address is `address`; what it says when it ends.
fn refused(address: SocketAddr, mut command: Command, origin: &Origin) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("intertie.toml");
    std::fs::write(&path, file(origin, "").replace(OWN, &listening(address))).expect("written");
    let output = command
        .arg("up")
        .arg(&path)
        .arg("--until-stdin-closes")
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(3));
    String::from_utf8(output.stderr).expect("UTF-8")
}

#[tokio::test]
async fn what_is_handed_over_and_not_in_the_file_is_an_error() {
    let origin = Origin::statuses(&[200]).await;
    let ((listener, configured), (other, unknown)) = (free(), free());
    let command = handed(vec![listener.into(), other.into()], "web:other", AS_MANAGER);
    let said = refused(configured, command, &origin);
    let expected = format!(
        "error: the service manager listens on {unknown}, which the file does not; the file names {configured}, \
         127.0.0.1:0\n"
    );
    assert!(said.contains(&expected), "{said}");
}

#[tokio::test]
async fn what_can_not_be_listened_on_is_named() {
    let origin = Origin::statuses(&[200]).await;
    let (listener, address) = free();
    let nothing = std::fs::File::open("/dev/null").expect("it is there");
    let said = refused(address, handed(vec![nothing.into()], "void", AS_MANAGER), &origin);
    assert!(said.starts_with("error: descriptor 3 of LISTEN_FDS, named `void`: "), "{said}");
    let connection = TcpStream::connect(address).expect("connects");
    let said = refused(address, handed(vec![connection.into()], "web", AS_MANAGER), &origin);
    assert!(
        said.contains("named `web`: the socket is not a listening one") && said.contains("Accept"),
        "{said}"
    );
    drop(listener);
}

#[tokio::test]
async fn descriptors_for_another_process_are_left_alone() {
    let origin = Origin::statuses(&[200]).await;
    let (listener, address) = free();
    let another = "LISTEN_PID=1 exec \"$0\" \"$@\"";
    let said = refused(address, handed(vec![listener.into()], "web", another), &origin);
    assert!(
        said.contains(&format!("error: failed to listen on {address}: Address already in use")),
        "{said}"
    );
}

/// The process that comes after this test, and this test's end of the channel to it.
fn successor(listener: &TcpListener, file: &std::path::Path) -> (std::process::Child, UnixStream) {
    let (own, other) = UnixStream::pair().expect("a channel");
    own.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let socket = listener.try_clone().expect("a descriptor");
    let mut command =
        handed(vec![socket.into(), other.into()], "listen:intertie-takeover", "exec \"$0\" \"$@\"");
    command.arg("up").arg(file).arg("--until-stdin-closes");
    let child = command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    drop(command);
    (child, own)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_after_another_waits_for_its_word() {
    let origin = Origin::start(|_| async { answer(200, &[], "ok") }).await;
    let (listener, address) = free();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("intertie.toml");
    std::fs::write(&path, file(&origin, "").replace(OWN, &listening(address))).expect("written");

    let (mut child, mut channel) = successor(&listener, &path);
    let mut word = [0];
    channel.read_exact(&mut word).expect("it could serve");
    assert_eq!(&word, b"R");
    listener.set_nonblocking(true).expect("a socket");
    let queued: Vec<_> = (0..50).map(|_| TcpStream::connect(address).expect("queued")).collect();
    // All the time that it takes to accept, for a process that does so too early.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let accepted = std::iter::from_fn(|| listener.accept().ok()).count();
    assert_eq!(accepted, queued.len(), "all wait for who serves");
    channel.write_all(b"S").expect("told");
    channel.read_exact(&mut word).expect("it accepts");
    assert_eq!(&word, b"A");
    assert_eq!(Client::new(address).get("/").await.text(), "ok");
    drop(child.stdin.take());
    assert!(child.wait().expect("it ends").success());

    // The process before goes on, or is gone.
    let (mut child, mut channel) = successor(&listener, &path);
    channel.read_exact(&mut word).expect("it could serve");
    drop(channel);
    assert_eq!(child.wait().expect("it ends").code(), Some(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_after_another_binds_more_sockets_only_once_it_serves() {
    let origin = Origin::start(|_| async { answer(200, &[], "ok") }).await;
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.set_reuseport(true).expect("a socket");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let listener = socket.listen(64).and_then(tokio::net::TcpListener::into_std).expect("it listens");
    let address = listener.local_addr().expect("bound");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("intertie.toml");
    std::fs::write(&path, file(&origin, "threads = 3").replace(OWN, &listening(address))).expect("written");

    let (mut child, mut channel) = successor(&listener, &path);
    let mut word = [0];
    channel.read_exact(&mut word).expect("it could serve");
    assert_eq!((sockets(address), data_threads(child.id())), (1, 3));
    channel.write_all(b"S").expect("told");
    channel.read_exact(&mut word).expect("it accepts");
    assert_eq!((sockets(address), data_threads(child.id())), (3, 3));
    for _ in 0..20 {
        assert_eq!(Client::new(address).get("/").await.text(), "ok");
    }
    drop(child.stdin.take());
    assert!(child.wait().expect("it ends").success());
}
