use std::collections::VecDeque;
use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::criticality::Criticality;

use super::config::Order;

/// The calls that wait for a place: no clock, no lock, no await.
///
/// The most critical are served first. Among equally critical ones the keys take turns (round robin), and
/// within a key `order` decides. When no seat is left, an arrival may have a seat that another call holds:
/// that of a less critical one; or, among equals, one in a line that is longer by two or more, so that a
/// burst under one key does not shut the door on the others (the longest queue drop of stochastic fairness
/// queueing, McKenney 1990); or, if the freshest are to be served first, the oldest in its own line.
///
/// Memory: at most `seats_max` calls and as many lines. Time: proportional to the keys that wait.
#[derive(Debug)]
pub struct Queue {
    order: Order,
    seats_max: usize,
    run_min: Duration,
    /// By criticality, the lowest first.
    classes: [Class; Criticality::ALL.len()],
    len: usize,
    next_number: u64,
}

/// The lines of one criticality, in the order of their turns.
#[derive(Debug, Default)]
struct Class {
    lines: VecDeque<Line>,
}

/// The calls with one key, the oldest first. Never empty between two operations.
#[derive(Debug)]
struct Line {
    key: Option<u64>,
    calls: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    deadline: Option<Instant>,
}

/// A seat in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    number: u64,
    criticality: Criticality,
    key: Option<u64>,
}

/// The answer to a call that would wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// It has a seat.
    Seated {
        /// Its own.
        ticket: Ticket,
        /// The number of the call whose seat it was, if it was taken from one.
        turned_out: Option<u64>,
    },
    /// No seat is left for it.
    Full,
}

/// Which call leaves the queue for a free place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// The call with this number runs.
    Runs(u64),
    /// The call with this number has no time left to run; the place is still free.
    Late(u64),
}

impl Ticket {
    /// What tells the call from all others of its queue.
    pub fn number(self) -> u64 {
        self.number
    }
}

impl Queue {
    /// Empty, with `seats_max` seats. A call that has less than `run_min` left when its turn comes is late.
    pub fn new(order: Order, seats_max: u32, run_min: Duration) -> Self {
        let classes = Default::default();
        Self { order, seats_max: seats_max as usize, run_min, classes, len: 0, next_number: 0 }
    }

    /// A call arrives that can wait until `deadline`.
    pub fn arrive(
        &mut self,
        criticality: Criticality,
        key: Option<u64>,
        deadline: Option<Instant>,
    ) -> Arrival {
        let mut turned_out = None;
        if self.len >= self.seats_max {
            turned_out = self.turn_out_for(criticality, key);
            if turned_out.is_none() {
                return Arrival::Full;
            }
        }
        let number = self.next_number;
        self.next_number += 1;
        self.len += 1;
        self.classes[criticality as usize].line_mut(key).calls.push_back(Waiting { number, deadline });
        Arrival::Seated { ticket: Ticket { number, criticality, key }, turned_out }
    }

    /// A place is free: the next call leaves the queue.
    pub fn serve(&mut self, now: Instant) -> Option<Served> {
        let class = self.classes.iter_mut().rev().find(|class| !class.lines.is_empty())?;
        let mut line = class.lines.pop_front()?;
        let next = match self.order {
            Order::Fifo => line.calls.pop_front(),
            Order::Lifo => line.calls.pop_back(),
        }?;
        self.len -= 1;
        let late = next.deadline.is_some_and(|deadline| now + self.run_min >= deadline);
        if line.calls.is_empty() {
            return Some(if late { Served::Late(next.number) } else { Served::Runs(next.number) });
        }
        if late {
            // Its key has not had its turn.
            class.lines.push_front(line);
            return Some(Served::Late(next.number));
        }
        class.lines.push_back(line);
        Some(Served::Runs(next.number))
    }

    /// A waiting call gives up. False when it no longer waits.
    pub fn abandon(&mut self, ticket: Ticket) -> bool {
        let class = &mut self.classes[ticket.criticality as usize];
        let Some(at) = class.position(ticket.key) else { return false };
        let calls = &mut class.lines[at].calls;
        let Ok(seat) = calls.binary_search_by_key(&ticket.number, |call| call.number) else { return false };
        calls.remove(seat);
        class.remove_if_empty(at);
        self.len -= 1;
        true
    }

    /// Calls that wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Frees a seat for an arrival, if a call waits that must yield to it: the one that would be served
    /// last, in the longest line.
    fn turn_out_for(&mut self, criticality: Criticality, key: Option<u64>) -> Option<u64> {
        let lowest = self.classes.iter().position(|class| !class.lines.is_empty())?;
        let own = criticality as usize;
        let class = &mut self.classes[lowest];
        let longest = (0..class.lines.len()).max_by_key(|at| class.lines[*at].calls.len())?;
        let at = if lowest < own {
            longest
        } else if lowest == own {
            let own_line = class.position(key);
            let own_len = own_line.map_or(0, |at| class.lines[at].calls.len());
            if class.lines[longest].calls.len() > own_len + 1 {
                longest
            } else {
                own_line.filter(|_| self.order == Order::Lifo)?
            }
        } else {
            return None;
        };
        let calls = &mut class.lines[at].calls;
        let last = match self.order {
            Order::Fifo => calls.pop_back(),
            Order::Lifo => calls.pop_front(),
        }?;
        class.remove_if_empty(at);
        self.len -= 1;
        Some(last.number)
    }
}

impl Class {
    fn position(&self, key: Option<u64>) -> Option<usize> {
        self.lines.iter().position(|line| line.key == key)
    }

    /// The line of `key`; a new one has its turn after all others.
    fn line_mut(&mut self, key: Option<u64>) -> &mut Line {
        let at = self.position(key).unwrap_or_else(|| {
            self.lines.push_back(Line { key, calls: VecDeque::new() });
            self.lines.len() - 1
        });
        &mut self.lines[at]
    }

    fn remove_if_empty(&mut self, at: usize) {
        if self.lines[at].calls.is_empty() {
            self.lines.remove(at);
        }
    }
}
