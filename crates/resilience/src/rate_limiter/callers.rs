use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use intertie_core::clock::Instant;

use super::keyed::{Keyed, Owner, Prehashed};
use super::limit::{Decision, Limit, StateCell};

/// The callers of one limiter, each with what is left to it: all of them together, one for each key, and
/// those that the settings name.
#[derive(Debug)]
pub(super) struct Callers<L: Limit, const SLOTS: usize> {
    limit: L,
    all: L::Cell,
    keyed: Keyed<L, SLOTS>,
    named: HashMap<u64, (L, L::Cell), BuildHasherDefault<Prehashed>>,
}

impl<L: Limit, const SLOTS: usize> Callers<L, SLOTS> {
    /// Full quotas; `named` are the limits of callers by the hash of their key.
    pub(super) fn new(limit: L, keys_max: usize, named: impl Iterator<Item = (u64, L)>) -> Self {
        Self {
            limit,
            all: L::Cell::default(),
            keyed: Keyed::new(keys_max),
            named: named.map(|(key, limit)| (key, (limit, L::Cell::default()))).collect(),
        }
    }

    /// Decides about a call by all callers together.
    #[inline]
    pub(super) fn decide_for_all(&self, now: Instant, cost: u64) -> Decision {
        self.all.update(|state| self.limit.decide(state, now, cost))
    }

    /// Changes the state of `key`, or of all callers together when there is none.
    pub(super) fn update<R>(
        &self,
        key: Option<u64>,
        now: Instant,
        mut change: impl FnMut(&L, &mut L::State) -> R,
    ) -> (R, Owner) {
        let Some(key) = key else {
            return (self.all.update(|state| change(&self.limit, state)), Owner::Key);
        };
        if let Some((limit, cell)) = self.named(key) {
            return (cell.update(|state| change(limit, state)), Owner::Key);
        }
        self.keyed.update(&self.limit, key, now, |state| change(&self.limit, state))
    }

    /// Changes what [`Callers::update`] changed before, if it is still remembered.
    pub(super) fn revise(
        &self,
        key: Option<u64>,
        owner: Owner,
        now: Instant,
        mut change: impl FnMut(&L, &mut L::State),
    ) {
        match key {
            Some(key) if self.named(key).is_none() => {
                self.keyed.revise(&self.limit, key, owner, now, |state| change(&self.limit, state));
            }
            _ => {
                self.update(key, now, change);
            }
        }
    }

    /// Callers remembered, all callers together as one.
    pub(super) fn len(&self) -> usize {
        let is_used = |cell: &L::Cell| cell.update(|state| *state != L::State::default());
        let named = self.named.values().filter(|(_, cell)| is_used(cell)).count();
        self.keyed.len() + named + usize::from(is_used(&self.all))
    }

    fn named(&self, key: u64) -> Option<&(L, L::Cell)> {
        if self.named.is_empty() { None } else { self.named.get(&key) }
    }
}
