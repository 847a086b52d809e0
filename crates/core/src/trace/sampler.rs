use std::fmt;

use crate::quantity::Ratio;

/// The bits of a trace id that decide: its last 56, which are random.
const RANDOMNESS: u64 = (1 << 56) - 1;

/// Decides by the trace id whether a trace is recorded, so that everyone who samples at the same ratio or a
/// greater one records the same traces.
///
/// OpenTelemetry's consistent probability sampling
/// (<https://opentelemetry.io/docs/specs/otel/trace/tracestate-probability-sampling/>): a trace is recorded when
/// its randomness, the last 56 bits of its id, is not below the rejection threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampler {
    /// From 0, which rejects nothing, to 2^56, which rejects everything.
    threshold: u64,
}

impl Sampler {
    /// Records `ratio` of all traces.
    pub fn new(ratio: Ratio) -> Self {
        Self { threshold: (1 << 56) - ratio.of(1 << 56) }
    }

    /// Whether the trace is recorded.
    pub fn samples(self, trace_id: u128) -> bool {
        trace_id as u64 & RANDOMNESS >= self.threshold
    }

    /// The `tracestate` entry that tells others the threshold, such as `ot=th:fd70a3d70a3d71`: 14 hexadecimal
    /// digits without the zeros at their end. `None` when nothing is recorded.
    pub fn tracestate(self) -> Option<String> {
        (self.threshold <= RANDOMNESS).then(|| format!("ot={self}"))
    }
}

impl fmt::Display for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:014x}", self.threshold);
        let digits = digits.trim_end_matches('0');
        write!(f, "th:{}", if digits.is_empty() { "0" } else { digits })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn thresholds_read_as_the_specification_writes_them() {
        let state = |millionths| Sampler::new(Ratio::from_millionths(millionths)).tracestate();
        assert_eq!(state(1_000_000).as_deref(), Some("ot=th:0"));
        assert_eq!(state(500_000).as_deref(), Some("ot=th:8"));
        assert_eq!(state(250_000).as_deref(), Some("ot=th:c"));
        assert_eq!(state(10_000).as_deref(), Some("ot=th:fd70a3d70a3d71"));
        assert_eq!(state(0), None);
    }

    #[test]
    fn a_boundary_belongs_to_what_is_recorded() {
        let half = Sampler::new(Ratio::from_percent(50));
        assert!(half.samples(1 << 55));
        assert!(!half.samples((1 << 55) - 1));
        assert!(half.samples(0xff << 56 | 1 << 55), "only the last 56 bits count");
        assert!(!half.samples(u128::MAX << 56));
        assert!(!Sampler::new(Ratio::ZERO).samples(u128::MAX));
        assert!(Sampler::new(Ratio::ONE).samples(1 << 56));
    }

    proptest! {
        #[test]
        fn what_a_smaller_ratio_records_a_greater_one_records_too(
            trace_id: u128, one in 0_u32..=1_000_000, other in 0_u32..=1_000_000,
        ) {
            let records = |ratio| Sampler::new(Ratio::from_millionths(ratio)).samples(trace_id);
            prop_assert!(records(one.max(other)) || !records(one.min(other)));
        }
    }

    #[test]
    fn as_many_are_recorded_as_the_ratio_says() {
        let (tenth, mut random) = (Sampler::new(Ratio::from_percent(10)), fastrand::Rng::with_seed(7));
        let recorded = (0..100_000).filter(|_| tenth.samples(random.u128(..))).count();
        assert!((9_700..=10_300).contains(&recorded), "{recorded}");
    }
}
