use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};

use intertie_core::clock::Instant;
use intertie_core::config::Invalid;

use super::call::Call;
use super::config::{Late, TimeoutConfig};
use super::context::Cx;
use super::layer::Shared;
use super::stats::{Counters, Stats};
use crate::MonotonicClock;

/// A late operation on its own, as the spawner gets it. Its outcome is lost.
pub type DetachedOperation = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A limit for operations that go on without their caller when they reach it, for at most `grace`: a write
/// that should be finished although nobody waits for its answer. Clones are handles on the same counters.
///
/// Each call allocates a box for its operation, since a late one has to move out of the call.
///
/// # Example
/// ```
/// use std::time::Duration;
/// use intertie_resilience::timeout::{DetachingTimeout, Late, TimeoutConfig};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?.block_on(async {
/// let grace = Duration::from_secs(5);
/// let config = TimeoutConfig { late: Late::Detach, grace, ..TimeoutConfig::new(Duration::from_secs(1)) };
/// let timeout = DetachingTimeout::new(config, |operation| drop(tokio::spawn(operation)))?;
/// let write = async |_| Ok::<_, std::io::Error>(tokio::time::sleep(Duration::from_secs(2)).await);
/// assert!(timeout.run(write).await.is_err(), "its caller waited for 1 s");
/// tokio::time::sleep(Duration::from_secs(2)).await;
/// assert_eq!(timeout.detached_stats().finished, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct DetachingTimeout {
    shared: Arc<Detaching>,
}

struct Detaching {
    timeout: Shared,
    spawn: Box<dyn Fn(DetachedOperation) + Send + Sync>,
    running: AtomicU32,
    detached: AtomicU64,
    finished: AtomicU64,
    refused: AtomicU64,
}

/// What became of the late operations of a [`DetachingTimeout`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DetachedStats {
    /// Go on now.
    pub running: u32,
    /// Went on without their caller.
    pub detached: u64,
    /// Ended by themselves. Those of `detached` that neither did nor run now were dropped, or panicked.
    pub finished: u64,
    /// Were dropped at their limit, since `detached_max` others went on.
    pub refused: u64,
}

impl DetachingTimeout {
    /// A limit as `config` describes it. `spawn` runs late operations: on tokio,
    /// `|operation| drop(tokio::spawn(operation))`.
    ///
    /// # Errors
    /// When the settings can not work together, or `late` is not `detach`.
    pub fn new(
        config: TimeoutConfig,
        spawn: impl Fn(DetachedOperation) + Send + Sync + 'static,
    ) -> Result<Self, Invalid> {
        config.validate()?;
        if config.late != Late::Detach {
            return Err(Invalid::new("late", "only \"detach\" has a use for a spawner"));
        }
        Ok(Self {
            shared: Arc::new(Detaching {
                timeout: Shared { config, counters: Counters::default() },
                spawn: Box::new(spawn),
                running: AtomicU32::new(0),
                detached: AtomicU64::new(0),
                finished: AtomicU64::new(0),
                refused: AtomicU64::new(0),
            }),
        })
    }

    /// The options in force.
    pub fn config(&self) -> &TimeoutConfig {
        &self.shared.timeout.config
    }

    /// Runs `operation` until its limit, as [`super::Timeout::run`] does, and hands it to the spawner then.
    ///
    /// Dropping the call before its limit drops the operation: only a late one is detached.
    pub fn run<F, Fut, T, E>(
        &self,
        operation: F,
    ) -> Call<'_, impl FnOnce(Cx) -> Detachable<Fut> + use<F, Fut, T, E>, Detachable<Fut>>
    where
        F: FnOnce(Cx) -> Fut,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        let begin = move |cx: Cx| {
            let operation = Some(Box::pin(operation(cx)));
            Detachable { operation, given_up: cx.given_up(), shared }
        };
        Call::new(&self.shared.timeout, begin, Detachable::detach)
    }

    /// What the timeout did so far.
    pub fn stats(&self) -> Stats {
        self.shared.timeout.counters.read()
    }

    /// What became of late operations so far.
    pub fn detached_stats(&self) -> DetachedStats {
        let shared = &self.shared;
        DetachedStats {
            running: shared.running.load(Ordering::Relaxed),
            detached: shared.detached.load(Ordering::Relaxed),
            finished: shared.finished.load(Ordering::Relaxed),
            refused: shared.refused.load(Ordering::Relaxed),
        }
    }
}

impl fmt::Debug for DetachingTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DetachingTimeout").field("config", self.config()).finish_non_exhaustive()
    }
}

/// An operation that can leave its call.
pub struct Detachable<Fut> {
    /// Taken when it left.
    operation: Option<Pin<Box<Fut>>>,
    given_up: Instant,
    shared: Arc<Detaching>,
}

impl<Fut: Future> Future for Detachable<Fut> {
    type Output = Fut::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.operation.as_mut().expect("not polled again after it left").as_mut().poll(context)
    }
}

impl<Fut> Detachable<Fut>
where
    Fut: Future + Send + 'static,
{
    fn detach(mut self: Pin<&mut Self>) {
        let Some(operation) = self.operation.take() else { return };
        let Some(place) = Place::take(&self.shared) else {
            self.shared.refused.fetch_add(1, Ordering::Relaxed);
            return;
        };
        self.shared.detached.fetch_add(1, Ordering::Relaxed);
        let end = MonotonicClock::to_tokio(self.given_up);
        (self.shared.spawn)(Box::pin(async move {
            if tokio::time::timeout_at(end, operation).await.is_ok() {
                place.0.finished.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
}

impl<Fut> fmt::Debug for Detachable<Fut> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Detachable").field("given_up", &self.given_up).finish_non_exhaustive()
    }
}

/// A place among the late operations that go on, free again when dropped.
struct Place(Arc<Detaching>);

impl Place {
    fn take(shared: &Arc<Detaching>) -> Option<Self> {
        let most = shared.timeout.config.detached_max.get();
        let raise = |running| (running < most).then_some(running + 1);
        shared.running.fetch_update(Ordering::Relaxed, Ordering::Relaxed, raise).ok()?;
        Some(Self(Arc::clone(shared)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}
