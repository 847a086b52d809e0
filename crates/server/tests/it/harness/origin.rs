//! Scripted services in this process.

use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;

use super::{AnyBody, full};

/// A request as a service received it.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

/// What a service does with a request.
pub(crate) enum Reply {
    /// Answers.
    Answer(Response<AnyBody>),
    /// Closes the connection without an answer.
    Close,
    /// Never answers.
    Hang,
}

/// An answer with a short body.
pub(crate) fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> Reply {
    let mut response = Response::new(full(body.to_owned()));
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    for (name, value) in headers {
        response.headers_mut().insert(*name, value.parse().expect("a header value"));
    }
    Reply::Answer(response)
}

type Replying = Pin<Box<dyn Future<Output = Reply> + Send>>;
type Handler = dyn Fn(Received) -> Replying + Send + Sync;

/// A scripted service in this process.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Origin {
    /// Answers with what `handler` makes of each request.
    pub(crate) async fn start<F, Fut>(handler: F) -> Self
    where
        F: Fn(Received) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Reply> + Send + 'static,
    {
        let (listener, address) = free_port();
        let received = Arc::new(Mutex::new(Vec::new()));
        let handler: Arc<Handler> = Arc::new(move |request| Box::pin(handler(request)));
        let task = services().spawn(serve(listener, handler, Arc::clone(&received)));
        Self { address, received, task }
    }

    /// Answers each request with the next of `statuses`, the last one for ever.
    pub(crate) async fn statuses(statuses: &[u16]) -> Self {
        let script = Mutex::new(VecDeque::from(statuses.to_vec()));
        Self::start(move |_| {
            let mut script = script.lock().expect("unpoisoned");
            let status = if script.len() > 1 { script.pop_front() } else { script.front().copied() };
            async move { answer(status.unwrap_or(200), &[], "scripted") }
        })
        .await
    }

    /// Everything received so far, health checks aside.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().expect("unpoisoned").clone()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A listener for a service, to be served by any runtime.
pub(crate) fn free_port() -> (std::net::TcpListener, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
    // Room for all that tests open at once: what does not fit is tried again by the kernel after a second.
    socket.listen(1024).expect("listens");
    let listener = std::net::TcpListener::from(socket);
    listener.set_nonblocking(true).expect("a socket");
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

/// The runtime of all services: a test that waits for the server must not keep them from answering it.
pub(crate) fn services() -> &'static tokio::runtime::Runtime {
    static SERVICES: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    SERVICES.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
    })
}

async fn serve(listener: std::net::TcpListener, handler: Arc<Handler>, log: Arc<Mutex<Vec<Received>>>) {
    let listener = TcpListener::from_std(listener).expect("a socket");
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("accepts");
        stream.set_nodelay(true).expect("a TCP socket");
        let (handler, log) = (Arc::clone(&handler), Arc::clone(&log));
        connections.spawn(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let (handler, log) = (Arc::clone(&handler), Arc::clone(&log));
                async move { respond(request, &handler, &log).await }
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn respond(
    request: Request<Incoming>,
    handler: &Arc<Handler>,
    log: &Arc<Mutex<Vec<Received>>>,
) -> Result<Response<AnyBody>, std::io::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(std::io::Error::other)?;
    let received = Received {
        method: parts.method,
        path: parts.uri.to_string(),
        headers: parts.headers,
        trailers: body.trailers().cloned(),
        body: body.to_bytes(),
    };
    if received.headers.get("user-agent").is_none_or(|agent| agent != "intertie-health-check") {
        log.lock().expect("unpoisoned").push(received.clone());
    }
    match handler(received).await {
        Reply::Answer(response) => Ok(response),
        Reply::Close => Err(std::io::ErrorKind::ConnectionReset.into()),
        Reply::Hang => std::future::pending().await,
    }
}
