//! The admin listener: metrics and health, apart from all traffic.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use intertie_core::clock::WallClock;
use intertie_core::telemetry::{Events, Source};
use intertie_gateway::proxy::Gateway;
use intertie_observe::event_log::Latest;
use intertie_observe::metrics;
use intertie_resilience::MonotonicClock;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::dependencies::{self, Now};
use crate::store::Store;
use crate::usage::Process;

/// What the admin listener shows.
pub(crate) struct Admin {
    gateway: Arc<Gateway>,
    sources: Vec<Arc<dyn Source + Send + Sync>>,
    latest: Latest,
    events: Events,
    process: Process,
    /// The services without which it is not ready.
    needed: Arc<Mutex<Vec<String>>>,
    store: Option<Store>,
    draining: AtomicBool,
    leaving: AtomicBool,
}

impl Admin {
    pub(crate) fn new(
        gateway: Arc<Gateway>,
        mut sources: Vec<Arc<dyn Source + Send + Sync>>,
        latest: Latest,
        events: Events,
        needed: Arc<Mutex<Vec<String>>>,
        store: Option<Store>,
    ) -> Self {
        let process = Process::new(events.clone());
        sources.push(Arc::new(process.clone()));
        let (draining, leaving) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { gateway, sources, latest, events, process, needed, store, draining, leaving }
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
            "/health/ready" => self.ready(),
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

    /// 503 while it drains, while no endpoint serves one of the services that the file declares as needed, or while
    /// the data directory takes no writes.
    fn ready(&self) -> Response<Full<Bytes>> {
        if self.draining.load(Ordering::Relaxed) {
            return document(StatusCode::SERVICE_UNAVAILABLE, &json!({ "status": "draining" }));
        }
        let needed = self.needed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let missing = dependencies::missing(&self.gateway.plan(), &needed, MonotonicClock::now());
        let store = self.store.as_ref().and_then(Store::problem);
        let mut answer = json!({ "status": "waiting" });
        if !missing.is_empty() {
            answer["missing"] = missing.into();
        }
        match store {
            Some(problem) => answer["store"] = problem.into(),
            None if answer.get("missing").is_none() => {
                return document(StatusCode::OK, &json!({ "status": "ready" }));
            }
            None => {}
        }
        document(StatusCode::SERVICE_UNAVAILABLE, &answer)
    }

    /// The process, every service, and the latest events. 200 as long as each service has an endpoint that can
    /// be used, 503 otherwise.
    fn detailed(&self) -> Response<Full<Bytes>> {
        let now = Now { monotonic: MonotonicClock::now(), wall: WallClock::system().now() };
        let (services, all_usable) = dependencies::services(&self.gateway.plan(), now);
        let problem = self.store.as_ref().and_then(Store::problem);
        let is_well = all_usable && problem.is_none();
        let (code, status) = match (self.draining.load(Ordering::Relaxed), is_well) {
            (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
            (false, true) => (StatusCode::OK, "ready"),
            (false, false) => (StatusCode::SERVICE_UNAVAILABLE, "degraded"),
        };
        let mut answer = json!({
            "status": status,
            "process": self.process.document(),
            "connections": self.gateway.connections(),
            "services": services,
            "events": self.latest.document(),
        });
        if let Some(store) = &self.store {
            answer["store"] = json!({ "takes_writes": problem.is_none() });
            if let Some(problem) = problem {
                answer["store"]["problem"] = problem.into();
            }
            if let Some(processes) = store.pinned_by() {
                answer["store"]["log_pinned_by"] = processes.into();
            }
            let damages = store.damages();
            if !damages.is_empty() {
                answer["store"]["damaged"] = damages.into();
            }
        }
        document(code, &answer)
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
