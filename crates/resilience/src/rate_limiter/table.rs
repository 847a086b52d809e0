use intertie_core::clock::Instant;

use super::limit::Limit;

/// One shard of a keyed limiter: an open-addressed table of cache lines, no lock, no clock.
///
/// A line holds `SLOTS` callers. A caller's home is a line given by its key; when that is full, the next
/// one. Looking up a caller therefore costs one cache miss nearly always. The table needs no sweep: an
/// idle caller is as good as one never seen, so its slot is taken over in place by the next newcomer that
/// comes by.
///
/// Invariants: every line from a caller's home up to the one before its own is full, so that a look-up
/// may stop at the first empty slot; at most seven eighths of the slots are in use, so that there is one.
#[derive(Debug)]
pub(super) struct Table<L: Limit, const SLOTS: usize> {
    /// As many as a power of two, or none yet.
    lines: Box<[Line<L, SLOTS>]>,
    remembered: usize,
    /// Where the search for idle callers goes on.
    hand: usize,
}

/// For a token bucket, four pairs of 16 bytes: exactly one cache line.
#[derive(Debug)]
#[repr(align(64))]
struct Line<L: Limit, const SLOTS: usize>([Slot<L>; SLOTS]);

/// A caller, or nobody when the state is the default.
#[derive(Debug)]
struct Slot<L: Limit> {
    key: u64,
    state: L::State,
}

/// A slot's position: line, then slot in the line.
type Position = (usize, usize);

/// Lines that one search for idle callers looks at.
const SEARCHED_LINES: usize = 8;

/// What a look-up found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// The caller.
    Known(Position),
    /// An idle caller's slot on the newcomer's way, to be taken over.
    Idle(Position),
    /// Neither.
    Nothing,
}

impl<L: Limit> Slot<L> {
    fn empty() -> Self {
        Self { key: 0, state: L::State::default() }
    }

    fn is_empty(&self) -> bool {
        self.state == L::State::default()
    }
}

impl<L: Limit, const SLOTS: usize> Line<L, SLOTS> {
    fn has_room(&self) -> bool {
        self.0.iter().any(Slot::is_empty)
    }
}

impl<L: Limit, const SLOTS: usize> Default for Table<L, SLOTS> {
    fn default() -> Self {
        Self { lines: Box::default(), remembered: 0, hand: 0 }
    }
}

impl<L: Limit, const SLOTS: usize> Table<L, SLOTS> {
    /// Callers in the table, the idle ones among them that nobody took over yet.
    pub(super) fn remembered(&self) -> usize {
        self.remembered
    }

    /// Looks for `key`.
    pub(super) fn find(&self, key: u64, limit: &L, now: Instant) -> Found {
        let mut found = Found::Nothing;
        if self.lines.is_empty() {
            return found;
        }
        let mut line = self.home(key);
        loop {
            let mut has_room = false;
            for (slot, caller) in self.lines[line].0.iter().enumerate() {
                if caller.is_empty() {
                    has_room = true;
                } else if caller.key == key {
                    return Found::Known((line, slot));
                } else if found == Found::Nothing && limit.is_idle(&caller.state, now) {
                    found = Found::Idle((line, slot));
                }
            }
            if has_room {
                return found;
            }
            line = self.next(line);
        }
    }

    /// The state of a known caller, to be changed.
    pub(super) fn change<R>(&mut self, (line, slot): Position, change: impl FnOnce(&mut L::State) -> R) -> R {
        let answer = change(&mut self.lines[line].0[slot].state);
        if self.lines[line].0[slot].is_empty() {
            self.remove((line, slot));
        }
        answer
    }

    /// Gives an idle caller's slot to `key`.
    pub(super) fn take_over(&mut self, (line, slot): Position, key: u64, state: L::State) {
        self.lines[line].0[slot] = Slot { key, state };
    }

    /// Remembers a caller that [`Table::find`] did not find. Returns how many idle ones were forgotten to
    /// make room.
    pub(super) fn insert(&mut self, key: u64, state: L::State, limit: &L, now: Instant) -> usize {
        let slots = self.lines.len() * SLOTS;
        let forgotten = if (self.remembered + 1) * 8 > slots * 7 { self.rebuild(limit, now) } else { 0 };
        self.place(Slot { key, state });
        self.remembered += 1;
        forgotten
    }

    /// Forgets one idle caller, if there is one among the next lines.
    pub(super) fn forget_one(&mut self, limit: &L, now: Instant) -> bool {
        for _ in 0..SEARCHED_LINES.min(self.lines.len()) {
            let line = self.hand & (self.lines.len() - 1);
            let idle = self.lines[line]
                .0
                .iter()
                .position(|caller| !caller.is_empty() && limit.is_idle(&caller.state, now));
            if let Some(slot) = idle {
                self.remove((line, slot));
                return true;
            }
            self.hand = self.next(line);
        }
        false
    }

    /// Drops what is idle and leaves at least a quarter of the slots free, in twice the lines if need be.
    fn rebuild(&mut self, limit: &L, now: Instant) -> usize {
        let before = self.remembered;
        let is_live = |caller: &Slot<L>| !caller.is_empty() && !limit.is_idle(&caller.state, now);
        let live = self.lines.iter().flat_map(|line| &line.0).filter(|caller| is_live(caller)).count();
        let mut lines = self.lines.len().max(1);
        if (live + 1) * 4 > lines * SLOTS * 3 {
            lines *= 2;
        }
        let fresh = (0..lines).map(|_| Line(std::array::from_fn(|_| Slot::empty()))).collect();
        for caller in std::mem::replace(&mut self.lines, fresh).into_iter().flat_map(|line| line.0) {
            if is_live(&caller) {
                self.place(caller);
            }
        }
        self.remembered = live;
        before - live
    }

    /// Puts a caller into the first empty slot on its way.
    fn place(&mut self, caller: Slot<L>) {
        let mut line = self.home(caller.key);
        loop {
            if let Some(slot) = self.lines[line].0.iter_mut().find(|slot| slot.is_empty()) {
                *slot = caller;
                return;
            }
            line = self.next(line);
        }
    }

    /// Empties a slot, and moves up callers that had passed by its line for want of room in it.
    fn remove(&mut self, (line, slot): Position) {
        self.remembered -= 1;
        let mut hole = (line, slot);
        let had_room = |lines: &[Line<L, SLOTS>], (line, slot): Position| {
            lines[line].0.iter().enumerate().any(|(other, caller)| other != slot && caller.is_empty())
        };
        if !had_room(&self.lines, hole) {
            let mut line = self.next(hole.0);
            while line != hole.0 {
                let passed = self.lines[line].0.iter().position(|caller| {
                    !caller.is_empty()
                        && self.distance(self.home(caller.key), line) >= self.distance(hole.0, line)
                });
                let has_room = self.lines[line].has_room();
                if let Some(slot) = passed {
                    self.lines[hole.0].0[hole.1] =
                        std::mem::replace(&mut self.lines[line].0[slot], Slot::empty());
                    hole = (line, slot);
                }
                if has_room {
                    break;
                }
                line = self.next(line);
            }
        }
        self.lines[hole.0].0[hole.1] = Slot::empty();
    }

    fn home(&self, key: u64) -> usize {
        // The low bits chose the shard.
        (key >> SHARD_BITS) as usize & (self.lines.len() - 1)
    }

    fn next(&self, line: usize) -> usize {
        (line + 1) & (self.lines.len() - 1)
    }

    fn distance(&self, from: usize, to: usize) -> usize {
        to.wrapping_sub(from) & (self.lines.len() - 1)
    }

    #[cfg(test)]
    pub(super) fn lines(&self) -> usize {
        self.lines.len()
    }

    #[cfg(test)]
    pub(super) fn line_bytes(&self) -> usize {
        size_of::<Line<L, SLOTS>>()
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.lines.iter().flat_map(|line| &line.0).filter(|caller| !caller.is_empty()).count()
    }
}

/// Low bits of a key that may have chosen its shard.
pub(super) const SHARD_BITS: u32 = 8;
