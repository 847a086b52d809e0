use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};

use intertie_core::clock::Instant;

use super::{Decision, Limit};

/// One quota for each key, in bounded memory.
///
/// Keys are 64-bit hashes that the caller made with a secret seed. When `keys_max` keys are remembered,
/// idle ones are forgotten; a new key that finds no room shares one common quota with the others that
/// found none, so that a flood of made-up keys gains nothing and costs nothing.
#[derive(Debug)]
pub struct Keyed<L: Limit> {
    limit: L,
    states: HashMap<u64, L::State, BuildHasherDefault<Prehashed>>,
    keys_max: usize,
    overflow: L::State,
    swept_at: Instant,
}

impl<L: Limit> Keyed<L> {
    /// No keys yet.
    pub fn new(limit: L, keys_max: usize) -> Self {
        Self {
            limit,
            states: HashMap::default(),
            keys_max,
            overflow: L::State::default(),
            swept_at: Instant::ORIGIN,
        }
    }

    /// Decides about a call of `cost` permits by the caller `key`.
    pub fn decide(&mut self, key: u64, now: Instant, cost: u64) -> Decision {
        if self.states.len() >= self.keys_max && !self.states.contains_key(&key) {
            self.sweep(now);
        }
        let full = self.states.len() >= self.keys_max;
        let state = match self.states.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(_) if full => &mut self.overflow,
            Entry::Vacant(new) => new.insert(L::State::default()),
        };
        self.limit.decide(state, now, cost)
    }

    /// Remembered keys.
    pub fn len(&self) -> usize {
        self.states.len()
    }

    /// Whether no key is remembered.
    pub fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// Forgets idle keys, at most once in the time that a key takes to become idle.
    fn sweep(&mut self, now: Instant) {
        if now >= self.swept_at + self.limit.memory() {
            self.states.retain(|_, state| !self.limit.is_idle(state, now));
            self.swept_at = now;
        }
    }
}

/// Keys are hashes already.
#[derive(Debug, Default)]
pub(super) struct Prehashed(u64);

impl Hasher for Prehashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only u64 keys are hashed");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
