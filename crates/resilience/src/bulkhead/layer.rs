use std::sync::PoisonError;
use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::config::Invalid;
use intertie_core::failure::Class;
use intertie_core::rejection::{Policy, Rejection};

use super::adaptive::{Adaptive, Sample};
use super::caller::Caller;
use super::config::BulkheadConfig;
use super::gate::{Entry, Gate, Verdict};
use super::permit::{OwnedPermit, Permit};
use super::places::Places;
use super::state::Queue;
use crate::clock::MonotonicClock;
use crate::striped::stripe;
use crate::sync::{Arc, Mutex};

/// A shared bulkhead. Clones are handles on the same places.
///
/// The methods are named as those of tokio's semaphore: `try_` never waits, `_owned` returns a permit that
/// borrows nothing.
///
/// # Example
/// ```
/// # use std::num::NonZeroU32;
/// use intertie_resilience::{Bulkhead, BulkheadConfig};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let bulkhead = Bulkhead::new(BulkheadConfig::new(NonZeroU32::MIN))?;
/// let permit = bulkhead.acquire(None).await.expect("the only place is free");
/// assert!(bulkhead.acquire(None).await.is_err(), "taken, and there is no queue");
/// drop(permit);
/// assert!(bulkhead.try_acquire().is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Bulkhead {
    pub(super) shared: Arc<Shared>,
}

/// What all handles and permits of a bulkhead have in common.
#[derive(Debug)]
pub(super) struct Shared {
    config: BulkheadConfig,
    pub(super) gate: Gate,
    adaptive: Option<Mutex<Adaptive>>,
}

/// What a bulkhead did since it was made. Exact while no call comes or goes; otherwise `running` and
/// `admitted` are of slightly different moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// The most calls that may hold a place now. After an adaptive limit fell, more of them may still run.
    pub limit: u32,
    /// Calls that hold a place now.
    pub running: u32,
    /// Calls that wait now.
    pub waiting: usize,
    /// Calls let through.
    pub admitted: u64,
    /// Calls rejected at once because the queue was full or they would not wait.
    pub rejected: u64,
    /// Calls that waited in vain for as long as `wait` allows.
    pub timed_out: u64,
    /// Calls whose own deadline ended the wait, or left too little of it when their turn came.
    pub deadline_exceeded: u64,
    /// Calls that waited and lost their seat to one that ranks higher.
    pub turned_out: u64,
}

impl Bulkhead {
    /// A bulkhead with all places free.
    ///
    /// # Errors
    /// When the settings can not work together.
    pub fn new(config: BulkheadConfig) -> Result<Self, Invalid> {
        config.validate()?;
        let concurrent = config.concurrent.get();
        let queue = Queue::new(config.order, config.queue, config.run_min);
        let gate =
            Gate::new(concurrent, Places::stripes_for(config.concurrent_max()), queue, MonotonicClock::now);
        let adaptive = config.adaptive.as_ref().map(|adaptive| Adaptive::new(adaptive, concurrent));
        if let Some(adaptive) = &adaptive {
            gate.resize(adaptive.limit());
        }
        Ok(Self { shared: Arc::new(Shared { config, gate, adaptive: adaptive.map(Mutex::new) }) })
    }

    /// The options in force.
    pub fn config(&self) -> &BulkheadConfig {
        &self.shared.config
    }

    /// Takes a place if one is free now and nobody waits for it.
    ///
    /// # Errors
    /// A [`Rejection`] with the bound `concurrent`.
    pub fn try_acquire(&self) -> Result<Permit<'_>, Rejection> {
        self.shared.try_enter()?;
        Ok(Permit::new(self))
    }

    /// As [`Bulkhead::try_acquire`], with a permit that borrows nothing.
    ///
    /// # Errors
    /// Those of [`Bulkhead::try_acquire`].
    pub fn try_acquire_owned(&self) -> Result<OwnedPermit, Rejection> {
        self.shared.try_enter()?;
        Ok(OwnedPermit::new(self.clone()))
    }

    /// A place that is free now. Unlike [`Bulkhead::try_acquire`] it counts nothing when there is none, for a
    /// caller that will then wait.
    pub(crate) fn pass(&self) -> Option<Permit<'_>> {
        // Not `then_some`, which would make a permit, and give a place back, in any case.
        self.shared.gate.try_pass(stripe()).then(|| Permit::new(self))
    }

    /// Takes a place, waiting for it as long as `wait` and what the caller's deadline leaves both allow.
    ///
    /// Dropping the future gives the seat in the queue, or a place granted meanwhile, to the next.
    ///
    /// # Errors
    /// A [`Rejection`] whose bound is `concurrent` or `queue` at once when all places, or all seats too,
    /// are taken; `wait` after that time; `turned_out` when the seat went to a call that ranks higher; and
    /// the deadline's, with the bound `deadline`, when the caller's own time ended the wait.
    pub async fn acquire(&self, caller: impl Into<Caller>) -> Result<Permit<'_>, Rejection> {
        if let Some(permit) = self.pass() {
            return Ok(permit);
        }
        self.shared.enter(caller.into()).await?;
        Ok(Permit::new(self))
    }

    /// As [`Bulkhead::acquire`], with a permit that borrows nothing.
    ///
    /// # Errors
    /// Those of [`Bulkhead::acquire`].
    pub async fn acquire_owned(&self, caller: impl Into<Caller>) -> Result<OwnedPermit, Rejection> {
        if !self.shared.gate.try_pass(stripe()) {
            self.shared.enter(caller.into()).await?;
        }
        Ok(OwnedPermit::new(self.clone()))
    }

    /// What the bulkhead did so far.
    pub fn stats(&self) -> Stats {
        let (limit, running, waiting, counts) = self.shared.gate.count();
        Stats {
            limit,
            running,
            waiting,
            admitted: counts.admitted,
            rejected: counts.rejected,
            timed_out: counts.timed_out,
            deadline_exceeded: counts.deadline_exceeded,
            turned_out: counts.turned_out,
        }
    }
}

impl Shared {
    fn try_enter(&self) -> Result<(), Rejection> {
        match self.gate.enter(stripe(), None) {
            Entry::Running => Ok(()),
            Entry::Waiting(_) | Entry::Rejected => Err(self.rejection("concurrent")),
        }
    }

    /// The way in for calls that may have to wait. Those that need not are spared this future.
    async fn enter(&self, caller: Caller) -> Result<(), Rejection> {
        let mut wait = match self.gate.enter(stripe(), Some(caller)) {
            Entry::Running => return Ok(()),
            Entry::Rejected if self.config.queue == 0 => return Err(self.rejection("concurrent")),
            Entry::Rejected => return Err(self.rejection("queue")),
            Entry::Waiting(wait) => wait,
        };
        let by_deadline = caller.remaining.filter(|remaining| *remaining <= self.config.wait);
        let longest = by_deadline.unwrap_or(self.config.wait);
        let verdict = match tokio::time::timeout(longest, &mut wait).await {
            Ok(verdict) => Some(verdict),
            Err(_) => wait.give_up(),
        };
        match verdict {
            Some(Verdict::Granted) => Ok(()),
            Some(Verdict::TurnedOut) => Err(self.rejection("turned_out")),
            Some(Verdict::Late) => Err(DEADLINE_EXCEEDED),
            None if by_deadline.is_some() => {
                self.gate.lock().counts.deadline_exceeded += 1;
                Err(DEADLINE_EXCEEDED)
            }
            None => {
                self.gate.lock().counts.timed_out += 1;
                Err(self.rejection("wait"))
            }
        }
    }

    /// Shows an adaptive limit a call that still holds its place.
    pub(super) fn record(&self, now: Instant, class: Class, latency: Duration) {
        let Some(adaptive) = &self.adaptive else { return };
        let mut adaptive = adaptive.lock().unwrap_or_else(PoisonError::into_inner);
        let running = self.gate.running(adaptive.limit());
        let limit = adaptive.record(now, Sample { class, latency, running });
        // Under the lock, so that limits arrive at the gate in the order in which they were found.
        self.gate.resize(limit);
    }

    fn rejection(&self, bound: &'static str) -> Rejection {
        // Nobody knows when running calls end; the longest wait is the honest hint for when to look again.
        let wait = self.config.wait;
        Rejection { by: Policy::Bulkhead, bound, retry_after: (!wait.is_zero()).then_some(wait) }
    }
}

/// The caller's own time ended the wait. A later try has its own deadline, so there is no hint.
const DEADLINE_EXCEEDED: Rejection = Rejection { by: Policy::Deadline, bound: "deadline", retry_after: None };
