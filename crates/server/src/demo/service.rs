//! The shop's services. Each reads from its standard input how to behave, and ends with it.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::ExitCode;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use super::client::Connections;

/// Which service this is and where.
#[derive(Debug, clap::Args)]
pub(crate) struct ServiceArguments {
    name: String,
    listen: SocketAddr,
    gateway: SocketAddr,
}

/// Serves until the standard input closes.
pub(crate) fn serve(arguments: &ServiceArguments) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default());
    let served = match runtime {
        Ok(runtime) => runtime.block_on(run(arguments)),
        Err(error) => Err(error.into()),
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(3)
        }
    }
}

/// How the service behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Well,
    /// Answers after this time.
    Slow(Duration),
    /// Answers 503 and asks to be left alone for so many seconds.
    Unavailable(u64),
    /// Resets the connection of one request in so many.
    Resetting(u64),
}

impl Mood {
    fn read(line: &str) -> Option<Self> {
        let (word, number) = line.trim().split_once(' ').unwrap_or((line.trim(), "0"));
        let number: u64 = number.parse().ok()?;
        match word {
            "well" => Some(Self::Well),
            "slow" => Some(Self::Slow(Duration::from_millis(number))),
            "unavailable" => Some(Self::Unavailable(number)),
            "resetting" if number > 0 => Some(Self::Resetting(number)),
            _ => None,
        }
    }
}

struct Service {
    name: String,
    gateway: Connections,
    mood: Cell<Mood>,
    served: Cell<u64>,
}

async fn run(arguments: &ServiceArguments) -> Result<()> {
    let listener = TcpListener::bind(arguments.listen).await?;
    let service = Rc::new(Service {
        name: arguments.name.clone(),
        gateway: Connections::new(arguments.gateway, None),
        mood: Cell::new(Mood::Well),
        served: Cell::new(0),
    });
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        tokio::select! {
            line = lines.next_line() => match line? {
                Some(line) => if let Some(mood) = Mood::read(&line) { service.mood.set(mood) },
                None => return Ok(()),
            },
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                stream.set_nodelay(true)?;
                tokio::task::spawn_local(connection(Rc::clone(&service), stream));
            }
        }
    }
}

async fn connection(service: Rc<Service>, stream: TcpStream) {
    let reset = Rc::new(Cell::new(false));
    let stream = Resettable { stream, reset: Rc::clone(&reset) };
    let answer = service_fn(|request| {
        let (service, reset) = (Rc::clone(&service), Rc::clone(&reset));
        async move {
            let answer = service.answer(request).await;
            reset.set(answer.is_none());
            answer.ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionReset))
        }
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
}

type Answer = Response<Full<Bytes>>;

impl Service {
    /// The answer, or none when the connection is to be reset instead.
    async fn answer(&self, request: Request<Incoming>) -> Option<Answer> {
        if request.uri().path() == "/health/ready" {
            return Some(document(StatusCode::OK, &json!({ "status": "ready" })));
        }
        self.served.set(self.served.get() + 1);
        match self.mood.get() {
            Mood::Well => {}
            Mood::Slow(wait) => tokio::time::sleep(wait).await,
            Mood::Unavailable(seconds) => {
                let mut answer = document(StatusCode::SERVICE_UNAVAILABLE, &json!({ "error": "overloaded" }));
                answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
                return Some(answer);
            }
            Mood::Resetting(one_in) => {
                if self.served.get().is_multiple_of(one_in) {
                    return None;
                }
            }
        }
        let item = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        Some(match self.name.as_str() {
            "orders" => self.order(&item, request.headers()).await,
            "inventory" => document(StatusCode::OK, &json!({ "item": item, "stock": 7 })),
            _ => document(StatusCode::CREATED, &json!({ "order": item, "paid": true })),
        })
    }

    /// Asks inventory, then payments, handing on the time that its caller leaves.
    async fn order(&self, item: &str, received: &HeaderMap) -> Answer {
        let mut headers = HeaderMap::new();
        for name in ["intertie-deadline", "traceparent", "x-correlation-id"] {
            if let Some(value) = received.get(name) {
                headers.insert(name, value.clone());
            }
        }
        let stock = self.gateway.send(Method::GET, &format!("/inventory/{item}"), headers.clone()).await;
        // The same order asked for twice is paid once: the key comes from the order.
        if let Ok(key) = HeaderValue::try_from(format!("pay-{item}")) {
            headers.insert("idempotency-key", key);
        }
        let paid = match &stock {
            Ok(stock) if stock.status.is_success() => {
                self.gateway.send(Method::POST, &format!("/payments/{item}"), headers).await
            }
            _ => stock,
        };
        match paid {
            Ok(paid) if paid.status.is_success() => document(
                StatusCode::OK,
                &json!({ "order": item, "state": "paid", "served": self.served.get() }),
            ),
            Ok(failed) => {
                let mut answer = document(failed.status, &json!({ "order": item, "state": "failed" }));
                for name in ["retry-after", "intertie-retry"] {
                    if let Some(value) = failed.headers.get(name) {
                        answer.headers_mut().insert(name, value.clone());
                    }
                }
                answer
            }
            Err(_) => document(StatusCode::BAD_GATEWAY, &json!({ "order": item, "state": "unknown" })),
        }
    }
}

fn document(status: StatusCode, content: &Value) -> Answer {
    let mut answer = Response::new(Full::from(content.to_string()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// A stream that ends in a reset (RST) instead of an orderly end (FIN) when it is told to.
struct Resettable {
    stream: TcpStream,
    reset: Rc<Cell<bool>>,
}

impl Drop for Resettable {
    fn drop(&mut self) {
        if self.reset.get() {
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Resettable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Resettable {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.reset.get() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
