//! Answers of a service that lies, or knows no better, and what the client gets of them.
//!
//! The clauses are of RFC 9112, or of RFC 9110 where they begin with `9110`.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::{Outcomes, to};
use crate::harness::{Client, Server};

/// What the client gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gets {
    /// 200 with this body, and the connection to the service may be used again.
    Whole(&'static str),
    /// The same, but the connection to the service is closed.
    Last(&'static str),
    /// 502, and the connection to the service is closed.
    Refusal,
    /// A head, unless it was not yet written, then an end before its time; the connection to the service is
    /// closed.
    Part,
    /// This status, which has no body.
    Empty(u16),
}

impl Gets {
    /// Whether this is what a client got, in the words of the page.
    pub(super) fn is(self, outcome: &str) -> bool {
        match self {
            Whole(body) | Last(body) => outcome == format!("200 `{}`", body.escape_default()),
            Refusal => outcome == "502",
            Part => outcome == "cut off",
            Empty(status) => outcome == status.to_string(),
        }
    }

    /// In the words of the page.
    pub(super) fn shown(self) -> String {
        match self {
            Whole(body) | Last(body) => format!("200 `{}`", body.escape_default()),
            Refusal => "502".to_owned(),
            Part => "cut off".to_owned(),
            Empty(status) => status.to_string(),
        }
    }
}

/// What a service says to one request.
pub(super) struct Case {
    pub(super) name: &'static str,
    /// What says which outcomes are allowed.
    pub(super) clause: &'static str,
    pub(super) method: &'static str,
    pub(super) outcomes: Outcomes<Gets>,
    pub(super) bytes: &'static [u8],
}

impl Case {
    /// Its name in the page.
    pub(super) fn shown(&self) -> String {
        if self.method == "GET" { self.name.to_owned() } else { format!("{}, to HEAD", self.name) }
    }
}

const fn case(
    name: &'static str,
    clause: &'static str,
    outcomes: Outcomes<Gets>,
    bytes: &'static [u8],
) -> Case {
    Case { name, clause, method: "GET", outcomes, bytes }
}

const fn to_head(
    name: &'static str,
    clause: &'static str,
    outcomes: Outcomes<Gets>,
    bytes: &'static [u8],
) -> Case {
    Case { name, clause, method: "HEAD", outcomes, bytes }
}

use Gets::{Empty, Last, Part, Refusal, Whole};

const OK: Outcomes<Gets> = Outcomes { ours: Whole("ok"), allowed: &[Whole("ok")] };
const EMPTY: Outcomes<Gets> = Outcomes { ours: Whole(""), allowed: &[Whole("")] };
const LAST_OK: Outcomes<Gets> = Outcomes { ours: Last("ok"), allowed: &[Last("ok")] };
const LAST_EMPTY: Outcomes<Gets> = Outcomes { ours: Last(""), allowed: &[Last("")] };
const BAD: Outcomes<Gets> = Outcomes { ours: Refusal, allowed: &[Refusal] };
/// It may be mended, or read in one way that the RFC names; not here.
const STRICT: Outcomes<Gets> = Outcomes { ours: Refusal, allowed: &[Refusal, Whole("ok")] };
const STRICT_EMPTY: Outcomes<Gets> = Outcomes { ours: Refusal, allowed: &[Refusal, Whole("")] };
/// What is not in chunks at last goes on until the connection ends.
const STRICT_TO_THE_END: Outcomes<Gets> = Outcomes { ours: Refusal, allowed: &[Refusal, Last("0\r\n\r\n")] };
const STRICT_NO_CONTENT: Outcomes<Gets> = Outcomes { ours: Refusal, allowed: &[Refusal, Empty(204)] };
/// It is to be passed on; not here.
const REFUSED_HERE: Outcomes<Gets> = Outcomes { ours: Refusal, allowed: &[Whole("ok")] };
const BAD_OR_CLOSED: Outcomes<Gets> = Outcomes { ours: Refusal, allowed: &[Refusal, Part] };
/// The head may be on its way before the fault is seen.
const CUT: Outcomes<Gets> = Outcomes { ours: Part, allowed: &[Part, Refusal] };
const STRICT_CUT: Outcomes<Gets> = Outcomes { ours: Part, allowed: &[Part, Refusal, Whole("ok")] };

/// Where ours is not what the clause has, and why.
pub(super) const DEPARTURES: &[(&str, &str)] =
    &[("HTTP/1.2", "nobody speaks it: a service that says so is broken, or is none")];

pub(super) const CASES: &[Case] = &[
    case("a length", "6.2", OK, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    case("chunks", "7.1", OK, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    case("no reason", "4", OK, b"HTTP/1.1 200 \r\ncontent-length: 2\r\n\r\nok"),
    case("no space before no reason", "4", OK, b"HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nok"),
    case("an early answer", "9110 15.2", OK, b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    case("a trailer", "7.1.2", OK, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx: y\r\n\r\n"),
    to_head("the length that a GET would get", "6.3", EMPTY, b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"),
    to_head("chunks that a GET would get", "6.3", EMPTY, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
    case("more than the length says", "6.3", LAST_OK, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nsecrets"),
    case("a second answer behind chunks", "6.3", LAST_OK, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nsecrets"),
    case("a second answer behind no body", "6.3", LAST_EMPTY, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nsecrets"),
    to_head("a body", "6.3", LAST_EMPTY, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    case("an empty line behind the body", "2.2", LAST_OK, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok\r\n"),
    case("a length and chunks", "6.3", STRICT, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    case("chunks and a length", "6.3", STRICT, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    case("two lengths", "6.3", BAD, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok!"),
    case("the same length twice", "6.3", STRICT, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok"),
    case("two lengths in one field", "6.3", BAD, b"HTTP/1.1 200 OK\r\ncontent-length: 2, 3\r\n\r\nok!"),
    case("a length below zero", "6.3", BAD, b"HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nok"),
    case("a length with a sign", "6.3", BAD, b"HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nok"),
    case("a length in hexadecimal", "6.3", BAD, b"HTTP/1.1 200 OK\r\ncontent-length: 0x2\r\n\r\nok"),
    case("a length above 64 bits", "9110 8.6", BAD_OR_CLOSED, b"HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551618\r\n\r\nok"),
    case("an empty length", "6.3", BAD, b"HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\nok"),
    case("a transfer coding nobody knows", "6.3", STRICT, b"HTTP/1.1 200 OK\r\ntransfer-encoding: x\r\n\r\nok"),
    case("gzip before chunks", "6.1", STRICT_EMPTY, b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    case("gzip behind chunks", "6.3", STRICT_TO_THE_END, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
    case("chunks twice", "6.1", BAD, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    case("identity", "6.3", STRICT, b"HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\n\r\nok"),
    case("chunks behind a vertical tab", "9110 5.5", BAD, b"HTTP/1.1 200 OK\r\ntransfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    case("chunks in HTTP/1.0", "6.1", STRICT, b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    case("a bare line feed behind the status", "2.2", STRICT, b"HTTP/1.1 200 OK\ncontent-length: 2\r\n\r\nok"),
    case("a bare line feed behind a field", "2.2", STRICT, b"HTTP/1.1 200 OK\r\nx: y\ncontent-length: 2\r\n\r\nok"),
    case("a bare line feed behind the head", "2.2", STRICT, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\nok"),
    case("a bare carriage return in a value", "2.2", STRICT, b"HTTP/1.1 200 OK\r\nx: a\rset-cookie: b\r\ncontent-length: 2\r\n\r\nok"),
    case("a bare carriage return in the reason", "2.2", STRICT, b"HTTP/1.1 200 O\rK\r\ncontent-length: 2\r\n\r\nok"),
    case("a zero byte in a value", "9110 5.5", STRICT, b"HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 2\r\n\r\nok"),
    case("a control character in a value", "9110 5.5", STRICT, b"HTTP/1.1 200 OK\r\nx: a\x01b\r\ncontent-length: 2\r\n\r\nok"),
    case("a folded value", "5.2", STRICT, b"HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 2\r\n\r\nok"),
    case("a folded length", "5.2", STRICT, b"HTTP/1.1 200 OK\r\ncontent-length:\r\n 2\r\n\r\nok"),
    case("a space before the colon", "5.1", STRICT, b"HTTP/1.1 200 OK\r\nx : y\r\ncontent-length: 2\r\n\r\nok"),
    case("a space before the colon of a length", "5.1", STRICT, b"HTTP/1.1 200 OK\r\ncontent-length : 2\r\n\r\nok"),
    case("a field without a colon", "9110 2.4", STRICT, b"HTTP/1.1 200 OK\r\nx\r\ncontent-length: 2\r\n\r\nok"),
    case("a field without a name", "9110 2.4", STRICT, b"HTTP/1.1 200 OK\r\n: x\r\ncontent-length: 2\r\n\r\nok"),
    case("a name with a space", "9110 2.4", STRICT, b"HTTP/1.1 200 OK\r\nx y: z\r\ncontent-length: 2\r\n\r\nok"),
    case("white space before the first field", "2.2", STRICT, b"HTTP/1.1 200 OK\r\n x: y\r\ncontent-length: 2\r\n\r\nok"),
    case("HTTP/0.9", "2.3", BAD, b"<html>ok</html>\r\n\r\n"),
    case("HTTP/2.0", "9110 2.5", BAD, b"HTTP/2.0 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    case("HTTP/1.2", "9110 2.5", REFUSED_HERE, b"HTTP/1.2 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    case("another protocol", "2.3", BAD, b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    case("a version in small letters", "2.3", BAD, b"http/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    case("a status of two digits", "9110 15", BAD, b"HTTP/1.1 20 OK\r\ncontent-length: 2\r\n\r\nok"),
    case("a status of four digits", "9110 15", BAD, b"HTTP/1.1 2000 OK\r\ncontent-length: 2\r\n\r\nok"),
    case("a status that is none", "9110 15", BAD, b"HTTP/1.1 abc OK\r\ncontent-length: 2\r\n\r\nok"),
    case("a status below 100", "9110 15", BAD, b"HTTP/1.1 099 OK\r\ncontent-length: 2\r\n\r\nok"),
    case("two spaces before the status", "4", STRICT, b"HTTP/1.1  200 OK\r\ncontent-length: 2\r\n\r\nok"),
    case("an empty line before the answer", "9110 2.4", STRICT, b"\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    case("a request for an answer", "2.1", BAD, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"),
    case("another protocol without being asked", "9110 7.8", BAD_OR_CLOSED, b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"),
    case("a length in an early answer", "6.3", BAD, b"HTTP/1.1 103 Early\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    case("a length without a body", "6.3", STRICT_NO_CONTENT, b"HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\nok"),
    case("chunks without a body", "6.3", STRICT_NO_CONTENT, b"HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    case("a chunk size that is none", "7.1", CUT, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\nok\r\n0\r\n\r\n"),
    case("a chunk size with a sign", "7.1", CUT, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n+2\r\nok\r\n0\r\n\r\n"),
    case("a chunk size above 64 bits", "7.1", CUT, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n10000000000000002\r\nok\r\n0\r\n\r\n"),
    case("a bare line feed behind a chunk size", "9110 2.4", STRICT_CUT, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\nok\r\n0\r\n\r\n"),
    case("a chunk that is longer than its size", "7.1", CUT, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok!\r\n0\r\n\r\n"),
    case("a chunk that ends in a bare line feed", "9110 2.4", STRICT_CUT, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\n0\r\n\r\n"),
    case("a folded trailer", "5.2", STRICT_CUT, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx: y\r\n z\r\n\r\n"),
    case("a length as a trailer", "9110 6.5.1", STRICT_CUT, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\ncontent-length: 2\r\n\r\n"),
    case("trailers that end in a bare line feed", "2.2", STRICT_CUT, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\n"),
];

/// Answers the first request of each connection with `bytes`, tells when that connection ends, and every
/// further one honestly.
async fn lie(listener: Arc<TcpListener>, bytes: &'static [u8], ended: Arc<Notify>) {
    let (mut stream, _) = listener.accept().await.expect("accepts");
    read_head(&mut stream).await;
    stream.write_all(bytes).await.expect("written");
    let honest = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhonest";
    loop {
        if !read_head(&mut stream).await {
            ended.notify_one();
            break;
        }
        let _ = stream.write_all(honest).await;
    }
    while let Ok((mut stream, _)) = listener.accept().await {
        while read_head(&mut stream).await && stream.write_all(honest).await.is_ok() {}
    }
}

/// Whether a head came before the end.
async fn read_head(stream: &mut TcpStream) -> bool {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => read.push(byte),
            Err(_) => return false,
        }
    }
    true
}

/// What a client got, in the words of the corpus.
async fn get(server: &Server, method: &str) -> Result<(u16, String), String> {
    let request = http::Request::builder().method(method).body(crate::harness::full(""));
    let answer = Client::new(server.address).try_send(request.expect("a request")).await?;
    Ok((answer.status, answer.text()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_in_doubt_reaches_a_client() {
    let listener = Arc::new(TcpListener::bind("127.0.0.1:0").await.expect("a free port"));
    let address = listener.local_addr().expect("bound");
    let mut faults = Vec::new();
    // One data thread, so that the next request finds the connection of the one before.
    let server = Server::start_with("threads = 1", &to(address));
    for case in CASES {
        let ended = Arc::new(Notify::new());
        let lying = tokio::spawn(lie(Arc::clone(&listener), case.bytes, Arc::clone(&ended)));
        let first = get(&server, case.method).await;
        let ours = case.outcomes.ours;
        let found = match &first {
            Ok((200, text)) => match ours {
                Whole(body) | Last(body) if text == body => ours,
                _ => Whole("something else"),
            },
            Ok((502, text)) if text.is_empty() || text.contains("SERVICE_FAILED") => Refusal,
            Err(_) => Part,
            _ => Whole("something else"),
        };
        let mut wrong = |what: String| faults.push(format!("{} ({}): {what}", case.name, case.clause));
        if found != ours {
            wrong(format!("{first:?} instead of {ours:?}"));
        }
        if !matches!(ours, Whole(_)) {
            let waiting = tokio::time::timeout(super::PATIENCE, ended.notified()).await;
            if waiting.is_err() {
                wrong("the connection to the service is still open".to_owned());
            }
        }
        let next = get(&server, "GET").await;
        if next != Ok((200, "honest".to_owned())) {
            wrong(format!("the next client gets {next:?}"));
        }
        lying.abort();
        let _ = lying.await;
    }
    assert!(faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n"));
}
