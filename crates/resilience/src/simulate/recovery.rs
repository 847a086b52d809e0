use std::time::Duration;

use intertie_core::quantity::Ratio;

use super::outcome::CallRecord;

/// How long all must be well before a system counts as recovered.
const STEADY: Duration = Duration::from_secs(5);

/// When of the calls in [`STEADY`] this share succeeds, all is well.
const WELL: Ratio = Ratio::from_percent(95);

/// The time from `from` to the first call that succeeds and begins five seconds in which 95% of the calls
/// do. `None` when there is none of which the simulation, of length `duration`, saw all five seconds. Zero
/// when that is the very first call after `from`. `calls` are in the order in which they began.
pub(super) fn recovered_after(calls: &[CallRecord], from: Duration, duration: Duration) -> Option<Duration> {
    let first = calls.partition_point(|call| call.began < from);
    let after = &calls[first..];
    // A window over `after`: what left it is subtracted, what enters it is added.
    let (mut end, mut succeeded) = (0, 0_u64);
    for (begin, call) in after.iter().enumerate() {
        let until = call.began + STEADY;
        if until > duration {
            return None;
        }
        while after.get(end).is_some_and(|call| call.began < until) {
            succeeded += u64::from(after[end].outcome.is_ok());
            end += 1;
        }
        if call.outcome.is_ok() {
            if WELL.is_reached_by(succeeded, (end - begin) as u64) {
                return Some(if begin == 0 { Duration::ZERO } else { call.began - from });
            }
            succeeded -= 1;
        }
    }
    None
}
