use std::num::NonZeroU32;
use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::config::Presets;
use intertie_core::failure::Class;
use intertie_core::quantity::Ratio;
use proptest::prelude::*;

use super::*;
use crate::deadline::Deadline;

const NOW: Instant = Instant::from_nanos(100_000_000_000);

fn no_deadline() -> Deadline {
    Deadline::new(NOW, None, None)
}

/// The waits in milliseconds of a call that fails every time, without jitter.
fn schedule(config: &RetryConfig) -> Vec<u128> {
    let mut retry = Retry::new(config);
    std::iter::from_fn(|| retry.next(NOW, no_deadline(), Class::Transient, None, Ratio::ZERO).ok())
        .map(|wait| wait.as_millis())
        .collect()
}

#[test]
fn presets_wait_as_their_documents_say() {
    assert_eq!(schedule(&RetryConfig::standard()), [1_000, 2_000]);
    assert_eq!(schedule(&RetryConfig::quick()), [100, 200]);
    assert_eq!(schedule(&RetryConfig::patient()), [100, 200, 400, 800]);
    assert_eq!(schedule(&RetryConfig::short()), [1_000, 2_000]);
    let five = RetryConfig { attempts: NonZeroU32::new(5).expect("not zero"), ..RetryConfig::standard() };
    assert_eq!(schedule(&five), [1_000, 2_000, 4_000, 8_000]);
    let seven = RetryConfig { attempts: NonZeroU32::new(7).expect("not zero"), ..RetryConfig::short() };
    assert_eq!(schedule(&seven), [1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
    let eight = RetryConfig { attempts: NonZeroU32::new(8).expect("not zero"), ..RetryConfig::quick() };
    assert_eq!(schedule(&eight), [100, 200, 400, 800, 1_600, 3_200, 5_000]);
}

#[test]
fn a_preset_is_told_by_its_name() {
    for name in [RetryPreset::Standard, RetryPreset::Quick, RetryPreset::Patient, RetryPreset::Short] {
        assert_eq!(RetryConfig::preset(name).preset, name);
    }
    let named: RetryConfig =
        serde_json::from_str(r#"{ "preset": "patient", "jitter": "0%" }"#).expect("a table");
    assert_eq!(named, RetryConfig { jitter: Ratio::ZERO, ..RetryConfig::patient() });
}

#[test]
fn fixed_and_linear_waits() {
    let four = RetryConfig { attempts: NonZeroU32::new(4).expect("not zero"), ..RetryConfig::quick() };
    assert_eq!(schedule(&RetryConfig { backoff: Backoff::Fixed, ..four.clone() }), [100, 100, 100]);
    assert_eq!(schedule(&RetryConfig { backoff: Backoff::Linear, ..four }), [100, 200, 300]);
}

#[test]
fn a_list_of_waits_is_followed_and_its_last_one_repeated() {
    let config: RetryConfig =
        serde_json::from_str(r#"{ "attempts": 5, "waits": ["10ms", "500ms", "20ms"], "jitter": "0%" }"#)
            .expect("a table");
    assert_eq!(schedule(&config), [10, 500, 20, 20]);
    assert_eq!(config.longest_backoff(), Duration::from_millis(550));
}

#[test]
fn decorrelated_waits_spread_between_the_base_and_thrice_the_wait_before() {
    let config = RetryConfig {
        attempts: NonZeroU32::new(100).expect("not zero"),
        backoff: Backoff::Decorrelated,
        ..RetryConfig::quick()
    };
    let mut retry = Retry::new(&config);
    let mut before = config.base;
    let mut total = Duration::ZERO;
    for repetition in 1..100 {
        let random = Ratio::from_percent(repetition * 37 % 101);
        let wait =
            retry.next(NOW, no_deadline(), Class::Transient, None, random).expect("an attempt is left");
        let most = (before * 3).min(config.cap);
        assert!(config.base <= wait && wait <= most, "{wait:?} after {before:?}");
        assert!(wait <= config.longest_wait(repetition));
        let expected = config.base + (most - config.base).mul_f64(random.as_f64());
        assert!(wait.abs_diff(expected) < Duration::from_micros(1), "{wait:?} {expected:?}");
        before = wait;
        total += wait;
    }
    assert!(total <= config.longest_backoff());
}

#[test]
fn capped_clients_still_spread() {
    let config = RetryConfig { base: Duration::from_secs(30), ..RetryConfig::standard() };
    let wait = |random| {
        Retry::new(&config)
            .next(NOW, no_deadline(), Class::Transient, None, random)
            .expect("an attempt is left")
    };
    assert_eq!(wait(Ratio::ZERO), Duration::from_secs(30));
    assert_eq!(wait(Ratio::ONE), Duration::from_secs(39));
    assert_eq!(config.longest_wait(1), Duration::from_secs(39));
}

#[test]
fn a_hint_is_never_fired_early() {
    let config = RetryConfig::quick();
    let hint = Some(Duration::from_secs(7));
    for random in [Ratio::ZERO, Ratio::from_percent(50), Ratio::ONE] {
        let wait =
            Retry::new(&config).next(NOW, no_deadline(), Class::Unavailable, hint, random).expect("retries");
        assert!(wait >= Duration::from_secs(7), "{wait:?}");
    }
}

#[test]
fn nobody_waits_a_day_because_a_service_says_so() {
    let config = RetryConfig::quick();
    let day = Some(Duration::from_secs(24 * 60 * 60));
    let next = Retry::new(&config).next(NOW, no_deadline(), Class::Unavailable, day, Ratio::ZERO);
    assert_eq!(next, Err(Stop::HintTooLong));
    let longest = Some(config.retry_after_max);
    let next = Retry::new(&config).next(NOW, no_deadline(), Class::Unavailable, longest, Ratio::ZERO);
    assert_eq!(next, Ok(config.retry_after_max), "and as long as the settings let it say");
}

#[test]
fn stops_are_told_apart() {
    let config = RetryConfig::quick();
    let next = |retry: &mut Retry<'_>, deadline, class| retry.next(NOW, deadline, class, None, Ratio::ZERO);
    for class in [Class::Success, Class::Permanent, Class::Unjudged] {
        assert_eq!(next(&mut Retry::new(&config), no_deadline(), class), Err(Stop::NotRetriable));
    }
    let mut used = Retry::new(&config);
    while next(&mut used, no_deadline(), Class::Throttled).is_ok() {}
    assert_eq!(used.attempts(), 3);
    assert_eq!(next(&mut used, no_deadline(), Class::Throttled), Err(Stop::AttemptsUsed));
    let close = Deadline::new(NOW, Some(Duration::from_millis(100)), None);
    assert_eq!(next(&mut Retry::new(&config), close, Class::Transient), Err(Stop::DeadlineTooClose));
}

#[test]
fn a_quiet_service_may_retry_and_a_busy_one_only_its_share() {
    let budget = RetryBudget::new(RetryConfig::standard().budget_limits());
    assert_eq!((0..100).filter(|_| budget.withdraw(NOW).is_some()).count(), 10);
    for _ in 0..100 {
        budget.deposit(NOW);
    }
    assert_eq!((0..100).filter(|_| budget.withdraw(NOW).is_some()).count(), 20);
    let later = NOW + Duration::from_secs(11);
    assert_eq!(budget.stats(later).remaining, 10, "the window forgets");
}

#[test]
fn a_repetition_that_finds_no_place_is_not_made_and_pays_nothing() {
    let two = RetryConfig { budget_in_flight: NonZeroU32::new(2), ..RetryConfig::standard() };
    let budget = RetryBudget::new(two.budget_limits());
    let (first, second) = (budget.withdraw(NOW).expect("a place"), budget.withdraw(NOW).expect("a place"));
    assert!(budget.withdraw(NOW).is_none(), "both places are taken");
    let stats = budget.stats(NOW);
    assert_eq!((stats.remaining, stats.in_flight, stats.withdrawn, stats.refused), (0, 2, 2, 1));
    drop(first);
    assert!(budget.clone().withdraw(NOW).is_some(), "clones share the places");
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _held = second;
        panic!("the repetition panics");
    }));
    assert!(unwound.is_err());
    let stats = budget.stats(NOW);
    assert_eq!((stats.remaining, stats.in_flight, stats.withdrawn), (2, 0, 3));
}

#[test]
fn contradictory_settings_are_refused_by_name() {
    let quick = RetryConfig::quick;
    for (config, field) in [
        (RetryConfig { attempts: NonZeroU32::new(101).expect("not zero"), ..quick() }, "attempts"),
        (RetryConfig { cap: Duration::from_millis(99), ..quick() }, "cap"),
        (RetryConfig { budget: Ratio::ZERO, budget_minimum: 0, ..quick() }, "budget"),
        (RetryConfig { waits: vec![Duration::ZERO; 101], ..quick() }, "waits"),
    ] {
        assert_eq!(config.validate().expect_err(field).field, field);
    }
    let nothing = RetryConfig { budget: Ratio::ZERO, budget_minimum: 0, ..quick() };
    for valid in [
        RetryConfig { attempts: NonZeroU32::new(100).expect("not zero"), ..quick() },
        RetryConfig { cap: quick().base, ..quick() },
        RetryConfig { attempts: NonZeroU32::MIN, ..nothing.clone() },
        RetryConfig { budget_minimum: 1, ..nothing.clone() },
        RetryConfig { budget: Ratio::from_percent(1), ..nothing },
        RetryConfig { waits: vec![Duration::ZERO; 100], ..quick() },
    ] {
        assert_eq!(valid.validate().err(), None, "{valid:?}");
    }
}

proptest! {
    /// Waits against the formula computed in floating point, step by step.
    #[test]
    fn waits_follow_the_formula(
        base in 1_u64..5_000,
        cap_factor in 1_u64..50,
        multiplier in 1_u32..5,
        attempts in 1_u32..12,
        jitter in 0_u32..=100,
        random in 0_u32..=100,
        backoff in prop::sample::select(vec![Backoff::Fixed, Backoff::Linear, Backoff::Exponential]),
    ) {
        let config = RetryConfig {
            attempts: NonZeroU32::new(attempts).expect("not zero"),
            backoff,
            base: Duration::from_millis(base),
            cap: Duration::from_millis(base * cap_factor),
            multiplier: NonZeroU32::new(multiplier).expect("not zero"),
            jitter: Ratio::from_percent(jitter),
            ..RetryConfig::standard()
        };
        let mut retry = Retry::new(&config);
        let mut total = Duration::ZERO;
        let mut made = 1;
        let mut grown = base as f64;
        while let Ok(wait) =
            retry.next(NOW, no_deadline(), Class::Transient, None, Ratio::from_percent(random))
        {
            let capped = grown.min((base * cap_factor) as f64);
            let expected = capped + capped * f64::from(jitter) / 100.0 * f64::from(random) / 100.0;
            prop_assert!((wait.as_secs_f64() * 1_000.0 - expected).abs() < 1e-3, "{wait:?} {expected}");
            prop_assert!(wait <= config.longest_wait(made));
            grown = match backoff {
                Backoff::Fixed | Backoff::Decorrelated => grown,
                Backoff::Linear => grown + base as f64,
                Backoff::Exponential => grown * f64::from(multiplier),
            };
            total += wait;
            made += 1;
        }
        prop_assert_eq!(made, attempts);
        prop_assert!(total <= config.longest_backoff());
    }

    /// In no window do repetitions exceed the minimum plus the share, nor at any time the number in flight,
    /// whatever the order in which they begin and end.
    #[test]
    fn the_budget_holds_in_every_window_and_at_every_time(
        in_flight in prop::option::of(1_u32..6),
        steps in prop::collection::vec((0_u64..3_000, 0_u8..4, 0_usize..8), 1..400),
    ) {
        let (ratio, minimum) = (Ratio::from_percent(20), 3);
        let limits = BudgetLimits { ratio, minimum, in_flight: in_flight.and_then(NonZeroU32::new) };
        let budget = RetryBudget::new(limits);
        let (mut calls, mut repetitions, mut under_way) = (Vec::new(), Vec::new(), Vec::new());
        let mut now = 50_000;
        for (step, what, which) in steps {
            now += step;
            let instant = NOW + Duration::from_millis(now);
            let alive = |log: &Vec<u64>| log.iter().filter(|at| *at / 1_000 + 10 > now / 1_000).count() as u64;
            let places = in_flight.map_or(u64::MAX, |most| u64::from(most) - under_way.len() as u64);
            let in_window = (u64::from(minimum) + ratio.of(alive(&calls))).saturating_sub(alive(&repetitions));
            let stats = budget.stats(instant);
            prop_assert_eq!(stats.remaining, places.min(in_window));
            prop_assert_eq!(stats.in_flight as usize, under_way.len());
            match what {
                0 | 1 => {
                    budget.deposit(instant);
                    calls.push(now);
                }
                2 => {
                    let repetition = budget.withdraw(instant);
                    prop_assert_eq!(repetition.is_some(), places > 0 && in_window > 0);
                    if let Some(repetition) = repetition {
                        repetitions.push(now);
                        under_way.push(repetition);
                    }
                }
                _ if under_way.is_empty() => {}
                _ => drop(under_way.swap_remove(which % under_way.len())),
            }
        }
    }
}
