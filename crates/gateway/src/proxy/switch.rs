//! A connection that stops speaking HTTP, and who gets it then.

use std::cell::Cell;
use std::fmt;
use std::task::{Context, Poll, Waker};

use super::tunnel::End;

/// What one who reads a connection and those who answer or ask on it tell each other about its switch to
/// another protocol.
#[derive(Default)]
pub(super) struct Switch {
    /// The number of the request that was answered last, and whether by another protocol.
    answered: Cell<(u64, bool)>,
    handed: Cell<Handed>,
    /// Who waits for either.
    waiting: Cell<Option<Waker>>,
}

/// What is left of a connection to a service.
#[derive(Default)]
enum Handed {
    #[default]
    Nothing,
    /// HTTP ended on it; with the connection itself where another protocol follows.
    Over(Option<Box<End>>),
}

impl Switch {
    /// Tells that the request `number` is answered, and whether by another protocol.
    pub(super) fn answer(&self, number: u64, switched: bool) {
        self.answered.set((number, switched));
        self.wake();
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

    /// HTTP ended on the connection, which is handed on where another protocol follows.
    pub(super) fn hand_over(&self, end: Option<Box<End>>) {
        self.handed.set(Handed::Over(end));
        self.wake();
    }

    /// The connection once HTTP ended on it; nothing when it ended altogether.
    pub(super) fn poll_handed(&self, context: &mut Context<'_>) -> Poll<Option<Box<End>>> {
        match self.handed.take() {
            Handed::Over(end) => Poll::Ready(end),
            Handed::Nothing => {
                self.waiting.set(Some(context.waker().clone()));
                Poll::Pending
            }
        }
    }

    fn wake(&self) {
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
    }
}

impl fmt::Debug for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Switch").field("answered", &self.answered).finish_non_exhaustive()
    }
}
