use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::PoisonError;

use intertie_core::clock::{Instant, nanos};
use intertie_core::config::Invalid;
use intertie_core::failure::Evidence;
use intertie_core::quantity::Ratio;
use intertie_core::rejection::{Policy, Rejection};

use super::config::{CircuitBreakerConfig, Mode};
use super::outcomes::Outcomes;
use super::state::{Admission, Kind, Outcome, Phase, State, Transition, still_open};
use super::word::Word;
use crate::clock::MonotonicClock;
use crate::striped::{Padded, STRIPES, stripe};
use crate::sync::{Arc, AtomicU64, Mutex, MutexGuard, Ordering};

/// A shared circuit breaker. Clones are handles on the same state.
///
/// Closed, it takes no lock: a call costs one load to be admitted and one addition to a line of this
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
    shared: Arc<Shared>,
}

struct Shared {
    config: CircuitBreakerConfig,
    /// What a call must know, published under the lock of `inner` after each change of it.
    word: Padded<AtomicU64>,
    /// When an open breaker lets probes through, or when a ramp began. Written before `word`.
    since_or_until: AtomicU64,
    outcomes: Outcomes,
    rejected: [Padded<AtomicU64>; STRIPES],
    inner: Mutex<Inner>,
    listener: Option<Listener>,
}

type Listener = Box<dyn Fn(Transition) + Send + Sync>;

#[derive(Debug)]
struct Inner {
    state: State,
    mode: Mode,
    ramping_since: Option<Instant>,
    opened: u64,
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

/// The share of calls that a ramp begins with.
const RAMP_FIRST: Ratio = Ratio::from_percent(10);

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
        let state = State::new(config.clone());
        let mode = config.mode;
        let word = Word::new(state.phase(), mode, false, state.epoch());
        Ok(Self {
            shared: Arc::new(Shared {
                word: Padded(AtomicU64::new(word.bits())),
                since_or_until: AtomicU64::new(0),
                outcomes: Outcomes::new(&config),
                rejected: Default::default(),
                inner: Mutex::new(Inner { state, mode, ramping_since: None, opened: 0 }),
                config,
                listener,
            }),
        })
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
    pub fn try_admit(&self, now: Instant) -> Result<Permit<'_>, Rejection> {
        let admission = self.shared.admit(now)?;
        Ok(Permit { held: Some((&self.shared, admission)) })
    }

    /// The same for a call that outlives this handle.
    ///
    /// # Errors
    /// As [`CircuitBreaker::try_admit`].
    pub fn try_admit_owned(&self, now: Instant) -> Result<OwnedPermit, Rejection> {
        let admission = self.shared.admit(now)?;
        Ok(OwnedPermit { held: Some((Arc::clone(&self.shared), admission)) })
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
        let rejected = shared.rejected.iter().map(|count| count.0.load(Ordering::Relaxed)).sum();
        let (mode, opened) = (inner.mode, inner.opened);
        Stats { phase, mode, window_calls, window_failures, window_slow, rejected, opened }
    }
}

const FORCED_OPEN: Rejection =
    Rejection { by: Policy::CircuitBreaker, bound: "forced_open", retry_after: None };

impl Shared {
    fn word(&self) -> Word {
        // Pairs with `publish`: who sees the word sees the instant that goes with it.
        Word::from_bits(self.word.0.load(Ordering::Acquire))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while the lock is held; a poisoned breaker would be worse than its last state.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, inner: &Inner) {
        let (phase, epoch) = (inner.state.phase(), inner.state.epoch());
        let ramping = phase == Phase::Closed && inner.ramping_since.is_some();
        if let Some(instant) = inner.state.open_until().or(inner.ramping_since) {
            self.since_or_until.store(instant.as_nanos(), Ordering::Relaxed);
        }
        let word = Word::new(phase, inner.mode, ramping, epoch);
        self.word.0.store(word.bits(), Ordering::Release);
    }

    fn count_rejection(&self) {
        self.rejected[stripe()].0.fetch_add(1, Ordering::Relaxed);
    }

    fn admit(&self, now: Instant) -> Result<Admission, Rejection> {
        let word = self.word();
        if word.passes() {
            return Ok(Admission { kind: Kind::Call, epoch: word.epoch(), started: now });
        }
        self.ask(now, word)
    }

    fn ask(&self, now: Instant, word: Word) -> Result<Admission, Rejection> {
        let untracked = Admission { kind: Kind::Untracked, epoch: word.epoch(), started: now };
        let verdict = match word.mode() {
            Mode::Disabled => return Ok(untracked),
            Mode::ForcedOpen => Err(FORCED_OPEN),
            Mode::Enforce | Mode::Observe => self.ask_state(now, word),
        };
        verdict.or_else(|rejection| {
            self.count_rejection();
            if word.mode() == Mode::Observe { Ok(untracked) } else { Err(rejection) }
        })
    }

    fn ask_state(&self, now: Instant, word: Word) -> Result<Admission, Rejection> {
        let instant = Instant::from_nanos(self.since_or_until.load(Ordering::Relaxed));
        if word.phase() == Phase::Open && now < instant {
            return Err(still_open(instant, now));
        }
        if word.is_ramping() {
            self.ramp(now, instant)?;
        }
        let mut inner = self.lock();
        // It may have closed since the word was read.
        if let Some(since) = inner.ramping_since.filter(|_| inner.state.epoch() != word.epoch()) {
            self.ramp(now, since)?;
        }
        let (admission, transition) = inner.state.admit(now)?;
        if inner.ramping_since.is_some_and(|since| now.saturating_since(since) >= self.config.ramp) {
            inner.ramping_since = None;
        }
        self.publish(&inner);
        drop(inner);
        if let Some(transition) = transition {
            self.tell(transition);
        }
        Ok(admission)
    }

    /// Lets the share of calls through that a ramp begun at `since` has reached.
    fn ramp(&self, now: Instant, since: Instant) -> Result<(), Rejection> {
        let elapsed = now.saturating_since(since);
        let reached = elapsed.as_secs_f64() / self.config.ramp.as_secs_f64();
        let admitted = fastrand::f64() < reached.max(RAMP_FIRST.as_f64());
        // A share is let through at any moment: nobody knows which call will be.
        let rejection = Rejection { by: Policy::CircuitBreaker, bound: "ramp", retry_after: None };
        if admitted { Ok(()) } else { Err(rejection) }
    }

    fn record(&self, now: Instant, admission: Admission, outcome: Outcome) {
        match admission.kind {
            Kind::Untracked => {}
            Kind::Call => {
                let word = self.word();
                if word.phase() != Phase::Closed || word.epoch() != admission.epoch {
                    return;
                }
                let took = outcome.took.unwrap_or_else(|| now.saturating_since(admission.started));
                let slow = |limit| took >= limit;
                let is_slow = self.config.slow_call_duration.is_some_and(slow);
                let (epoch, evidence) = (admission.epoch, outcome.evidence);
                if let Some(cause) = self.outcomes.record(&self.config, now, epoch, evidence, is_slow) {
                    self.change(now, |state, random| {
                        state.trip(now, epoch, cause, outcome.retry_after, random)
                    });
                }
            }
            Kind::Probe { .. } => {
                self.change(now, |state, random| state.record_probe(now, admission, outcome, random));
            }
        }
    }

    fn change(&self, now: Instant, how: impl FnOnce(&mut State, Ratio) -> Option<Transition>) {
        let random = Ratio::from_millionths(fastrand::u32(0..=1_000_000));
        let mut inner = self.lock();
        let Some(transition) = how(&mut inner.state, random) else { return };
        let ramps = transition.to == Phase::Closed && nanos(self.config.ramp) > 0;
        inner.ramping_since = ramps.then_some(now);
        inner.opened += u64::from(transition.to == Phase::Open);
        self.publish(&inner);
        drop(inner);
        self.tell(transition);
    }

    fn tell(&self, transition: Transition) {
        let Some(listener) = &self.listener else { return };
        if std::thread::panicking() {
            // Told while a panic unwinds through a permit, a panic of its own would end the process. What it
            // said went to the panic hook.
            catch_unwind(AssertUnwindSafe(|| listener(transition))).ok();
        } else {
            listener(transition);
        }
    }

    /// A permit was dropped untold: it is given back, unless a panic unwinds through it.
    fn forget(&self, admission: Admission) {
        let evidence = if std::thread::panicking() { Evidence::Failure } else { Evidence::None };
        self.record(MonotonicClock::now(), admission, evidence.into());
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("inner", &*self.lock()).finish_non_exhaustive()
    }
}

/// The right to make one call. It must be told the outcome; dropped untold it is given back and counts
/// for nothing, unless a panic unwinds through it: that counts as a failure.
#[derive(Debug)]
#[must_use = "a permit that is dropped at once protects nothing"]
pub struct Permit<'a> {
    held: Option<(&'a Shared, Admission)>,
}

impl Permit<'_> {
    /// Whether this is a probe of a half-open breaker. Others wait for its outcome, so it should be told as
    /// soon as it is known, also when the call goes on.
    pub fn is_probe(&self) -> bool {
        self.held.is_some_and(|(_, admission)| matches!(admission.kind, Kind::Probe { .. }))
    }

    /// Tells the outcome of the call, which ended at `now`.
    pub fn record(mut self, now: Instant, outcome: impl Into<Outcome>) {
        if let Some((breaker, admission)) = self.held.take() {
            breaker.record(now, admission, outcome.into());
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if let Some((breaker, admission)) = self.held.take() {
            breaker.forget(admission);
        }
    }
}

/// A [`Permit`] that keeps its breaker alive.
#[derive(Debug)]
#[must_use = "a permit that is dropped at once protects nothing"]
pub struct OwnedPermit {
    held: Option<(Arc<Shared>, Admission)>,
}

impl OwnedPermit {
    /// As [`Permit::is_probe`].
    pub fn is_probe(&self) -> bool {
        self.held.as_ref().is_some_and(|(_, admission)| matches!(admission.kind, Kind::Probe { .. }))
    }

    /// As [`Permit::record`].
    pub fn record(mut self, now: Instant, outcome: impl Into<Outcome>) {
        if let Some((breaker, admission)) = self.held.take() {
            breaker.record(now, admission, outcome.into());
        }
    }
}

impl Drop for OwnedPermit {
    fn drop(&mut self) {
        if let Some((breaker, admission)) = self.held.take() {
            breaker.forget(admission);
        }
    }
}
