//! One attempt at one endpoint.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::failure::{Class, Evidence};
use intertie_core::rejection::{Policy, Rejection};
use intertie_core::telemetry::Events;
use intertie_discovery::balance::Candidate;
use intertie_discovery::outlier::may_eject;
use intertie_resilience::circuit_breaker::{Outcome, OwnedPermit};

use super::worker::RouteRef;
use crate::plan::{Endpoint, Service};
use crate::stats::class_name;

/// A place at an endpoint. It resolves the breaker's permit, the outlier record and the counters exactly
/// once: by [`Attempt::resolve`], or as unjudged when it is dropped; or not at all, by [`Attempt::call_off`].
#[derive(Debug)]
pub(super) struct Attempt {
    route: RouteRef,
    /// The endpoint's position among the service's.
    position: usize,
    started: Instant,
    /// How long the head of the answer took: what comes after it is the client's pace.
    head_after: Option<Duration>,
    permit: Option<OwnedPermit>,
    resolved: bool,
}

/// The endpoints that a call has tried. Beyond the 64th, endpoints count as untried.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tried(u64);

impl Tried {
    fn contains(self, position: usize) -> bool {
        position < 64 && self.0 >> position & 1 == 1
    }

    fn insert(&mut self, position: usize) {
        if position < 64 {
            self.0 |= 1 << position;
        }
    }
}

impl Attempt {
    /// Whether some endpoint would take a call at `at`, as far as one can tell now.
    pub(super) fn is_possible(route: &RouteRef, at: Instant) -> bool {
        let service = &route.service;
        service.endpoints.iter().any(|endpoint| service.is_usable(endpoint, route.settings.asks_breaker, at))
    }

    /// Takes a place at an endpoint that is healthy, not ejected, and whose breaker admits, preferring
    /// those not yet tried.
    ///
    /// # Errors
    /// Who refused: a breaker if one is open, otherwise the balancer, because no endpoint can be used.
    pub(super) fn begin(route: &RouteRef, now: Instant, tried: &mut Tried) -> Result<Self, Rejection> {
        let service = &route.service;
        let asks_breaker = route.settings.asks_breaker;
        let candidate = |position: usize| {
            let endpoint = &service.endpoints[position];
            let usable = service.is_usable(endpoint, asks_breaker, now);
            usable.then(|| Candidate {
                weight: service.config.endpoints[position].weight.get(),
                in_flight: endpoint.in_flight(),
                latency_nanos: endpoint.latency_nanos(now),
            })
        };
        // A breaker that admitted when it was asked may have given its last probe to another thread, or ramp
        // up: each turn of this loop then rules out one endpoint.
        let mut refused = Tried::default();
        let mut last = None;
        for _ in 0..=service.endpoints.len() {
            let picked = {
                let mut balancer = service.balancer.lock().unwrap_or_else(PoisonError::into_inner);
                let candidate =
                    |position: usize| (!refused.contains(position)).then(|| candidate(position)).flatten();
                let untried =
                    |position: usize| (!tried.contains(position)).then(|| candidate(position)).flatten();
                let picked = balancer.pick(fastrand::u64(..), untried);
                match picked {
                    None if tried.0 != 0 => balancer.pick(fastrand::u64(..), candidate),
                    picked => picked,
                }
            };
            let Some(position) = picked else { break };
            tried.insert(position);
            let endpoint = &service.endpoints[position];
            let permit = match endpoint.circuit_breaker.as_ref().filter(|_| asks_breaker) {
                None => None,
                Some(breaker) => match breaker.try_admit_owned(now) {
                    Ok(permit) => Some(permit),
                    Err(rejection) => {
                        refused.insert(position);
                        last = Some(rejection);
                        continue;
                    }
                },
            };
            endpoint.enter();
            return Ok(Self {
                route: route.clone(),
                position,
                started: now,
                head_after: None,
                permit,
                resolved: false,
            });
        }
        Err(last.unwrap_or_else(|| refusal(service, asks_breaker, now)))
    }

    /// The service.
    pub(super) fn service(&self) -> &Arc<Service> {
        &self.route.service
    }

    /// The endpoint.
    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.route.service.endpoints[self.position]
    }

    /// How long it has taken until `now`.
    pub(super) fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_since(self.started)
    }

    /// Notes that the head of the answer is there, and what it means.
    pub(super) fn answered(&mut self, now: Instant, class: Class) {
        // A probe's verdict must not wait for a body that may last for hours.
        if class.evidence() == Evidence::Success
            && let Some(permit) = self.permit.take_if(|permit| permit.is_probe())
        {
            permit.record(now, Evidence::Success);
        }
        let latency = self.elapsed(now);
        self.head_after = Some(latency);
        let endpoint = self.endpoint();
        endpoint.stats.duration.observe(latency);
        endpoint.record_latency(now, latency);
    }

    /// Tells breaker, outlier record and counters what the attempt showed.
    pub(super) fn resolve(self, class: Class, now: Instant, events: &Events) {
        self.resolve_with(class, None, now, events);
    }

    /// The same with the wait that the service asked for.
    pub(super) fn resolve_with(
        mut self,
        class: Class,
        retry_after: Option<Duration>,
        now: Instant,
        events: &Events,
    ) {
        self.judge(class, retry_after, now, events);
    }

    /// Tells what the attempt showed before it is over: its place at the endpoint is kept until it is dropped.
    pub(super) fn judge(
        &mut self,
        class: Class,
        retry_after: Option<Duration>,
        now: Instant,
        events: &Events,
    ) {
        self.resolved = true;
        if let Some(permit) = self.permit.take() {
            permit.record(now, Outcome { evidence: class.evidence(), retry_after, took: self.head_after });
        }
        self.endpoint().stats.resolved(class);
        if class.evidence() == Evidence::Failure {
            self.endpoint().record_failure(now, class_name(class).into());
        }
        self.record_outlier(now, class.evidence(), events);
    }

    /// It is not made after all: its places are given back, and nothing counts it.
    pub(super) fn call_off(mut self) {
        self.resolved = true;
    }

    fn record_outlier(&self, now: Instant, evidence: Evidence, events: &Events) {
        let Some(config) = &self.service().config.outlier else { return };
        let endpoint = self.endpoint();
        let may_eject = evidence == Evidence::Failure
            && may_eject(config, self.service().ejected(now), self.service().endpoints.len());
        if let Some(ejection) = endpoint.record_evidence(config, now, evidence, may_eject) {
            endpoint.stats.ejections.increment();
            events.tell("endpoint_ejected", || {
                let lasts = ejection.until.saturating_since(now);
                vec![
                    ("service", self.service().name.to_string()),
                    ("endpoint", endpoint.address.to_string()),
                    ("for", intertie_core::quantity::format_duration(lasts)),
                ]
            });
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let endpoint = self.endpoint();
        endpoint.leave();
        if !self.resolved {
            // The permit's own drop tells the breaker.
            endpoint.stats.resolved(Class::Unjudged);
        }
    }
}

/// Why no endpoint could be picked: the breaker that will admit first, as far as one can tell, or the
/// balancer when no breaker is in the way.
fn refusal(service: &Service, asks_breaker: bool, now: Instant) -> Rejection {
    let in_the_way = service
        .endpoints
        .iter()
        .filter(|endpoint| asks_breaker && endpoint.is_healthy() && !service.is_ejected(endpoint, now));
    let breakers = in_the_way.filter_map(|endpoint| endpoint.circuit_breaker.as_ref());
    // A known wait comes before an unknown one.
    let first = breakers
        .filter_map(|breaker| Some((breaker, breaker.rejection(now)?)))
        .min_by_key(|(_, rejection)| rejection.retry_after.unwrap_or(Duration::MAX));
    match first {
        Some((breaker, rejection)) => {
            breaker.count_rejection();
            rejection
        }
        None => Rejection { by: Policy::Balance, bound: "endpoints", retry_after: None },
    }
}
