use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use intertie_core::clock::Instant;
use intertie_core::config::Invalid;
use intertie_core::failure::Evidence;
use intertie_core::rejection::Rejection;

use super::config::CircuitBreakerConfig;
use super::state::{Admission, Phase, State, Transition};
use crate::clock::MonotonicClock;

/// A shared circuit breaker. Clones are handles on the same state.
///
/// # Example
/// ```
/// use intertie_core::failure::Evidence;
/// use intertie_resilience::{CircuitBreaker, CircuitBreakerConfig, MonotonicClock};
///
/// let breaker = CircuitBreaker::new(CircuitBreakerConfig::sensitive())?;
/// for _ in 0..5 {
///     let now = MonotonicClock::now();
///     let permit = breaker.try_admit(now).expect("closed");
///     permit.record(now, Evidence::Failure);
/// }
/// let rejection = breaker.try_admit(MonotonicClock::now()).expect_err("five failures opened it");
/// assert!(rejection.retry_after.is_some());
/// # Ok::<(), intertie_core::config::Invalid>(())
/// ```
#[derive(Debug, Clone)]
pub struct CircuitBreaker {
    shared: Arc<Shared>,
}

struct Shared {
    inner: Mutex<Inner>,
    listener: Option<Listener>,
}

type Listener = Box<dyn Fn(Transition) + Send + Sync>;

struct Inner {
    state: State,
    stats: Stats,
}

/// What a breaker did since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// The present phase.
    pub phase: Phase,
    /// Calls in the window; zero unless closed.
    pub window_calls: u64,
    /// Failures in the window; zero unless closed.
    pub window_failures: u64,
    /// Calls let through.
    pub admitted: u64,
    /// Calls rejected.
    pub rejected: u64,
    /// Outcomes that counted as success.
    pub successes: u64,
    /// Outcomes that counted as failure.
    pub failures: u64,
    /// How often it opened.
    pub opened: u64,
}

impl CircuitBreaker {
    /// A closed breaker.
    ///
    /// # Errors
    /// When the settings can not work together.
    pub fn new(config: CircuitBreakerConfig) -> Result<Self, Invalid> {
        Self::build(config, None)
    }

    /// A closed breaker that tells `listener` of each transition. It is called after the breaker's lock is
    /// released, on the thread whose call caused the transition.
    ///
    /// # Errors
    /// When the settings can not work together.
    pub fn with_listener(
        config: CircuitBreakerConfig,
        listener: impl Fn(Transition) + Send + Sync + 'static,
    ) -> Result<Self, Invalid> {
        Self::build(config, Some(Box::new(listener)))
    }

    fn build(config: CircuitBreakerConfig, listener: Option<Listener>) -> Result<Self, Invalid> {
        config.validate()?;
        let stats = Stats {
            phase: Phase::Closed,
            window_calls: 0,
            window_failures: 0,
            admitted: 0,
            rejected: 0,
            successes: 0,
            failures: 0,
            opened: 0,
        };
        let inner = Mutex::new(Inner { state: State::new(config), stats });
        Ok(Self { shared: Arc::new(Shared { inner, listener }) })
    }

    /// Whether both are handles on one state.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// The options in force.
    pub fn config(&self) -> CircuitBreakerConfig {
        self.shared.lock().state.config().clone()
    }

    /// Lets a call through, or rejects it at once.
    ///
    /// # Errors
    /// A [`Rejection`] with the time until probes are let through.
    pub fn try_admit(&self, now: Instant) -> Result<Permit, Rejection> {
        let admitted = {
            let mut inner = self.shared.lock();
            let admitted = inner.state.admit(now);
            match &admitted {
                Ok(_) => inner.stats.admitted += 1,
                Err(_) => inner.stats.rejected += 1,
            }
            admitted
        };
        let (admission, transition) = admitted?;
        self.shared.tell(transition);
        Ok(Permit { breaker: Some(Arc::clone(&self.shared)), admission })
    }

    /// Whether a call would be let through now, without taking a place.
    pub fn would_admit(&self, now: Instant) -> bool {
        self.shared.lock().state.would_admit(now)
    }

    /// The rejection that a call would get now; `None` when it would be let through. Not counted.
    pub fn rejection(&self, now: Instant) -> Option<Rejection> {
        self.shared.lock().state.rejection(now)
    }

    /// Counts a call that was turned away by what [`CircuitBreaker::rejection`] said.
    pub fn count_rejection(&self) {
        self.shared.lock().stats.rejected += 1;
    }

    /// What the breaker did so far.
    pub fn stats(&self, now: Instant) -> Stats {
        let mut inner = self.shared.lock();
        let (window_calls, window_failures) = inner.state.window_counts(now);
        Stats { phase: inner.state.phase(), window_calls, window_failures, ..inner.stats }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while the lock is held; a poisoned breaker would be worse than its last state.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, now: Instant, admission: Admission, evidence: Evidence) {
        let transition = {
            let mut inner = self.lock();
            match evidence {
                Evidence::Success => inner.stats.successes += 1,
                Evidence::Failure => inner.stats.failures += 1,
                Evidence::None => {}
            }
            let transition = inner.state.record(now, admission, evidence);
            if transition.is_some_and(|transition| transition.to == Phase::Open) {
                inner.stats.opened += 1;
            }
            transition
        };
        self.tell(transition);
    }

    fn tell(&self, transition: Option<Transition>) {
        if let (Some(listener), Some(transition)) = (&self.listener, transition) {
            listener(transition);
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("state", &self.lock().state).finish_non_exhaustive()
    }
}

/// The right to make one call. It must be told the outcome; dropped untold it is given back and counts
/// for nothing, unless a panic unwinds through it: that counts as a failure.
#[derive(Debug)]
#[must_use = "a permit that is dropped at once protects nothing"]
pub struct Permit {
    breaker: Option<Arc<Shared>>,
    admission: Admission,
}

impl Permit {
    /// Whether this is a probe of a half-open breaker. Others wait for its outcome, so it should be told as
    /// soon as it is known, also when the call goes on.
    pub fn is_probe(&self) -> bool {
        self.admission.probe
    }

    /// Tells the outcome of the call.
    pub fn record(mut self, now: Instant, evidence: Evidence) {
        if let Some(breaker) = self.breaker.take() {
            breaker.record(now, self.admission, evidence);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(breaker) = self.breaker.take() {
            let evidence = if std::thread::panicking() { Evidence::Failure } else { Evidence::None };
            breaker.record(MonotonicClock::now(), self.admission, evidence);
        }
    }
}
