//! What the services of streams and of calls answer, right and wrong.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, UPGRADE};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;

use super::super::random::Random;
use super::body::{BrokenOff, Parts};
use super::mix::{MESSAGE_BYTES, PART_BYTES, TURN, TURNS, Task};
use super::socket;

/// Longer than anybody waits.
const NEVER: Duration = Duration::from_secs(60);

/// By chance one answer in so many is wrong.
#[derive(Debug)]
pub(super) struct Chance {
    one_in: u64,
    random: Mutex<Random>,
}

impl Chance {
    pub(super) fn new(one_in: u64, random: Random) -> Self {
        Self { one_in, random: Mutex::new(random) }
    }

    /// A number of a fault.
    fn fault(&self) -> Option<u64> {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        (random.below(self.one_in) == 0).then(|| random.below(6))
    }
}

/// An error closes the connection, or resets the stream.
pub(super) async fn answer(
    request: Request<Incoming>,
    chance: &Chance,
) -> Result<Response<Parts>, BrokenOff> {
    if let Some(fault) = chance.fault() {
        return wrong(fault).await;
    }
    match request.uri().path() {
        path if path == Task::Upload.path() => taken(request).await,
        path if path == Task::Download.path() => {
            Ok(streamed("application/octet-stream", |source| async move {
                for _ in 0..Task::Download.parts() {
                    if !source.send(vec![b'd'; PART_BYTES]).await {
                        return;
                    }
                }
                source.end().await;
            }))
        }
        path if path == Task::Events.path() => Ok(streamed("text/event-stream", |source| async move {
            for _ in 0..TURNS {
                tokio::time::sleep(TURN).await;
                if !source.send(format!("data: {:<1$}\n\n", "soak", MESSAGE_BYTES - 8)).await {
                    return;
                }
            }
            source.end().await;
        })),
        path if path == Task::Socket.path() => switched(request),
        path if path == Task::Call.path() => Ok(called(request)),
        _ => Ok(status(StatusCode::NOT_FOUND)),
    }
}

fn status(status: StatusCode) -> Response<Parts> {
    let mut response = Response::new(Parts::empty());
    *response.status_mut() = status;
    response
}

/// An answer whose parts `send` makes.
fn streamed<F: Future<Output = ()> + Send + 'static>(
    content_type: &'static str,
    send: impl FnOnce(super::body::Source) -> F,
) -> Response<Parts> {
    let (source, body) = Parts::new(None);
    tokio::spawn(send(source));
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Reads an upload to its end.
async fn taken(mut request: Request<Incoming>) -> Result<Response<Parts>, BrokenOff> {
    let mut bytes = 0;
    while let Some(frame) = request.frame().await {
        bytes += frame.map_err(|_| BrokenOff)?.data_ref().map_or(0, bytes::Bytes::len);
    }
    if bytes != Task::Upload.parts() as usize * PART_BYTES {
        return Ok(status(StatusCode::BAD_REQUEST));
    }
    let (source, body) = Parts::new(Some(4));
    tokio::spawn(async move {
        source.send("good").await;
        source.end().await;
    });
    Ok(Response::new(body))
}

fn switched(request: Request<Incoming>) -> Result<Response<Parts>, BrokenOff> {
    let Some(key) = request.headers().get("sec-websocket-key").and_then(|key| key.to_str().ok()) else {
        return Ok(status(StatusCode::BAD_REQUEST));
    };
    let mut response = status(StatusCode::SWITCHING_PROTOCOLS);
    let accept = HeaderValue::try_from(socket::accept(key)).map_err(|_| BrokenOff)?;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
    response.headers_mut().insert("sec-websocket-accept", accept);
    tokio::spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            // The client sees how it ended.
            let _ = socket::echo(TokioIo::new(upgraded)).await;
        }
    });
    Ok(response)
}

/// Sends each part of a call's request back, and then how it went.
fn called(mut request: Request<Incoming>) -> Response<Parts> {
    streamed("application/grpc", |source| async move {
        while let Some(frame) = request.frame().await {
            let Ok(frame) = frame else { return };
            // The end of the request comes as a part without data, and would go out as a frame that ends nothing.
            if let Ok(data) = frame.into_data()
                && !data.is_empty()
                && !source.send(data).await
            {
                return;
            }
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        source.end_with(trailers).await;
    })
}

async fn wrong(fault: u64) -> Result<Response<Parts>, BrokenOff> {
    match fault {
        0 => Ok(status(StatusCode::INTERNAL_SERVER_ERROR)),
        1 => {
            let mut response = status(StatusCode::SERVICE_UNAVAILABLE);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
            Ok(response)
        }
        // An answer that breaks off.
        2 => Ok(streamed("text/plain", |source| async move {
            source.send("broken").await;
            tokio::time::sleep(TURN).await;
        })),
        // One that stops, and a connection that stays.
        3 => Ok(streamed("text/plain", |source| async move {
            source.send("stop").await;
            tokio::time::sleep(NEVER).await;
        })),
        // Never an answer.
        4 => {
            tokio::time::sleep(NEVER).await;
            Err(BrokenOff)
        }
        _ => Err(BrokenOff),
    }
}
