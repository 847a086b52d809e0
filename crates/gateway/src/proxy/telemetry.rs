//! What the data plane's routes, limits, services and endpoints show of themselves.

use intertie_core::telemetry::{Snapshot, Source, Value};
use intertie_resilience::MonotonicClock;

use super::admission::Full;
use super::drive::Cut;
use super::gateway::Gateway;
use crate::plan::{Endpoint, Limiter, Plan, Security, Service};
use crate::stats::{RouteStats, UpgradeStats, Way};
use crate::tls::{Terms, TlsStats};
use crate::wire::WireStats;

impl Source for Gateway {
    fn read(&self, snapshot: &mut Snapshot) {
        snapshot.gauge("gateway_connections", "Open client connections.", &[], self.connections() as f64);
        let help = "Client connections that may be open.";
        snapshot.gauge("gateway_connections_max", help, &[], self.connections_max as f64);
        for limit in Full::ALL {
            let help = "Connections that were closed at once, by the limit that was reached.";
            let labels = [("limit", limit.name())];
            snapshot.counter("connections_refused", help, &labels, self.admission.refused(limit));
        }
        for (cause, count) in self.admission.failures.counts() {
            let help = "Attempts to take a connection that failed, by what was missing.";
            snapshot.counter("accept_failures", help, &[("cause", cause)], count);
        }
        if let Some((terms, stats)) = &self.tls {
            read_tls(snapshot, &terms.borrow(), stats);
        }
        let reloads = [("completed", &self.service_tls.reloads), ("refused", &self.service_tls.refused)];
        for (outcome, count) in reloads {
            let help = "Changed files of TLS towards services by what became of them.";
            snapshot.counter("service_tls_reloads", help, &[("outcome", outcome)], count.get());
        }
        for (position, busy) in self.busy.times() {
            let help = "Time that the data thread worked instead of waiting.";
            let busy = Value::FloatCounter(busy.as_secs_f64());
            snapshot.add("data_thread_busy_seconds", help, &[("thread", &position.to_string())], busy);
        }
        read_route(snapshot, "", &self.unrouted);
        read_refused(snapshot, &self.refused);
        for (reason, count) in self.introductions.counts() {
            let help = "Connections that were closed since no trusted proxy introduced them.";
            snapshot.counter("proxy_protocol_refused", help, &[("reason", reason)], count);
        }
        self.plan().read(snapshot);
    }
}

impl Source for Plan {
    /// Everything of which a file decides how much there is.
    fn read(&self, snapshot: &mut Snapshot) {
        let (plan, now) = (self, MonotonicClock::now());
        for route in &plan.routes {
            read_route(snapshot, &route.name, &route.stats);
            read_upgrades(snapshot, &route.name, &route.stats.upgrades);
        }
        for route in &plan.routes {
            for limiter in route.limiters.iter().filter(|limiter| limiter.shared.is_none()) {
                read_limiter(snapshot, [("route", &route.name), ("limit", "")], &limiter.limiter);
            }
        }
        for (name, limiter) in &plan.limits {
            read_limiter(snapshot, [("route", ""), ("limit", name)], limiter);
        }
        for service in &plan.services {
            let labels = [("service", &*service.name)];
            if let Some(bulkhead) = &service.bulkhead {
                let stats = bulkhead.stats();
                snapshot.gauge(
                    "bulkhead_limit",
                    "The most calls that may hold a place now.",
                    &labels,
                    stats.limit.into(),
                );
                snapshot.gauge("bulkhead_running", "Calls that hold a place.", &labels, stats.running.into());
                snapshot.gauge(
                    "bulkhead_waiting",
                    "Calls that wait for a place.",
                    &labels,
                    stats.waiting as f64,
                );
                snapshot.counter("bulkhead_admitted", "Calls that got a place.", &labels, stats.admitted);
                snapshot.counter(
                    "bulkhead_rejected",
                    "Calls that found the queue full.",
                    &labels,
                    stats.rejected,
                );
                snapshot.counter(
                    "bulkhead_timed_out",
                    "Calls that waited in vain.",
                    &labels,
                    stats.timed_out,
                );
                snapshot.counter(
                    "bulkhead_deadline_exceeded",
                    "Calls whose deadline ended their wait.",
                    &labels,
                    stats.deadline_exceeded,
                );
                snapshot.counter(
                    "bulkhead_turned_out",
                    "Calls that lost their seat in the queue to one that ranks higher.",
                    &labels,
                    stats.turned_out,
                );
            }
            if let Some(budget) = &service.budget {
                let stats = budget.stats(now);
                snapshot.gauge(
                    "retry_budget_remaining",
                    "Retries that the budget allows now.",
                    &labels,
                    stats.remaining as f64,
                );
                snapshot.gauge(
                    "retry_budget_in_flight",
                    "Retries under way, or waiting for their turn.",
                    &labels,
                    f64::from(stats.in_flight),
                );
                snapshot.counter(
                    "retry_budget_withdrawn",
                    "Retries that the budget paid for.",
                    &labels,
                    stats.withdrawn,
                );
                snapshot.counter(
                    "retry_budget_refused",
                    "Retries that the budget could not pay for.",
                    &labels,
                    stats.refused,
                );
            }
            for endpoint in &service.endpoints {
                read_endpoint(snapshot, service, endpoint, now);
            }
        }
    }
}

fn read_tls(snapshot: &mut Snapshot, terms: &Terms, stats: &TlsStats) {
    for (outcome, count) in stats.outcomes() {
        snapshot.counter("tls_handshakes", "Handshakes by outcome.", &[("outcome", outcome)], count);
    }
    let reloads = [("completed", &stats.reloads), ("refused", &stats.reloads_refused)];
    for (outcome, count) in reloads {
        let help = "Changed files of TLS by what became of them.";
        snapshot.counter("tls_reloads", help, &[("outcome", outcome)], count.get());
    }
    let help = "Requests that were redirected to TLS.";
    snapshot.counter("tls_redirects", help, &[], stats.redirects.get());
    for (name, at) in terms.expiries() {
        let help = "When the certificate in force ends, in seconds since 1970.";
        snapshot.gauge("tls_certificate_expiry_seconds", help, &[("certificate", name)], at as f64);
    }
    for (file, end) in terms.list_expiries() {
        let help = "When the first revocation list in a file is out of date, in seconds since 1970.";
        let seconds = end.as_unix_nanos() / 1_000_000_000;
        snapshot.gauge("tls_revocation_list_expiry_seconds", help, &[("list", file)], seconds as f64);
    }
}

fn read_route(snapshot: &mut Snapshot, name: &str, stats: &RouteStats) {
    for (class, count) in stats.statuses() {
        let labels = [("route", name), ("status", class)];
        snapshot.counter("requests", "Finished requests by status class.", &labels, count);
    }
    for (policy, count) in stats.rejections() {
        let labels = [("route", name), ("policy", policy.name())];
        snapshot.counter("rejections", "Requests that a policy rejected.", &labels, count);
    }
    for (error, count) in stats.errors() {
        let help = "Requests that failed, by the code of the error or by how the answer broke off.";
        snapshot.counter("request_errors", help, &[("route", name), ("error", error)], count);
    }
    let labels = [("route", name)];
    snapshot.counter(
        "requests_cancelled",
        "Clients that left before the answer was complete.",
        &labels,
        stats.cancelled.get(),
    );
    let help = "From the request's head to the answer's last byte.";
    snapshot.add("request_duration_seconds", help, &labels, stats.duration.value());
}

fn read_upgrades(snapshot: &mut Snapshot, name: &str, stats: &UpgradeStats) {
    let labels = [("route", name)];
    let help = "Connections that carry another protocol now.";
    snapshot.gauge("upgrades_open", help, &labels, stats.open() as f64);
    let help = "Connections that switched to another protocol.";
    snapshot.counter("upgrades", help, &labels, stats.begun());
    for (how, count) in stats.ended() {
        let help = "Connections that carried another protocol, by how that ended.";
        snapshot.counter("upgrades_ended", help, &[("route", name), ("how", how.name())], count);
    }
    for way in Way::ALL {
        let help = "Bytes of other protocols, by who got them.";
        snapshot.counter("upgrade_bytes", help, &[("route", name), ("to", way.name())], stats.passed(way));
    }
}

fn read_refused(snapshot: &mut Snapshot, refused: &WireStats) {
    for (name, cut) in [("connections_cut", Cut::Connection), ("streams_cut", Cut::Stream)] {
        let help = "What was cut off because its client took nothing, by limit.";
        snapshot.counter(name, help, &[("limit", "send_timeout")], refused.cuts(cut).get());
    }
    for (side, reason, count) in refused.counts() {
        let help = "Messages that were refused unread, from clients and from services.";
        snapshot.counter("messages_refused", help, &[("from", side), ("reason", reason)], count);
    }
}

fn read_limiter(snapshot: &mut Snapshot, labels: [(&'static str, &str); 2], limiter: &Limiter) {
    snapshot.counter(
        "rate_limiter_admitted",
        "Calls that the rate limiter let through.",
        &labels,
        limiter.admitted.get(),
    );
    snapshot.counter(
        "rate_limiter_rejected",
        "Calls that the rate limiter rejected.",
        &labels,
        limiter.rejected.get(),
    );
    snapshot.gauge(
        "rate_limiter_keys",
        "Callers that the rate limiter remembers.",
        &labels,
        limiter.quotas.keys() as f64,
    );
}

fn read_endpoint(
    snapshot: &mut Snapshot,
    service: &Service,
    endpoint: &Endpoint,
    now: intertie_core::clock::Instant,
) {
    let labels = [("service", &*service.name), ("endpoint", endpoint.address.as_str())];
    let stats = &endpoint.stats;
    for (outcome, count) in stats.outcomes() {
        let labels = [labels[0], labels[1], ("outcome", outcome)];
        snapshot.counter("attempts", "Attempts by outcome.", &labels, count);
    }
    snapshot.counter("retry_attempts", "Attempts after the first of a call.", &labels, stats.retries.get());
    snapshot.counter(
        "attempt_timeout_exceeded",
        "Attempts that took too long.",
        &labels,
        stats.attempt_timeouts.get(),
    );
    let help = "Requests sent again because a kept connection ended under them.";
    snapshot.counter("endpoint_resends", help, &labels, stats.resends.get());
    snapshot.counter("endpoint_connections", "Connections opened.", &labels, stats.connections.get());
    snapshot.counter("endpoint_ejections", "Times the endpoint was ejected.", &labels, stats.ejections.get());
    if service.transport.may_multiplex() {
        let help = "Requests that were not sent because all connections were full.";
        snapshot.counter("endpoint_connections_exhausted", help, &labels, stats.exhausted.get());
        let help = "Requests that the service gave back without having acted on them.";
        snapshot.counter("endpoint_unprocessed", help, &labels, stats.unprocessed.get());
    }
    if !matches!(service.transport.security, Security::Plain) {
        for (outcome, count) in stats.handshakes.counts() {
            let labels = [labels[0], labels[1], ("outcome", outcome)];
            let help = "Handshakes of TLS with services by outcome, those of health checks included.";
            snapshot.counter("service_handshakes", help, &labels, count);
        }
    }
    let help = "From an attempt's start to its answer's head.";
    snapshot.add("attempt_duration_seconds", help, &labels, stats.duration.value());
    let in_flight = endpoint.in_flight();
    snapshot.gauge("endpoint_in_flight", "Exchanges under way.", &labels, in_flight.into());
    let healthy = endpoint.is_healthy();
    snapshot.gauge("endpoint_healthy", "1 while health checks pass.", &labels, f64::from(u8::from(healthy)));
    let ejected = service.is_ejected(endpoint, now);
    snapshot.gauge(
        "endpoint_ejected",
        "1 while the endpoint is ejected.",
        &labels,
        f64::from(u8::from(ejected)),
    );
    if let Some(breaker) = &endpoint.circuit_breaker {
        let stats = breaker.stats(now);
        for phase in ["closed", "open", "half_open"] {
            let labels = [labels[0], labels[1], ("state", phase)];
            let here = f64::from(u8::from(stats.phase.name() == phase));
            snapshot.gauge("circuit_breaker_state", "1 for the state that the breaker is in.", &labels, here);
        }
        snapshot.counter("circuit_breaker_rejected", "Calls rejected.", &labels, stats.rejected);
        snapshot.counter("circuit_breaker_opened", "Times the breaker opened.", &labels, stats.opened);
    }
}
