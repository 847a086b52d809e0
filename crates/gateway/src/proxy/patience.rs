//! How long a client may let us wait for its body before the service answers. Pure.

use std::time::Duration;

use crate::config::ClientLimitsConfig;
use crate::wire::Violation;

/// Its two bounds: each pause has one, and all pauses together have one that grows with what came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pause_max: Duration,
    /// Bytes a second, above zero.
    rate_min: u64,
}

impl Patience {
    pub(super) fn new(limits: &ClientLimitsConfig) -> Self {
        Self { pause_max: limits.body_timeout, rate_min: limits.body_rate_min.bytes().max(1) }
    }

    /// How long a pause may be that begins after `received` bytes, for which the gateway has `waited`, and the bound
    /// that ends it. Time in which nobody asked the client for more is nobody's wait.
    pub(super) fn pause(&self, received: u64, waited: Duration) -> (Duration, Violation) {
        let earned = Duration::from_secs(received / self.rate_min)
            + Duration::from_secs(1).mul_f64((received % self.rate_min) as f64 / self.rate_min as f64);
        let left = self.pause_max.saturating_add(earned).saturating_sub(waited);
        if left < self.pause_max {
            (left, Violation::BodyRate)
        } else {
            (self.pause_max, Violation::BodyTimeout)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn patience(pause_max: Duration, rate_min: u64) -> Patience {
        Patience { pause_max, rate_min }
    }

    #[test]
    fn a_pause_is_bounded_and_so_are_all_of_them() {
        let patience = patience(30 * SECOND, 100);
        for (received, waited, left, by) in [
            (0, 0, 30, Violation::BodyTimeout),
            (1_000, 10, 30, Violation::BodyTimeout),
            (1_000, 11, 29, Violation::BodyRate),
            (0, 29, 1, Violation::BodyRate),
            (0, 31, 0, Violation::BodyRate),
            (u64::MAX, 1_000_000, 30, Violation::BodyTimeout),
        ] {
            assert_eq!(patience.pause(received, waited * SECOND), (left * SECOND, by), "{received} {waited}");
        }
    }

    proptest! {
        /// Whatever a client sends when, it is not waited for longer than the bound says, and one that sends as
        /// quickly as it must, without a long pause, is not cut off.
        #[test]
        fn a_client_is_waited_for_as_long_as_it_earns(
            pieces in prop::collection::vec((1_u64..5_000, 1_u64..40_000), 1..60),
            rate in 1_u64..2_000,
        ) {
            let patience = patience(30 * SECOND, rate);
            let (mut received, mut waited) = (0, Duration::ZERO);
            for (bytes, millis) in pieces {
                let pause = Duration::from_millis(millis);
                let (left, by) = patience.pause(received, waited);
                prop_assert!(left <= 30 * SECOND);
                if pause > left {
                    let earned = received as f64 / rate as f64;
                    let is_slow = (waited + pause).as_secs_f64() > 30.0 + earned - 1e-6;
                    prop_assert_eq!(is_slow && by == Violation::BodyRate || pause > 30 * SECOND, true);
                    break;
                }
                waited += pause;
                received += bytes;
            }
            let bound = 30.0 + received as f64 / rate as f64;
            prop_assert!(waited.as_secs_f64() <= bound + 1e-6);
        }
    }
}
