use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use intertie_core::config::Invalid;
use intertie_core::rejection::{Policy, Rejection};

use super::config::PoolConfig;
use super::entry::Arrival;
use super::event::{Event, Listener};
use super::guard::{Granted, Pooled};
use super::maintain;
use super::manage::{Manage, PoolError};
use super::shared::{Shared, Waiting};
use super::state::State;
use super::stats::Stats;
use crate::clock::MonotonicClock;

/// A shared pool. Clones are handles on the same resources; when the last is dropped the pool is closed.
///
/// # Example
/// ```
/// use std::convert::Infallible;
/// use intertie_resilience::pool::{Manage, Pool, PoolConfig};
///
/// struct Buffers;
///
/// impl Manage for Buffers {
///     type Resource = Vec<u8>;
///     type Error = Infallible;
///
///     async fn connect(&self) -> Result<Vec<u8>, Infallible> {
///         Ok(Vec::with_capacity(1 << 16))
///     }
///
///     async fn check(&self, _: &mut Vec<u8>) -> Result<(), Infallible> {
///         Ok(())
///     }
///
///     fn is_broken(&self, _: &Vec<u8>) -> bool {
///         false
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let pool = Pool::new(Buffers, PoolConfig::default())?;
/// pool.get().await?.extend(b"comes back");
/// assert_eq!(*pool.get().await?, b"comes back");
/// assert_eq!(pool.stats().connects, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Pool<M: Manage> {
    handle: Arc<Handle<M>>,
}

/// Shared by all clones of a pool, and by nothing else.
struct Handle<M: Manage> {
    shared: Arc<Shared<M>>,
}

impl<M: Manage> Pool<M> {
    /// An empty pool.
    ///
    /// # Errors
    /// When the settings can not work together.
    pub fn new(manager: M, config: PoolConfig) -> Result<Self, Invalid> {
        Self::build(manager, config, None)
    }

    /// An empty pool that tells `listener` what no caller would learn: leaks, and failures in the background.
    /// It is called while no lock is held, by whoever found out: the future that maintains the pool, or a
    /// caller whose resource did not pass its check.
    ///
    /// # Errors
    /// When the settings can not work together.
    pub fn with_listener(
        manager: M,
        config: PoolConfig,
        listener: impl Fn(Event<'_, M::Error>) + Send + Sync + 'static,
    ) -> Result<Self, Invalid> {
        Self::build(manager, config, Some(Box::new(listener)))
    }

    fn build(manager: M, config: PoolConfig, listener: Option<Listener<M::Error>>) -> Result<Self, Invalid> {
        config.validate()?;
        // Several processes that start together should not end their connections together.
        let seed = RandomState::new().hash_one(());
        let shared = Arc::new(Shared::new(manager, config, seed, listener));
        Ok(Self { handle: Arc::new(Handle { shared }) })
    }

    /// The options in force.
    pub fn config(&self) -> &PoolConfig {
        &self.handle.shared.config
    }

    /// A resource that works as far as is known: an idle one, a new one, or the next that comes back. Who
    /// came first is served first.
    ///
    /// Dropping the future gives its place in the queue, or what was granted meanwhile, to the next, and
    /// breaks off the connect or the check that was under way for it.
    ///
    /// # Errors
    /// - [`PoolError::Rejected`] at once when `queue` callers wait, or after `acquire_timeout`.
    /// - [`PoolError::Connect`] and [`PoolError::ConnectTimeout`] when a resource was to be connected for this
    ///   caller and could not. It is not tried again: that is the caller's decision.
    /// - [`PoolError::Closed`] when the pool is closed.
    #[track_caller]
    pub fn get(&self) -> impl Future<Output = Result<Pooled<M>, PoolError<M::Error>>> + Send + use<'_, M> {
        self.get_at(Location::caller(), None)
    }

    /// As [`Pool::get`], for a caller that has only `remaining` left of its own deadline, counted from the first
    /// poll: that shortens `acquire_timeout` and never lengthens it.
    ///
    /// What a caller breaks off for want of its own time says nothing against who is connected to: it is no
    /// failed connect.
    ///
    /// # Errors
    /// As [`Pool::get`], and a rejection by the deadline, with the bound `deadline`, when the caller's own time
    /// ended the wait. A caller that has none left is rejected at once, even if a resource is idle.
    #[track_caller]
    pub fn get_within(
        &self,
        remaining: Duration,
    ) -> impl Future<Output = Result<Pooled<M>, PoolError<M::Error>>> + Send + use<'_, M> {
        self.get_at(Location::caller(), Some(remaining))
    }

    async fn get_at(
        &self,
        caller: &'static Location<'static>,
        remaining: Option<Duration>,
    ) -> Result<Pooled<M>, PoolError<M::Error>> {
        let pooled = self.acquire(remaining).await?;
        let shared = &self.handle.shared;
        if shared.config.leak_after.is_some() {
            shared.apply(|state| state.checked_out(pooled.id(), MonotonicClock::now(), caller));
        }
        Ok(pooled)
    }

    async fn acquire(&self, remaining: Option<Duration>) -> Result<Pooled<M>, PoolError<M::Error>> {
        let shared = &self.handle.shared;
        let by_deadline = remaining.filter(|remaining| *remaining <= shared.config.acquire_timeout);
        if by_deadline.is_some_and(|remaining| remaining.is_zero()) {
            return Err(self.deadline_exceeded());
        }
        let now = MonotonicClock::now();
        let (arrival, discarded) = shared.update(|state| state.arrive(now));
        let next = match arrival {
            Arrival::Granted(grant) => Ok(Granted::new(shared, grant)),
            Arrival::Waiting(ticket) => Err(Waiting::new(shared, ticket)),
            Arrival::Full => return Err(rejection("queue")),
            Arrival::Closed => return Err(PoolError::Closed),
        };
        drop(discarded);
        let next = match next {
            Ok(Granted::Resource(unproven)) => match unproven.prove_now(now) {
                Ok(pooled) => return Ok(pooled),
                Err(unproven) => Ok(Granted::Resource(unproven)),
            },
            next => next,
        };
        let settled = async {
            let granted = match next {
                Ok(granted) => granted,
                Err(waiting) => waiting.await?,
            };
            granted.settle().await
        };
        let longest = by_deadline.unwrap_or(shared.config.acquire_timeout);
        if let Ok(settled) = tokio::time::timeout(longest, settled).await {
            return settled;
        }
        if by_deadline.is_some() {
            return Err(self.deadline_exceeded());
        }
        shared.read(|state| state.stats.timed_out += 1);
        Err(rejection("acquire_timeout"))
    }

    fn deadline_exceeded(&self) -> PoolError<M::Error> {
        self.handle.shared.read(|state| state.stats.deadline_exceeded += 1);
        // A later try has its own deadline, so there is no hint.
        PoolError::Rejected(Rejection { by: Policy::Deadline, bound: "deadline", retry_after: None })
    }

    /// Keeps the pool in shape until it is closed: connects what `min_idle` misses, drops what is idle for
    /// too long, replaces what is past its lifetime, checks idle resources, reports leaks. To be spawned,
    /// once; the module's page says what happens without it.
    ///
    /// One thing at a time, so that no outage and no common age of the resources makes many connects at
    /// once. After a failed connect the next waits for 100 ms, then twice as long each time up to 10 s.
    ///
    /// The future does not keep the pool open. Dropping it breaks off what is under way and leaves the pool
    /// as one without maintenance.
    pub fn maintain(&self) -> impl Future<Output = ()> + Send + use<M> {
        maintain::maintain(Arc::clone(&self.handle.shared))
    }

    /// Closes the pool: idle resources are dropped, waiting and later callers get [`PoolError::Closed`],
    /// resources in use are dropped when they come back. Ready when the last has.
    ///
    /// Who holds a resource of the pool must not wait for this. Dropping the future leaves the pool closed.
    pub async fn close(&self) {
        self.handle.shared.apply(State::close);
        self.handle.shared.drained().await;
    }

    /// What the pool holds and did so far.
    pub fn stats(&self) -> Stats {
        self.handle.shared.read(|state| state.stats())
    }
}

fn rejection<E>(bound: &'static str) -> PoolError<E> {
    // Nobody knows when a resource comes back.
    PoolError::Rejected(Rejection { by: Policy::Pool, bound, retry_after: None })
}

impl<M: Manage> Clone for Pool<M> {
    fn clone(&self) -> Self {
        Self { handle: Arc::clone(&self.handle) }
    }
}

impl<M: Manage> fmt::Debug for Pool<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("config", self.config()).field("stats", &self.stats()).finish()
    }
}

impl<M: Manage> Drop for Handle<M> {
    fn drop(&mut self) {
        self.shared.apply(State::close);
    }
}
