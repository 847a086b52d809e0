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

#[tokio::test(start_paused = true)]
async fn a_request_that_may_be_made_twice_is_repeated_when_its_answer_says_so() {
    let server = Server::answering(&[503, 429, 200]);
    let calls = Arc::clone(&server.calls);
    let layer = PipelineLayer::new(pipeline().retry(retry()).build().expect("valid"), repeating());
    let request = get();
    let clones = Arc::clone(&request.body().clones);
    let answer = layer.layer(server).call(request).await.expect("in the end");
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(Server::attempts(&calls), ["1", "2", "3"]);
    let waits: Vec<_> =
        calls.lock().expect("unpoisoned").windows(2).map(|pair| pair[1].1 - pair[0].1).collect();
    assert_eq!(waits, [3 * SECOND, 3 * SECOND], "what Retry-After asks for");
    assert_eq!(clones.load(Ordering::Relaxed), 3, "one to keep, and one for each repetition");
}

#[tokio::test(start_paused = true)]
async fn a_request_is_cloned_only_when_a_second_attempt_is_possible() {
    let once = RetryConfig { attempts: NonZeroU32::MIN, ..retry() };
    let hedge = HedgeConfig::after(SECOND);
    let post = || Request::post("/orders").body(Body::default()).expect("valid");
    for (builder, request, clones) in [
        (pipeline(), get(), 0),
        (pipeline().retry(once), get(), 0),
        (pipeline().retry(retry()), post(), 0),
        (pipeline().retry(retry()), get(), 1),
        (pipeline().hedge(hedge), get(), 1),
    ] {
        let counted = Arc::clone(&request.body().clones);
        let layer = PipelineLayer::new(builder.build().expect("valid"), repeating());
        layer.layer(Server::answering(&[200])).call(request).await.expect("succeeds");
        assert_eq!(counted.load(Ordering::Relaxed), clones);
    }
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_cloned_or_made_twice_has_one_attempt() {
    let keyed = Request::post("/orders").header("idempotency-key", "order-7").body(Body::default());
    let post = Request::post("/orders").body(Body::default()).expect("valid");
    for (protocol, request, attempts) in
        [(Http::new(), get(), 1), (repeating(), post, 1), (repeating(), keyed.expect("valid"), 3)]
    {
        let server = Server::answering(&[502]);
        let calls = Arc::clone(&server.calls);
        let layer = PipelineLayer::new(pipeline().retry(retry()).build().expect("valid"), protocol);
        let answer = layer.layer(server).call(request).await.expect("the last answer");
        assert_eq!((answer.status(), Server::attempts(&calls).len()), (StatusCode::BAD_GATEWAY, attempts));
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_is_the_request_itself() {
    #[derive(Debug, Clone, PartialEq)]
    struct Mark(u8);
    let mut request = Request::put("/a?b=c").version(::http::Version::HTTP_2).header("x", "y");
    request.extensions_mut().expect("valid").insert(Mark(7));
    let request = request.body(Body::default()).expect("valid");
    let copy = Protocol::<_, Response<Body>, ()>::try_clone(&repeating(), &request).expect("can be cloned");
    assert_eq!(
        (copy.method(), copy.uri(), copy.version()),
        (request.method(), request.uri(), request.version())
    );
    assert_eq!(copy.headers(), request.headers());
    assert_eq!(copy.extensions().get::<Mark>(), Some(&Mark(7)));
}

#[tokio::test(start_paused = true)]
async fn every_attempt_waits_until_its_own_clone_is_ready_within_its_timeout() {
    let build = |timeout| pipeline().retry(retry()).attempt_timeout(timeout).build().expect("valid");
    let server = Server::answering(&[0, 200]).busy_for(2 * SECOND);
    let calls = Arc::clone(&server.calls);
    let mut service = PipelineLayer::new(build(5 * SECOND), repeating()).layer(server.clone());
    let mut context = Context::from_waker(Waker::noop());
    assert!(Service::<Request<Body>>::poll_ready(&mut service, &mut context).is_ready(), "it never waits");
    let started = tokio::time::Instant::now();
    assert!(service.call(get()).await.is_ok());
    let began: Vec<_> = calls.lock().expect("unpoisoned").iter().map(|(_, at)| *at - started).collect();
    assert_eq!(began, [2 * SECOND, 5 * SECOND], "2 s to be ready, 1 s of backoff, 2 s to be ready");

    let mut service = PipelineLayer::new(build(SECOND), repeating()).layer(server);
    let error = service.call(get()).await.expect_err("never ready in time");
    assert!(matches!(error, CallError::Exhausted(all) if all.attempts == 3));
}

#[tokio::test(start_paused = true)]
async fn an_error_is_flat_and_judged() {
    let breaker = CircuitBreakerConfig {
        consecutive_failures: Some(NonZeroU32::MIN),
        failures: None,
        ..CircuitBreakerConfig::standard()
    };
    let pipeline = pipeline().circuit_breaker(breaker).build().expect("valid");
    let mut service = PipelineLayer::http(pipeline).layer(Server::answering(&[0]));
    assert!(matches!(service.call(get()).await, Err(CallError::Operation("reset"))));
    let error = service.call(get()).await.expect_err("open");
    assert!(matches!(error, CallError::Rejected(rejection) if rejection.by == Policy::CircuitBreaker));
}

#[tokio::test(start_paused = true)]
async fn the_senders_deadline_is_kept_and_handed_on() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    #[derive(Clone)]
    struct Slow(Arc<Mutex<Vec<Option<String>>>>);
    impl Service<Request<Body>> for Slow {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;
        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }
        fn call(&mut self, request: Request<Body>) -> Self::Future {
            let deadline = request.headers().get("intertie-deadline");
            let deadline = deadline.map(|value| value.to_str().expect("text").to_owned());
            self.0.lock().expect("unpoisoned").push(deadline);
            Box::pin(std::future::pending())
        }
    }
    let pipeline = pipeline().deadline(9 * SECOND).build().expect("valid");
    let mut service = PipelineLayer::http(pipeline).layer(Slow(Arc::clone(&seen)));
    for (deadline, expected) in [("2000", 2 * SECOND), ("90000", 9 * SECOND), ("soon", 9 * SECOND)] {
        let started = tokio::time::Instant::now();
        let request = Request::get("/").header("intertie-deadline", deadline).body(Body::default());
        let error = service.call(request.expect("valid")).await.expect_err("slow");
        assert!(matches!(error, CallError::DeadlineExceeded));
        assert_eq!(started.elapsed(), expected, "{deadline}");
    }
    let text = |millis: &str| Some(millis.to_owned());
    assert_eq!(*seen.lock().expect("unpoisoned"), [text("2000"), text("9000"), text("9000")]);
}

fn per_minute(limit: &str) -> RateLimiterConfig {
    RateLimiterConfig::new(limit.parse().expect("a rate"))
}

#[tokio::test(start_paused = true)]
async fn clones_of_a_rate_limited_service_share_its_quotas_by_key() {
    let pipeline = pipeline().rate_limiter(per_minute("1/min")).build().expect("valid");
    let layer = PipelineLayer::http_by(pipeline, |request: &Request<Body>| request.uri().path().to_owned());
    let service = layer.layer(Server::answering(&[200]));
    let get = |path| Request::get(path).body(Body::default()).expect("valid");
    assert!(service.clone().call(get("/a")).await.is_ok());
    assert!(service.clone().call(get("/b")).await.is_ok());
    let error = service.clone().call(get("/a")).await.expect_err("used up");
    assert!(matches!(error, CallError::Rejected(rejection) if rejection.by == Policy::RateLimiter));
    assert!(layer.layer(Server::answering(&[200])).call(get("/b")).await.is_err(), "of the same layer");
}

#[tokio::test(start_paused = true)]
async fn a_pipeline_by_name_changes_under_a_service_and_keeps_its_state() {
    let registry = Registry::new(PipelineConfig::default()).expect("valid");
    let limited = |deadline| PipelineConfig {
        rate_limiter: Some(per_minute("2/min")),
        deadline,
        ..PipelineConfig::default()
    };
    registry.add("tower", limited(None)).expect("new");
    assert!(Handle::named(&registry, "towr").is_err());
    let handle = Handle::named(&registry, "tower").expect("just added");
    let mut service = PipelineLayer::http(handle).layer(Server::answering(&[200]).busy_for(2 * SECOND));
    assert!(service.call(get()).await.is_ok());
    registry.configure("tower", limited(Some(SECOND))).expect("valid");
    assert!(matches!(service.call(get()).await, Err(CallError::DeadlineExceeded)), "the new deadline");
    assert!(matches!(service.call(get()).await, Err(CallError::Rejected(_))), "the old quota");
}

#[tokio::test(start_paused = true)]
async fn a_server_answers_what_its_pipeline_refuses() {
    #[derive(Clone)]
    struct Fine;
    impl Service<Request<Body>> for Fine {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = Ready<Result<Response<Body>, Infallible>>;
        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }
        fn call(&mut self, _: Request<Body>) -> Self::Future {
            ready(Ok(Response::default()))
        }
    }
    let pipeline = pipeline().rate_limiter(per_minute("1/min")).build().expect("valid");
    let mut service = PipelineLayer::http(pipeline).answering().layer(Fine);
    let Ok(answer) = service.call(get()).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let Ok(answer) = service.call(get()).await;
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.headers()["retry-after"], "60");
    let failing = Pipeline::named("failing").build().expect("valid");
    let mut service = PipelineLayer::http(failing).answering().layer(Server::answering(&[0]));
    assert_eq!(service.call(get()).await.map(|_| ()), Err("reset"), "its own error is its own");
}

#[tokio::test(start_paused = true)]
async fn answers_of_grpc_are_judged_by_their_own_status() {
    #[derive(Clone)]
    struct Health(&'static str);
    impl Service<Request<Body>> for Health {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = Ready<Result<Response<Body>, Infallible>>;
        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }
        fn call(&mut self, request: Request<Body>) -> Self::Future {
            assert_eq!(request.headers()["grpc-timeout"], "9000m");
            ready(Ok(Response::builder().header("grpc-status", self.0).body(Body::default()).expect("valid")))
        }
    }
    for (code, failures) in [("0", 0), ("5", 0), ("8", 0), ("14", 1)] {
        let pipeline = pipeline().deadline(9 * SECOND).circuit_breaker(CircuitBreakerConfig::standard());
        let pipeline = pipeline.build().expect("valid");
        let mut service = PipelineLayer::grpc(pipeline.clone()).layer(Health(code));
        assert!(service.call(get()).await.is_ok());
        let stats = pipeline.circuit_breaker().expect("in force").stats(MonotonicClock::now());
        assert_eq!(stats.window_failures, failures, "{code}");
    }
}

/// Waits a second and panics then, or says that it was never let in.
#[derive(Clone)]
struct Panics;

impl Service<()> for Panics {
    type Response = ();
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<(), Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        Box::pin(async {
            tokio::time::sleep(SECOND).await;
            panic!("in the service")
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_and_a_panic_free_the_place() {
    let pipeline = pipeline().bulkhead(BulkheadConfig::new(NonZeroU32::MIN)).build().expect("valid");
    let mut service = PipelineLayer::plain(pipeline.clone()).layer(Panics);
    let running = || pipeline.bulkhead().expect("in force").stats().running;
    let mut context = Context::from_waker(Waker::noop());
    let mut call = service.call(());
    assert_eq!((running(), call.as_mut().poll(&mut context).is_pending()), (0, true));
    assert_eq!(running(), 1);
    drop(call);
    assert_eq!(running(), 0);
    let mut call = service.call(());
    assert!(call.as_mut().poll(&mut context).is_pending());
    tokio::time::advance(SECOND).await;
    assert!(catch_unwind(AssertUnwindSafe(move || call.as_mut().poll(&mut context).is_ready())).is_err());
    assert_eq!((running(), pipeline.stats().cancelled), (0, 2));
}
