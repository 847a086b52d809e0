use proptest::prelude::*;

use super::super::fixed_window::{FixedWindow, WindowCount};
use super::super::limit::StateCell;
use super::super::sliding_window::{SlidingWindow, WindowState};
use super::super::sliding_window_log::{Log, SlidingWindowLog};
use super::super::token_bucket::{AtomicInstant, TokenBucket};
use super::*;

#[test]
fn a_bucket_gives_its_burst_then_the_rate() {
    let bucket = TokenBucket::new(rate("10/s"), 20);
    let mut state = Instant::default();
    assert_eq!((0..100).filter(|_| admits(&bucket, &mut state, NOW, 1)).count(), 20);
    let rejected = bucket.decide(&mut state, NOW, 1);
    assert_eq!(rejected, Decision::Rejected { retry_after: Some(ms(100)) });
    let early = NOW + (ms(100) - Duration::from_nanos(1));
    assert!(!admits(&bucket, &mut state, early, 1));
    assert!(admits(&bucket, &mut state.clone(), NOW + ms(100), 1));
    let admitted = bucket.decide(&mut state, NOW + ms(1_100), 1);
    assert_eq!(admitted, Decision::Admitted { remaining: 10, reset: ms(1_000) });
}

#[test]
fn a_cost_that_never_fits_is_told_so_at_once() {
    let bucket = TokenBucket::new(rate("10/s"), 20);
    assert_eq!(bucket.decide(&mut Instant::default(), NOW, 21), Decision::Rejected { retry_after: None });
    let window = SlidingWindow::new(rate("10/s"));
    let never = window.decide(&mut WindowState::default(), NOW, 11);
    assert_eq!(never, Decision::Rejected { retry_after: None });
}

#[test]
fn a_sliding_window_weighs_the_window_before() {
    let window = SlidingWindow::new(rate("100/min"));
    let mut state = WindowState::default();
    for _ in 0..80 {
        assert!(admits(&window, &mut state, NOW + ms(30_000), 1));
    }
    let next = NOW + ms(60_000);
    for _ in 0..30 {
        assert!(admits(&window, &mut state, next + ms(14_000), 1));
    }
    // 80 × 45/60 + 30 + 1 = 91
    let seen = window.decide(&mut state, next + ms(15_000), 1);
    assert!(matches!(seen, Decision::Admitted { remaining: 9, .. }), "{seen:?}");
}

#[test]
fn permits_that_waiters_reckon_with_are_not_released() {
    let bucket = TokenBucket::new(rate("10/s"), 1);
    let mut full_at = Instant::default();
    assert!(admits(&bucket, &mut full_at, NOW, 1));
    bucket.reserve(&mut full_at, NOW, 1, ms(100)).expect("a wait of 100 ms");
    let reserved = full_at;
    bucket.release(&mut full_at, NOW, 1);
    assert_eq!(full_at, reserved, "else the next would be due together with the waiter");
}

#[test]
fn a_release_undoes_what_later_calls_left_behind() {
    /// Takes 4 permits and later 1, and releases the 4; or takes the 1 only.
    fn states<L: Limit>(limit: &L, later: Duration) -> (L::State, L::State) {
        let (mut touched, mut untouched) = (L::State::default(), L::State::default());
        assert!(admits(limit, &mut touched, NOW, 4) && admits(limit, &mut touched, NOW + later, 1));
        limit.release(&mut touched, NOW, 4);
        assert!(admits(limit, &mut untouched, NOW + later, 1));
        (touched, untouched)
    }
    for later in [ms(0), ms(300), ms(1_300), ms(2_300)] {
        let (touched, untouched) = states(&SlidingWindow::new(rate("10/s")), later);
        assert_eq!(touched, untouched);
        let (touched, untouched) = states(&FixedWindow::new(rate("10/s")), later);
        assert_eq!(touched, untouched);
        let (touched, untouched) = states(&SlidingWindowLog::new(rate("10/s")), later);
        assert_eq!(touched, untouched);
    }
}

#[test]
fn an_update_that_another_overtakes_starts_again() {
    let cell = AtomicInstant::default();
    let mut runs = 0;
    cell.update(|state| {
        runs += 1;
        if runs == 1 {
            cell.update(|state| *state = *state + ms(10));
        }
        *state = *state + ms(1);
    });
    assert_eq!((runs, cell.update(|state| *state)), (2, Instant::ORIGIN + ms(11)));
}

#[test]
fn a_fixed_window_starts_again_at_its_edge() {
    let window = FixedWindow::new(rate("3/s"));
    let mut count = WindowCount::default();
    let edge = NOW + ms(1_000);
    let before = NOW + ms(900);
    assert_eq!((0..5).filter(|_| admits(&window, &mut count, before, 1)).count(), 3);
    let rejected = window.decide(&mut count, before, 1);
    assert_eq!(rejected, Decision::Rejected { retry_after: Some(ms(100)) });
    assert_eq!((0..5).filter(|_| admits(&window, &mut count, edge, 1)).count(), 3, "6 within 100 ms");
    assert!(!admits(&window, &mut count, before, 1), "an older reading opens no older window");
    for (later, idle) in [(0, false), (999, false), (1_000, true), (2_000, true), (3_600_000, true)] {
        assert_eq!(window.is_idle(&count, edge + ms(later)), idle, "{later} ms after its edge");
    }
}

#[test]
fn a_log_forgets_a_call_after_exactly_one_period() {
    let window = SlidingWindowLog::new(rate("2/s"));
    let mut log = Log::default();
    assert!(admits(&window, &mut log, NOW, 1) && admits(&window, &mut log, NOW + ms(400), 1));
    let rejected = window.decide(&mut log, NOW + ms(999), 2);
    assert_eq!(rejected, Decision::Rejected { retry_after: Some(ms(401)) });
    let admitted = window.decide(&mut log, NOW + ms(1_000), 1);
    assert_eq!(admitted, Decision::Admitted { remaining: 0, reset: ms(1_000) });
}

proptest! {
    /// The bucket against one that counts tokens in nanoseconds of refill.
    #[test]
    fn a_bucket_equals_counted_tokens(
        amount in 1_u64..200,
        burst in 1_u64..50,
        steps in prop::collection::vec((0_u64..200_000_000, 1_u64..6), 1..200),
    ) {
        let bucket = TokenBucket::new(Rate::new(amount, Duration::from_secs(1)).expect("valid"), burst);
        let interval = 1_000_000_000_u64.div_ceil(amount);
        let mut state = Instant::default();
        let (mut tokens, mut now) = (burst * interval, NOW);
        for (step, cost) in steps {
            now = now + Duration::from_nanos(step);
            tokens = (tokens + step).min(burst * interval);
            match bucket.decide(&mut state, now, cost) {
                Decision::Admitted { remaining, reset } => {
                    prop_assert!(tokens >= cost * interval);
                    tokens -= cost * interval;
                    prop_assert_eq!(remaining, tokens / interval);
                    prop_assert_eq!(reset, Duration::from_nanos(burst * interval - tokens));
                }
                Decision::Rejected { retry_after: None } => prop_assert!(cost > burst),
                Decision::Rejected { retry_after: Some(wait) } => {
                    prop_assert_eq!(wait, Duration::from_nanos(cost * interval - tokens));
                }
            }
        }
    }

    /// The window against a log of calls; its hint is neither early nor late.
    #[test]
    fn a_window_equals_its_log(
        amount in 1_u64..40,
        steps in prop::collection::vec((0_u64..400_000_000, 1_u64..4), 1..200),
    ) {
        const WINDOW: u64 = 1_000_000_000;
        let window = SlidingWindow::new(Rate::new(amount, Duration::from_nanos(WINDOW)).expect("valid"));
        let mut state = WindowState::default();
        let mut log: Vec<(u64, u64)> = Vec::new();
        let mut now = NOW;
        for (step, cost) in steps {
            now = now + Duration::from_nanos(step);
            let index = now.as_nanos() / WINDOW;
            let sum = |of: u64| log.iter().filter(|(window, _)| *window == of).map(|(_, cost)| cost).sum::<u64>();
            let left = WINDOW - now.as_nanos() % WINDOW;
            let weighted = (u128::from(sum(index - 1)) * u128::from(left)).div_ceil(u128::from(WINDOW)) as u64;
            let fits = weighted + sum(index) + cost <= amount;
            let before = state;
            match window.decide(&mut state, now, cost) {
                Decision::Admitted { remaining, .. } => {
                    prop_assert!(fits);
                    prop_assert_eq!(remaining, amount - weighted - sum(index) - cost);
                    log.push((index, cost));
                }
                Decision::Rejected { retry_after: None } => prop_assert!(cost > amount),
                Decision::Rejected { retry_after: Some(wait) } => {
                    prop_assert!(!fits && wait > Duration::ZERO);
                    prop_assert!(admits(&window, &mut before.clone(), now + wait, cost), "the hint is too early");
                    let early = now + (wait - Duration::from_nanos(1));
                    prop_assert!(!admits(&window, &mut before.clone(), early, cost), "the hint is too late");
                }
            }
        }
    }

    /// The fixed window against a log of calls by the number of their window.
    #[test]
    fn a_fixed_window_equals_its_log(
        amount in 1_u64..40,
        steps in prop::collection::vec((0_u64..400_000_000, 0_u64..4), 1..200),
    ) {
        const WINDOW: u64 = 1_000_000_000;
        let window = FixedWindow::new(per_second(amount));
        let mut count = WindowCount::default();
        let mut log: Vec<(u64, u64)> = Vec::new();
        let mut now = NOW;
        for (step, cost) in steps {
            now = now + Duration::from_nanos(step);
            let index = now.as_nanos() / WINDOW;
            let used = log.iter().filter(|(window, _)| *window == index).map(|(_, cost)| cost).sum::<u64>();
            let until_edge = Duration::from_nanos(WINDOW - now.as_nanos() % WINDOW);
            let expected = if cost > amount {
                Decision::Rejected { retry_after: None }
            } else if used + cost > amount {
                Decision::Rejected { retry_after: Some(until_edge) }
            } else {
                log.push((index, cost));
                Decision::Admitted { remaining: amount - used - cost, reset: until_edge }
            };
            prop_assert_eq!(window.decide(&mut count, now, cost), expected);
        }
    }

    /// The log against one that forgets nothing; its hint is neither early nor late.
    #[test]
    fn a_log_equals_all_calls_of_the_last_period(
        amount in 1_u64..40,
        steps in prop::collection::vec((0_u64..400_000_000, 0_u64..4), 1..200),
    ) {
        const WINDOW: u64 = 1_000_000_000;
        let window = SlidingWindowLog::new(per_second(amount));
        let mut state = Log::default();
        let mut log: Vec<(Instant, u64)> = Vec::new();
        let mut now = NOW;
        for (step, cost) in steps {
            now = now + Duration::from_nanos(step);
            let used_at = |at: Instant| {
                let counts = |call: &&(Instant, u64)| call.0.as_nanos() + WINDOW > at.as_nanos();
                log.iter().filter(counts).map(|(_, cost)| cost).sum::<u64>()
            };
            let used = used_at(now);
            match window.decide(&mut state, now, cost) {
                Decision::Admitted { remaining, .. } => {
                    prop_assert_eq!(used + cost + remaining, amount);
                    log.push((now, cost));
                }
                Decision::Rejected { retry_after: None } => prop_assert!(cost > amount),
                Decision::Rejected { retry_after: Some(wait) } => {
                    prop_assert!(used + cost > amount);
                    prop_assert!(used_at(now + wait) + cost <= amount, "the hint is too early");
                    prop_assert!(used_at(now + (wait - Duration::from_nanos(1))) + cost > amount, "too late");
                }
            }
        }
    }

    /// What was taken and released, in any algorithm, leaves the decisions as if it had never been taken.
    #[test]
    fn a_release_undoes(
        amount in 1_u64..20,
        steps in prop::collection::vec((0_u64..300_000_000, 1_u64..5, any::<bool>()), 1..100),
    ) {
        let rate = per_second(amount);
        released_equals_never_taken(&TokenBucket::new(rate, amount), &steps)?;
        released_equals_never_taken(&SlidingWindow::new(rate), &steps)?;
        released_equals_never_taken(&SlidingWindowLog::new(rate), &steps)?;
        released_equals_never_taken(&FixedWindow::new(rate), &steps)?;
    }
}

fn released_equals_never_taken<L: Limit>(limit: &L, steps: &[(u64, u64, bool)]) -> Result<(), TestCaseError> {
    let (mut touched, mut untouched) = (L::State::default(), L::State::default());
    let mut now = NOW;
    for (step, cost, is_released) in steps {
        now = now + Duration::from_nanos(*step);
        if *is_released {
            if admits(limit, &mut touched, now, *cost) {
                limit.release(&mut touched, now, *cost);
            }
        } else {
            let expected = limit.decide(&mut untouched, now, *cost);
            prop_assert_eq!(limit.decide(&mut touched, now, *cost), expected);
        }
    }
    Ok(())
}
