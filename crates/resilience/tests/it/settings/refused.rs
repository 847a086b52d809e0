//! Settings that can not work, policy by policy. Each refusal names the field, its value and the limit.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use intertie_core::config::Invalid;
use intertie_core::quantity::{Rate, Ratio};
use intertie_resilience::bulkhead::Order;
use intertie_resilience::bulkhead::adaptive::AdaptiveConfig;
use intertie_resilience::circuit_breaker::Window;
use intertie_resilience::hedge::Quantile;
use intertie_resilience::pool::{CheckOnCheckout, PoolConfig};
use intertie_resilience::rate_limiter::lease::{LeaseConfig, Unreachable};
use intertie_resilience::rate_limiter::{Algorithm, LimitBy, QuotaOverride};
use intertie_resilience::timeout::{Late, TimeoutConfig};
use intertie_resilience::{
    BatchConfig, BulkheadConfig, ChaosConfig, CircuitBreakerConfig, CoalesceConfig, HedgeConfig, Pipeline,
    PipelineConfig, RateLimiterConfig, RetryConfig,
};

const ZERO: Duration = Duration::ZERO;
const SECOND: Duration = Duration::from_secs(1);

/// What is said of `field`: each of `parts`, which are the value and the limit.
type Refusal = (&'static str, &'static [&'static str]);

/// Checks that each of the settings is refused, by the field and with the words beside it.
#[track_caller]
fn check<C>(validate: impl Fn(&C) -> Result<(), Invalid>, cases: impl IntoIterator<Item = (C, Refusal)>) {
    for (config, (field, parts)) in cases {
        let Err(invalid) = validate(&config) else { panic!("`{field}` with {parts:?} is accepted") };
        assert_eq!(invalid.field, field, "{invalid}");
        for part in parts {
            assert!(invalid.to_string().contains(part), "`{part}` is not in: {invalid}");
        }
    }
}

fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).expect("not zero")
}

fn rate(text: &str) -> Rate {
    text.parse().expect("a rate")
}

#[test]
fn circuit_breakers() {
    let breaker = CircuitBreakerConfig::standard;
    let by_rate = |rate| CircuitBreakerConfig { failures: None, failure_rate: Some(rate), ..breaker() };
    let last = |calls| CircuitBreakerConfig { window: Window::Calls(number(calls)), ..breaker() };
    check(
        CircuitBreakerConfig::validate,
        [
            (CircuitBreakerConfig { failures: None, ..breaker() }, ("failures", &["nothing can open"][..])),
            (by_rate(Ratio::ZERO), ("failure_rate", &["0%", "more than 0%"])),
            (
                CircuitBreakerConfig { slow_call_rate: Some(Ratio::ONE), ..breaker() },
                ("slow_call_rate", &["slow_call_duration"]),
            ),
            (
                CircuitBreakerConfig { slow_call_duration: Some(SECOND), ..breaker() },
                ("slow_call_rate", &["slow_call_duration"]),
            ),
            (
                CircuitBreakerConfig {
                    slow_call_rate: Some(Ratio::ZERO),
                    slow_call_duration: Some(SECOND),
                    ..breaker()
                },
                ("slow_call_rate", &["0%", "more than 0%"]),
            ),
            (
                CircuitBreakerConfig { open_max: Some(29 * SECOND), ..breaker() },
                ("open_max", &["29s", "30s", "open"]),
            ),
            (
                CircuitBreakerConfig { failures: NonZeroU32::new(40_000), ..breaker() },
                ("failures", &["40000", "32767"]),
            ),
            (CircuitBreakerConfig { open: ZERO, ..breaker() }, ("open", &["0s", "more than 0s"])),
            (
                CircuitBreakerConfig { probe_age_max: ZERO, ..breaker() },
                ("probe_age_max", &["0s", "more than 0s"]),
            ),
            (
                CircuitBreakerConfig { window: Window::Time(SECOND / 1_000), ..breaker() },
                ("window", &["1ms", "10ms"]),
            ),
            (
                CircuitBreakerConfig { minimum_calls: 40_000, ..breaker() },
                ("minimum_calls", &["40000", "32767"]),
            ),
            (last(65_537), ("window", &["65537", "65536"])),
            (CircuitBreakerConfig { minimum_calls: 11, ..last(10) }, ("minimum_calls", &["11", "10 calls"])),
            (
                CircuitBreakerConfig { failures: NonZeroU32::new(11), ..last(10) },
                ("failures", &["11", "10 calls"]),
            ),
        ],
    );
}

#[test]
fn rate_limiters() {
    let limiter = |limit| RateLimiterConfig::new(rate(limit));
    let counting = |algorithm, limit| RateLimiterConfig { algorithm, ..limiter(limit) };
    let leased = |lease| RateLimiterConfig { lease: NonZeroU32::new(lease), ..limiter("10/s") };
    let absurd = NonZeroU64::new(u64::MAX);
    let quota = QuotaOverride { limit: rate("1/s"), burst: None };
    check(
        RateLimiterConfig::validate,
        [
            (
                RateLimiterConfig { burst: absurd, ..limiter("1/s") },
                ("burst", &["18446744073709551615", "a century"][..]),
            ),
            (
                RateLimiterConfig { burst: absurd, ..limiter("1000000000/s") },
                ("burst", &["18446744073709551615", "a century"]),
            ),
            (
                RateLimiterConfig {
                    burst: absurd,
                    ..RateLimiterConfig::new(Rate::new(1, Duration::MAX).expect("a rate"))
                },
                ("burst", &["18446744073709551615", "a century"]),
            ),
            (
                RateLimiterConfig { burst: NonZeroU64::new(2), ..counting(Algorithm::FixedWindow, "1/s") },
                ("burst", &["2", "fixed_window"]),
            ),
            (counting(Algorithm::SlidingWindow, "5000000000/min"), ("limit", &["5000000000", "4294967295"])),
            (counting(Algorithm::SlidingWindowLog, "10001/s"), ("limit", &["10001", "10000"])),
            (
                RateLimiterConfig { queue: 5, ..counting(Algorithm::SlidingWindow, "1/s") },
                ("queue", &["5", "sliding_window"]),
            ),
            (
                RateLimiterConfig { lease: NonZeroU32::new(3), ..counting(Algorithm::FixedWindow, "10/s") },
                ("lease", &["3", "fixed_window"]),
            ),
            (leased(11), ("lease", &["11", "10"])),
            (RateLimiterConfig { queue: 5, ..leased(2) }, ("lease", &["5", "queue"])),
            (RateLimiterConfig { by: LimitBy::ClientAddress, ..leased(2) }, ("lease", &["client_address"])),
            (
                RateLimiterConfig {
                    by: LimitBy::ClientAddress,
                    overrides: [("alice".to_owned(), quota)].into(),
                    ..limiter("1/s")
                },
                ("overrides", &["alice", "address"]),
            ),
        ],
    );
    for text in ["0/s", "-1/s", "NaN/s", "1.5/s", "1/0s", "2/1ns", "99999999999999999999/s", "/", ""] {
        let refused = text.parse::<Rate>().expect_err("no rate");
        assert!(!refused.to_string().is_empty());
    }
}

#[test]
fn leases() {
    let nodes = |lease, nodes_max| {
        LeaseConfig::new(rate("10/s"), NonZeroU64::new(lease).expect("not zero"), number(nodes_max))
    };
    let lone = LeaseConfig { unreachable: Unreachable::LocalShare, ..nodes(1, 11) };
    check(
        LeaseConfig::validate,
        [
            (nodes(11, 1), ("lease", &["11", "10/s"][..])),
            (lone, ("nodes_max", &["11", "10/s"])),
            (LeaseConfig { ask_again: ZERO, ..nodes(1, 1) }, ("ask_again", &["0", "1s"])),
            (LeaseConfig { ask_again: 2 * SECOND, ..nodes(1, 1) }, ("ask_again", &["2s", "1s"])),
        ],
    );
}

#[test]
fn bulkheads() {
    let bulkhead = || BulkheadConfig::new(number(5));
    let adaptive = |adaptive| BulkheadConfig { adaptive: Some(adaptive), ..bulkhead() };
    let aimd = || AdaptiveConfig::aimd(number(10), SECOND);
    let gradient = || AdaptiveConfig::gradient(number(10));
    check(
        BulkheadConfig::validate,
        [
            (BulkheadConfig { queue: 3, ..bulkhead() }, ("wait", &["3", "0s"][..])),
            (BulkheadConfig { wait: SECOND, ..bulkhead() }, ("queue", &["0", "wait"])),
            (BulkheadConfig { order: Order::Lifo, ..bulkhead() }, ("order", &["queue of 0"])),
            (BulkheadConfig { run_min: SECOND, ..bulkhead() }, ("run_min", &["queue"])),
            (adaptive(AdaptiveConfig { max: number(4), ..aimd() }), ("concurrent", &["5", "1 to 4"])),
            (adaptive(AdaptiveConfig { min: number(6), ..aimd() }), ("concurrent", &["5", "6 to 10"])),
            (adaptive(AdaptiveConfig { decrease: Ratio::ZERO, ..aimd() }), ("decrease", &["0%"])),
            (adaptive(AdaptiveConfig { decrease: Ratio::ONE, ..aimd() }), ("decrease", &["100%"])),
            (adaptive(AdaptiveConfig { latency_max: None, ..aimd() }), ("latency_max", &["aimd"])),
            (adaptive(AdaptiveConfig { latency_max: Some(ZERO), ..aimd() }), ("latency_max", &["0s"])),
            (
                adaptive(AdaptiveConfig { latency_max: Some(SECOND), ..gradient() }),
                ("latency_max", &["gradient"]),
            ),
            (
                adaptive(AdaptiveConfig { slowdown_max: Ratio::ONE, ..gradient() }),
                ("slowdown_max", &["100%"]),
            ),
            (adaptive(AdaptiveConfig { window: ZERO, ..gradient() }), ("window", &["0s"])),
            (
                adaptive(AdaptiveConfig { window: 4 * SECOND, ..gradient() }),
                ("probe_every", &["30s", "ten windows of 4s"]),
            ),
            (adaptive(AdaptiveConfig { window: Duration::MAX, ..gradient() }), ("probe_every", &["30s"])),
        ],
    );
}

#[test]
fn retries() {
    let retry = RetryConfig::standard;
    let waits = vec![SECOND; 101];
    check(
        RetryConfig::validate,
        [
            (RetryConfig { attempts: number(101), ..retry() }, ("attempts", &["101", "100"][..])),
            (RetryConfig { waits, ..retry() }, ("waits", &["101", "100"])),
            (RetryConfig { cap: SECOND / 2, ..retry() }, ("cap", &["500ms", "1s"])),
            (
                RetryConfig { budget: Ratio::ZERO, budget_minimum: 0, ..retry() },
                ("budget", &["0%", "budget_minimum of 0"]),
            ),
        ],
    );
}

#[test]
fn timeouts() {
    let timeout = || TimeoutConfig::new(SECOND);
    check(
        TimeoutConfig::validate,
        [
            (TimeoutConfig::new(ZERO), ("limit", &["0s"][..])),
            (TimeoutConfig { grace: SECOND, ..timeout() }, ("grace", &["1s", "drop"])),
            (TimeoutConfig { late: Late::Cooperate, ..timeout() }, ("grace", &["0s"])),
            (TimeoutConfig { late: Late::Detach, ..timeout() }, ("grace", &["0s"])),
        ],
    );
}

#[test]
fn hedges() {
    let hedge = || HedgeConfig::after(SECOND);
    check(
        HedgeConfig::validate,
        [
            (HedgeConfig { after: None, ..hedge() }, ("after", &["quantile"][..])),
            (HedgeConfig::after(ZERO), ("after", &["0s"])),
            (HedgeConfig { window: ZERO, ..HedgeConfig::quantile(Quantile::P95) }, ("window", &["0s"])),
            (HedgeConfig { attempts: number(1), ..hedge() }, ("attempts", &["1", "2 or 3"])),
            (HedgeConfig { attempts: number(4), ..hedge() }, ("attempts", &["4", "2 or 3"])),
            (
                HedgeConfig { budget: Ratio::ZERO, budget_minimum: 0, ..hedge() },
                ("budget", &["0%", "budget_minimum of 0"]),
            ),
        ],
    );
    let quantile = |text: &&str| text.parse::<Quantile>().map(drop);
    let refused = ["p49", "p100", "p-1", "pNaN", "95", "p1e3", ""];
    check(quantile, refused.map(|text| (text, ("quantile", &["`"][..]))));
}

#[test]
fn chaos() {
    let chaos = ChaosConfig::default;
    check(
        ChaosConfig::validate,
        [
            (ChaosConfig { latency_rate: Ratio::ONE, ..chaos() }, ("latency", &["0s", "latency_rate"][..])),
            (ChaosConfig { latency: SECOND, ..chaos() }, ("latency_rate", &["0%", "latency"])),
            (ChaosConfig { enabled: true, ..chaos() }, ("enabled", &["fault_rate", "latency_rate"])),
        ],
    );
}

#[test]
fn pools() {
    let pool = PoolConfig::default;
    check(
        PoolConfig::validate,
        [
            (PoolConfig { min_idle: 11, ..pool() }, ("min_idle", &["11", "10"][..])),
            (PoolConfig { idle_timeout: ZERO, ..pool() }, ("idle_timeout", &["0s"])),
            (PoolConfig { lifetime: ZERO, ..pool() }, ("lifetime", &["0s"])),
            (PoolConfig { acquire_timeout: ZERO, ..pool() }, ("acquire_timeout", &["0s"])),
            (PoolConfig { connect_timeout: ZERO, ..pool() }, ("connect_timeout", &["0s"])),
            (PoolConfig { check_timeout: ZERO, ..pool() }, ("check_timeout", &["0s"])),
            (PoolConfig { check_every: ZERO, ..pool() }, ("check_every", &["0s"])),
            (PoolConfig { leak_after: Some(ZERO), ..pool() }, ("leak_after", &["0s"])),
            (PoolConfig { idle_timeout: 1_800 * SECOND, ..pool() }, ("idle_timeout", &["30m", "lifetime"])),
            (PoolConfig { check_every: Duration::MAX, ..pool() }, ("check_every", &["30m", "lifetime"])),
            (
                PoolConfig { connect_timeout: 11 * SECOND, ..pool() },
                ("connect_timeout", &["11s", "10s", "acquire_timeout"]),
            ),
            (
                PoolConfig { check_timeout: 10 * SECOND, ..pool() },
                ("check_timeout", &["10s", "acquire_timeout"]),
            ),
            (PoolConfig { lifetime_jitter: Ratio::ONE, ..pool() }, ("lifetime_jitter", &["100%"])),
            (
                PoolConfig { check_on_checkout: CheckOnCheckout::AfterIdle(ZERO), ..pool() },
                ("check_on_checkout", &["0s"]),
            ),
        ],
    );
}

#[test]
fn batches() {
    let batch = || BatchConfig::new(number(10));
    let windowed = |window, wait| BatchConfig { concurrent: number(2), window, wait, ..batch() };
    check(
        BatchConfig::validate,
        [
            (BatchConfig::new(number(1)), ("size_max", &["1", "2"][..])),
            (BatchConfig { window: SECOND, ..batch() }, ("window", &["1s", "`concurrent` = 1"])),
            (BatchConfig { queue: NonZeroU32::new(9), ..batch() }, ("queue", &["9", "10"])),
            (BatchConfig { wait: ZERO, ..batch() }, ("wait", &["0s"])),
            (windowed(SECOND, SECOND), ("wait", &["1s", "window"])),
        ],
    );
}

#[test]
fn coalesced_calls() {
    let lonely = CoalesceConfig { callers_max: number(1), ..CoalesceConfig::default() };
    check(CoalesceConfig::validate, [(lonely, ("callers_max", &["1", "2"][..]))]);
}

#[test]
fn pipelines() {
    let pipeline = || PipelineConfig { deadline: Some(SECOND), ..PipelineConfig::default() };
    let waiting = BulkheadConfig { queue: 1, wait: SECOND, ..BulkheadConfig::new(number(1)) };
    let build = |config: &PipelineConfig| {
        Pipeline::new("orders", config.clone()).map(drop).map_err(|refused| {
            assert!(refused.to_string().contains("orders"), "{refused}");
            refused.invalid
        })
    };
    let queued = RateLimiterConfig { queue: 5, ..RateLimiterConfig::new("1/s".parse().expect("a rate")) };
    let open = CircuitBreakerConfig { open: ZERO, ..CircuitBreakerConfig::standard() };
    check(
        build,
        [
            (PipelineConfig { deadline: Some(ZERO), ..pipeline() }, ("deadline", &["0s"][..])),
            (PipelineConfig { attempt_timeout: Some(ZERO), ..pipeline() }, ("attempt_timeout", &["0s"])),
            (
                PipelineConfig { attempt_timeout: Some(2 * SECOND), ..pipeline() },
                ("attempt_timeout", &["2s", "1s"]),
            ),
            (PipelineConfig { bulkhead: Some(waiting), ..pipeline() }, ("wait", &["1s", "deadline"])),
            (
                PipelineConfig { retry: Some(RetryConfig::standard()), ..pipeline() },
                ("base", &["1s", "deadline"]),
            ),
            (PipelineConfig { circuit_breaker: Some(open), ..pipeline() }, ("open", &["0s"])),
            (PipelineConfig { rate_limiter: Some(queued), ..pipeline() }, ("queue", &["5", "acquire"])),
        ],
    );
}

/// What can not even be written: files name no quantities below zero and none that is no number.
#[test]
fn ratios_and_durations() {
    for text in ["-1%", "101%", "NaN%", "inf%", "NaN", "1e9%", "%", ""] {
        text.parse::<Ratio>().expect_err("no ratio");
    }
    for text in ["-1s", "NaN", "infs", "1", "", "2y", "99999999999999999999s"] {
        intertie_core::quantity::parse_duration(text).expect_err("no duration");
    }
}
