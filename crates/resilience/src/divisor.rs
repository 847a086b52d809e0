/// Division by a number that stays the same, as a multiplication: a few cycles instead of a few tens
/// (Torbjörn Granlund and Peter Montgomery, *Division by Invariant Integers using Multiplication*, 1994).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Divisor {
    divisor: u64,
    /// In units of 2⁻⁶⁴, rounded down.
    reciprocal: u64,
}

impl Divisor {
    /// Divides by `divisor`, or by one when that is zero.
    pub(crate) fn new(divisor: u64) -> Self {
        let divisor = divisor.max(1);
        Self { divisor, reciprocal: u64::MAX / divisor }
    }

    pub(crate) fn get(self) -> u64 {
        self.divisor
    }

    /// `number` divided, rounded down.
    #[inline]
    pub(crate) fn divide(self, number: u64) -> u64 {
        let estimate = ((u128::from(number) * u128::from(self.reciprocal)) >> 64) as u64;
        // The divisor times its reciprocal is at least 2⁶⁴ - divisor: the estimate falls short by at most one.
        let rest = number - estimate * self.divisor;
        estimate + u64::from(rest >= self.divisor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn numbers() -> impl Strategy<Value = u64> {
        prop_oneof![any::<u64>(), 0..100_u64, u64::MAX - 100..=u64::MAX, (0..64_u32).prop_map(|bit| 1 << bit)]
    }

    proptest! {
        #[test]
        fn it_divides(number in numbers(), divisor in numbers().prop_filter("not zero", |divisor| *divisor > 0)) {
            prop_assert_eq!(Divisor::new(divisor).divide(number), number / divisor);
        }

        #[test]
        fn it_divides_around_multiples(factor in any::<u32>(), divisor in 1..u64::from(u32::MAX), off in 0..3_u64) {
            let number = (u64::from(factor) * divisor).saturating_add(1).saturating_sub(off);
            prop_assert_eq!(Divisor::new(divisor).divide(number), number / divisor);
        }
    }
}
