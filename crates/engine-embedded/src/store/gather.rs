/// Learns for how many callers a commit is worth delaying.
///
/// Callers that wait for their answer before they send again come back right after a commit, and those that came
/// during it wait already: without a short wait they fall into two groups that take turns, each with half of the
/// callers and a sync of its own. Callers that do not come back are not waited for: after a wait in vain the next
/// ones are skipped, twice as many each time.
#[derive(Debug)]
pub(super) struct Gather {
    /// How many of those who were just answered are expected back.
    returning: usize,
    /// Groups that commit at once before the next wait is tried.
    skipped: u32,
    /// How many are skipped after the next wait in vain.
    penalty: u32,
}

/// The most groups between two tries: callers who change their ways are noticed after so many.
const PENALTY_MAX: u32 = 64;

impl Gather {
    pub(super) fn new() -> Self {
        Self { returning: 1, skipped: 0, penalty: 1 }
    }

    /// How many commands the next group waits for, when `answered` callers are about to be answered and `waiting`
    /// commands came meanwhile.
    pub(super) fn target(&mut self, answered: usize, waiting: usize) -> usize {
        if self.skipped > 0 {
            self.skipped -= 1;
            return waiting;
        }
        waiting.saturating_add(answered.min(self.returning))
    }

    /// What became of the wait for `target` commands, of which `waiting` were there before it: `gathered` are.
    pub(super) fn observe(&mut self, waiting: usize, target: usize, gathered: usize) {
        if target <= waiting {
            return;
        }
        let came = gathered.saturating_sub(waiting);
        if gathered >= target {
            self.returning = self.returning.max(came).saturating_mul(2);
            self.penalty = 1;
            return;
        }
        self.returning = came.max(1);
        if came == 0 {
            self.skipped = self.penalty;
            self.penalty = (self.penalty * 2).min(PENALTY_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Runs groups for `callers` of whom each sends again at once when it is answered; returns their sizes.
    fn closed_loop(callers: usize, first: usize, groups: usize) -> Vec<usize> {
        let mut gather = Gather::new();
        let (mut group, mut sizes) = (first, Vec::new());
        for _ in 0..groups {
            let waiting = callers - group;
            let target = gather.target(group, waiting);
            gather.observe(waiting, target, target.max(1));
            group = target.max(1);
            sizes.push(group);
        }
        sizes
    }

    #[test]
    fn callers_in_two_half_groups_soon_share_one() {
        let sizes = closed_loop(64, 32, 12);
        assert_eq!(sizes.last(), Some(&64), "{sizes:?}");
    }

    proptest! {
        #[test]
        fn callers_who_come_back_at_once_end_up_in_one_group(callers in 1_usize..500, first in 1_usize..500) {
            let sizes = closed_loop(callers, first.min(callers), 16);
            prop_assert_eq!(*sizes.last().expect("groups"), callers);
        }

        #[test]
        fn callers_who_never_come_back_are_waited_for_ever_less(groups in 100_usize..2000) {
            let mut gather = Gather::new();
            let mut in_vain = 0;
            for _ in 0..groups {
                let target = gather.target(1, 1);
                in_vain += usize::from(target > 1);
                gather.observe(1, target, 1);
            }
            prop_assert!(in_vain <= 8 + groups / PENALTY_MAX as usize, "{in_vain} of {groups}");
        }

        #[test]
        fn nobody_waits_for_more_than_were_answered(
            history in proptest::collection::vec((0_usize..300, 0_usize..300, 0_usize..600), 1..100),
        ) {
            let mut gather = Gather::new();
            for (answered, waiting, gathered) in history {
                let target = gather.target(answered, waiting);
                prop_assert!((waiting..=waiting + answered).contains(&target));
                gather.observe(waiting, target, gathered.max(waiting));
            }
        }
    }
}
