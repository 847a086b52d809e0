//! How long to wait before trying again.

use std::time::Duration;

/// The wait before the `repetition`-th repetition, counted from 1: `base` at first, each time `multiplier` times as long,
/// and never above `cap`. Jitter is the caller's.
pub fn exponential(base: Duration, multiplier: u32, repetition: u32, cap: Duration) -> Duration {
    let factor = u128::from(multiplier).saturating_pow(repetition.saturating_sub(1));
    Duration::from_nanos_u128(base.as_nanos().saturating_mul(factor).min(cap.as_nanos()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn waits_grow_up_to_the_cap() {
        let wait = |repetition| exponential(Duration::from_secs(1), 2, repetition, Duration::from_secs(300));
        assert_eq!(
            (1..=6).map(|repetition| wait(repetition).as_secs()).collect::<Vec<_>>(),
            [1, 2, 4, 8, 16, 32]
        );
        assert_eq!(wait(0), Duration::from_secs(1));
        assert_eq!(wait(9).as_secs(), 256);
        assert_eq!([10, 40, u32::MAX].map(|repetition| wait(repetition).as_secs()), [300; 3]);
    }

    proptest! {
        #[test]
        fn each_wait_is_the_one_before_times_the_multiplier_or_the_cap(
            base in 1..u64::MAX,
            multiplier in 1..u32::MAX,
            repetition in 1..200u32,
            cap in 0..u64::MAX,
        ) {
            let (base, cap) = (Duration::from_nanos(base), Duration::from_nanos(cap));
            let [wait, next] = [repetition, repetition + 1].map(|nth| exponential(base, multiplier, nth, cap));
            prop_assert_eq!(exponential(base, multiplier, 1, cap), base.min(cap));
            prop_assert_eq!(next, wait.saturating_mul(multiplier).min(cap));
        }
    }
}
