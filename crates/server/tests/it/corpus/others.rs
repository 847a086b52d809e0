//! The corpus through nginx and HAProxy beside ours: who refuses what.

mod judgement;
mod proxies;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::recorder::{self, Recorder};
use super::{answers, requests, statuses, to};
use crate::harness::Server;
use judgement::judge;
use proxies::Proxy;

/// How long a proxy may take to close a connection before it counts as open.
const PATIENCE: Duration = Duration::from_secs(5);

const NAMES: [&str; 3] = ["ours", "nginx", "HAProxy"];

/// Sends `bytes` and reads until the other side closes.
async fn say(to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(to).await.expect("connects");
    // One that has seen enough closes before it has all.
    let _ = stream.write_all(bytes).await;
    let (mut heard, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(Ok(read)) = tokio::time::timeout(PATIENCE, stream.read(&mut buffer)).await {
        if read == 0 {
            break;
        }
        heard.extend_from_slice(&buffer[..read]);
    }
    heard
}

/// What became of a request: the statuses that came back, and what its service got that it should not have.
async fn request(proxy: SocketAddr, service: &Recorder, case: &requests::Case) -> String {
    let heard = say(proxy, case.bytes).await;
    let found: Vec<_> = statuses(&heard).iter().map(ToString::to_string).collect();
    let mut outcome = if found.is_empty() { "closed".to_owned() } else { found.join(" ") };
    let (complete, doubtful) = service.take();
    if complete.iter().any(|request| request.head.contains("/smuggled")) {
        outcome += ", smuggled";
    }
    if !doubtful.is_empty() {
        outcome += ", forwarded in doubt";
    }
    outcome
}

/// What a client gets of an answer.
async fn answer(proxy: SocketAddr, method: &str) -> String {
    let request = format!("{method} / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    let heard = say(proxy, request.as_bytes()).await;
    let mut heard = heard.as_slice();
    let end = loop {
        let Some(end) = heard.windows(4).position(|window| window == b"\r\n\r\n") else {
            return if heard.is_empty() { "closed" } else { "no HTTP" }.to_owned();
        };
        if !heard.starts_with(b"HTTP/1.1 1") {
            break end;
        }
        heard = &heard[end + 4..];
    };
    let head = String::from_utf8_lossy(&heard[..end]).to_ascii_lowercase();
    let Some(status) = statuses(&heard[..end]).first().copied() else { return "no HTTP".to_owned() };
    let body = &heard[end + 4..];
    let field =
        |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    let whole = match (field("transfer-encoding"), field("content-length")) {
        _ if method == "HEAD" || status != 200 => Some(body.to_vec()),
        (Some(_), _) => recorder::chunks(body).ok().flatten().map(|(body, _)| body),
        (None, Some(length)) => {
            length.parse().ok().and_then(|length: usize| Some(body.get(..length)?.to_vec()))
        }
        (None, None) => Some(body.to_vec()),
    };
    match whole {
        Some(_) if status != 200 => status.to_string(),
        Some(body) => format!("200 `{}`", body.escape_ascii()),
        None => "200, cut off".to_owned(),
    }
}

/// A service that says `bytes` to whatever it is asked, and closes a moment later.
async fn liar(bytes: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                let asked = stream.read(&mut buffer).await.is_ok_and(|read| read > 0);
                if asked && stream.write_all(bytes).await.is_ok() {
                    let _ = tokio::time::timeout(Duration::from_millis(200), stream.read(&mut buffer)).await;
                }
            });
        }
    });
    address
}

/// A clause as the page has it.
fn shown(clause: &str) -> String {
    clause.replace("9110 ", "RFC 9110, ")
}

fn row(table: &mut String, name: &str, clause: &str, outcomes: &[String], allowed: Option<&[&[u16]]>) {
    let judged = judge(name, clause, outcomes, allowed);
    let clause = shown(clause);
    let [ours, nginx, haproxy] = outcomes else { unreachable!("three proxies") };
    let _ = writeln!(table, "| {name} | {clause} | {ours} | {nginx} | {haproxy} | {judged} |");
}

/// Writes the tables of docs/corpus.md where `INTERTIE_CORPUS` is set, as `cargo xtask corpus` does: it takes
/// nginx and HAProxy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn write_the_page_of_the_corpus() {
    if std::env::var_os("INTERTIE_CORPUS").is_none() {
        return;
    }
    let mut page = judgement::HEAD.to_owned();
    let _ = writeln!(
        page,
        "Ours is {}; {}; {}.\n",
        env!("CARGO_PKG_VERSION"),
        proxies::version("nginx"),
        proxies::version("haproxy")
    );
    let columns =
        format!("| case | clause | {} | judgement |\n|---|---|---|---|---|---|\n", NAMES.join(" | "));
    let recorder = Recorder::start().await;
    let ours = Server::start(&to(recorder.address));
    let (nginx, haproxy) = (Proxy::nginx(recorder.address), Proxy::haproxy(recorder.address));
    let proxies = [ours.address, nginx.ready().await, haproxy.ready().await];
    let _ = recorder.take();
    page += "## Requests\n\n";
    page += &columns;
    for case in requests::CASES {
        let mut outcomes = Vec::new();
        for proxy in proxies {
            outcomes.push(request(proxy, &recorder, case).await);
        }
        row(&mut page, case.name, case.clause, &outcomes, Some(case.allowed));
    }
    page += "\n## Answers\n\n";
    page += &columns;
    for case in answers::CASES {
        let service = liar(case.bytes).await;
        let ours = Server::start(&to(service));
        let (nginx, haproxy) = (Proxy::nginx(service), Proxy::haproxy(service));
        let mut outcomes = Vec::new();
        for proxy in [ours.address, nginx.ready().await, haproxy.ready().await] {
            outcomes.push(answer(proxy, case.method).await);
        }
        let name =
            if case.method == "GET" { case.name.to_owned() } else { format!("{}, to HEAD", case.name) };
        row(&mut page, &name, case.clause, &outcomes, None);
    }
    std::fs::write(crate::cli::root().join("docs/corpus.md"), page).expect("written");
}

/// The page knows each case, with the outcome that the corpus has for ours.
#[test]
fn the_page_of_the_corpus_is_complete() {
    let page = std::fs::read_to_string(crate::cli::root().join("docs/corpus.md")).expect("the page");
    for case in requests::CASES {
        let ours: Vec<_> = case.allowed[0].iter().map(ToString::to_string).collect();
        let row = format!("\n| {} | {} | {} |", case.name, shown(case.clause), ours.join(" "));
        assert!(page.contains(&row), "`cargo xtask corpus` writes docs/corpus.md, which lacks {row}");
    }
    for case in answers::CASES {
        let name =
            if case.method == "GET" { case.name.to_owned() } else { format!("{}, to HEAD", case.name) };
        let row = format!("\n| {name} | {} |", shown(case.clause));
        assert!(page.contains(&row), "`cargo xtask corpus` writes docs/corpus.md, which lacks {row}");
    }
}
