//! Which messages a consumer holds, and which of them is handled next: no clock, no lock, no await.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use intertie_core::clock::Instant;

/// What messages are in order with each other, if they are with any.
pub(super) type Group = Option<Arc<str>>;

/// A message that waits to be handled.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry<T> {
    /// Its place in the order in which messages came.
    pub(super) turn: u64,
    pub(super) group: Group,
    /// When it is to be given back if nothing was begun with it.
    pub(super) overdue_at: Instant,
    pub(super) value: T,
}

/// What bounds it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Messages held, those that are handled included.
    pub(super) held: usize,
    /// Units handled at the same time.
    pub(super) units: usize,
    /// Messages in a unit.
    pub(super) unit: usize,
}

/// The messages that a consumer holds.
///
/// Invariant: of one group, at most one message is ready or handled. The others stand behind it in its lane, in the
/// order in which they came.
#[derive(Debug)]
pub(super) struct Intake<T> {
    bounds: Bounds,
    ready: VecDeque<Entry<T>>,
    /// For each group of which a message is ready or handled, those behind it.
    lanes: HashMap<Arc<str>, VecDeque<Entry<T>>>,
    waiting: usize,
    handled: usize,
    units: usize,
}

impl<T> Intake<T> {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds, ready: VecDeque::new(), lanes: HashMap::new(), waiting: 0, handled: 0, units: 0 }
    }

    /// Messages held, those that are handled included.
    pub(super) fn held(&self) -> usize {
        self.waiting + self.handled
    }

    /// How many more it may hold.
    pub(super) fn credit(&self) -> usize {
        self.bounds.held.saturating_sub(self.held())
    }

    /// Units that are handled.
    pub(super) fn units(&self) -> usize {
        self.units
    }

    /// Takes a message that came after all others.
    pub(super) fn take_in(&mut self, entry: Entry<T>) {
        self.waiting += 1;
        let Some(group) = &entry.group else { return self.ready.push_back(entry) };
        match self.lanes.get_mut(group) {
            Some(lane) => lane.push_back(entry),
            None => {
                self.lanes.insert(Arc::clone(group), VecDeque::new());
                self.ready.push_back(entry);
            }
        }
    }

    /// What is to be handled next, if there is room and something is ready.
    pub(super) fn next_unit(&mut self) -> Option<Vec<Entry<T>>> {
        if self.units >= self.bounds.units || self.ready.is_empty() {
            return None;
        }
        let size = self.ready.len().min(self.bounds.unit);
        self.units += 1;
        self.waiting -= size;
        self.handled += size;
        Some(self.ready.drain(..size).collect())
    }

    /// A unit is over: its place is free. Each of its messages is told by [`Self::ended`] or [`Self::put_back`].
    pub(super) fn unit_ended(&mut self) {
        self.units -= 1;
    }

    /// A message was handled. When it was `done` the next of its group is ready; otherwise those behind it, which must
    /// not overtake it, are to be given back.
    pub(super) fn ended(&mut self, group: &Group, done: bool) -> Vec<Entry<T>> {
        self.handled -= 1;
        let Some(group) = group else { return Vec::new() };
        if done && let Some(next) = self.lanes.get_mut(group).and_then(VecDeque::pop_front) {
            self.ready.push_back(next);
            return Vec::new();
        }
        self.forget_lane(group)
    }

    /// A message was not begun after all: it is handled before those that came after it.
    pub(super) fn put_back(&mut self, entry: Entry<T>) {
        self.handled -= 1;
        self.waiting += 1;
        let later = self.ready.iter().position(|ready| ready.turn > entry.turn);
        self.ready.insert(later.unwrap_or(self.ready.len()), entry);
    }

    /// Takes out what has waited too long by `now`, and what stands behind it.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<Entry<T>> {
        let mut overdue = Vec::new();
        for entry in std::mem::take(&mut self.ready) {
            if entry.overdue_at > now {
                self.ready.push_back(entry);
                continue;
            }
            self.waiting -= 1;
            let behind = entry.group.as_ref().map(|group| self.forget_lane(group));
            overdue.push(entry);
            overdue.extend(behind.into_iter().flatten());
        }
        for lane in self.lanes.values_mut() {
            if let Some(first) = lane.iter().position(|entry| entry.overdue_at <= now) {
                self.waiting -= lane.len() - first;
                overdue.extend(lane.drain(first..));
            }
        }
        overdue
    }

    /// When the next one has waited too long.
    pub(super) fn next_overdue(&self) -> Option<Instant> {
        self.ready.iter().chain(self.lanes.values().flatten()).map(|entry| entry.overdue_at).min()
    }

    /// Takes out all that nothing was begun with.
    pub(super) fn give_back(&mut self) -> Vec<Entry<T>> {
        self.overdue(Instant::from_nanos(u64::MAX))
    }

    fn forget_lane(&mut self, group: &Arc<str>) -> Vec<Entry<T>> {
        let behind: Vec<_> = self.lanes.remove(group).into_iter().flatten().collect();
        self.waiting -= behind.len();
        behind
    }
}
