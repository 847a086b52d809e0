//! Any settings that are accepted, with fifty calls of any kind at any instants.

use intertie_resilience::bulkhead::Order;
use intertie_resilience::bulkhead::adaptive::{AdaptiveConfig, Algorithm as Adapts};
use intertie_resilience::circuit_breaker::{Mode, Outcome, Window};
use intertie_resilience::deadline::Deadline;
use intertie_resilience::rate_limiter::Algorithm;
use intertie_resilience::rate_limiter::lease::{Coordinator, LeaseConfig, Node, Unreachable};
use intertie_resilience::retry::{Backoff, Retry};
use intertie_resilience::{
    Bulkhead, BulkheadConfig, CircuitBreaker, CircuitBreakerConfig, RateLimiter, RateLimiterConfig,
    RetryBudget, RetryConfig,
};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::values::{
    class, count, duration, evidence, instants, large_number, number, rate, ratio, sane_duration,
};

const CALLS: usize = 50;

prop_compose! {
    pub(crate) fn circuit_breaker()(
        window in prop_oneof![
            sane_duration().prop_map(Window::Time),
            number().prop_map(Window::Calls),
        ],
        failures in option::of(number()),
        failure_rate in option::of(ratio()),
        slow_call in option::of((duration(), ratio())),
        minimum_calls in count(),
        consecutive_failures in option::of(number()),
        open in sane_duration(),
        open_max in option::of(duration()),
        open_jitter in ratio(),
        retry_after_max in duration(),
        successes_to_close in number(),
        probe_age_max in sane_duration(),
        ramp in duration(),
        mode in select(vec![Mode::Enforce, Mode::Observe, Mode::ForcedOpen, Mode::Disabled]),
    ) -> CircuitBreakerConfig {
        CircuitBreakerConfig {
            window,
            failures,
            failure_rate,
            slow_call_duration: slow_call.map(|(duration, _)| duration),
            slow_call_rate: slow_call.map(|(_, rate)| rate),
            minimum_calls,
            consecutive_failures,
            open,
            open_max,
            open_jitter,
            retry_after_max,
            successes_to_close,
            probe_age_max,
            ramp,
            mode,
            ..CircuitBreakerConfig::standard()
        }
    }
}

prop_compose! {
    pub(crate) fn rate_limiter()(
        limit in rate(),
        burst in option::of(large_number()),
        algorithm in select(vec![
            Algorithm::TokenBucket,
            Algorithm::SlidingWindow,
            Algorithm::SlidingWindowLog,
            Algorithm::FixedWindow,
        ]),
        keys_max in number(),
        lease in option::weighted(0.2, number()),
        queue in count(),
    ) -> RateLimiterConfig {
        RateLimiterConfig { burst, algorithm, keys_max, lease, queue, ..RateLimiterConfig::new(limit) }
    }
}

prop_compose! {
    pub(crate) fn bulkhead()(
        concurrent in number(),
        queued in option::of((1..=u32::MAX, duration(), select(vec![Order::Fifo, Order::Lifo]), duration())),
        adaptive in option::of((
            select(vec![Adapts::Aimd, Adapts::Gradient]),
            [number(), number()],
            [ratio(), ratio()],
            option::of(duration()),
            [duration(), duration()],
        )),
    ) -> BulkheadConfig {
        let adaptive = adaptive.map(|(algorithm, [min, max], [decrease, slowdown_max], latency_max, times)| {
            AdaptiveConfig {
                algorithm,
                min: min.min(concurrent),
                max: max.max(concurrent),
                decrease,
                latency_max,
                slowdown_max,
                window: times[0],
                probe_every: times[1],
            }
        });
        let config = BulkheadConfig { adaptive, ..BulkheadConfig::new(concurrent) };
        match queued {
            Some((queue, wait, order, run_min)) => BulkheadConfig { queue, wait, order, run_min, ..config },
            None => config,
        }
    }
}

prop_compose! {
    pub(crate) fn retry()(
        attempts in number(),
        backoff in select(vec![
            Backoff::Fixed,
            Backoff::Linear,
            Backoff::Exponential,
            Backoff::Decorrelated,
        ]),
        waits in prop::collection::vec(duration(), 0..4),
        base in duration(),
        cap in duration(),
        multiplier in number(),
        jitter in ratio(),
        budget in ratio(),
        budget_minimum in count(),
        retry_after_max in duration(),
    ) -> RetryConfig {
        RetryConfig {
            attempts,
            backoff,
            waits,
            base: base.min(cap),
            cap,
            multiplier,
            jitter,
            budget,
            budget_minimum,
            retry_after_max,
            ..RetryConfig::standard()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn a_circuit_breaker_never_panics(
        config in circuit_breaker(),
        instants in instants(CALLS),
        calls in prop::collection::vec((evidence(), option::of(duration()), 0..8_u32), CALLS),
    ) {
        let Ok(breaker) = CircuitBreaker::new(config) else { return Ok(()) };
        let mut held = Vec::new();
        for (now, (evidence, hint, what)) in instants.into_iter().zip(calls) {
            match what {
                0 => drop(breaker.try_admit(now)),
                1 => held.extend(breaker.try_admit_owned(now)),
                2 => breaker.reset(),
                3 => held.clear(),
                _ => {
                    let outcome = Outcome { evidence, retry_after: hint, took: hint };
                    if let Ok(permit) = breaker.try_admit(now) {
                        permit.record(now, outcome);
                    } else if let Some(permit) = held.pop() {
                        permit.record(now, outcome);
                    }
                }
            }
            breaker.would_admit(now);
            breaker.stats(now);
        }
    }

    #[test]
    fn a_rate_limiter_never_panics(
        config in rate_limiter(),
        other in rate_limiter(),
        instants in instants(CALLS),
        calls in prop::collection::vec((prop_oneof![Just(0), Just(1), Just(u64::MAX), any::<u64>()], 0..4_u8), CALLS),
    ) {
        let Ok(limiter) = RateLimiter::new(config) else { return Ok(()) };
        let other = RateLimiter::new(other).ok();
        let _status = limiter.subscribe();
        for (now, (cost, key)) in instants.into_iter().zip(calls) {
            limiter.try_acquire((), now, 1).ok();
            limiter.try_acquire((), now, cost).ok();
            limiter.try_acquire(key, now, cost).ok();
            if let Some(other) = &other {
                RateLimiter::try_acquire_all([limiter.claim(key), other.claim(())], now, cost).ok();
            }
            limiter.stats();
        }
    }

    #[test]
    fn leases_never_panic(
        limit in rate(),
        lease in large_number(),
        nodes_max in number(),
        times in [duration(), duration()],
        unreachable in select(vec![Unreachable::Closed, Unreachable::Open, Unreachable::LocalShare]),
        instants in instants(CALLS),
        costs in prop::collection::vec(prop_oneof![Just(0), Just(1), any::<u64>()], CALLS),
    ) {
        let lease = lease.min(std::num::NonZeroU64::new(limit.amount()).expect("not zero"));
        let config = LeaseConfig {
            unreachable,
            ask_again: times[0].min(times[1]),
            patience: times[1],
            ..LeaseConfig::new(limit, lease, nodes_max)
        };
        let Ok(mut node) = Node::new(config, 7) else { return Ok(()) };
        let mut coordinator = Coordinator::first(config, instants[0]).expect("the same settings");
        for (now, cost) in instants.into_iter().zip(costs) {
            node.decide(now, cost);
            node.decide(now, 1);
            let answer = node.question(now).and_then(|question| coordinator.answer(question, now).ok());
            if let Some(grant) = answer {
                node.receive(grant, now);
            }
        }
    }

    #[test]
    fn a_bulkhead_never_panics(
        config in bulkhead(),
        instants in instants(CALLS),
        calls in prop::collection::vec((class(), duration(), any::<bool>()), CALLS),
    ) {
        let Ok(bulkhead) = Bulkhead::new(config) else { return Ok(()) };
        let mut held = Vec::new();
        for (now, (class, latency, ends)) in instants.into_iter().zip(calls) {
            held.extend(bulkhead.try_acquire());
            if ends && let Some(permit) = held.pop() {
                permit.record(now, class, latency);
            }
            bulkhead.stats();
        }
    }

    #[test]
    fn a_retry_schedule_never_panics(
        config in retry(),
        instants in instants(CALLS),
        failures in prop::collection::vec((class(), option::of(duration()), ratio()), CALLS),
        limits in [option::of(duration()), option::of(duration())],
    ) {
        if config.validate().is_err() {
            return Ok(());
        }
        let mut retry = Retry::new(&config);
        let budget = RetryBudget::new(config.budget_limits());
        for (now, (class, hint, random)) in instants.into_iter().zip(failures) {
            let deadline = Deadline::new(now, limits[0], limits[1]);
            budget.deposit(now);
            if retry.next(now, deadline, class, hint, random).is_ok() {
                drop(budget.withdraw(now));
            }
            budget.stats(now);
        }
        for repetition in [0, 1, 2, 64, 65, 100, u32::MAX] {
            config.wait(repetition);
            config.longest_wait(repetition);
        }
        config.longest_backoff();
    }
}

/// The properties above look at settings that are accepted; this is what keeps them from looking at none.
#[test]
fn most_settings_of_these_tests_are_accepted_by_some_policy() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    fn share<T: std::fmt::Debug>(strategy: impl Strategy<Value = T>, accepted: impl Fn(T) -> bool) -> usize {
        let mut runner = TestRunner::deterministic();
        let mut draw = || strategy.new_tree(&mut runner).expect("a value").current();
        (0..1_000).filter(|_| accepted(draw())).count()
    }
    let shares = [
        share(circuit_breaker(), |config| config.validate().is_ok()),
        share(rate_limiter(), |config| config.validate().is_ok()),
        share(bulkhead(), |config| config.validate().is_ok()),
        share(retry(), |config| config.validate().is_ok()),
    ];
    assert!(shares.iter().all(|accepted| *accepted > 50), "of 1,000 each: {shares:?}");
}
