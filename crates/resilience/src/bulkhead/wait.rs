use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::gate::{Gate, Verdict};
use super::state::Ticket;

/// Ready when it is decided what becomes of a waiting call. Dropped before, it leaves the queue, and a place
/// granted meanwhile goes to the next.
#[derive(Debug)]
pub(super) struct Wait<'a> {
    gate: &'a Gate,
    home: usize,
    /// None once the verdict is known.
    ticket: Option<Ticket>,
}

impl<'a> Wait<'a> {
    /// For a call that was just seated.
    pub(super) fn new(gate: &'a Gate, home: usize, ticket: Ticket) -> Self {
        Self { gate, home, ticket: Some(ticket) }
    }

    /// Leaves the queue, unless it was decided meanwhile what becomes of the call: then the verdict.
    pub(super) fn give_up(mut self) -> Option<Verdict> {
        let verdict = self.ticket.take().and_then(|ticket| self.gate.abandon(ticket));
        if verdict == Some(Verdict::Granted) {
            self.gate.lock().counts.admitted += 1;
        }
        verdict
    }
}

impl Future for Wait<'_> {
    type Output = Verdict;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Verdict> {
        let ticket = self.ticket.expect("not polled again after it was ready");
        let Some(verdict) = self.gate.poll(ticket, context.waker()) else { return Poll::Pending };
        self.ticket = None;
        Poll::Ready(verdict)
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let verdict = self.ticket.and_then(|ticket| self.gate.abandon(ticket));
        if verdict == Some(Verdict::Granted) {
            self.gate.leave(self.home);
        }
    }
}
