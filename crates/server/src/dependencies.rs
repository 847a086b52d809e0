//! What health documents say of the services behind the gateway.

use std::time::Duration;

use intertie_core::clock::{Instant, Timestamp, nanos};
use intertie_gateway::plan::{Endpoint, Plan, Service};
use serde_json::{Map, Value, json};

/// The present, on both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub(crate) monotonic: Instant,
    pub(crate) wall: Timestamp,
}

impl Now {
    fn at(self, instant: Instant) -> Timestamp {
        let since: Duration = self.monotonic.saturating_since(instant);
        Timestamp::from_unix_nanos(self.wall.as_unix_nanos().saturating_sub(nanos(since)))
    }
}

/// Each service with its endpoints, breakers, bulkhead and budget, and whether all of them can be used.
pub(crate) fn services(plan: &Plan, now: Now) -> (Map<String, Value>, bool) {
    let mut all_usable = true;
    let documents = plan.services.iter().map(|service| {
        let usable = is_usable(service, now.monotonic);
        all_usable &= usable;
        (service.name.to_string(), document(service, usable, now))
    });
    let documents = documents.collect();
    (documents, all_usable)
}

/// Those of `needed` that no endpoint serves now.
pub(crate) fn missing(plan: &Plan, needed: &[String], now: Instant) -> Vec<String> {
    let serves = |name: &String| {
        plan.services.iter().any(|service| *service.name == **name && is_usable(service, now))
    };
    needed.iter().filter(|name| !serves(name)).cloned().collect()
}

fn is_usable(service: &Service, now: Instant) -> bool {
    service.endpoints.iter().any(|endpoint| service.is_usable(endpoint, true, now))
}

fn document(service: &Service, usable: bool, now: Now) -> Value {
    let endpoints: Vec<_> =
        service.endpoints.iter().map(|endpoint| of_endpoint(service, endpoint, now)).collect();
    let count = |holds: &dyn Fn(&Endpoint) -> bool| {
        service.endpoints.iter().filter(|endpoint| holds(endpoint)).count()
    };
    let open = |endpoint: &Endpoint| {
        endpoint.circuit_breaker.as_ref().is_some_and(|breaker| !breaker.would_admit(now.monotonic))
    };
    let counts = json!({
        "all": endpoints.len(),
        "usable": count(&|endpoint| service.is_usable(endpoint, true, now.monotonic)),
        "unhealthy": count(&|endpoint| !endpoint.is_healthy()),
        "ejected": service.ejected(now.monotonic),
        "open": count(&open),
    });
    let bulkhead = service.bulkhead.as_ref().map(|bulkhead| {
        let stats = bulkhead.stats();
        json!({ "limit": stats.limit, "running": stats.running, "waiting": stats.waiting, "rejected": stats.rejected, "timed_out": stats.timed_out })
    });
    let budget = service.budget.as_ref().map(|budget| {
        let stats = budget.stats(now.monotonic);
        json!({ "remaining": stats.remaining, "in_flight": stats.in_flight, "withdrawn": stats.withdrawn, "refused": stats.refused })
    });
    json!({
        "status": if usable { "usable" } else { "unusable" },
        "counts": counts,
        "endpoints": endpoints,
        "bulkhead": bulkhead,
        "retry_budget": budget,
    })
}

fn of_endpoint(service: &Service, endpoint: &Endpoint, now: Now) -> Value {
    let breaker = endpoint.circuit_breaker.as_ref().map(|breaker| {
        let stats = breaker.stats(now.monotonic);
        json!({
            "state": stats.phase.name(),
            "window_calls": stats.window_calls,
            "window_failures": stats.window_failures,
            "opened": stats.opened,
            "rejected": stats.rejected,
        })
    });
    let last_failure = endpoint
        .last_failure()
        .map(|failure| json!({ "at": now.at(failure.at).to_string(), "cause": failure.cause }));
    json!({
        "at": endpoint.address.as_str(),
        "healthy": endpoint.is_healthy(),
        "ejected": service.is_ejected(endpoint, now.monotonic),
        "in_flight": endpoint.in_flight(),
        "latency_ms": (endpoint.latency_nanos(now.monotonic) / 1e4).round() / 1e2,
        "circuit_breaker": breaker,
        "last_failure": last_failure,
    })
}
