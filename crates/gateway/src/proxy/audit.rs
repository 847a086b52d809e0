//! What auditors are told of requests: which policy refused them.

use std::cell::Cell;
use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::rejection::Policy;
use intertie_core::telemetry::Events;
use intertie_resilience::MonotonicClock;

use crate::stats::REJECTING;

/// What auditors want to know of requests.
#[derive(Debug, Clone)]
pub struct AuditConfig {
    /// Where they are told.
    pub events: Events,
    /// How often each data thread tells of rejections by the same policy, at most.
    pub rejections_every: Duration,
}

/// One data thread's auditor. A flood of rejections must not wash everything else out of the log: of each
/// policy's, one is told in a while, with the number of those before it that were not.
#[derive(Debug)]
pub(super) struct Auditor {
    config: AuditConfig,
    told: [Cell<Told>; REJECTING.len()],
}

#[derive(Debug, Clone, Copy, Default)]
struct Told {
    at: Option<Instant>,
    /// Rejections since then.
    untold: u64,
}

impl Auditor {
    pub(super) fn new(config: AuditConfig) -> Self {
        Self { config, told: Default::default() }
    }

    /// Tells of a rejection, or counts it.
    pub(super) fn rejected(&self, by: Policy, fields: impl FnOnce() -> Vec<(&'static str, String)>) {
        let Some(place) = REJECTING.iter().position(|policy| *policy == by) else { return };
        let now = MonotonicClock::now();
        let told = &self.told[place];
        let Told { at, untold } = told.get();
        if at.is_some_and(|at| now.saturating_since(at) < self.config.rejections_every) {
            return told.set(Told { at, untold: untold + 1 });
        }
        told.set(Told { at: Some(now), untold: 0 });
        self.config.events.tell("request_rejected", || {
            let mut all = vec![("policy", by.name().to_owned())];
            all.extend(fields());
            all.push(("untold_before", untold.to_string()));
            all
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn of_a_flood_one_is_told_in_a_while_with_the_number_of_the_others() {
        let events = Events::default();
        let told = events.subscribe(100);
        let every = Duration::from_secs(1);
        let auditor = Auditor::new(AuditConfig { events, rejections_every: every });
        let reject = |by| auditor.rejected(by, || vec![("route", "a".to_owned())]);
        for _ in 0..5 {
            reject(Policy::RateLimiter);
        }
        reject(Policy::Bulkhead);
        tokio::time::advance(every).await;
        reject(Policy::RateLimiter);
        let told: Vec<_> = told.try_iter().map(|event| event.fields).collect();
        let fields = |policy: &str, untold: &str| {
            [("policy", policy), ("route", "a"), ("untold_before", untold)]
                .map(|(name, value)| (name, value.to_owned()))
        };
        assert_eq!(
            told,
            [fields("rate_limiter", "0"), fields("bulkhead", "0"), fields("rate_limiter", "4")]
                .map(Vec::from)
        );
    }
}
