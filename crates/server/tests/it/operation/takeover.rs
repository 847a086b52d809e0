//! A new process in the place of an old one.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::threads::listening;
use super::{binary, end, file, is_running, processes, takeover};
use crate::harness::{Client, OWN, Origin, Reply, Server, answer, full, signal, until};
use crate::tls::Authority;

async fn started(keys: &str) -> (Origin, Server) {
    let origin = Origin::start(|_| async { answer(200, &[], "ok") }).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start_by(folder, binary(), &file(&origin, keys));
    (origin, server)
}

#[tokio::test]
async fn every_listener_is_handed_over() {
    let origin = Origin::statuses(&[200]).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    Authority::new("clients").issue(folder.path(), "shop", &["shop.example"]);
    let tls = "[tls]\nlisten = [\"127.0.0.1:0\"]\nredirect = [\"127.0.0.1:0\"]\n\n\
               [certificate.shop]\nchain = \"shop.crt\"\nkey = \"shop.key\"\n";
    let text = file(&origin, &format!("threads = 2\n{tls}"));
    let server = Server::start_by(folder, binary(), &text);
    let process = takeover(&server);
    let fields = |line: String| line.split_once("server_started ").expect("fields").1.to_owned();
    let (before, after) = (server.wait_for("server_started"), server.wait_for_nth("server_started", 2));
    assert_eq!(fields(before), fields(after));
    assert_eq!(server.count("listener_released"), 0);
    assert_eq!(Client::new(server.redirect).get("/").await.status, 308);
    assert_eq!(server.admin("/health/ready").await.0, 200);
    until(async || !is_running(server.process()), "the old process ends").await;
    assert_eq!(server.admin("/health/ready").await.0, 200);
    end(process).await;
}

#[tokio::test]
async fn the_old_process_ends_what_it_began_and_its_connections_with_it() {
    let gate = Arc::new(Semaphore::new(0));
    let leave = Arc::clone(&gate);
    let origin = Origin::start(move |request| {
        let leave = Arc::clone(&leave);
        async move {
            if request.path == "/slow" {
                leave.acquire().await.expect("open").forget();
            }
            Reply::Answer(http::Response::new(full("ok")))
        }
    })
    .await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start_by(folder, binary(), &file(&origin, ""));
    let client = Client::new(server.address);
    let mut idle = client.connect().await.expect("connects");
    idle.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("written");
    let mut said = [0; 12];
    idle.read_exact(&mut said).await.expect("an answer");
    let slow = tokio::spawn(async move { client.get("/slow").await });
    until(async || origin.received().len() == 2, "the requests arrive").await;

    let process = takeover(&server);
    assert!(is_running(server.process()), "it has a request to answer");
    assert!(server.wait_for("drain_began").contains("a new process serves"));
    // The connection was idle when its process was told to leave: no request that comes now is lost.
    idle.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("written");
    let mut rest = String::new();
    idle.read_to_string(&mut rest).await.expect("an orderly end");
    let (_, last) = rest.split_once("HTTP/1.1 200 ").expect("another answer");
    assert!(last.contains("\r\nconnection: close\r\n") && last.ends_with("ok"), "{last}");
    gate.add_permits(1);
    assert_eq!(slow.await.expect("no panic").text(), "ok");
    until(async || !is_running(server.process()), "the old process ends").await;
    let stopped = server.wait_for("server_stopped");
    assert!(stopped.contains("connections_cut=0"), "{stopped}");
    end(process).await;
}

/// GET / on the first stream.
const HTTP2_REQUEST: &[u8] = b"\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01a";

async fn http2(server: &Server) -> TcpStream {
    let mut stream = Client::new(server.address).connect().await.expect("connects");
    let preface = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
    stream.write_all(&preface).await.expect("written");
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.expect("its settings");
    stream.read_exact(&mut vec![0; usize::from(head[2])]).await.expect("its settings");
    stream
}

/// The kinds of all frames up to the end of the connection. Pings are answered, as by any client.
async fn frames(mut stream: TcpStream) -> Vec<u8> {
    const PING: u8 = 6;
    let mut kinds = Vec::new();
    let mut head = [0; 9];
    while stream.read_exact(&mut head).await.is_ok() {
        let [a, b, c, kind, flags, ..] = head;
        let mut payload = vec![0; usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)];
        stream.read_exact(&mut payload).await.expect("a whole frame");
        if kind == PING && flags == 0 {
            head[4] = 1;
            stream.write_all(&[&head[..], &payload].concat()).await.expect("written");
        }
        kinds.push(kind);
    }
    kinds
}

#[tokio::test]
async fn http2_connections_of_the_old_process_get_a_goaway_once_they_had_a_request() {
    const HEADERS: u8 = 1;
    const GOAWAY: u8 = 7;
    let (origin, server) = started("").await;
    let (mut asked, mut silent) = (http2(&server).await, http2(&server).await);
    asked.write_all(HTTP2_REQUEST).await.expect("written");
    until(async || origin.received().len() == 1, "the request arrives").await;
    let process = takeover(&server);
    let kinds = frames(asked).await;
    assert!(kinds.contains(&HEADERS) && kinds.contains(&GOAWAY), "{kinds:?}");
    silent.write_all(HTTP2_REQUEST).await.expect("written");
    let kinds = frames(silent).await;
    assert!(kinds.contains(&HEADERS) && kinds.contains(&GOAWAY), "{kinds:?}");
    assert_eq!(origin.received().len(), 2);
    end(process).await;
}

#[tokio::test]
async fn addresses_follow_the_file() {
    let origin = Origin::start(|_| async { answer(200, &[], "ok") }).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let two = OWN.replace("[\"127.0.0.1:0\"]", "[\"127.0.0.1:0\", \"127.0.0.2:0\"]");
    let one = file(&origin, "");
    let text = one.replace(OWN, &two);
    // Two addresses, and the field that the harness reads holds one.
    let server = Server::start_by(folder, binary(), &one);
    std::fs::write(&server.file, &text).expect("written");
    let process = takeover(&server);
    let line = server.wait_for_nth("server_started", 2);
    let listen = line.split_once(" listen=").expect("addresses").1.split(' ').next().expect("addresses");
    let (first, second) = listen.split_once(',').expect("two of them");
    assert_eq!(first, server.address.to_string(), "it keeps the first");
    let second: std::net::SocketAddr = second.parse().expect("an address");
    assert_eq!(Client::new(second).get("/").await.status, 200);

    std::fs::write(&server.file, &one).expect("written");
    signal(process, "USR2");
    let last = super::successor(&server, 2);
    assert!(server.wait_for("listener_released").contains(&second.to_string()));
    until(async || !is_running(process), "the process before ends").await;
    assert!(TcpStream::connect(second).await.is_err(), "nobody listens there any more");
    assert_eq!(Client::new(server.address).get("/").await.status, 200);
    end(last).await;
}

#[tokio::test]
async fn a_wrong_file_keeps_the_old_process() {
    let (origin, server) = started("").await;
    let client = Client::new(server.address);
    for (number, wrong) in ["[route", "[server]\ntakeover_timeout = \"0s\"\n"].into_iter().enumerate() {
        std::fs::write(&server.file, wrong).expect("written");
        server.signal("USR2");
        let line = server.wait_for_nth("takeover_refused", number + 1);
        assert!(line.contains("the new process ended with exit status: 2"), "{line}");
        assert_eq!(client.get("/").await.status, 200);
    }
    // Its address is taken: by the old process, and not from it.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = taken.local_addr().map(|address| (taken, address)).expect("bound");
    let elsewhere =
        file(&origin, "").replace("listen = [\"127.0.0.1:0\"]", &format!("listen = [\"{}\"]", taken.1));
    std::fs::write(&server.file, elsewhere).expect("written");
    server.signal("USR2");
    assert!(server.wait_for_nth("takeover_refused", 3).contains("exit status: 3"));
    assert_eq!(client.get("/").await.status, 200);
    // A good file can still come.
    std::fs::write(&server.file, file(&origin, "")).expect("written");
    end(takeover(&server)).await;
}

/// A server whose binary is a link in its folder.
async fn linked(keys: &str) -> (Origin, Server) {
    let origin = Origin::start(|_| async { answer(200, &[], "ok") }).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let link = folder.path().join("binary");
    symlink(env!("CARGO_BIN_EXE_intertie"), &link).expect("a link");
    let server = Server::start_by(folder, Command::new(link), &file(&origin, keys));
    (origin, server)
}

/// Puts a script in the place of the binary.
fn replace_binary(server: &Server, script: &str) {
    let (link, new) = (server.folder.path().join("binary"), server.folder.path().join("new"));
    std::fs::write(&new, script).expect("written");
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).expect("a file");
    std::fs::rename(new, link).expect("renamed");
}

fn started_by(script: &Path) -> Option<u32> {
    std::fs::read_to_string(script).ok()?.trim().parse().ok()
}

#[tokio::test]
async fn the_binary_is_the_one_that_stands_there_now() {
    let (_origin, server) = linked("").await;
    let note = server.folder.path().join("process");
    let script = format!("echo $$ > {}\nexec {} \"$@\"", note.display(), env!("CARGO_BIN_EXE_intertie"));
    replace_binary(&server, &format!("#!/bin/sh\n{script}\n"));
    let process = takeover(&server);
    assert_eq!(started_by(&note), Some(process));
    until(async || !is_running(server.process()), "the old process ends").await;
    assert_eq!(Client::new(server.address).get("/").await.status, 200);
    end(process).await;
    assert_eq!(processes(&server.file), 0);
}

#[tokio::test]
async fn a_binary_that_is_gone_or_can_not_run_is_named() {
    let (_origin, server) = linked("").await;
    std::fs::remove_file(server.folder.path().join("binary")).expect("removed");
    server.signal("USR2");
    let line = server.wait_for("takeover_refused");
    assert!(line.contains("can not be started: No such file"), "{line}");
    replace_binary(&server, "#!/nowhere\n");
    server.signal("USR2");
    assert!(server.wait_for_nth("takeover_refused", 2).contains("can not be started"));
    assert_eq!(Client::new(server.address).get("/").await.status, 200);
}

#[tokio::test]
async fn a_process_that_is_not_ready_in_time_is_killed() {
    let (_origin, server) = linked("takeover_timeout = \"300ms\"").await;
    let note = server.folder.path().join("process");
    replace_binary(&server, &format!("#!/bin/sh\necho $$ > {}\nexec sleep 1000\n", note.display()));
    server.signal("USR2");
    server.wait_for("takeover_began");
    server.signal("USR2");
    let lines = (server.wait_for_nth("takeover_refused", 1), server.wait_for_nth("takeover_refused", 2));
    assert!(lines.0.contains("another takeover is under way"), "{}", lines.0);
    assert!(lines.1.contains("not ready within takeover_timeout, 300ms"), "{}", lines.1);
    let process = started_by(&note).expect("it ran");
    until(async || !is_running(process), "it is killed").await;
    assert_eq!(Client::new(server.address).get("/").await.status, 200);
}

#[tokio::test]
async fn a_process_that_does_not_accept_is_no_successor() {
    let (_origin, server) = linked("takeover_timeout = \"1s\"").await;
    let note = server.folder.path().join("process");
    let told = "channel=$((LISTEN_FDS + 2)); printf R >&$channel; head -c 1 <&$channel > /dev/null";
    for (number, (then, cause)) in
        [("exit 7", "exit status: 7"), ("exec sleep 1000", "takeover_timeout, 1s")].into_iter().enumerate()
    {
        replace_binary(&server, &format!("#!/bin/sh\necho $$ > {}\n{told}\n{then}\n", note.display()));
        server.signal("USR2");
        let line = server.wait_for_nth("takeover_refused", number + 1);
        assert!(line.contains(cause), "{line}");
        let process = started_by(&note).expect("it ran");
        until(async || !is_running(process), "it is gone").await;
        assert_eq!(Client::new(server.address).get("/").await.status, 200);
    }
    assert_eq!((server.count("taken_over "), server.count("drain_began")), (0, 0));
}

#[tokio::test]
async fn other_threads_wait_for_the_end_of_a_takeover() {
    let (origin, server) = linked("threads = 1").await;
    let end = server.folder.path().join("end");
    let script = format!("until [ -e {} ]; do sleep 0.02; done; exit 7", end.display());
    replace_binary(&server, &format!("#!/bin/sh\n{script}\n"));
    server.signal("USR2");
    server.wait_for("takeover_began");
    std::fs::write(&server.file, file(&origin, "threads = 3")).expect("written");
    server.signal("HUP");
    assert!(server.wait_for("threads_deferred").contains("threads=3"));
    assert_eq!(listening(server.address), 1, "those that were handed over");
    std::fs::write(end, "").expect("written");
    assert!(server.wait_for("threads_changed").contains("from=1 to=3"));
    assert_eq!((listening(server.address), server.count("takeover_refused")), (3, 1));
    assert_eq!(Client::new(server.address).get("/").await.status, 200);
}

#[tokio::test]
async fn a_server_that_ends_takes_the_takeover_under_way_with_it() {
    let (_origin, mut server) = linked("").await;
    let note = server.folder.path().join("process");
    replace_binary(&server, &format!("#!/bin/sh\necho $$ > {}\nexec sleep 1000\n", note.display()));
    server.signal("USR2");
    until(async || started_by(&note).is_some(), "the new process runs").await;
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0));
    let process = started_by(&note).expect("it ran");
    until(async || !is_running(process), "it is killed").await;
}
