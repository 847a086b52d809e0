use intertie_core::rejection::Policy;
use proptest::prelude::*;

use super::*;
use crate::simulate::outcome::CallRecord;
use crate::simulate::recovery::recovered_after;
use crate::simulate::{Reason, Report};

fn call(began: u64, took: u64, outcome: Result<(), Reason>) -> CallRecord {
    CallRecord { began: millis(began), took: millis(took), outcome }
}

/// One call each 100 ms from 0 on; `failing` says which fail.
fn steady(length: u64, failing: impl Fn(u64) -> bool) -> Vec<CallRecord> {
    let outcome = |at| if failing(at) { Err(Reason::Failed) } else { Ok(()) };
    (0..length / 100).map(|n| call(n * 100, 10, outcome(n * 100))).collect()
}

#[test]
fn recovery_is_counted_from_the_end_of_the_fault() {
    let until = |end: u64| steady(60_000, move |at| (10_000..end).contains(&at));
    let recovered = |end| recovered_after(&until(end), secs(20), secs(60));
    assert_eq!(recovered(20_000), Some(Duration::ZERO), "all was well when it ended");
    assert_eq!(recovered(20_100), Some(millis(100)), "one call more");
    assert_eq!(recovered(33_300), Some(millis(13_300)));
    assert_eq!(recovered(55_000), Some(secs(35)), "the last five seconds are enough");
    assert_eq!(recovered(55_100), None, "they must be seen whole");
    assert_eq!(recovered(60_000), None);
}

#[test]
fn a_tenth_that_fails_is_no_recovery_and_a_twentieth_is() {
    let every = |n: u64| steady(60_000, move |at| at / 100 % n == 0);
    assert_eq!(recovered_after(&every(10), secs(20), secs(60)), None);
    // The first call after the fault is one that fails.
    assert_eq!(recovered_after(&every(20), secs(20), secs(60)), Some(millis(100)));
    assert_eq!(recovered_after(&[], secs(20), secs(60)), None, "no calls prove nothing");
}

fn recovered_by_definition(calls: &[CallRecord], from: Duration, duration: Duration) -> Option<Duration> {
    let after: Vec<_> = calls.iter().filter(|call| call.began >= from).collect();
    let well = |start: &&&CallRecord| {
        let until = start.began + secs(5);
        let window = calls.iter().filter(|call| start.began <= call.began && call.began < until);
        let (all, good) =
            window.fold((0, 0), |(all, good), call| (all + 1, good + u64::from(call.outcome.is_ok())));
        start.outcome.is_ok() && good * 100 >= all * 95 && until <= duration
    };
    let start = after.iter().find(well)?;
    Some(if start.began == after[0].began { Duration::ZERO } else { start.began - from })
}

proptest! {
    #[test]
    fn recovery_is_what_its_definition_says(
        gaps in prop::collection::vec((1..300_u64, prop::bool::weighted(0.93)), 1..400),
        from in 0..20_u64,
    ) {
        let mut at = 0;
        let calls: Vec<_> = gaps.into_iter().map(|(gap, good)| {
            at += gap;
            call(at, 1, if good { Ok(()) } else { Err(Reason::Failed) })
        }).collect();
        prop_assert_eq!(
            recovered_after(&calls, secs(from), millis(at)),
            recovered_by_definition(&calls, secs(from), millis(at))
        );
    }
}

fn report() -> Report {
    let mut calls = steady(8_000, |at| (2_000..4_000).contains(&at));
    calls[25].outcome = Err(Reason::Rejected(Policy::CircuitBreaker));
    calls[0].took = millis(700);
    // Each attempt of the first second twice, none in the third, and one after the end.
    let attempts: Vec<_> = calls
        .iter()
        .flat_map(|call| vec![call.began; if call.began < secs(1) { 2 } else { 1 }])
        .filter(|at| !(secs(2)..secs(3)).contains(at))
        .chain([secs(8)])
        .collect();
    Report::new(9, secs(8), &calls, &attempts, &[fault(2, 1, Effect::Fail(Ratio::ONE))])
}

#[test]
fn a_report_adds_up() {
    let report = report();
    assert_eq!((report.offered, report.succeeded, report.attempts), (80, 60, 81));
    assert_eq!(report.failed[&Reason::Failed], 19);
    assert_eq!(report.failed[&Reason::Rejected(Policy::CircuitBreaker)], 1);
    let seconds: Vec<_> = report.seconds.iter().map(|s| (s.offered, s.succeeded, s.attempts)).collect();
    let (well, down) = ((10, 10, 10), (10, 0, 10));
    assert_eq!(seconds, [(10, 10, 20), well, (10, 0, 0), down, well, well, well, well]);
    let amplification = report.amplification;
    assert_eq!(
        (amplification.overall, amplification.worst_second, amplification.worst_five_seconds),
        (81.0 / 80.0, 2.0, 1.0)
    );
    let latency = report.latency.expect("calls succeeded");
    assert_eq!((latency.p50, latency.p99), (millis(10), millis(700)), "the slowest of 60 is their p99");
    assert!(!report.has_recovered(), "the three seconds that are left are too few");
}

#[test]
fn a_report_in_full() {
    assert_eq!(
        report().to_string(),
        "  offered        80 calls in 8s, seed 9
  succeeded      60 (75.0%)
  failed         19 (23.8%) answered with an error
  failed         1 (1.2%) rejected by circuit_breaker
  amplification  1.01 attempts for each call; 2.00 in the worst second, 1.00 in the worst 5s
  latency        p50 10ms, p99 700ms of the calls that succeeded
  fault          fail 100% from 2s for 1s: never recovered
  goodput        |██  ████| 1s a mark
  faults         |  ^     |
"
    );
}

#[test]
fn scripts_read_seconds_and_names() {
    let json = serde_json::to_value(report()).expect("JSON");
    assert_eq!(json["duration_seconds"], 8.0);
    assert_eq!(json["latency"]["p99_seconds"], 0.7);
    assert_eq!(json["failed"]["circuit_breaker"], 1);
    assert_eq!(json["faults"][0]["fault"]["effect"]["fail"], "100%");
    assert_eq!(json["faults"][0]["recovered_after_seconds"], serde_json::Value::Null);
    assert_eq!(json["seconds"][2]["succeeded"], 0);
}

#[test]
fn a_line_of_goodput_stays_short_and_tells_a_little_from_nothing_and_nearly_all_from_all() {
    let calls = steady(600_000, |at| match at {
        150_000 => false,
        350_000 => true,
        at => (100_000..200_000).contains(&at),
    });
    let text = Report::new(0, secs(600), &calls, &[], &[fault(100, 100, Effect::Hang)]).to_string();
    let line = |name: &str| {
        let line = text.lines().find(|line| line.trim_start().starts_with(name)).expect("a line");
        line.split('|').nth(1).expect("marks").to_owned()
    };
    let (full, none) = (|n| "█".repeat(n), |n| " ".repeat(n));
    let expected = format!("{}{}▁{}{}▇{}", full(10), none(5), none(4), full(15), full(24));
    assert_eq!(line("goodput"), expected);
    assert_eq!(line("faults"), format!("{}{}{}", " ".repeat(10), "^".repeat(10), " ".repeat(40)));
    assert!(text.contains("| 10s a mark"));
}
