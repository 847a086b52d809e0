use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use intertie_core::config::Invalid;
use intertie_core::failure::Class;

use super::config::BatchConfig;
use super::error::BatchError;
use super::seat::{Caller, Shared};
use super::sending::Function;
use super::stats::Stats;

/// Takes items one by one and hands them to a function in batches. Clones are handles on the same batches.
///
/// # Example
/// ```
/// use std::num::NonZeroU32;
///
/// use intertie_resilience::{BatchConfig, Batcher};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let config = BatchConfig::new(NonZeroU32::new(100).expect("100 is not zero"));
/// let squares = Batcher::new(config, |numbers: Vec<u64>| async move {
///     tokio::task::yield_now().await; // the round trip
///     Ok::<_, std::io::ErrorKind>(numbers.into_iter().map(|number| Ok(number * number)).collect())
/// })?;
/// let three = tokio::join!(squares.call(1), squares.call(2), squares.call(3));
/// assert_eq!(three, (Ok(1), Ok(4), Ok(9)));
/// assert_eq!(squares.stats().batches, 2, "the first went at once, and the others when it had ended");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Batcher<I, O, E> {
    shared: Arc<Shared<I, O, E>>,
}

impl<I, O, E> Batcher<I, O, E>
where
    I: Clone + Send + 'static,
    O: Send + 'static,
    E: Clone + Send + 'static,
{
    /// A batcher over `function`, which gets up to `size_max` items and gives a result for each, in their
    /// order, or one error for all. With `bisect`, any such error is taken to be the fault of some item.
    ///
    /// # Errors
    /// When the settings can not work together.
    pub fn new<F, Fut>(config: BatchConfig, function: F) -> Result<Self, Invalid>
    where
        F: Fn(Vec<I>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Vec<Result<O, E>>, E>> + Send + 'static,
    {
        Self::with_classes(config, function, |_| Class::Unjudged)
    }

    /// The same, with the meaning of the errors that fail a whole batch: with `bisect`, only those classed
    /// [`Class::Permanent`] or [`Class::Unjudged`] cut it in halves, since smaller batches help no service
    /// that is away or overloaded.
    ///
    /// # Errors
    /// When the settings can not work together.
    pub fn with_classes<F, Fut>(
        config: BatchConfig,
        function: F,
        class_of: impl Fn(&E) -> Class + Send + Sync + 'static,
    ) -> Result<Self, Invalid>
    where
        F: Fn(Vec<I>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Vec<Result<O, E>>, E>> + Send + 'static,
    {
        config.validate()?;
        let function = Function {
            config,
            call: Box::new(move |items| Box::pin(function(items))),
            class_of: Box::new(class_of),
        };
        Ok(Self { shared: Arc::new(Shared::new(function)) })
    }

    /// The options in force.
    pub fn config(&self) -> &BatchConfig {
        &self.shared.function.config
    }

    /// The result for `item`, which waits for at most `wait` to be sent.
    ///
    /// Dropping the future takes an item back that was not sent. One that was sent stays in its batch, which
    /// goes on for the others; when its last caller leaves, the batch is dropped, and whether it had an
    /// effect is as open as with any call that is given up.
    ///
    /// # Errors
    /// - [`BatchError::Item`]: the function's error for this item.
    /// - [`BatchError::Batch`]: its error for all.
    /// - [`BatchError::Count`]: it gave another number of results than it got items.
    /// - [`BatchError::Panicked`]: it panicked.
    /// - [`BatchError::Rejected`] by one of the bounds `queue` (at once) and `wait`.
    pub async fn call(&self, item: I) -> Result<O, BatchError<E>> {
        self.call_within(item, Duration::MAX).await
    }

    /// The same for a caller that has `remaining` time: its item is sent in this time or dropped.
    ///
    /// # Errors
    /// Those of [`Batcher::call`].
    pub async fn call_within(&self, item: I, remaining: Duration) -> Result<O, BatchError<E>> {
        let caller = Caller::arrive(&self.shared, item, remaining)?;
        let sent = caller.sent().await?;
        sent.result().await
    }

    /// What the batcher did so far.
    pub fn stats(&self) -> Stats {
        let inner = self.shared.lock();
        Stats { waiting: inner.state.waiting(), running: inner.state.running(), ..inner.stats }
    }
}

impl<I, O, E> Clone for Batcher<I, O, E> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<I, O, E> fmt::Debug for Batcher<I, O, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batcher").field("stats", &self.shared.lock().stats).finish_non_exhaustive()
    }
}
