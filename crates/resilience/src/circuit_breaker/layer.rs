use intertie_core::clock::Instant;
use intertie_core::config::Invalid;
use intertie_core::rejection::Rejection;

use super::config::{CircuitBreakerConfig, Mode};
use super::permit::{OwnedPermit, Permit, PermitOn};
use super::shared::{FORCED_OPEN, Listener, Shared};
use super::state::{Phase, Transition};
use crate::sync::Arc;

/// A shared circuit breaker. Clones are handles on the same state.
///
/// Closed, it takes no lock: a call costs one load to be admitted and one atomic write to a line of this
/// thread's own to be counted.
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
    pub(super) shared: Arc<Shared>,
}

/// What a breaker did since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// The present phase.
    pub phase: Phase,
    /// What it does with its verdicts.
    pub mode: Mode,
    /// Calls in the window; zero unless closed.
    pub window_calls: u64,
    /// Failures in the window; zero unless closed.
    pub window_failures: u64,
    /// Slow calls in the window; zero unless closed.
    pub window_slow: u64,
    /// Calls rejected, or that would have been if it did more than observe.
    pub rejected: u64,
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
    /// released, on the thread whose call caused the transition; of two threads that cause one each at the same
    /// time, the later may be told first. A panic in it reaches that call, whose outcome is counted by then.
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
        Ok(Self { shared: Arc::new(Shared::new(config, listener)) })
    }

    /// Whether both are handles on one state.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// The options that it was made with.
    pub fn config(&self) -> &CircuitBreakerConfig {
        &self.shared.config
    }

    /// Lets a call through, or rejects it at once.
    ///
    /// # Errors
    /// A [`Rejection`] with the time until probes are let through.
    #[inline]
    pub fn try_admit(&self, now: Instant) -> Result<Permit<'_>, Rejection> {
        let admission = self.shared.admit(now)?;
        Ok(PermitOn::new(self, admission))
    }

    /// The same for a call that outlives this handle.
    ///
    /// # Errors
    /// As [`CircuitBreaker::try_admit`].
    pub fn try_admit_owned(&self, now: Instant) -> Result<OwnedPermit, Rejection> {
        let admission = self.shared.admit(now)?;
        Ok(PermitOn::new(self.clone(), admission))
    }

    /// Whether a call would be let through now, without taking a place. While a breaker ramps up it is let
    /// through with a probability.
    pub fn would_admit(&self, now: Instant) -> bool {
        self.rejection(now).is_none()
    }

    /// The rejection that a call would get now; `None` when it would be let through. Not counted.
    pub fn rejection(&self, now: Instant) -> Option<Rejection> {
        let word = self.shared.word();
        match word.mode() {
            Mode::Observe | Mode::Disabled => None,
            Mode::ForcedOpen => Some(FORCED_OPEN),
            Mode::Enforce if word.phase() == Phase::Closed => None,
            Mode::Enforce => self.shared.lock().state.rejection(now),
        }
    }

    /// Counts a call that was turned away by what [`CircuitBreaker::rejection`] said.
    pub fn count_rejection(&self) {
        self.shared.count_rejection();
    }

    /// Makes it enforce, observe, reject or admit everything from now on. What it counted stays.
    pub fn set_mode(&self, mode: Mode) {
        let mut inner = self.shared.lock();
        inner.mode = mode;
        self.shared.publish(&inner);
    }

    /// Closes it by hand, with an empty window and without a ramp.
    pub fn reset(&self) {
        let transition = {
            let mut inner = self.shared.lock();
            let transition = inner.state.reset();
            inner.ramping_since = None;
            self.shared.publish(&inner);
            transition
        };
        self.shared.tell(transition);
    }

    /// What the breaker did so far.
    pub fn stats(&self, now: Instant) -> Stats {
        let shared = &self.shared;
        let inner = shared.lock();
        let phase = inner.state.phase();
        let (window_calls, window_failures, window_slow) = match phase {
            Phase::Closed => shared.outcomes.counts(now, inner.state.epoch()),
            Phase::Open | Phase::HalfOpen => (0, 0, 0),
        };
        let rejected = shared.rejected();
        let (mode, opened) = (inner.mode, inner.opened);
        Stats { phase, mode, window_calls, window_failures, window_slow, rejected, opened }
    }
}
