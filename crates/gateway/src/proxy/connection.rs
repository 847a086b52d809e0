//! One client connection: HTTP/1.1, or HTTP/2 when the client begins with its preface.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use intertie_core::id::Id;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::body::ResponseBody;
use super::exchange::{panicked, serve};
use super::worker::Worker;

/// A client that takes longer than this for the head of a request is cut off.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a connection that has not said anything yet may still speak once the drain has begun.
const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// Serves `stream` until its client leaves, or, once `drain` turns true, until its requests are answered.
///
/// A client that says nothing at all is cut off like one that does not finish its head.
pub(super) async fn run(
    worker: Rc<Worker>,
    stream: TcpStream,
    client: IpAddr,
    mut drain: watch::Receiver<bool>,
) {
    let mut leaving = drain.clone();
    let mut first = [0];
    let spoke = tokio::time::timeout(HEADER_READ_TIMEOUT, stream.peek(&mut first));
    let spoken = tokio::select! {
        biased;
        spoke = spoke => matches!(spoke, Ok(Ok(1..))),
        // A client that has just connected is about to speak.
        () = async { drained(&mut leaving).await; tokio::time::sleep(DRAIN_GRACE).await } => false,
    };
    if !spoken {
        return;
    }
    let service = service_fn(|request: Request<Incoming>| {
        let worker = Rc::clone(&worker);
        let id = Id::random();
        // The exchange's future is some kilobytes; in a box it is moved once instead of with its wrappers.
        let future = Box::pin(serve(Rc::clone(&worker), id, client, request));
        let answer = Unwinding { worker, id, future };
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let mut builder = auto::Builder::new(LocalExecutor);
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_READ_TIMEOUT);
    builder.http2().timer(TokioTimer::new());
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut draining = pin!(drained(&mut drain));
    let mut told = false;
    poll_fn(|context| {
        // First the connection: a request that already waits in its socket is taken before the drain is.
        // An error is the client's: it left, or did not speak HTTP; hyper has answered 400 where it could.
        if connection.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        if told || draining.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        told = true;
        connection.as_mut().graceful_shutdown();
        connection.as_mut().poll(context).map(drop)
    })
    .await;
}

async fn drained(drain: &mut watch::Receiver<bool>) {
    // A closed channel means that the gateway is gone, which drains as well.
    let _ = drain.wait_for(|draining| *draining).await;
}

/// Runs the streams of an HTTP/2 connection on the thread that accepted it.
#[derive(Debug, Clone, Copy)]
struct LocalExecutor;

impl<F> Executor<F> for LocalExecutor
where
    F: Future<Output = ()> + 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

pin_project_lite::pin_project! {
    /// Turns a panic into an answer: it fails its own request, and no other on the connection.
    struct Unwinding<F> {
        worker: Rc<Worker>,
        id: Id,
        #[pin]
        future: F,
    }
}

impl<F: Future<Output = Response<ResponseBody>>> Future for Unwinding<F> {
    type Output = Response<ResponseBody>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        // The future is not polled again after it panicked, so no broken invariant is seen.
        match catch_unwind(AssertUnwindSafe(|| this.future.poll(context))) {
            Ok(poll) => poll,
            Err(_) => Poll::Ready(panicked(this.worker, *this.id)),
        }
    }
}
