use std::pin::Pin;
use std::task::{Context, Poll};

use intertie_core::clock::Instant;
use tokio::time::Sleep;

use crate::MonotonicClock;
use crate::deadline::LimitedBy;

/// How an attempt ended.
#[derive(Debug)]
pub(super) enum End<T> {
    Outcome(T),
    /// It ran into this limit.
    TimedOut(LimitedBy),
}

/// Fires at the limit of an attempt; armed when the attempt first has to wait, and in a box since not all do.
#[derive(Debug, Default)]
pub(super) struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    pub(super) fn poll(&mut self, until: Option<Instant>, context: &mut Context<'_>) -> Poll<()> {
        let Some(at) = until else { return Poll::Pending };
        let arm = || Box::pin(tokio::time::sleep_until(MonotonicClock::to_tokio(at)));
        self.0.get_or_insert_with(arm).as_mut().poll(context)
    }
}
