//! The shop behind the gateway: its file, and a service that answers as real ones do.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

use crate::harness::{AnyBody, free_port, full, services};

/// One answer in so many is a failure where the gateway repeats it.
const FAILURES: u64 = 500;

/// The shop's file: routes with all policies, with some and with none, and more of them than are ever asked for.
pub(super) fn file(folder: &Path, http1: [SocketAddr; 2], http2: SocketAddr) -> String {
    let log = folder.join("access.log");
    let mut file = format!(
        r#"
[server]
listen = ["127.0.0.1:0"]
admin = "127.0.0.1:0"
threads = 2
access_log = {{ to = {log:?}, format = "json" }}

[tls]
listen = ["127.0.0.1:0"]

[certificate.shop]
chain = "shop.crt"
key = "shop.key"

[policy.standard]
deadline = "20s"
attempt_timeout = "5s"
retry = {{ preset = "quick", attempts = 3, budget = "20%" }}
circuit_breaker = {{ window = "10s", failure_rate = "50%", minimum_calls = 100, open = "1s" }}
bulkhead = {{ concurrent = 2000, queue = 100, wait = "100ms" }}
rate_limiter = {{ limit = "500000/s", burst = 500000, by = "client_address" }}

[limit.searches]
limit = "50/s"
by = "header:X-Api-Key"

[service.items]
endpoints = [{{ at = "{first}" }}, {{ at = "{second}" }}]
balance = "least_requests"
health_check = {{ path = "/health", every = "1s" }}
outlier = {{ consecutive_failures = 20 }}
use = "standard"

[service.orders]
endpoints = [{{ at = "{http2}" }}]
protocol = "http2"
use = "standard"

[service.files]
endpoints = [{{ at = "{second}" }}]

[route."/items/**"]
to = "items"

[route."GET /search"]
to = "items"
limits = ["searches"]

[route."/orders/**"]
to = "orders"
body_max = "1MiB"

[route."/files/**"]
to = "files"

[route."/health"]
to = "files"

[route.pages]
match = {{ host = "shop.example", path = "/pages/{{page}}", method = ["GET", "HEAD"] }}
to = "items"
use = "standard"
"#,
        first = http1[0],
        second = http1[1],
    );
    for partner in 0..300 {
        let _ = write!(file, "\n[route.\"/partners/{partner}/items/{{id}}\"]\nto = \"items\"\n");
    }
    file
}

/// Starts a service that speaks HTTP/1.1, or HTTP/2.
pub(super) fn service(is_http2: bool) -> SocketAddr {
    let (listener, address) = free_port();
    services().spawn(async move {
        let listener = TcpListener::from_std(listener).expect("a socket");
        let asked = Arc::new(AtomicU64::new(0));
        loop {
            let (stream, _) = listener.accept().await.expect("accepts");
            stream.set_nodelay(true).expect("a TCP socket");
            let (io, asked) = (TokioIo::new(stream), Arc::clone(&asked));
            let service = service_fn(move |request| {
                let number = asked.fetch_add(1, Ordering::Relaxed);
                async move { Ok::<_, Infallible>(respond(request, number).await) }
            });
            tokio::spawn(async move {
                // A client that has gone home is no failure of the service.
                let _ = if is_http2 {
                    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    connection.serve_connection(io, service).await
                } else {
                    hyper::server::conn::http1::Builder::new().serve_connection(io, service).await
                };
            });
        }
    });
    address
}

async fn respond(request: Request<Incoming>, number: u64) -> Response<AnyBody> {
    let (parts, body) = request.into_parts();
    let received = body.collect().await.map(|body| body.to_bytes().len()).unwrap_or_default();
    let is_read = matches!(parts.method, Method::GET | Method::HEAD);
    let response = Response::builder()
        .header("cache-control", "private, max-age=60")
        .header("vary", "accept-encoding, accept-language")
        .header("x-served-by", format!("shop-{}", number % 7));
    let path = parts.uri.path();
    let response = if path == "/health" {
        Response::builder().body(full("ok"))
    } else if is_read && path.starts_with("/files/") {
        response.header("content-type", "application/octet-stream").body(full(vec![7; 512 * 1024]))
    } else if is_read && number % FAILURES == FAILURES - 1 {
        response.status(503).header("retry-after", "0").body(full(""))
    } else if parts.headers.contains_key("if-none-match") {
        response.status(304).header("etag", "\"7\"").body(full(""))
    } else if !is_read {
        let response = response.header("content-type", "application/json");
        response
            .status(201)
            .header("location", "/orders/7")
            .body(full(format!("{{\"received\":{received}}}")))
    } else if path.starts_with("/pages/") {
        let response = response.header("content-type", "text/html; charset=utf-8");
        response.header("set-cookie", "seen=1; Path=/; Secure; HttpOnly").body(parts_of(8, 1024))
    } else if path == "/items" {
        response.header("content-type", "application/json").body(parts_of(16, 1000))
    } else {
        let response = response.header("content-type", "application/json").header("etag", "\"7\"");
        response.body(full(vec![b' '; 200 + usize::try_from(number % 2000).unwrap_or_default()]))
    };
    response.expect("a good answer")
}

/// A body that comes in parts, whose length nobody tells.
fn parts_of(count: usize, length: usize) -> AnyBody {
    let part = Bytes::from(vec![b'p'; length]);
    let frames = (0..count).map(move |_| Ok(Frame::data(part.clone())));
    StreamBody::new(Frames(frames)).boxed()
}

/// An iterator as a stream that is always ready.
struct Frames<I>(I);

impl<I: Iterator + Unpin> futures_core::Stream for Frames<I> {
    type Item = I::Item;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<I::Item>> {
        std::task::Poll::Ready(self.0.next())
    }
}
