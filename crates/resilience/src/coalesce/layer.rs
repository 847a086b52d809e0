use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use intertie_core::config::Invalid;
use intertie_core::rejection::{Policy, Rejection};

use super::config::CoalesceConfig;
use super::error::CoalesceError;
use super::state::{Arrival, Left, Number, State};
use crate::flight::{Flight, Panicked};

/// The calls under way, one for each key. Clones are handles on the same calls.
///
/// # Example
/// ```
/// use intertie_resilience::{CoalesceConfig, Group};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let group: Group<&str, u64, std::io::ErrorKind> = Group::new(CoalesceConfig::default())?;
/// let load = || group.run("price of tin", || async {
///     tokio::task::yield_now().await; // the slow part
///     Ok(32_150)
/// });
/// let (first, second) = tokio::join!(load(), load());
/// assert_eq!((first, second), (Ok(32_150), Ok(32_150)));
/// assert_eq!(group.stats().flights, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Group<K, V, E> {
    shared: Arc<Shared<K, V, E>>,
}

struct Shared<K, V, E> {
    config: CoalesceConfig,
    inner: Mutex<Inner<K, V, E>>,
}

type SharedFlight<V, E> = Arc<Flight<Result<V, E>>>;

struct Inner<K, V, E> {
    state: State<K, SharedFlight<V, E>>,
    stats: Stats,
}

/// What a group did since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Calls under way now.
    pub running: usize,
    /// Calls made.
    pub flights: u64,
    /// Callers who waited for a call that another had begun.
    pub followers: u64,
    /// Callers who found no room, or waited for too many failures.
    pub rejected: u64,
    /// Calls whose first caller left while others waited, who went on with it.
    pub taken_over: u64,
}

impl<K, V, E> Group<K, V, E>
where
    K: Eq + Hash + Clone + Send + 'static,
    V: Clone + Send + Sync + 'static,
    E: Clone + Send + Sync + 'static,
{
    /// A group without calls.
    ///
    /// # Errors
    /// When the settings can not work together.
    pub fn new(config: CoalesceConfig) -> Result<Self, Invalid> {
        config.validate()?;
        let state = State::new(config.keys_max.get(), config.callers_max.get());
        let inner = Mutex::new(Inner { state, stats: Stats::default() });
        Ok(Self { shared: Arc::new(Shared { config, inner }) })
    }

    /// The options in force.
    pub fn config(&self) -> &CoalesceConfig {
        &self.shared.config
    }

    /// The result of `operation`, or of the call of the same `key` that is under way.
    ///
    /// `operation` is used only when there is no such call. It must not itself wait for the same key: it
    /// would wait for itself. The last caller to take the result gets it without a clone.
    ///
    /// Dropping the future leaves the call to the others who wait for it, also when this caller began it;
    /// when nobody waits any more, the operation is dropped.
    ///
    /// # Errors
    /// - [`CoalesceError::Failed`] and [`CoalesceError::Panicked`]: how the operation ended. With
    ///   `share_errors = false` only the caller whose operation it was gets this.
    /// - [`CoalesceError::Rejected`] by one of the bounds `keys_max`, `callers_max` and `failures_max`.
    pub async fn run<F, Fut>(&self, key: K, operation: F) -> Result<V, CoalesceError<E>>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<V, E>> + Send + 'static,
    {
        let mut operation = Some(operation);
        for _ in 0..self.shared.config.failures_max.get() {
            let place = self.shared.arrive(&key, &mut operation)?;
            let outcome = Arc::clone(&place.flight).wait().await;
            let is_own = place.leads || self.shared.config.share_errors;
            drop(place);
            match outcome {
                Ok(result) if result.is_ok() || is_own => {
                    return Arc::unwrap_or_clone(result).map_err(CoalesceError::Failed);
                }
                Err(Panicked) if is_own => return Err(CoalesceError::Panicked),
                Ok(_) | Err(Panicked) => {}
            }
        }
        Err(self.shared.lock().reject("failures_max").into())
    }

    /// What the group did so far.
    pub fn stats(&self) -> Stats {
        let inner = self.shared.lock();
        Stats { running: inner.state.flights(), ..inner.stats }
    }
}

impl<K, V, E> Shared<K, V, E>
where
    K: Eq + Hash + Clone + Send + 'static,
    V: Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    fn arrive<F, Fut>(
        self: &Arc<Self>,
        key: &K,
        operation: &mut Option<F>,
    ) -> Result<Place<K, V, E>, Rejection>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<V, E>> + Send + 'static,
    {
        let mut inner = self.lock();
        let arrival = inner.state.arrive(key, |number| {
            let operation = operation.take().expect("who leads gets the result and does not come back");
            let landing = Landing { shared: Arc::clone(self), key: key.clone(), number };
            Flight::new(async move {
                let _landing = landing;
                operation().await
            })
        });
        let (number, flight, leads) = match arrival {
            Arrival::Leads(number, flight) => (number, flight, true),
            Arrival::Follows(number, flight) => (number, flight, false),
            Arrival::Rejected(bound) => return Err(inner.reject(bound)),
        };
        if leads {
            inner.stats.flights += 1;
        } else {
            inner.stats.followers += 1;
        }
        Ok(Place { shared: Arc::clone(self), key: key.clone(), number, flight, leads })
    }
}

impl<K, V, E> Shared<K, V, E> {
    fn lock(&self) -> MutexGuard<'_, Inner<K, V, E>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, V, E> Inner<K, V, E> {
    fn reject(&mut self, bound: &'static str) -> Rejection {
        self.stats.rejected += 1;
        // Nobody knows when a call ends.
        Rejection { by: Policy::Coalesce, bound, retry_after: None }
    }
}

/// One caller among those of a flight.
struct Place<K: Eq + Hash + Clone, V, E> {
    shared: Arc<Shared<K, V, E>>,
    key: K,
    number: Number,
    flight: SharedFlight<V, E>,
    /// Whether the flight is this caller's own operation.
    leads: bool,
}

impl<K: Eq + Hash + Clone, V, E> Drop for Place<K, V, E> {
    fn drop(&mut self) {
        let left = {
            let mut inner = self.shared.lock();
            let left = inner.state.leave(&self.key, self.number);
            if self.leads && matches!(left, Left::Others) {
                inner.stats.taken_over += 1;
            }
            left
        };
        // With the last handle goes the operation: the user's code, which may call this group again.
        drop(left);
    }
}

/// Ends a flight however its operation ends: with a result, by a panic, or dropped.
struct Landing<K: Eq + Hash + Clone, V, E> {
    shared: Arc<Shared<K, V, E>>,
    key: K,
    number: Number,
}

impl<K: Eq + Hash + Clone, V, E> Drop for Landing<K, V, E> {
    fn drop(&mut self) {
        let ended = self.shared.lock().state.end(&self.key, self.number);
        drop(ended);
    }
}

impl<K, V, E> Clone for Group<K, V, E> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<K, V, E> fmt::Debug for Group<K, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("stats", &self.shared.lock().stats).finish_non_exhaustive()
    }
}
