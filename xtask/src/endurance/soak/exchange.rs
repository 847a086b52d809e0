//! One request of each kind, from the client's side.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::header::{
    CONNECTION, CONTENT_TYPE, HOST, HeaderMap, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, TE, UPGRADE,
};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;

use super::super::identity::NAME;
use super::body::{Parts, Source};
use super::connections::Connections;
use super::mix::{Kind, MESSAGE_BYTES, PART_BYTES, TURN, TURNS, Task, Way};
use super::socket;

/// So many times longer are the pauses of who is slow.
const SLOWER: u32 = 3;

/// The pause of a slow client after each part of a long body.
const SLOW_PAUSE: Duration = Duration::from_millis(100);

/// A slow client reads so much of a long answer between two pauses.
const SLOW_BYTES: u64 = 64 * 1024;

/// An answer that was understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// All that was asked for.
    Whole,
    /// That there will be none.
    Refusal,
}

/// Asks and reads to the end. An error is no answer, or not a whole one; who drops it leaves.
pub(super) async fn ask(connections: &Connections, kind: &Kind, slow: bool) -> Result<Answer> {
    let (source, body) = match kind.task {
        Task::Upload => {
            let (source, body) = Parts::new(Some(kind.task.parts() * PART_BYTES as u64));
            (Some(source), body)
        }
        Task::Call => {
            let (source, body) = Parts::new(None);
            (Some(source), body)
        }
        _ => (None, Parts::empty()),
    };
    let request = request(kind, body)?;
    if kind.way == Way::Http2 {
        let mut sender = connections.http2().await?;
        let response = sender.send_request(request);
        return follow(kind, slow, source, response).await;
    }
    let own = slow && kind.task == Task::Download;
    let mut http1 = connections.http1(kind.way == Way::Tls, own).await?;
    let response = http1.sender.send_request(request);
    let answer = follow(kind, slow, source, response).await?;
    if !own && kind.task != Task::Socket {
        connections.keep(http1).await;
    }
    Ok(answer)
}

/// The exchange from where the request has gone out.
async fn follow(
    kind: &Kind,
    slow: bool,
    source: Option<Source>,
    response: impl Future<Output = hyper::Result<Response<Incoming>>>,
) -> Result<Answer> {
    match (kind.task, source) {
        (Task::Upload, Some(source)) => {
            let response = tokio::select! {
                response = response => response?,
                never = upload(source, slow) => match never {},
            };
            read(kind, response, slow).await
        }
        (Task::Call, Some(source)) => call(response.await?, source, slow).await,
        (Task::Socket, _) => talk(kind, response.await?, slow).await,
        _ => read(kind, response.await?, slow).await,
    }
}

fn request(kind: &Kind, body: Parts) -> Result<Request<Parts>> {
    let path = kind.task.path();
    let mut builder = Request::builder();
    builder = match kind.way {
        Way::Http2 => builder.uri(format!("https://{NAME}{path}")),
        Way::Plain | Way::Tls => builder.uri(path).header(HOST, NAME),
    };
    builder = match (kind.task, kind.way) {
        (Task::Upload, _) => builder.method(Method::PUT),
        (Task::Call, _) => {
            builder.method(Method::POST).header(CONTENT_TYPE, "application/grpc").header(TE, "trailers")
        }
        (Task::Socket, Way::Http2) => builder
            .method(Method::CONNECT)
            .extension(Protocol::from_static("websocket"))
            .header(SEC_WEBSOCKET_VERSION, "13"),
        (Task::Socket, _) => builder
            .header(CONNECTION, "upgrade")
            .header(UPGRADE, "websocket")
            .header(SEC_WEBSOCKET_VERSION, "13")
            .header(SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
        _ => builder,
    };
    Ok(builder.body(body)?)
}

/// Sends all of it, and then waits for who reads it.
async fn upload(source: Source, slow: bool) -> Infallible {
    for _ in 0..Task::Upload.parts() {
        if slow {
            tokio::time::sleep(SLOW_PAUSE).await;
        }
        if !source.send(vec![b'u'; PART_BYTES]).await {
            return std::future::pending().await;
        }
    }
    source.end().await;
    std::future::pending().await
}

/// Reads an answer of a known length.
async fn read(kind: &Kind, mut response: Response<Incoming>, slow: bool) -> Result<Answer> {
    let (mut bytes, mut paused) = (0, 0);
    while let Some(frame) = response.frame().await {
        bytes += frame?.data_ref().map_or(0, Bytes::len) as u64;
        if slow && kind.task == Task::Download && bytes - paused >= SLOW_BYTES {
            paused = bytes;
            tokio::time::sleep(SLOW_PAUSE).await;
        }
        if slow && kind.task == Task::Events {
            tokio::time::sleep(TURN * SLOWER).await;
        }
    }
    if response.status() != StatusCode::OK {
        return Ok(Answer::Refusal);
    }
    ensure!(bytes == kind.task.answer_bytes(), "{bytes} bytes of {}", kind.task.answer_bytes());
    Ok(Answer::Whole)
}

async fn talk(kind: &Kind, response: Response<Incoming>, slow: bool) -> Result<Answer> {
    let granted = if kind.way == Way::Http2 { StatusCode::OK } else { StatusCode::SWITCHING_PROTOCOLS };
    if response.status() != granted {
        return Ok(Answer::Refusal);
    }
    let stream = TokioIo::new(hyper::upgrade::on(response).await?);
    socket::talk(stream, if slow { SLOWER } else { 1 }).await?;
    Ok(Answer::Whole)
}

/// Takes turns: a message is sent when the one before has come back.
async fn call(mut response: Response<Incoming>, source: Source, slow: bool) -> Result<Answer> {
    if response.status() != StatusCode::OK || is_failed(response.headers()) {
        return Ok(Answer::Refusal);
    }
    let pause = if slow { TURN * SLOWER } else { TURN };
    for _ in 0..TURNS {
        tokio::time::sleep(pause).await;
        let mut message = vec![0; MESSAGE_BYTES];
        message[4] = MESSAGE_BYTES as u8 - 5;
        source.send(message).await;
        let mut bytes = 0;
        while bytes < MESSAGE_BYTES {
            let frame = response.frame().await.context("the call ended early")??;
            if frame.trailers_ref().is_some_and(is_failed) {
                return Ok(Answer::Refusal);
            }
            bytes += frame.data_ref().context("the call ended early")?.len();
        }
    }
    source.end().await;
    let end = response.frame().await.context("no trailers")??;
    let trailers = end.trailers_ref().context("more than was sent")?;
    ensure!(trailers.contains_key("grpc-status"), "no status");
    Ok(if is_failed(trailers) { Answer::Refusal } else { Answer::Whole })
}

fn is_failed(headers: &HeaderMap) -> bool {
    headers.get("grpc-status").is_some_and(|status| status != "0")
}
