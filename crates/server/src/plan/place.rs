use std::sync::PoisonError;
use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::failure::{Class, Evidence};
use intertie_core::rejection::{Policy, Rejection};
use intertie_discovery::balance::Candidate;
use intertie_discovery::outlier::may_eject;
use intertie_gateway::plan::{Endpoint, Route};
use intertie_resilience::circuit_breaker::{Outcome, OwnedPermit};

/// A place at an endpoint for one attempt.
pub(super) struct Place<'a> {
    route: &'a Route,
    endpoint: &'a Endpoint,
    permit: Option<OwnedPermit>,
    began: Instant,
}

impl<'a> Place<'a> {
    /// Takes a place at an endpoint that can be used: at the `preferred` one, or else where the balancer says,
    /// at one that is not `tried` if there is any.
    ///
    /// # Errors
    /// Who is in the way: a breaker, or the balancer, because no endpoint can be used.
    pub(super) fn take(
        route: &'a Route,
        preferred: Option<usize>,
        tried: &mut Vec<usize>,
        now: Instant,
    ) -> Result<Self, Rejection> {
        let service = &route.service;
        let mut refused = Vec::new();
        loop {
            let candidate = |position: usize| {
                let endpoint = service.endpoints.get(position)?;
                let usable = service.is_usable(endpoint, route.settings.asks_breaker, now);
                (usable && !refused.contains(&position)).then(|| Candidate {
                    weight: service.config.endpoints[position].weight.get(),
                    in_flight: endpoint.in_flight(),
                    latency_nanos: endpoint.latency_nanos(now),
                })
            };
            let untried =
                |position: usize| (!tried.contains(&position)).then(|| candidate(position)).flatten();
            let preferred = preferred.filter(|position| untried(*position).is_some());
            let picked = preferred.or_else(|| {
                let mut balancer = service.balancer.lock().unwrap_or_else(PoisonError::into_inner);
                let fresh = balancer.pick(fastrand::u64(..), untried);
                fresh.or_else(|| balancer.pick(fastrand::u64(..), candidate))
            });
            let position = picked.ok_or_else(|| refusal(route, now))?;
            let endpoint = &service.endpoints[position];
            let breaker = endpoint.circuit_breaker.as_ref().filter(|_| route.settings.asks_breaker);
            match breaker.map(|breaker| breaker.try_admit_owned(now)).transpose() {
                Ok(permit) => {
                    tried.push(position);
                    endpoint.enter();
                    return Ok(Self { route, endpoint, permit, began: now });
                }
                // One that ramps up admits some and not others.
                Err(_) => refused.push(position),
            }
        }
    }

    /// The attempt ended at `now` in `class`; `answered` when the service said so itself.
    pub(super) fn record(mut self, class: Class, answered: bool, now: Instant) {
        let took = now.saturating_since(self.began);
        if answered {
            self.endpoint.record_latency(now, took);
        }
        if let Some(permit) = self.permit.take() {
            let took: Option<Duration> = answered.then_some(took);
            permit.record(now, Outcome { evidence: class.evidence(), retry_after: None, took });
        }
        let service = &self.route.service;
        if let Some(config) = &service.config.outlier {
            let evidence = class.evidence();
            let may_eject = evidence == Evidence::Failure
                && may_eject(config, service.ejected(now), service.endpoints.len());
            self.endpoint.record_evidence(config, now, evidence, may_eject);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.endpoint.leave();
    }
}

/// Whether some endpoint would take an attempt at `at`.
pub(super) fn is_possible(route: &Route, at: Instant) -> bool {
    let service = &route.service;
    service.endpoints.iter().any(|endpoint| service.is_usable(endpoint, route.settings.asks_breaker, at))
}

fn refusal(route: &Route, now: Instant) -> Rejection {
    let service = &route.service;
    let in_the_way = service.endpoints.iter().filter(|endpoint| !service.is_ejected(endpoint, now));
    in_the_way
        .filter_map(|endpoint| endpoint.circuit_breaker.as_ref().filter(|_| route.settings.asks_breaker))
        .find_map(|breaker| breaker.rejection(now))
        .unwrap_or(Rejection { by: Policy::Balance, bound: "endpoints", retry_after: None })
}
