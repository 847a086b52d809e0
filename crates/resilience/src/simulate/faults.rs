use std::num::NonZeroU32;
use std::time::Duration;

use intertie_core::quantity::Ratio;

use super::config::{Effect, FaultConfig};

/// The script: what is in force when. Times count from the beginning of the simulation.
#[derive(Debug, Clone)]
pub(super) struct Faults {
    all: Vec<FaultConfig>,
    /// When it stands still: begin and end, in order and apart from each other.
    hangs: Vec<(Duration, Duration)>,
}

/// What is in force at one time, of several faults of a kind the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Conditions {
    pub(super) refuses: bool,
    pub(super) throttle: Option<Duration>,
    pub(super) fail: Ratio,
    /// What latencies are multiplied by: of several the product.
    pub(super) slow: u32,
    pub(super) capacity: Option<NonZeroU32>,
}

impl Faults {
    pub(super) fn new(all: Vec<FaultConfig>) -> Self {
        let hanging = all.iter().filter(|fault| fault.effect == Effect::Hang);
        let mut ordered: Vec<_> = hanging.map(|fault| (fault.at, fault.ends())).collect();
        ordered.sort_unstable();
        let mut hangs: Vec<(Duration, Duration)> = Vec::new();
        for (begin, end) in ordered {
            match hangs.last_mut() {
                Some(last) if begin <= last.1 => last.1 = last.1.max(end),
                _ => hangs.push((begin, end)),
            }
        }
        Self { all, hangs }
    }

    /// What is in force at `now`. A fault is, from its beginning until just before its end.
    pub(super) fn at(&self, now: Duration) -> Conditions {
        let mut conditions =
            Conditions { refuses: false, throttle: None, fail: Ratio::ZERO, slow: 1, capacity: None };
        for fault in self.all.iter().filter(|fault| fault.at <= now && now < fault.ends()) {
            match fault.effect {
                Effect::Refuse => conditions.refuses = true,
                Effect::Hang => {}
                Effect::Fail(share) => conditions.fail = conditions.fail.max(share),
                Effect::Slow(times) => conditions.slow = conditions.slow.saturating_mul(times.get()),
                Effect::Capacity(servers) => {
                    let least = conditions.capacity.map_or(servers, |capacity| capacity.min(servers));
                    conditions.capacity = Some(least);
                }
                Effect::Throttle(hint) => conditions.throttle = conditions.throttle.max(Some(hint)),
            }
        }
        conditions
    }

    /// When something begins or ends next after `now`.
    pub(super) fn next_edge(&self, now: Duration) -> Option<Duration> {
        self.all.iter().flat_map(|fault| [fault.at, fault.ends()]).filter(|edge| *edge > now).min()
    }

    /// The time until `now` in which work made progress.
    pub(super) fn worked(&self, now: Duration) -> Duration {
        let hung = |(begin, end): &(Duration, Duration)| now.min(*end).saturating_sub(*begin);
        now - self.hangs.iter().map(hung).sum::<Duration>()
    }

    /// When that much time in which work makes progress will have passed.
    pub(super) fn when_worked(&self, worked: Duration) -> Duration {
        let mut at = worked;
        for (begin, end) in &self.hangs {
            if at > *begin {
                at += *end - *begin;
            }
        }
        at
    }
}
