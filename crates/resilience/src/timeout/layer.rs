use std::future::Future;
use std::sync::Arc;

use intertie_core::config::Invalid;

use super::call::Call;
use super::config::{Late, TimeoutConfig};
use super::context::Cx;
use super::stats::{Counters, Stats};

/// A limit for operations that are dropped, or asked to end, when they reach it. Clones are handles on the
/// same counters; each operation has its own time.
///
/// # Example
/// ```
/// use std::time::Duration;
/// use intertie_resilience::timeout::{Timeout, TimeoutConfig};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?.block_on(async {
/// let timeout = Timeout::new(TimeoutConfig::external_call().with_env("RATES_TIMEOUT")?)?;
/// let rate = timeout
///     .run(async |_| {
///         tokio::time::sleep(Duration::from_secs(60)).await;
///         Ok::<_, std::io::Error>(1.08)
///     })
///     .on_timeout(|_| Ok(1.07))
///     .await?;
/// assert_eq!(rate, 1.07, "the substitute");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Timeout {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: TimeoutConfig,
    pub(super) counters: Counters,
}

impl Timeout {
    /// A limit as `config` describes it.
    ///
    /// # Errors
    /// When the settings can not work together, and for `late = "detach"`, which needs the spawner of a
    /// [`super::DetachingTimeout`].
    pub fn new(config: TimeoutConfig) -> Result<Self, Invalid> {
        config.validate()?;
        if config.late == Late::Detach {
            let problem = "\"detach\" needs a spawner, and this operation is not given one";
            return Err(Invalid::new("late", problem));
        }
        Ok(Self { shared: Arc::new(Shared { config, counters: Counters::default() }) })
    }

    /// The options in force.
    pub fn config(&self) -> &TimeoutConfig {
        &self.shared.config
    }

    /// Runs `operation` until its limit. Its time begins when the call is first polled; dropping the call
    /// drops the operation.
    ///
    /// An operation that is ready at once costs one reading of the clock and arms no timer. One that is ready
    /// at the very instant of its limit has made it.
    pub fn run<F, Fut, T, E>(&self, operation: F) -> Call<'_, F, Fut>
    where
        F: FnOnce(Cx) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        Call::new(&self.shared, operation, |_| {})
    }

    /// What the timeout did so far.
    pub fn stats(&self) -> Stats {
        self.shared.counters.read()
    }
}
