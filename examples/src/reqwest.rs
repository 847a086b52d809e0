//! A client of reqwest whose requests go through a pipeline: an extension trait of a few lines.

use std::cell::Cell;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::any;
use intertie_core::clock::WallClock;
use intertie_core::failure::Class;
use intertie_resilience::pipeline::Cx;
use intertie_resilience::pipeline::http::{is_idempotent, verdict, write_marks};
use intertie_resilience::{CallError, CircuitBreakerConfig, Pipeline, RetryConfig};
use reqwest::{Client, RequestBuilder, Response};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

trait SendThrough {
    /// Sends the request under `pipeline`, which repeats it if its method or an `Idempotency-Key` allows it and
    /// its body can be cloned. An answer that says the service failed is judged so, and handed out when no
    /// attempt is left.
    async fn send_through(self, pipeline: &Pipeline) -> Result<Response, CallError<reqwest::Error>>;
}

impl SendThrough for RequestBuilder {
    async fn send_through(self, pipeline: &Pipeline) -> Result<Response, CallError<reqwest::Error>> {
        let (client, request) = self.build_split();
        let request = request.map_err(CallError::Operation)?;
        let may_repeat = is_idempotent(request.method(), request.headers());
        let spare = if may_repeat { request.try_clone() } else { None };
        let is_repeatable = spare.is_some();
        let first = Cell::new(Some(request));
        let clock = WallClock::system();
        let call = pipeline
            .call(move |cx: Cx| {
                let again = || spare.as_ref().and_then(reqwest::Request::try_clone);
                let mut request = first.take().or_else(again).expect("what was cloned once is cloned again");
                write_marks(request.headers_mut(), &cx);
                client.execute(request)
            })
            .classify(move |outcome: &Result<Response, reqwest::Error>| match outcome {
                Ok(response) => verdict(response.status(), response.headers(), &clock),
                Err(_) => Class::Transient.into(),
            });
        if is_repeatable { call.idempotent().await } else { call.await }
    }
}

pub(crate) async fn example() -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let url = format!("http://{}/receipts/7", listener.local_addr()?);
    let mut servers = JoinSet::new();
    servers.spawn(axum::serve(listener, flaky()).into_future());

    let retry = RetryConfig { base: Duration::from_millis(10), ..RetryConfig::quick() };
    let pipeline = Pipeline::named("receipts")
        .deadline(Duration::from_secs(30))
        .retry(retry)
        .circuit_breaker(CircuitBreakerConfig::standard())
        .attempt_timeout(Duration::from_secs(10))
        .build()?;
    let client = Client::new();
    let answer = client.get(&url).send_through(&pipeline).await?;
    let status = answer.status();
    let text = answer.text().await?;
    println!("{status}: {text}; {:?}", pipeline.stats());
    ensure!(status == StatusCode::OK && text == "attempt 3, which has a limit");

    let order = client.post(&url).body("one tea").send_through(&pipeline).await?;
    println!("{}, as it must not be made twice", order.status());
    ensure!(order.status() == StatusCode::SERVICE_UNAVAILABLE && pipeline.stats().retries == 2);
    Ok(())
}

/// Of three requests the first two fail.
fn flaky() -> Router {
    let requests = Arc::new(AtomicU32::new(0));
    let answer = move |headers: HeaderMap| async move {
        if requests.fetch_add(1, Ordering::Relaxed) % 3 < 2 {
            return Err(StatusCode::SERVICE_UNAVAILABLE);
        }
        let attempt = headers["intertie-attempt"].to_str().unwrap_or_default();
        let limited = if headers.contains_key("intertie-deadline") { "has a limit" } else { "may last" };
        Ok(format!("attempt {attempt}, which {limited}"))
    };
    Router::new().fallback(any(answer))
}
