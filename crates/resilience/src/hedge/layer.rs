use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use intertie_core::clock::{Instant, nanos};
use intertie_core::config::Invalid;

use super::call::Call;
use super::config::HedgeConfig;
use super::latencies::Latencies;
use super::quantile::Quantile;
use crate::RetryBudget;
use crate::retry::BudgetLimits;
use crate::striped::StripedCounters;

/// Runs idempotent operations with further attempts beside slow ones. Clones are handles on the same budget,
/// latencies and counters.
///
/// # Example
/// ```
/// use std::time::Duration;
/// use intertie_resilience::{Hedge, HedgeConfig};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?.block_on(async {
/// let hedge = Hedge::new(HedgeConfig::after(Duration::from_millis(50)))?;
/// let answer = hedge
///     .run(async |attempt| {
///         let pause = if attempt == 1 { Duration::from_secs(10) } else { Duration::from_millis(5) };
///         tokio::time::sleep(pause).await;
///         Ok::<_, std::io::Error>(attempt)
///     })
///     .await?;
/// assert_eq!(answer, 2, "after 55 ms instead of 10 s");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Hedge {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    config: HedgeConfig,
    budget: RetryBudget,
    measured: Option<Measured>,
    counters: StripedCounters<COUNTERS>,
}

/// What a hedge did since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Calls that began.
    pub calls: u64,
    /// Attempts after the first of a call: what hedging adds to the load.
    pub hedged: u64,
    /// Calls whose success came from an attempt after the first.
    pub won_by_hedge: u64,
    /// Further attempts that the budget did not pay for.
    pub refused: u64,
    /// Calls of which every attempt failed.
    pub failed: u64,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Counter {
    Calls,
    Hedged,
    WonByHedge,
    Refused,
    Failed,
}

const COUNTERS: usize = 5;

impl Hedge {
    /// A hedge with an empty budget and no latencies, for operations that are **idempotent**: attempts that
    /// lose may be carried out as well. Nothing checks that.
    ///
    /// # Errors
    /// When the settings can not work together.
    pub fn new(config: HedgeConfig) -> Result<Self, Invalid> {
        config.validate()?;
        let shared = Shared {
            budget: RetryBudget::new(BudgetLimits {
                ratio: config.budget,
                minimum: config.budget_minimum,
                in_flight: None,
            }),
            measured: config.quantile.map(|quantile| Measured::new(quantile, &config)),
            counters: StripedCounters::default(),
            config,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The options in force.
    pub fn config(&self) -> &HedgeConfig {
        &self.shared.config
    }

    /// A call of `operation`, which makes one attempt each time it is called; it is told the attempt's
    /// number, the first is 1.
    ///
    /// The first success is the call's, and the attempts that lost are dropped before it is handed out. A
    /// failed attempt makes room for the next at once; when all have failed, the error of the one that failed
    /// last is the call's. The call begins when it is first polled; dropping it drops all its attempts.
    ///
    /// A call that does not have to wait reads the clock once and allocates nothing. Attempts after the first
    /// are boxed.
    pub fn run<F, Fut, T, E>(&self, operation: F) -> Call<'_, F, Fut>
    where
        F: Fn(u32) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        Call::new(&self.shared, operation)
    }

    /// A call begins.
    pub(crate) fn begin(&self, now: Instant) {
        self.shared.begin(now);
    }

    /// Whether the budget can pay for a further attempt. Counted when it can not.
    pub(crate) fn can_pay(&self, now: Instant) -> bool {
        let can_pay = self.shared.budget.stats(now).remaining > 0;
        if !can_pay {
            self.shared.count(Counter::Refused);
        }
        can_pay
    }

    /// Pays for a further attempt that begins.
    pub(crate) fn pay(&self, now: Instant) {
        drop(self.shared.budget.withdraw(now));
    }

    /// The first attempt succeeded after `latency`, or was overtaken then.
    pub(crate) fn record(&self, now: Instant, latency: Duration) {
        self.shared.record(now, latency);
    }

    /// A further attempt begins.
    pub(crate) fn count_hedged(&self) {
        self.shared.count(Counter::Hedged);
    }

    /// A further attempt succeeded.
    pub(crate) fn count_won(&self) {
        self.shared.count(Counter::WonByHedge);
    }

    /// All attempts failed.
    pub(crate) fn count_failed(&self) {
        self.shared.count(Counter::Failed);
    }

    /// After what time a further attempt would begin now; `None` while too few latencies were measured.
    pub fn delay(&self) -> Option<Duration> {
        self.shared.delay()
    }

    /// What the hedge did so far.
    pub fn stats(&self) -> Stats {
        let sum = |counter: Counter| self.shared.counters.sum(counter as usize);
        Stats {
            calls: sum(Counter::Calls),
            hedged: sum(Counter::Hedged),
            won_by_hedge: sum(Counter::WonByHedge),
            refused: sum(Counter::Refused),
            failed: sum(Counter::Failed),
        }
    }
}

impl Shared {
    pub(super) fn attempts(&self) -> u32 {
        self.config.attempts.get()
    }

    pub(super) fn begin(&self, now: Instant) {
        self.budget.deposit(now);
        self.count(Counter::Calls);
    }

    /// Whether the budget pays for a further attempt.
    pub(super) fn pay(&self, now: Instant) -> bool {
        let paid = self.budget.withdraw(now).is_some();
        if !paid {
            self.count(Counter::Refused);
        }
        paid
    }

    pub(super) fn count(&self, counter: Counter) {
        self.counters.increment(counter as usize);
    }

    pub(super) fn delay(&self) -> Option<Duration> {
        self.measured.as_ref().and_then(Measured::delay).or(self.config.after)
    }

    pub(super) fn measures(&self) -> bool {
        self.measured.is_some()
    }

    pub(super) fn record(&self, now: Instant, latency: Duration) {
        if let Some(measured) = &self.measured {
            measured.record(now, latency);
        }
    }
}

/// A quantile of the latencies of late. It is computed once in [`EVERY`] samples and read without a lock.
struct Measured {
    quantile: Quantile,
    samples_min: u64,
    /// In nanoseconds; [`UNKNOWN`] while there are too few samples.
    delay: AtomicU64,
    inner: Mutex<Inner>,
}

struct Inner {
    latencies: Latencies,
    /// Samples since the delay was computed.
    since: u64,
}

const UNKNOWN: u64 = u64::MAX;
const EVERY: u64 = 32;

impl Measured {
    fn new(quantile: Quantile, config: &HedgeConfig) -> Self {
        let inner = Inner { latencies: Latencies::new(config.window), since: 0 };
        Self {
            quantile,
            samples_min: config.samples_min.get().into(),
            delay: AtomicU64::new(UNKNOWN),
            inner: Mutex::new(inner),
        }
    }

    fn delay(&self) -> Option<Duration> {
        let delay = self.delay.load(Ordering::Relaxed);
        (delay != UNKNOWN).then(|| Duration::from_nanos(delay))
    }

    fn record(&self, now: Instant, latency: Duration) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.latencies.record(now, latency);
        inner.since += 1;
        let samples = inner.latencies.samples(now);
        // While there are few samples each of them matters, and the halves may just have turned.
        if samples > 2 * self.samples_min.max(EVERY) && inner.since < EVERY {
            return;
        }
        inner.since = 0;
        let enough = samples >= self.samples_min;
        let delay = if enough { inner.latencies.quantile(now, self.quantile) } else { None };
        self.delay.store(delay.map_or(UNKNOWN, nanos), Ordering::Relaxed);
    }
}

impl fmt::Debug for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Measured").field("quantile", &self.quantile).field("delay", &self.delay()).finish()
    }
}
