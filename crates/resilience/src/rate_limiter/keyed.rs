use std::hash::Hasher;
use std::sync::{OnceLock, PoisonError};

use intertie_core::clock::Instant;

use super::limit::{Limit, StateCell};
use super::table::{Found, SHARD_BITS, Table};
use crate::sync::{AtomicUsize, Mutex, MutexGuard, Ordering};

/// One quota for each key, in bounded memory, under a lock for each shard.
///
/// Keys are 64-bit hashes made with a secret seed. When `keys_max` keys are remembered, a new one takes
/// the place of an idle one; where it finds none it shares one common quota with the others that found
/// none, so that a flood of made-up keys gains nothing and costs nothing.
///
/// # Layout
/// Keys are stored whole, so two callers share a quota only when their 64-bit hashes are equal. A token
/// bucket's slot is 16 bytes, four to a cache line, and a shard grows by doubling when seven eighths are
/// taken, or three quarters by live callers: 18 to 43 bytes for each key, and at most 37 when all are live. What is allocated grows with the callers seen, up to `keys_max`.
#[derive(Debug)]
pub(super) struct Keyed<L: Limit, const SLOTS: usize> {
    /// Made when the first key comes.
    shards: OnceLock<Box<[Shard<L, SLOTS>]>>,
    overflow: L::Cell,
    remembered: AtomicUsize,
    keys_max: usize,
}

#[derive(Debug)]
#[repr(align(64))]
struct Shard<L: Limit, const SLOTS: usize>(Mutex<Table<L, SLOTS>>);

/// Whose quota answered for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// The key's own.
    Key,
    /// The common one of the keys that found no room.
    Strangers,
}

/// A shard serves this many keys at least, so that a newcomer that looks for an idle caller finds one in
/// its own shard when there are some. Under loom two keys are to meet in two shards.
const KEYS_PER_SHARD: usize = if cfg!(intertie_loom) { 1 } else { 1_024 };

impl<L: Limit, const SLOTS: usize> Keyed<L, SLOTS> {
    /// No keys yet.
    pub(super) fn new(keys_max: usize) -> Self {
        Self {
            shards: OnceLock::new(),
            overflow: L::Cell::default(),
            remembered: AtomicUsize::new(0),
            keys_max,
        }
    }

    /// Changes the state of `key`, remembering it if the change leaves something to remember.
    pub(super) fn update<R>(
        &self,
        limit: &L,
        key: u64,
        now: Instant,
        mut change: impl FnMut(&mut L::State) -> R,
    ) -> (R, Owner) {
        let mut table = self.shard(key);
        let found = table.find(key, limit, now);
        if let Found::Known(position) = found {
            let before = table.remembered();
            let answer = table.change(position, change);
            self.remembered.fetch_sub(before - table.remembered(), Ordering::Relaxed);
            return (answer, Owner::Key);
        }
        let is_room = matches!(found, Found::Idle(_)) || self.make_room(&mut table, limit, now);
        if !is_room {
            drop(table);
            return (self.overflow.update(change), Owner::Strangers);
        }
        let mut state = L::State::default();
        let answer = change(&mut state);
        let is_new = state != L::State::default();
        match found {
            Found::Idle(position) if is_new => table.take_over(position, key, state),
            Found::Nothing if is_new => {
                let forgotten = table.insert(key, state, limit, now);
                self.remembered.fetch_sub(forgotten, Ordering::Relaxed);
            }
            Found::Nothing => {
                self.remembered.fetch_sub(1, Ordering::Relaxed);
            }
            _ => {}
        }
        (answer, Owner::Key)
    }

    /// Changes what [`Keyed::update`] changed before, if it is still remembered.
    pub(super) fn revise<R>(
        &self,
        limit: &L,
        key: u64,
        owner: Owner,
        now: Instant,
        change: impl FnMut(&mut L::State) -> R,
    ) -> Option<R> {
        if owner == Owner::Strangers {
            return Some(self.overflow.update(change));
        }
        let mut table = self.shard(key);
        let Found::Known(position) = table.find(key, limit, now) else { return None };
        let before = table.remembered();
        let answer = table.change(position, change);
        self.remembered.fetch_sub(before - table.remembered(), Ordering::Relaxed);
        Some(answer)
    }

    /// Remembered keys, the idle ones among them that nobody replaced yet.
    pub(super) fn len(&self) -> usize {
        self.remembered.load(Ordering::Relaxed)
    }

    /// Counts one key more, in the place of an idle one if need be.
    fn make_room(&self, table: &mut Table<L, SLOTS>, limit: &L, now: Instant) -> bool {
        let below_max = |remembered| (remembered < self.keys_max).then_some(remembered + 1);
        self.remembered.fetch_update(Ordering::Relaxed, Ordering::Relaxed, below_max).is_ok()
            || table.forget_one(limit, now)
    }

    fn shard(&self, key: u64) -> MutexGuard<'_, Table<L, SLOTS>> {
        let shards = self.shards.get_or_init(|| {
            let count = (self.keys_max / KEYS_PER_SHARD).clamp(1, 1 << SHARD_BITS).next_power_of_two();
            (0..count).map(|_| Shard(Mutex::default())).collect()
        });
        shards[key as usize & (shards.len() - 1)].0.lock().unwrap_or_else(PoisonError::into_inner)
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
