//! The corpus through nginx and HAProxy beside ours: who refuses what.

mod haproxy;
mod judgement;
mod nginx;
mod proxies;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::recorder::{self, Recorder};
use super::{answers, requests, statuses, to};
use crate::harness::Server;
use judgement::{Judgement, Rules, judge};
use proxies::Proxy;

/// How long a proxy may take to close a connection before it counts as open.
const PATIENCE: Duration = Duration::from_secs(5);

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
    let found = statuses(&heard);
    let mut outcome = in_words(&found);
    let (complete, doubtful) = service.take();
    if complete.iter().any(|request| request.head.contains("/smuggled")) {
        outcome += ", smuggled";
    }
    if !doubtful.is_empty() {
        outcome += ", forwarded in doubt";
    }
    outcome
}

/// Whether a head has an end of a line, or of a string, that is none.
fn is_doubtful(head: &[u8]) -> bool {
    let lines = String::from_utf8_lossy(head).replace("\r\n", "");
    lines.contains(['\r', '\n', '\0'])
}

/// What a client gets of an answer.
async fn answer(proxy: SocketAddr, method: &str) -> String {
    let request = format!("{method} / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    let heard = say(proxy, request.as_bytes()).await;
    let mut heard = heard.as_slice();
    let end = loop {
        let Some(end) = heard.windows(4).position(|window| window == b"\r\n\r\n") else {
            return if heard.is_empty() { "cut off" } else { "no HTTP" }.to_owned();
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
    let mut outcome = match whole {
        Some(_) if status != 200 => status.to_string(),
        Some(body) => format!("200 `{}`", body.escape_ascii()),
        None => "cut off".to_owned(),
    };
    if is_doubtful(&heard[..end]) {
        outcome += ", forwarded in doubt";
    }
    outcome
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
    clause
        .split_once(' ')
        .map_or(clause.to_owned(), |(document, section)| format!("RFC {document}, {section}"))
}

/// A case of either direction, as the page has it.
struct Row {
    name: String,
    clause: String,
    allowed: Vec<String>,
    /// Why ours is none of them.
    departure: Option<&'static str>,
    judgements: [&'static [Judgement]; 2],
}

fn departure(departures: &[(&str, &'static str)], name: &str) -> Option<&'static str> {
    departures.iter().find(|(known, _)| *known == name).map(|(_, why)| *why)
}

fn request_row(case: &requests::Case) -> Row {
    Row {
        name: case.name.to_owned(),
        clause: shown(case.clause),
        allowed: case.outcomes.allowed.iter().map(|statuses| in_words(statuses)).collect(),
        departure: departure(requests::DEPARTURES, case.name),
        judgements: [nginx::REQUESTS, haproxy::REQUESTS],
    }
}

fn answer_row(case: &answers::Case) -> Row {
    Row {
        name: case.shown(),
        clause: shown(case.clause),
        allowed: case.outcomes.allowed.iter().map(|gets| gets.shown()).collect(),
        departure: departure(answers::DEPARTURES, case.name),
        judgements: [nginx::ANSWERS, haproxy::ANSWERS],
    }
}

/// The statuses of one connection as the page has them.
fn in_words(statuses: &[u16]) -> String {
    let words: Vec<_> = statuses.iter().map(ToString::to_string).collect();
    if words.is_empty() { "closed".to_owned() } else { words.join(" ") }
}

impl Row {
    /// Its line in the page, and which disagreements in it nobody has judged.
    fn line(&self, outcomes: &[String; 3]) -> (String, Vec<String>) {
        let Self { name, clause, allowed, .. } = self;
        let rules = Rules { allowed, departure: self.departure, judgements: self.judgements };
        let (judged, missing) = judge(name, &rules, outcomes);
        let [ours, nginx, haproxy] = outcomes;
        let allowed = allowed.join(", ");
        (format!("| {name} | {clause} | {allowed} | {ours} | {nginx} | {haproxy} | {judged} |"), missing)
    }
}

/// Writes docs/corpus.md.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it takes nginx and HAProxy, and writes a page: `cargo xtask corpus` runs it"]
async fn write_the_page_of_the_corpus() {
    let mut page = judgement::HEAD.to_owned();
    let _ = writeln!(
        page,
        "Ours is {}; {}; {}.\n",
        env!("CARGO_PKG_VERSION"),
        proxies::version("nginx"),
        proxies::version("haproxy")
    );
    let columns = "\
         | case | clause | the RFC allows | ours | nginx | HAProxy | judgement |\n\
         |---|---|---|---|---|---|---|\n";
    let recorder = Recorder::start().await;
    let ours = Server::start(&to(recorder.address));
    let (nginx, haproxy) = (Proxy::nginx(recorder.address), Proxy::haproxy(recorder.address));
    let proxies = [ours.address, nginx.ready().await, haproxy.ready().await];
    let _ = recorder.take();
    let mut unjudged = Vec::new();
    page += "## Requests\n\n";
    page += columns;
    for case in requests::CASES {
        let mut outcomes = [const { String::new() }; 3];
        for (outcome, proxy) in outcomes.iter_mut().zip(proxies) {
            *outcome = request(proxy, &recorder, case).await;
        }
        let (line, missing) = request_row(case).line(&outcomes);
        unjudged.extend(missing);
        page += &(line + "\n");
    }
    page += "\n## Answers\n\n";
    page += columns;
    for case in answers::CASES {
        let service = liar(case.bytes).await;
        let ours = Server::start(&to(service));
        let (nginx, haproxy) = (Proxy::nginx(service), Proxy::haproxy(service));
        let proxies = [ours.address, nginx.ready().await, haproxy.ready().await];
        let mut outcomes = [const { String::new() }; 3];
        for (outcome, proxy) in outcomes.iter_mut().zip(proxies) {
            *outcome = answer(proxy, case.method).await;
        }
        let (line, missing) = answer_row(case).line(&outcomes);
        unjudged.extend(missing);
        page += &(line + "\n");
    }
    std::fs::write(crate::cli::root().join("docs/corpus.md"), page).expect("written");
    assert!(unjudged.is_empty(), "nobody has judged these:\n{}", unjudged.join("\n"));
}

/// The outcomes that the page has for a case.
fn outcomes(page: &str, row: &Row) -> [String; 3] {
    let start = format!("| {} | {} | {} |", row.name, row.clause, row.allowed.join(", "));
    let line = page.lines().find_map(|line| line.strip_prefix(&start));
    let line =
        line.unwrap_or_else(|| panic!("`cargo xtask corpus` writes docs/corpus.md, which lacks {start}"));
    let mut cells = line.split('|').map(|cell| cell.trim().to_owned());
    std::array::from_fn(|_| cells.next().expect("a cell for each proxy"))
}

/// The page knows each case with the outcome that the corpus has for ours, and has a judgement wherever another
/// proxy does not do as ours; no judgement is left over.
#[test]
fn each_disagreement_in_the_page_of_the_corpus_is_judged() {
    let page = std::fs::read_to_string(crate::cli::root().join("docs/corpus.md")).expect("the page");
    let (by_request, by_answer) = page.split_once("\n## Answers\n").expect("two tables");
    let (mut faults, mut used) = (Vec::new(), Vec::new());
    let mut check = |part: &str, row: &Row, is_ours: &dyn Fn(&str) -> bool| {
        let outcomes = outcomes(part, row);
        let (line, missing) = row.line(&outcomes);
        faults.extend(missing);
        if !part.lines().any(|known| known == line) {
            faults.push(format!("the page has another judgement than {line}"));
        }
        if !is_ours(&outcomes[0]) {
            faults.push(format!("{}: ours is not {}", row.name, outcomes[0]));
        }
        for (judgements, outcome) in row.judgements.iter().zip(&outcomes[1..]) {
            if *outcome != outcomes[0] {
                used.push((judgements.as_ptr(), row.name.clone()));
            }
        }
    };
    for case in requests::CASES {
        check(by_request, &request_row(case), &|found| found == in_words(case.outcomes.ours));
    }
    for case in answers::CASES {
        check(by_answer, &answer_row(case), &|found| case.outcomes.ours.is(found));
    }
    for judgements in [nginx::REQUESTS, nginx::ANSWERS, haproxy::REQUESTS, haproxy::ANSWERS] {
        for case in judgements.iter().flat_map(|judgement| judgement.cases) {
            if !used.contains(&(judgements.as_ptr(), (*case).to_owned())) {
                faults.push(format!("{case} is judged, but nobody disagrees"));
            }
        }
    }
    assert!(faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n"));
}
