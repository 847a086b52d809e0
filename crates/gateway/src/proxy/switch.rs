//! The verdict on a request that asks for another protocol.

use std::cell::Cell;
use std::fmt;
use std::task::{Context, Poll, Waker};

/// What those who answer the requests of a connection tell the one who reads it: whether what follows a
/// request is HTTP.
#[derive(Default)]
pub(super) struct Switch {
    /// The number of the request that was answered last, and whether by another protocol.
    answered: Cell<(u64, bool)>,
    /// Who waits for the next answer.
    waiting: Cell<Option<Waker>>,
}

impl Switch {
    /// Tells that the request `number` is answered, and whether by another protocol.
    pub(super) fn answer(&self, number: u64, switched: bool) {
        self.answered.set((number, switched));
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
    }

    /// Whether the request `number` was answered by another protocol, once it is answered.
    pub(super) fn poll_verdict(&self, number: u64, context: &mut Context<'_>) -> Poll<bool> {
        match self.answered.get() {
            (answered, switched) if answered == number => Poll::Ready(switched),
            _ => {
                self.waiting.set(Some(context.waker().clone()));
                Poll::Pending
            }
        }
    }
}

impl fmt::Debug for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Switch").field("answered", &self.answered).finish_non_exhaustive()
    }
}
