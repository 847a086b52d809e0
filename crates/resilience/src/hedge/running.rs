use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::config::ATTEMPTS_MAX;

pin_project! {
    /// The attempts of a call that are under way, by their numbers.
    pub(super) struct Running<Fut> {
        #[pin]
        first: Option<Fut>,
        // The second and the third. Boxed, since they are rare.
        later: [Option<Pin<Box<Fut>>>; ATTEMPTS_MAX as usize - 1],
    }
}

impl<Fut: Future> Running<Fut> {
    pub(super) fn new() -> Self {
        Self { first: None, later: [None, None] }
    }

    pub(super) fn begin(self: Pin<&mut Self>, number: u32, attempt: Fut) {
        let mut this = self.project();
        match number {
            1 => this.first.set(Some(attempt)),
            _ => this.later[number as usize - 2] = Some(Box::pin(attempt)),
        }
    }

    /// An attempt that is not under way is pending.
    pub(super) fn poll(self: Pin<&mut Self>, number: u32, context: &mut Context<'_>) -> Poll<Fut::Output> {
        let this = self.project();
        let attempt = match number {
            1 => this.first.as_pin_mut(),
            _ => this.later[number as usize - 2].as_mut().map(Pin::as_mut),
        };
        attempt.map_or(Poll::Pending, |attempt| attempt.poll(context))
    }

    pub(super) fn end(self: Pin<&mut Self>, number: u32) {
        let mut this = self.project();
        match number {
            1 => this.first.set(None),
            _ => this.later[number as usize - 2] = None,
        }
    }

    pub(super) fn has_first(&self) -> bool {
        self.first.is_some()
    }
}
