use std::collections::BTreeMap;

use intertie_core::clock::WallClock;
use intertie_core::telemetry::Events;
use intertie_gateway::config::{PolicyConfig, RouteConfig, ServiceConfig, TrafficConfig};
use intertie_gateway::plan::{Plan, lint};
use intertie_gateway::tls::ServiceTerms;
use intertie_resilience::RateLimiterConfig;
use serde::Deserialize;

/// The traffic part of a file.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    defaults: PolicyConfig,
    policy: BTreeMap<String, PolicyConfig>,
    limit: BTreeMap<String, RateLimiterConfig>,
    service: BTreeMap<String, ServiceConfig>,
    route: BTreeMap<String, RouteConfig>,
}

/// A file's traffic is proved and made into what runs: what the lint finds no error in can run, and a reload of
/// the same takes everything over.
pub(crate) fn traffic(input: &[u8]) {
    let Some(config) = read(input) else { return };
    let report = lint(&config);
    assert_eq!(lint(&config).problems, report.problems, "the lint is a function of the file");
    let events = Events::new(WallClock::system());
    match Plan::compile(&config, &ServiceTerms::default(), None, &events) {
        Ok((plan, _)) => {
            assert_eq!(plan.routes.len(), config.routes.len());
            assert_eq!(plan.services.len(), config.services.len());
            let again = Plan::compile(&config, &ServiceTerms::default(), Some(&plan), &events);
            assert!(again.is_ok(), "what runs is refused when it is loaded again");
        }
        Err(report) => assert!(!report.problems.is_empty(), "it is refused without a word"),
    }
}

fn read(input: &[u8]) -> Option<TrafficConfig> {
    let file: File = toml::from_str(std::str::from_utf8(input).ok()?).ok()?;
    Some(TrafficConfig {
        defaults: file.defaults,
        policies: file.policy,
        limits: file.limit,
        services: file.service,
        routes: file.route,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mutations of what is refused anyway would try little.
    #[test]
    fn the_corpus_can_run() {
        for input in crate::corpus::CONFIG {
            let config = read(input).expect("it is read");
            let compiled =
                Plan::compile(&config, &ServiceTerms::default(), None, &Events::new(WallClock::system()));
            assert!(compiled.is_ok(), "{}: {compiled:?}", input.escape_ascii());
        }
    }
}
