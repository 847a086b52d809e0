use proptest::prelude::*;

use super::*;
use crate::simulate::faults::Faults;

fn hang(at: u64, lasts: u64) -> FaultConfig {
    FaultConfig { at: millis(at), lasts: millis(lasts), effect: Effect::Hang }
}

#[test]
fn of_several_faults_of_a_kind_the_worst_counts() {
    let both = |one, other| Faults::new(vec![fault(1, 9, one), fault(5, 9, other)]).at(secs(7));
    let percent = |percent| Effect::Fail(Ratio::from_percent(percent));
    assert_eq!(both(percent(20), percent(70)).fail, Ratio::from_percent(70));
    assert_eq!(both(Effect::Slow(number(3)), Effect::Slow(number(4))).slow, 12);
    let capacity = both(Effect::Capacity(number(2)), Effect::Capacity(number(5))).capacity;
    assert_eq!(capacity, Some(number(2)));
    let throttle = both(Effect::Throttle(secs(1)), Effect::Throttle(secs(9))).throttle;
    assert_eq!(throttle, Some(secs(9)));
}

#[test]
fn a_fault_is_in_force_from_its_beginning_until_just_before_its_end() {
    let faults = Faults::new(vec![fault(10, 5, Effect::Refuse)]);
    let refuses = |at| faults.at(millis(at)).refuses;
    assert_eq!([9_999, 10_000, 14_999, 15_000].map(refuses), [false, true, true, false]);
    let edge = |at| faults.next_edge(millis(at));
    assert_eq!((edge(0), edge(10_000), edge(15_000)), (Some(secs(10)), Some(secs(15)), None));
}

proptest! {
    /// Work makes progress in each millisecond that no hang covers, however many cover it.
    #[test]
    fn time_that_is_worked_is_time_without_a_hang(
        hangs in prop::collection::vec((0..60_u64, 1..30_u64), 0..6),
        at in 0..100_u64,
    ) {
        let faults = Faults::new(hangs.iter().map(|(at, lasts)| hang(*at, *lasts)).collect());
        let hung = |at: u64| hangs.iter().any(|(begin, lasts)| (*begin..begin + lasts).contains(&at));
        let worked = |until: u64| (0..until).filter(|at| !hung(*at)).count() as u64;
        prop_assert_eq!(faults.worked(millis(at)), millis(worked(at)));
        let first = (0..1_000).find(|until| worked(*until) == at).expect("hangs end");
        prop_assert_eq!(faults.when_worked(millis(at)), millis(first));
    }
}
