//! The heads of what is ready, in memory, so that the next message is known without looking for it.
//!
//! A lane is what is ready of one priority, in the order of positions: one for messages that have waited
//! since they were stored, one for those that came back. Two, because in the first of them the oldest is the
//! first, so that nobody has to look for it.

use std::collections::{BTreeMap, BTreeSet};

/// Which lane. Lower ones come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LaneId(u16);

impl LaneId {
    /// That of messages with this priority.
    pub(super) fn of(priority: u8, is_fresh: bool) -> Self {
        Self(u16::from(u8::MAX - priority) << 1 | u16::from(!is_fresh))
    }

    pub(super) fn from_number(number: u16) -> Self {
        Self(number)
    }

    /// As it stands in the database.
    pub(super) fn number(self) -> u16 {
        self.0
    }

    pub(super) fn is_fresh(self) -> bool {
        self.0 & 1 == 0
    }

    fn urgency(self) -> u16 {
        self.0 >> 1
    }
}

/// The lanes of one queue that have something in them, each with its first positions.
#[derive(Debug)]
pub(super) struct Lanes {
    lanes: BTreeMap<LaneId, Lane>,
    heads: usize,
}

#[derive(Debug, Default)]
struct Lane {
    first: BTreeSet<u64>,
    /// Whether these are all that it has.
    is_whole: bool,
}

impl Lanes {
    /// Of these lanes, each of which has something, and of which `heads` positions at least are kept in memory.
    pub(super) fn new(lanes: impl IntoIterator<Item = LaneId>, heads: usize) -> Self {
        Self { lanes: lanes.into_iter().map(|lane| (lane, Lane::default())).collect(), heads }
    }

    pub(super) fn insert(&mut self, lane: LaneId, position: u64) {
        let whole = || Lane { first: BTreeSet::new(), is_whole: true };
        let own = self.lanes.entry(lane).or_insert_with(whole);
        if own.is_whole || own.first.last().is_some_and(|last| position < *last) {
            own.first.insert(position);
        }
        if own.first.len() > self.heads * 2 {
            let last = own.first.iter().nth(self.heads).copied();
            if let Some(last) = last {
                own.first.split_off(&last);
                own.is_whole = false;
            }
        }
    }

    pub(super) fn remove(&mut self, lane: LaneId, position: u64) {
        let Some(own) = self.lanes.get_mut(&lane) else { return };
        own.first.remove(&position);
        if own.first.is_empty() && own.is_whole {
            self.lanes.remove(&lane);
        }
    }

    /// Whether anything is ready, as far as is known: a lane whose heads are used up may have nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// The lanes, in their order.
    pub(super) fn lanes(&self) -> impl Iterator<Item = LaneId> {
        self.lanes.keys().copied()
    }

    /// The next message to be delivered. `load` reads the first so many positions of a lane, of which none is
    /// in memory.
    pub(super) fn first<E>(
        &mut self,
        mut load: impl FnMut(LaneId, usize) -> Result<Vec<u64>, E>,
    ) -> Result<Option<(LaneId, u64)>, E> {
        loop {
            let Some((lane, own)) = self.lanes.first_key_value() else { return Ok(None) };
            let urgency = lane.urgency();
            let mut short = own.first.is_empty().then_some(*lane);
            let mut found = own.first.first().map(|position| (*lane, *position));
            // The other lane of the same priority, if there is one.
            if let Some((other, own)) =
                self.lanes.iter().nth(1).filter(|(other, _)| other.urgency() == urgency)
            {
                short = short.or_else(|| own.first.is_empty().then_some(*other));
                let position = own.first.first().map(|position| (*other, *position));
                found = found.into_iter().chain(position).min_by_key(|(_, position)| *position);
            }
            let Some(lane) = short else { return Ok(found) };
            let positions = load(lane, self.heads)?;
            if positions.is_empty() {
                self.lanes.remove(&lane);
            } else {
                let is_whole = positions.len() < self.heads;
                self.lanes.insert(lane, Lane { first: positions.into_iter().collect(), is_whole });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn higher_priorities_come_first() {
        let lanes =
            [LaneId::of(255, true), LaneId::of(255, false), LaneId::of(1, true), LaneId::of(0, false)];
        assert!(lanes.is_sorted());
        assert!(lanes[0].is_fresh() && !lanes[1].is_fresh());
        assert!(lanes.iter().all(|lane| LaneId::from_number(lane.number()) == *lane));
    }

    proptest! {
        #[test]
        fn the_first_is_always_the_first_of_all_and_memory_is_bounded(
            steps in proptest::collection::vec((0_u8..3, any::<bool>(), 0_u64..40, 0_u8..4), 1..200),
            heads in 1_usize..5,
        ) {
            let mut stored: BTreeMap<LaneId, BTreeSet<u64>> = BTreeMap::new();
            let mut lanes = Lanes::new([], heads);
            for (priority, is_fresh, position, step) in steps {
                let lane = LaneId::of(priority, is_fresh);
                let load = |stored: &BTreeMap<LaneId, BTreeSet<u64>>, lane, count| {
                    Ok::<_, Infallible>(stored.get(&lane).into_iter().flatten().take(count).copied().collect())
                };
                match step {
                    0 | 1 => {
                        stored.entry(lane).or_default().insert(position);
                        lanes.insert(lane, position);
                    }
                    2 => {
                        stored.entry(lane).or_default().remove(&position);
                        lanes.remove(lane, position);
                    }
                    _ => {
                        let Ok(first) = lanes.first(|lane, count| load(&stored, lane, count));
                        if let Some((lane, position)) = first {
                            stored.entry(lane).or_default().remove(&position);
                            lanes.remove(lane, position);
                        }
                    }
                }
                stored.retain(|_, positions| !positions.is_empty());
                let all = stored.iter().flat_map(|(lane, positions)| positions.iter().map(|at| (*lane, *at)));
                let expected = all.min_by_key(|(lane, position)| (lane.urgency(), *position));
                let Ok(first) = lanes.first(|lane, count| load(&stored, lane, count));
                prop_assert_eq!(first.map(|(lane, at)| (lane.urgency(), at)), expected.map(|(lane, at)| (lane.urgency(), at)));
                prop_assert!(lanes.lanes.values().all(|lane| lane.first.len() <= heads * 2));
                prop_assert!(lanes.is_empty() == stored.is_empty() || !lanes.is_empty());
            }
        }
    }
}
