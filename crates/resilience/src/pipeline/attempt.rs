use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::Sleep;

use super::context::Cx;
use crate::chaos::Injection;
use crate::deadline::LimitedBy;

/// How an attempt ended.
#[derive(Debug)]
pub(super) enum End<T> {
    Outcome(T),
    /// It ran into this limit.
    TimedOut(LimitedBy),
    /// Chaos made it fail.
    Injected,
}

/// An attempt whose operation chaos keeps from being called: for a while, or for good.
#[derive(Debug)]
pub(super) struct HeldUp {
    pause: Option<Pin<Box<Sleep>>>,
    is_fault: bool,
    cx: Cx,
}

impl HeldUp {
    /// What happens to the attempt that `cx` describes.
    #[cold]
    pub(super) fn new(Injection { latency, is_fault }: Injection, cx: Cx) -> Self {
        Self { pause: latency.map(|latency| Box::pin(tokio::time::sleep(latency))), is_fault, cx }
    }

    /// Ready when the pause is over, with what the operation is told; with nothing when the attempt fails
    /// without reaching it.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Cx>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(context));
        }
        Poll::Ready((!self.is_fault).then(|| self.cx.clone()))
    }
}
