use fastrand::Rng;

use super::*;
use crate::simulate::{LogNormal, Quantile, Uniform};

const DRAWS: usize = 100_000;

fn drawn(latency: &Latency) -> Vec<Duration> {
    let mut random = Rng::with_seed(7);
    let mut drawn: Vec<_> = (0..DRAWS).map(|_| latency.draw(&mut random)).collect();
    drawn.sort_unstable();
    drawn
}

/// The share of the draws that are within `limit`, in percent.
fn share_within(drawn: &[Duration], limit: Duration) -> f64 {
    drawn.partition_point(|latency| *latency <= limit) as f64 * 100.0 / DRAWS as f64
}

fn percent(share: u32, within: u64) -> Quantile {
    Quantile { share: Ratio::from_percent(share), within: millis(within) }
}

#[test]
fn a_log_normal_latency_has_the_quantiles_that_were_asked_for() {
    let drawn = drawn(&Latency::LogNormal(LogNormal { p50: millis(100), p99: millis(900) }));
    assert!((share_within(&drawn, millis(100)) - 50.0).abs() < 0.7);
    assert!((share_within(&drawn, millis(900)) - 99.0).abs() < 0.2);
    // Ln 9 / 2.326 is the sigma: one sigma above the median is 257 ms, and 84.1% are below it.
    assert!((share_within(&drawn, millis(257)) - 84.1).abs() < 0.7);
}

#[test]
fn a_uniform_latency_fills_its_bounds_evenly() {
    let drawn = drawn(&Latency::Uniform(Uniform { from: millis(100), to: millis(200) }));
    assert_eq!((drawn[0], drawn[DRAWS - 1]), (millis(100), millis(200)));
    for percent in [10, 50, 90] {
        let share = share_within(&drawn, millis(100 + percent));
        assert!((share - percent as f64).abs() < 1.0, "{percent}: {share}");
    }
}

#[test]
fn measured_quantiles_are_met_and_joined_by_straight_lines() {
    let points = vec![percent(20, 10), percent(50, 100), percent(100, 1_100)];
    let drawn = drawn(&Latency::Quantiles(points));
    assert_eq!(drawn[0], millis(10), "nothing is below the first point");
    for (within, share) in [(10, 20.0), (55, 35.0), (100, 50.0), (600, 75.0), (1_100, 100.0)] {
        let found = share_within(&drawn, millis(within));
        assert!((found - share).abs() < 0.7, "{within}: {found}");
    }
}

#[test]
fn latencies_are_whole_milliseconds_and_at_least_one() {
    for (micros, ticks) in [(0, 1), (300, 1), (1_400, 1), (1_600, 2), (5_000, 5)] {
        let latency = Latency::Constant(Duration::from_micros(micros));
        assert_eq!(latency.draw(&mut Rng::with_seed(1)), millis(ticks), "{micros}");
    }
}

#[test]
fn each_distribution_takes_as_much_chance_as_the_others() {
    let next = |latency: &Latency| {
        let mut random = Rng::with_seed(3);
        latency.draw(&mut random);
        random.u64(..)
    };
    let expected = next(&Latency::Constant(millis(1)));
    assert_eq!(next(&Latency::Uniform(Uniform { from: millis(1), to: millis(2) })), expected);
    assert_eq!(next(&Latency::LogNormal(LogNormal { p50: millis(1), p99: millis(2) })), expected);
    assert_eq!(next(&Latency::Quantiles(vec![percent(100, 3)])), expected);
}

#[test]
fn files_spell_it_as_one_of_four() {
    let read = |text: &str| serde_json::from_str::<Latency>(text).map_err(|error| error.to_string());
    assert_eq!(read(r#"{ "constant": "10ms" }"#), Ok(Latency::Constant(millis(10))));
    assert_eq!(
        read(r#"{ "log_normal": { "p50": "10ms", "p99": "80ms" } }"#),
        Ok(Latency::LogNormal(LogNormal { p50: millis(10), p99: millis(80) }))
    );
    let measured = Latency::Quantiles(vec![percent(50, 10), percent(100, 90)]);
    let text = serde_json::to_string(&measured).expect("JSON");
    assert_eq!(read(&text), Ok(measured), "{text}");
    assert!(read(r#"{ "constnat": "10ms" }"#).is_err_and(|error| error.contains("`constant`")));
    assert!(read(r#"{ "uniform": { "form": "10ms" } }"#).is_err_and(|error| error.contains("`from`")));
}

#[test]
fn what_is_no_distribution_is_refused() {
    for (latency, words) in [
        (Latency::Uniform(Uniform { from: millis(2), to: millis(1) }), "`to`, 1ms, is below `from`, 2ms"),
        (Latency::LogNormal(LogNormal { p50: millis(2), p99: millis(1) }), "`p99`, 1ms, is below `p50`"),
        (Latency::LogNormal(LogNormal { p50: millis(0), p99: millis(1) }), "no logarithm"),
        (Latency::Quantiles(Vec::new()), "100%"),
        (Latency::Quantiles(vec![percent(99, 1)]), "100%"),
        (Latency::Quantiles(vec![percent(50, 9), percent(50, 9), percent(100, 9)]), "a larger share"),
        (Latency::Quantiles(vec![percent(50, 9), percent(100, 8)]), "within a longer time"),
    ] {
        let invalid = latency.validate().expect_err(words);
        assert!(invalid.to_string().contains(words), "{invalid}");
    }
    let flat = Latency::Uniform(Uniform { from: millis(2), to: millis(2) });
    assert_eq!(flat.validate(), Ok(()));
}
