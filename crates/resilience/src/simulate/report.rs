use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::config::FaultConfig;
use super::outcome::{CallRecord, Reason};
use super::recovery::recovered_after;

/// What became of the load. Displays as a table; as JSON, durations are seconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// What all chance began with.
    pub seed: u64,
    /// How long calls arrived.
    #[serde(rename = "duration_seconds", serialize_with = "seconds")]
    pub duration: Duration,
    /// Calls that arrived at the outermost tier.
    pub offered: u64,
    /// Calls that succeeded in the end.
    pub succeeded: u64,
    /// The others, by what went wrong.
    pub failed: BTreeMap<Reason, u64>,
    /// Attempts that reached the dependency, refused ones included.
    pub attempts: u64,
    /// How many attempts the dependency got for each call that was offered.
    pub amplification: Amplification,
    /// Of the calls that succeeded, from their callers' point of view; `None` when there was none.
    pub latency: Option<Latencies>,
    /// The faults, and how long their consequences outlasted them.
    pub faults: Vec<FaultReport>,
    /// What happened in each second.
    pub seconds: Vec<Second>,
}

/// Attempts at the dependency for each call that was offered: 1 is no repetition, 0 is nothing but rejections.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Amplification {
    /// Over all the time.
    pub overall: f64,
    /// In the worst second. Repetitions may come later than their calls, so few calls after many can make it
    /// high.
    pub worst_second: f64,
    /// In the worst five seconds.
    pub worst_five_seconds: f64,
}

/// Quantiles of latency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Latencies {
    /// Half of the calls took no longer.
    #[serde(rename = "p50_seconds", serialize_with = "seconds")]
    pub p50: Duration,
    /// 99 of 100 calls took no longer.
    #[serde(rename = "p99_seconds", serialize_with = "seconds")]
    pub p99: Duration,
}

/// A fault and what came after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FaultReport {
    /// As the script says.
    pub fault: FaultConfig,
    /// The time from its end until 95% of the calls of five seconds succeeded; `None`: never.
    #[serde(rename = "recovered_after_seconds", serialize_with = "optional_seconds")]
    pub recovered_after: Option<Duration>,
}

/// One second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Second {
    /// Calls that arrived in it.
    pub offered: u64,
    /// The goodput: those of them that succeeded, then or later.
    pub succeeded: u64,
    /// Attempts that reached the dependency in it.
    pub attempts: u64,
}

impl Report {
    /// `calls` and `attempts` are in order. Attempts may come after `duration`, calls do not.
    pub(super) fn new(
        seed: u64,
        duration: Duration,
        calls: &[CallRecord],
        attempts: &[Duration],
        faults: &[FaultConfig],
    ) -> Self {
        let mut failed = BTreeMap::new();
        for reason in calls.iter().filter_map(|call| call.outcome.err()) {
            *failed.entry(reason).or_default() += 1;
        }
        let mut latencies: Vec<_> =
            calls.iter().filter(|call| call.outcome.is_ok()).map(|call| call.took).collect();
        latencies.sort_unstable();
        let seconds = by_second(duration, calls, attempts);
        let recovery = |fault: &FaultConfig| FaultReport {
            recovered_after: recovered_after(calls, fault.ends(), duration),
            fault: fault.clone(),
        };
        Self {
            seed,
            duration,
            offered: calls.len() as u64,
            succeeded: latencies.len() as u64,
            failed,
            attempts: attempts.len() as u64,
            amplification: Amplification {
                overall: ratio(attempts.len() as u64, calls.len() as u64).unwrap_or_default(),
                worst_second: worst(&seconds, 1),
                worst_five_seconds: worst(&seconds, 5),
            },
            latency: quantile(&latencies, 50)
                .zip(quantile(&latencies, 99))
                .map(|(p50, p99)| Latencies { p50, p99 }),
            faults: faults.iter().map(recovery).collect(),
            seconds,
        }
    }

    /// Whether the consequences of every fault came to an end.
    pub fn has_recovered(&self) -> bool {
        self.faults.iter().all(|fault| fault.recovered_after.is_some())
    }
}

fn by_second(duration: Duration, calls: &[CallRecord], attempts: &[Duration]) -> Vec<Second> {
    let length = duration.as_nanos().div_ceil(1_000_000_000) as usize;
    let mut seconds = vec![Second::default(); length];
    for call in calls {
        // A timer's tick may move a call of the last millisecond past the end.
        let second = (call.began.as_secs() as usize).min(length - 1);
        seconds[second].offered += 1;
        seconds[second].succeeded += u64::from(call.outcome.is_ok());
    }
    for attempt in attempts {
        if let Some(second) = seconds.get_mut(attempt.as_secs() as usize) {
            second.attempts += 1;
        }
    }
    seconds
}

/// The largest amplification over `length` seconds in a row, or over all when there are fewer.
fn worst(seconds: &[Second], length: usize) -> f64 {
    let windows = seconds.windows(length.min(seconds.len()).max(1));
    let of = |window: &[Second]| {
        let sum = |count: fn(&Second) -> u64| window.iter().map(count).sum::<u64>();
        ratio(sum(|second| second.attempts), sum(|second| second.offered))
    };
    windows.filter_map(of).fold(0.0, f64::max)
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// The least of the ordered `values` that `percent` of them do not exceed.
fn quantile(values: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (values.len() * percent).div_ceil(100);
    values.get(rank.saturating_sub(1)).copied()
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

fn optional_seconds<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => seconds(duration, serializer),
        None => serializer.serialize_none(),
    }
}
