use std::future::Future;
use std::iter;
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use intertie_core::failure::Class;

use super::config::BatchConfig;
use super::error::BatchError;
use super::seat::Shared;

/// What one call for many items gives: a result for each, in their order, or one failure for all.
type Answer<O, E> = Result<Vec<Result<O, E>>, E>;

type Call<I, O, E> = Box<dyn Fn(Vec<I>) -> Pin<Box<dyn Future<Output = Answer<O, E>> + Send>> + Send + Sync>;

/// The user's function and how it is to be called.
pub(super) struct Function<I, O, E> {
    pub(super) config: BatchConfig,
    pub(super) call: Call<I, O, E>,
    pub(super) class_of: Box<dyn Fn(&E) -> Class + Send + Sync>,
}

impl<I, O, E> Function<I, O, E> {
    /// Whether a smaller batch may succeed where this one failed. A service that is away or asks for fewer
    /// calls would only get more of them.
    fn may_bisect(&self, error: &E) -> bool {
        self.config.bisect && matches!((self.class_of)(error), Class::Permanent | Class::Unjudged)
    }
}

/// The results of a batch, one for each item, until their callers take them.
pub(super) struct Results<O, E>(Mutex<Places<O, E>>);

type Places<O, E> = Vec<Option<Result<O, BatchError<E>>>>;

impl<O, E> Results<O, E> {
    pub(super) fn new(items: usize) -> Self {
        Self(Mutex::new((0..items).map(|_| None).collect()))
    }

    pub(super) fn take(&self, position: usize) -> Option<Result<O, BatchError<E>>> {
        self.lock()[position].take()
    }

    fn lock(&self) -> MutexGuard<'_, Places<O, E>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<O, E: Clone> Results<O, E> {
    fn put(&self, part: Range<usize>, answer: Answer<O, E>) {
        let items = part.len();
        let results: Vec<_> = match answer {
            Ok(results) if results.len() == items => {
                results.into_iter().map(|result| result.map_err(BatchError::Item)).collect()
            }
            Ok(results) => {
                let results = results.len();
                (0..items).map(|_| Err(BatchError::Count { items, results })).collect()
            }
            Err(error) => (0..items).map(|_| Err(BatchError::Batch(error.clone()))).collect(),
        };
        for (place, result) in self.lock()[part].iter_mut().zip(results) {
            *place = Some(result);
        }
    }
}

/// A place in flight, free again when dropped: after the last result, after a panic, or when the last
/// caller of the batch has left.
pub(super) struct Running<I, O, E>
where
    I: Clone + Send + 'static,
    O: Send + 'static,
    E: Clone + Send + 'static,
{
    pub(super) shared: Arc<Shared<I, O, E>>,
}

impl<I, O, E> Drop for Running<I, O, E>
where
    I: Clone + Send + 'static,
    O: Send + 'static,
    E: Clone + Send + 'static,
{
    fn drop(&mut self) {
        self.shared.end();
    }
}

/// Calls the function for a batch, and if it fails as a whole and may be bisected, for its halves, first half
/// first, down to single items.
pub(super) async fn send<I, O, E>(running: Running<I, O, E>, items: Vec<I>, results: Arc<Results<O, E>>)
where
    I: Clone + Send + 'static,
    O: Send + 'static,
    E: Clone + Send + 'static,
{
    let function = &running.shared.function;
    if !function.config.bisect {
        let all = 0..items.len();
        let answer = (function.call)(items).await;
        results.put(all, answer);
        return;
    }
    let mut parts: Vec<_> = iter::once(0..items.len()).collect();
    while let Some(part) = parts.pop() {
        match (function.call)(items[part.clone()].to_vec()).await {
            Err(error) if part.len() > 1 && function.may_bisect(&error) => {
                running.shared.lock().stats.bisections += 1;
                let middle = part.start + part.len() / 2;
                parts.push(middle..part.end);
                parts.push(part.start..middle);
            }
            answer => results.put(part, answer),
        }
    }
}
