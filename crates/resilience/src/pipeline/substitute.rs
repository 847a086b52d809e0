use std::future::{Future, ready};
use std::pin::pin;

use super::call::Call;
use super::context::{Cx, Verdict};
use super::error::CallError;
use super::stats::Counter;
use crate::MonotonicClock;
use crate::fallback::LastGood;

/// The methods that end the options of a call: what takes its place when it failed.
///
/// A value that was classed as a failure is still an answer: it is handed out, and not remembered.
impl<'p, F, Fut, C, T, E> Call<'p, F, Fut, C>
where
    F: Fn(Cx) -> Fut,
    Fut: Future<Output = Result<T, E>>,
    C: Fn(&Result<T, E>) -> Verdict,
{
    /// Runs `substitute` when the call failed, whatever the reason; it gets the error. It may answer, or
    /// fail with another error. The pipeline's deadline does not bound it.
    ///
    /// # Errors
    /// Those of `substitute`.
    pub async fn or_else<B>(self, substitute: impl FnOnce(CallError<E>) -> B) -> Result<T, CallError<E>>
    where
        B: Future<Output = Result<T, CallError<E>>>,
    {
        let counters = &self.pipeline().counters;
        match self.await {
            Ok(value) => Ok(value),
            Err(error) => {
                counters.increment(Counter::FellBack);
                substitute(error).await
            }
        }
    }

    /// Answers `value` when the call failed.
    ///
    /// # Errors
    /// None: the error's type is that of the call.
    pub async fn or_value(self, value: T) -> Result<T, CallError<E>> {
        self.or_else(|_| ready(Ok(value))).await
    }

    /// Remembers the value of each call that succeeds in `last`, and answers with it when the call failed.
    ///
    /// # Errors
    /// The call's own when no good value is young enough.
    pub async fn or_last_good(self, last: &LastGood<T>) -> Result<T, CallError<E>>
    where
        T: Clone,
    {
        let counters = &self.pipeline().counters;
        let mut call = pin!(self);
        let result = call.as_mut().await;
        let now = MonotonicClock::now();
        match result {
            Ok(value) => {
                if call.has_succeeded() {
                    last.remember(now, &value);
                }
                Ok(value)
            }
            Err(error) => match last.recall(now) {
                Some((value, _)) => {
                    counters.increment(Counter::FellBack);
                    Ok(value)
                }
                None => Err(error),
            },
        }
    }
}
