//! How streams end: in which frames, and what is told of an answer that is whole before its stream has ended.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::before;
use super::frames::{self, CANCEL, DATA, END_HEADERS, END_STREAM, Frame, HEADERS, RST_STREAM, SETTINGS};
use super::liar::{Liar, Lie};
use crate::harness::{Client, PATIENCE, Server, full, until};

const CALLS: u32 = 1000;
/// Of each call.
const TURNS: usize = 2;
const CONTENT_LENGTH_4: &[u8] = &[0x88, 0x0f, 0x0d, 1, b'4'];
/// Places in HPACK's static table.
const STATUS_204: &[u8] = &[0x89];

fn server(liar: &Liar, route: &str) -> Server {
    Server::start_with("threads = 1", &before(&[liar.address], "protocol = \"http2\"", route))
}

fn data(flags: u8, payload: &[u8]) -> Frame {
    Frame::new(DATA, flags, 0, payload)
}

fn ends_nothing(frame: &Frame) -> bool {
    frame.kind == DATA && frame.payload.is_empty() && frame.flags & END_STREAM == 0
}

/// A client that keeps every frame that it gets.
struct RawClient {
    stream: TcpStream,
    frames: Vec<Frame>,
}

impl RawClient {
    async fn connect(server: &Server) -> Self {
        let mut stream = Client::new(server.address).connect().await.expect("connects");
        stream.set_nodelay(true).expect("a TCP socket");
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("written");
        Frame::new(SETTINGS, 0, 0, &[]).write(&mut stream).await.expect("written");
        frames::open_wide(&mut stream).await.expect("written");
        Self { stream, frames: Vec::new() }
    }

    /// POST `/`.
    async fn ask(&mut self, number: u32, flags: u8) {
        let head = [0x83, 0x86, 0x84, 0x41, 1, b'a'];
        self.send(Frame::new(HEADERS, END_HEADERS | flags, 0, &head), number).await;
    }

    async fn send(&mut self, mut frame: Frame, number: u32) {
        frame.stream = number;
        frame.write(&mut self.stream).await.expect("written");
    }

    /// The next HEADERS or DATA.
    async fn next(&mut self) -> Frame {
        loop {
            let read = tokio::time::timeout(PATIENCE, Frame::read(&mut self.stream));
            let frame = read.await.expect("in time").expect("the connection lasts");
            self.frames.push(frame.clone());
            if matches!(frame.kind, HEADERS | DATA) {
                return frame;
            }
            assert!(matches!(frame.kind, SETTINGS | frames::WINDOW_UPDATE | frames::PING), "{frame:?}");
        }
    }

    /// The next HEADERS and DATA up to the end of their stream.
    async fn answer(&mut self) -> Vec<Frame> {
        let mut answer = vec![self.next().await];
        while answer.last().is_some_and(|frame| frame.flags & END_STREAM == 0) {
            answer.push(self.next().await);
        }
        answer
    }
}

#[tokio::test]
async fn a_thousand_calls_in_turns_end_well_on_one_connection_without_an_empty_frame_of_ours() {
    let liar = Liar::start(&vec![Lie::Echo; CALLS as usize]).await;
    let server = server(&liar, "deadline = \"off\"");
    let mut client = RawClient::connect(&server).await;
    for number in (1..).step_by(2).take(CALLS as usize) {
        client.ask(number, 0).await;
        assert_eq!(client.next().await.kind, HEADERS);
        for turn in 0..TURNS {
            client.send(data(0, format!("turn {turn}").as_bytes()), number).await;
            let echo = client.next().await;
            assert_eq!((echo.kind, echo.payload), (DATA, format!("turn {turn}").into_bytes()));
        }
        client.send(data(END_STREAM, b""), number).await;
        let trailers = client.answer().await;
        assert_eq!((trailers.len(), trailers[0].kind), (1, HEADERS), "{trailers:?}");
    }
    assert_eq!(liar.connections(), 1);
    let came = liar.frames(DATA);
    assert!(!came.iter().chain(&client.frames).any(ends_nothing));
    assert_eq!(came.len(), CALLS as usize * (TURNS + 1), "each part, and each end");
}

/// What a client sends is what the service gets, frame for frame.
#[tokio::test]
async fn a_request_ends_in_the_frame_that_its_client_ended_it_in() {
    for parts in [
        &[][..],
        &[data(END_STREAM, b"")],
        &[data(END_STREAM, b"all")],
        &[data(0, b"some"), data(END_STREAM, b"more")],
        &[data(0, b"some"), data(END_STREAM, b"")],
    ] {
        let liar = Liar::start(&[Lie::Echo]).await;
        let server = server(&liar, "");
        let mut client = RawClient::connect(&server).await;
        client.ask(1, if parts.is_empty() { END_STREAM } else { 0 }).await;
        for part in parts {
            client.send(part.clone(), 1).await;
            if !part.payload.is_empty() {
                until(async || liar.frames(DATA).iter().any(|came| came.payload == part.payload), "it came")
                    .await;
            }
        }
        client.answer().await;
        let shape = |frame: &Frame| (frame.kind, frame.flags & END_STREAM, frame.payload.clone());
        assert_eq!(liar.frames(HEADERS)[0].flags & END_STREAM, u8::from(parts.is_empty()));
        let came: Vec<_> = liar.frames(DATA).iter().map(shape).collect();
        assert_eq!(came, parts.iter().map(shape).collect::<Vec<_>>());
    }
}

/// One that is sent again ends with its last part too, whatever ended it first.
#[tokio::test]
async fn a_request_that_is_sent_again_ends_with_its_last_part() {
    let refusal = Lie::After { first: vec![], bytes: 3, then: vec![Frame::reset(frames::REFUSED_STREAM)] };
    let liar = Liar::start(&[refusal, Lie::Echo]).await;
    let server = server(&liar, "retry = { preset = \"quick\", base = \"1ms\" }");
    assert_eq!(Client::new(server.address).post("/", &[], "all").await.status, 200);
    assert_eq!(liar.requests(), 2);
    let came = liar.frames(DATA);
    assert_eq!(came.len(), 2, "{came:?}");
    assert!(came.iter().all(|frame| frame.payload == b"all" && frame.flags & END_STREAM != 0), "{came:?}");
}

/// Its frames without data and without an end are for nobody.
#[tokio::test]
async fn an_answer_ends_as_the_service_ended_it() {
    for (sent, parts) in [
        (vec![Frame::ok(END_STREAM)], vec![]),
        (vec![Frame::ok(0), data(END_STREAM, b"")], vec![(END_STREAM, &b""[..])]),
        (vec![Frame::ok(0), data(0, b"all"), data(END_STREAM, b"")], vec![(0, b"all"), (END_STREAM, b"")]),
        (vec![Frame::ok(0), data(0, b""), data(END_STREAM, b"all")], vec![(END_STREAM, b"all")]),
    ] {
        let liar = Liar::start(&[Lie::Frames(sent)]).await;
        let server = server(&liar, "");
        let mut client = RawClient::connect(&server).await;
        client.ask(1, END_STREAM).await;
        let answer = client.answer().await;
        assert_eq!(answer[0].kind, HEADERS);
        let came: Vec<_> =
            answer[1..].iter().map(|frame| (frame.flags & END_STREAM, &frame.payload[..])).collect();
        assert_eq!(came, parts);
    }
}

/// A server whose access log is a file.
struct Logging {
    server: Server,
    folder: tempfile::TempDir,
}

impl Logging {
    fn start(liar: &Liar, route: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = folder.path().join("access.log");
        let traffic = before(&[liar.address], "protocol = \"http2\"", route);
        Self { server: Server::start_logging_as(&format!("{log:?}\nthreads = 1"), &traffic), folder }
    }

    /// The first `count` lines, once they are there.
    async fn lines(&self, count: usize) -> Vec<serde_json::Value> {
        let read = || std::fs::read_to_string(self.folder.path().join("access.log")).unwrap_or_default();
        until(async || read().lines().count() >= count, "it is logged").await;
        read().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// Requests whose client left.
    async fn left(&self) -> f64 {
        self.server.metric("intertie_requests_cancelled_total{route=\"/**\"}").await
    }
}

/// Answers that say all in their head, or in their last byte, and whose stream ends in a frame of its own.
fn whole() -> [(Method, Vec<Frame>, &'static str); 3] {
    let head = |block| Frame::new(HEADERS, END_HEADERS, 0, block);
    [
        (Method::GET, vec![head(CONTENT_LENGTH_4), data(0, b"good")], "good"),
        (Method::HEAD, vec![head(CONTENT_LENGTH_4)], ""),
        (Method::GET, vec![head(STATUS_204)], ""),
    ]
}

#[tokio::test]
async fn an_answer_is_whole_with_its_last_byte_however_its_stream_ends() {
    for (method, answer, text) in whole() {
        // At once, and only when the client has its answer.
        for waits in [false, true] {
            let gate = Arc::new(Semaphore::new(usize::from(!waits)));
            let lie = Lie::Gated {
                first: answer.clone(),
                gate: Arc::clone(&gate),
                then: vec![data(END_STREAM, b"")],
            };
            let liar = Liar::start(&[lie]).await;
            let logging = Logging::start(&liar, if waits { "deadline = \"off\"" } else { "" });
            let client = Client::new(logging.server.address);
            let request = Request::builder().method(&method).uri("/").body(full("")).expect("a request");
            assert_eq!(client.send(request).await.text(), text);
            let lines = logging.lines(1).await;
            assert!(lines[0]["cut"].is_null(), "{lines:?}");
            gate.add_permits(1);
            assert_eq!(client.get("/").await.status, 200);
            assert!(logging.lines(2).await[1]["cut"].is_null());
            assert_eq!(logging.left().await, 0.0);
            assert!(liar.frames(RST_STREAM).is_empty(), "the service is told that nobody wanted it");
            assert_eq!(liar.connections(), 1);
        }
    }
}

/// The end of a stream is waited for no longer than the answer would be, and for two seconds at most.
#[tokio::test]
async fn a_stream_that_does_not_end_is_let_go() {
    for ((method, answer, text), deadline) in whole().into_iter().zip(["300ms", "30s", "off"]) {
        let liar = Liar::start(&[Lie::Frames(answer)]).await;
        let logging = Logging::start(&liar, &format!("deadline = \"{deadline}\""));
        let client = Client::new(logging.server.address);
        let request = Request::builder().method(method).uri("/").body(full("")).expect("a request");
        assert_eq!(client.send(request).await.text(), text);
        until(async || !liar.frames(RST_STREAM).is_empty(), "it is reset").await;
        assert_eq!(liar.frames(RST_STREAM)[0].payload, CANCEL.to_be_bytes());
        let lines = logging.lines(1).await;
        assert!(lines.len() == 1 && lines[0]["cut"].is_null(), "{lines:?}");
        assert_eq!(logging.left().await, 0.0);
    }
}

#[tokio::test]
async fn a_client_that_leaves_before_the_last_byte_has_left() {
    let head = Frame::new(HEADERS, END_HEADERS, 0, CONTENT_LENGTH_4);
    let liar = Liar::start(&[Lie::Frames(vec![head, data(0, b"goo")])]).await;
    let logging = Logging::start(&liar, "");
    let mut client = Client::new(logging.server.address).connect().await.expect("connects");
    client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("written");
    let mut heard = Vec::new();
    while !heard.ends_with(b"goo") {
        heard.push(client.read_u8().await.expect("an answer"));
    }
    drop(client);
    assert_eq!(logging.lines(1).await[0]["cut"], "client_left");
    until(async || logging.left().await == 1.0, "it is counted").await;
    let reset = async || !liar.frames(RST_STREAM).is_empty();
    tokio::time::timeout(Duration::from_secs(10), until(reset, "the service hears of it"))
        .await
        .expect("soon");
}
