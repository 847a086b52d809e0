use std::collections::HashMap;
use std::sync::PoisonError;
use std::task::Waker;

use intertie_core::clock::Instant;

use super::caller::Caller;
use super::places::Places;
use super::state::{Arrival, Queue, Served, Ticket};
use super::wait::Wait;
use crate::sync::{Mutex, MutexGuard};

/// The places in front, the queue behind them.
///
/// A call that finds a free place takes it without the lock. Only when none is free, or somebody waits, is
/// the lock taken; from then on the guard keeps newcomers away from the places, and each place that comes
/// free is handed to whoever is next. The guard goes down when a place is left that nobody waits for.
///
/// Invariants: never more than `concurrent` calls hold a place; whoever waits behind a free place is woken.
#[derive(Debug)]
pub(super) struct Gate {
    places: Places,
    clock: fn() -> Instant,
    desk: Mutex<Desk>,
}

/// What the lock protects.
#[derive(Debug)]
pub(super) struct Desk {
    /// Whether the guard of the places is up.
    guarded: bool,
    /// The most calls that may hold a place.
    limit: u32,
    /// Places beyond the limit that calls still hold: as many of the next ones that come free vanish. The
    /// guard is up until then.
    excess: u32,
    queue: Queue,
    /// Each call that waits or has not noticed yet what became of it.
    seats: HashMap<u64, Seat>,
    pub(super) counts: Counts,
}

/// What was counted under the lock. The places count the admissions that passed without it.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Counts {
    pub(super) admitted: u64,
    pub(super) rejected: u64,
    pub(super) turned_out: u64,
    pub(super) timed_out: u64,
    pub(super) deadline_exceeded: u64,
}

#[derive(Debug)]
enum Seat {
    Waiting(Option<Waker>),
    Settled(Verdict),
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// With a place.
    Granted,
    /// A call that ranks higher took the seat.
    TurnedOut,
    /// Its turn came when it had no time left to run.
    Late,
}

/// What became of a call that arrived.
#[derive(Debug)]
pub(super) enum Entry<'a> {
    /// It holds a place.
    Running,
    /// It learns what becomes of it when this future is ready.
    Waiting(Wait<'a>),
    /// There is neither a place nor room to wait.
    Rejected,
}

impl Gate {
    /// All of `concurrent` places free, in `stripes` stripes, a power of two.
    pub(super) fn new(concurrent: u32, stripes: usize, queue: Queue, clock: fn() -> Instant) -> Self {
        let desk = Desk {
            guarded: false,
            limit: concurrent,
            excess: 0,
            queue,
            seats: HashMap::new(),
            counts: Counts::default(),
        };
        Self { places: Places::new(concurrent, stripes), clock, desk: Mutex::new(desk) }
    }

    /// Takes a free place without the lock. False does not mean that there is none.
    pub(super) fn try_pass(&self, home: usize) -> bool {
        self.places.try_take(home)
    }

    /// Takes a free place, a seat in the queue for a `caller` that can wait, or nothing. `home` names the
    /// thread's stripe.
    pub(super) fn enter(&self, home: usize, caller: Option<Caller>) -> Entry<'_> {
        if self.try_pass(home) {
            return Entry::Running;
        }
        let mut desk = self.lock();
        desk.guard(&self.places);
        // Places whose calls ended a moment ago belong to those who wait.
        let mut woken = desk.serve(&self.places, self.clock);
        let entry = if desk.queue.is_empty() && self.places.take_guarded() {
            desk.counts.admitted += 1;
            Entry::Running
        } else {
            match caller.and_then(|caller| desk.seat(caller, self.clock, &mut woken)) {
                Some(ticket) => Entry::Waiting(Wait::new(self, home, ticket)),
                None => {
                    desk.counts.rejected += 1;
                    Entry::Rejected
                }
            }
        };
        desk.unguard_if_idle(&self.places);
        drop(desk);
        woken.drain(..).for_each(Waker::wake);
        entry
    }

    /// What became of a waiting call; `waker` is woken when it is decided.
    pub(super) fn poll(&self, ticket: Ticket, waker: &Waker) -> Option<Verdict> {
        let mut desk = self.lock();
        if let Some(Seat::Waiting(known)) = desk.seats.get_mut(&ticket.number()) {
            if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
                *known = Some(waker.clone());
            }
            return None;
        }
        let verdict = desk.take_verdict(ticket);
        desk.counts.admitted += u64::from(verdict == Some(Verdict::Granted));
        verdict
    }

    /// A waiting call leaves the queue, unless it was decided meanwhile what becomes of it. A place that was
    /// granted is not yet counted as an admission.
    pub(super) fn abandon(&self, ticket: Ticket) -> Option<Verdict> {
        let mut desk = self.lock();
        let verdict = desk.take_verdict(ticket);
        if verdict.is_none() {
            desk.queue.abandon(ticket);
            desk.unguard_if_idle(&self.places);
        }
        verdict
    }

    /// A running call ends.
    pub(super) fn leave(&self, home: usize) {
        if self.places.put_back(home) {
            self.settle();
        }
    }

    /// Hands free places to those who wait.
    #[cold]
    fn settle(&self) {
        let mut desk = self.lock();
        let mut woken = desk.serve(&self.places, self.clock);
        desk.unguard_if_idle(&self.places);
        drop(desk);
        woken.drain(..).for_each(Waker::wake);
    }

    /// Changes the limit. More places are handed out at once; fewer, as running calls end.
    pub(super) fn resize(&self, limit: u32) {
        let mut desk = self.lock();
        if desk.limit == limit {
            return;
        }
        desk.guard(&self.places);
        let places = desk.limit + desk.excess;
        desk.excess = places.saturating_sub(limit);
        desk.limit = limit;
        self.places.add_guarded(limit.saturating_sub(places));
        let mut woken = desk.serve(&self.places, self.clock);
        desk.unguard_if_idle(&self.places);
        drop(desk);
        woken.drain(..).for_each(Waker::wake);
    }

    /// Calls that hold a place, about: without the lock, calls that come and go meanwhile can be missed.
    pub(super) fn running(&self, limit: u32) -> u32 {
        limit.saturating_sub(u32::try_from(self.places.count().0).unwrap_or(u32::MAX))
    }

    /// The limit, calls that run, calls that wait, and what was counted.
    pub(super) fn count(&self) -> (u32, u32, usize, Counts) {
        let desk = self.lock();
        let admitted = desk.counts.admitted + self.places.count().1;
        let running = self.running(desk.limit + desk.excess);
        (desk.limit, running, desk.queue.len(), Counts { admitted, ..desk.counts })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Desk {
    fn guard(&mut self, places: &Places) {
        if !self.guarded {
            self.guarded = true;
            places.guard();
        }
    }

    /// The guard goes down with the first place that nobody waits for, and stays up while all are taken:
    /// the next to arrive would put it up again, and the next to leave finds it.
    fn unguard_if_idle(&mut self, places: &Places) {
        if self.guarded && self.excess == 0 && self.queue.is_empty() && places.count().0 > 0 {
            self.guarded = false;
            self.counts.admitted += places.unguard();
        }
    }

    /// A seat for `caller`, perhaps that of another, who is then told.
    fn seat(&mut self, caller: Caller, clock: fn() -> Instant, woken: &mut Vec<Waker>) -> Option<Ticket> {
        let deadline = caller.remaining.map(|remaining| clock() + remaining);
        match self.queue.arrive(caller.criticality, caller.key, deadline) {
            Arrival::Seated { ticket, turned_out } => {
                if let Some(number) = turned_out {
                    self.counts.turned_out += 1;
                    woken.extend(self.settle(number, Verdict::TurnedOut));
                }
                self.seats.insert(ticket.number(), Seat::Waiting(None));
                Some(ticket)
            }
            Arrival::Full => None,
        }
    }

    /// Gives free places to those who wait, and returns whom to wake once the lock is released.
    fn serve(&mut self, places: &Places, clock: fn() -> Instant) -> Vec<Waker> {
        let mut woken = Vec::new();
        if self.excess > 0 {
            self.excess -= places.take_guarded_up_to(self.excess);
        }
        if self.queue.is_empty() {
            return woken;
        }
        let now = clock();
        let mut free = false;
        while !self.queue.is_empty() && (free || places.take_guarded()) {
            free = match self.queue.serve(now) {
                Some(Served::Runs(number)) => {
                    woken.extend(self.settle(number, Verdict::Granted));
                    false
                }
                Some(Served::Late(number)) => {
                    self.counts.deadline_exceeded += 1;
                    woken.extend(self.settle(number, Verdict::Late));
                    true
                }
                None => true,
            };
        }
        if free {
            places.add_guarded(1);
        }
        woken
    }

    fn settle(&mut self, number: u64, verdict: Verdict) -> Option<Waker> {
        match self.seats.insert(number, Seat::Settled(verdict)) {
            Some(Seat::Waiting(waker)) => waker,
            _ => None,
        }
    }

    /// The verdict on a call, which no longer holds its seat.
    fn take_verdict(&mut self, ticket: Ticket) -> Option<Verdict> {
        match self.seats.remove(&ticket.number())? {
            Seat::Settled(verdict) => Some(verdict),
            Seat::Waiting(_) => None,
        }
    }
}
