//! Runs an operation under several policies in their one canonical order.
//!
//! Whatever the order in which they are set, they nest like this, outermost first:
//!
//! | policy | asked |
//! |---|---|
//! | fallback | when the call failed; it is attached to the call |
//! | deadline | once; it ends everything inside |
//! | rate limiter | once, or before each attempt (`count = "attempts"`) |
//! | bulkhead | once; its place is held until the call is over, waits between attempts included |
//! | retry | after each failed attempt, within its budget, for calls marked idempotent |
//! | hedge | while an attempt is slow, within its budget, for calls marked idempotent |
//! | circuit breaker | before each attempt; it never causes a repetition, and none is made when it is open |
//! | attempt timeout | for each attempt, with those that a hedge begins beside it |
//! | chaos | before the operation, off unless enabled |
//!
//! The reasons, and what goes wrong in other orders, are on the page of each pattern.
//!
//! A call that never has to wait allocates nothing, spawns nothing and reads the clock once.

mod admission;
mod attempt;
mod call;
mod config;
mod context;
mod error;
mod explain;
mod hedging;
#[cfg(feature = "http")]
pub mod http;
mod progress;
mod repetitions;
mod stats;
mod steps;
mod substitute;
#[cfg(test)]
mod tests;
mod waits;

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use intertie_core::config::Invalid;
use intertie_core::rejection::Policy;

pub use call::Call;
pub use config::{InvalidPipeline, PipelineConfig};
pub use context::{Cx, Verdict};
pub use error::{AttemptError, AttemptRecord, CallError, Exhausted};
pub use explain::Explanation;
pub use stats::Stats;

use crate::rate_limiter::Count;
use crate::{
    Bulkhead, BulkheadConfig, Chaos, ChaosConfig, CircuitBreaker, CircuitBreakerConfig, Hedge, HedgeConfig,
    RateLimiter, RateLimiterConfig, RetryBudget, RetryConfig,
};
use stats::Counters;

/// Policies in their canonical order, around any operation. Clones are handles on the same state.
///
/// # Example
/// ```
/// use std::time::Duration;
/// use intertie_resilience::pipeline::{CallError, Pipeline};
/// use intertie_resilience::{CircuitBreakerConfig, RetryConfig};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?.block_on(async {
/// let payments = Pipeline::named("payments")
///     .deadline(Duration::from_secs(30))
///     .retry(RetryConfig::standard())
///     .circuit_breaker(CircuitBreakerConfig::standard())
///     .attempt_timeout(Duration::from_secs(5))
///     .build()?;
/// let receipt = payments
///     .call(async |attempt| match attempt.attempt() {
///         1 => Err("connection reset"),
///         _ => Ok("paid"),
///     })
///     .idempotency_key("order-7")
///     .await;
/// assert!(matches!(receipt, Ok("paid")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Pipeline {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    config: PipelineConfig,
    rate_limiter: Option<RateLimiter>,
    bulkhead: Option<Bulkhead>,
    budget: Option<RetryBudget>,
    circuit_breaker: Option<CircuitBreaker>,
    hedge: Option<Hedge>,
    chaos: Option<Chaos>,
    /// What the rate limiter counts.
    counts: Count,
    /// Whether the bulkhead learns from its calls.
    adapts: bool,
    counters: Arc<Counters>,
}

impl Pipeline {
    /// Begins a pipeline without any policy. The name tells it apart in errors and metrics.
    pub fn named(name: impl Into<String>) -> PipelineBuilder {
        PipelineBuilder { name: name.into(), config: PipelineConfig::default() }
    }

    /// A pipeline as a file describes it.
    ///
    /// # Errors
    /// The first setting that can not work, with its value and the limit.
    pub fn new(name: impl Into<String>, config: PipelineConfig) -> Result<Self, InvalidPipeline> {
        Self::build(name.into(), config, None)
    }

    /// The same pipeline with other settings. The state of policies whose own settings stay is shared by
    /// both, and so are the numbers of [`Pipeline::stats`].
    ///
    /// # Errors
    /// The first setting that can not work, with its value and the limit.
    pub fn reconfigured(&self, config: PipelineConfig) -> Result<Self, InvalidPipeline> {
        Self::build(self.shared.name.clone(), config, Some(&self.shared))
    }

    fn build(name: String, config: PipelineConfig, before: Option<&Shared>) -> Result<Self, InvalidPipeline> {
        let invalid = |(policy, invalid)| InvalidPipeline { name: name.clone(), policy, invalid };
        config.validate().map_err(invalid)?;
        let at = |policy| move |problem| invalid((policy, problem));
        let rate_limiter = before.map(|before| (&before.config.rate_limiter, &before.rate_limiter));
        let bulkhead = before.map(|before| (&before.config.bulkhead, &before.bulkhead));
        let breaker = before.map(|before| (&before.config.circuit_breaker, &before.circuit_breaker));
        let budget = before.map(|before| (&before.config.retry, &before.budget));
        let hedge = before.map(|before| (&before.config.hedge, &before.hedge));
        let chaos = before.map(|before| (&before.config.chaos, &before.chaos));
        let pay = |retry: RetryConfig| Ok(RetryBudget::new(retry.budget_limits()));
        let shared = Shared {
            rate_limiter: carry(rate_limiter, &config.rate_limiter, RateLimiter::new)
                .map_err(at(Policy::RateLimiter))?,
            bulkhead: carry(bulkhead, &config.bulkhead, Bulkhead::new).map_err(at(Policy::Bulkhead))?,
            circuit_breaker: carry(breaker, &config.circuit_breaker, CircuitBreaker::new)
                .map_err(at(Policy::CircuitBreaker))?,
            hedge: carry(hedge, &config.hedge, Hedge::new).map_err(at(Policy::Hedge))?,
            chaos: carry(chaos, &config.chaos, Chaos::new).map_err(at(Policy::Chaos))?,
            budget: carry(budget, &config.retry, pay).map_err(at(Policy::Retry))?,
            counts: config.rate_limiter.as_ref().map_or(Count::Calls, |limiter| limiter.count),
            adapts: config.bulkhead.as_ref().is_some_and(|bulkhead| bulkhead.adaptive.is_some()),
            counters: before.map(|before| Arc::clone(&before.counters)).unwrap_or_default(),
            config,
            name,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The name that it was given.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The policies in force.
    pub fn config(&self) -> &PipelineConfig {
        &self.shared.config
    }

    /// The circuit breaker, to be set by hand or read.
    pub fn circuit_breaker(&self) -> Option<&CircuitBreaker> {
        self.shared.circuit_breaker.as_ref()
    }

    /// The bulkhead, to be read.
    pub fn bulkhead(&self) -> Option<&Bulkhead> {
        self.shared.bulkhead.as_ref()
    }

    /// The rate limiter, to be read.
    pub fn rate_limiter(&self) -> Option<&RateLimiter> {
        self.shared.rate_limiter.as_ref()
    }

    /// The hedge, to be read.
    pub fn hedge(&self) -> Option<&Hedge> {
        self.shared.hedge.as_ref()
    }

    /// The injection of faults, to be switched on and off.
    pub fn chaos(&self) -> Option<&Chaos> {
        self.shared.chaos.as_ref()
    }

    /// The key as calls of this pipeline take it.
    #[cfg(feature = "tower")]
    pub(crate) fn hash(&self, key: impl Hash) -> Option<u64> {
        self.shared.hash(key)
    }

    /// Whether an idempotent call can have more than one attempt.
    #[cfg(feature = "tower")]
    pub(crate) fn may_repeat(&self) -> bool {
        explain::attempts_max(&self.shared.config) > 1
    }

    /// What the pipeline did so far.
    pub fn stats(&self) -> Stats {
        self.shared.counters.read()
    }

    /// What a call goes through, and what it can cost.
    pub fn explain(&self) -> Explanation {
        Explanation::new(&self.shared.name, &self.shared.config)
    }

    /// A call of `operation`, which begins when it is awaited and is cancelled by dropping it.
    ///
    /// `operation` makes one attempt each time it is called. Without [`Call::idempotent`] or
    /// [`Call::idempotency_key`] it is called at most once.
    pub fn call<F, Fut, T, E>(
        &self,
        operation: F,
    ) -> Call<'_, F, Fut, impl Fn(&Result<T, E>) -> Verdict + use<F, Fut, T, E>>
    where
        F: Fn(Cx) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        Call::new(&self.shared, operation, call::failure_is_transient)
    }
}

/// The policy of before when its settings stay, a new one otherwise.
fn carry<C: Clone + PartialEq, P: Clone>(
    before: Option<(&Option<C>, &Option<P>)>,
    config: &Option<C>,
    make: impl FnOnce(C) -> Result<P, Invalid>,
) -> Result<Option<P>, Invalid> {
    match before {
        Some((old, policy)) if old == config => Ok(policy.clone()),
        _ => config.clone().map(make).transpose(),
    }
}

impl Shared {
    /// The key as the rate limiter knows it, if there is one.
    fn hash(&self, key: impl Hash) -> Option<u64> {
        self.rate_limiter.as_ref()?.hash(key)
    }
}

/// Sets the policies of a pipeline, in any order.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it is built"]
pub struct PipelineBuilder {
    name: String,
    config: PipelineConfig,
}

impl PipelineBuilder {
    /// Limits the whole call.
    pub fn deadline(mut self, limit: Duration) -> Self {
        self.config.deadline = Some(limit);
        self
    }

    /// Limits calls, or attempts, per time.
    pub fn rate_limiter(mut self, config: RateLimiterConfig) -> Self {
        self.config.rate_limiter = Some(config);
        self
    }

    /// Limits calls at the same time.
    pub fn bulkhead(mut self, config: BulkheadConfig) -> Self {
        self.config.bulkhead = Some(config);
        self
    }

    /// Repeats failed attempts of calls marked idempotent.
    pub fn retry(mut self, config: RetryConfig) -> Self {
        self.config.retry = Some(config);
        self
    }

    /// Begins further attempts beside slow ones, of calls marked idempotent.
    pub fn hedge(mut self, config: HedgeConfig) -> Self {
        self.config.hedge = Some(config);
        self
    }

    /// Stops calling while the operation keeps failing.
    pub fn circuit_breaker(mut self, config: CircuitBreakerConfig) -> Self {
        self.config.circuit_breaker = Some(config);
        self
    }

    /// Limits each attempt.
    pub fn attempt_timeout(mut self, limit: Duration) -> Self {
        self.config.attempt_timeout = Some(limit);
        self
    }

    /// Injects faults and latency into attempts, to see what becomes of the calls.
    pub fn chaos(mut self, config: ChaosConfig) -> Self {
        self.config.chaos = Some(config);
        self
    }

    /// The pipeline.
    ///
    /// # Errors
    /// The first setting that can not work, with its value and the limit.
    pub fn build(self) -> Result<Pipeline, InvalidPipeline> {
        Pipeline::new(self.name, self.config)
    }
}
