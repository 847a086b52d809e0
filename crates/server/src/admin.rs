//! The admin listener: metrics and health, apart from all traffic.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use intertie_core::telemetry::{Events, Snapshot, Source};
use intertie_gateway::proxy::Gateway;
use intertie_observe::event_log::Latest;
use intertie_observe::metrics;
use intertie_resilience::MonotonicClock;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// What the admin listener shows.
pub(crate) struct Admin {
    gateway: Arc<Gateway>,
    sources: Vec<Arc<dyn Source + Send + Sync>>,
    latest: Latest,
    events: Events,
    draining: AtomicBool,
    leaving: AtomicBool,
}

impl Admin {
    pub(crate) fn new(
        gateway: Arc<Gateway>,
        mut sources: Vec<Arc<dyn Source + Send + Sync>>,
        latest: Latest,
        events: Events,
    ) -> Self {
        sources.push(Arc::new(Process { events: events.clone() }));
        let (draining, leaving) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { gateway, sources, latest, events, draining, leaving }
    }

    /// Not ready any more: load balancers in front of us should look elsewhere.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Another process answers on the address from now on: who is still connected should ask that one.
    pub(crate) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let mut answer = self.document(request);
        if self.leaving.load(Ordering::Relaxed) {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }

    fn document(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut answer =
                document(StatusCode::METHOD_NOT_ALLOWED, &json!({ "status": "method not allowed" }));
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        match request.uri().path() {
            "/metrics" => self.metrics(),
            "/health/live" => document(StatusCode::OK, &json!({ "status": "live" })),
            "/health/ready" => {
                if self.draining.load(Ordering::Relaxed) {
                    document(StatusCode::SERVICE_UNAVAILABLE, &json!({ "status": "draining" }))
                } else {
                    document(StatusCode::OK, &json!({ "status": "ready" }))
                }
            }
            "/health/detailed" => self.detailed(),
            _ => {
                let known = ["/metrics", "/health/live", "/health/ready", "/health/detailed"];
                document(StatusCode::NOT_FOUND, &json!({ "status": "not found", "known": known }))
            }
        }
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        let sources: Vec<&dyn Source> =
            self.sources.iter().map(|source| source.as_ref() as &dyn Source).collect();
        match metrics::render(&sources) {
            Ok(text) => {
                let mut answer = Response::new(Full::from(text));
                answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE));
                answer
            }
            Err(error) => {
                self.events.tell("metrics_failed", || vec![("error", error.to_string())]);
                document(StatusCode::INTERNAL_SERVER_ERROR, &json!({ "status": "failed" }))
            }
        }
    }

    /// Every service with its endpoints, breakers, bulkhead and budget, and the latest events. 200 as
    /// long as each service has an endpoint that can be used, 503 otherwise.
    fn detailed(&self) -> Response<Full<Bytes>> {
        let now = MonotonicClock::now();
        let plan = self.gateway.plan();
        let mut all_usable = true;
        let mut services = serde_json::Map::new();
        for service in &plan.services {
            let mut usable = false;
            let endpoints: Vec<Value> = service
                .endpoints
                .iter()
                .map(|endpoint| {
                    let healthy = endpoint.is_healthy();
                    let ejected = service.is_ejected(endpoint, now);
                    let breaker = endpoint.circuit_breaker.as_ref().map(|breaker| breaker.stats(now));
                    usable |= service.is_usable(endpoint, true, now);
                    let latency = endpoint.latency_nanos(now);
                    json!({
                        "at": endpoint.address.as_str(),
                        "healthy": healthy,
                        "ejected": ejected,
                        "in_flight": endpoint.in_flight(),
                        "latency_ms": (latency / 1e4).round() / 1e2,
                        "circuit_breaker": breaker.map(|stats| json!({
                            "state": stats.phase.name(),
                            "window_calls": stats.window_calls,
                            "window_failures": stats.window_failures,
                            "opened": stats.opened,
                            "rejected": stats.rejected,
                        })),
                    })
                })
                .collect();
            all_usable &= usable;
            let bulkhead = service.bulkhead.as_ref().map(|bulkhead| {
                let stats = bulkhead.stats();
                json!({ "limit": stats.limit, "running": stats.running, "waiting": stats.waiting, "rejected": stats.rejected, "timed_out": stats.timed_out })
            });
            let budget = service.budget.as_ref().map(|budget| {
                let stats = budget.stats(now);
                json!({ "remaining": stats.remaining, "in_flight": stats.in_flight, "withdrawn": stats.withdrawn, "refused": stats.refused })
            });
            let status = if usable { "usable" } else { "unusable" };
            services.insert(
                service.name.to_string(),
                json!({ "status": status, "endpoints": endpoints, "bulkhead": bulkhead, "retry_budget": budget }),
            );
        }
        let (code, status) = match (self.draining.load(Ordering::Relaxed), all_usable) {
            (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
            (false, true) => (StatusCode::OK, "ready"),
            (false, false) => (StatusCode::SERVICE_UNAVAILABLE, "degraded"),
        };
        let answer = json!({
            "status": status,
            "connections": self.gateway.connections(),
            "services": services,
            "events": self.latest.document(),
        });
        document(code, &answer)
    }
}

/// The process itself.
struct Process {
    events: Events,
}

impl Source for Process {
    fn read(&self, snapshot: &mut Snapshot) {
        let labels = [("version", env!("CARGO_PKG_VERSION"))];
        snapshot.gauge("build_info", "1, labelled with the version.", &labels, 1.0);
        snapshot.counter(
            "events_dropped",
            "Events that found the log's queue full.",
            &[],
            self.events.dropped(),
        );
    }
}

fn document(status: StatusCode, content: &Value) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::from(content.to_string()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// Serves the admin listener until the task is aborted.
pub(crate) async fn serve(listener: TcpListener, admin: Arc<Admin>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let admin = Arc::clone(&admin);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let answer = admin.answer(&request);
                async move { Ok::<_, Infallible>(answer) }
            });
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(10));
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
