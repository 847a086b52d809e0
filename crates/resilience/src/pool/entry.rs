//! What the core hands out, takes back and asks for.

use std::collections::VecDeque;
use std::panic::Location;

use intertie_core::clock::Instant;

/// A resource, and what the pool remembers of it.
#[derive(Debug)]
pub(super) struct Entry<R> {
    pub(super) resource: R,
    pub(super) id: u64,
    pub(super) expires: Instant,
    pub(super) idle_since: Instant,
    /// When it was last seen to work.
    pub(super) good: Instant,
}

/// The right to connect one resource.
#[derive(Debug)]
#[must_use]
pub(super) struct Place {
    pub(super) purpose: Purpose,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// For who asked.
    Caller,
    /// For who asked, in the stead of one past its lifetime.
    Retirement,
    /// For nobody yet.
    Refill,
}

/// A resource in a caller's hands.
#[derive(Debug)]
pub(super) struct Out {
    pub(super) since: Instant,
    pub(super) at: &'static Location<'static>,
    pub(super) reported: bool,
}

/// A place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Ticket(pub(super) u64);

/// What a caller gets.
#[derive(Debug)]
pub(super) enum Grant<R> {
    Resource(Entry<R>),
    Place(Place),
}

/// The answer to a caller that arrives.
#[derive(Debug)]
pub(super) enum Arrival<R> {
    Granted(Grant<R>),
    /// It waits until an effect names its ticket.
    Waiting(Ticket),
    /// `queue` callers wait already.
    Full,
    Closed,
}

/// Who holds an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    Caller,
    Maintenance,
}

/// Why a resource leaves the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    Idle,
    Lifetime,
    Broken,
    CheckFailed,
    Taken,
    Closed,
}

/// What the shell must do after a decision, in this order.
#[derive(Debug)]
#[must_use]
pub(super) struct Effects<R> {
    /// A waiting caller gets something.
    pub(super) granted: Option<(Ticket, Grant<R>)>,
    /// Waiting callers that get nothing: the pool is closed.
    pub(super) refused: VecDeque<Ticket>,
    /// Maintenance has something to do earlier than it thought.
    pub(super) wake_maintenance: bool,
    /// Resources to be dropped, outside of any lock.
    pub(super) discarded: Vec<R>,
}

impl<R> Default for Effects<R> {
    fn default() -> Self {
        Self { granted: None, refused: VecDeque::new(), wake_maintenance: false, discarded: Vec::new() }
    }
}
