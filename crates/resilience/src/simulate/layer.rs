use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use fastrand::Rng;
use intertie_core::config::Invalid;
use tokio::task::{JoinError, JoinSet};

use super::config::SimulationConfig;
use super::downstream::Downstream;
use super::outcome::CallRecord;
use super::report::Report;
use super::tiers::{Request, Tiers};
use super::virtual_time::in_virtual_time;
use crate::pipeline::InvalidPipeline;
use crate::rate_limiter::LimitBy;
use crate::{MonotonicClock, Pipeline, PipelineConfig};

/// A load, a dependency, and the pipelines between them, to be run in virtual time.
///
/// # Example
/// ```
/// use std::num::NonZeroU32;
/// use std::time::Duration;
/// use intertie_resilience::simulate::{Effect, FaultConfig, Latency};
/// use intertie_resilience::{CircuitBreakerConfig, PipelineConfig, Simulation, SimulationConfig};
///
/// let latency = Latency::Constant(Duration::from_millis(50));
/// let capacity = NonZeroU32::new(20).expect("20 is not zero");
/// let mut config = SimulationConfig::new("100/s".parse()?, latency, capacity);
/// config.faults.push(FaultConfig {
///     at: Duration::from_secs(5),
///     lasts: Duration::from_secs(5),
///     effect: Effect::Refuse,
/// });
/// let payments = PipelineConfig {
///     circuit_breaker: Some(CircuitBreakerConfig::standard()),
///     ..PipelineConfig::default()
/// };
/// let report = Simulation::new(config).tier("payments", payments).run()?;
/// // The breaker opens within the first calls and looks again 30 s later.
/// assert!(report.attempts < report.offered);
/// let recovered = report.faults[0].recovered_after.expect("it recovers");
/// assert!(recovered > Duration::from_secs(20) && recovered < Duration::from_secs(30));
/// println!("{report}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a simulation does nothing until it is run"]
pub struct Simulation {
    config: SimulationConfig,
    tiers: Vec<(String, PipelineConfig)>,
    duration: Duration,
    seed: u64,
    marks: bool,
}

/// Why a simulation was not run.
#[derive(Debug)]
pub enum SimulationError {
    /// The load or the dependency can not be simulated.
    Invalid(Invalid),
    /// A tier's policies can not work.
    Tier(InvalidPipeline),
    /// The operating system gave it no thread.
    Thread(io::Error),
}

/// The length of a simulation for which none was set.
const DURATION: Duration = Duration::from_secs(60);

impl Simulation {
    /// A minute of this load on this dependency, without any policy, from seed 0.
    pub fn new(config: SimulationConfig) -> Self {
        Self { config, tiers: Vec::new(), duration: DURATION, seed: 0, marks: true }
    }

    /// Adds a pipeline inside of those that were added before: the first is what the load calls, the last
    /// calls the dependency. A tier hands on what its own deadline leaves.
    pub fn tier(mut self, name: impl Into<String>, policies: PipelineConfig) -> Self {
        self.tiers.push((name.into(), policies));
        self
    }

    /// How long calls arrive, instead of a minute; a day at most. Those under way at the end are awaited.
    pub fn duration(mut self, duration: Duration) -> Self {
        self.duration = duration;
        self
    }

    /// What all chance begins with.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Tiers that do not mark what they gave up on, so that each repeats what the one inside has repeated.
    /// It shows what the marks are good for.
    pub fn without_marks(mut self) -> Self {
        self.marks = false;
        self
    }

    /// Runs it to its end, on a thread of its own. The calling thread waits: in asynchronous code call this
    /// from a thread that may block. What it takes, time and memory, grows with the number of calls and attempts;
    /// the length adds no more than the report's row for each second.
    ///
    /// # Errors
    /// When the settings can not be simulated, or there is no thread to be had.
    pub fn run(self) -> Result<Report, SimulationError> {
        self.validate()?;
        // One stream of chance for each who draws: what one draws more moves nothing elsewhere.
        let mut streams = Rng::with_seed(self.seed);
        let (load, dependency) = (streams.fork(), streams.fork());
        in_virtual_time(streams.u64(..), || self.simulate(load, dependency))
            .map_err(SimulationError::Thread)?
    }

    fn validate(&self) -> Result<(), SimulationError> {
        self.config.validate(self.duration).map_err(SimulationError::Invalid)?;
        for (name, policies) in &self.tiers {
            let Some(limiter) = &policies.rate_limiter else { continue };
            // Beyond it, which caller shares whose quota hangs on secret hashes, other ones in each run.
            if limiter.by != LimitBy::All && self.config.clients > limiter.keys_max {
                let problem = format!(
                    "{} are more than the {} callers that the rate limiter of `{name}` remembers",
                    self.config.clients, limiter.keys_max
                );
                return Err(SimulationError::Invalid(Invalid::new("clients", problem)));
            }
        }
        Ok(())
    }

    async fn simulate(self, load: Rng, dependency: Rng) -> Result<Report, SimulationError> {
        let pipelines: Result<Vec<_>, _> =
            self.tiers.iter().map(|(name, policies)| Pipeline::new(name, policies.clone())).collect();
        let downstream = Arc::new(Downstream::new(&self.config, dependency));
        let tiers =
            Tiers::new(pipelines.map_err(SimulationError::Tier)?, self.marks, Arc::clone(&downstream));
        let worker = Arc::clone(&downstream);
        let working = tokio::spawn(async move { worker.work().await });
        let calls = self.offer(load, Arc::new(tiers), &downstream).await;
        working.abort();
        Ok(Report::new(self.seed, self.duration, &calls, &downstream.arrivals(), &self.config.faults))
    }

    /// Makes the calls of the load, each when its time has come, and waits for all. In the order in which
    /// they began.
    async fn offer(
        &self,
        mut random: Rng,
        tiers: Arc<Tiers>,
        downstream: &Arc<Downstream>,
    ) -> Vec<CallRecord> {
        let start = MonotonicClock::to_tokio(MonotonicClock::now());
        let per_call = self.config.rate.period().as_secs_f64() / self.config.rate.amount() as f64;
        let mut underway = JoinSet::new();
        let mut calls = Vec::new();
        let mut at = Duration::ZERO;
        loop {
            // Exponential gaps make a Poisson process. 1 - f64() is never 0, which has no logarithm.
            let gap = -per_call * (1.0 - random.f64()).ln();
            at = at.saturating_add(Duration::try_from_secs_f64(gap).unwrap_or(Duration::MAX));
            if at >= self.duration {
                break;
            }
            let request = Request {
                idempotent: random.f64() < self.config.idempotent.as_f64(),
                client: random.u32(0..self.config.clients.get()),
                remaining: None,
            };
            tokio::time::sleep_until(start + at).await;
            let began = downstream.now();
            let (tiers, clock) = (Arc::clone(&tiers), Arc::clone(downstream));
            underway.spawn(async move {
                let outcome = tiers.call(request).await.map_err(|failure| failure.reason);
                CallRecord { began, took: clock.now() - began, outcome }
            });
            // What a task that ended leaves behind is let go of as soon as can be.
            while let Some(ended) = underway.try_join_next() {
                calls.push(joined(ended));
            }
        }
        while let Some(ended) = underway.join_next().await {
            calls.push(joined(ended));
        }
        calls.sort_unstable();
        calls
    }
}

fn joined<T>(ended: Result<T, JoinError>) -> T {
    ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

impl fmt::Display for SimulationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(invalid) => invalid.fmt(f),
            Self::Tier(invalid) => invalid.fmt(f),
            Self::Thread(_) => f.write_str("there is no thread for the simulation"),
        }
    }
}

impl std::error::Error for SimulationError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Invalid(invalid) => Some(invalid),
            Self::Tier(invalid) => Some(invalid),
            Self::Thread(error) => Some(error),
        }
    }
}
