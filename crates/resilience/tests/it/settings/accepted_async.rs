//! The same for policies that wait: fifty calls of any kind, on a clock that jumps to whoever waits.

use std::future::pending;
use std::io;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use intertie_core::failure::Class;
use intertie_resilience::hedge::Quantile;
use intertie_resilience::pipeline::Verdict;
use intertie_resilience::pool::{CheckOnCheckout, Manage};
use intertie_resilience::timeout::{DetachingTimeout, Late, Timeout};
use intertie_resilience::{
    BatchConfig, Batcher, CallError, Chaos, ChaosConfig, CoalesceConfig, Group, Hedge, HedgeConfig, Pipeline,
    PipelineConfig, Pool, PoolConfig, RateLimiterConfig, TimeoutConfig,
};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::accepted::{bulkhead, circuit_breaker, rate_limiter, retry};
use super::values::{class, count, duration, number, ratio, sane_duration};

const CALLS: usize = 50;

/// One operation: how long it takes, and what comes of it.
#[derive(Debug, Clone)]
struct Operation {
    takes: Duration,
    class: Class,
    hint: Option<Duration>,
    hangs: bool,
    key: u8,
}

impl Operation {
    async fn run(&self) -> Result<u8, u8> {
        if self.hangs {
            pending::<()>().await;
        }
        tokio::time::sleep(self.takes).await;
        if self.class == Class::Success { Ok(1) } else { Err(2) }
    }

    fn verdict(&self) -> Verdict {
        Verdict { class: self.class, retry_after: self.hint, exhausted: false }
    }
}

prop_compose! {
    fn operation()(
        takes in prop_oneof![Just(Duration::ZERO), (0_u64..2_000).prop_map(Duration::from_millis)],
        class in class(),
        hint in option::of(duration()),
        hangs in prop::bool::weighted(0.1),
        key in 0_u8..4,
    ) -> Operation {
        Operation { takes, class, hint, hangs, key }
    }
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    prop::collection::vec(operation(), CALLS)
}

/// Runs a call for so long that it ends, or is dropped if it never does.
async fn spend<T>(call: impl Future<Output = T>) {
    tokio::time::timeout(Duration::from_secs(3_600), call).await.ok();
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(future)
}

/// Connects and checks as one operation after the other ends.
struct Nothing {
    operations: Vec<Operation>,
    next: AtomicUsize,
}

impl Manage for Nothing {
    type Resource = ();
    type Error = io::Error;

    async fn connect(&self) -> Result<(), io::Error> {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        let operation = &self.operations[next % self.operations.len()];
        operation.run().await.map(drop).map_err(|_| io::ErrorKind::ConnectionRefused.into())
    }

    async fn check(&self, (): &mut ()) -> Result<(), io::Error> {
        self.connect().await
    }

    fn is_broken(&self, (): &()) -> bool {
        self.next.load(Ordering::Relaxed).is_multiple_of(8)
    }
}

prop_compose! {
    fn pool()(
        min_idle in 0_u32..4,
        max in number(),
        long in [sane_duration(), sane_duration()],
        short in [sane_duration(), sane_duration(), sane_duration(), sane_duration()],
        lifetime_jitter in ratio(),
        queue in count(),
        check_on_checkout in prop_oneof![
            Just(CheckOnCheckout::Always),
            Just(CheckOnCheckout::Never),
            duration().prop_map(CheckOnCheckout::AfterIdle),
        ],
        leak_after in option::of(sane_duration()),
    ) -> PoolConfig {
        let below = |inner: Duration, outer: Duration| inner.min(outer / 2);
        PoolConfig {
            min_idle: min_idle.min(max.get()),
            max,
            lifetime: long[0],
            acquire_timeout: long[1],
            idle_timeout: below(short[0], long[0]),
            check_every: below(short[1], long[0]).max(Duration::from_millis(10)),
            connect_timeout: below(short[2], long[1]),
            check_timeout: below(short[3], long[1]),
            lifetime_jitter,
            queue,
            check_on_checkout,
            leak_after,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn a_pipeline_never_panics(
        limits in [option::of(duration()), option::of(duration())],
        rate_limiter in option::of(rate_limiter()),
        bulkhead in option::of(bulkhead()),
        retry in option::of(retry()),
        circuit_breaker in option::of(circuit_breaker()),
        operations in operations(),
    ) {
        // Each policy that is refused is left out, so that the others are tried.
        let config = PipelineConfig {
            deadline: limits[0],
            attempt_timeout: limits[1],
            rate_limiter: rate_limiter
                .map(|config| RateLimiterConfig { queue: 0, ..config })
                .filter(|config| config.validate().is_ok()),
            bulkhead: bulkhead.filter(|config| config.validate().is_ok()),
            retry: retry.filter(|config| config.validate().is_ok()),
            circuit_breaker: circuit_breaker.filter(|config| config.validate().is_ok()),
            ..PipelineConfig::default()
        };
        let config = match Pipeline::new("any", config.clone()) {
            Ok(_) => config,
            Err(_) => PipelineConfig { deadline: None, attempt_timeout: None, ..config },
        };
        let pipeline = Pipeline::new("any", config).expect("each policy is valid alone");
        let _ = pipeline.explain().to_string();
        block_on(async {
            for operation in &operations {
                let verdict = operation.verdict();
                let call = pipeline.call(|_| operation.run()).idempotent().classify(move |_| verdict);
                let call = call.key(operation.key).cost(operation.key.into());
                let call = match operation.hint {
                    Some(remaining) => call.remaining(remaining),
                    None => call,
                };
                let backup = async |_: CallError<u8>| operation.run().await.map_err(CallError::Operation);
                spend(async { call.or_else(backup).await }).await;
            }
        });
        pipeline.stats();
    }

    #[test]
    fn a_timeout_never_panics(
        limit in duration(),
        late in select(vec![Late::Drop, Late::Cooperate, Late::Detach]),
        grace in duration(),
        detached_max in number(),
        operations in operations(),
    ) {
        let config = TimeoutConfig { late, grace, detached_max, ..TimeoutConfig::new(limit) };
        let detaching = DetachingTimeout::new(config.clone(), |operation| drop(tokio::spawn(operation)));
        let plain = Timeout::new(config);
        block_on(async {
            for operation in operations {
                if let Ok(timeout) = &plain {
                    spend(timeout.run(|_| operation.run())).await;
                }
                if let Ok(timeout) = &detaching {
                    spend(timeout.run(move |_| async move { operation.run().await })).await;
                }
            }
        });
    }

    #[test]
    fn a_hedge_never_panics(
        after in option::of(duration()),
        quantile in option::of(select(vec![Quantile::P95, Quantile::P99])),
        samples_min in number(),
        window in duration(),
        attempts in 2_u32..=3,
        budget in ratio(),
        budget_minimum in count(),
        operations in operations(),
    ) {
        let attempts = NonZeroU32::new(attempts).expect("not zero");
        let config = HedgeConfig { after, quantile, samples_min, window, attempts, budget, budget_minimum };
        let Ok(hedge) = Hedge::new(config) else { return Ok(()) };
        block_on(async {
            for operation in &operations {
                spend(hedge.run(|_| operation.run())).await;
            }
        });
    }

    #[test]
    fn chaos_never_panics(
        rates in [ratio(), ratio()],
        latency in duration(),
        seed in any::<u64>(),
        operations in operations(),
    ) {
        let [fault_rate, latency_rate] = rates;
        let config = ChaosConfig { enabled: true, fault_rate, latency_rate, latency, seed };
        let Ok(chaos) = Chaos::new(config) else { return Ok(()) };
        block_on(async {
            for operation in &operations {
                spend(chaos.run(operation.run(), || Err(3))).await;
            }
        });
    }

    #[test]
    fn a_pool_never_panics(config in pool(), operations in operations()) {
        let manager = Nothing { operations: operations.clone(), next: AtomicUsize::new(0) };
        let Ok(pool) = Pool::new(manager, config) else { return Ok(()) };
        block_on(async {
            let uses = async {
                let mut held = Vec::new();
                for operation in &operations {
                    spend(async { held.extend(pool.get().await) }).await;
                    if operation.key > 1 {
                        held.pop();
                    }
                    pool.stats();
                }
            };
            tokio::select! {
                () = pool.maintain() => {}
                () = uses => {}
            }
            spend(pool.close()).await;
        });
    }

    #[test]
    fn a_batcher_never_panics(
        size_max in number(),
        concurrent in number(),
        window in duration(),
        queue in option::of(number()),
        wait in duration(),
        bisect in any::<bool>(),
        operations in operations(),
    ) {
        let config = BatchConfig { size_max, concurrent, window, queue, wait, bisect };
        let batcher = Batcher::new(config, |items: Vec<Operation>| async move {
            items[0].run().await.map(|_| items.iter().map(|_| Ok::<_, u8>(())).collect())
        });
        let Ok(batcher) = batcher else { return Ok(()) };
        block_on(async {
            let calls = operations.into_iter().map(|operation| {
                let batcher = batcher.clone();
                tokio::spawn(async move { spend(batcher.call(operation)).await })
            });
            for call in calls.collect::<Vec<_>>() {
                call.await.expect("no panic");
            }
        });
    }

    #[test]
    fn coalesced_calls_never_panic(
        keys_max in number(),
        callers_max in number(),
        share_errors in any::<bool>(),
        failures_max in number(),
        operations in operations(),
    ) {
        let config = CoalesceConfig { keys_max, callers_max, share_errors, failures_max };
        let Ok(group) = Group::<u8, u8, u8>::new(config) else { return Ok(()) };
        block_on(async {
            let calls = operations.into_iter().map(|operation| {
                let group = group.clone();
                tokio::spawn(async move {
                    let key = operation.key;
                    spend(group.run(key, || async move { operation.run().await })).await;
                })
            });
            for call in calls.collect::<Vec<_>>() {
                call.await.expect("no panic");
            }
        });
    }
}
