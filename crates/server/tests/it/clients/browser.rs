//! A browser before the gateway: a page that fetches, streams, subscribes and opens sockets, and says what it saw.

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body::Frame;
use http_body_util::BodyExt;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use super::websockets::Speaker;
use super::{Channel, require};
use crate::harness::{Origin, Received, Reply, Server, answer, full, until};
use crate::tls::Authority;

/// The longest that a page may take, the start of the browser included.
const PAGE_MAX: Duration = Duration::from_secs(300);

/// What the page has to try.
const CASES: &[&str] = &[
    "abort",
    "another_origin",
    "download",
    "events",
    "form",
    "get",
    "parallel",
    "post",
    "protocol",
    "refusals",
    "upload_as_it_is_made",
    "websocket",
];

fn piece(text: String) -> Frame<Bytes> {
    Frame::data(Bytes::from(text))
}

fn event(number: &str) -> Frame<Bytes> {
    piece(format!("data: {number}\n\n"))
}

/// An answer of this type whose body goes on for as long as the sender does.
fn streamed(content_type: &str, first: Frame<Bytes>) -> (mpsc::UnboundedSender<Frame<Bytes>>, Reply) {
    let (sender, receiver) = mpsc::unbounded_channel();
    sender.send(first).expect("open");
    let mut response = Response::new(Channel(receiver).boxed());
    response.headers_mut().insert("content-type", content_type.parse().expect("a type"));
    (sender, Reply::Answer(response))
}

/// A body without a pattern, and the sum of its bytes.
fn large() -> Reply {
    let mut bytes = vec![0; 16 << 20];
    fastrand::Rng::with_seed(7).fill(&mut bytes);
    let sum = bytes.iter().fold(0, |sum, byte| (sum + u32::from(*byte)) % 65521);
    let mut response = Response::new(full(bytes));
    response.headers_mut().insert("x-sum", sum.into());
    Reply::Answer(response)
}

/// What the page asks for; what it reports goes to the channel.
async fn service(reports: mpsc::UnboundedSender<Bytes>) -> Origin {
    let open = Arc::new(Mutex::new(Vec::new()));
    Origin::start(move |request: Received| {
        let (open, reports) = (Arc::clone(&open), reports.clone());
        async move {
            let mut open = open.lock().expect("unpoisoned");
            match (request.method.as_str(), request.path.as_str()) {
                (_, "/") => answer(200, &[("content-type", "text/html")], include_str!("page.html")),
                (_, "/large") => large(),
                (_, "/echo") => Reply::Answer(Response::new(full(request.body))),
                (_, "/stream") => {
                    let (sender, reply) = streamed("text/event-stream", event("0"));
                    open.push(sender);
                    reply
                }
                (_, "/endless") => {
                    let (sender, reply) = streamed("text/plain", piece("begun".to_owned()));
                    // In front of the stream of events, which is the last.
                    open.insert(0, sender);
                    reply
                }
                (_, "/report") => {
                    reports.send(request.body).expect("somebody waits for it");
                    answer(204, &[], "")
                }
                ("OPTIONS", "/cross") => answer(
                    204,
                    &[
                        ("access-control-allow-origin", "*"),
                        ("access-control-allow-methods", "PUT"),
                        ("access-control-allow-headers", "x-order"),
                    ],
                    "",
                ),
                (_, "/cross") => {
                    let body = String::from_utf8_lossy(&request.body);
                    let shown = ("access-control-expose-headers", "x-shown");
                    answer(200, &[("access-control-allow-origin", "*"), shown, ("x-shown", "yes")], &body)
                }
                (_, path) => {
                    if let Some(number) = path.strip_prefix("/next/") {
                        let stream = open.last().expect("a stream is open");
                        stream.send(event(number)).expect("somebody reads it");
                    }
                    answer(200, &[], path)
                }
            }
        }
    })
    .await
}

/// Opens `url` in Chromium, which ends with the test. It accepts certificates of any authority.
fn browse(url: &str, profile: &TempDir) -> Child {
    let mut command = Command::new("chromium");
    command
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
        ])
        .args(["--no-proxy-server", "--disable-background-networking", "--disable-component-update"])
        .args(["--ignore-certificate-errors", "--remote-debugging-port=0"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(url)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    command.spawn().expect("the browser starts")
}

#[tokio::test]
#[ignore = "a browser is 300 MB to install: `cargo xtask browser` runs it"]
async fn a_browser_finds_all_that_it_needs() {
    require("chromium", "chromium");
    let (sender, mut reports) = mpsc::unbounded_channel();
    let origin = service(sender).await;
    let folder = TempDir::new().expect("a temporary folder");
    let python = Speaker::python(folder.path()).await;
    let (_echo, sockets) = python.serve().await;
    let authority = Authority::new("roots");
    authority.issue(folder.path(), "gateway", &["127.0.0.1", "localhost"]);
    let traffic = format!(
        "[tls]\nlisten = [\"127.0.0.1:0\"]\n\
         [certificate.gateway]\nchain = \"gateway.crt\"\nkey = \"gateway.key\"\n\
         [service.origin]\nendpoints = [{{ at = \"{}\" }}]\n\
         [service.sockets]\nendpoints = [{{ at = \"{sockets}\" }}]\n\
         [route.\"/**\"]\nto = \"origin\"\n[route.\"/socket\"]\nto = \"sockets\"\n\
         [route.\"/limited\"]\nto = \"origin\"\nrate_limiter = {{ limit = \"1/h\" }}\n",
        origin.address
    );
    let server = Server::start_among(folder, &traffic);
    for url in [format!("https://{}/", server.tls), format!("http://{}/", server.address)] {
        let profile = TempDir::new().expect("a temporary folder");
        let mut browser = browse(&url, &profile);
        let report = tokio::time::timeout(PAGE_MAX, reports.recv()).await.expect("the page reports");
        let report: serde_json::Value =
            serde_json::from_slice(&report.expect("it is open")).expect("a report");
        let report = report.as_object().expect("its cases");
        let bad: Vec<_> = report.iter().filter(|(_, said)| *said != "good").collect();
        assert!(bad.is_empty(), "{url}: {bad:#?}");
        let mut cases: Vec<_> = report.keys().collect();
        cases.sort_unstable();
        assert_eq!(cases, CASES, "{url}");
        browser.kill().await.expect("it ends");
        until(async || server.metric("intertie_gateway_connections").await == 0.0, "it is gone").await;
    }
    let preflights = origin.received().iter().filter(|request| request.method == "OPTIONS").count();
    assert_eq!(preflights, 2, "one for each page");
}
