//! Clients that others wrote, through the gateway: curl, wrk, h2load, Python, httpx, Node and a browser.

mod browser;
mod httpx;
pub(crate) mod packages;
mod websockets;

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::pin::Pin;
use std::process::Output;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tokio::process::Command;
use tokio::sync::mpsc;

use crate::harness::{Origin, PATIENCE, Received, Reply, Server, answer, full};

/// Makes sure that `tool` is there, by installing Debian's `package` where that can be done.
pub(crate) fn require(tool: &str, package: &str) {
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _alone = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    let is_there = || {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(tool).is_file())
    };
    if is_there() {
        return;
    }
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    assert!(is_root, "`{tool}` is missing: install the Debian package `{package}`");
    for arguments in [&["update"][..], &["install", "-y", "--no-install-recommends", package]] {
        let output = std::process::Command::new("apt-get")
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .output()
            .expect("apt-get runs");
        assert!(
            output.status.success(),
            "`{tool}` is missing, and so is the package `{package}`: {output:?}"
        );
    }
    assert!(is_there(), "the Debian package `{package}` does not bring `{tool}`");
}

/// Runs a client to its end, which must be a good one.
async fn run(tool: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(tool);
    command.args(arguments).kill_on_drop(true);
    for proxy in ["http_proxy", "all_proxy", "ALL_PROXY", "NODE_OPTIONS"] {
        command.env_remove(proxy);
    }
    let output = tokio::time::timeout(2 * PATIENCE, command.output()).await;
    let output = output.unwrap_or_else(|_| panic!("{tool} never ends")).expect("the client runs");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{tool} {arguments:?}: {}\n{stdout}\n{stderr}", output.status);
    output
}

async fn curl(arguments: &[&str]) -> String {
    require("curl", "curl");
    let quiet = ["--silent", "--show-error", "--max-time", "30", "--expect100-timeout", "30"];
    let output = run("curl", &[&quiet[..], arguments].concat()).await;
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// One route `/**` to `origin`, with `keys` of its own.
fn before(origin: &Origin, keys: &str) -> String {
    format!(
        "[service.origin]\nendpoints = [{{ at = \"{}\" }}]\n\n[route.\"/**\"]\nto = \"origin\"\n{keys}\n",
        origin.address
    )
}

/// A service that answers with the body it got, and tells the method.
async fn echo() -> Origin {
    Origin::start(|request| async move {
        let mut response = Response::new(full(request.body));
        response.headers_mut().insert("x-method", request.method.as_str().parse().expect("a method"));
        Reply::Answer(response)
    })
    .await
}

/// A megabyte without a pattern in it, always the same.
fn megabyte(file: &Path) -> Vec<u8> {
    let mut bytes = vec![0; 1 << 20];
    fastrand::Rng::with_seed(7).fill(&mut bytes);
    std::fs::write(file, &bytes).expect("written");
    bytes
}

/// A body that is sent as the channel brings it.
pub(crate) struct Channel(pub(crate) mpsc::UnboundedReceiver<Frame<Bytes>>);

impl Body for Channel {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        self.0.poll_recv(context).map(|frame| frame.map(Ok))
    }
}

#[tokio::test]
async fn curl_speaks_both_versions_of_http() {
    let origin = echo().await;
    let server = Server::start(&before(&origin, ""));
    let url = format!("http://{}/orders?page=2", server.address);
    let format = "\n%{http_code} %{http_version} %{num_connects}\n";
    let post = ["--data", "two eggs", "--header", "x-order: 7", "--write-out", format];
    let said = curl(&[&["--http1.1", &url, &url][..], &post].concat()).await;
    assert_eq!(said, "two eggs\n200 1.1 1\ntwo eggs\n200 1.1 0\n", "one connection for both");
    let said = curl(&[&["--http2-prior-knowledge", &url][..], &post].concat()).await;
    assert_eq!(said, "two eggs\n200 2 1\n");
    let said = curl(&["--http1.0", "--head", &url]).await;
    assert!(said.starts_with("HTTP/1.0 200 OK\r\n") && said.contains("x-method: HEAD"), "{said}");
    let received = origin.received();
    assert_eq!(received.len(), 4);
    assert!(
        received[..3]
            .iter()
            .all(|request| request.path == "/orders?page=2" && request.headers["x-order"] == "7")
    );
    assert!(received.iter().all(|request| request.headers["host"] == server.address.to_string()));
}

#[tokio::test]
async fn curl_uploads_a_megabyte_in_chunks() {
    let origin = echo().await;
    let server = Server::start(&before(&origin, ""));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (file, back) = (folder.path().join("up"), folder.path().join("down"));
    let bytes = megabyte(&file);
    let url = format!("http://{}/files/7", server.address);
    let paths = ["--upload-file", file.to_str().expect("UTF-8"), "--output", back.to_str().expect("UTF-8")];
    let chunked = ["--http1.1", "--header", "transfer-encoding: chunked"];
    for (version, shown) in [(&chunked[..], "1.1"), (&["--http2-prior-knowledge"], "2")] {
        let format = ["--write-out", "%{http_code} %{http_version} %header{x-method}", &url];
        let said = curl(&[version, &paths, &format].concat()).await;
        assert_eq!(said, format!("200 {shown} PUT"));
        assert!(std::fs::read(&back).expect("an answer") == bytes, "the body came back changed");
    }
    let received = origin.received();
    assert_eq!(received.len(), 2);
    assert!(received.iter().all(|request| request.body == bytes), "the body arrived changed");
    assert_eq!(received[0].headers["transfer-encoding"], "chunked");
    assert!(!received[0].headers.contains_key("content-length"));
}

#[tokio::test]
async fn curl_shows_trailers() {
    let origin = Origin::start(|_| async {
        let (sender, receiver) = mpsc::unbounded_channel();
        sender.send(Frame::data(Bytes::from("body\n"))).expect("open");
        let trailers: HeaderMap =
            [("x-checksum".parse().expect("a name"), "17".parse().expect("a value"))].into_iter().collect();
        sender.send(Frame::trailers(trailers)).expect("open");
        let mut response = Response::new(Channel(receiver).boxed());
        response.headers_mut().insert("trailer", "x-checksum".parse().expect("a value"));
        Reply::Answer(response)
    })
    .await;
    let server = Server::start(&before(&origin, ""));
    let url = format!("http://{}/", server.address);
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let said = curl(&[version, "--header", "te: trailers", "--dump-header", "-", &url]).await;
        let (_, after) = said.split_once("body\n").expect("the body");
        assert_eq!(after.trim_end().to_lowercase(), "x-checksum: 17", "{said}");
    }
}

#[tokio::test]
async fn wrk_sees_no_failure() {
    require("wrk", "wrk");
    let origin = Origin::statuses(&[200]).await;
    let server = Server::start(&before(&origin, ""));
    let url = format!("http://{}/load", server.address);
    let output = run("wrk", &["-t2", "-c16", "-d2s", &url]).await;
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(!said.contains("Non-2xx") && !said.contains("Socket errors"), "{said}");
    let requests = said.lines().find_map(|line| line.split_once(" requests in ")).expect("a count").0;
    let requests: f64 = requests.trim().parse().expect("a number");
    assert!(requests > 100.0, "{said}");
    let counted = server.metric("intertie_requests_total{route=\"/**\",status=\"2xx\"}").await;
    assert!(counted >= requests, "wrk had {requests} answers, {counted} are counted");
}

/// By h2load's own count, without TLS and with it.
#[tokio::test]
async fn h2load_sees_no_failure() {
    require("h2load", "nghttp2-client");
    let origin = Origin::statuses(&[200]).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    crate::tls::Authority::new("roots").issue(folder.path(), "gateway", &["127.0.0.1"]);
    let tls = "[tls]\nlisten = [\"127.0.0.1:0\"]\n\
        [certificate.gateway]\nchain = \"gateway.crt\"\nkey = \"gateway.key\"\n";
    let server = Server::start_among(folder, &format!("{tls}{}", before(&origin, "")));
    let load = ["--clients=8", "--max-concurrent-streams=16", "--requests=2000"];
    for url in [format!("http://{}/load", server.address), format!("https://{}/load", server.tls)] {
        let output = run("h2load", &[&load[..], &[&url]].concat()).await;
        let said = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(said.contains("Application protocol: h2"), "{said}");
        let counts = "2000 total, 2000 started, 2000 done, 2000 succeeded, 0 failed, 0 errored, 0 timeout";
        assert!(said.contains(counts), "{said}");
        assert!(said.contains("status codes: 2000 2xx, 0 3xx, 0 4xx, 0 5xx"), "{said}");
    }
    let series = "intertie_requests_total{route=\"/**\",status=\"2xx\"}";
    assert_eq!(server.metric(series).await, 4000.0);
}

/// Runs a script with the server's address as its argument; what it finds wrong it says itself.
async fn script(tool: &str, package: &str, name: &str, text: &str, server: SocketAddr) {
    require(tool, package);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join(name);
    std::fs::write(&file, text).expect("written");
    run(tool, &[file.to_str().expect("UTF-8"), &server.to_string()]).await;
}

#[tokio::test]
async fn pythons_standard_library_gets_what_it_expects() {
    let origin = echo().await;
    let limited = "\n[route.\"/limited\"]\nto = \"origin\"\nrate_limiter = { limit = \"1/s\" }\n";
    let server = Server::start(&before(&origin, limited));
    script("python3", "python3", "client.py", include_str!("client.py"), server.address).await;
    let received = origin.received();
    let on = |path: &str| received.iter().filter(|request| request.path.starts_with(path)).count();
    assert_eq!((on("/alive/"), on("/upload")), (200, 1));
    let upload = received.iter().find(|request| request.path == "/upload").expect("an upload");
    assert_eq!(upload.body.len(), 64 * 1024);
    assert_eq!(upload.headers["transfer-encoding"], "chunked");
}

/// A service whose stream goes on by one piece whenever its client asks for the next.
async fn stream() -> Origin {
    let open: Arc<Mutex<Option<mpsc::UnboundedSender<Frame<Bytes>>>>> = Arc::default();
    Origin::start(move |request: Received| {
        let open = Arc::clone(&open);
        async move {
            let mut open = open.lock().expect("unpoisoned");
            let piece = |text: &str| Frame::data(Bytes::from(text.to_owned()));
            match request.path.strip_prefix("/next/") {
                Some("end") => *open = None,
                Some(number) => {
                    let open = open.as_ref().expect("a stream is open");
                    open.send(piece(number)).expect("somebody reads it");
                }
                None if request.path == "/stream" => {
                    let (sender, receiver) = mpsc::unbounded_channel();
                    sender.send(piece("0")).expect("open");
                    *open = Some(sender);
                    return Reply::Answer(Response::new(Channel(receiver).boxed()));
                }
                None => return answer(200, &[("x-path", &request.path)], &request.path),
            }
            answer(204, &[], "")
        }
    })
    .await
}

#[tokio::test]
async fn node_fetches_in_parallel_and_reads_a_stream_as_it_comes() {
    let origin = stream().await;
    let server = Server::start(&before(
        &origin,
        "retry = \"quick\"\ncircuit_breaker = \"standard\"\nattempt_timeout = \"5s\"",
    ));
    script("node", "nodejs", "client.mjs", include_str!("client.mjs"), server.address).await;
    let received = origin.received();
    assert_eq!(received.iter().filter(|request| request.path.starts_with("/parallel/")).count(), 100);
    assert_eq!(received.iter().filter(|request| request.path.starts_with("/next/")).count(), 10);
}
