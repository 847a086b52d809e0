use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::PoisonError;

use intertie_core::clock::{Instant, nanos};
use intertie_core::failure::Evidence;
use intertie_core::quantity::Ratio;
use intertie_core::rejection::{Policy, Rejection};

use super::admission::{Admission, Kind};
use super::config::{CircuitBreakerConfig, Mode};
use super::outcomes::Outcomes;
use super::state::{Outcome, Phase, State, Transition, still_open};
use super::word::Word;
use crate::clock::MonotonicClock;
use crate::striped::{Padded, StripedCounters};
use crate::sync::{AtomicU64, Mutex, MutexGuard, Ordering};

/// What all handles on a breaker share: atomics for a closed one, a lock for the ways between phases.
pub(super) struct Shared {
    pub(super) config: CircuitBreakerConfig,
    /// What a call must know, published under the lock of `inner` after each change of it.
    word: Padded<AtomicU64>,
    /// When an open breaker lets probes through, or when a ramp began. Written before `word`.
    since_or_until: AtomicU64,
    pub(super) outcomes: Outcomes,
    rejected: StripedCounters<1>,
    inner: Mutex<Inner>,
    listener: Option<Listener>,
}

pub(super) type Listener = Box<dyn Fn(Transition) + Send + Sync>;

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) state: State,
    pub(super) mode: Mode,
    pub(super) ramping_since: Option<Instant>,
    pub(super) opened: u64,
}

/// The share of calls that a ramp begins with.
const RAMP_FIRST: Ratio = Ratio::from_percent(10);

/// What a breaker that is forced open says.
pub(super) const FORCED_OPEN: Rejection =
    Rejection { by: Policy::CircuitBreaker, bound: "forced_open", retry_after: None };

impl Shared {
    /// Closed.
    pub(super) fn new(config: CircuitBreakerConfig, listener: Option<Listener>) -> Self {
        let state = State::new(config.clone());
        let mode = config.mode;
        let word = Word::new(state.phase(), mode, false, state.epoch());
        Self {
            word: Padded(AtomicU64::new(word.bits())),
            since_or_until: AtomicU64::new(0),
            outcomes: Outcomes::new(&config),
            rejected: Default::default(),
            inner: Mutex::new(Inner { state, mode, ramping_since: None, opened: 0 }),
            config,
            listener,
        }
    }

    #[inline]
    pub(super) fn word(&self) -> Word {
        // Pairs with `publish`: who sees the word sees the instant that goes with it.
        Word::from_bits(self.word.0.load(Ordering::Acquire))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while the lock is held; a poisoned breaker would be worse than its last state.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn publish(&self, inner: &Inner) {
        let (phase, epoch) = (inner.state.phase(), inner.state.epoch());
        let ramping = phase == Phase::Closed && inner.ramping_since.is_some();
        if let Some(instant) = inner.state.open_until().or(inner.ramping_since) {
            self.since_or_until.store(instant.as_nanos(), Ordering::Relaxed);
        }
        let word = Word::new(phase, inner.mode, ramping, epoch);
        self.word.0.store(word.bits(), Ordering::Release);
    }

    #[inline]
    pub(super) fn count_rejection(&self) {
        self.rejected.increment(0);
    }

    pub(super) fn rejected(&self) -> u64 {
        self.rejected.sum(0)
    }

    #[inline]
    pub(super) fn admit(&self, now: Instant) -> Result<Admission, Rejection> {
        let word = self.word();
        if word.passes() {
            return Ok(Admission::call(word.epoch(), now));
        }
        // An outage is no time to be slow either.
        if word.is_open() {
            let until = Instant::from_nanos(self.since_or_until.load(Ordering::Relaxed));
            if now < until {
                self.count_rejection();
                return Err(still_open(until, now));
            }
        }
        self.ask(now, word)
    }

    #[cold]
    fn ask(&self, now: Instant, word: Word) -> Result<Admission, Rejection> {
        let untracked = Admission::untracked(word.epoch(), now);
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

    #[inline]
    pub(super) fn record(&self, now: Instant, admission: Admission, outcome: Outcome) {
        match admission.kind() {
            Kind::Untracked => {}
            Kind::Call => {
                let word = self.word();
                if word.phase() != Phase::Closed || word.epoch() != admission.epoch() {
                    return;
                }
                let took = || outcome.took.unwrap_or_else(|| now.saturating_since(admission.started()));
                let is_slow = self.config.slow_call_duration.is_some_and(|limit| took() >= limit);
                let (epoch, evidence) = (admission.epoch(), outcome.evidence);
                if let Some(cause) = self.outcomes.record(&self.config, now, epoch, evidence, is_slow) {
                    self.change(now, |state, random| {
                        state.trip(now, epoch, cause, outcome.retry_after, random)
                    });
                }
            }
            Kind::Probe => {
                self.change(now, |state, random| state.record_probe(now, admission, outcome, random));
            }
        }
    }

    #[cold]
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

    pub(super) fn tell(&self, transition: Transition) {
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
    #[cold]
    pub(super) fn forget(&self, admission: Admission) {
        let evidence = if std::thread::panicking() { Evidence::Failure } else { Evidence::None };
        self.record(MonotonicClock::now(), admission, evidence.into());
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("inner", &*self.lock()).finish_non_exhaustive()
    }
}
