mod attempts;
mod callers;

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ::http::{Request, Response, StatusCode};
use intertie_core::quantity::Ratio;
use intertie_core::rejection::Policy;
use tokio::time::Sleep;
use tower_layer::Layer;
use tower_service::Service;

use super::*;
use crate::{
    BulkheadConfig, CallError, CircuitBreakerConfig, HedgeConfig, MonotonicClock, Pipeline, PipelineConfig,
    RateLimiterConfig, Registry, RetryConfig,
};

const SECOND: Duration = Duration::from_secs(1);

fn retry() -> RetryConfig {
    RetryConfig { jitter: Ratio::ZERO, ..RetryConfig::standard() }
}

/// A body whose clones are counted, and which can be none.
#[derive(Debug, Default)]
struct Body {
    clones: Arc<AtomicU32>,
    // As many bodies are: they can be sent and not shared.
    _not_sync: std::cell::Cell<()>,
}

impl Body {
    fn try_clone(&self) -> Option<Self> {
        self.clones.fetch_add(1, Ordering::Relaxed);
        Some(Self { clones: Arc::clone(&self.clones), ..Self::default() })
    }
}

impl From<String> for Body {
    fn from(_: String) -> Self {
        Self::default()
    }
}

/// What attempts did: the number that each was told, and when it was called.
type Log = Arc<Mutex<Vec<(String, tokio::time::Instant)>>>;

/// A service that must be asked whether it is ready before each call, and that each clone must be asked anew.
/// It answers the statuses given, one for each call and the last one for ever.
struct Server {
    statuses: Arc<Vec<u16>>,
    calls: Log,
    /// How long a clone takes to be ready.
    busy: Duration,
    waits: Option<Pin<Box<Sleep>>>,
    is_ready: bool,
}

impl Server {
    fn answering(statuses: &[u16]) -> Self {
        let statuses = Arc::new(statuses.to_vec());
        Self { statuses, calls: Log::default(), busy: Duration::ZERO, waits: None, is_ready: false }
    }

    fn busy_for(self, busy: Duration) -> Self {
        Self { busy, ..self }
    }

    fn attempts(calls: &Log) -> Vec<String> {
        calls.lock().expect("unpoisoned").iter().map(|(attempt, _)| attempt.clone()).collect()
    }
}

impl Clone for Server {
    fn clone(&self) -> Self {
        let (statuses, calls) = (Arc::clone(&self.statuses), Arc::clone(&self.calls));
        Self { statuses, calls, busy: self.busy, waits: None, is_ready: false }
    }
}

impl Service<Request<Body>> for Server {
    type Response = Response<Body>;
    type Error = &'static str;
    type Future = Ready<Result<Response<Body>, &'static str>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if !self.busy.is_zero() {
            let busy = self.busy;
            let waits = self.waits.get_or_insert_with(|| Box::pin(tokio::time::sleep(busy)));
            std::task::ready!(waits.as_mut().poll(context));
        }
        self.is_ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        assert!(std::mem::take(&mut self.is_ready), "called without being ready");
        let attempt = request.headers()["intertie-attempt"].to_str().expect("text").to_owned();
        let mut calls = self.calls.lock().expect("unpoisoned");
        let status = *self.statuses.get(calls.len()).or(self.statuses.last()).expect("one at least");
        calls.push((attempt, tokio::time::Instant::now()));
        let response = Response::builder().status(status).header("retry-after", 3);
        ready(if status == 0 { Err("reset") } else { Ok(response.body(Body::default()).expect("valid")) })
    }
}

fn get() -> Request<Body> {
    Request::get("/receipts/7").body(Body::default()).expect("valid")
}

fn repeating() -> Http<Body> {
    Http::with_bodies(Body::try_clone)
}

fn pipeline() -> crate::pipeline::PipelineBuilder {
    Pipeline::named("tower")
}

fn per_minute(limit: &str) -> RateLimiterConfig {
    RateLimiterConfig::new(limit.parse().expect("a rate"))
}
