//! Messages in doubt, in both directions, and what becomes of them.

mod answers;
mod others;
pub(crate) mod recorder;
mod requests;

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{Client, Server, until};
use recorder::Recorder;

/// How long a server may take that must close a connection.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sends `bytes` in pieces of `piece` bytes, and reads until the server closes.
async fn exchange(server: &Server, bytes: &[u8], piece: usize) -> Vec<u8> {
    let mut stream = Client::new(server.address).connect().await.expect("connects");
    let mut answers = Vec::new();
    for piece in bytes.chunks(piece) {
        // A server that has seen enough closes before it has all.
        if stream.write_all(piece).await.is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    let reading = async {
        let mut buffer = [0; 4096];
        loop {
            match stream.read(&mut buffer).await {
                Ok(read) if read > 0 => answers.extend_from_slice(&buffer[..read]),
                _ => break,
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("the server closes the connection");
    answers
}

/// The final statuses of the answers in `bytes`.
fn statuses(bytes: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(bytes);
    let starts = text.match_indices("HTTP/1.").map(|(at, words)| &text[at + words.len() + 2..]);
    starts.filter_map(|rest| rest.get(..3)?.parse().ok()).filter(|status| *status >= 200).collect()
}

const TRAFFIC: &str = "[server.client_limits]\nheader_timeout = \"1s\"\nidle_timeout = \"2s\"\n";

fn to(address: std::net::SocketAddr) -> String {
    format!(
        "{TRAFFIC}[service.origin]\nendpoints = [{{ at = \"{address}\" }}]\n\n\
         [route.\"/**\"]\nto = \"origin\"\nattempt_timeout = \"2s\"\n"
    )
}

/// What may become of a message, and what becomes of it here.
pub(crate) struct Outcomes<T: 'static> {
    ours: T,
    /// What the clause leaves, where SHOULD counts as MUST: without ours only where the case is among the
    /// departures.
    allowed: &'static [T],
}

/// What both directions have in common.
struct Message<'a> {
    name: String,
    clause: &'a str,
    bytes: &'a [u8],
    outcomes: usize,
    is_ours_allowed: bool,
    departs: bool,
}

fn check(messages: &[Message<'_>], departures: &[(&str, &str)]) {
    let names: BTreeSet<_> = messages.iter().map(|message| &message.name).collect();
    assert_eq!(names.len(), messages.len(), "each name is there once");
    let contents: BTreeSet<_> =
        messages.iter().map(|message| (message.bytes, message.name.ends_with("HEAD"))).collect();
    assert_eq!(contents.len(), messages.len(), "each message is there once");
    for message in messages {
        let Message { name, clause, .. } = message;
        let (document, section) = clause.split_once(' ').unwrap_or(("9112", clause));
        assert!(["9110", "9112", "9113"].contains(&document), "{name}: {clause}");
        let numbers: Option<Vec<u8>> = section.split('.').map(|number| number.parse().ok()).collect();
        assert!(numbers.is_some(), "{name}: {clause}");
        assert!(message.outcomes > 0, "{name}: nothing is allowed");
        assert_ne!(
            message.is_ours_allowed, message.departs,
            "{name}: ours is allowed, or departs with a reason"
        );
    }
    assert!(departures.iter().all(|(name, _)| names.contains(&(*name).to_owned())), "{departures:?}");
}

#[test]
fn the_corpus_is_large_and_each_case_has_a_clause_and_its_outcomes() {
    let departs =
        |departures: &[(&str, &str)], name: &str| departures.iter().any(|(known, _)| *known == name);
    let all: Vec<_> = requests::CASES
        .iter()
        .map(|case| Message {
            name: case.name.to_owned(),
            clause: case.clause,
            bytes: case.bytes,
            outcomes: case.outcomes.allowed.len(),
            is_ours_allowed: case.outcomes.allowed.contains(&case.outcomes.ours),
            departs: departs(requests::DEPARTURES, case.name),
        })
        .collect();
    check(&all, requests::DEPARTURES);
    assert!(all.len() >= 150, "{} requests", all.len());
    let all: Vec<_> = answers::CASES
        .iter()
        .map(|case| Message {
            name: case.shown(),
            clause: case.clause,
            bytes: case.bytes,
            outcomes: case.outcomes.allowed.len(),
            is_ours_allowed: case.outcomes.allowed.contains(&case.outcomes.ours),
            departs: departs(answers::DEPARTURES, case.name),
        })
        .collect();
    check(&all, answers::DEPARTURES);
    assert!(all.len() >= 50, "{} answers", all.len());
}

/// Each request of the corpus in one piece and in small ones: nothing in doubt reaches the service, what
/// reaches it was answered by it, and what did not was answered by the gateway, which then closed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_in_doubt_reaches_a_service() {
    let recorder = Recorder::start().await;
    let server = Server::start(&to(recorder.address));
    let mut faults = Vec::new();
    for case in requests::CASES {
        let incomplete = case.clause == "8";
        for piece in [usize::MAX, 7] {
            if incomplete && piece == 7 {
                continue;
            }
            let answers = exchange(&server, case.bytes, piece).await;
            let found = statuses(&answers);
            let mut wrong = |what: String| {
                let text = String::from_utf8_lossy(&answers);
                faults.push(format!("{} ({}), in pieces of {piece}: {what}\n{text}", case.name, case.clause));
            };
            if found != case.outcomes.ours {
                wrong(format!("{found:?} instead of {:?}", case.outcomes.ours));
            }
            let (complete, doubtful) = recorder.take();
            if !doubtful.is_empty() {
                wrong(format!("the service got {doubtful:?}"));
            }
            let passed = found.iter().filter(|status| **status == 200).count();
            let smuggled = complete.iter().any(|request| request.head.contains("/smuggled"));
            if complete.len() != passed || smuggled {
                wrong(format!("the service got {complete:?}"));
            }
            let refused = found.len() - passed;
            let documents = String::from_utf8_lossy(&answers).matches("\"errors\":[{").count();
            if refused != documents {
                wrong(format!("{refused} refusals and {documents} documents that say so"));
            }
        }
    }
    assert!(faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_request_is_counted_logged_and_named() {
    let recorder = Recorder::start().await;
    let server = Server::start(&to(recorder.address));
    let answer = exchange(&server, b"GET / HTTP/1.1\r\nhost: a\r\nx: a\r\n b\r\n\r\n", usize::MAX).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.contains("\"BAD_REQUEST\"") && answer.contains("connection: close\r\n"), "{answer}");
    assert!(answer.contains("a line begins with white space, as if it continued the one before"), "{answer}");
    let line = server.wait_for("request_refused");
    assert!(line.contains("client=127.0.0.1") && line.contains("reason=folded_line"), "{line}");
    let series = "intertie_messages_refused_total{from=\"client\",reason=\"folded_line\"}";
    until(async || server.metric(series).await == 1.0, "it is counted").await;
}

/// An answer on its way is not lost when the request behind it is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_before_one_in_doubt_are_answered_first() {
    let recorder = Recorder::start().await;
    let server = Server::start(&to(recorder.address));
    let good = "GET / HTTP/1.1\r\nhost: a\r\n\r\n".repeat(20);
    let bytes = format!("{good}GET /smuggled HTTP/1.1\nhost: a\r\n\r\n{good}");
    for piece in [usize::MAX, 100, 3] {
        let answers = exchange(&server, bytes.as_bytes(), piece).await;
        assert_eq!(statuses(&answers), [[200; 20].as_slice(), &[400]].concat(), "in pieces of {piece}");
        let (complete, doubtful) = recorder.take();
        assert_eq!((complete.len(), doubtful), (20, Vec::new()));
    }
}
