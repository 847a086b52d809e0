use std::collections::HashMap;
use std::hash::Hash;

/// Which flight a caller belongs to: no clock, no lock, no await. `F` is whatever stands for a flight.
///
/// Invariants: at most one flight for each key; a flight that is here has at least one caller.
#[derive(Debug)]
pub struct State<K, F> {
    keys_max: u32,
    callers_max: u32,
    flights: HashMap<K, Entry<F>>,
    next: u64,
}

#[derive(Debug)]
struct Entry<F> {
    number: Number,
    callers: u32,
    flight: F,
}

/// Tells a flight from earlier and later ones of the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Number(u64);

/// The answer to a caller that arrives.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrival<F> {
    /// It begins a flight.
    Leads(Number, F),
    /// It waits for one that is under way.
    Follows(Number, F),
    /// There is no room; the bound is named.
    Rejected(&'static str),
}

/// What a caller leaves behind.
#[derive(Debug, PartialEq, Eq)]
pub enum Left<F> {
    /// A flight that ended before.
    Nothing,
    /// A flight for which others wait.
    Others,
    /// A flight for which nobody waits any more.
    Last(F),
}

impl<K: Eq + Hash + Clone, F: Clone> State<K, F> {
    /// No flights.
    pub fn new(keys_max: u32, callers_max: u32) -> Self {
        Self { keys_max, callers_max, flights: HashMap::new(), next: 0 }
    }

    /// A caller of `key` arrives; `begin` makes the flight if there is none.
    pub fn arrive(&mut self, key: &K, begin: impl FnOnce(Number) -> F) -> Arrival<F> {
        if let Some(entry) = self.flights.get_mut(key) {
            if entry.callers >= self.callers_max {
                return Arrival::Rejected("callers_max");
            }
            entry.callers += 1;
            return Arrival::Follows(entry.number, entry.flight.clone());
        }
        if self.flights.len() >= self.keys_max as usize {
            return Arrival::Rejected("keys_max");
        }
        let number = Number(self.next);
        self.next += 1;
        let key = key.clone();
        let flight = begin(number);
        self.flights.insert(key, Entry { number, callers: 1, flight: flight.clone() });
        Arrival::Leads(number, flight)
    }

    /// A caller no longer waits for the flight `number` of `key`.
    pub fn leave(&mut self, key: &K, number: Number) -> Left<F> {
        match self.flights.get_mut(key) {
            Some(entry) if entry.number == number && entry.callers > 1 => {
                entry.callers -= 1;
                Left::Others
            }
            _ => self.end(key, number).map_or(Left::Nothing, Left::Last),
        }
    }

    /// The flight `number` of `key` is over: who comes now begins another.
    pub fn end(&mut self, key: &K, number: Number) -> Option<F> {
        if self.flights.get(key)?.number != number {
            return None;
        }
        self.flights.remove(key).map(|entry| entry.flight)
    }

    /// Flights under way.
    pub fn flights(&self) -> usize {
        self.flights.len()
    }
}
