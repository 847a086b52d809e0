use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::failure::{Failure, Step};
use super::shared::{Outcome, Shared};
use super::state::State;
use super::submit_error::SubmitError;

/// What becomes of a command. It resolves by itself; awaiting it drives nothing. Dropped before it was heard, a reply
/// goes back to [`State::undelivered`].
#[must_use = "whether a command is stored is in its answer"]
pub struct Answer<S: State> {
    inner: Inner<S>,
}

enum Inner<S: State> {
    Waiting { receiver: oneshot::Receiver<Outcome<S>>, shared: Arc<Shared<S>> },
    Now(Option<SubmitError<S::Refusal>>),
}

impl<S: State> Answer<S> {
    /// What the writer will say.
    pub(super) fn waiting(receiver: oneshot::Receiver<Outcome<S>>, shared: Arc<Shared<S>>) -> Self {
        Self { inner: Inner::Waiting { receiver, shared } }
    }

    /// What is known without it.
    pub(super) fn now(error: SubmitError<S::Refusal>) -> Self {
        Self { inner: Inner::Now(Some(error)) }
    }
}

impl<S: State> Future for Answer<S> {
    type Output = Result<S::Reply, SubmitError<S::Refusal>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.inner {
            Inner::Waiting { receiver, .. } => Pin::new(receiver).poll(context).map(|answer| {
                // The writer answers whatever it took, even when it panics; a sender that is dropped was lost by a
                // defect.
                answer.unwrap_or(Err(SubmitError::Unknown(Failure::Panicked { during: Step::Answer })))
            }),
            Inner::Now(error) => Poll::Ready(Err(error.take().expect("not polled after its answer"))),
        }
    }
}

impl<S: State> Drop for Answer<S> {
    fn drop(&mut self) {
        let Inner::Waiting { receiver, shared } = &mut self.inner else { return };
        // From here on the writer finds that nobody listens; what it sent before is here.
        receiver.close();
        if let Ok(Ok(reply)) = receiver.try_recv() {
            shared.undelivered(reply);
        }
    }
}

impl<S: State> Unpin for Answer<S> {}

impl<S: State> fmt::Debug for Answer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").finish_non_exhaustive()
    }
}
