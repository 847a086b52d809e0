use std::ops::Range;
use std::time::Duration;

use intertie_core::failure::Class;
use intertie_resilience::bulkhead::adaptive::AdaptiveConfig;
use intertie_resilience::{Bulkhead, BulkheadConfig};

use super::{SECOND, at, number};

const LATENCY: Duration = Duration::from_millis(10);

fn bulkhead(adaptive: AdaptiveConfig) -> Bulkhead {
    let config = BulkheadConfig { adaptive: Some(adaptive), ..BulkheadConfig::new(number(20)) };
    Bulkhead::new(config).expect("valid")
}

/// Fills the bulkhead and lets all calls end, in each of these windows of half a second.
fn run(bulkhead: &Bulkhead, windows: Range<u32>, class: Class, latency: Duration) {
    for window in windows {
        let permits: Vec<_> = std::iter::from_fn(|| bulkhead.try_acquire().ok()).collect();
        let now = at(0) + SECOND / 2 * window;
        permits.into_iter().for_each(|permit| permit.record(now, class, latency));
    }
}

/// Defect 16: the least limit and that of probes are one setting, so that a limit falls below what was asked
/// (Envoy #46532).
#[test]
fn an_adaptive_limit_never_leaves_its_bounds() {
    for adaptive in [AdaptiveConfig::aimd(number(30), LATENCY), AdaptiveConfig::gradient(number(30))] {
        let bulkhead = bulkhead(AdaptiveConfig { min: number(5), ..adaptive });
        for (windows, class, latency) in [
            (0..500, Class::Transient, 100 * LATENCY),
            (500..1_000, Class::Success, LATENCY / 10),
            (1_000..1_500, Class::Success, 100 * LATENCY),
        ] {
            run(&bulkhead, windows, class, latency);
            assert!((5..=30).contains(&bulkhead.stats().limit), "{:?}", bulkhead.stats());
        }
    }
}

/// Defect 16, second half: failures that come back at once are read as a low latency, and the limit rises as
/// the dependency falls (Netflix concurrency-limits #176).
#[test]
fn instant_failures_raise_no_limit() {
    for adaptive in [AdaptiveConfig::aimd(number(100), LATENCY), AdaptiveConfig::gradient(number(100))] {
        let bulkhead = bulkhead(adaptive);
        let before = bulkhead.stats().limit;
        run(&bulkhead, 0..200, Class::Unavailable, LATENCY / 1_000);
        assert!(bulkhead.stats().limit <= before, "{:?}", bulkhead.stats());
    }
}

/// Defect 16, third half: a limit with nothing under way measures nothing and stays low for ever.
#[test]
fn a_limit_that_fell_rises_again() {
    for adaptive in [AdaptiveConfig::aimd(number(40), LATENCY), AdaptiveConfig::gradient(number(40))] {
        let bulkhead = bulkhead(adaptive);
        run(&bulkhead, 0..200, Class::Transient, 100 * LATENCY);
        let fell = bulkhead.stats().limit;
        run(&bulkhead, 200..2_000, Class::Success, LATENCY / 10);
        assert!(bulkhead.stats().limit > fell.max(10), "{fell}, and then {:?}", bulkhead.stats());
    }
}
