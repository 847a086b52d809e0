use std::sync::Arc;
use std::time::Duration;

use intertie_core::telemetry::Events;
use intertie_resilience::{MonotonicClock, RateLimiter};
use serde::Deserialize;

use super::*;
use crate::config::{PolicyConfig, Problem, RouteConfig, ServiceConfig, Severity, TrafficConfig};
use crate::tls::ServiceTerms;

/// The traffic part of a file.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
struct Traffic {
    defaults: PolicyConfig,
    policy: std::collections::BTreeMap<String, PolicyConfig>,
    limit: std::collections::BTreeMap<String, intertie_resilience::RateLimiterConfig>,
    service: std::collections::BTreeMap<String, ServiceConfig>,
    route: std::collections::BTreeMap<String, RouteConfig>,
}

fn traffic(text: &str) -> TrafficConfig {
    let traffic: Traffic = toml::from_str(text).expect("TOML");
    TrafficConfig {
        defaults: traffic.defaults,
        policies: traffic.policy,
        limits: traffic.limit,
        services: traffic.service,
        routes: traffic.route,
    }
}

fn plan(text: &str, previous: Option<&Plan>) -> Plan {
    Plan::compile(&traffic(text), &ServiceTerms::default(), previous, &Events::default())
        .expect("a good file")
        .0
}

const SERVICE: &str = "[service.s]\nendpoints = [{ at = \"127.0.0.1:1\" }]\n";

#[test]
fn values_come_down_the_chain_and_know_their_origin() {
    let config = traffic(
        "[defaults]\ndeadline = \"9s\"\nretry = \"quick\"\nattempt_timeout = \"1s\"\n\
         [policy.a]\nretry = \"patient\"\nbulkhead = { concurrent = 1 }\n\
         [policy.b]\nbulkhead = { concurrent = 2 }\n\
         [service.s]\nendpoints = [{ at = \"127.0.0.1:1\" }]\nuse = \"a\"\n\
         [route.\"/x\"]\nto = \"s\"\nuse = \"b\"\nattempt_timeout = \"off\"\n",
    );
    let effective = effective(&config, "/x", &config.routes["/x"]);
    let origin = |origin: &Origin| origin.as_ref().map(|keys| keys.join(".")).unwrap_or_default();
    assert_eq!(effective.deadline.value, Some(Duration::from_secs(9)));
    assert_eq!(origin(&effective.deadline.origin), "defaults.deadline");
    assert_eq!(effective.retry.value.as_ref().map(|retry| retry.attempts.get()), Some(5));
    assert_eq!(origin(&effective.retry.origin), "policy.a.retry");
    assert_eq!(effective.bulkhead.value.as_ref().map(|bulkhead| bulkhead.concurrent.get()), Some(2));
    assert_eq!(origin(&effective.bulkhead.origin), "policy.b.bulkhead");
    assert_eq!(effective.attempt_timeout.value, None);
    assert_eq!(origin(&effective.attempt_timeout.origin), "route./x.attempt_timeout");
    assert_eq!(effective.circuit_breaker.origin, None);
}

#[test]
fn a_services_deadline_shortens_its_routes_deadlines() {
    let config = traffic(
        "[service.s]\nendpoints = [{ at = \"127.0.0.1:1\" }]\ndeadline = \"400ms\"\n\
         [route.\"/long\"]\nto = \"s\"\ndeadline = \"5s\"\n[route.\"/short\"]\nto = \"s\"\ndeadline = \"100ms\"\n",
    );
    let deadline = |route: &str| effective(&config, route, &config.routes[route]).deadline.value;
    assert_eq!(deadline("/long"), Some(Duration::from_millis(400)));
    assert_eq!(deadline("/short"), Some(Duration::from_millis(100)));
}

/// Everything that carries state, under a file that changes around it.
#[test]
fn a_reload_keeps_the_state_of_what_did_not_change() {
    let file = |policy: &str, rest: &str| {
        format!(
            "[limit.shared]\nlimit = \"9/h\"\n[policy.p]\n{policy}\n\
             [service.s]\nendpoints = [{{ at = \"127.0.0.1:1\" }}, {{ at = \"127.0.0.1:2\" }}]\nuse = \"p\"\n\
             [route.\"/x\"]\nto = \"s\"\nlimits = [\"shared\"]\n{rest}"
        )
    };
    let all = "circuit_breaker = \"standard\"\nbulkhead = { concurrent = 3 }\nrate_limiter = { limit = \"9/h\" }\n\
               retry = \"quick\"";
    let first = plan(&file(all, ""), None);
    let now = MonotonicClock::now();
    let left_after = |limiter: &Limiter, cost| {
        let claims = [limiter.quotas.claim(())];
        RateLimiter::try_acquire_all(claims, now, cost).expect("quota").remaining
    };
    let route = &first.routes[0];
    for limiter in &route.limiters {
        assert_eq!(left_after(&limiter.limiter, 4), 5);
        limiter.limiter.admitted.increment();
    }
    drop(route.service.budget.as_ref().expect("a budget").withdraw(now).expect("paid for"));

    let more = "[service.new]\nendpoints = [{ at = \"127.0.0.1:3\" }]\n[route.\"/new\"]\nto = \"new\"\n";
    let second = plan(&file(all, more), Some(&first));
    let kept = second.routes.iter().find(|route| &*route.name == "/x").expect("the route");
    for (old, new) in route.service.endpoints.iter().zip(&kept.service.endpoints) {
        assert!(Arc::ptr_eq(old.state(), new.state()), "health, ejection and connections");
        let breakers = old.circuit_breaker.as_ref().zip(new.circuit_breaker.as_ref());
        assert!(breakers.is_some_and(|(old, new)| old.is_same(new)));
    }
    for limiter in &kept.limiters {
        assert_eq!(left_after(&limiter.limiter, 1), 4);
        assert_eq!(limiter.limiter.admitted.get(), 1, "what was counted");
    }
    assert_eq!(kept.service.budget.as_ref().expect("a budget").stats(now).withdrawn, 1);
    assert!(Arc::ptr_eq(&route.stats, &kept.stats));

    let changed = all.replace("9/h", "8/h").replace("\"standard\"", "\"tolerant\"");
    let third = plan(&file(&changed, ""), Some(&second));
    let route = &third.routes[0];
    let (old, new) = (&kept.service.endpoints[0], &route.service.endpoints[0]);
    assert!(Arc::ptr_eq(old.state(), new.state()), "another breaker is no reason to forget anything else");
    let breakers = old.circuit_breaker.as_ref().zip(new.circuit_breaker.as_ref());
    assert!(breakers.is_some_and(|(old, new)| !old.is_same(new)));
    assert_eq!(left_after(&route.limiters[0].limiter, 1), 7, "a new bucket");
    assert_eq!(left_after(&route.limiters[1].limiter, 1), 3, "the shared one is as it was");
    assert_eq!(route.service.budget.as_ref().expect("a budget").stats(now).withdrawn, 1);
}

fn problems(text: &str, severity: Severity) -> Vec<Problem> {
    let report = lint(&traffic(text));
    report.problems.into_iter().filter(|problem| problem.severity == severity).collect()
}

#[test]
fn amplification_multiplies_along_the_calls() {
    let report = lint(&traffic(
        "[policy.three]\nretry = \"quick\"\ncircuit_breaker = \"standard\"\nattempt_timeout = \"1s\"\n\
         [service.a]\nendpoints = [{ at = \"127.0.0.1:1\" }]\nuse = \"three\"\ncalls = [\"b\", \"c\"]\n\
         [service.b]\nendpoints = [{ at = \"127.0.0.1:2\" }]\nuse = \"three\"\ncalls = [\"c\"]\n\
         [service.c]\nendpoints = [{ at = \"127.0.0.1:3\" }]\nuse = \"three\"\n\
         [route.\"/a\"]\nto = \"a\"\n",
    ));
    let requests: Vec<_> =
        report.amplification.iter().map(|row| (row.service.as_str(), row.requests)).collect();
    // c is reached directly, 3 × 3, and by way of b, 3 × 3 × 3.
    assert_eq!(requests, [("a", 3), ("b", 9), ("c", 36)]);
}

#[test]
fn the_chain_is_proved_or_refuted_with_its_sum() {
    let file = |limit: &str| {
        format!(
            "[service.a]\nendpoints = [{{ at = \"127.0.0.1:1\" }}]\ncalls = [\"b\", \"c\"]\n\
             [service.b]\nendpoints = [{{ at = \"127.0.0.1:2\" }}]\ndeadline = \"400ms\"\n\
             [service.c]\nendpoints = [{{ at = \"127.0.0.1:3\" }}]\ndeadline = \"600ms\"\n\
             [route.\"/a\"]\nto = \"a\"\nattempt_timeout = \"{limit}\"\n"
        )
    };
    assert_eq!(problems(&file("1001ms"), Severity::Warning), []);
    let refuted = problems(&file("1s"), Severity::Warning);
    let message = &refuted[0].message;
    assert!(message.contains("may need 1s for its calls (b 400ms + c 600ms)"), "{message}");
}

/// The lint's worst case is what a call can really take: simulated with every attempt at its limit.
#[test]
fn the_worst_case_is_the_simulated_worst_case() {
    use intertie_core::clock::Instant;
    use intertie_core::failure::Class;
    use intertie_core::quantity::Ratio;
    use intertie_resilience::deadline::Deadline;
    use intertie_resilience::retry::Retry;

    for preset in ["standard", "quick", "patient", "short"] {
        let config = traffic(&format!(
            "[route.\"/x\"]\nto = \"s\"\nretry = \"{preset}\"\nattempt_timeout = \"2s\"\ndeadline = \"off\"\n\
             bulkhead = {{ concurrent = 1, queue = 1, wait = \"70ms\" }}\n{SERVICE}"
        ));
        let effective = effective(&config, "/x", &config.routes["/x"]);
        let mut now = Instant::from_nanos(1) + Duration::from_millis(70);
        let retry = effective.retry.value.clone().expect("a preset");
        let mut schedule = Retry::new(&retry);
        loop {
            now = now + Duration::from_secs(2);
            let deadline = Deadline::new(now, None, None);
            match schedule.next(now, deadline, Class::Transient, None, Ratio::ONE) {
                Ok(wait) => now = now + wait,
                Err(_) => break,
            }
        }
        let simulated = now.saturating_since(Instant::from_nanos(1));
        assert_eq!(effective.worst_case(), Some(simulated), "{preset}");
    }
}

#[test]
fn inner_limits_that_can_never_fire_are_refused() {
    let file = |keys: &str| format!("[route.\"/x\"]\nto = \"s\"\n{keys}\n{SERVICE}");
    for keys in [
        "deadline = \"1s\"\nattempt_timeout = \"1s\"",
        "deadline = \"1s\"\nbulkhead = { concurrent = 1, queue = 1, wait = \"1s\" }",
    ] {
        let found = problems(&file(keys), Severity::Error);
        assert!(found[0].message.contains("can never"), "{found:?}");
    }
    assert_eq!(problems(&file("deadline = \"1s\"\nattempt_timeout = \"999ms\""), Severity::Error), []);
}
