//! Which requests wait for a reply, decided without a clock, a lock or an await.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// The requests that wait, each with who is to be told, and the ids of some that no longer do.
#[derive(Debug)]
pub(super) struct Pending<T> {
    waiting: HashMap<Arc<str>, (Ticket, T)>,
    in_flight_max: usize,
    ended: Remembered,
    begun: u64,
    is_closed: bool,
}

/// Tells a request from others that had its id before, or have it later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket(u64);

/// Why a request is not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotBegun {
    /// As many wait as may.
    Full,
    /// One of this id waits.
    Twice,
    /// Nothing is begun any more.
    Closed,
}

/// For whom a reply is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meant<T> {
    /// For one that waits, and no longer does now.
    Waiting(T),
    /// For nobody.
    Nobody(Discarded),
}

/// Why a reply is for nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Discarded {
    /// Its request took too long, or nobody waits for it any more.
    Late,
    /// Its request was answered before.
    Again,
    /// No request is known that it answers.
    Unasked,
}

impl Discarded {
    /// The name that labels it in metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::Again => "again",
            Self::Unasked => "unasked",
        }
    }
}

impl<T> Pending<T> {
    pub(super) fn new(in_flight_max: usize, remembered_max: usize) -> Self {
        Self {
            waiting: HashMap::new(),
            in_flight_max,
            ended: Remembered::new(remembered_max),
            begun: 0,
            is_closed: false,
        }
    }

    /// Has `asker` told of the reply to `id`. What was remembered of that id is forgotten: it is asked again.
    pub(super) fn begin(&mut self, id: &str, asker: T) -> Result<Ticket, NotBegun> {
        if self.is_closed {
            return Err(NotBegun::Closed);
        }
        let is_full = self.waiting.len() >= self.in_flight_max;
        match self.waiting.entry(id.into()) {
            Entry::Occupied(_) => Err(NotBegun::Twice),
            Entry::Vacant(_) if is_full => Err(NotBegun::Full),
            Entry::Vacant(place) => {
                self.begun += 1;
                let ticket = Ticket(self.begun);
                place.insert((ticket, asker));
                self.ended.forget(id);
                Ok(ticket)
            }
        }
    }

    /// For whom a reply to `id` is.
    pub(super) fn answer(&mut self, id: &str) -> Meant<T> {
        match self.waiting.remove_entry(id) {
            Some((id, (_, asker))) => {
                self.ended.remember(id, Discarded::Again);
                Meant::Waiting(asker)
            }
            None => Meant::Nobody(self.ended.of(id).unwrap_or(Discarded::Unasked)),
        }
    }

    /// Ends a request that nobody waits for any more; whether it was still waiting.
    pub(super) fn give_up(&mut self, id: &str, ticket: Ticket) -> bool {
        if self.waiting.get(id).is_none_or(|(of, _)| *of != ticket) {
            return false;
        }
        if let Some((id, _)) = self.waiting.remove_entry(id) {
            self.ended.remember(id, Discarded::Late);
        }
        true
    }

    /// Begins nothing any more.
    pub(super) fn close(&mut self) {
        self.is_closed = true;
    }

    /// Ends all that wait; how many these were.
    pub(super) fn cut(&mut self) -> usize {
        let cut = self.waiting.len();
        self.waiting.clear();
        cut
    }

    /// Requests that wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

/// How the last requests ended.
#[derive(Debug)]
struct Remembered {
    max: usize,
    order: VecDeque<(u64, Arc<str>)>,
    how: HashMap<Arc<str>, (u64, Discarded)>,
    turns: u64,
}

impl Remembered {
    fn new(max: usize) -> Self {
        Self { max, order: VecDeque::new(), how: HashMap::new(), turns: 0 }
    }

    fn remember(&mut self, id: Arc<str>, how: Discarded) {
        self.turns += 1;
        self.how.insert(Arc::clone(&id), (self.turns, how));
        self.order.push_back((self.turns, id));
        while self.order.len() > self.max {
            let Some((turn, id)) = self.order.pop_front() else { break };
            // It may have been asked again, and ended again, since.
            if self.how.get(&id).is_some_and(|(latest, _)| *latest == turn) {
                self.how.remove(&id);
            }
        }
    }

    fn forget(&mut self, id: &str) {
        self.how.remove(id);
    }

    fn of(&self, id: &str) -> Option<Discarded> {
        self.how.get(id).map(|(_, how)| *how)
    }
}
