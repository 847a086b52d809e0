use std::collections::VecDeque;

/// The places and the queue: no clock, no lock, no await.
///
/// Invariants: never more than `concurrent` calls hold a place; a place is free only while nobody waits.
#[derive(Debug)]
pub struct State {
    concurrent: u32,
    queue_max: u32,
    running: u32,
    waiting: VecDeque<Ticket>,
    next_ticket: u64,
}

/// A place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// The answer to a call that arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// It runs.
    Running,
    /// It waits until [`State::leave`] names its ticket.
    Waiting(Ticket),
    /// There is no place and no room to wait.
    Rejected,
}

impl Ticket {
    pub(super) fn number(self) -> u64 {
        self.0
    }
}

impl State {
    /// Empty.
    pub fn new(concurrent: u32, queue_max: u32) -> Self {
        Self { concurrent, queue_max, running: 0, waiting: VecDeque::new(), next_ticket: 0 }
    }

    /// A call arrives.
    pub fn arrive(&mut self) -> Arrival {
        if self.running < self.concurrent {
            self.running += 1;
            return Arrival::Running;
        }
        if self.waiting.len() as u64 >= u64::from(self.queue_max) {
            return Arrival::Rejected;
        }
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.waiting.push_back(ticket);
        Arrival::Waiting(ticket)
    }

    /// A running call ends. Its place goes to the longest waiting call, which is named.
    pub fn leave(&mut self) -> Option<Ticket> {
        let next = self.waiting.pop_front();
        if next.is_none() {
            self.running -= 1;
        }
        next
    }

    /// A waiting call gives up. False when it no longer waits: its place was granted.
    pub fn abandon(&mut self, ticket: Ticket) -> bool {
        match self.waiting.binary_search(&ticket) {
            Ok(position) => self.waiting.remove(position).is_some(),
            Err(_) => false,
        }
    }

    /// Calls that hold a place.
    pub fn running(&self) -> u32 {
        self.running
    }

    /// Calls that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}
