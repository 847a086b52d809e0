//! The whole: real pipelines on a virtual clock.

use intertie_core::rejection::Policy;

use super::*;
use crate::simulate::{LogNormal, Reason, Report, Simulation, SimulationError};
use crate::{RateLimiterConfig, simulate::Uniform};

fn run(config: SimulationConfig, policies: PipelineConfig) -> Report {
    Simulation::new(config).tier("shop", policies).run().expect("it runs")
}

/// A load that makes each policy act, on a dependency that suffers everything.
fn eventful() -> Simulation {
    let mut config = config("120/s", millis(1), 10);
    config.latency = Latency::LogNormal(LogNormal { p50: millis(30), p99: millis(400) });
    config.queue = 20;
    config.clients = number(30);
    config.idempotent = Ratio::from_percent(70);
    config.error_rate = Ratio::from_percent(1);
    config.faults = vec![
        fault(5, 3, Effect::Slow(number(4))),
        fault(12, 2, Effect::Hang),
        fault(18, 2, Effect::Refuse),
        fault(30, 2, Effect::Throttle(millis(500))),
    ];
    let limiter: RateLimiterConfig =
        serde_json::from_str(r#"{ "limit": "5/s", "by": "client_address" }"#).expect("a limiter");
    let breaker = CircuitBreakerConfig {
        open: secs(2),
        open_jitter: Ratio::from_percent(50),
        ramp: secs(1),
        ..CircuitBreakerConfig::sensitive()
    };
    let outer = PipelineConfig { rate_limiter: Some(limiter), circuit_breaker: None, ..standard() };
    let inner =
        PipelineConfig { circuit_breaker: Some(breaker), attempt_timeout: Some(millis(300)), ..standard() };
    Simulation::new(config).tier("outer", outer).tier("inner", inner).duration(secs(40))
}

#[test]
fn the_same_seed_gives_the_same_report_beside_others_and_after_them() {
    let first = eventful().seed(11).run().expect("it runs");
    for reason in [
        Reason::Failed,
        Reason::Throttled,
        Reason::AttemptTimeout,
        Reason::Rejected(Policy::CircuitBreaker),
        Reason::Rejected(Policy::RateLimiter),
    ] {
        assert!(first.failed.contains_key(&reason), "nothing is proved of what did not happen: {first}");
    }
    let others: Vec<_> = std::thread::scope(|scope| {
        let run = |seed| scope.spawn(move || eventful().seed(seed).run().expect("it runs"));
        let running: Vec<_> = [11, 12, 11].map(run).into_iter().collect();
        running.into_iter().map(|running| running.join().expect("it ends")).collect()
    });
    assert_eq!(others[0], first);
    assert_eq!(others[2], first);
    assert_ne!(others[1].seconds, first.seconds, "another seed is another run");
}

#[tokio::test(start_paused = true)]
async fn the_clock_of_the_caller_neither_matters_nor_moves() {
    let first = eventful().run().expect("it runs");
    let before = crate::MonotonicClock::now();
    tokio::time::advance(millis(1_234_567)).await;
    assert_eq!(eventful().run().expect("it runs"), first);
    let passed = crate::MonotonicClock::now().saturating_since(before);
    assert_eq!(passed, millis(1_234_567));
}

#[test]
fn other_policies_are_tried_with_the_same_load() {
    let offered = |report: &Report| report.seconds.iter().map(|second| second.offered).collect::<Vec<_>>();
    let bare = eventful();
    let mut config = config("120/s", millis(7), 3);
    config.clients = number(30);
    config.idempotent = Ratio::from_percent(70);
    let other = Simulation::new(config).tier("other", naive()).duration(secs(40)).run().expect("it runs");
    assert_eq!(offered(&bare.run().expect("it runs")), offered(&other));
}

#[test]
fn calls_arrive_at_their_rate_and_at_random() {
    let report = Simulation::new(config("100/s", millis(1), 100)).duration(secs(400)).run().expect("it runs");
    let counts: Vec<_> = report.seconds.iter().map(|second| second.offered as f64).collect();
    let mean = counts.iter().sum::<f64>() / 400.0;
    let variance = counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / 399.0;
    // A Poisson count's variance is its mean; of 400 of them it is found within 7% in two runs of three.
    assert!((mean - 100.0).abs() < 1.5, "{mean}");
    assert!((75.0..125.0).contains(&variance), "{variance}");
}

#[test]
fn without_policies_and_faults_it_is_the_dependency() {
    let report = Simulation::new(config("100/s", millis(40), 100)).run().expect("it runs");
    assert_eq!(report.offered, report.succeeded);
    assert_eq!((report.amplification.overall, report.attempts), (1.0, report.offered));
    let latency = report.latency.expect("calls succeeded");
    assert_eq!((latency.p50, latency.p99), (millis(40), millis(40)));
}

#[test]
fn slow_answers_do_not_slow_the_load() {
    let mut slow = config("100/s", millis(10), 5);
    slow.queue = 10_000;
    slow.faults.push(fault(10, 20, Effect::Slow(number(50))));
    let report = run(slow, PipelineConfig::default());
    assert!(report.seconds.iter().all(|second| second.offered > 60), "{report}");
    assert_eq!(report.succeeded, report.offered, "those under way at the end are awaited");
}

#[test]
fn a_dependency_goes_on_with_calls_whose_callers_have_gone_unless_it_notices() {
    let refused = |abandons_cancelled| {
        let mut config = config("5/s", secs(1), 1);
        config.abandons_cancelled = abandons_cancelled;
        let impatient = PipelineConfig { attempt_timeout: Some(millis(10)), ..PipelineConfig::default() };
        let report = run(config, impatient);
        assert_eq!(report.succeeded, 0);
        report.failed.get(&Reason::Overloaded).copied().unwrap_or_default() * 100 / report.offered
    };
    // Busy for 1 s, or for 10 ms, with a call each 200 ms.
    assert!((75..90).contains(&refused(false)), "{}", refused(false));
    assert!(refused(true) < 10, "{}", refused(true));
}

#[test]
fn a_hang_delays_what_it_does_not_lose() {
    let mut hanging = config("50/s", millis(10), 1_000);
    hanging.faults.push(fault(20, 2, Effect::Hang));
    let report = run(hanging, PipelineConfig::default());
    assert_eq!(report.succeeded, report.offered);
    let latency = report.latency.expect("calls succeeded");
    assert_eq!(latency.p50, millis(10));
    assert!(latency.p99 > secs(1) && latency.p99 <= millis(2_010), "{report}");
}

#[test]
fn a_hint_is_waited_for() {
    let failed = |hint| {
        let mut throttled = config("50/s", millis(10), 1_000);
        throttled.faults.push(fault(20, 3, Effect::Throttle(hint)));
        let retry = RetryConfig { budget: Ratio::ONE, budget_minimum: 1_000, ..RetryConfig::quick() };
        let report = run(throttled, PipelineConfig { retry: Some(retry), ..PipelineConfig::default() });
        report.failed.get(&Reason::Throttled).copied().unwrap_or_default()
    };
    assert_eq!(failed(secs(3)), 0, "each repetition comes after the fault");
    assert!(failed(millis(1)) > 50, "three attempts in 400 ms are all within it");
}

#[test]
fn only_idempotent_calls_are_repeated() {
    let amplification = |percent| {
        let mut failing = config("100/s", millis(10), 1_000);
        failing.error_rate = Ratio::ONE;
        failing.idempotent = Ratio::from_percent(percent);
        run(failing, naive()).amplification.overall
    };
    assert_eq!((amplification(100), amplification(0)), (3.0, 1.0));
    let half = amplification(50);
    assert!((1.9..2.1).contains(&half), "{half}");
}

#[test]
fn a_limiter_tells_as_many_callers_apart_as_there_are() {
    let limiter = |by: &str| -> PipelineConfig {
        let text = format!(r#"{{ "rate_limiter": {{ "limit": "10/s", "by": "{by}" }} }}"#);
        serde_json::from_str(&text).expect("policies")
    };
    let passed = |clients, by| {
        let mut config = config("100/s", millis(10), 1_000);
        config.clients = number(clients);
        run(config, limiter(by)).succeeded / 60
    };
    assert_eq!((passed(1, "client_address"), passed(50, "all")), (10, 10));
    assert!((98..102).contains(&passed(50, "client_address")));
    let mut crowd = config("100/s", millis(10), 1_000);
    crowd.clients = number(100_001);
    let refusal = Simulation::new(crowd).tier("shop", limiter("client_address")).run().expect_err("too many");
    assert!(refusal.to_string().contains("100001 are more than the 100000 callers"), "{refusal}");
}

#[test]
fn a_tier_is_told_what_its_callers_deadline_leaves() {
    let mut failing = config("20/s", millis(10), 1_000);
    failing.error_rate = Ratio::ONE;
    let retry = RetryConfig { base: millis(500), ..RetryConfig::quick() };
    let outer = PipelineConfig { deadline: Some(millis(150)), ..PipelineConfig::default() };
    let inner = PipelineConfig { retry: Some(retry), ..PipelineConfig::default() };
    let report = Simulation::new(failing).tier("outer", outer).tier("inner", inner).run().expect("it runs");
    // A repetition would begin when nobody waits for it any more, so the inner tier answers at once.
    assert_eq!(report.failed.keys().collect::<Vec<_>>(), [&Reason::Failed]);
    assert_eq!(report.attempts, report.offered);
}

#[test]
fn a_day_is_simulated() {
    let report =
        Simulation::new(config("1/h", millis(10), 10)).duration(secs(86_400)).run().expect("it runs");
    assert_eq!((report.succeeded, report.seconds.len()), (report.offered, 86_400));
}

#[test]
fn what_can_not_be_simulated_is_refused_with_its_place() {
    let good = || config("100/s", millis(10), 10);
    let refusal = |config: SimulationConfig, duration| {
        let refusal = Simulation::new(config).duration(duration).run().expect_err("refused");
        assert!(matches!(refusal, SimulationError::Invalid(_)));
        refusal.to_string()
    };
    let with = |fault| SimulationConfig { faults: vec![super::fault(1, 1, Effect::Hang), fault], ..good() };
    for (config, duration, words) in [
        (good(), secs(0), "`duration`: 0s"),
        (config("1/h", millis(10), 10), secs(86_401), "`duration`: 1day 1s is above 1day"),
        (good(), secs(50_001), "`rate`: 100/s for 13h 53m 21s are 5000100 calls"),
        (SimulationConfig { latency: Latency::Quantiles(Vec::new()), ..good() }, secs(60), "`latency`: "),
        (with(fault(10, 0, Effect::Hang)), secs(60), "`fault`: number 2 has a wrong `for`: 0s"),
        (with(fault(10, 50, Effect::Hang)), secs(60), "a fault at 10s for 50s is not over before"),
        (with(fault(10, 5, Effect::Fail(Ratio::ZERO))), secs(60), "wrong `effect`: `fail` of 0%"),
        (with(fault(10, 5, Effect::Slow(number(1)))), secs(60), "wrong `effect`: `slow` of 1"),
    ] {
        let refusal = refusal(config, duration);
        assert!(refusal.contains(words), "no {words} in {refusal}");
    }
    let policies = PipelineConfig { deadline: Some(secs(0)), ..PipelineConfig::default() };
    let refusal = Simulation::new(good()).tier("shop", policies).run().expect_err("refused");
    assert!(matches!(refusal, SimulationError::Tier(_)));
    assert!(refusal.to_string().starts_with("pipeline `shop`, `deadline`: "), "{refusal}");
    let flat = Latency::Uniform(Uniform { from: millis(1), to: millis(1) });
    let config = SimulationConfig { latency: flat, faults: vec![fault(1, 58, Effect::Hang)], ..good() };
    assert!(Simulation::new(config).run().is_ok());
}

#[test]
fn files_may_leave_out_what_has_a_default() {
    let text = r#"{ "rate": "100/s", "latency": { "constant": "10ms" }, "capacity": 10,
        "fault": [{ "at": "1s", "for": "2s", "effect": "hang" },
                  { "at": "1s", "for": "2s", "effect": { "throttle": "3s" } },
                  { "at": "1s", "for": "2s", "effect": { "capacity": 4 } }] }"#;
    let mut expected = config("100/s", millis(10), 10);
    expected.faults = [Effect::Hang, Effect::Throttle(secs(3)), Effect::Capacity(number(4))]
        .map(|effect| fault(1, 2, effect))
        .to_vec();
    let read: SimulationConfig = serde_json::from_str(text).expect("settings");
    assert_eq!(read, expected);
    let written = serde_json::to_string(&read).expect("JSON");
    assert_eq!(serde_json::from_str::<SimulationConfig>(&written).expect(&written), expected);
    let wrong = text.replace("capacity\": 10", "capcity\": 10");
    assert!(serde_json::from_str::<SimulationConfig>(&wrong).is_err());
}
