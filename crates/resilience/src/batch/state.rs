use std::collections::VecDeque;
use std::time::Duration;

use intertie_core::clock::Instant;

use super::config::BatchConfig;

/// Which items wait and when they go: no clock, no lock, no await.
///
/// After each event, an arrival, an end or time that passed, [`State::expire`] and then [`State::depart`]
/// say what follows from it, the latter until it says nothing more.
///
/// Invariants: at most `concurrent` batches in flight; items go in the order in which they came; nobody
/// waits while nothing is in flight.
#[derive(Debug)]
pub struct State {
    size_max: usize,
    concurrent: u32,
    window: Duration,
    queue_max: usize,
    running: u32,
    /// A batch ended and those who waited for it have not gone yet.
    ended: bool,
    waiting: VecDeque<Waiting>,
    /// No item expires before.
    first_expires: Instant,
    next_ticket: u64,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    ticket: Ticket,
    arrived: Instant,
    expires: Instant,
}

/// A place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// A batch that goes now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departure {
    /// Why it goes.
    pub reason: Reason,
    /// Its items, in the order in which they came.
    pub tickets: Vec<Ticket>,
}

/// Why a batch goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It is full.
    Size,
    /// Nothing was in flight.
    Idle,
    /// Another batch ended.
    Ended,
    /// Its first item has waited for the window.
    Window,
}

impl State {
    /// Nothing waits and nothing is in flight.
    pub fn new(config: &BatchConfig) -> Self {
        Self {
            size_max: config.size_max.get() as usize,
            concurrent: config.concurrent.get(),
            window: config.window,
            queue_max: config.capacity() as usize,
            running: 0,
            ended: false,
            waiting: VecDeque::new(),
            first_expires: Instant::from_nanos(u64::MAX),
            next_ticket: 0,
        }
    }

    /// An item arrives that may wait for `wait`. `None` when the queue is full.
    pub fn arrive(&mut self, now: Instant, wait: Duration) -> Option<Ticket> {
        // A full queue holds `size_max` items at least, so no place is free and this item could not go.
        if self.waiting.len() >= self.queue_max {
            return None;
        }
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let expires = now + wait;
        self.first_expires = self.first_expires.min(expires);
        self.waiting.push_back(Waiting { ticket, arrived: now, expires });
        Some(ticket)
    }

    /// A batch in flight ended, however.
    pub fn end(&mut self) {
        self.running -= 1;
        self.ended = true;
    }

    /// An item is taken back. False when it no longer waits.
    pub fn withdraw(&mut self, ticket: Ticket) -> bool {
        match self.waiting.binary_search_by_key(&ticket, |item| item.ticket) {
            Ok(position) => self.waiting.remove(position).is_some(),
            Err(_) => false,
        }
    }

    /// Drops the items that waited for longer than they may, and names them.
    pub fn expire(&mut self, now: Instant) -> Vec<Ticket> {
        if now <= self.first_expires {
            return Vec::new();
        }
        let mut expired = Vec::new();
        let mut first_expires = Instant::from_nanos(u64::MAX);
        self.waiting.retain(|item| {
            let is_alive = item.expires >= now;
            if is_alive {
                first_expires = first_expires.min(item.expires);
            } else {
                expired.push(item.ticket);
            }
            is_alive
        });
        self.first_expires = first_expires;
        expired
    }

    /// The next batch that goes now. It is in flight until [`State::end`].
    pub fn depart(&mut self, now: Instant) -> Option<Departure> {
        let reason = self.reason(now);
        self.ended = false;
        let reason = reason?;
        let size = self.waiting.len().min(self.size_max);
        let tickets = self.waiting.drain(..size).map(|item| item.ticket).collect();
        self.running += 1;
        Some(Departure { reason, tickets })
    }

    fn reason(&self, now: Instant) -> Option<Reason> {
        let first = self.waiting.front()?;
        if self.running >= self.concurrent {
            return None;
        }
        if self.waiting.len() >= self.size_max {
            return Some(Reason::Size);
        }
        if self.ended {
            return Some(Reason::Ended);
        }
        if self.running == 0 {
            return Some(Reason::Idle);
        }
        (now >= first.arrived + self.window).then_some(Reason::Window)
    }

    /// Items that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Batches in flight.
    pub fn running(&self) -> u32 {
        self.running
    }
}
