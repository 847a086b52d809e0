use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use intertie_core::clock::Instant;
use intertie_core::failure::Evidence;
use tokio::time::Sleep;

use super::attempt::HeldUp;
use super::context::{Cx, Verdict};
use crate::MonotonicClock;
use crate::circuit_breaker::Permit;

/// What only an attempt needs that has to wait: its limit, and the attempts that are begun beside it. In a box,
/// since most attempts of fast operations never do.
pub(super) struct Waits<'p, Fut>(Option<Box<Inner<'p, Fut>>>);

struct Inner<'p, Fut> {
    limit: Option<Pin<Box<Sleep>>>,
    hedges: Option<Hedges<'p, Fut>>,
}

pub(super) struct Hedges<'p, Fut> {
    /// When the next one is due; none when there will be no more.
    pub(super) next: Option<Pin<Box<Sleep>>>,
    pub(super) under_way: Vec<UnderWay<'p, Fut>>,
    /// Attempts so far, the first included.
    pub(super) begun: u32,
}

pub(super) struct UnderWay<'p, Fut> {
    pub(super) part: Part<Fut>,
    pub(super) permit: Option<Permit<'p>>,
    pub(super) started: Instant,
}

pub(super) enum Part<Fut> {
    HeldUp(HeldUp),
    Operation(Pin<Box<Fut>>),
}

impl<Fut: Future> Part<Fut> {
    /// Ready with the outcome; with nothing when chaos kept the attempt from its operation.
    pub(super) fn poll(
        &mut self,
        operation: impl Fn(Cx) -> Fut,
        context: &mut Context<'_>,
    ) -> Poll<Option<Fut::Output>> {
        loop {
            match self {
                Self::Operation(operation) => return operation.as_mut().poll(context).map(Some),
                Self::HeldUp(held) => match ready!(held.poll(context)) {
                    Some(cx) => *self = Self::Operation(Box::pin(operation(cx))),
                    None => return Poll::Ready(None),
                },
            }
        }
    }
}

impl<Fut> Hedges<'_, Fut> {
    /// No further attempt begins before the wait that the dependency asked for, or beside the repetitions of a
    /// tier further down.
    pub(super) fn heed(&mut self, verdict: Verdict) {
        if verdict.retry_after.is_some() || verdict.exhausted {
            self.next = None;
        }
    }
}

impl<Fut> Default for Waits<'_, Fut> {
    #[inline]
    fn default() -> Self {
        Self(None)
    }
}

impl<'p, Fut> UnderWay<'p, Fut> {
    pub(super) fn into_permit(mut self) -> Option<Permit<'p>> {
        self.permit.take()
    }
}

impl<Fut> Drop for UnderWay<'_, Fut> {
    fn drop(&mut self) {
        // While the attempt itself runs, its permit is elsewhere: a panic that comes by here is another's.
        if let Some(permit) = self.permit.take() {
            permit.record(self.started, Evidence::None);
        }
    }
}

impl<'p, Fut> Waits<'p, Fut> {
    /// Of those beside the first, the one that has been under way for longest.
    pub(super) fn take_oldest(&mut self) -> Option<UnderWay<'p, Fut>> {
        let under_way = &mut self.0.as_mut()?.hedges.as_mut()?.under_way;
        let oldest = (0..under_way.len()).min_by_key(|place| under_way[*place].started)?;
        Some(under_way.swap_remove(oldest))
    }

    /// Ready when `until` is over.
    pub(super) fn poll_limit(&mut self, until: Option<Instant>, context: &mut Context<'_>) -> Poll<()> {
        let Some(at) = until else { return Poll::Pending };
        let arm = || Box::pin(tokio::time::sleep_until(MonotonicClock::to_tokio(at)));
        self.inner().limit.get_or_insert_with(arm).as_mut().poll(context)
    }

    /// Whether others go on beside the first attempt.
    #[inline]
    pub(super) fn have_hedges(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|inner| inner.hedges.as_ref().is_some_and(|hedges| !hedges.under_way.is_empty()))
    }

    /// The attempts beside the first. `due` says when the second begins.
    pub(super) fn hedges(&mut self, due: impl FnOnce() -> Option<Pin<Box<Sleep>>>) -> &mut Hedges<'p, Fut> {
        let none = || Hedges { next: due(), under_way: Vec::new(), begun: 1 };
        self.inner().hedges.get_or_insert_with(none)
    }

    fn inner(&mut self) -> &mut Inner<'p, Fut> {
        self.0.get_or_insert_with(|| Box::new(Inner { limit: None, hedges: None }))
    }
}
